"""Pictures: colour, depth and materials of every pixel of one camera (numba)."""

from __future__ import annotations

from math import sqrt
from typing import Final, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from ugocc.data.synthetic.appearance import Look, Rgb
from ugocc.data.synthetic.intersect import local_normal, to_local
from ugocc.data.synthetic.primitives import COS, MATERIAL, SIN, Parts
from ugocc.data.synthetic.streets import Streets, ground_material
from ugocc.data.synthetic.texture import ground_surface, part_surface, sky_colour
from ugocc.data.synthetic.tracer import GROUND, SKY_HIT, Cells, first_hit, in_shadow
from ugocc.data.synthetic.vocabulary import Material

_SKY: Final = int(Material.SKY)
_FARTHEST: Final = 400.0
_SHADOW_REACH: Final = 70.0
_CONTRAST: Final = 0.09
"""Step of brightness between neighbouring pixels from which on they are sampled more finely."""


class World(NamedTuple):
    """The town at one moment, ready for rays."""

    parts: Parts
    """(P, COLUMNS) everything that stands or drives there."""
    cells: Cells
    """The same, sorted."""
    streets: Streets
    """The ground."""


class Pinhole(NamedTuple):
    """A camera in the town."""

    rotation: NDArray[np.float64]
    """(3, 3) from camera axes to town axes."""
    origin: NDArray[np.float64]
    """(3,) metres."""
    fx: float
    """Focal lengths and principal point in pixels."""
    fy: float
    """Same, rows."""
    cx: float
    """Column of the principal point."""
    cy: float
    """Row of the principal point."""


@njit(cache=True)
def _ray(camera: Pinhole, u: float, v: float) -> tuple[float, float, float]:
    """Direction through pixel (u, v) in town axes, of length 1 along the optical axis."""
    x, y = (u - camera.cx) / camera.fx, (v - camera.cy) / camera.fy
    r = camera.rotation
    return (
        r[0, 0] * x + r[0, 1] * y + r[0, 2],
        r[1, 0] * x + r[1, 1] * y + r[1, 2],
        r[2, 0] * x + r[2, 1] * y + r[2, 2],
    )


@njit(cache=True)
def _shade(
    camera: Pinhole, dx: float, dy: float, dz: float, t: float, part: int, material: int, world: World, look: Look
) -> Rgb:
    """Light that comes back along a ray from the surface it hit."""
    length = sqrt(dx * dx + dy * dy + dz * dz)
    dx, dy, dz, distance = dx / length, dy / length, dz / length, t * length
    if part == SKY_HIT:
        return sky_colour(dx, dy, dz, look)
    parts = world.parts
    x, y, z = (
        camera.origin[0] + distance * dx,
        camera.origin[1] + distance * dy,
        camera.origin[2] + distance * dz,
    )
    pixel = distance / camera.fx
    open_sky = 1.0
    if part == GROUND:
        nx, ny, nz = 0.0, 0.0, 1.0
        r, g, b, gloss = ground_surface(x, y, material, look, pixel / max(-dz, 0.15))
        # Under a vehicle hardly any of the sky is seen; one short ray tells.
        if distance < 40.0 and in_shadow(x, y, z + 0.01, 1e-3, 2e-3, 1.0, 0.8, parts, world.cells):
            open_sky = 0.35
    else:
        lx, ly, lz = to_local(parts, part, x, y, z)
        ux, uy, nz = local_normal(parts, part, lx, ly, lz)
        r, g, b, gloss = part_surface(parts, part, lx, ly, lz, ux, uy, nz, pixel)
        c, s = parts[part, COS], parts[part, SIN]
        nx, ny = c * ux - s * uy, s * ux + c * uy
        if nx * dx + ny * dy + nz * dz > 0.0:
            nx, ny, nz = -nx, -ny, -nz
        open_sky = min(1.0, 0.7 + 0.2 * z)
    facing = nx * look.to_sun[0] + ny * look.to_sun[1] + nz * look.to_sun[2]
    if facing > 0.0 and look.sun[1] > 0.5:
        lift = 0.01 + 1e-4 * distance
        if in_shadow(
            x + lift * nx,
            y + lift * ny,
            z + lift * nz,
            look.to_sun[0],
            look.to_sun[1],
            look.to_sun[2],
            _SHADOW_REACH,
            parts,
            world.cells,
        ):
            facing = 0.0
    facing = max(facing, 0.0)
    sky = (0.62 + 0.38 * nz) * open_sky
    r *= look.ambient[0] * sky + look.sun[0] * facing
    g *= look.ambient[1] * sky + look.sun[1] * facing
    b *= look.ambient[2] * sky + look.sun[2] * facing
    if gloss > 0.0:
        along = dx * nx + dy * ny + dz * nz
        mx, my, mz = dx - 2 * along * nx, dy - 2 * along * ny, dz - 2 * along * nz
        share = gloss * (0.35 + 0.65 * (1.0 - min(abs(along), 1.0)) ** 3)
        if mz > 0.0:
            mr, mg, mb = sky_colour(mx, my, mz, look)
        else:
            mr, mg, mb = 0.25, 0.24, 0.23
        r, g, b = r + share * mr, g + share * mg, b + share * mb
    clear = np.exp(-look.haze * distance)
    return (
        r * clear + look.horizon[0] * (1 - clear),
        g * clear + look.horizon[1] * (1 - clear),
        b * clear + look.horizon[2] * (1 - clear),
    )


