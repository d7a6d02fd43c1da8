"""The town as voxels, and which voxels cameras and lidar see (ray casting in the volume, as Occ3D does)."""

from __future__ import annotations

import numpy as np
from numba import njit

from ugocc.data.synthetic.vocabulary import Material

FREE_ID = int(Material.SKY)

# Where several materials share a voxel the one named first wins: thin and living things before walls and ground.
_ORDER = (
    Material.PEDESTRIAN, Material.BICYCLE, Material.MOTORCYCLE, Material.CONE, Material.SIGN, Material.TRAFFIC_LIGHT,
    Material.POLE, Material.CAR, Material.TRUCK, Material.BUS, Material.BARRIER, Material.OTHER, Material.TRUNK,
    Material.FOLIAGE, Material.BUILDING, Material.SIDEWALK, Material.LANE_MARKING, Material.ROAD, Material.TERRAIN,
    Material.SKY,
)  # fmt: skip
PRIORITY = np.zeros(256, dtype=np.int32)
for _rank, _material in enumerate(_ORDER):
    PRIORITY[_material] = len(_ORDER) - _rank


@njit(cache=True)
def voxelise(world, ground_ids, priority, cos, sin, tx, ty, tz, lower, size, volume):  # type: ignore[no-untyped-def]
    """Fill ``volume`` (X, Y, Z) with material ids: solids with their surface, and the ground under them.

    Args:
        world: what there is.
        ground_ids: (X, Y) material of the ground plane under every column.
        priority: (256,) which material wins a shared voxel.
        cos: of the ego's heading in the world, and ``sin``; ``tx``, ``ty``, ``tz`` its position.
        sin: see above.
        tx: see above.
        ty: see above.
        tz: see above.
        lower: (3,) smallest corner of the grid in the ego frame, metres.
        size: edge of a voxel in metres.
        volume: is filled.
    """
    nx, ny, nz = volume.shape
    k = int(np.floor((-tz - lower[2]) / size))
    for i in range(nx):
        for j in range(ny):
            volume[i, j, k] = ground_ids[i, j]
    for p in range(len(world.kind)):
        shape, kind, material = world.shape[p], world.kind[p], world.what[p, 0]
        wx, wy, wz = shape[0] - tx, shape[1] - ty, shape[2] - tz
        cx, cy, cz = cos * wx + sin * wy, -sin * wx + cos * wy, wz
        c, s = shape[6] * cos + shape[7] * sin, shape[7] * cos - shape[6] * sin
        # A voxel counts as soon as the surface passes through a good part of it, as where lidar points make the
        # label; poles and plates always meet the voxel they stand in. Pavements end where the kerb is.
        grow = 0.45 * size if kind == 0 else 0.3 * size
        hx, hy = max(shape[3] + grow, 0.71 * size), max(shape[4] + grow, 0.71 * size)
        hz = shape[5] + grow
        if material == 2:
            hx, hy = shape[3], shape[4]
        rx, ry = abs(c) * hx + abs(s) * hy, abs(s) * hx + abs(c) * hy
        i0, i1 = int(np.floor((cx - rx - lower[0]) / size)), int(np.floor((cx + rx - lower[0]) / size))
        j0, j1 = int(np.floor((cy - ry - lower[1]) / size)), int(np.floor((cy + ry - lower[1]) / size))
        k0, k1 = int(np.floor((cz - hz - lower[2]) / size)), int(np.floor((cz + hz - lower[2]) / size))
        for i in range(max(i0, 0), min(i1, nx - 1) + 1):
            for j in range(max(j0, 0), min(j1, ny - 1) + 1):
                x, y = lower[0] + (i + 0.5) * size - cx, lower[1] + (j + 0.5) * size - cy
                u, v = (c * x + s * y) / hx, (-s * x + c * y) / hy
                if kind == 0:
                    if abs(u) > 1 or abs(v) > 1:
                        continue
                elif u * u + v * v > 1:
                    continue
                for k in range(max(k0, 0), min(k1, nz - 1) + 1):
                    w = (lower[2] + (k + 0.5) * size - cz) / hz
                    if abs(w) > 1 or (kind == 1 and u * u + v * v + w * w > 1):
                        continue
                    if priority[material] > priority[volume[i, j, k]]:
                        volume[i, j, k] = material


