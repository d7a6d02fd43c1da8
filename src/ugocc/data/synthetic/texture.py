"""Procedural surfaces: the reflectance of parts and ground at a point (numba).

Fine patterns fade to their mean where one pixel covers more than they measure, so that distant walls do not flicker.
"""

from __future__ import annotations

from math import floor, sqrt
from typing import Final

from numba import njit

from ugocc.data.synthetic.appearance import Look, Rgb
from ugocc.data.synthetic.intersect import hash3, noise2, noise3
from ugocc.data.synthetic.primitives import BLUE, GREEN, HX, HY, HZ, RED, SEED, TEXTURE, Parts, Texture
from ugocc.data.synthetic.vocabulary import Material

_MARKING, _ROAD, _SIDEWALK = int(Material.LANE_MARKING), int(Material.ROAD), int(Material.SIDEWALK)
_FACADE, _ROOF, _CAR_BODY, _CABIN = int(Texture.FACADE), int(Texture.ROOF), int(Texture.CAR_BODY), int(Texture.CABIN)
_BUS, _CARGO, _LEAVES, _BARK = int(Texture.BUS_BODY), int(Texture.CARGO), int(Texture.LEAVES), int(Texture.BARK)
_SIGN, _SIGNAL, _CONE, _STRIPES = int(Texture.SIGN), int(Texture.SIGNAL), int(Texture.CONE), int(Texture.STRIPES)
_CONCRETE, _SLATS, _WHEEL, _HEDGE = (
    int(Texture.CONCRETE),
    int(Texture.SLATS),
    int(Texture.WHEEL),
    int(Texture.HEDGE),
)

Surface = tuple[float, float, float, float]
"""Linear RGB reflectance and gloss, the share of mirrored sky."""

_GLASS: Final = (0.035, 0.045, 0.055, 0.5)


@njit(cache=True)
def _fade(period: float, pixel: float) -> float:
    """Visibility of a pattern of ``period`` metres where a pixel covers ``pixel`` metres: 1 near, 0 far."""
    return min(max(2.0 - 4.0 * pixel / period, 0.0), 1.0)


@njit(cache=True)
def _scaled(r: float, g: float, b: float, factor: float, gloss: float) -> Surface:
    return r * factor, g * factor, b * factor, gloss


@njit(cache=True)
def _facade(r: float, g: float, b: float, u: float, h: float, height: float, seed: float, pixel: float) -> Surface:
    """Wall with rows of windows; ``u`` metres along the wall, ``h`` above its foot."""
    a = (seed * 7919.0) % 1.0
    storey, bay = 3.0 + 0.6 * a, 1.7 + 2.0 * ((seed * 104729.0) % 1.0)
    wide, tall = 0.42 + 0.3 * ((seed * 1299709.0) % 1.0), 0.45 + 0.15 * a
    wall = 0.88 + 0.24 * noise2(u * 0.9 + 50.0 * seed, h * 0.9)
    if a < 0.5:
        wall *= 1.0 - (0.14 * _fade(0.3, pixel) if (h * 4.0) % 1.0 < 0.14 else 0.0)
    if h < 0.5:
        return _scaled(r, g, b, 0.62 * wall, 0.0)
    row, column = floor(h / storey), floor((u + 200.0) / bay)
    v, w = h / storey - row, (u + 200.0) / bay - column
    if row == 0 and a > 0.45 and height > 5.0:
        if v > 0.84:
            hue = hash3(int(seed * 9973), 1, 2)
            return 0.15 + 0.5 * hue, 0.2 + 0.3 * (1 - hue), 0.55 - 0.45 * hue, 0.0
        if w > 0.1 and w < 0.9 and v > 0.18:
            shade = 0.6 + 0.8 * noise2(u * 1.5, h * 1.5 + 31.0 * seed)
            return 0.09 * shade, 0.085 * shade, 0.075 * shade, 0.32
        return _scaled(r, g, b, 0.8 * wall, 0.0)
    if h > height - 0.55:
        return _scaled(r, g, b, 1.12 * wall, 0.0)
    seen = _fade(bay, pixel)
    x, y = abs(w - 0.5) / (0.5 * wide), abs(v - 0.52) / (0.5 * tall)
    if x < 1.0 and y < 1.0:
        if seen < 1.0 or (x < 0.9 and y < 0.92 and not (x < 0.07)):
            kind = hash3(int(column), int(row), int(seed * 8191))
            gloss, curtain = 0.45, 0.0
            if kind > 0.7:
                gloss, curtain = 0.22, 0.22 + 0.3 * (kind - 0.7)
            keep = 0.35 * (1.0 - seen)
            return (
                r * keep + (0.05 + curtain) * (1 - keep),
                g * keep + (0.06 + curtain) * (1 - keep),
                b * keep + (0.07 + 0.85 * curtain) * (1 - keep),
                gloss * (0.5 + 0.5 * seen),
            )
        return 0.62, 0.6, 0.57, 0.0
    if v < 0.05:
        return _scaled(r, g, b, 0.85 * wall, 0.0)
    return _scaled(r, g, b, wall, 0.0)


