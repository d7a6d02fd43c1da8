"""Ray tracer over analytic primitives, compiled with numba; single-threaded, since scenes run in parallel.

A primitive is an oriented box, an ellipsoid or an upright cylinder, all described by a centre, half extents and a yaw.
They lie in a grid of 4 m columns; a ray walks the columns it crosses. The ground is the plane z = 0, painted by
:func:`ground_material`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

BOX, ELLIPSOID, CYLINDER = 0, 1, 2
CELL = 4.0
"""Edge of a grid column in metres."""
FAR = 130.0
"""Length of the longest ray in metres."""

PRIMITIVE = np.dtype(
    [
        ("kind", "i4"),
        ("material", "i4"),
        ("texture", "i4"),
        ("track", "i4"),
        ("centre", "f8", 3),
        ("half", "f8", 3),
        ("cos", "f8"),
        ("sin", "f8"),
        ("colour", "f8", 3),
    ]
)
"""One primitive: shape, what it is, how it is painted, whose part it is (-1 nobody's), pose, half extents, colour."""

Floats = NDArray[np.float64]
Ints = NDArray[np.int32]


class World(NamedTuple):
    """Everything a ray can meet, as arrays for the kernels."""

    kind: Ints
    """(P,) BOX, ELLIPSOID or CYLINDER."""
    shape: Floats
    """(P, 8) centre, half extents, cosine and sine of the yaw."""
    paint: Floats
    """(P, 3) albedo."""
    what: Ints
    """(P, 3) material, texture and track."""
    starts: Ints
    """(cells * cells + 1,): the primitives of column i are items[starts[i]:starts[i + 1]]."""
    items: Ints
    """Primitives of the columns, one after the other."""
    tops: Floats
    """(cells * cells,) height of the highest primitive of each column in metres."""
    low: Floats
    """(2,) smallest x, y of the grid in metres."""
    cells: int
    """Columns along x and along y."""
    xs: Floats
    """Centre lines of the streets along y."""
    ys: Floats
    """Centre lines of the streets along x."""
    half: float
    """Half the width of a street."""


def build_world(primitives: NDArray[np.void], low: Floats, cells: int, xs: Floats, ys: Floats, half: float) -> World:
    """Sort primitives (P,) of :data:`PRIMITIVE` into columns of :data:`CELL` metres; the rest as in :class:`World`."""
    centre, half_extents = primitives["centre"], primitives["half"]
    cos, sin = np.abs(primitives["cos"]), np.abs(primitives["sin"])
    long, wide = half_extents[:, 0], half_extents[:, 1]
    reach = np.stack([cos * long + sin * wide, sin * long + cos * wide], axis=1)
    first = np.clip(np.floor((centre[:, :2] - reach - low) / CELL).astype(int), 0, cells - 1)
    last = np.clip(np.floor((centre[:, :2] + reach - low) / CELL).astype(int), 0, cells - 1)
    pairs = [
        (x * cells + y, p)
        for p in range(len(primitives))
        for x in range(first[p, 0], last[p, 0] + 1)
        for y in range(first[p, 1], last[p, 1] + 1)
    ]
    table = np.array(sorted(pairs), dtype=np.int32).reshape(-1, 2)
    tops = np.full(cells * cells, -1.0)
    np.maximum.at(tops, table[:, 0], (centre + half_extents)[table[:, 1], 2])
    turned = np.stack([primitives["cos"], primitives["sin"]], axis=1)
    return World(
        kind=np.ascontiguousarray(primitives["kind"]),
        shape=np.concatenate([centre, half_extents, turned], axis=1),
        paint=np.ascontiguousarray(primitives["colour"]),
        what=np.stack([primitives["material"], primitives["texture"], primitives["track"]], axis=1),
        starts=np.searchsorted(table[:, 0], np.arange(cells * cells + 1)).astype(np.int32),
        items=np.ascontiguousarray(table[:, 1]),
        tops=tops,
        low=low,
        cells=cells,
        xs=xs,
        ys=ys,
        half=half,
    )


@njit(cache=True, fastmath=True, inline="always")
def hit_primitive(kind, shape, p, o, d, nearest, normal):  # type: ignore[no-untyped-def]
    """Distance along d from o to primitive p, or ``nearest`` if it is not closer; ``normal`` is set on a hit.

    ``shape`` is that of :class:`World`.
    """
    ox, oy, oz = o[0] - shape[p, 0], o[1] - shape[p, 1], o[2] - shape[p, 2]
    hx, hy, hz, cos, sin = shape[p, 3], shape[p, 4], shape[p, 5], shape[p, 6], shape[p, 7]
    lx, ly = cos * ox + sin * oy, -sin * ox + cos * oy
    dx, dy = cos * d[0] + sin * d[1], -sin * d[0] + cos * d[1]
    lz, dz = oz, d[2]
    nx = ny = nz = 0.0
    t = nearest
    if kind == 0:
        enter, leave, axis = -1e30, 1e30, -1
        for a in range(3):
            oa = lx if a == 0 else (ly if a == 1 else lz)
            da = dx if a == 0 else (dy if a == 1 else dz)
            ha = hx if a == 0 else (hy if a == 1 else hz)
            if abs(da) < 1e-12:
                if abs(oa) > ha:
                    return nearest
                continue
            near = (-ha - oa) / da
            far = (ha - oa) / da
            if near > far:
                near, far = far, near
            if near > enter:
                enter, axis = near, a
            if far < leave:
                leave = far
        if enter > leave or enter < 1e-4 or enter >= nearest:
            return nearest
        t = enter
        if axis == 0:
            nx = -1.0 if dx > 0 else 1.0
        elif axis == 1:
            ny = -1.0 if dy > 0 else 1.0
        else:
            nz = -1.0 if dz > 0 else 1.0
    elif kind == 1:
        ax, ay, az = lx / hx, ly / hy, lz / hz
        bx, by, bz = dx / hx, dy / hy, dz / hz
        a2 = bx * bx + by * by + bz * bz
        b = ax * bx + ay * by + az * bz
        c = ax * ax + ay * ay + az * az - 1.0
        disc = b * b - a2 * c
        if disc < 0:
            return nearest
        t = (-b - np.sqrt(disc)) / a2
        if t < 1e-4 or t >= nearest:
            return nearest
        nx, ny, nz = (ax + t * bx) / hx, (ay + t * by) / hy, (az + t * bz) / hz
    else:
        ax, ay = lx / hx, ly / hy
        bx, by = dx / hx, dy / hy
        a2 = bx * bx + by * by
        b = ax * bx + ay * by
        c = ax * ax + ay * ay - 1.0
        disc = b * b - a2 * c
        t = 1e30
        if a2 > 1e-12 and disc >= 0:
            side = (-b - np.sqrt(disc)) / a2
            if side > 1e-4 and abs(lz + side * dz) <= hz:
                t = side
                nx, ny = (ax + t * bx) / hx, (ay + t * by) / hy
        if abs(dz) > 1e-12:
            cap = ((hz if dz < 0 else -hz) - lz) / dz
            if 1e-4 < cap < t:
                qx, qy = ax + cap * bx, ay + cap * by
                if qx * qx + qy * qy <= 1.0:
                    t = cap
                    nx, ny, nz = 0.0, 0.0, (1.0 if dz < 0 else -1.0)
        if t >= nearest:
            return nearest
    length = np.sqrt(nx * nx + ny * ny + nz * nz)
    normal[0] = (cos * nx - sin * ny) / length
    normal[1] = (sin * nx + cos * ny) / length
    normal[2] = nz / length
    return t


@njit(cache=True, fastmath=True)
def trace(world, stamps, stamp, o, d, limit, normal):  # type: ignore[no-untyped-def]
    """First hit of a ray.

    Args:
        world: what there is.
        stamps: (P,) int64 scratch: the last ray that tested each primitive.
        stamp: a number no earlier ray used.
        o: (3,) origin in metres.
        d: (3,) direction, any length.
        limit: farthest distance, in lengths of d.
        normal: (3,) is set to the outward normal.

    Returns:
        Distance in lengths of d, and the primitive; -1 for the ground, -2 for nothing.
    """
    best, found = limit, -2
    low, cells, starts, items, tops = world.low, world.cells, world.starts, world.items, world.tops
    if d[2] < -1e-9:
        t = -o[2] / d[2]
        if 1e-4 < t < best:
            best, found = t, -1
            normal[0], normal[1], normal[2] = 0.0, 0.0, 1.0
    x, y = (o[0] - low[0]) / CELL, (o[1] - low[1]) / CELL
    dx, dy = d[0] / CELL, d[1] / CELL
    i, j = int(np.floor(x)), int(np.floor(y))
    step_i, step_j = (1 if dx > 0 else -1), (1 if dy > 0 else -1)
    next_i = ((i + (1 if dx > 0 else 0)) - x) / dx if abs(dx) > 1e-12 else 1e30
    next_j = ((j + (1 if dy > 0 else 0)) - y) / dy if abs(dy) > 1e-12 else 1e30
    grow_i = abs(1.0 / dx) if abs(dx) > 1e-12 else 1e30
    grow_j = abs(1.0 / dy) if abs(dy) > 1e-12 else 1e30
    entered = 0.0
    while entered < best and 0 <= i < cells and 0 <= j < cells:
        column = i * cells + j
        # Nothing in this column reaches up to where the ray crosses it.
        if o[2] + d[2] * (entered if d[2] > 0 else min(min(next_i, next_j), best)) <= tops[column]:
            for n in range(starts[column], starts[column + 1]):
                p = items[n]
                if stamps[p] == stamp:
                    continue
                stamps[p] = stamp
                t = hit_primitive(world.kind[p], world.shape, p, o, d, best, normal)
                if t < best:
                    best, found = t, p
        if next_i < next_j:
            entered, next_i, i = next_i, next_i + grow_i, i + step_i
        else:
            entered, next_j, j = next_j, next_j + grow_j, j + step_j
    return best, found


@njit(cache=True)
def noise(x, y, seed):  # type: ignore[no-untyped-def]
    """Repeatable value in [0, 1) per integer cell of the plane."""
    h = (int(np.floor(x)) * 374761393 + int(np.floor(y)) * 668265263 + seed * 2147483647) & 0xFFFFFFFF
    h = ((h ^ (h >> 13)) * 1274126177) & 0xFFFFFFFF
    return ((h ^ (h >> 16)) & 0xFFFF) / 65536.0


@njit(cache=True)
def smooth_noise(x, y, seed):  # type: ignore[no-untyped-def]
    """Bilinear blend of :func:`noise` between cell corners."""
    fx, fy = x - np.floor(x), y - np.floor(y)
    fx, fy = fx * fx * (3 - 2 * fx), fy * fy * (3 - 2 * fy)
    a = noise(x, y, seed) * (1 - fx) + noise(x + 1, y, seed) * fx
    b = noise(x, y + 1, seed) * (1 - fx) + noise(x + 1, y + 1, seed) * fx
    return a * (1 - fy) + b * fy


@njit(cache=True)
def ground_material(x, y, xs, ys, half):  # type: ignore[no-untyped-def]
    """Material id of the ground plane: ROAD 0 on streets, LANE_MARKING 1, TERRAIN 3 elsewhere.

    Args:
        x: metres.
        y: metres.
        xs: centre lines of the streets that run along y.
        ys: centre lines of the streets that run along x.
        half: half the width of a street from kerb to kerb.
    """
    across_x, across_y = 1e9, 1e9
    for c in xs:
        if abs(x - c) < abs(across_x):
            across_x = x - c
    for c in ys:
        if abs(y - c) < abs(across_y):
            across_y = y - c
    in_x, in_y = abs(across_x) <= half, abs(across_y) <= half
    if not in_x and not in_y:
        return 3
    if in_x and in_y:
        return 0
    across = abs(across_x) if in_x else abs(across_y)
    to_crossing = (abs(across_y) if in_x else abs(across_x)) - half
    along = y if in_x else x
    if 1.0 < to_crossing < 4.2:
        signed = across_x if in_x else across_y
        return 1 if (signed / 0.55) % 2.0 < 1.0 and across < half - 0.3 else 0
    if 4.9 < to_crossing < 5.4:
        return 1 if across < half - 0.2 else 0
    if to_crossing > 5.4:
        if across < 0.09:
            return 1 if (along / 3.0) % 2.0 < 1.0 else 0
        if abs(across - (half - 2.4)) < 0.07:
            return 1
    return 0