@njit(cache=True)
def cast(volume, seen, ox, oy, oz, px, py, pz, free):  # type: ignore[no-untyped-def]
    """Walk from o to p (in voxel units), marking voxels in ``seen`` up to and including the first solid one."""
    nx, ny, nz = volume.shape
    dx, dy, dz = px - ox, py - oy, pz - oz
    i, j, k = int(np.floor(ox)), int(np.floor(oy)), int(np.floor(oz))
    si, sj, sk = (1 if dx > 0 else -1), (1 if dy > 0 else -1), (1 if dz > 0 else -1)
    ti = ((i + (1 if dx > 0 else 0)) - ox) / dx if abs(dx) > 1e-12 else 1e30
    tj = ((j + (1 if dy > 0 else 0)) - oy) / dy if abs(dy) > 1e-12 else 1e30
    tk = ((k + (1 if dz > 0 else 0)) - oz) / dz if abs(dz) > 1e-12 else 1e30
    gi = abs(1 / dx) if abs(dx) > 1e-12 else 1e30
    gj = abs(1 / dy) if abs(dy) > 1e-12 else 1e30
    gk = abs(1 / dz) if abs(dz) > 1e-12 else 1e30
    t = 0.0
    while t <= 1.0:
        if 0 <= i < nx and 0 <= j < ny and 0 <= k < nz:
            seen[i, j, k] = True
            if volume[i, j, k] != free:
                return
        if ti < tj and ti < tk:
            t, ti, i = ti, ti + gi, i + si
        elif tj < tk:
            t, tj, j = tj, tj + gj, j + sj
        else:
            t, tk, k = tk, tk + gk, k + sk


