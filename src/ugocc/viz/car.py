"""The own car in pictures of volumes: a few boxes, traced per pixel."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ugocc.geometry.rigid import Matrix, inverse, transform

Floats = NDArray[np.float32]

# Lower and upper corner in metres (the ego origin is on the ground below the rear axle), RGB.
_BODY, _GLASS, _TYRE = (247, 248, 250), (52, 60, 74), (38, 40, 46)
BOXES: tuple[tuple[tuple[float, float, float], tuple[float, float, float], tuple[int, int, int]], ...] = (
    ((-0.95, -0.93, 0.30), (3.75, 0.93, 0.92), _BODY),
    ((-0.80, -0.80, 0.92), (2.45, 0.80, 1.38), _GLASS),
    ((-0.55, -0.74, 1.38), (1.95, 0.74, 1.52), _BODY),
    ((-0.36, -0.97, 0.0), (0.36, 0.97, 0.66), _TYRE),
    ((2.44, -0.97, 0.0), (3.16, 0.97, 0.66), _TYRE),
)
_LIGHT = np.array(((0.80, 0.9), (0.74, 0.94), (0.5, 1.0)), dtype=np.float32)


def draw_car(picture: Floats, depth: Floats, intrinsics: Matrix, ego_T_camera: Matrix) -> None:
    """Draw the car at the origin of the ego frame into a picture, behind whatever is nearer.

    Args:
        picture: (H, W, 3) float32 RGB, changed in place.
        depth: (H, W) float32 metres along the optical axis of what is drawn already, changed in place.
        intrinsics: (3, 3) pixels.
        ego_T_camera: (4, 4).
    """
    window = _window(intrinsics, ego_T_camera, depth.shape)
    if window is None:
        return
    rows, columns = window
    v, u = np.mgrid[rows, columns].astype(np.float32)
    rays = np.stack([u, v, np.ones_like(u)], axis=-1) @ np.linalg.inv(intrinsics).T @ ego_T_camera[:3, :3].T
    eye = ego_T_camera[:3, 3]
    for lower, upper, colour in BOXES:
        with np.errstate(divide="ignore", invalid="ignore"):
            to_lower, to_upper = (lower - eye) / rays, (upper - eye) / rays
        enter, leave = np.minimum(to_lower, to_upper), np.maximum(to_lower, to_upper)
        axis = enter.argmax(axis=-1)
        distance = enter.max(axis=-1)
        hit = (distance > 0) & (distance < leave.min(axis=-1)) & (distance < depth[rows, columns])
        looks_up = np.take_along_axis(rays, axis[..., None], axis=-1)[..., 0] < 0
        shade = _LIGHT[axis, looks_up.astype(np.int64)][..., None]
        picture[rows, columns][hit] = (shade * np.array(colour, np.float32))[hit]
        depth[rows, columns][hit] = distance[hit]


def _window(intrinsics: Matrix, ego_T_camera: Matrix, shape: tuple[int, ...]) -> tuple[slice, slice] | None:
    """Rows and columns of the picture that the car may cover."""
    lower = np.min([box[0] for box in BOXES], axis=0)
    upper = np.max([box[1] for box in BOXES], axis=0)
    corners = np.stack(np.meshgrid(*zip(lower, upper, strict=True)), axis=-1).reshape(-1, 3)
    points = transform(inverse(ego_T_camera), corners)
    if points[:, 2].min() < 0.1:
        return None
    pixels = points @ intrinsics.T / points[:, 2:]
    low = np.clip(np.floor(pixels.min(axis=0)).astype(int), 0, None)
    high = np.ceil(pixels.max(axis=0)).astype(int) + 1
    rows, columns = slice(low[1], min(high[1], shape[0])), slice(low[0], min(high[0], shape[1]))
    return (rows, columns) if rows.start < rows.stop and columns.start < columns.stop else None