@njit(cache=True)
def _car_body(r: float, g: float, b: float, x: float, y: float, z: float, end: bool, side: bool) -> Surface:
    """Painted body; x, y, z in units of its half sizes, front at x = 1."""
    if z < -0.62:
        return 0.03, 0.03, 0.032, 0.02
    if end:
        if abs(y) > 0.52 and z > -0.05 and z < 0.62:
            return (0.95, 0.95, 0.9, 0.3) if x > 0 else (0.75, 0.03, 0.03, 0.15)
        if abs(y) < 0.26 and z > -0.45 and z < -0.1:
            return 0.6, 0.6, 0.55, 0.0
        if x > 0 and abs(y) < 0.5 and z > -0.3 and z < 0.45:
            return 0.05, 0.05, 0.055, 0.1
    if side and z < 0.8 and (abs(x + 0.42) < 0.008 or abs(x - 0.14) < 0.008):
        return r * 0.4, g * 0.4, b * 0.4, 0.05
    return r, g, b, 0.16


@njit(cache=True)
def _cabin(r: float, g: float, b: float, x: float, y: float, z: float, up: bool, side: bool) -> Surface:
    """Windows between pillars under a painted roof; x, y, z in units of the half sizes."""
    if up or z > 0.86:
        return r, g, b, 0.16
    if z < -0.88:
        return r * 0.7, g * 0.7, b * 0.7, 0.1
    if side and (abs(x + 0.08) < 0.035 or abs(x) > 0.93 - 0.12 * (z + 1.0)):
        return 0.6 * r, 0.6 * g, 0.6 * b, 0.1
    if not side and abs(y) > 0.9:
        return r, g, b, 0.1
    return _GLASS


@njit(cache=True)
def _bus(r: float, g: float, b: float, x: float, y: float, z: float, end: bool, side: bool, hx: float) -> Surface:
    """Window band, doors and a stripe; x, y, z in units of the half sizes."""
    if z < -0.8:
        return 0.05, 0.05, 0.055, 0.0
    if end:
        if x > 0 and z > -0.25 and z < 0.62 and abs(y) < 0.9:
            return _GLASS
        if x < 0 and z > 0.1 and z < 0.6 and abs(y) < 0.75:
            return _GLASS
        if x > 0 and z > 0.68 and z < 0.9 and abs(y) < 0.7:
            return 0.9, 0.55, 0.1, 0.0
        if abs(y) > 0.6 and z > -0.7 and z < -0.5:
            return (0.9, 0.9, 0.85, 0.2) if x > 0 else (0.75, 0.04, 0.04, 0.1)
    if side:
        if z > -0.12 and z < 0.6 and (x * hx * 0.7 + 50.0) % 1.0 > 0.07:
            return _GLASS
        if z > -0.34 and z < -0.2:
            return 0.75, 0.75, 0.72, 0.1
    return r, g, b, 0.12


@njit(cache=True)
def _sign(r: float, g: float, b: float, y: float, z: float, front: bool, seed: float) -> Surface:
    """A traffic sign's face; y, z in units of the half sizes."""
    if not front:
        return 0.36, 0.37, 0.38, 0.05
    border = max(abs(y), abs(z))
    kind = int(seed * 4.0)
    if kind == 0:
        return (0.85, 0.85, 0.82, 0.05) if border > 0.86 or abs(z) < 0.18 else (r, g, b, 0.05)
    if kind == 1:
        if y * y + z * z > 0.55:
            return r, g, b, 0.05
        return (0.1, 0.1, 0.1, 0.0) if abs(y) < 0.2 and abs(z) < 0.5 else (0.86, 0.86, 0.84, 0.05)
    if kind == 2:
        return (0.9, 0.9, 0.88, 0.05) if abs(y - z * 0.6) < 0.24 and border < 0.8 else (r, g, b, 0.05)
    dark = border > 0.88 or (abs(abs(z) - 0.3) < 0.1 and abs(y) < 0.65)
    return (0.08, 0.08, 0.08, 0.0) if dark else (r, g, b, 0.05)


