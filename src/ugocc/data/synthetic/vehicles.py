"""Everything on wheels: cars, vans, trucks, buses, bicycles and motorcycles, in their own frame.

The frame's origin lies on the ground under the middle, x points forward.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ugocc.data.synthetic.appearance import Climate, Rgb
from ugocc.data.synthetic.primitives import BOX, COLUMN, ELLIPSOID, Parts, Texture, bounds, part
from ugocc.data.synthetic.vocabulary import Material

_TYRE: Rgb = (0.03, 0.03, 0.03)


@dataclass(frozen=True)
class Model:
    """A thing that can be put somewhere."""

    parts: Parts
    """(P, COLUMNS) in its own frame."""
    material: Material
    """Kind of its annotated box."""

    @property
    def box(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Centre (3,) and size (3,) of the annotated box, metres in its own frame."""
        low, high = bounds(self.parts)
        return (low + high) / 2, high - low


def pick(colours: tuple[Rgb, ...], rng: np.random.Generator) -> NDArray[np.float64]:
    """One of ``colours``, slightly varied."""
    return np.asarray(colours[rng.integers(len(colours))]) * rng.uniform(0.85, 1.15, 3)


def car(climate: Climate, rng: np.random.Generator) -> Model:
    """Sedan, estate, hatchback or off-roader."""
    shape = rng.integers(4)
    length = rng.uniform(*((4.4, 4.9), (4.5, 4.9), (3.7, 4.2), (4.4, 4.9))[shape]) / 2
    width = rng.uniform(1.74, 1.9) / 2
    tall = shape == 3
    floor, belt = (0.3, 1.02) if tall else (0.2, 0.86)
    roof = rng.uniform(1.62, 1.8) if tall else rng.uniform(1.4, 1.52)
    paint, seed = pick(climate.vehicles, rng), rng.random()
    # Windscreen in front, and a rear that is steep on everything but sedans.
    front, rear = 0.36 * length, (-0.62 * length if shape == 0 else -0.93 * length)
    slope_front, slope_rear = 1.0, (0.7 if shape == 0 else 0.3)
    half = (roof - belt) / 2
    rows = [
        part(
            BOX,
            Material.CAR,
            (0.0, 0.0, (floor + belt) / 2),
            (length, width, (belt - floor) / 2),
            paint,
            Texture.CAR_BODY,
            taper=(0.12, 0.08),
            seed=seed,
        ),
        part(
            BOX,
            Material.CAR,
            ((front + rear) / 2, 0.0, (belt + roof) / 2),
            ((front - rear) / 2, width * 0.93, half),
            paint,
            Texture.CABIN,
            taper=((slope_front + slope_rear) / 2, 0.28),
            shear=(slope_rear - slope_front) / 2,
            seed=seed,
        ),
        *_wheels(Material.CAR, 0.62 * length, width - 0.1, 0.36 if tall else 0.31),
    ]
    return Model(np.stack(rows), Material.CAR)


def van(climate: Climate, rng: np.random.Generator) -> Model:
    """Delivery van or minibus, annotated as a car."""
    length, width, roof = rng.uniform(4.9, 5.7) / 2, 0.98, rng.uniform(1.95, 2.4)
    paint, seed = pick(climate.vehicles, rng), rng.random()
    windows = Texture.CABIN if rng.random() < 0.5 else Texture.CARGO
    rows = [
        part(BOX, Material.CAR, (0, 0, 0.65), (length, width, 0.43), paint, Texture.CAR_BODY, taper=(0.1, 0.04)),
        part(
            BOX,
            Material.CAR,
            (-0.5, 0, (1.08 + roof) / 2),
            (length - 0.55, width * 0.96, (roof - 1.08) / 2),
            paint,
            windows,
            taper=(0.04, 0.08),
            seed=seed * 0.4,
        ),
        part(
            BOX,
            Material.CAR,
            (length - 1.35, 0, 1.08 + 0.4 * (roof - 1.08)),
            (1.1, width * 0.92, 0.4 * (roof - 1.08)),
            paint,
            Texture.CABIN,
            taper=(0.5, 0.1),
            shear=-0.5,
        ),
        *_wheels(Material.CAR, 0.62 * length, width - 0.1, 0.34),
    ]
    return Model(np.stack(rows), Material.CAR)


