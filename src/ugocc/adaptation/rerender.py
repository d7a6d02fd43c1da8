"""Prepared source frames as another rig would have recorded them: pictures, labels and visibility together.

What comes out is a :class:`ugocc.data.prepare.Prepared` like any other, so that it can be cached, augmented and
batched like one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from ugocc.adaptation.completion import CompletedDepth, CompletionSettings, complete_depth
from ugocc.adaptation.rig import Matrices, VirtualRig
from ugocc.adaptation.rig_transfer import TransferredView, TransferSettings, transfer
from ugocc.data.depth_map import lidar_points_in_camera, rasterise_depth
from ugocc.data.frame import OccupancyLabel
from ugocc.data.occupancy import label_on_grid
from ugocc.data.prepare import Prepared, PreparedCamera
from ugocc.geometry.grid import VoxelGrid
from ugocc.geometry.rigid import inverse, transform
from ugocc.labels import FREE, UNKNOWN


@dataclass(frozen=True)
class RerenderSettings:
    """How source frames become frames of another rig."""

    completion: CompletionSettings = field(default_factory=CompletionSettings)
    """From lidar to dense depth."""
    transfer: TransferSettings = field(default_factory=TransferSettings)
    """From the source's cameras to the new ones."""
    lidar_tolerance: float = 0.1
    """A return of the source's lidar is a return in a new picture if its depth there differs by no more than this share
    from the re-rendered one; others are hidden from the new camera."""
    visibility_margin: int = 0
    """Voxels of the recorded label by which the new field of view and the source's camera mask are widened before they
    are intersected."""


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


def rerender(
    prepared: Prepared,
    rig: VirtualRig,
    grid: VoxelGrid,
    settings: RerenderSettings | None = None,
    views: SourceViews | None = None,
    recorded: tuple[OccupancyLabel, VoxelGrid] | None = None,
) -> Prepared:
    """A prepared frame as ``rig`` would have recorded it.

    Its lidar is the source's own, as the new cameras would see it: what is nearest in a cell of completed, dense depth
    is nearer than what is nearest in a cell of a sweep. Voxels count as seen by the cameras where :func:`visible_mask`
    says so. That is decided on the grid of the recorded label where it is given, for which class a coarse voxel takes
    depends on which of its parts are seen.

    Args:
        prepared: the source frame.
        rig: the new cameras.
        grid: grid of the frame's occupancy label.
        settings: see :class:`RerenderSettings`.
        views: :func:`source_views` of the frame, when it is re-rendered for several rigs.
        recorded: the label as recorded and its grid, of which ``grid`` may be a coarser cut-out.
    """
    s = settings or RerenderSettings()
    given = views or source_views(prepared, s.completion)
    seen = transfer(
        given.images, given.depth, given.confidence, given.intrinsics, given.ego_T_camera, rig, given.semantics,
        given.sky, given.pixel_mask, s.transfer,
    )  # fmt: skip
    occupancy = prepared.occupancy
    if occupancy is not None:
        label, label_grid = recorded or (occupancy, grid)
        visible = visible_mask(label.camera_mask, label_grid, rig, seen.valid, s.visibility_margin)
        occupancy = label_on_grid(label._replace(camera_mask=visible), label_grid, grid, prepared.token)
    labelled = any(camera.semantics is not None for camera in prepared.cameras)
    returns = lidar_returns(prepared)
    cameras = tuple(_prepared_camera(i, seen, rig, labelled, returns, s.lidar_tolerance) for i in range(len(rig)))
    return replace(prepared, cameras=cameras, occupancy=occupancy)


def visible_mask(
    camera_mask: NDArray[np.generic], grid: VoxelGrid, rig: VirtualRig, valid: Tensor | None = None, margin: int = 0
) -> NDArray[np.bool_]:
    """Voxels that both a new camera has in its picture and the source's cameras saw.

    Both masks are widened first: each is a cast of rays against voxels that misses many which a picture shows part
    of, and the rigs are a few decimetres apart.

    Args:
        camera_mask: (X, Y, Z) bool or 0/1, voxels the source's cameras see.
        grid: of the mask.
        rig: the new cameras.
        valid: (M, h, w) bool, pixels of the new pictures that show something; None for all.
        margin: voxels to widen by.
    """
    in_picture = np.zeros(int(np.prod(grid.shape)), dtype=bool)
    for i, (k, ego_T_camera) in enumerate(zip(rig.intrinsics, rig.ego_T_camera, strict=True)):
        pixel_T_ego = (k @ inverse(ego_T_camera)[:3]).astype(np.float32)
        x, y, z = pixel_T_ego[:, :3] @ _centres(grid) + pixel_T_ego[:, 3:]
        z = np.where(z > 0.01, z, np.inf)
        column, row = np.floor(x / z + 0.5), np.floor(y / z + 0.5)
        inside = np.isfinite(z) & (column >= 0) & (column < rig.width) & (row >= 0) & (row < rig.height)
        if valid is not None:
            inside[inside] = valid[i].cpu().numpy()[row[inside].astype(int), column[inside].astype(int)]
        in_picture |= inside
    masks = (in_picture.reshape(grid.shape), camera_mask != 0)
    if margin:
        block = np.ones((3, 3, 3), dtype=bool)
        masks = tuple(ndimage.binary_dilation(mask, block, iterations=margin) for mask in masks)
    return np.logical_and(*masks)


@lru_cache(maxsize=2)
def _centres(grid: VoxelGrid) -> NDArray[np.float32]:
    """(3, X * Y * Z) voxel centres in metres."""
    return np.ascontiguousarray(grid.centres().reshape(-1, 3).T.astype(np.float32))


def lidar_returns(prepared: Prepared) -> NDArray[np.float64]:
    """(P, 3) the lidar returns of all cameras of a prepared frame, metres in the key ego frame."""
    points = [np.zeros((0, 3))]
    for camera in prepared.cameras:
        u, v, depth = camera.lidar.astype(np.float64).T
        pixels = np.stack([u, v, np.ones_like(u)])
        rays = np.linalg.inv(camera.prepared_T_recorded @ camera.intrinsics) @ pixels
        points.append(transform(camera.ego_T_camera, (rays * depth).T))
    return np.concatenate(points)


def _prepared_camera(
    index: int, seen: TransferredView, rig: VirtualRig, labelled: bool, returns: NDArray[np.float64], tolerance: float
) -> PreparedCamera:
    pose, k = rig.ego_T_camera[index], rig.intrinsics[index]
    lidar = lidar_points_in_camera(returns, pose, k, rig.width, rig.height)
    column, row = (np.floor(lidar[:, :2] + 0.5).astype(int)).T
    shown = seen.depth[index].cpu().numpy()[row.clip(0, rig.height - 1), column.clip(0, rig.width - 1)]
    return PreparedCamera(
        name=f"virtual {index}",
        image=(seen.images[index] * 255 + 0.5).clamp(0, 255).to(torch.uint8).cpu().numpy(),
        semantics=seen.semantics[index].cpu().numpy() if labelled else None,
        visible=seen.valid[index].cpu().numpy(),
        lidar=lidar[np.abs(lidar[:, 2] - shown) <= tolerance * shown],
        intrinsics=k,
        prepared_T_recorded=np.eye(3),
        ego_T_camera=pose,
    )
