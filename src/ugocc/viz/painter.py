"""Voxels in perspective: the painter's algorithm for faces, shading per pixel.

Every face of an occupied voxel that borders on nothing and looks at the camera is filled back to front into a picture
of face numbers. For the voxels of one grid such an order always exists: far slices first along x, in a slice along y,
then along z. Each pixel then finds the point of its face it looks at and is lit from that: a fixed light per side,
ambient occlusion from the voxels around the point, fine lines along the edges of near voxels, a little haze.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ugocc.geometry.grid import VoxelGrid
from ugocc.geometry.rigid import Matrix, inverse
from ugocc.labels import FREE, PALETTE
from ugocc.viz.car import draw_car
from ugocc.viz.raster import fill_quads
from ugocc.viz.view import View, overview

Picture = NDArray[np.uint8]
Floats = NDArray[np.float32]

NEAR = 0.4
"""Voxels that reach nearer to the camera than this many metres are not drawn."""
SKY_TOP, SKY_BOTTOM = np.array((250, 251, 253), np.float32), np.array((226, 231, 239), np.float32)
FLOOR, FLOOR_LINES = np.array((221, 226, 234), np.float32), np.array((203, 210, 221), np.float32)
LIGHT = np.array(((0.78, 0.86), (0.70, 0.92), (0.5, 1.0)), dtype=np.float32)
"""Light on the sides that look along -x and +x, -y and +y, -z and +z."""
SUN = (0.45, 0.8)
"""Voxels forward and to the right that sunlight moves per layer: the sun stands behind on the left."""
SHADOW = np.float32(0.3)
"""Share of the light that shadow takes."""
_OCCLUSION = np.array((1.0, 0.84, 0.72, 0.6), dtype=np.float32)  # by the number of neighbours around a corner


@dataclass(frozen=True)
class Faces:
    """Faces that a camera may see, back to front."""

    cell: NDArray[np.int32]
    """(n, 3) voxel."""
    axis: NDArray[np.int8]
    """(n,) axis of the normal: 0 x, 1 y, 2 z."""
    side: NDArray[np.int8]
    """(n,) 0 where the normal points down the axis, 1 up."""


def draw_volume(
    volume: NDArray[np.uint8],
    grid: VoxelGrid,
    size: tuple[int, int] = (960, 600),
    view: View | None = None,
    palette: NDArray[np.uint8] = PALETTE,
    mask: NDArray[np.bool_] | None = None,
    ego: bool = True,
    smooth: int = 2,
) -> Picture:
    """Picture of a volume.

    Args:
        volume: (X, Y, Z) classes 0-9; free and unknown (255) voxels are not drawn.
        grid: its grid.
        size: columns and rows of the picture.
        view: camera; None for an overview that fits the grid.
        palette: (>= 9, 3) RGB per class.
        mask: (X, Y, Z) voxels to draw; None for all.
        ego: draw the car at the origin.
        smooth: pixels are averages of this many squared.

    Returns:
        (rows, columns, 3) RGB.
    """
    width, height = size[0] * smooth, size[1] * smooth
    camera = view or overview(grid, *size)
    intrinsics, ego_T_camera = camera.intrinsics(width, height), camera.ego_T_camera()
    solid = volume < FREE if mask is None else (volume < FREE) & mask
    faces = visible_faces(solid, grid, ego_T_camera[:3, 3])
    faces, corners = project_faces(faces, grid, intrinsics, ego_T_camera)
    front = fill_quads(corners, width, height)

    picture = np.empty((height, width, 3), dtype=np.float32)
    picture[:] = np.linspace(SKY_TOP, SKY_BOTTOM, height)[:, None]
    depth = np.full((height, width), np.inf, dtype=np.float32)
    colours = palette[volume[tuple(faces.cell.T)]].astype(np.float32)
    sun = sunlight(solid)
    light = corner_light(faces, solid) * (1 - SHADOW + SHADOW * face_sunlight(faces, sun))[:, None, None]
    _shade(picture, depth, front, faces, colours, light, grid, intrinsics, ego_T_camera)
    _ground(picture, depth, sun[:, :, 0], grid, intrinsics, ego_T_camera)
    if ego:
        draw_car(picture, depth, intrinsics, ego_T_camera)
    small = Image.fromarray(np.clip(picture + 0.5, 0, 255).astype(np.uint8)).reduce(smooth)
    return np.array(small)


def visible_faces(solid: NDArray[np.bool_], grid: VoxelGrid, eye: Matrix) -> Faces:
    """Faces between a solid voxel and one that is not, on the side of the camera at ``eye`` (ego frame, metres)."""
    at = (eye - grid.lower) / grid.voxel_size
    shape, around = solid.shape, np.pad(solid, 1)
    parts = []
    for axis in range(3):
        for side in (0, 1):
            inner = [slice(1, -1)] * 3
            inner[axis] = slice(2, None) if side else slice(None, -2)
            bare = solid & ~around[tuple(inner)]
            # The camera sees the upper side of voxels below it and the lower side of voxels above it.
            seen = [slice(None)] * 3
            border = int(np.clip(np.ceil(at[axis] - 1) if side else np.floor(at[axis] + 1), 0, shape[axis]))
            seen[axis] = slice(None, border) if side else slice(border, None)
            cell = np.stack(np.nonzero(bare[tuple(seen)]), axis=1).astype(np.int32)
            if not side:
                cell[:, axis] += border
            parts.append((cell, np.full(len(cell), axis, np.int8), np.full(len(cell), side, np.int8)))
    cell, axes, sides = (np.concatenate(p) for p in zip(*parts, strict=True))
    away = np.abs(cell + 0.5 - at).astype(np.int64)
    order = np.argsort(-((away[:, 0] * 4096 + away[:, 1]) * 4096 + away[:, 2]), kind="stable")
    return Faces(cell[order], axes[order], sides[order])


def project_faces(faces: Faces, grid: VoxelGrid, intrinsics: Matrix, ego_T_camera: Matrix) -> tuple[Faces, Floats]:
    """Faces that lie wholly before the camera, and the pixels (n, 4, 2) of their corners, in order around them."""
    camera_T_ego = inverse(ego_T_camera)
    # Corners of the unit voxel's faces: [axis, side, corner, xyz].
    offsets = np.zeros((3, 2, 4, 3))
    for axis in range(3):
        u, v = (a for a in range(3) if a != axis)
        offsets[axis, 1, :, axis] = 1
        offsets[axis, :, :, u], offsets[axis, :, :, v] = (0, 1, 1, 0), (0, 0, 1, 1)
    rotation = camera_T_ego[:3, :3] * grid.voxel_size
    start = camera_T_ego[:3, :3] @ grid.lower + camera_T_ego[:3, 3]
    base = (faces.cell @ rotation.T + start).astype(np.float32)
    points = base[:, None] + (offsets @ rotation.T).astype(np.float32)[faces.axis, faces.side]
    keep = points[..., 2].min(axis=1) > NEAR
    points = points[keep]
    pixels = points[..., :2] / points[..., 2:] * np.float32(intrinsics[0, 0]) + intrinsics[:2, 2].astype(np.float32)
    return Faces(faces.cell[keep], faces.axis[keep], faces.side[keep]), pixels


def corner_light(faces: Faces, solid: NDArray[np.bool_]) -> Floats:
    """(n, 2, 2) light left at the corners of each face, low and high along its two axes, by solid voxels around."""
    around = np.pad(solid, 2)
    stride = np.array(around.strides)  # of one byte each
    flat = around.ravel()
    light = np.empty((len(faces.cell), 2, 2), dtype=np.float32)
    for axis in range(3):
        u, v = (a for a in range(3) if a != axis)
        own = np.flatnonzero(faces.axis == axis)
        before = (faces.cell[own] + 2) @ stride + np.where(faces.side[own], stride[axis], -stride[axis])
        for i, du in enumerate((-stride[u], stride[u])):
            for j, dv in enumerate((-stride[v], stride[v])):
                count = flat[before + du].astype(np.int8) + flat[before + dv] + flat[before + du + dv]
                light[own, i, j] = _OCCLUSION[count]
    return light


def sunlight(solid: NDArray[np.bool_]) -> Floats:
    """(X, Y, Z + 2) sunlight that reaches each voxel, 0 to 1; layer k + 1 belongs to voxels k, layer 0 is the floor.

    Light falls one layer at a time, ``SUN`` voxels sideways; between voxels it is shared, which softens shadows.
    """
    x, y, layers = solid.shape
    light = np.ones((x, y, layers + 2), dtype=np.float32)
    passes = np.ones((x + 1, y + 1), dtype=np.float32)
    along, across = SUN
    for k in range(layers - 1, -1, -1):
        # Below voxel (i, j) arrives what passed (i, j), (i - 1, j), (i, j + 1) and (i - 1, j + 1) one layer up.
        passes[1:, :-1] = np.where(solid[:, :, k], 0, light[:, :, k + 1])
        rows = (1 - along) * passes[1:] + along * passes[:-1]
        light[:, :, k] = (1 - across) * rows[:, :-1] + across * rows[:, 1:]
    return light


def face_sunlight(faces: Faces, sun: Floats) -> Floats:
    """(n,) sunlight in the voxel before each face; faces on the rim of the grid are lit."""
    front = faces.cell.copy()
    front[np.arange(len(front)), faces.axis] += np.where(faces.side, 1, -1)
    around = np.pad(sun, ((1, 1), (1, 1), (0, 0)), constant_values=1)
    return around[front[:, 0] + 1, front[:, 1] + 1, front[:, 2] + 1]


def _shade(
    picture: Floats,
    depth: Floats,
    front: NDArray[np.int32],
    faces: Faces,
    colours: Floats,
    light: Floats,
    grid: VoxelGrid,
    intrinsics: Matrix,
    ego_T_camera: Matrix,
) -> None:
    """Colour every pixel that shows a face, and note its depth along the optical axis."""
    width = front.shape[1]
    flat, out, far = front.ravel(), picture.reshape(-1, 3), depth.ravel()
    shown = np.flatnonzero(flat >= 0)
    axis_of = faces.axis[flat[shown]]
    focal = np.float32(intrinsics[0, 0])
    far_away = np.float32(1.6 * max(float(np.linalg.norm(ego_T_camera[:3, 3])), 40.0))
    # In units of voxels from the grid's corner: the eye, and what one pixel right, one down, one forward mean.
    right, down, ahead = (ego_T_camera[:3, :3].T / grid.voxel_size).astype(np.float32)
    eye = ((ego_T_camera[:3, 3] - grid.lower) / grid.voxel_size).astype(np.float32)
    for axis in range(3):
        pixel = shown[axis_of == axis]
        face = flat[pixel]
        row, column = np.divmod(pixel, width)
        x = (column.astype(np.float32) - np.float32(intrinsics[0, 2])) / focal
        y = (row.astype(np.float32) - np.float32(intrinsics[1, 2])) / focal
        plane = (faces.cell[:, axis] + faces.side).astype(np.float32)[face]
        distance = (plane - eye[axis]) / (right[axis] * x + down[axis] * y + ahead[axis])
        u, v = (
            np.clip(eye[a] + distance * (right[a] * x + down[a] * y + ahead[a]) - faces.cell[:, a][face], 0, 1)
            for a in range(3)
            if a != axis
        )
        corner = light[face]
        low = corner[:, 0, 0] + (corner[:, 0, 1] - corner[:, 0, 0]) * v
        high = corner[:, 1, 0] + (corner[:, 1, 1] - corner[:, 1, 0]) * v
        shade = (low + (high - low) * u) * LIGHT[axis][faces.side[face]]
        shade *= 1 - _edge_lines(u, v, distance / (focal * np.float32(grid.voxel_size)))
        haze = (0.22 * (1 - np.exp(-np.square(distance / far_away))))[:, None]
        out[pixel] = colours[face] * shade[:, None] * (1 - haze) + SKY_BOTTOM * haze
        far[pixel] = distance


def _ground(
    picture: Floats, depth: Floats, sun: Floats, grid: VoxelGrid, intrinsics: Matrix, ego_T_camera: Matrix
) -> None:
    """Where nothing is drawn yet, the floor of the grid with shadows and a line every ten metres."""
    pixel = np.flatnonzero(np.isinf(depth.ravel()))
    row, column = np.divmod(pixel, depth.shape[1])
    x = (column.astype(np.float32) - np.float32(intrinsics[0, 2])) / np.float32(intrinsics[0, 0])
    y = (row.astype(np.float32) - np.float32(intrinsics[1, 2])) / np.float32(intrinsics[1, 1])
    right, down, ahead = ego_T_camera[:3, :3].T.astype(np.float32)
    eye = ego_T_camera[:3, 3].astype(np.float32)
    fall = right[2] * x + down[2] * y + ahead[2]
    with np.errstate(divide="ignore"):
        distance = (np.float32(grid.lower[2]) - eye[2]) / fall
    place = [eye[a] + distance * (right[a] * x + down[a] * y + ahead[a]) for a in range(2)]
    inside = distance > 0
    for a in range(2):
        inside &= (place[a] >= grid.lower[a]) & (place[a] <= grid.upper[a])
    pixel, distance = pixel[inside], distance[inside]
    width = 0.7 * distance / np.float32(intrinsics[0, 0])  # of a line, in metres
    off_line = [np.abs((p[inside] + 5) % 10 - 5) / width for p in place]
    line = np.clip(1.5 - np.minimum(*off_line), 0, 1)[:, None]
    i, j = (((p[inside] - grid.lower[a]) / grid.voxel_size).astype(np.int32) for a, p in enumerate(place))
    lit = sun[np.minimum(i, sun.shape[0] - 1), np.minimum(j, sun.shape[1] - 1)]
    shade = (1 - SHADOW / 2 * (1 - lit))[:, None]
    picture.reshape(-1, 3)[pixel] = (FLOOR + line * (FLOOR_LINES - FLOOR)) * shade
    depth.reshape(-1)[pixel] = distance


def _edge_lines(u: Floats, v: Floats, pixel: Floats) -> Floats:
    """Darkness of the lines along the edges of a face; ``pixel`` is the size of a pixel in voxels there."""
    edge = np.minimum(np.minimum(u, 1 - u), np.minimum(v, 1 - v))
    strength = 0.26 * np.clip((0.34 - pixel) / 0.3, 0, 1)  # none where a voxel is only three pixels wide
    return strength * np.clip(1.5 - edge / pixel, 0, 1)