@njit(cache=True)
def open_faces(volume, free):  # type: ignore[no-untyped-def]
    """Faces that rays are cast to, (F, 4) int32: voxel i, j, k and side (0 -x, 1 +x, 2 -y, 3 +y, 4 -z, 5 +z).

    Those between a solid voxel and free space, and those of free voxels on the border of the volume.
    """
    nx, ny, nz = volume.shape
    faces = np.empty((6 * nx * ny * nz // 8 + 4 * (nx * ny + ny * nz + nx * nz), 4), np.int32)
    count = 0
    for i in range(nx):
        for j in range(ny):
            for k in range(nz):
                solid = volume[i, j, k] != free
                if not solid and 0 < i < nx - 1 and 0 < j < ny - 1 and 0 < k < nz - 1:
                    continue
                for side in range(6):
                    axis, sign = side // 2, (1 if side % 2 else -1)
                    a = i + (sign if axis == 0 else 0)
                    b = j + (sign if axis == 1 else 0)
                    c = k + (sign if axis == 2 else 0)
                    border = not (0 <= a < nx and 0 <= b < ny and 0 <= c < nz)
                    if (solid and (border or volume[a, b, c] == free)) or (not solid and border):
                        if count == len(faces):
                            faces = np.concatenate((faces, np.empty_like(faces)))
                        faces[count, 0], faces[count, 1], faces[count, 2], faces[count, 3] = i, j, k, side
                        count += 1
    return faces[:count]


@njit(cache=True)
def camera_visible(volume, free, faces, origin, pixel_T_grid, width, height, seen):  # type: ignore[no-untyped-def]
    """Mark in ``seen`` what one camera sees: rays to every open face that is turned to it, until something solid.

    Args:
        volume: (X, Y, Z) material ids.
        free: id of free space.
        faces: (F, 4) of :func:`open_faces`.
        origin: (3,) camera position in voxel units of the grid.
        pixel_T_grid: (3, 4) maps voxel units to homogeneous pixels.
        width: columns of the image.
        height: rows of the image.
        seen: (X, Y, Z) bool, is marked.
    """
    at = np.zeros(3)
    for n in range(len(faces)):
        i, j, k, side = faces[n, 0], faces[n, 1], faces[n, 2], faces[n, 3]
        axis, sign = side // 2, (1 if side % 2 else -1)
        solid = volume[i, j, k] != free
        at[0], at[1], at[2] = i + 0.5, j + 0.5, k + 0.5
        at[axis] += 0.5 * sign
        # A solid face must look at the camera; the border is looked at from inside.
        towards = (at[axis] - origin[axis]) * sign
        if (solid and towards >= 0) or (not solid and towards <= 0):
            continue
        w = pixel_T_grid[2, 0] * at[0] + pixel_T_grid[2, 1] * at[1] + pixel_T_grid[2, 2] * at[2] + pixel_T_grid[2, 3]
        if w < 0.25:
            continue
        u = pixel_T_grid[0, 0] * at[0] + pixel_T_grid[0, 1] * at[1] + pixel_T_grid[0, 2] * at[2] + pixel_T_grid[0, 3]
        v = pixel_T_grid[1, 0] * at[0] + pixel_T_grid[1, 1] * at[1] + pixel_T_grid[1, 2] * at[2] + pixel_T_grid[1, 3]
        if -0.5 * w <= u <= (width - 0.5) * w and -0.5 * w <= v <= (height - 0.5) * w:
            if solid:
                # End a little inside, so that the walk enters the face's own voxel last.
                at[axis] -= 1e-3 * sign
            cast(volume, seen, origin[0], origin[1], origin[2], at[0], at[1], at[2], free)


@njit(cache=True)
def mark_in_view(pixel_T_grid, width, height, inside):  # type: ignore[no-untyped-def]
    """Mark in ``inside`` (X, Y, Z) the voxels whose centre falls into an image; arguments of :func:`camera_visible`."""
    for i in range(inside.shape[0]):
        for j in range(inside.shape[1]):
            for k in range(inside.shape[2]):
                x, y, z = i + 0.5, j + 0.5, k + 0.5
                w = pixel_T_grid[2, 0] * x + pixel_T_grid[2, 1] * y + pixel_T_grid[2, 2] * z + pixel_T_grid[2, 3]
                if w < 0.1:
                    continue
                u = pixel_T_grid[0, 0] * x + pixel_T_grid[0, 1] * y + pixel_T_grid[0, 2] * z + pixel_T_grid[0, 3]
                v = pixel_T_grid[1, 0] * x + pixel_T_grid[1, 1] * y + pixel_T_grid[1, 2] * z + pixel_T_grid[1, 3]
                if -0.5 * w <= u <= (width - 0.5) * w and -0.5 * w <= v <= (height - 0.5) * w:
                    inside[i, j, k] = True


@njit(cache=True)
def lidar_visible(volume, free, origin, ends, seen):  # type: ignore[no-untyped-def]
    """Mark in ``seen`` the voxels from ``origin`` (3,) to each of ``ends`` (K, 3), all in voxel units."""
    for n in range(len(ends)):
        cast(volume, seen, origin[0], origin[1], origin[2], ends[n, 0], ends[n, 1], ends[n, 2], free)


@njit(cache=True)
def count_inside(points, boxes):  # type: ignore[no-untyped-def]
    """(B,) points (M, 3) inside each box (B, 8): centre, half extents, cosine and sine of the yaw; same frame."""
    counts = np.zeros(len(boxes), np.int64)
    for b in range(len(boxes)):
        cos, sin = boxes[b, 6], boxes[b, 7]
        for n in range(len(points)):
            x, y = points[n, 0] - boxes[b, 0], points[n, 1] - boxes[b, 1]
            if abs(cos * x + sin * y) <= boxes[b, 3] and abs(cos * y - sin * x) <= boxes[b, 4]:
                counts[b] += abs(points[n, 2] - boxes[b, 2]) <= boxes[b, 5]
    return counts
