"""Things of the town as lists of primitives in their own frame (x along their length, z up from the ground)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ugocc.data.synthetic.vocabulary import Material
from ugocc.data.town.shading import FACADE, GLASSY, LEAVES, PLAIN, STRIPES
from ugocc.data.town.tracer import BOX, CYLINDER, ELLIPSOID, PRIMITIVE, Floats

Colour = Sequence[float] | Floats
Vector = tuple[float, float, float]
DARK = (0.05, 0.05, 0.055)
STEEL = (0.33, 0.33, 0.34)


@dataclass(frozen=True)
class Part:
    """One primitive of a thing."""

    kind: int
    """BOX, ELLIPSOID or CYLINDER."""
    material: Material
    """What it is."""
    centre: Vector
    """Metres in the thing's frame."""
    half: Vector
    """Half extents in metres."""
    colour: Colour
    """Albedo."""
    texture: int = PLAIN
    """How it is painted."""


Thing = tuple[Part, ...]


def place(thing: Thing, x: float, y: float, yaw: float, track: int, base: float = 0.0) -> np.ndarray:
    """The thing's primitives (:data:`PRIMITIVE`) at a place of the world, ``base`` metres above the ground."""
    out = np.zeros(len(thing), dtype=PRIMITIVE)
    c, s = np.cos(yaw), np.sin(yaw)
    for row, part in zip(out, thing, strict=True):
        px, py, pz = part.centre
        row["kind"], row["material"], row["texture"], row["track"] = part.kind, part.material, part.texture, track
        row["centre"] = (x + c * px - s * py, y + s * px + c * py, base + pz)
        row["half"], row["cos"], row["sin"], row["colour"] = part.half, c, s, part.colour
    return out


def extent(thing: Thing) -> tuple[Vector, Vector]:
    """Smallest and largest corner of the thing in its own frame, metres."""
    centre = np.array([p.centre for p in thing])
    half = np.array([p.half for p in thing])
    low, high = (centre - half).min(0), (centre + half).max(0)
    return (float(low[0]), float(low[1]), float(low[2])), (float(high[0]), float(high[1]), float(high[2]))


def car(rng: np.random.Generator) -> Thing:
    """A saloon, an estate or a van."""
    m, paint = Material.CAR, _paint(rng)
    style = rng.integers(3)
    length, width = rng.uniform(4.1, 4.9), rng.uniform(1.75, 1.95)
    if style == 2:
        body = Part(BOX, m, (0, 0, 1.1), (length / 2, width / 2, 0.72), paint)
        screen = Part(BOX, m, (length / 2 - 0.35, 0, 1.45), (0.4, width / 2 - 0.06, 0.3), DARK, GLASSY)
        return (body, screen, *_wheels(m, length, width))
    body = Part(BOX, m, (0, 0, 0.66), (length / 2, width / 2, 0.36), paint)
    cabin_half = (length * 0.26, width / 2 - 0.12, 0.3) if style == 0 else (length * 0.34, width / 2 - 0.1, 0.34)
    back = -0.25 if style == 0 else -0.45
    cabin = Part(BOX, m, (back, 0, 1.02 + cabin_half[2]), cabin_half, paint, GLASSY)
    return (body, cabin, *_wheels(m, length, width))


def truck(rng: np.random.Generator) -> Thing:
    """A lorry: cab and cargo box."""
    m, paint, width = Material.TRUCK, _paint(rng), 2.4
    length = rng.uniform(6.5, 9.0)
    cargo_height = rng.uniform(1.1, 1.35)
    grey = rng.uniform(0.4, 0.8)
    cab = Part(BOX, m, (length / 2 - 0.95, 0, 1.55), (0.95, width / 2 - 0.05, 1.0), paint, GLASSY)
    bonnet = Part(BOX, m, (length / 2 - 0.9, 0, 1.0), (1.0, width / 2, 0.5), paint)
    cargo = Part(BOX, m, (-1.1, 0, 0.9 + cargo_height), (length / 2 - 1.15, width / 2, cargo_height), (grey,) * 3)
    return (cab, bonnet, cargo, *_wheels(m, length, width, 0.48))


