"""Rays against parts, and points in parts: the one geometry that pictures, lidar and occupancy share (numba).

Rays are o + t d with any length of d; a distance t counts in lengths of d. ``MISS`` says that nothing was hit.
"""

from __future__ import annotations

from math import floor, inf, sqrt
from typing import Final

from numba import njit

from ugocc.data.synthetic.primitives import (
    BOX,
    COS,
    ELLIPSOID,
    HX,
    HY,
    HZ,
    KIND,
    SEED,
    SHEAR,
    SIN,
    TEXTURE,
    TX,
    TY,
    Parts,
    Texture,
    X,
    Y,
    Z,
)

MISS: Final = inf
_LEAVES: Final = int(Texture.LEAVES)
_NEAR: Final = 1e-4
_GAPS: Final = 0.43
"""Leaf noise below this is a hole in a crown."""


@njit(cache=True)
def hash3(i: int, j: int, k: int) -> float:
    """Number in [0, 1) that depends on three integers without visible order."""
    h = (i * 374761393 + j * 668265263 + k * 974634777) & 0xFFFFFFFF
    h = ((h ^ (h >> 13)) * 1274126177) & 0xFFFFFFFF
    h = ((h ^ (h >> 16)) * 2246822519) & 0xFFFFFFFF
    return ((h ^ (h >> 15)) & 0xFFFFFF) / 16777216.0


@njit(cache=True)
def noise3(x: float, y: float, z: float) -> float:
    """Smooth value noise in [0, 1] with cells of size one."""
    fx, fy, fz = floor(x), floor(y), floor(z)
    i, j, k = int(fx), int(fy), int(fz)
    u, v, w = x - fx, y - fy, z - fz
    u, v, w = u * u * (3 - 2 * u), v * v * (3 - 2 * v), w * w * (3 - 2 * w)
    a = hash3(i, j, k) * (1 - u) + hash3(i + 1, j, k) * u
    b = hash3(i, j + 1, k) * (1 - u) + hash3(i + 1, j + 1, k) * u
    c = hash3(i, j, k + 1) * (1 - u) + hash3(i + 1, j, k + 1) * u
    d = hash3(i, j + 1, k + 1) * (1 - u) + hash3(i + 1, j + 1, k + 1) * u
    return (a * (1 - v) + b * v) * (1 - w) + (c * (1 - v) + d * v) * w


@njit(cache=True)
def noise2(x: float, y: float) -> float:
    """Smooth value noise in [0, 1] with cells of size one."""
    fx, fy = floor(x), floor(y)
    i, j = int(fx), int(fy)
    u, v = x - fx, y - fy
    u, v = u * u * (3 - 2 * u), v * v * (3 - 2 * v)
    a = hash3(i, j, 7) * (1 - u) + hash3(i + 1, j, 7) * u
    b = hash3(i, j + 1, 7) * (1 - u) + hash3(i + 1, j + 1, 7) * u
    return a * (1 - v) + b * v


@njit(cache=True)
def to_local(parts: Parts, p: int, x: float, y: float, z: float) -> tuple[float, float, float]:
    """Point of the town in the upright axes of part ``p`` (turned, moved and with its lean taken out)."""
    dx, dy, dz = x - parts[p, X], y - parts[p, Y], z - parts[p, Z]
    c, s = parts[p, COS], parts[p, SIN]
    return c * dx + s * dy - parts[p, SHEAR] * (dz + parts[p, HZ]), c * dy - s * dx, dz


@njit(cache=True)
def inside(parts: Parts, p: int, x: float, y: float, z: float, least: float) -> bool:
    """Whether a point lies in part ``p``, its half sizes taken as at least ``least`` metres."""
    lx, ly, lz = to_local(parts, p, x, y, z)
    hx, hy, hz = max(parts[p, HX], least), max(parts[p, HY], least), max(parts[p, HZ], least)
    kind = parts[p, KIND]
    if kind == ELLIPSOID:
        return (lx / hx) ** 2 + (ly / hy) ** 2 + (lz / hz) ** 2 <= 1.0
    if abs(lz) > hz:
        return False
    h = lz + parts[p, HZ]
    if kind == BOX:
        return abs(lx) <= max(hx - parts[p, TX] * h, least) and abs(ly) <= max(hy - parts[p, TY] * h, least)
    r = max(hx - parts[p, TX] * h, least)
    return lx * lx + ly * ly <= r * r


@njit(cache=True)
def _leafy(lx: float, ly: float, lz: float, seed: float) -> bool:
    """Whether a crown has a leaf at this point of its surface (part axes), so that light passes between leaves."""
    shift = 37.0 * seed
    return noise3(3.1 * lx + shift, 3.1 * ly + shift, 3.1 * lz) > _GAPS


@njit(cache=True)
def _ellipsoid(
    parts: Parts, p: int, ox: float, oy: float, oz: float, dx: float, dy: float, dz: float, farthest: float
) -> float:
    ix, iy, iz = 1.0 / parts[p, HX], 1.0 / parts[p, HY], 1.0 / parts[p, HZ]
    ax, ay, az = ox * ix, oy * iy, oz * iz
    bx, by, bz = dx * ix, dy * iy, dz * iz
    a = bx * bx + by * by + bz * bz
    b = ax * bx + ay * by + az * bz
    c = ax * ax + ay * ay + az * az - 1.0
    root = b * b - a * c
    if root < 0.0:
        return MISS
    root = sqrt(root)
    for sign in (-1.0, 1.0):
        t = (-b + sign * root) / a
        if t > farthest:
            return MISS
        if t > _NEAR and (
            parts[p, TEXTURE] != _LEAVES or _leafy(ox + t * dx, oy + t * dy, oz + t * dz, parts[p, SEED])
        ):
            return t
        if parts[p, TEXTURE] != _LEAVES and t <= _NEAR:
            return MISS
    return MISS