def truck(climate: Climate, rng: np.random.Generator) -> Model:
    """Cab and cargo box."""
    length, width, roof = rng.uniform(6.5, 8.5) / 2, 1.2, rng.uniform(2.9, 3.5)
    paint = pick(climate.vehicles, rng)
    box_paint = np.array((0.7, 0.7, 0.68)) * rng.uniform(0.5, 1.1) if rng.random() < 0.7 else pick(climate.walls, rng)
    cab = 0.95
    rows = [
        part(BOX, Material.TRUCK, (-0.2, 0, 0.72), (length - 0.25, 0.5, 0.14), (0.06, 0.06, 0.06)),
        part(
            BOX, Material.TRUCK, (length - cab, 0, 0.95), (cab, width * 0.96, 0.45), paint, Texture.CAR_BODY, seed=0.3
        ),
        part(
            BOX,
            Material.TRUCK,
            (length - cab - 0.03, 0, 1.9),
            (cab - 0.05, width * 0.95, 0.5),
            paint,
            Texture.CABIN,
            taper=(0.12, 0.06),
        ),
        part(
            BOX,
            Material.TRUCK,
            (-cab - 0.1, 0, (0.9 + roof) / 2),
            (length - cab - 0.12, width, (roof - 0.9) / 2),
            box_paint,
            Texture.CARGO,
            seed=rng.random(),
        ),
        *_wheels(Material.TRUCK, length - 1.1, width - 0.15, 0.46, rear=-length + 1.6),
    ]
    return Model(np.stack(rows), Material.TRUCK)


def bus(climate: Climate, rng: np.random.Generator) -> Model:
    """City bus."""
    length, width, roof = rng.uniform(9.5, 11.5) / 2, 1.27, rng.uniform(2.95, 3.2)
    paint = pick(climate.vehicles, rng)
    rows = [
        part(
            BOX,
            Material.BUS,
            (0, 0, (0.32 + roof) / 2),
            (length, width, (roof - 0.32) / 2),
            paint,
            Texture.BUS_BODY,
            taper=(0.02, 0.02),
        ),
        part(BOX, Material.BUS, (-0.5, 0, roof + 0.12), (length * 0.4, 0.75, 0.12), (0.6, 0.6, 0.6), taper=(0.3, 0.3)),
        *_wheels(Material.BUS, length - 2.4, width - 0.12, 0.48, rear=-length + 2.9),
    ]
    return Model(np.stack(rows), Material.BUS)


def bicycle(climate: Climate, rng: np.random.Generator, rider: bool) -> Model:
    """Bicycle, with its rider or leaning on a stand; the rider belongs to the annotated object."""
    paint, kind = pick(climate.vehicles, rng), Material.BICYCLE
    thin = 0.025
    rows = [
        part(ELLIPSOID, kind, (0.52, 0, 0.34), (0.34, 0.03, 0.34), _TYRE, Texture.WHEEL),
        part(ELLIPSOID, kind, (-0.52, 0, 0.34), (0.34, 0.03, 0.34), _TYRE, Texture.WHEEL),
        part(BOX, kind, (0.0, 0, 0.72), (0.36, thin, 0.03), paint),
        part(BOX, kind, (-0.30, 0, 0.58), (0.03, thin, 0.25), paint, shear=-0.3),
        part(BOX, kind, (0.0, 0, 0.5), (0.045, thin, 0.22), paint, shear=0.7),
        part(BOX, kind, (0.52, 0, 0.68), (0.03, thin, 0.34), paint, shear=-0.28),
        part(BOX, kind, (0.36, 0, 1.0), (0.03, 0.27, 0.02), (0.05, 0.05, 0.05)),
        part(BOX, kind, (-0.42, 0, 0.9), (0.13, 0.07, 0.035), (0.04, 0.04, 0.04)),
    ]
    if rider:
        rows += _rider(kind, -0.38, 0.98, climate, rng)
    return Model(np.stack(rows), kind)


