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
from torch import Tensor

from ugocc.adaptation.completion import CompletionSettings
from ugocc.adaptation.earlier import Earlier, values_at
from ugocc.adaptation.rig import VirtualRig
from ugocc.adaptation.rig_transfer import TransferredView, TransferSettings, transfer
from ugocc.adaptation.source_views import SourceViews, joined, lidar_returns, source_views
from ugocc.data.depth_map import lidar_points_in_camera
from ugocc.data.occupancy import own_grid
from ugocc.data.prepare import Prepared, PreparedCamera
from ugocc.errors import DataError
from ugocc.extras import later
from ugocc.geometry.grid import VoxelGrid
from ugocc.geometry.rigid import inverse, transform
from ugocc.labels import MOVABLE

ndimage = later("scipy.ndimage", "adapt")


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
    look_back: tuple[float, ...] = (4.0, 9.0, 16.0)
    """Metres driven since earlier frames whose pictures fill what the frame's own do not show: the ground beside the
    car, and for cars that look ahead only, all that is behind. What can move is left out of them. None: ()."""

    def __post_init__(self) -> None:
        if any(not metres > 0 for metres in self.look_back):
            raise DataError("rig_transfer.rerender", "look_back", self.look_back, "metres above 0")


def rerender(
    prepared: Prepared,
    rig: VirtualRig,
    grid: VoxelGrid,
    settings: RerenderSettings | None = None,
    views: SourceViews | None = None,
    earlier: Sequence[Earlier] = (),
    depths: tuple[float, float] = (1.0, 60.0),
) -> Prepared:
    """A prepared frame as ``rig`` would have recorded it.

    Its lidar is the source's own, as the new cameras would see it: what is nearest in a cell of completed, dense depth
    is nearer than what is nearest in a cell of a sweep. Voxels count as seen by the cameras where :func:`visible_mask`
    says so.

    Args:
        prepared: the source frame.
        rig: the new cameras.
        grid: of the model; the frame's occupancy label covers its box.
        settings: see :class:`RerenderSettings`.
        views: :func:`source_views` of the frame, when it is re-rendered for several rigs.
        earlier: frames that fill what this one's pictures do not show.
        depths: nearest and farthest lidar return used as depth, in metres.
    """
    s = settings or RerenderSettings()
    given = views or source_views(prepared, s.completion)
    own = _transferred(given, rig, s.transfer)
    seen, filled = own, torch.zeros_like(own.valid)
    if earlier:
        before = _transferred(joined([e.views for e in earlier]), rig, s.transfer)
        filled = before.valid & (before.depth > 0) & ~own.valid
        seen = _filled(own, before, filled)
    occupancy = prepared.occupancy
    if occupancy is not None:
        fine = own_grid(occupancy, grid)
        visible = visible_mask(occupancy.camera_mask, fine, rig, own.valid, s.visibility_margin)
        if earlier:
            visible |= filled_mask(occupancy.semantics, fine, rig, torch.where(filled, seen.depth, 0.0), earlier)
        occupancy = occupancy._replace(camera_mask=visible)
    labelled = any(camera.semantics is not None for camera in prepared.cameras)
    returns = [(lidar_returns(prepared), ~filled), *((e.returns, filled) for e in earlier)]
    cameras = tuple(
        _prepared_camera(i, seen, rig, labelled, returns, s.lidar_tolerance, depths) for i in range(len(rig))
    )
    return replace(prepared, cameras=cameras, occupancy=occupancy)


def _transferred(views: SourceViews, rig: VirtualRig, settings: TransferSettings) -> TransferredView:
    return transfer(
        views.images, views.depth, views.confidence, views.intrinsics, views.ego_T_camera, rig, views.semantics,
        views.sky, views.pixel_mask, settings,
    )  # fmt: skip


def _filled(own: TransferredView, before: TransferredView, filled: Tensor) -> TransferredView:
    """``before`` where ``filled``, else ``own``; what is invalid still has the mean colour of what is valid."""
    valid = own.valid | filled
    images = torch.where(filled[:, None], before.images, own.images)
    count = valid.sum(dim=(1, 2)).clamp(min=1)
    mean = (images * valid[:, None]).sum(dim=(2, 3)) / count[:, None]
    depth, confidence, semantics = (
        torch.where(filled, getattr(before, name), getattr(own, name)) for name in ("depth", "confidence", "semantics")
    )
    return TransferredView(
        torch.where(valid[:, None], images, mean[:, :, None, None]), valid, depth, confidence, semantics
    )