@njit(cache=True)
def _signal(y: float, z: float, front: bool, seed: float) -> Surface:
    """A traffic light's case with three lamps, one of them lit."""
    if front:
        lit = int(seed * 3.0)
        for lamp in range(3):
            if y * y * 0.3 + (z - 0.62 + 0.62 * lamp) ** 2 < 0.06:
                power = 1.6 if lamp == lit else 0.12
                if lamp == 0:
                    return power, 0.08 * power, 0.05 * power, 0.0
                if lamp == 1:
                    return power, 0.6 * power, 0.05 * power, 0.0
                return 0.05 * power, power, 0.45 * power, 0.0
    return 0.04, 0.045, 0.04, 0.05


@njit(cache=True)
def part_surface(
    parts: Parts, p: int, lx: float, ly: float, lz: float, nx: float, ny: float, nz: float, pixel: float
) -> Surface:
    """Reflectance and gloss of part ``p`` at a point in its axes, with normal n there; a pixel covers ``pixel`` m."""
    r, g, b, seed = parts[p, RED], parts[p, GREEN], parts[p, BLUE], parts[p, SEED]
    hx, hy, hz = parts[p, HX], parts[p, HY], parts[p, HZ]
    texture = int(parts[p, TEXTURE])
    x, y, z = lx / hx, ly / hy, lz / hz
    up = abs(nz) > 0.9
    end = not up and abs(nx) > abs(ny)
    side = not up and not end
    if texture == _FACADE and not up:
        return _facade(r, g, b, ly + hy if end else lx + hx, lz + hz, 2 * hz, seed + (0.17 if end else 0.0), pixel)
    if texture == _ROOF:
        line = 1.0 - (0.25 * _fade(0.4, pixel) if ((lz + 10.0) * 4.0) % 1.0 < 0.2 else 0.0)
        return _scaled(r, g, b, line * (0.85 + 0.3 * noise2(lx, ly)), 0.0)
    if texture == _CAR_BODY:
        return _car_body(r, g, b, x, y, z, end, side)
    if texture == _CABIN:
        return _cabin(r, g, b, x, y, z, up, side)
    if texture == _BUS:
        return _bus(r, g, b, x, y, z, end, side, hx)
    if texture == _CARGO:
        panel = 1.0 - (0.2 * _fade(0.5, pixel) if side and ((lx + 50.0) * 0.8) % 1.0 < 0.04 else 0.0)
        band = side and abs(z + 0.1) < 0.25 and abs(x) < 0.6 and seed > 0.4
        return (0.6 * seed, 0.25, 0.7 * (1 - seed), 0.04) if band else _scaled(r, g, b, panel, 0.04)
    if texture == _LEAVES or texture == _HEDGE:
        shift = 37.0 * seed
        coarse = noise3(3.1 * lx + shift, 3.1 * ly + shift, 3.1 * lz)
        fine = noise3(9.0 * lx + shift, 9.0 * ly, 9.0 * lz)
        return _scaled(r, g, b, 0.45 + 0.6 * coarse + 0.5 * (fine - 0.5) * _fade(0.25, pixel) + 0.22 * z, 0.0)
    if texture == _BARK:
        return _scaled(r, g, b, 0.7 + 0.6 * noise3(9.0 * lx + 5 * seed, 9.0 * ly, 2.5 * lz), 0.0)
    if texture == _SIGN:
        return _sign(r, g, b, y, z, end and x > 0, seed)
    if texture == _SIGNAL:
        return _signal(y, z, end and x > 0, seed)
    if texture == _CONE:
        white = (z > -0.2 and z < 0.12) or (z > 0.4 and z < 0.62)
        return (0.85, 0.85, 0.83, 0.02) if white else (r, g, b, 0.02)
    if texture == _STRIPES:
        slanted = ((lx + lz + 50.0) * 2.2) % 1.0 < 0.5
        return (0.82, 0.82, 0.8, 0.02) if slanted else (r, g, b, 0.02)
    if texture == _CONCRETE:
        return _scaled(r, g, b, 0.8 + 0.4 * noise3(3.0 * lx + 9 * seed, 3.0 * ly, 3.0 * lz), 0.0)
    if texture == _SLATS:
        return _scaled(r, g, b, 0.45 if ((lx + 50.0) * 5.0) % 1.0 < 0.12 * _fade(0.2, pixel) else 1.0, 0.0)
    if texture == _WHEEL:
        hub = x * x + z * z
        if hub < 0.36 and not hub < 0.03:
            return 0.42, 0.43, 0.45, 0.12
        return 0.025, 0.025, 0.027, 0.0
    return r, g, b, 0.0


