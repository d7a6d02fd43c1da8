"""Which voxels the cameras and the lidar see, by walking rays through the occupied volume (numba).

Cameras: rays go from each camera to the centre of every free voxel in view, and to the middle of every exposed face of
every occupied one. Rays through pixels would leave stripes between them from about ten metres on; rays to voxels do
not. Lidar: free voxels crossed by a beam up to its return, and the voxel of the return.
"""

from __future__ import annotations

from math import floor, inf
from typing import Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from ugocc.data.synthetic.vocabulary import Material
from ugocc.geometry.grid import VoxelGrid

_SKY: Final = int(Material.SKY)
_CLOSE: Final = 1e-6


@njit(cache=True)
def _reaches(
    volume: NDArray[np.uint8],
    ox: float,
    oy: float,
    oz: float,
    tx: float,
    ty: float,
    tz: float,
    free: int,
) -> bool:
    """Whether only free voxels lie between two points (voxel units), those of the ends left out.

    Points may lie outside the volume, where everything is free. Voxels as in Amanatides and Woo.
    """
    i, j, k = int(floor(ox)), int(floor(oy)), int(floor(oz))
    a, b, c = int(floor(tx)), int(floor(ty)), int(floor(tz))
    dx, dy, dz = tx - ox, ty - oy, tz - oz
    si, sj, sk = (1 if dx > 0 else -1), (1 if dy > 0 else -1), (1 if dz > 0 else -1)
    pi = 1.0 / abs(dx) if dx != 0 else inf
    pj = 1.0 / abs(dy) if dy != 0 else inf
    pk = 1.0 / abs(dz) if dz != 0 else inf
    ni = ((i + (si > 0)) - ox) / dx if dx != 0 else inf
    nj = ((j + (sj > 0)) - oy) / dy if dy != 0 else inf
    nk = ((k + (sk > 0)) - oz) / dz if dz != 0 else inf
    left = abs(a - i) + abs(b - j) + abs(c - k)
    nx, ny, nz = volume.shape
    while left > 1:
        if ni < nj and ni < nk:
            i += si
            ni += pi
        elif nj < nk:
            j += sj
            nj += pj
        else:
            k += sk
            nk += pk
        left -= 1
        if 0 <= i < nx and 0 <= j < ny and 0 <= k < nz and volume[i, j, k] != free:
            return False
    return True


@njit(cache=True)
def _exposed_face_seen(
    volume: NDArray[np.uint8], i: int, j: int, k: int, ox: float, oy: float, oz: float, free: int
) -> bool:
    """Whether a face of occupied voxel (i, j, k) that looks towards the viewer can be seen from there."""
    nx, ny, nz = volume.shape
    for axis in range(3):
        toward = (ox - i if axis == 0 else oy - j if axis == 1 else oz - k) - 0.5
        if abs(toward) <= 0.5:
            continue
        step = 1 if toward > 0 else -1
        a, b, c = i + step * (axis == 0), j + step * (axis == 1), k + step * (axis == 2)
        if 0 <= a < nx and 0 <= b < ny and 0 <= c < nz and volume[a, b, c] != free:
            continue
        # Aim just outside the face, in the free neighbour.
        out = 0.5 + _CLOSE
        x = i + 0.5 + step * out * (axis == 0)
        y = j + 0.5 + step * out * (axis == 1)
        z = k + 0.5 + step * out * (axis == 2)
        if _reaches(volume, ox, oy, oz, x, y, z, free):
            return True
    return False


