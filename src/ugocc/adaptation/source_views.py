"""The pictures of a prepared frame with dense depth: what re-rendering starts from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from ugocc.adaptation.completion import CompletedDepth, CompletionSettings, complete_depth
from ugocc.adaptation.rig import Matrices
from ugocc.data.depth_map import rasterise_depth
from ugocc.data.prepare import Prepared
from ugocc.geometry.rigid import transform
from ugocc.labels import FREE, UNKNOWN


class SourceViews(NamedTuple):
    """The pictures of one frame with dense depth, padded at the bottom and right to one size (H, W)."""

    images: Tensor
    """(N, 3, H, W) float32 in [0, 1]."""
    depth: Tensor
    """(N, H, W) metres, 0 where there is none."""
    confidence: Tensor
    """(N, H, W) in [0, 1]."""
    sky: Tensor
    """(N, H, W) bool."""
    semantics: Tensor
    """(N, H, W) uint8, 255 unknown."""
    pixel_mask: Tensor
    """(N, H, W) bool, pixels that show the world."""
    intrinsics: Matrices
    """(N, 3, 3) pixels."""
    ego_T_camera: Matrices
    """(N, 4, 4)."""


def source_views(
    prepared: Prepared,
    settings: CompletionSettings | None = None,
    dense: Sequence[NDArray[np.float32]] | None = None,
) -> SourceViews:
    """The pictures of a prepared frame with dense depth: given, or its lidar completed.

    Args:
        prepared: a frame with lidar; 2D labels are used where it has them.
        settings: of the completion.
        dense: (h, w) metres of every camera, 0 for none and sky; None completes the lidar.
    """
    rows = max(camera.image.shape[1] for camera in prepared.cameras)
    columns = max(camera.image.shape[2] for camera in prepared.cameras)
    per_camera = []
    for i, camera in enumerate(prepared.cameras):
        height, width = camera.image.shape[1:]
        image = camera.image.astype(np.float32) / 255
        visible = np.ones((height, width), bool) if camera.visible is None else camera.visible
        if dense is None:
            sparse = rasterise_depth(camera.lidar[:, 0], camera.lidar[:, 1], camera.lidar[:, 2], height, width)
            pixel = camera.prepared_T_recorded @ camera.intrinsics
            completed = complete_depth(image, sparse, pixel, camera.ego_T_camera, camera.semantics, visible, settings)
        else:
            completed = _known_depth(dense[i], camera.semantics, visible)
        labels = np.full((height, width), UNKNOWN, np.uint8) if camera.semantics is None else camera.semantics
        margin = ((0, rows - height), (0, columns - width))
        values = (image, completed.depth, completed.confidence, completed.sky, visible)
        padded = [np.pad(v, ((0, 0),) * (v.ndim - 2) + margin) for v in values]
        per_camera.append([*padded, np.pad(labels, margin, constant_values=UNKNOWN)])
    images, depth, confidence, sky, shown, semantics = (
        torch.from_numpy(np.stack(values)) for values in zip(*per_camera, strict=True)
    )
    intrinsics = np.stack([camera.prepared_T_recorded @ camera.intrinsics for camera in prepared.cameras])
    poses = np.stack([camera.ego_T_camera for camera in prepared.cameras])
    return SourceViews(images, depth, confidence, sky, semantics, shown, intrinsics, poses)


def _known_depth(
    depth: NDArray[np.float32], semantics: NDArray[np.uint8] | None, visible: NDArray[np.bool_]
) -> CompletedDepth:
    """Depth that need not be completed; without 2D labels, sky is what has none."""
    sky = visible & ((depth <= 0) if semantics is None else (semantics == FREE))
    known = np.where(sky | ~visible, np.float32(0), depth)
    return CompletedDepth(known, (known > 0).astype(np.float32), sky)


def joined(views: Sequence[SourceViews]) -> SourceViews:
    """The pictures of several moments as if of one, up to the size of the largest with nothing in them."""
    rows, columns = (max(v.depth.shape[axis] for v in views) for axis in (1, 2))

    def together(maps: Sequence[Tensor], nothing: int = 0) -> Tensor:
        margins = ((0, columns - m.shape[-1], 0, rows - m.shape[-2]) for m in maps)
        return torch.cat([F.pad(m, margin, value=nothing) for m, margin in zip(maps, margins, strict=True)])

    images, depth, confidence, sky = (together(maps) for maps in zip(*(v[:4] for v in views), strict=True))
    semantics = together([v.semantics for v in views], UNKNOWN)
    shown = together([v.pixel_mask for v in views])
    intrinsics, poses = (np.concatenate(values) for values in zip(*(v[6:] for v in views), strict=True))
    return SourceViews(images, depth, confidence, sky, semantics, shown, intrinsics, poses)


def lidar_returns(prepared: Prepared) -> NDArray[np.float64]:
    """(P, 3) the lidar returns of all cameras of a prepared frame, metres in the key ego frame."""
    points = [np.zeros((0, 3))]
    for camera in prepared.cameras:
        u, v, depth = camera.lidar.astype(np.float64).T
        pixels = np.stack([u, v, np.ones_like(u)])
        rays = np.linalg.inv(camera.prepared_T_recorded @ camera.intrinsics) @ pixels
        points.append(transform(camera.ego_T_camera, (rays * depth).T))
    return np.concatenate(points)
