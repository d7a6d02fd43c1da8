"""Lidar sweeps as range images, from the same first hits as the pictures (numba)."""

from __future__ import annotations

from math import cos, pi, sin, sqrt
from typing import Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from ugocc.data.synthetic.intersect import local_normal, to_local
from ugocc.data.synthetic.picture import World
from ugocc.data.synthetic.primitives import COS, MATERIAL, SIN
from ugocc.data.synthetic.streets import ground_material
from ugocc.data.synthetic.tracer import GROUND, SKY_HIT, first_hit
from ugocc.data.synthetic.vocabulary import Material

_SKY: Final = int(Material.SKY)
_RANGE_NOISE: Final = 0.01
_LOST: Final = 0.02
"""Share of returns that go missing."""

_REFLECTIVITY: Final = np.full(256, 0.35)
_REFLECTIVITY[
    [Material.ROAD, Material.LANE_MARKING, Material.SIDEWALK, Material.TERRAIN, Material.FOLIAGE, Material.SIGN]
] = (0.15, 0.7, 0.3, 0.4, 0.45, 0.95)


@njit(cache=True)
def _sweep(
    origin: NDArray[np.float64],
    rotation: NDArray[np.float64],
    inclinations: NDArray[np.float64],
    columns: int,
    reach: float,
    world: World,
    reflectivity: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.uint8]]:
    beams = inclinations.shape[0]
    ranges, intensity = np.zeros((beams, columns)), np.zeros((beams, columns))
    materials = np.full((beams, columns), _SKY, dtype=np.uint8)
    ox, oy, oz = origin[0], origin[1], origin[2]
    for c in range(columns):
        azimuth = pi - (c + 0.5) * 2 * pi / columns
        for b in range(beams):
            flat = cos(inclinations[b])
            lx, ly, lz = flat * cos(azimuth), flat * sin(azimuth), sin(inclinations[b])
            dx = rotation[0, 0] * lx + rotation[0, 1] * ly + rotation[0, 2] * lz
            dy = rotation[1, 0] * lx + rotation[1, 1] * ly + rotation[1, 2] * lz
            dz = rotation[2, 0] * lx + rotation[2, 1] * ly + rotation[2, 2] * lz
            t, part = first_hit(ox, oy, oz, dx, dy, dz, reach, world.parts, world.cells, world.streets)
            if part == SKY_HIT:
                continue
            x, y, z = ox + t * dx, oy + t * dy, oz + t * dz
            if part == GROUND:
                material, facing = ground_material(x, y, world.streets), abs(dz)
            else:
                material = int(world.parts[part, MATERIAL])
                qx, qy, qz = to_local(world.parts, part, x, y, z)
                ux, uy, uz = local_normal(world.parts, part, qx, qy, qz)
                cs, sn = world.parts[part, COS], world.parts[part, SIN]
                facing = abs((cs * ux - sn * uy) * dx + (sn * ux + cs * uy) * dy + uz * dz)
            ranges[b, c], materials[b, c] = t, material
            intensity[b, c] = reflectivity[material] * sqrt(facing)
    return ranges, intensity, materials


def sweep(
    world_T_lidar: NDArray[np.float64],
    inclinations: NDArray[np.float64],
    columns: int,
    reach: float,
    world: World,
    rng: np.random.Generator,
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.uint8]]:
    """One turn of the lidar.

    Args:
        world_T_lidar: (4, 4) of the sensor.
        inclinations: (beams,) radians above the horizon, top beam first.
        columns: azimuths; column c of W looks at pi - (c + 0.5) 2 pi / W.
        reach: longest range that returns, metres.
        world: the town at this moment.
        rng: source of the noise of ranges (1 cm) and of lost returns (2 %).

    Returns:
        ranges in metres (0 without return), intensity in [0, 1], materials; all (beams, columns).
    """
    ranges, intensity, materials = _sweep(
        world_T_lidar[:3, 3].copy(), world_T_lidar[:3, :3].copy(), inclinations, columns, reach, world, _REFLECTIVITY
    )
    ranges += rng.normal(0.0, _RANGE_NOISE, ranges.shape) * (ranges > 0)
    lost = rng.random(ranges.shape) < _LOST
    ranges[lost], intensity[lost], materials[lost] = 0.0, 0.0, _SKY
    return ranges.astype(np.float32), intensity.clip(0.0, 1.0).astype(np.float32), materials


def sweep_points(ranges: NDArray[np.float32], inclinations: NDArray[np.float64]) -> NDArray[np.float64]:
    """(M, 3) points of all returns in the sensor's frame, row by row."""
    beams, columns = ranges.shape
    azimuth = np.pi - (np.arange(columns) + 0.5) * 2 * np.pi / columns
    flat, up = np.cos(inclinations)[:, None], np.sin(inclinations)[:, None]
    rays = np.stack([flat * np.cos(azimuth), flat * np.sin(azimuth), np.broadcast_to(up, (beams, columns))], axis=-1)
    hit = ranges > 0
    return np.asarray(rays[hit] * ranges[hit].astype(np.float64)[:, None])


@njit(cache=True)
def count_inside(
    points: NDArray[np.float64], box_T_world: NDArray[np.float64], halves: NDArray[np.float64]
) -> NDArray[np.int64]:
    """How many points (M, 3) lie in each box, given (B, 4, 4) and half sizes (B, 3)."""
    counts = np.zeros(box_T_world.shape[0], dtype=np.int64)
    for b in range(box_T_world.shape[0]):
        m, h = box_T_world[b], halves[b]
        for n in range(points.shape[0]):
            z = m[2, 0] * points[n, 0] + m[2, 1] * points[n, 1] + m[2, 2] * points[n, 2] + m[2, 3]
            if abs(z) > h[2]:
                continue
            x = m[0, 0] * points[n, 0] + m[0, 1] * points[n, 1] + m[0, 2] * points[n, 2] + m[0, 3]
            if abs(x) > h[0]:
                continue
            y = m[1, 0] * points[n, 0] + m[1, 1] * points[n, 1] + m[1, 2] * points[n, 2] + m[1, 3]
            if abs(y) <= h[1]:
                counts[b] += 1
    return counts