@njit(cache=True)
def _see(
    volume: NDArray[np.uint8],
    lower: NDArray[np.float64],
    size: float,
    matrices: NDArray[np.float64],
    origins: NDArray[np.float64],
    image_sizes: NDArray[np.float64],
    free: int,
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    seen = np.zeros(volume.shape, dtype=np.bool_)
    in_view = np.zeros(volume.shape, dtype=np.bool_)
    nx, ny, nz = volume.shape
    for n in range(matrices.shape[0]):
        m = matrices[n]
        ox, oy, oz = origins[n, 0], origins[n, 1], origins[n, 2]
        for i in range(nx):
            for j in range(ny):
                x, y = lower[0] + (i + 0.5) * size, lower[1] + (j + 0.5) * size
                u0 = m[0, 0] * x + m[0, 1] * y + m[0, 3]
                v0 = m[1, 0] * x + m[1, 1] * y + m[1, 3]
                w0 = m[2, 0] * x + m[2, 1] * y + m[2, 3]
                for k in range(nz):
                    z = lower[2] + (k + 0.5) * size
                    w = w0 + m[2, 2] * z
                    if w < 0.05:
                        continue
                    u, v = (u0 + m[0, 2] * z) / w, (v0 + m[1, 2] * z) / w
                    if u < -0.5 or v < -0.5 or u >= image_sizes[n, 1] - 0.5 or v >= image_sizes[n, 0] - 0.5:
                        continue
                    in_view[i, j, k] = True
                    if seen[i, j, k]:
                        continue
                    if volume[i, j, k] == free:
                        seen[i, j, k] = _reaches(volume, ox, oy, oz, i + 0.5, j + 0.5, k + 0.5, free)
                    else:
                        seen[i, j, k] = _exposed_face_seen(volume, i, j, k, ox, oy, oz, free)
    return seen, in_view


def camera_visibility(
    volume: NDArray[np.uint8],
    grid: VoxelGrid,
    intrinsics: list[NDArray[np.float64]],
    key_T_cameras: list[NDArray[np.float64]],
    image_sizes: list[tuple[int, int]],
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Voxels that cameras see, and voxels whose centre falls into some picture.

    Args:
        volume: (X, Y, Z) materials, SKY where free.
        grid: where the voxels lie, key ego frame.
        intrinsics: (3, 3) per camera, pixels.
        key_T_cameras: (4, 4) per camera, camera axes to the key ego frame.
        image_sizes: (rows, columns) per camera.

    Returns:
        seen and in_view, both (X, Y, Z); seen voxels are in view.
    """
    matrices = np.stack([k @ np.linalg.inv(t)[:3] for k, t in zip(intrinsics, key_T_cameras, strict=True)])
    lower = np.array(grid.lower)
    origins = np.stack([(t[:3, 3] - lower) / grid.voxel_size for t in key_T_cameras])
    sizes = np.array(image_sizes, dtype=np.float64)
    return _see(volume, lower, grid.voxel_size, matrices, origins, sizes, _SKY)


@njit(cache=True)
def _beams(
    volume: NDArray[np.uint8], origin: NDArray[np.float64], ends: NDArray[np.float64], free: int
) -> NDArray[np.bool_]:
    seen = np.zeros(volume.shape, dtype=np.bool_)
    nx, ny, nz = volume.shape
    ox, oy, oz = origin[0], origin[1], origin[2]
    for n in range(ends.shape[0]):
        i, j, k = int(floor(ox)), int(floor(oy)), int(floor(oz))
        a, b, c = int(floor(ends[n, 0])), int(floor(ends[n, 1])), int(floor(ends[n, 2]))
        dx, dy, dz = ends[n, 0] - ox, ends[n, 1] - oy, ends[n, 2] - oz
        si, sj, sk = (1 if dx > 0 else -1), (1 if dy > 0 else -1), (1 if dz > 0 else -1)
        pi = 1.0 / abs(dx) if dx != 0 else inf
        pj = 1.0 / abs(dy) if dy != 0 else inf
        pk = 1.0 / abs(dz) if dz != 0 else inf
        ni = ((i + (si > 0)) - ox) / dx if dx != 0 else inf
        nj = ((j + (sj > 0)) - oy) / dy if dy != 0 else inf
        nk = ((k + (sk > 0)) - oz) / dz if dz != 0 else inf
        for _ in range(abs(a - i) + abs(b - j) + abs(c - k)):
            if not (0 <= i < nx and 0 <= j < ny and 0 <= k < nz):
                break
            if volume[i, j, k] == free:
                seen[i, j, k] = True
            if ni < nj and ni < nk:
                i += si
                ni += pi
            elif nj < nk:
                j += sj
                nj += pj
            else:
                k += sk
                nk += pk
        if 0 <= a < nx and 0 <= b < ny and 0 <= c < nz:
            seen[a, b, c] = True
    return seen


def lidar_visibility(
    volume: NDArray[np.uint8], grid: VoxelGrid, origin: NDArray[np.float64], points: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """(X, Y, Z) free voxels crossed by beams from ``origin`` (3,) to ``points`` (M, 3), and the points' own voxels."""
    lower = np.array(grid.lower)
    return _beams(volume, (origin - lower) / grid.voxel_size, (points - lower) / grid.voxel_size, _SKY)
