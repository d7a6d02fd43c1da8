"""What stands in a street: people, trees, houses, signs, lights, poles, cones, barriers, benches and bins.

Models have their origin on the ground; x points where they face. They return bare parts, or a Model where the thing is
annotated with a box of its own.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ugocc.data.synthetic.appearance import Climate, Rgb
from ugocc.data.synthetic.primitives import BOX, COLUMN, ELLIPSOID, Parts, Texture, part
from ugocc.data.synthetic.vehicles import Model, pick
from ugocc.data.synthetic.vocabulary import Material

_STEEL: Rgb = (0.30, 0.31, 0.32)
_ORANGE: Rgb = (0.85, 0.24, 0.04)
_SIGN_FACES: tuple[Rgb, ...] = ((0.70, 0.04, 0.05), (0.70, 0.04, 0.05), (0.05, 0.18, 0.60), (0.85, 0.62, 0.05))


def pedestrian(climate: Climate, rng: np.random.Generator, walking: bool) -> Model:
    """Adult or child, legs apart when walking."""
    kind = Material.PEDESTRIAN
    tall = rng.uniform(1.6, 1.88) if rng.random() < 0.85 else rng.uniform(1.1, 1.4)
    coat, trousers = pick(climate.vehicles, rng), np.array((0.10, 0.11, 0.17)) * rng.uniform(0.4, 3.0)
    skin = np.array((0.55, 0.38, 0.29)) * rng.uniform(0.45, 1.1)
    hair = np.array((0.10, 0.07, 0.05)) * rng.uniform(0.3, 4.0)
    stride = rng.uniform(0.2, 0.45) if walking else 0.04
    hip, wide = 0.48 * tall, rng.uniform(0.2, 0.25)
    rows = [
        part(COLUMN, kind, (stride * hip * 0.9, 0.09, hip / 2), (0.085, 0.085, hip / 2), trousers, shear=-stride),
        part(COLUMN, kind, (-stride * hip * 0.9, -0.09, hip / 2), (0.085, 0.085, hip / 2), trousers, shear=stride),
        part(ELLIPSOID, kind, (0, 0, 0.64 * tall), (0.16, wide, 0.2 * tall), coat),
        part(BOX, kind, (0, 0, 0.6 * tall), (0.14, wide * 0.8, 0.15 * tall), coat, taper=(0.02, -0.04)),
        part(COLUMN, kind, (-0.5 * stride * 0.3, wide + 0.03, 0.63 * tall), (0.05, 0.05, 0.15 * tall), coat, shear=0.1),
        part(
            COLUMN, kind, (0.5 * stride * 0.3, -wide - 0.03, 0.63 * tall), (0.05, 0.05, 0.15 * tall), coat, shear=-0.1
        ),
        part(ELLIPSOID, kind, (0.02, 0, 0.92 * tall), (0.1, 0.085, 0.08 * tall), skin),
        part(ELLIPSOID, kind, (-0.015, 0, 0.95 * tall), (0.105, 0.095, 0.06 * tall), hair),
    ]
    if rng.random() < 0.35:
        rows.append(part(BOX, kind, (-0.2, 0, 0.68 * tall), (0.08, 0.14, 0.2), pick(climate.vehicles, rng)))
    return Model(np.stack(rows), kind)


def tree(climate: Climate, rng: np.random.Generator, street: bool) -> Parts:
    """Trunk and a crown of several lobes, or a conifer; a ``street`` tree leaves room for vehicles under it."""
    leaves, seed = pick(climate.leaves, rng), rng.random()
    bark = np.array((0.17, 0.13, 0.10)) * rng.uniform(0.7, 1.4)
    height = rng.uniform(6.0, 9.0) if street else rng.uniform(4.5, 9.0)
    thick = 0.07 + 0.018 * height
    if not street and rng.random() < 0.25:
        rows = [part(COLUMN, Material.TRUNK, (0, 0, 0.6), (thick, thick, 0.6), bark, Texture.BARK)]
        for layer in range(3):
            z, r = 0.8 + height * (0.14 + 0.27 * layer), height * (0.23 - 0.055 * layer)
            rows.append(
                part(ELLIPSOID, Material.FOLIAGE, (0, 0, z), (r, r, height * 0.22), leaves, Texture.LEAVES, seed=seed)
            )
        return np.stack(rows)
    bare = max(height * rng.uniform(0.3, 0.42), 2.6 if street else 0.0)
    lean = rng.uniform(-0.05, 0.05)
    crown = height - bare
    rows = [
        part(
            COLUMN,
            Material.TRUNK,
            (0, 0, (bare + 0.8) / 2),
            (thick, thick, (bare + 0.8) / 2),
            bark,
            Texture.BARK,
            taper=(0.012, 0.012),
            shear=lean,
            seed=seed,
        )
    ]
    spread = crown * rng.uniform(0.36, 0.5)
    rows.append(
        part(
            ELLIPSOID,
            Material.FOLIAGE,
            (lean * height, 0, bare + 0.56 * crown),
            (spread * 0.72, spread * 0.72, crown * 0.46),
            leaves,
            Texture.LEAVES,
            seed=seed,
        )
    )
    for lobe in range(int(rng.integers(3, 6))):
        angle = 2.4 * lobe + 6.0 * seed
        r = spread * rng.uniform(0.42, 0.62)
        x, y = (0.55 * spread * np.cos(angle), 0.55 * spread * np.sin(angle))
        z = bare + crown * rng.uniform(0.3, 0.62)
        tone = leaves * rng.uniform(0.85, 1.15)
        rows.append(
            part(
                ELLIPSOID,
                Material.FOLIAGE,
                (x, y, z),
                (r, r, r * 0.85),
                tone,
                Texture.LEAVES,
                seed=(seed + 0.2 * lobe) % 1,
            )
        )
    return np.stack(rows)


def bush(climate: Climate, rng: np.random.Generator) -> Parts:
    """One or two low crowns."""
    leaves = pick(climate.leaves, rng)
    rows = []
    for k in range(int(rng.integers(1, 3))):
        r, h = rng.uniform(0.45, 0.9), rng.uniform(0.4, 0.75)
        x, y = rng.uniform(-0.5, 0.5, 2) * k
        rows.append(
            part(ELLIPSOID, Material.FOLIAGE, (x, y, 0.8 * h), (r, r, h), leaves, Texture.LEAVES, seed=rng.random())
        )
    return np.stack(rows)


def hedge(length: float, climate: Climate, rng: np.random.Generator) -> Parts:
    """Clipped hedge along x."""
    high = rng.uniform(0.9, 1.6) / 2
    colour = pick(climate.leaves, rng)
    return np.stack(
        [part(BOX, Material.FOLIAGE, (0, 0, high), (length / 2, 0.35, high), colour, Texture.HEDGE, seed=rng.random())]
    )


def fence(length: float, rng: np.random.Generator) -> Parts:
    """Garden fence or low wall along x."""
    if rng.random() < 0.5:
        colour = np.array((0.34, 0.24, 0.16)) * rng.uniform(0.6, 1.8)
        return np.stack([part(BOX, Material.OTHER, (0, 0, 0.55), (length / 2, 0.06, 0.55), colour, Texture.SLATS)])
    colour = np.array((0.50, 0.46, 0.42)) * rng.uniform(0.7, 1.2)
    return np.stack([part(BOX, Material.OTHER, (0, 0, 0.4), (length / 2, 0.12, 0.4), colour, Texture.CONCRETE)])


def house(width: float, deep: float, height: float, gabled: bool, climate: Climate, rng: np.random.Generator) -> Parts:
    """Building whose front wall stands at x = 0, facing +x; it reaches back to x = -deep."""
    kind, wall, seed = Material.BUILDING, pick(climate.walls, rng), rng.random()
    middle = (-deep / 2, 0.0, height / 2)
    rows = [part(BOX, kind, middle, (deep / 2, width / 2, height / 2), wall, Texture.FACADE, seed=seed)]
    if gabled:
        tiles = np.array((0.30, 0.15, 0.11)) * rng.uniform(0.6, 1.3) if rng.random() < 0.6 else np.full(3, 0.17)
        rise = rng.uniform(1.8, 3.2)
        slope = (deep / 2 + 0.35) / rise
        rows.append(
            part(
                BOX,
                kind,
                (-deep / 2, 0, height + rise / 2),
                (deep / 2 + 0.35, width / 2 + 0.2, rise / 2),
                tiles,
                Texture.ROOF,
                taper=(slope * 0.98, 0.05),
            )
        )
        x, y = rng.uniform(-0.7, -0.3) * deep, rng.uniform(-0.3, 0.3) * width
        rows.append(part(BOX, kind, (x, y, height + rise * 0.8), (0.35, 0.35, 0.9), wall * 0.7, Texture.CONCRETE))
        if rng.random() < 0.6:
            y = rng.uniform(-0.25, 0.25) * width
            rows.append(part(BOX, kind, (0.6, y, 1.25), (0.6, 1.1, 1.25), wall * 0.92, Texture.FACADE, seed=seed))
            rows.append(part(BOX, kind, (0.6, y, 2.7), (0.8, 1.3, 0.25), tiles, Texture.ROOF, taper=(0.8, 0.8)))
    else:
        ledge = wall * rng.uniform(0.7, 1.15)
        rows.append(part(BOX, kind, (-deep / 2, 0, height + 0.3), (deep / 2 + 0.12, width / 2 + 0.05, 0.3), ledge))
        if rng.random() < 0.6:
            x, y = rng.uniform(-0.7, -0.3) * deep, rng.uniform(-0.3, 0.3) * width
            size = (rng.uniform(1, 2), rng.uniform(1, 2.5), rng.uniform(0.6, 1.4))
            rows.append(part(BOX, kind, (x, y, height + 0.6 + size[2]), size, ledge * 0.8, Texture.CONCRETE))
        if rng.random() < 0.5:
            y, w = rng.uniform(-0.2, 0.2) * width, rng.uniform(0.15, 0.3) * width
            awning = pick(climate.vehicles, rng)
            rows.append(part(BOX, kind, (0.55, y, 2.75), (0.55, w, 0.12), awning, Texture.SLATS))
        if height > 7 and rng.random() < 0.5:
            balcony = np.full(3, rng.uniform(0.25, 0.6))
            for storey in range(1, int(height / 3.2)):
                y = 0.25 * width
                rows.append(part(BOX, kind, (0.5, y, 3.3 * storey + 0.6), (0.5, 1.4, 0.5), balcony, Texture.SLATS))
    return np.stack(rows)


def sign(rng: np.random.Generator) -> tuple[Model, Parts]:
    """Traffic sign (the plate) and its pole."""
    face = int(rng.integers(4))
    half, z = rng.uniform(0.32, 0.45), rng.uniform(2.0, 2.5)
    tall = half if face != 3 else half * 1.2
    plate = part(
        BOX,
        Material.SIGN,
        (0.06, 0, z),
        (0.025, half, tall),
        _SIGN_FACES[face],
        Texture.SIGN,
        seed=(face + rng.uniform(0.1, 0.9)) / 4,
    )
    pole = part(COLUMN, Material.POLE, (0, 0, z / 2 + 0.2), (0.045, 0.045, z / 2 + 0.2), _STEEL)
    return Model(np.stack([plate]), Material.SIGN), np.stack([pole])


def signal(arm: float, rng: np.random.Generator) -> Parts:
    """Traffic light on a pole, facing +x; with an ``arm`` in metres a second one hangs over the street (to -y)."""
    lit = rng.random()
    case = (0.14, 0.19, 0.5)
    rows = [
        part(COLUMN, Material.POLE, (0, 0, 1.75), (0.08, 0.08, 1.75), _STEEL),
        part(BOX, Material.TRAFFIC_LIGHT, (0.15, 0, 2.95), case, (0.05, 0.05, 0.05), Texture.SIGNAL, seed=lit),
    ]
    if arm > 0:
        rows[0] = part(COLUMN, Material.POLE, (0, 0, 2.75), (0.09, 0.09, 2.75), _STEEL)
        rows.append(part(BOX, Material.POLE, (0, -arm / 2, 5.3), (0.06, arm / 2, 0.06), _STEEL))
        rows.append(
            part(BOX, Material.TRAFFIC_LIGHT, (0.15, -arm, 4.75), case, (0.05, 0.05, 0.05), Texture.SIGNAL, seed=lit)
        )
    return np.stack(rows)


def lamp_post(rng: np.random.Generator) -> Parts:
    """Street lamp whose arm points to +y."""
    high = rng.uniform(6.0, 7.5)
    rows = [
        part(COLUMN, Material.POLE, (0, 0, high / 2), (0.09, 0.09, high / 2), _STEEL, taper=(0.005, 0.005)),
        part(BOX, Material.POLE, (0, 0.8, high), (0.05, 0.85, 0.05), _STEEL),
        part(BOX, Material.POLE, (0, 1.7, high - 0.05), (0.14, 0.35, 0.07), (0.6, 0.6, 0.55)),
    ]
    return np.stack(rows)


def bollard() -> Parts:
    """Short post."""
    return np.stack([part(COLUMN, Material.POLE, (0, 0, 0.5), (0.08, 0.08, 0.5), (0.14, 0.14, 0.15))])


def cone(rng: np.random.Generator) -> Model:
    """Traffic cone."""
    high = rng.uniform(0.7, 0.95) / 2
    rows = [
        part(BOX, Material.CONE, (0, 0, 0.03), (0.22, 0.22, 0.03), (0.08, 0.07, 0.06)),
        part(COLUMN, Material.CONE, (0, 0, high), (0.19, 0.19, high), _ORANGE, Texture.CONE, taper=(0.075 / high, 0)),
    ]
    return Model(np.stack(rows), Material.CONE)


def barrier(rng: np.random.Generator) -> Model:
    """Barrier of a building site, long along y: boards on feet, or a block of concrete."""
    kind = Material.BARRIER
    if rng.random() < 0.5:
        colour = np.array((0.5, 0.49, 0.46)) * rng.uniform(0.8, 1.2)
        block = part(
            BOX, kind, (0, 0, 0.42), (0.95, 0.3, 0.42), colour, Texture.CONCRETE, taper=(0, 0.22), yaw=np.pi / 2
        )
        return Model(np.stack([block]), kind)
    rows = [
        part(BOX, kind, (0, 0, 0.88), (0.9, 0.04, 0.14), (0.75, 0.06, 0.05), Texture.STRIPES, yaw=np.pi / 2),
        part(BOX, kind, (0, 0, 0.45), (0.9, 0.04, 0.12), (0.75, 0.06, 0.05), Texture.STRIPES, yaw=np.pi / 2),
        part(BOX, kind, (0, 0.75, 0.5), (0.22, 0.05, 0.5), (0.12, 0.12, 0.12), taper=(0.18, 0)),
        part(BOX, kind, (0, -0.75, 0.5), (0.22, 0.05, 0.5), (0.12, 0.12, 0.12), taper=(0.18, 0)),
    ]
    return Model(np.stack(rows), kind)


def clutter(rng: np.random.Generator) -> Parts:
    """Bench, bin, post box, cabinet or planter: things without a class of their own."""
    kind = Material.OTHER
    choice = int(rng.integers(5))
    if choice == 0:
        wood: NDArray[np.float64] = np.array((0.30, 0.19, 0.11)) * rng.uniform(0.7, 1.4)
        rows = [
            part(BOX, kind, (0, 0, 0.43), (0.24, 0.8, 0.04), wood, Texture.SLATS),
            part(BOX, kind, (-0.24, 0, 0.7), (0.04, 0.8, 0.22), wood, Texture.SLATS, shear=-0.15),
            part(BOX, kind, (0, 0.65, 0.2), (0.2, 0.04, 0.2), (0.08, 0.08, 0.08)),
            part(BOX, kind, (0, -0.65, 0.2), (0.2, 0.04, 0.2), (0.08, 0.08, 0.08)),
        ]
    elif choice == 1:
        colour = np.array(((0.10, 0.22, 0.12), (0.12, 0.13, 0.14), (0.16, 0.2, 0.34))[int(rng.integers(3))])
        rows = [
            part(COLUMN, kind, (0, 0, 0.45), (0.27, 0.27, 0.45), colour, taper=(-0.04, 0)),
            part(COLUMN, kind, (0, 0, 0.95), (0.29, 0.29, 0.05), colour * 0.6),
        ]
    elif choice == 2:
        colour = np.array(((0.55, 0.08, 0.06), (0.08, 0.16, 0.42), (0.75, 0.55, 0.08))[int(rng.integers(3))])
        rows = [part(BOX, kind, (0, 0, 0.65), (0.26, 0.3, 0.65), colour, taper=(0.03, 0.03))]
    elif choice == 3:
        rows = [part(BOX, kind, (0, 0, 0.62), (0.24, 0.55, 0.62), (0.36, 0.40, 0.37), Texture.CONCRETE)]
    else:
        stone = np.array((0.45, 0.43, 0.40)) * rng.uniform(0.8, 1.1)
        rows = [part(BOX, kind, (0, 0, 0.32), (0.5, 0.9, 0.32), stone, Texture.CONCRETE)]
    return np.stack(rows)


def shelter(rng: np.random.Generator) -> Parts:
    """Bus shelter, open to +x."""
    grey = np.full(3, rng.uniform(0.15, 0.35))
    kind = Material.OTHER
    rows = [
        part(BOX, kind, (-0.1, 0, 2.45), (0.8, 1.9, 0.07), grey),
        part(BOX, kind, (-0.75, 0, 1.25), (0.04, 1.8, 1.1), (0.25, 0.3, 0.32), Texture.SLATS),
        part(BOX, kind, (-0.1, -1.8, 1.2), (0.6, 0.04, 1.2), (0.5, 0.25, 0.2)),
        part(BOX, kind, (-0.1, 1.8, 1.2), (0.04, 0.04, 1.2), grey),
        part(BOX, kind, (-0.5, 0, 0.5), (0.2, 1.4, 0.04), (0.3, 0.2, 0.12), Texture.SLATS),
    ]
    return np.stack(rows)
