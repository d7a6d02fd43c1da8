"""Light, air, palette and camera electronics: how each fleet's town looks.

Both fleets share the shader; they differ in the ranges the numbers are drawn from, and those differ mildly (the five
fleet drives under a slightly lower, warmer sun, in a bit more haze, with paler pavements and a warmer white balance).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np

Rgb = tuple[float, float, float]


class Look(NamedTuple):
    """Everything the shader needs to know about one scene; colours are linear RGB."""

    to_sun: Rgb
    """Unit vector towards the sun, town axes."""
    sun: Rgb
    """Light of the sun on a surface that faces it."""
    ambient: Rgb
    """Light of the sky on a surface that faces up."""
    zenith: Rgb
    """Sky overhead."""
    horizon: Rgb
    """Sky at the horizon, and the colour things fade to."""
    haze: float
    """Share of light lost per metre of air."""
    clouds: float
    """Cloud cover in [0, 1]."""
    cloud_shift: float
    """Moves the pattern of clouds."""
    asphalt: Rgb
    """Reflectance of the carriageway."""
    paving: Rgb
    """Reflectance of pavements."""
    grass: Rgb
    """Reflectance of grass."""
    paint: Rgb
    """Reflectance of lane markings."""
    exposure: float
    """Gain before the tone curve."""
    white_balance: Rgb
    """Gain per channel."""


@dataclass(frozen=True)
class Climate:
    """Ranges from which a fleet's looks are drawn, uniformly."""

    sun_elevation: tuple[float, float]
    """Degrees above the horizon."""
    sun_warmth: tuple[float, float]
    """0 white, 1 orange."""
    overcast: float
    """Share of scenes without direct sun."""
    haze: tuple[float, float]
    """Share of light lost per metre."""
    asphalt: tuple[float, float]
    """Reflectance."""
    paving: Rgb
    """Reflectance of pavements, jittered by a tenth."""
    grass: Rgb
    """Reflectance of grass, jittered by a tenth."""
    white_balance: Rgb
    """Gain per channel, jittered by 3 %."""
    exposure: tuple[float, float]
    """Gain before the tone curve."""
    noise: float
    """Standard deviation of the sensor's noise in grey levels of 255."""
    walls: tuple[Rgb, ...]
    """Reflectances of facades."""
    vehicles: tuple[Rgb, ...]
    """Reflectances of vehicle paint."""
    leaves: tuple[Rgb, ...]
    """Reflectances of crowns and hedges."""


_PAINTS: Final[tuple[Rgb, ...]] = (
    (0.72, 0.73, 0.74),
    (0.42, 0.44, 0.46),
    (0.05, 0.055, 0.06),
    (0.16, 0.17, 0.19),
    (0.45, 0.05, 0.05),
    (0.06, 0.12, 0.36),
    (0.10, 0.22, 0.18),
    (0.55, 0.48, 0.36),
)

CLIMATES: Final[dict[str, Climate]] = {
    "six": Climate(
        sun_elevation=(32.0, 65.0),
        sun_warmth=(0.0, 0.35),
        overcast=0.25,
        haze=(0.0016, 0.0040),
        asphalt=(0.10, 0.17),
        paving=(0.36, 0.33, 0.31),
        grass=(0.13, 0.23, 0.06),
        white_balance=(0.98, 1.0, 1.03),
        exposure=(0.88, 1.12),
        noise=1.6,
        walls=(
            (0.50, 0.30, 0.22),
            (0.58, 0.47, 0.36),
            (0.45, 0.44, 0.43),
            (0.34, 0.22, 0.18),
            (0.62, 0.58, 0.50),
            (0.36, 0.40, 0.46),
            (0.68, 0.66, 0.62),
        ),
        vehicles=(*_PAINTS, (0.80, 0.58, 0.08)),
        leaves=((0.10, 0.20, 0.05), (0.13, 0.24, 0.07), (0.08, 0.16, 0.06), (0.17, 0.23, 0.06)),
    ),
    "five": Climate(
        sun_elevation=(24.0, 52.0),
        sun_warmth=(0.15, 0.55),
        overcast=0.2,
        haze=(0.0030, 0.0065),
        asphalt=(0.13, 0.21),
        paving=(0.44, 0.41, 0.37),
        grass=(0.20, 0.23, 0.08),
        white_balance=(1.04, 1.0, 0.95),
        exposure=(0.92, 1.18),
        noise=2.3,
        walls=(
            (0.66, 0.60, 0.50),
            (0.70, 0.68, 0.64),
            (0.56, 0.50, 0.42),
            (0.50, 0.56, 0.56),
            (0.62, 0.48, 0.40),
            (0.72, 0.62, 0.46),
            (0.44, 0.46, 0.44),
        ),
        vehicles=(*_PAINTS, (0.60, 0.62, 0.60)),
        leaves=((0.13, 0.21, 0.06), (0.16, 0.22, 0.09), (0.11, 0.17, 0.07), (0.20, 0.22, 0.09)),
    ),
}
"""Climate of each embedded fleet."""


def draw_look(climate: Climate, rng: np.random.Generator) -> Look:
    """Light and colours of one scene."""
    elevation = np.deg2rad(rng.uniform(*climate.sun_elevation))
    azimuth = rng.uniform(0.0, 2 * np.pi)
    warmth = rng.uniform(*climate.sun_warmth)
    overcast = rng.random() < climate.overcast
    clouds = rng.uniform(0.85, 1.0) if overcast else rng.uniform(0.1, 0.6)
    strength = 0.12 if overcast else 1.0
    sun = np.array((1.0, 0.95 - 0.16 * warmth, 0.88 - 0.34 * warmth)) * 2.1 * strength
    blue = 0.75 * (1.0 - clouds) + 0.1
    ambient = np.array((0.80 - 0.14 * blue, 0.84 - 0.05 * blue, 0.88 + 0.08 * blue)) * (1.15 if overcast else 0.62)
    zenith = (1 - clouds) * np.array((0.20, 0.40, 0.80)) + clouds * np.array((0.62, 0.66, 0.72))
    horizon = np.array((0.80 + 0.08 * warmth, 0.83, 0.87 - 0.10 * warmth)) * rng.uniform(0.94, 1.06)

    def jittered(colour: Rgb, amount: float = 0.1) -> Rgb:
        r, g, b = np.asarray(colour) * rng.uniform(1 - amount, 1 + amount) * rng.uniform(1 - amount, 1 + amount, 3)
        return float(r), float(g), float(b)

    grey = rng.uniform(*climate.asphalt)
    return Look(
        to_sun=(
            float(np.cos(elevation) * np.cos(azimuth)),
            float(np.cos(elevation) * np.sin(azimuth)),
            float(np.sin(elevation)),
        ),
        sun=_rgb(sun),
        ambient=_rgb(ambient),
        zenith=_rgb(zenith),
        horizon=_rgb(horizon),
        haze=float(rng.uniform(*climate.haze)),
        clouds=float(clouds),
        cloud_shift=float(rng.uniform(0, 100)),
        asphalt=jittered((grey, grey, grey * 1.04), 0.03),
        paving=jittered(climate.paving),
        grass=jittered(climate.grass),
        paint=jittered((0.80, 0.80, 0.76), 0.08),
        exposure=float(rng.uniform(*climate.exposure)),
        white_balance=jittered(climate.white_balance, 0.03),
    )


def _rgb(colour: np.ndarray) -> Rgb:
    r, g, b = colour
    return float(r), float(g), float(b)