def motorcycle(climate: Climate, rng: np.random.Generator, rider: bool) -> Model:
    """Motorcycle or scooter, with its rider or parked."""
    paint, kind = pick(climate.vehicles, rng), Material.MOTORCYCLE
    rows = [
        part(ELLIPSOID, kind, (0.72, 0, 0.31), (0.31, 0.08, 0.31), _TYRE, Texture.WHEEL),
        part(ELLIPSOID, kind, (-0.68, 0, 0.31), (0.31, 0.1, 0.31), _TYRE, Texture.WHEEL),
        part(BOX, kind, (0.0, 0, 0.48), (0.42, 0.15, 0.2), (0.16, 0.16, 0.17), taper=(0.3, 0.1)),
        part(ELLIPSOID, kind, (0.18, 0, 0.82), (0.34, 0.17, 0.16), paint, Texture.CAR_BODY),
        part(BOX, kind, (-0.42, 0, 0.78), (0.36, 0.13, 0.07), (0.04, 0.04, 0.04)),
        part(BOX, kind, (0.74, 0, 0.68), (0.05, 0.07, 0.38), (0.3, 0.3, 0.31), shear=-0.4),
        part(BOX, kind, (0.44, 0, 1.06), (0.03, 0.36, 0.025), (0.05, 0.05, 0.05)),
        part(ELLIPSOID, kind, (0.62, 0, 0.93), (0.13, 0.14, 0.14), (0.7, 0.7, 0.66)),
    ]
    if rider:
        rows += _rider(kind, -0.3, 0.88, climate, rng)
    return Model(np.stack(rows), kind)


def _wheels(material: Material, front: float, side: float, radius: float, rear: float | None = None) -> list[Parts]:
    return [
        part(ELLIPSOID, material, (x, y, radius), (radius, 0.14, radius), _TYRE, Texture.WHEEL)
        for x in (front, -front if rear is None else rear)
        for y in (side, -side)
    ]


def _rider(
    material: Material, seat: float, height: float, climate: Climate, rng: np.random.Generator
) -> list[NDArray[np.float64]]:
    jacket, trousers = pick(climate.vehicles, rng), np.array((0.08, 0.09, 0.14)) * rng.uniform(0.6, 2.5)
    skin = np.array((0.55, 0.38, 0.29)) * rng.uniform(0.5, 1.1)
    helmet = pick(climate.vehicles, rng)
    return [
        part(COLUMN, material, (seat + 0.12, 0.11, height - 0.36), (0.08, 0.08, 0.38), trousers, shear=0.25),
        part(COLUMN, material, (seat + 0.16, -0.11, height - 0.36), (0.08, 0.08, 0.38), trousers, shear=0.1),
        part(ELLIPSOID, material, (seat + 0.02, 0, height + 0.3), (0.17, 0.23, 0.36), jacket, shear=0.35),
        part(COLUMN, material, (seat + 0.24, 0.22, height + 0.24), (0.05, 0.05, 0.2), jacket, shear=0.9),
        part(COLUMN, material, (seat + 0.24, -0.22, height + 0.24), (0.05, 0.05, 0.2), jacket, shear=0.9),
        part(ELLIPSOID, material, (seat + 0.3, 0, height + 0.72), (0.11, 0.1, 0.13), skin),
        part(ELLIPSOID, material, (seat + 0.28, 0, height + 0.79), (0.14, 0.12, 0.1), helmet),
    ]
