"""Where the cameras of a batch are, and what 2D maps of them say about the world."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ugocc.data.batch import Batch
from ugocc.geometry.grid import VoxelGrid
from ugocc.labels import UNKNOWN


@dataclass(frozen=True)
class Views:
    """Cameras of B samples, N each, in the frame of the volume."""

    mask: Tensor
    """(B, N) bool, cameras that exist."""
    intrinsics: Tensor
    """(B, N, 3, 3) network pixel = this x (camera point / depth)."""
    volume_T_camera: Tensor
    """(B, N, 4, 4) camera axes to the frame of the volume."""
    visible: Tensor
    """(B, N, H, W) bool, pixels that show the world: not padding, not the own car."""


@dataclass(frozen=True)
class EvidenceSettings:
    """When a 2D prediction is sure enough to be believed."""

    semantic_confidence: float = 0.8
    """Least probability of a pixel's class."""
    depth_confidence: float = 0.6
    """Least probability that the depth is within the tolerance of its expected value."""
    depth_tolerance: float = 0.15
    """The tolerance, as a share of the expected depth."""


@dataclass(frozen=True)
class Evidence:
    """What cameras say about the world, without gradient. Cells (h, w) tile the image."""

    labels: Tensor
    """(B, N, h, w) uint8 class, free for sky, 255 where it is not sure."""
    depth: Tensor
    """(B, N, h, w) float32 metres along the optical axis, 0 where it is not sure."""


def views_of(batch: Batch) -> Views:
    """The cameras of a batch."""
    return Views(
        batch.camera_mask,
        batch.pixel_intrinsics(),
        batch.volume_T_camera(),
        batch.pixel_mask & batch.camera_mask[..., None, None],
    )


@torch.no_grad()
def evidence_of(
    semantic_logits: Tensor | None, depth_logits: Tensor, bin_depths: Tensor, settings: EvidenceSettings
) -> Evidence:
    """Confident pixels of a teacher's 2D semantics and depth.

    Args:
        semantic_logits: (B, N, 10, h, w), or None for a model without 2D semantics: no label is sure then.
        depth_logits: (B, N, D, h, w).
        bin_depths: (B, N, D) metres.
        settings: when it is sure.
    """
    probability = depth_logits.float().softmax(dim=2)
    bins = bin_depths.float()[..., None, None]
    depth = (probability * bins).sum(dim=2)
    near = (bins - depth[:, :, None]).abs() <= settings.depth_tolerance * depth[:, :, None]
    sure = (probability * near).sum(dim=2) >= settings.depth_confidence
    labels = torch.full(depth.shape, UNKNOWN, dtype=torch.uint8, device=depth.device)
    if semantic_logits is not None:
        confidence, label = semantic_logits.float().softmax(dim=2).max(dim=2)
        labels = label.to(torch.uint8).masked_fill(confidence < settings.semantic_confidence, UNKNOWN)
    return Evidence(labels, depth * sure)


def voxel_centres(grid: VoxelGrid, like: Tensor) -> Tensor:
    """(X * Y * Z, 3) centres in metres, in the order of a flattened grid array, on the device of ``like``."""
    return torch.from_numpy(grid.centres()).reshape(-1, 3).to(like)


def project(camera_points: Tensor, intrinsics: Tensor) -> tuple[Tensor, Tensor]:
    """Pixels (..., P, 2) and depth (..., P) of points (..., P, 3) in camera axes; intrinsics (..., 3, 3).

    Pixels of points less than a centimetre before the camera, or behind it, are NaN.
    """
    depth = camera_points[..., 2]
    normalised = camera_points[..., :2] / depth.masked_fill(depth < 0.01, torch.nan)[..., None]
    return normalised @ intrinsics[..., :2, :2].mT + intrinsics[..., None, :2, 2], depth


def to_camera(volume_T_camera: Tensor, points: Tensor) -> Tensor:
    """Points (..., P, 3) of the volume's frame in camera axes; transforms (..., 4, 4), which may stretch."""
    return (points - volume_T_camera[..., None, :3, 3]) @ torch.linalg.inv(volume_T_camera[..., :3, :3]).mT


def cell_at(pixels: Tensor, image_size: tuple[int, int], map_size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Row-major cell of a map that tiles the image, and whether the pixel lies in the image.

    Args:
        pixels: (..., 2) u, v with the centre of the top-left pixel at (0, 0); NaN lies outside.
        image_size: rows and columns of the image.
        map_size: rows and columns of the map.

    Returns:
        (...,) int64 row * columns + column, 0 outside, and bool.
    """
    (height, width), (rows, columns) = image_size, map_size
    column = torch.floor((pixels[..., 0] + 0.5) * (columns / width))
    row = torch.floor((pixels[..., 1] + 0.5) * (rows / height))
    inside = (column >= 0) & (column < columns) & (row >= 0) & (row < rows)
    return torch.where(inside, row * columns + column, 0.0).long(), inside


def cell_pixels(map_size: tuple[int, int], image_size: tuple[int, int], like: Tensor) -> Tensor:
    """(rows * columns, 2) u, v in pixels of the middle of every cell of a map that tiles the image."""
    (rows, columns), (height, width) = map_size, image_size
    v = (torch.arange(rows, device=like.device) + 0.5) * (height / rows) - 0.5
    u = (torch.arange(columns, device=like.device) + 0.5) * (width / columns) - 0.5
    return torch.stack([u.repeat(rows), v.repeat_interleave(columns)], dim=1).to(like)


def cells_visible(views: Views, map_size: tuple[int, int]) -> Tensor:
    """(B, N, h, w) bool: cells all of whose pixels show the world."""
    rows, columns = map_size
    return views.visible.unflatten(-1, (columns, -1)).unflatten(-3, (rows, -1)).all(dim=-1).all(dim=-2)
