"""Lidar points as sparse depth maps of cameras. Where several returns fall on one pixel or cell, the nearest wins."""

from __future__ import annotations

import numpy as np
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from ugocc.geometry.rigid import Matrix, inverse


def lidar_points_in_camera(
    points: NDArray[np.floating],
    ego_T_camera: Matrix,
    intrinsics: Matrix,
    width: int,
    height: int,
    nearest: float = 1.0,
    farthest: float = 60.0,
) -> NDArray[np.float32]:
    """Points that fall on the picture of an ideal (undistorted) camera.

    Args:
        points: (P, 3) metres in the key ego frame.
        ego_T_camera: (4, 4) camera axes to the key ego frame, through the camera's own pose.
        intrinsics: (3, 3) pixels of a picture of ``width`` x ``height``.
        width: columns.
        height: rows.
        nearest: smallest depth kept, in metres.
        farthest: largest depth kept, in metres.

    Returns:
        (M, 3) float32: u and v in pixels, depth in metres along the optical axis.
    """
    camera_T_ego = inverse(ego_T_camera)
    # One row per coordinate: numpy selects from whole rows several times faster than it selects short points.
    in_camera = camera_T_ego[:3, :3] @ np.asarray(points[:, :3], dtype=np.float64).T + camera_T_ego[:3, 3:]
    in_camera = in_camera.compress((in_camera[2] >= nearest) & (in_camera[2] <= farthest), axis=1)
    u, v = intrinsics[:2] @ (in_camera / in_camera[2])
    # A pixel reaches half a pixel around its centre.
    inside = (u >= -0.5) & (u < width - 0.5) & (v >= -0.5) & (v < height - 0.5)
    return np.column_stack([values[inside] for values in (u, v, in_camera[2])]).astype(np.float32)


def rasterise_depth(
    u: NDArray[np.floating], v: NDArray[np.floating], depth: NDArray[np.floating], height: int, width: int
) -> NDArray[np.float32]:
    """(height, width) float32 depth map of points (M,) at pixels u, v; the nearest wins, 0 where there is none."""
    column, row = np.floor(u + 0.5).astype(np.int64), np.floor(v + 0.5).astype(np.int64)
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    image = np.full(height * width, np.inf, dtype=np.float32)
    np.minimum.at(image, (row * width + column)[inside], depth[inside].astype(np.float32))
    image[np.isinf(image)] = 0
    return image.reshape(height, width)


def nearest_per_cell(depth: Tensor, stride: int) -> Tensor:
    """Nearest return per ``stride`` x ``stride`` cell.

    Args:
        depth: (..., H, W) metres, 0 where there is no return.
        stride: pixels per cell; the last row and column of cells may be incomplete.

    Returns:
        (..., ceil(H / stride), ceil(W / stride)) metres, 0 where a cell has no return.
    """
    nothing = float("inf")
    flat = depth.reshape(-1, 1, *depth.shape[-2:])
    nearest = -F.max_pool2d(-flat.masked_fill(flat <= 0, nothing), stride, ceil_mode=True)
    nearest = nearest.masked_fill(nearest == nothing, 0.0)
    return nearest.reshape(*depth.shape[:-2], *nearest.shape[-2:])
