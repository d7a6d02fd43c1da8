"""Colour of what a ray meets: texture, sun and sky light, shadow, haze; and the kernels that trace whole images."""

from __future__ import annotations

import numpy as np
from numba import njit

from ugocc.data.town.tracer import FAR, ground_material, noise, smooth_noise, trace

PLAIN, FACADE, GLASSY, LEAVES, STRIPES = 0, 1, 2, 3, 4
"""Textures of primitives."""

# Light is one float array so that kernels take it as a whole: sun direction, sun colour, sky light, haze colour,
# zenith colour (3 each), haze density per metre, seed of the textures.
SUN, SUN_COLOUR, SKY_LIGHT, HAZE, ZENITH, DENSITY, SEED = 0, 3, 6, 9, 12, 15, 16
SHADOW = 45.0
"""Length of the longest shadow ray in metres."""


@njit(cache=True)
def surface_colour(world, found, material, point, normal, ground, seed, colour):  # type: ignore[no-untyped-def]
    """Set ``colour`` (3,) to the albedo at a point.

    Args:
        world: what there is.
        found: the primitive, -1 for the ground.
        material: what the surface is.
        point: (3,) metres.
        normal: (3,) outward.
        ground: (4, 3) albedo of road, marking, pavement, terrain.
        seed: of the textures.
        colour: (3,) is set.
    """
    x, y, z = point[0], point[1], point[2]
    if found == -1:
        row = 0 if material == 0 else (1 if material == 1 else 3)
        coarse = smooth_noise(x * 0.35, y * 0.35, seed) - 0.5
        fine = noise(x * 9.0, y * 9.0, seed + 1) - 0.5
        strength = 1.0 + (0.25 * coarse + 0.16 * fine if row != 3 else 0.7 * coarse + 0.5 * fine)
        for c in range(3):
            colour[c] = ground[row, c] * strength
        return
    strength, texture = 1.0, world.what[found, 1]
    if texture == 1 and abs(normal[2]) < 0.5:
        along = -normal[1] * x + normal[0] * y
        storey, bay = z / 3.1, along / 2.6
        up, side = storey - np.floor(storey), bay - np.floor(bay)
        if 0.3 < up < 0.78 and 0.22 < side < 0.78:
            lit = noise(np.floor(bay), np.floor(storey), seed + world.what[found, 2])
            for c in range(3):
                colour[c] = (0.10, 0.13, 0.17)[c] + 0.16 * lit
            return
        strength = 1.0 + 0.14 * (smooth_noise(along * 1.3, z * 1.3, seed + 5) - 0.5) - (0.18 if up < 0.06 else 0.0)
    elif texture == 2 and abs(normal[2]) < 0.75:
        for c in range(3):
            colour[c] = (0.07, 0.09, 0.11)[c]
        return
    elif texture == 3:
        strength = 0.62 + 0.76 * smooth_noise((x + 0.7 * z) * 2.3, (y - 0.6 * z) * 2.3, seed + 7)
    elif texture == 4:
        stripe = ((x + y + z) / 0.35) % 2.0 < 1.0
        if stripe:
            for c in range(3):
                colour[c] = 0.85
            return
    elif material == 2:
        joint = (x % 1.5) < 0.06 or (y % 1.5) < 0.06
        strength = (0.82 if joint else 1.0) + 0.18 * (noise(x * 4.0, y * 4.0, seed + 3) - 0.5)
    for c in range(3):
        colour[c] = world.paint[found, c] * strength


@njit(cache=True)
def sky_colour(direction, light, colour):  # type: ignore[no-untyped-def]
    """Set ``colour`` (3,) to the sky in a direction (3,): haze at the horizon, zenith above, a glow round the sun."""
    length = np.sqrt(direction[0] ** 2 + direction[1] ** 2 + direction[2] ** 2)
    up = max(direction[2] / length, 0.0)
    glow = 0.0
    for c in range(3):
        glow += direction[c] / length * light[SUN + c]
    glow = max(glow, 0.0) ** 24 * 0.35
    blend = 1.0 - (1.0 - min(up * 1.8, 1.0)) ** 2
    cloud = smooth_noise(direction[0] / (up + 0.25) / length * 2.5, direction[1] / (up + 0.25) / length * 2.5, 3)
    for c in range(3):
        clear = light[HAZE + c] * (1 - blend) + light[ZENITH + c] * blend
        colour[c] = clear + (0.22 * max(cloud - 0.5, 0.0) + glow) * light[SUN_COLOUR + c] * 0.4


