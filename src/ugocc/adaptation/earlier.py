"""What an earlier frame of a drive tells of now: all that stands still."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from ugocc.adaptation.rig import Matrices
from ugocc.adaptation.source_views import SourceViews, lidar_returns
from ugocc.data.occupancy import own_grid
from ugocc.data.prepare import Prepared
from ugocc.extras import later
from ugocc.geometry.camera import pixel_rays
from ugocc.geometry.grid import VoxelGrid
from ugocc.geometry.rigid import inverse, transform
from ugocc.labels import MOVABLE, UNKNOWN

ndimage = later("scipy.ndimage", "adapt")


class Earlier(NamedTuple):
    """An earlier frame of the same scene, without what can move."""

    views: SourceViews
    """Its pictures; cameras in the ego frame of now, pixels that show what can move not shown."""
    returns: NDArray[np.float64]
    """(P, 3) its lidar, metres in the ego frame of now."""
    seen: NDArray[np.bool_]
    """(X, Y, Z) voxels of its label that its cameras saw and that cannot move."""
    grid: VoxelGrid
    """Of the label, in the ego frame of then."""
    now_T_then: Matrices
    """(4, 4)."""


def earlier_frame(prepared: Prepared, views: SourceViews, grid: VoxelGrid, world_T_now: Matrices) -> Earlier:
    """What an earlier frame tells of now: all that stands still.

    Pixels that are labelled as what can move, or whose point is in or next to a voxel that is, are taken out, and the
    sky with them.

    Args:
        prepared: the earlier frame, with its label.
        views: its :func:`source_views`.
        grid: of the model; the label covers its box.
        world_T_now: (4, 4) pose of the vehicle now.
    """
    label = prepared.occupancy
    assert label is not None, "the frames of a labelled fleet have labels"
    grid = own_grid(label, grid)
    now_T_then = inverse(world_T_now) @ prepared.world_T_ego
    movable = ndimage.binary_dilation(np.isin(label.semantics, MOVABLE), np.ones((3, 3, 3), dtype=bool))
    pixels = torch.isin(views.semantics, torch.tensor(MOVABLE, dtype=torch.uint8))
    height, width = pixels.shape[1:]
    for i, depth in enumerate(views.depth.numpy()):
        rays = pixel_rays(width, height, views.intrinsics[i])
        points = transform(views.ego_T_camera[i], (rays * depth[..., None]).reshape(-1, 3))
        pixels[i] |= torch.from_numpy(values_at(movable, grid, points)).view(height, width)
    around = F.max_pool2d(pixels[:, None].float(), 3, 1, 1)[:, 0] > 0
    still = views._replace(
        pixel_mask=views.pixel_mask & ~around & ~views.sky,
        sky=torch.zeros_like(views.sky),
        ego_T_camera=now_T_then @ views.ego_T_camera,
    )
    seen = (label.camera_mask != 0) & ~np.isin(label.semantics, (*MOVABLE, UNKNOWN))
    return Earlier(still, transform(now_T_then, lidar_returns(prepared)), seen, grid, now_T_then)


def values_at(values: NDArray[np.bool_], grid: VoxelGrid, points: NDArray[np.floating]) -> NDArray[np.bool_]:
    """(P,) values of the voxels that points (P, 3) are in; False outside the grid."""
    cell, inside = grid.index(points)
    found = np.zeros(len(points), dtype=bool)
    found[inside] = values[tuple(cell[inside].T)]
    return found
