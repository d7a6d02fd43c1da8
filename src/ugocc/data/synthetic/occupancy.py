"""Occupancy of the Occ3D grid from the same parts that rays hit, by sampling each voxel (numba)."""

from __future__ import annotations

from math import floor
from typing import Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from ugocc.data.synthetic.intersect import inside
from ugocc.data.synthetic.primitives import HZ, MATERIAL, RADIUS, Parts, X, Y, Z
from ugocc.data.synthetic.streets import Streets, ground_material
from ugocc.data.synthetic.tracer import footprint
from ugocc.data.synthetic.vocabulary import Material
from ugocc.geometry.grid import VoxelGrid

_ROAD, _MARKING, _SKY = int(Material.ROAD), int(Material.LANE_MARKING), int(Material.SKY)
_SAMPLES: Final = 5
_LEAST: Final = 0.07
"""Parts thinner than this count as this thick (half size, metres): more than half the distance between samples."""


def _ranking() -> NDArray[np.uint8]:
    """(256,) who wins a voxel that several materials share: small things and road users over large ones."""
    order = (
        Material.ROAD,
        Material.LANE_MARKING,
        Material.TERRAIN,
        Material.SIDEWALK,
        Material.BUILDING,
        Material.FOLIAGE,
        Material.TRUNK,
        Material.OTHER,
        Material.BARRIER,
        Material.BUS,
        Material.TRUCK,
        Material.CAR,
        Material.POLE,
        Material.TRAFFIC_LIGHT,
        Material.SIGN,
        Material.CONE,
        Material.BICYCLE,
        Material.MOTORCYCLE,
        Material.PEDESTRIAN,
    )
    table = np.zeros(256, dtype=np.uint8)
    table[list(order)] = np.arange(1, len(order) + 1)
    return table


_RANK: Final = _ranking()


@njit(cache=True)
def _touches(parts: Parts, p: int, x: float, y: float, z: float, size: float, pose: NDArray[np.float64]) -> bool:
    """Whether part ``p`` reaches into the voxel with smallest corner (x, y, z) of the ego frame."""
    half = 0.5 * size
    wx = pose[0] + pose[2] * (x + half) - pose[3] * (y + half)
    wy = pose[1] + pose[3] * (x + half) + pose[2] * (y + half)
    gap = (wx - parts[p, X]) ** 2 + (wy - parts[p, Y]) ** 2 + (z + half - parts[p, Z]) ** 2
    if gap > (parts[p, RADIUS] + 0.87 * size + _LEAST) ** 2:
        return False
    if inside(parts, p, wx, wy, z + half, _LEAST):
        return True
    step = 0.98 * size / (_SAMPLES - 1)
    for i in range(_SAMPLES):
        for j in range(_SAMPLES):
            ex, ey = x + 0.01 * size + i * step, y + 0.01 * size + j * step
            wx = pose[0] + pose[2] * ex - pose[3] * ey
            wy = pose[1] + pose[3] * ex + pose[2] * ey
            for k in range(_SAMPLES):
                if inside(parts, p, wx, wy, z + 0.01 * size + k * step, _LEAST):
                    return True
    return False


@njit(cache=True)
def _fill_ground(
    out: NDArray[np.uint8], pose: NDArray[np.float64], streets: Streets, lower: NDArray[np.float64], size: float
) -> None:
    layer = int(floor((0.0 - lower[2]) / size))
    counts = np.zeros(256, dtype=np.int64)
    for i in range(out.shape[0]):
        for j in range(out.shape[1]):
            best, most = 0, 0
            counts[:] = 0
            for n in range(5):
                # Centre, then the middles of the four quarters; the centre decides ties.
                a = 0.5 if n == 0 else 0.25 + 0.5 * (n & 1)
                b = 0.5 if n == 0 else 0.25 + 0.5 * ((n >> 1) & 1)
                x, y = lower[0] + (i + a) * size, lower[1] + (j + b) * size
                material = ground_material(
                    pose[0] + pose[2] * x - pose[3] * y, pose[1] + pose[3] * x + pose[2] * y, streets
                )
                material = _ROAD if material == _MARKING else material
                counts[material] += 1
                if counts[material] > most:
                    best, most = material, counts[material]
            if 0 <= layer < out.shape[2]:
                out[i, j, layer] = best


@njit(cache=True)
def _fill_parts(
    out: NDArray[np.uint8],
    parts: Parts,
    pose: NDArray[np.float64],
    lower: NDArray[np.float64],
    size: float,
    rank: NDArray[np.uint8],
) -> None:
    nx, ny, nz = out.shape
    for p in range(parts.shape[0]):
        ax, ay, bx, by = footprint(parts, p)
        # The part's rectangle in the ego frame, from its middle and half sizes in the town.
        mx, my = 0.5 * (ax + bx) - pose[0], 0.5 * (ay + by) - pose[1]
        ex, ey = 0.5 * (bx - ax) + _LEAST, 0.5 * (by - ay) + _LEAST
        cx, cy = pose[2] * mx + pose[3] * my, pose[2] * my - pose[3] * mx
        rx = abs(pose[2]) * ex + abs(pose[3]) * ey
        ry = abs(pose[3]) * ex + abs(pose[2]) * ey
        i0, i1 = int(floor((cx - rx - lower[0]) / size)), int(floor((cx + rx - lower[0]) / size))
        j0, j1 = int(floor((cy - ry - lower[1]) / size)), int(floor((cy + ry - lower[1]) / size))
        k0 = int(floor((parts[p, Z] - parts[p, HZ] - lower[2]) / size))
        k1 = int(floor((parts[p, Z] + parts[p, HZ] - lower[2]) / size))
        material = int(parts[p, MATERIAL])
        for i in range(max(i0, 0), min(i1, nx - 1) + 1):
            for j in range(max(j0, 0), min(j1, ny - 1) + 1):
                for k in range(max(k0, 0), min(k1, nz - 1) + 1):
                    there = out[i, j, k]
                    if there != _SKY and rank[there] >= rank[material]:
                        continue
                    if _touches(parts, p, lower[0] + i * size, lower[1] + j * size, lower[2] + k * size, size, pose):
                        out[i, j, k] = material


def voxelise(parts: Parts, streets: Streets, pose: NDArray[np.float64], grid: VoxelGrid) -> NDArray[np.uint8]:
    """Material of every voxel of ``grid`` in the frame of a car at ``pose`` (x, y, yaw); SKY where free.

    A voxel is occupied where a part reaches into it; thin parts (poles, plates) count as 14 cm thick. The ground fills
    the one layer that holds the carriageway's surface. Where several materials meet, small things win.
    """
    out = np.full(grid.shape, _SKY, dtype=np.uint8)
    turned = np.array([pose[0], pose[1], np.cos(pose[2]), np.sin(pose[2])])
    lower = np.array(grid.lower)
    _fill_ground(out, turned, streets, lower, grid.voxel_size)
    _fill_parts(out, parts, turned, lower, grid.voxel_size, _RANK)
    return out