@njit(cache=True)
def _trace(camera: Pinhole, dx: float, dy: float, dz: float, world: World) -> tuple[float, int, int]:
    """Depth along the optical axis, part and material of what a ray meets."""
    o = camera.origin
    t, part = first_hit(o[0], o[1], o[2], dx, dy, dz, _FARTHEST, world.parts, world.cells, world.streets)
    if part == SKY_HIT:
        return 0.0, part, _SKY
    if part == GROUND:
        return t, part, ground_material(o[0] + t * dx, o[1] + t * dy, world.streets)
    return t, part, int(world.parts[part, MATERIAL])


@njit(cache=True)
def take_picture(
    camera: Pinhole, rows: int, columns: int, world: World, look: Look, offsets: NDArray[np.float64]
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.uint8]]:
    """Light, depth and materials of all pixels.

    Depth and material belong to the ray through the pixel's centre. Pixels on the border of two surfaces, or of high
    contrast, take their colour from one ray per row of ``offsets`` (S, 2) in pixels instead of the central one.

    Returns:
        light (rows, columns, 3) linear RGB, depth (rows, columns) metres along the optical axis with 0 for sky,
        materials (rows, columns).
    """
    light = np.empty((rows, columns, 3), dtype=np.float32)
    depth = np.empty((rows, columns), dtype=np.float32)
    materials = np.empty((rows, columns), dtype=np.uint8)
    hit = np.empty((rows, columns), dtype=np.int32)
    for v in range(rows):
        for u in range(columns):
            dx, dy, dz = _ray(camera, u, v)
            t, part, material = _trace(camera, dx, dy, dz, world)
            depth[v, u], materials[v, u], hit[v, u] = t, material, part
            r, g, b = _shade(camera, dx, dy, dz, t, part, material, world, look)
            light[v, u, 0], light[v, u, 1], light[v, u, 2] = r, g, b
    if offsets.shape[0] > 1:
        rough = _rough_pixels(light, hit, materials)
        for v in range(rows):
            for u in range(columns):
                if rough[v, u]:
                    r, g, b = 0.0, 0.0, 0.0
                    for s in range(offsets.shape[0]):
                        dx, dy, dz = _ray(camera, u + offsets[s, 0], v + offsets[s, 1])
                        t, part, material = _trace(camera, dx, dy, dz, world)
                        sr, sg, sb = _shade(camera, dx, dy, dz, t, part, material, world, look)
                        # Bright samples are compressed, so that one glint does not outweigh its neighbours.
                        r, g, b = r + min(sr, 1.5), g + min(sg, 1.5), b + min(sb, 1.5)
                    n = offsets.shape[0]
                    light[v, u, 0], light[v, u, 1], light[v, u, 2] = r / n, g / n, b / n
    return light, depth, materials


@njit(cache=True)
def _rough_pixels(
    light: NDArray[np.float32], hit: NDArray[np.int32], materials: NDArray[np.uint8]
) -> NDArray[np.bool_]:
    rows, columns = hit.shape
    rough = np.zeros((rows, columns), dtype=np.bool_)
    for v in range(rows):
        for u in range(columns):
            for dv, du in ((0, 1), (1, 0)):
                a, b = v + dv, u + du
                if a < rows and b < columns:
                    step = abs(np.sqrt(light[v, u, 1]) - np.sqrt(light[a, b, 1]))
                    if (hit[v, u] != hit[a, b] or materials[v, u] != materials[a, b] or step > _CONTRAST) and (
                        step > 0.02
                    ):
                        rough[v, u] = True
                        rough[a, b] = True
    return rough


def sample_offsets(samples: int) -> NDArray[np.float64]:
    """(samples, 2) places within a pixel, in pixels from its centre: the R2 low-discrepancy sequence, centred."""
    k = np.arange(samples, dtype=np.float64)[:, None]
    points = (0.5 + k * np.array([0.7548776662466927, 0.5698402909980532])) % 1.0
    return points - points.mean(axis=0) if samples > 1 else np.zeros((1, 2))


def develop(
    light: NDArray[np.float32], look: Look, gain: float, noise: float, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """8-bit picture of linear light: exposure, white balance, sensor noise, tone curve with a soft shoulder.

    Args:
        light: (rows, columns, 3) linear RGB.
        look: exposure and white balance of the scene.
        gain: this camera's own exposure, near one.
        noise: standard deviation in grey levels of 255 at mid grey.
        rng: source of the noise.
    """
    scale = np.asarray(look.white_balance, dtype=np.float32) * np.float32(0.52 * gain * look.exposure)
    exposed = np.maximum(light * scale, 0.0)
    tone = (exposed * (1.0 + exposed * 0.18) / (1.0 + exposed * 0.62)) ** np.float32(1 / 2.2)
    grain = rng.standard_normal(light.shape, dtype=np.float32) * np.float32(noise)
    return np.clip(tone * 255.0 + grain + 0.5, 0, 255).astype(np.uint8)