@njit(cache=True, fastmath=True)
def shade(world, ground, light, stamps, stamp, origin, d, scratch, radiance):  # type: ignore[no-untyped-def]
    """Follow one ray and set ``radiance`` (3,) to what it brings; see :func:`render_image` for the arguments.

    ``scratch`` is (5, 3) room to work in.

    Returns:
        Distance in lengths of d (0 for the sky) and the material.
    """
    normal, spare, colour, point, sun = scratch[0], scratch[1], scratch[2], scratch[3], scratch[4]
    t, found = trace(world, stamps, stamp, origin, d, FAR, normal)
    if found == -2:
        sky_colour(d, light, radiance)
        return 0.0, 19
    for c in range(3):
        point[c] = origin[c] + t * d[c]
    if found == -1:
        material = ground_material(point[0], point[1], world.xs, world.ys, world.half)
    else:
        material = world.what[found, 0]
    surface_colour(world, found, material, point, normal, ground, int(light[SEED]), colour)
    for c in range(3):
        sun[c] = light[SUN + c]
    lit = normal[0] * sun[0] + normal[1] * sun[1] + normal[2] * sun[2]
    if lit > 0:
        for c in range(3):
            point[c] += 2e-3 * normal[c]
        _, blocker = trace(world, stamps, stamp + 1, point, sun, SHADOW, spare)
        if blocker != -2:
            lit = 0.0
    lit = max(lit, 0.0)
    clear = np.exp(-light[DENSITY] * t * np.sqrt(d[0] ** 2 + d[1] ** 2 + d[2] ** 2))
    open_sky = 0.72 + 0.28 * normal[2]
    for c in range(3):
        bright = colour[c] * (light[SUN_COLOUR + c] * lit + light[SKY_LIGHT + c] * open_sky)
        radiance[c] = bright * clear + light[HAZE + c] * (1 - clear)
    return t, material


@njit(cache=True, fastmath=True)
def render_image(world, ground, light, world_T_pixel, origin, width, height):  # type: ignore[no-untyped-def]
    """Trace one image: a ray through every pixel's centre, and two more where it differs from a neighbour.

    Args:
        world: what there is.
        ground: (4, 3) albedo of road, marking, pavement, terrain.
        light: see the top of this module.
        world_T_pixel: (3, 3) rotation times inverse intrinsics: pixel (u, v, 1) to a direction of unit depth.
        origin: (3,) camera position in metres.
        width: columns.
        height: rows.

    Returns:
        linear colour (height, width, 3) float32, depth along the optical axis (height, width) float32 with 0 for
        sky, material ids (height, width) uint8.
    """
    image = np.zeros((height, width, 3), np.float32)
    depth = np.zeros((height, width), np.float32)
    materials = np.full((height, width), 19, np.uint8)
    stamps = np.full(len(world.kind), -1, np.int64)
    stamp = 0
    d, radiance, scratch = np.zeros(3), np.zeros(3), np.zeros((5, 3))
    for v in range(height):
        for u in range(width):
            for c in range(3):
                d[c] = world_T_pixel[c, 0] * u + world_T_pixel[c, 1] * v + world_T_pixel[c, 2]
            stamp += 2
            depth[v, u], materials[v, u] = shade(world, ground, light, stamps, stamp, origin, d, scratch, radiance)
            for c in range(3):
                image[v, u, c] = radiance[c]
    for v in range(height):
        for u in range(width):
            m, here, edge = materials[v, u], depth[v, u], False
            for n in range(4):
                y = min(max(v + (n - 1 if n % 2 == 0 else 0), 0), height - 1)
                x = min(max(u + (n - 2 if n % 2 == 1 else 0), 0), width - 1)
                edge |= materials[y, x] != m or abs(depth[y, x] - here) > 0.12 * here + 0.3
            if not edge:
                continue
            for n in range(2):
                pu, pv = u + (-0.33, 0.33)[n], v + (-0.3, 0.3)[n]
                for c in range(3):
                    d[c] = world_T_pixel[c, 0] * pu + world_T_pixel[c, 1] * pv + world_T_pixel[c, 2]
                stamp += 2
                shade(world, ground, light, stamps, stamp, origin, d, scratch, radiance)
                for c in range(3):
                    image[v, u, c] += radiance[c]
            for c in range(3):
                image[v, u, c] /= 3
    return image, depth, materials


@njit(cache=True, fastmath=True)
def render_lidar(world, rotation, origin, inclinations, columns, farthest):  # type: ignore[no-untyped-def]
    """Trace one sweep: ranges and materials (beams, columns), and cosines of incidence for the intensity.

    Column c of W looks at azimuth pi - (c + 0.5) * 2 pi / W in the sensor's frame, whose axes in the world are the
    columns of ``rotation`` (3, 3).
    """
    beams = len(inclinations)
    ranges = np.zeros((beams, columns), np.float32)
    incidence = np.zeros((beams, columns), np.float32)
    materials = np.full((beams, columns), 19, np.uint8)
    stamps = np.full(len(world.kind), -1, np.int64)
    stamp = 0
    d, normal = np.zeros(3), np.zeros(3)
    for b in range(beams):
        flat, up = np.cos(inclinations[b]), np.sin(inclinations[b])
        for k in range(columns):
            azimuth = np.pi - (k + 0.5) * 2 * np.pi / columns
            x, y = flat * np.cos(azimuth), flat * np.sin(azimuth)
            for c in range(3):
                d[c] = rotation[c, 0] * x + rotation[c, 1] * y + rotation[c, 2] * up
            stamp += 1
            t, found = trace(world, stamps, stamp, origin, d, farthest, normal)
            if found == -2:
                continue
            ranges[b, k] = t
            incidence[b, k] = abs(d[0] * normal[0] + d[1] * normal[1] + d[2] * normal[2])
            gx, gy = origin[0] + t * d[0], origin[1] + t * d[1]
            if found == -1:
                materials[b, k] = ground_material(gx, gy, world.xs, world.ys, world.half)
            else:
                materials[b, k] = world.what[found, 0]
    return ranges, incidence, materials
