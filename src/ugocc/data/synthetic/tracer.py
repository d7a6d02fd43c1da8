"""First hits of rays in the town: parts sorted into square ground cells, walked cell by cell (numba)."""

from __future__ import annotations

from math import floor, inf
from typing import Final, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from ugocc.data.synthetic.intersect import MISS, hit_part
from ugocc.data.synthetic.primitives import COS, HX, HY, HZ, RADIUS, SHEAR, SIN, Parts, X, Y, Z
from ugocc.data.synthetic.streets import Streets, hit_ground

GROUND: Final = -1
"""Part index that stands for the ground."""
SKY_HIT: Final = -2
"""Part index that stands for nothing."""


class Cells(NamedTuple):
    """Which parts touch which square of the ground."""

    start: NDArray[np.int32]
    """(nx * ny + 1,) where a cell's list begins in ``items``; cell (i, j) is number i * ny + j."""
    items: NDArray[np.int32]
    """Parts of all cells, cell after cell."""
    top: NDArray[np.float64]
    """(nx * ny,) height of the highest part of a cell."""
    x0: float
    """Smallest x of the cells, metres."""
    y0: float
    """Smallest y."""
    size: float
    """Edge of a cell."""
    nx: int
    """Cells along x."""
    ny: int
    """Cells along y."""


@njit(cache=True)
def footprint(parts: Parts, p: int) -> tuple[float, float, float, float]:
    """Upright bounding rectangle x0, y0, x1, y1 of part ``p`` on the ground."""
    c, s = parts[p, COS], parts[p, SIN]
    hx, hy = parts[p, HX], parts[p, HY]
    lean = 2.0 * parts[p, SHEAR] * parts[p, HZ]
    low, high = min(0.0, lean) - hx, max(0.0, lean) + hx
    middle, half = 0.5 * (low + high), 0.5 * (high - low)
    cx, cy = parts[p, X] + c * middle, parts[p, Y] + s * middle
    ex = abs(c) * half + abs(s) * hy
    ey = abs(s) * half + abs(c) * hy
    return cx - ex, cy - ey, cx + ex, cy + ey


@njit(cache=True)
def _sort_in(
    parts: Parts, x0: float, y0: float, size: float, nx: int, ny: int
) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.float64]]:
    spans = np.empty((parts.shape[0], 4), dtype=np.int32)
    count = np.zeros(nx * ny + 1, dtype=np.int32)
    top = np.zeros(nx * ny)
    for p in range(parts.shape[0]):
        ax, ay, bx, by = footprint(parts, p)
        spans[p, 0] = max(int(floor((ax - x0) / size)), 0)
        spans[p, 1] = max(int(floor((ay - y0) / size)), 0)
        spans[p, 2] = min(int(floor((bx - x0) / size)), nx - 1)
        spans[p, 3] = min(int(floor((by - y0) / size)), ny - 1)
        for i in range(spans[p, 0], spans[p, 2] + 1):
            for j in range(spans[p, 1], spans[p, 3] + 1):
                cell = i * ny + j
                count[cell + 1] += 1
                top[cell] = max(top[cell], parts[p, Z] + parts[p, HZ])
    start = np.cumsum(count).astype(np.int32)
    items = np.empty(start[-1], dtype=np.int32)
    filled = start[:-1].copy()
    for p in range(parts.shape[0]):
        for i in range(spans[p, 0], spans[p, 2] + 1):
            for j in range(spans[p, 1], spans[p, 3] + 1):
                cell = i * ny + j
                items[filled[cell]] = p
                filled[cell] += 1
    return start, items, top


def sort_into_cells(parts: Parts, extent: float, size: float = 4.0) -> Cells:
    """Cells of ``size`` metres over the square [-extent, extent]; what lies outside is left out."""
    n = int(np.ceil(2 * extent / size))
    start, items, top = _sort_in(parts, -extent, -extent, size, n, n)
    return Cells(start, items, top, -extent, -extent, size, n, n)


@njit(cache=True)
def first_hit(
    ox: float,
    oy: float,
    oz: float,
    dx: float,
    dy: float,
    dz: float,
    farthest: float,
    parts: Parts,
    cells: Cells,
    streets: Streets,
) -> tuple[float, int]:
    """Nearest surface along the ray o + t d, 0 < t <= farthest.

    Returns:
        t in lengths of d (MISS without a hit) and the part, GROUND or SKY_HIT.
    """
    best, part = farthest, SKY_HIT
    t = hit_ground(ox, oy, oz, dx, dy, dz, streets)
    if t < best:
        best, part = t, GROUND
    t, p = _first_part(ox, oy, oz, dx, dy, dz, best, parts, cells, False)
    if p >= 0:
        best, part = t, p
    return (best, part) if part != SKY_HIT else (MISS, SKY_HIT)


@njit(cache=True)
def in_shadow(
    ox: float, oy: float, oz: float, dx: float, dy: float, dz: float, farthest: float, parts: Parts, cells: Cells
) -> bool:
    """Whether any part lies along the ray within ``farthest`` lengths of d."""
    _, p = _first_part(ox, oy, oz, dx, dy, dz, farthest, parts, cells, True)
    return p >= 0


@njit(cache=True)
def _first_part(
    ox: float,
    oy: float,
    oz: float,
    dx: float,
    dy: float,
    dz: float,
    farthest: float,
    parts: Parts,
    cells: Cells,
    any_hit: bool,
) -> tuple[float, int]:
    """Nearest part along the ray, or just any: (t, part), part -1 without a hit. Cells as in Amanatides and Woo."""
    best, part = farthest, -1
    size, ny = cells.size, cells.ny
    i, j = int(floor((ox - cells.x0) / size)), int(floor((oy - cells.y0) / size))
    step_i, step_j = (1 if dx > 0 else -1), (1 if dy > 0 else -1)
    per_i = size / abs(dx) if dx != 0.0 else inf
    per_j = size / abs(dy) if dy != 0.0 else inf
    next_i = (cells.x0 + (i + (step_i > 0)) * size - ox) / dx if dx != 0.0 else inf
    next_j = (cells.y0 + (j + (step_j > 0)) * size - oy) / dy if dy != 0.0 else inf
    squared = dx * dx + dy * dy + dz * dz
    entered = 0.0
    while 0 <= i < cells.nx and 0 <= j < ny and entered < best:
        leaving = min(next_i, next_j, best)
        cell = i * ny + j
        lowest = oz + dz * (entered if dz > 0.0 else leaving)
        if lowest <= cells.top[cell]:
            for n in range(cells.start[cell], cells.start[cell + 1]):
                p = cells.items[n]
                # A sphere around the part turns most rays away before the exact test.
                cx, cy, cz = parts[p, X] - ox, parts[p, Y] - oy, parts[p, Z] - oz
                along = cx * dx + cy * dy + cz * dz
                radius = parts[p, RADIUS]
                gap = (cx * cx + cy * cy + cz * cz - radius * radius) * squared
                if gap > along * along or (along < 0.0 and gap > 0.0):
                    continue
                t = hit_part(parts, p, ox, oy, oz, dx, dy, dz, best)
                if t < best:
                    best, part = t, p
                    if any_hit:
                        return best, part
        entered = min(next_i, next_j)
        if next_i < next_j:
            i += step_i
            next_i += per_i
        else:
            j += step_j
            next_j += per_j
    return best, part