@njit(cache=True)
def _box(parts: Parts, p: int, ox: float, oy: float, oz: float, dx: float, dy: float, dz: float) -> float:
    near, far = _NEAR, MISS
    h = oz + parts[p, HZ]
    for face in range(6):
        # Outside of a face is positive: value + t slope.
        if face == 0:
            value, slope = ox + parts[p, TX] * h - parts[p, HX], dx + parts[p, TX] * dz
        elif face == 1:
            value, slope = -ox + parts[p, TX] * h - parts[p, HX], -dx + parts[p, TX] * dz
        elif face == 2:
            value, slope = oy + parts[p, TY] * h - parts[p, HY], dy + parts[p, TY] * dz
        elif face == 3:
            value, slope = -oy + parts[p, TY] * h - parts[p, HY], -dy + parts[p, TY] * dz
        elif face == 4:
            value, slope = oz - parts[p, HZ], dz
        else:
            value, slope = -oz - parts[p, HZ], -dz
        if slope < 0.0:
            near = max(near, -value / slope)
        elif slope > 0.0:
            far = min(far, -value / slope)
        elif value > 0.0:
            return MISS
        if near > far:
            return MISS
    return near if near > _NEAR else MISS


@njit(cache=True)
def _column(parts: Parts, p: int, ox: float, oy: float, oz: float, dx: float, dy: float, dz: float) -> float:
    k, height = parts[p, TX], 2.0 * parts[p, HZ]
    h = oz + parts[p, HZ]
    r = parts[p, HX] - k * h
    best = MISS
    a = dx * dx + dy * dy - k * k * dz * dz
    b = ox * dx + oy * dy + k * dz * r
    c = ox * ox + oy * oy - r * r
    root = b * b - a * c
    if root >= 0.0 and abs(a) > 1e-12:
        root = sqrt(root)
        for sign in (-1.0, 1.0):
            t = (-b + sign * root) / a
            z = h + t * dz
            if t > _NEAR and t < best and z >= 0.0 and z <= height and r - k * t * dz >= 0.0:
                best = t
    if dz != 0.0:
        for end in (0.0, height):
            t = (end - h) / dz
            x, y, radius = ox + t * dx, oy + t * dy, parts[p, HX] - k * end
            if t > _NEAR and t < best and x * x + y * y <= radius * radius:
                best = t
    return best


@njit(cache=True)
def hit_part(
    parts: Parts, p: int, ox: float, oy: float, oz: float, dx: float, dy: float, dz: float, farthest: float
) -> float:
    """Distance at which a ray enters part ``p`` (crowns also: is stopped by a leaf inside), or MISS.

    Hits beyond ``farthest`` may be reported as MISS or as they are.
    """
    c, s, shear = parts[p, COS], parts[p, SIN], parts[p, SHEAR]
    lx, ly, lz = ox - parts[p, X], oy - parts[p, Y], oz - parts[p, Z]
    ax = c * lx + s * ly - shear * (lz + parts[p, HZ])
    ay = c * ly - s * lx
    bx, by = c * dx + s * dy - shear * dz, c * dy - s * dx
    kind = parts[p, KIND]
    if kind == BOX:
        return _box(parts, p, ax, ay, lz, bx, by, dz)
    if kind == ELLIPSOID:
        return _ellipsoid(parts, p, ax, ay, lz, bx, by, dz, farthest)
    return _column(parts, p, ax, ay, lz, bx, by, dz)


@njit(cache=True)
def local_normal(parts: Parts, p: int, lx: float, ly: float, lz: float) -> tuple[float, float, float]:
    """Outward unit normal of part ``p`` at a surface point, in the part's turned axes (lean put back)."""
    kind = parts[p, KIND]
    h = lz + parts[p, HZ]
    nx, ny, nz = 0.0, 0.0, 0.0
    if kind == ELLIPSOID:
        nx, ny, nz = lx / parts[p, HX] ** 2, ly / parts[p, HY] ** 2, lz / parts[p, HZ] ** 2
    elif kind == BOX:
        along_x = abs(abs(lx) + parts[p, TX] * h - parts[p, HX])
        along_y = abs(abs(ly) + parts[p, TY] * h - parts[p, HY])
        along_z = abs(abs(lz) - parts[p, HZ])
        if along_z <= along_x and along_z <= along_y:
            nz = 1.0 if lz > 0 else -1.0
        elif along_x <= along_y:
            nx, nz = (1.0 if lx > 0 else -1.0), parts[p, TX]
        else:
            ny, nz = (1.0 if ly > 0 else -1.0), parts[p, TY]
    else:
        radius = sqrt(lx * lx + ly * ly)
        if abs(abs(lz) - parts[p, HZ]) < abs(radius + parts[p, TX] * h - parts[p, HX]):
            nz = 1.0 if lz > 0 else -1.0
        else:
            nx, ny, nz = lx / max(radius, 1e-9), ly / max(radius, 1e-9), parts[p, TX]
    nz -= parts[p, SHEAR] * nx
    length = sqrt(nx * nx + ny * ny + nz * nz)
    return nx / length, ny / length, nz / length