def filled_mask(
    semantics: NDArray[np.uint8], grid: VoxelGrid, rig: VirtualRig, depth: Tensor, earlier: Sequence[Earlier]
) -> NDArray[np.bool_]:
    """Voxels that a filled part of a new picture shows, that stand still, and that an earlier frame's cameras saw.

    Args:
        semantics: (X, Y, Z) label of now.
        grid: of the label.
        rig: the new cameras.
        depth: (M, h, w) metres along the optical axis where the pictures are filled, 0 elsewhere. What is farther is
            hidden; not so voxels that the surface passes through, whose centres may lie a good deal behind it.
        earlier: earlier frames.
    """
    shown = np.zeros(int(np.prod(grid.shape)), dtype=bool)
    for i in range(len(rig)):
        place = _in_picture(grid, rig, i)
        surface = depth[i].cpu().numpy()[place.row, place.column]
        shown[place.voxels] |= (surface > 0) & (place.depth <= 1.15 * surface + 2 * grid.voxel_size)
    known = np.zeros_like(shown)
    candidates = np.flatnonzero(shown & ~np.isin(semantics, MOVABLE).reshape(-1))
    centres = _centres(grid)[:, candidates].T.astype(np.float64)
    for frame in earlier:
        known[candidates] |= values_at(frame.seen, frame.grid, transform(inverse(frame.now_T_then), centres))
    return known.reshape(grid.shape)


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
    for i in range(len(rig)):
        place = _in_picture(grid, rig, i)
        shows = True if valid is None else valid[i].cpu().numpy()[place.row, place.column]
        in_picture[place.voxels] |= shows
    masks = (in_picture.reshape(grid.shape), camera_mask != 0)
    if margin:
        block = np.ones((3, 3, 3), dtype=bool)
        masks = tuple(ndimage.binary_dilation(mask, block, iterations=margin) for mask in masks)
    return np.logical_and(*masks)


class _Places(NamedTuple):
    """Voxels whose centres are in a picture."""

    voxels: NDArray[np.intp]
    """(V,) places in the flattened grid."""
    row: NDArray[np.intp]
    """(V,) of the pixel."""
    column: NDArray[np.intp]
    """(V,) of the pixel."""
    depth: NDArray[np.float32]
    """(V,) metres along the optical axis."""


def _in_picture(grid: VoxelGrid, rig: VirtualRig, camera: int) -> _Places:
    pixel_T_ego = (rig.intrinsics[camera] @ inverse(rig.ego_T_camera[camera])[:3]).astype(np.float32)
    x, y, z = pixel_T_ego[:, :3] @ _centres(grid) + pixel_T_ego[:, 3:]
    z = np.where(z > 0.01, z, np.inf)
    column, row = np.floor(x / z + 0.5), np.floor(y / z + 0.5)
    inside = np.isfinite(z) & (column >= 0) & (column < rig.width) & (row >= 0) & (row < rig.height)
    voxels = np.flatnonzero(inside)
    return _Places(voxels, row[voxels].astype(np.intp), column[voxels].astype(np.intp), z[voxels])


@lru_cache(maxsize=2)
def _centres(grid: VoxelGrid) -> NDArray[np.float32]:
    """(3, X * Y * Z) voxel centres in metres."""
    return np.ascontiguousarray(grid.centres().reshape(-1, 3).T.astype(np.float32))


def _prepared_camera(
    index: int,
    seen: TransferredView,
    rig: VirtualRig,
    labelled: bool,
    returns: Sequence[tuple[NDArray[np.float64], Tensor]],
    tolerance: float,
    depths: tuple[float, float],
) -> PreparedCamera:
    """The new camera; returns are points (P, 3) and, of all cameras, the pixels (M, h, w) that they may be in."""
    pose, k = rig.ego_T_camera[index], rig.intrinsics[index]
    depth = seen.depth[index].cpu().numpy()
    found = []
    for points, where in returns:
        lidar = lidar_points_in_camera(points, pose, k, rig.width, rig.height, *depths)
        column, row = (np.floor(lidar[:, :2] + 0.5).astype(int)).T
        row, column = row.clip(0, rig.height - 1), column.clip(0, rig.width - 1)
        near = np.abs(lidar[:, 2] - depth[row, column]) <= tolerance * depth[row, column]
        found.append(lidar[near & where[index].cpu().numpy()[row, column]])
    return PreparedCamera(
        name=f"virtual {index}",
        image=(seen.images[index] * 255 + 0.5).clamp(0, 255).to(torch.uint8).cpu().numpy(),
        semantics=seen.semantics[index].cpu().numpy() if labelled else None,
        visible=seen.valid[index].cpu().numpy(),
        lidar=np.concatenate(found),
        intrinsics=k,
        prepared_T_recorded=np.eye(3),
        ego_T_camera=pose,
    )