@njit(cache=True)
def ground_surface(x: float, y: float, material: int, look: Look, pixel: float) -> Surface:
    """Reflectance of the ground."""
    coarse = noise2(x * 0.35, y * 0.35)
    medium = noise2(x * 1.7 + 40.0, y * 1.7)
    grain = (hash3(int(floor(x * 22.0)), int(floor(y * 22.0)), 3) - 0.5) * _fade(0.12, pixel)
    if material == _ROAD or material == _MARKING:
        tone = 0.80 + 0.3 * coarse + 0.14 * medium + 0.28 * grain
        patch = hash3(int(floor(x / 7.0)), int(floor(y / 5.0)), 11)
        if patch > 0.86:
            tone *= 0.8
        r, g, b = look.asphalt
        if material == _MARKING:
            worn = 0.25 + 0.5 * max(0.0, medium - 0.45)
            pr, pg, pb = look.paint
            r, g, b = pr * (1 - worn) + r * worn, pg * (1 - worn) + g * worn, pb * (1 - worn) + b * worn
        return _scaled(r, g, b, tone, 0.0)
    if material == _SIDEWALK:
        tone = 0.86 + 0.16 * coarse + 0.1 * medium + 0.12 * grain
        slab = 0.93 + 0.14 * hash3(int(floor(x * 1.25)), int(floor(y * 1.25)), 5) * _fade(0.8, pixel)
        joint = (x * 1.25) % 1.0 < 0.05 or (y * 1.25) % 1.0 < 0.05
        tone *= slab * (1.0 - (0.3 * _fade(0.35, pixel) if joint else 0.0))
        return _scaled(*look.paving, tone, 0.0)
    tone = 0.62 + 0.5 * coarse + 0.3 * medium + 0.5 * grain
    dry = 0.5 * max(0.0, noise2(x * 0.11 + 9.0, y * 0.11) - 0.45)
    r, g, b = look.grass
    return r * tone * (1 + 1.2 * dry), g * tone, b * tone * (1 + 0.3 * dry), 0.0


@njit(cache=True)
def sky_colour(dx: float, dy: float, dz: float, look: Look) -> Rgb:
    """Light that arrives from the sky along unit direction d, clouds and glow of the sun included."""
    up = max(dz, 0.0)
    mix = sqrt(up)
    cover = 0.0
    if up > 0.02:
        u, v = dx / (up + 0.25) * 1.6 + look.cloud_shift, dy / (up + 0.25) * 1.6
        shape = 0.55 * noise2(u, v) + 0.3 * noise2(2.1 * u, 2.1 * v) + 0.15 * noise2(4.3 * u, 4.3 * v)
        cover = min(max((shape - 0.75 + 0.55 * look.clouds) * 3.5, 0.0), 1.0) * min(up * 8.0, 1.0)
    sun = max(dx * look.to_sun[0] + dy * look.to_sun[1] + dz * look.to_sun[2], 0.0)
    glow = 0.25 * sun**24 * (1.0 - 0.6 * look.clouds)
    r = look.horizon[0] * (1 - mix) + look.zenith[0] * mix
    g = look.horizon[1] * (1 - mix) + look.zenith[1] * mix
    b = look.horizon[2] * (1 - mix) + look.zenith[2] * mix
    return (
        r * (1 - cover) + 0.88 * cover + glow,
        g * (1 - cover) + 0.89 * cover + 0.93 * glow,
        b * (1 - cover) + 0.91 * cover + 0.8 * glow,
    )
