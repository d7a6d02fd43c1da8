"""What differs between the fleets: layout, traffic, palette and light. The gap of appearance is meant to be mild."""

from __future__ import annotations

from dataclasses import dataclass

Colour = tuple[float, float, float]
Range = tuple[float, float]


@dataclass(frozen=True)
class Style:
    """One fleet's town."""

    spacing: Range
    """Metres between the centre lines of parallel streets."""
    street: float
    """Half the width of a street from kerb to kerb in metres, parking lane included."""
    pavement: Range
    """Metres of pavement."""
    setback: Range
    """Metres between pavement and buildings."""
    storeys: Range
    """Storeys of a building."""
    gaps: float
    """Share of lots without a building."""
    trees: float
    """Trees per 10 m of kerb."""
    parked: float
    """Share of parking places taken."""
    moving: int
    """Moving vehicles per scene."""
    walkers: int
    """Pedestrians per scene."""
    riders: int
    """Moving two-wheelers per scene."""
    works: float
    """Probability of road works (cones, barriers) per side of a block."""
    facades: tuple[Colour, ...]
    """Albedos of buildings."""
    asphalt: Colour
    """Albedo of the road."""
    paving: Colour
    """Albedo of pavements."""
    grass: Colour
    """Albedo of terrain."""
    leaves: Colour
    """Albedo of foliage."""
    sun_height: Range
    """Degrees of the sun above the horizon."""
    sun: Colour
    """Colour of the sun's light."""
    sky: Colour
    """Colour of the sky's light."""
    haze: Colour
    """Colour at the horizon."""
    zenith: Colour
    """Colour overhead."""
    density: Range
    """Haze per metre."""
    balance: Colour
    """White balance of the cameras."""
    gamma: float
    """Exponent of the cameras' curve."""
    noise: float
    """Standard deviation of the sensor noise, of full scale."""


STYLES = {
    "six": Style(
        spacing=(56.0, 84.0), street=6.4, pavement=(2.6, 3.6), setback=(0.5, 4.0), storeys=(2.0, 6.0), gaps=0.18,
        trees=0.55, parked=0.42, moving=18, walkers=26, riders=14, works=0.42,
        facades=((0.55, 0.46, 0.38), (0.62, 0.58, 0.50), (0.45, 0.30, 0.25), (0.50, 0.50, 0.52), (0.66, 0.62, 0.58)),
        asphalt=(0.19, 0.19, 0.20), paving=(0.46, 0.45, 0.43), grass=(0.17, 0.26, 0.10), leaves=(0.12, 0.24, 0.08),
        sun_height=(35.0, 65.0), sun=(1.45, 1.38, 1.25), sky=(0.52, 0.60, 0.72), haze=(0.78, 0.83, 0.90),
        zenith=(0.30, 0.48, 0.80), density=(0.0015, 0.004), balance=(1.0, 1.0, 1.0), gamma=2.2, noise=0.010,
    ),
    "five": Style(
        spacing=(70.0, 104.0), street=7.4, pavement=(2.2, 3.0), setback=(1.5, 7.0), storeys=(1.5, 5.0), gaps=0.26,
        trees=0.45, parked=0.36, moving=22, walkers=24, riders=13, works=0.40,
        facades=((0.68, 0.60, 0.46), (0.60, 0.46, 0.36), (0.70, 0.66, 0.58), (0.44, 0.46, 0.50), (0.58, 0.40, 0.32)),
        asphalt=(0.215, 0.212, 0.21), paving=(0.49, 0.475, 0.445), grass=(0.2, 0.265, 0.1), leaves=(0.145, 0.245, 0.08),
        sun_height=(28.0, 55.0), sun=(1.50, 1.37, 1.18), sky=(0.51, 0.585, 0.68), haze=(0.81, 0.83, 0.86),
        zenith=(0.34, 0.50, 0.78), density=(0.002, 0.0048), balance=(1.025, 1.0, 0.975), gamma=2.25, noise=0.012,
    ),
}  # fmt: skip
"""Style of every embedded fleet."""
