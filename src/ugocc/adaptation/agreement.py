"""Do voxels of a volume agree with the 2D semantics and depth of the cameras that see them?"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ugocc.adaptation.views import Evidence, Views, cell_at, project, to_camera, voxel_centres
from ugocc.adaptation.visibility import Sightings
from ugocc.geometry.grid import VoxelGrid
from ugocc.labels import FREE, UNKNOWN


@dataclass(frozen=True)
class AgreementSettings:
    """How far a voxel may be from what a camera says."""

    depth_voxels: float = 1.0
    """Depths differ if by more than this many voxels ..."""
    depth_share: float = 0.15
    """... and by more than this share of the camera's depth."""


@torch.no_grad()
def contradictions(
    labels: Tensor, sightings: Sightings, views: Views, evidence: Evidence, grid: VoxelGrid, settings: AgreementSettings
) -> Tensor:
    """Pairs of a voxel and a camera that sees it in which the camera is sure of something else.

    An occupied voxel is looked up at its centre and the middles of its six faces, since a voxel is wider than a pixel
    and its centre may lie behind its surface. It is contradicted if the camera is sure of the class, or of the depth,
    at some of these points and agrees at none of them. A free voxel is contradicted if the camera is sure of a
    surface in it or before it. Sky is the class free, so it contradicts whatever is said to be in front of it.

    Args:
        labels: (B, X, Y, Z) classes of the voxels.
        sightings: K pairs of voxels and cameras that see them.
        views: cameras.
        evidence: what they are sure of.
        grid: of the volume.
        settings: tolerances.

    Returns:
        (K,) bool.
    """
    label = labels.flatten(1)[sightings.sample, sightings.voxel]
    offsets = torch.cat([torch.zeros(1, 3), torch.eye(3), -torch.eye(3)]).to(views.intrinsics) * (grid.voxel_size / 2)
    points = voxel_centres(grid, views.intrinsics)[sightings.voxel, None] + offsets
    pair = (sightings.sample, sightings.camera)
    pixels, depth = project(to_camera(views.volume_T_camera[pair], points), views.intrinsics[pair])
    image_size = (views.visible.shape[-2], views.visible.shape[-1])
    map_size = (evidence.depth.shape[-2], evidence.depth.shape[-1])
    pixel, inside = cell_at(pixels, image_size, image_size)
    inside &= views.visible.flatten(2)[(*(p[:, None] for p in pair), pixel)]
    cell, _ = cell_at(pixels, image_size, map_size)
    place = (*(p[:, None] for p in pair), cell)
    seen_label, seen_depth = evidence.labels.flatten(2)[place], evidence.depth.flatten(2)[place]

    sure = inside & (seen_label != UNKNOWN)
    other_class = sure.any(dim=1) & ~(sure & (seen_label == label[:, None])).any(dim=1)
    measured = inside & (seen_depth > 0)
    tolerance = (settings.depth_share * seen_depth).clamp(min=settings.depth_voxels * grid.voxel_size)
    near = measured & ((seen_depth - depth).abs() <= tolerance)
    elsewhere = measured.any(dim=1) & ~near.any(dim=1)
    blocked = measured[:, 0] & (seen_depth[:, 0] < depth[:, 0] + grid.voxel_size / 2)
    return torch.where(label == FREE, blocked, other_class | elsewhere)