def bus(rng: np.random.Generator) -> Thing:
    """A city bus."""
    m, paint = Material.BUS, _paint(rng)
    length = rng.uniform(9.5, 11.5)
    low = Part(BOX, m, (0, 0, 0.95), (length / 2, 1.25, 0.6), paint)
    glass = Part(BOX, m, (0, 0, 2.0), (length / 2 - 0.02, 1.24, 0.45), paint, GLASSY)
    roof = Part(BOX, m, (0, 0, 2.72), (length / 2, 1.25, 0.27), paint)
    return (low, glass, roof, *_wheels(m, length, 2.5, 0.48))


def pedestrian(rng: np.random.Generator) -> Thing:
    """A person on foot."""
    m, tall = Material.PEDESTRIAN, rng.uniform(0.9, 1.08)
    coat, trousers = rng.uniform(0.05, 0.75, 3), rng.uniform(0.04, 0.3, 3)
    skin = (0.62, 0.45, 0.35)
    legs = Part(CYLINDER, m, (0, 0, 0.43 * tall), (0.15, 0.17, 0.43 * tall), trousers)
    torso = Part(ELLIPSOID, m, (0, 0, 1.13 * tall), (0.2, 0.28, 0.38 * tall), coat)
    return (legs, torso, Part(ELLIPSOID, m, (0, 0, 1.6 * tall), (0.13, 0.12, 0.15), skin))


def two_wheeler(rng: np.random.Generator, rider: bool) -> Thing:
    """A bicycle or motorcycle, with its rider or parked."""
    m = Material.MOTORCYCLE if rng.random() < 0.4 else Material.BICYCLE
    reach, paint = (0.68, _paint(rng))
    thick = 0.12 if m == Material.MOTORCYCLE else 0.05
    parts = [Part(ELLIPSOID, m, (x, 0, 0.34), (0.34, thick, 0.34), DARK) for x in (-reach, reach)]
    parts.append(Part(BOX, m, (0, 0, 0.62), (0.6, thick + 0.02, 0.16), paint))
    parts.append(Part(BOX, m, (0.55, 0, 1.02), (0.05, 0.28, 0.05), DARK))
    if rider:
        parts.append(Part(ELLIPSOID, m, (-0.12, 0, 1.15), (0.24, 0.25, 0.42), rng.uniform(0.05, 0.75, 3)))
        parts.append(Part(ELLIPSOID, m, (0.0, 0, 1.66), (0.14, 0.13, 0.15), rng.uniform(0.05, 0.6, 3)))
    return tuple(parts)


def tree(rng: np.random.Generator, leaves: Colour) -> Thing:
    """A trunk and a few masses of foliage."""
    stem, size = rng.uniform(1.8, 2.8), rng.uniform(1.1, 1.9)
    bark = (0.20, 0.14, 0.09)
    tint = np.asarray(leaves) * rng.uniform(0.75, 1.25)
    parts = [Part(CYLINDER, Material.TRUNK, (0, 0, stem / 2), (0.16, 0.16, stem / 2), bark)]
    for _ in range(3):
        x, y, z = rng.uniform(-0.6, 0.6) * size, rng.uniform(-0.6, 0.6) * size, stem + rng.uniform(0.4, 1.3) * size
        half = (size * rng.uniform(0.65, 1.0), size * rng.uniform(0.65, 1.0), size * rng.uniform(0.6, 0.95))
        parts.append(Part(ELLIPSOID, Material.FOLIAGE, (x, y, z), half, tint, LEAVES))
    return tuple(parts)


def bush(rng: np.random.Generator, leaves: Colour) -> Thing:
    """Low foliage."""
    tint = np.asarray(leaves) * rng.uniform(0.7, 1.3)
    half = (rng.uniform(0.6, 1.4), rng.uniform(0.5, 0.9), rng.uniform(0.5, 0.9))
    return (Part(ELLIPSOID, Material.FOLIAGE, (0, 0, half[2] * 0.8), half, tint, LEAVES),)


def building(length: float, depth: float, height: float, paint: Colour) -> Thing:
    """A block with windows, a plinth and a roof edge."""
    m = Material.BUILDING
    dark = tuple(0.6 * c for c in paint)
    return (
        Part(BOX, m, (0, 0, height / 2), (length / 2, depth / 2, height / 2), paint, FACADE),
        Part(BOX, m, (0, 0, 0.3), (length / 2 + 0.06, depth / 2 + 0.06, 0.3), dark),
        Part(BOX, m, (0, 0, height), (length / 2 + 0.2, depth / 2 + 0.2, 0.18), dark),
    )


def sign(rng: np.random.Generator) -> Thing:
    """A traffic sign on a pole, facing along x."""
    colours = ((0.75, 0.08, 0.08), (0.1, 0.2, 0.7), (0.85, 0.75, 0.1), (0.8, 0.8, 0.8))
    plate = colours[rng.integers(len(colours))]
    half = rng.uniform(0.34, 0.48)
    return (
        Part(CYLINDER, Material.POLE, (0, 0, 1.0), (0.05, 0.05, 1.0), STEEL),
        Part(BOX, Material.SIGN, (0.06, 0, 2.0 + half), (0.05, half, half), plate),
    )


def traffic_light() -> Thing:
    """A traffic light on its pole."""
    return (
        Part(CYLINDER, Material.POLE, (0, 0, 1.2), (0.08, 0.08, 1.2), STEEL),
        Part(BOX, Material.TRAFFIC_LIGHT, (0, 0, 2.95), (0.2, 0.2, 0.55), (0.06, 0.07, 0.06)),
        Part(ELLIPSOID, Material.TRAFFIC_LIGHT, (0.18, 0, 3.25), (0.08, 0.11, 0.11), (0.9, 0.15, 0.1)),
    )


def lamp() -> Thing:
    """A street lamp."""
    return (
        Part(CYLINDER, Material.POLE, (0, 0, 2.6), (0.09, 0.09, 2.6), STEEL),
        Part(BOX, Material.POLE, (0.5, 0, 5.2), (0.6, 0.12, 0.06), STEEL),
    )


def cone() -> Thing:
    """A traffic cone."""
    m, orange = Material.CONE, (0.85, 0.30, 0.06)
    return (
        Part(BOX, m, (0, 0, 0.05), (0.24, 0.24, 0.05), orange),
        Part(CYLINDER, m, (0, 0, 0.3), (0.17, 0.17, 0.25), orange),
        Part(CYLINDER, m, (0, 0, 0.68), (0.1, 0.1, 0.18), (0.85, 0.85, 0.85)),
    )


def barrier() -> Thing:
    """A striped barrier, along y."""
    return (Part(BOX, Material.BARRIER, (0, 0, 0.55), (0.14, 0.95, 0.5), (0.8, 0.12, 0.1), STRIPES),)


def furniture(rng: np.random.Generator) -> Thing:
    """A bench, a bin or a cabinet."""
    m = Material.OTHER
    kind = rng.integers(3)
    if kind == 0:
        wood = (0.36, 0.22, 0.12)
        seat = Part(BOX, m, (0, 0, 0.4), (0.3, 0.85, 0.1), wood)
        return (
            seat,
            Part(BOX, m, (-0.25, 0, 0.75), (0.06, 0.85, 0.28), wood),
            Part(BOX, m, (0, 0, 0.2), (0.2, 0.7, 0.2), STEEL),
        )
    if kind == 1:
        return (Part(CYLINDER, m, (0, 0, 0.5), (0.32, 0.32, 0.5), (0.10, 0.22, 0.13)),)
    return (Part(BOX, m, (0, 0, 0.65), (0.3, 0.5, 0.65), (0.30, 0.36, 0.34)),)


def slab(length: float, width: float, paint: Colour) -> Thing:
    """A raised pavement, 0.15 m high."""
    return (Part(BOX, Material.SIDEWALK, (0, 0, 0.075), (length / 2, width / 2, 0.075), paint),)


def _wheels(material: Material, length: float, width: float, radius: float = 0.33) -> tuple[Part, ...]:
    return tuple(
        Part(ELLIPSOID, material, (sx * length * 0.31, sy * (width / 2 - 0.1), radius), (radius, 0.14, radius), DARK)
        for sx in (-1, 1)
        for sy in (-1, 1)
    )


def _paint(rng: np.random.Generator) -> Colour:
    vivid = ((0.55, 0.06, 0.06), (0.06, 0.12, 0.45), (0.05, 0.22, 0.14), (0.60, 0.45, 0.08))
    if rng.random() < 0.3:
        return vivid[rng.integers(len(vivid))]
    return (float(rng.choice([0.05, 0.12, 0.3, 0.5, 0.7, 0.82])),) * 3
