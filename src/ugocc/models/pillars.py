"""What the cameras see of the pillars that stand on the cells of a bird's-eye view."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ugocc.geometry.grid import VoxelGrid
from ugocc.models.cameras import Cameras

NEAREST = 0.1
"""Metres in front of a camera below which nothing is seen."""


@dataclass(frozen=True)
class Sight:
    """Anchors of Q pillars, A on each, as seen by M cameras."""

    places: Tensor
    """(M, Q, A, 2) column and row as fractions of the image: 0 the outer edge of the first pixel, 1 of the last."""
    distances: Tensor
    """(M, Q, A) metres along the optical axis."""
    visible: Tensor
    """(M, Q, A) bool, in front of the camera and inside its image."""


@dataclass(frozen=True)
class PackedSight:
    """The pairs of a camera and a pillar that it sees, camera by camera, K places for each; what is left over of a
    camera's places holds pillar 0 and is never read."""

    owner: Tensor
    """(M, K) int64 row of the pillar's query among those of all samples, sample after sample."""
    places: Tensor
    """(M, K, A, 2) as in :class:`Sight`."""
    distances: Tensor
    """(M, K, A) as in :class:`Sight`."""
    visible: Tensor
    """(M, K, A) bool, as in :class:`Sight`."""
    entries: Tensor
    """(P,) int64 which of the M x K places each pair has, sorted by owner."""
    starts: Tensor
    """(B * Q,) int64 the pairs of query i begin here, and end where those of the next begin."""


@torch.no_grad()
def pack(sight: Sight, sample: Tensor, samples: int) -> PackedSight:
    """Keep what is seen.

    Args:
        sight: of M cameras.
        sample: (M,) the sample of each camera.
        samples: how many there are.
    """
    seen = sight.visible.any(dim=-1)
    queries = seen.shape[1]
    camera, place = seen.nonzero(as_tuple=True)
    rank = (seen.cumsum(dim=1) - 1)[camera, place]
    most = max(1, int(seen.sum(dim=1).max()))
    packed = torch.zeros(len(sample), most, dtype=torch.int64, device=sample.device)
    packed[camera, rank] = place
    row = torch.arange(len(sample), device=sample.device)[:, None]
    owner = sample[:, None] * queries + packed
    owners, order = torch.sort(owner[camera, rank], stable=True)
    starts = torch.searchsorted(owners, torch.arange(samples * queries, device=owners.device))
    entries = (camera * most + rank)[order]
    seen_by = (sight.places[row, packed], sight.distances[row, packed], sight.visible[row, packed])
    return PackedSight(owner, *seen_by, entries, starts)


def pillar_anchors(grid: VoxelGrid, shape: tuple[int, int], heights: tuple[float, ...]) -> Tensor:
    """(X * Y, A, 3) float32 metres in the volume's frame: above the middle of each cell, at each height."""
    (left, near, _), (right, far, _) = grid.lower, grid.upper
    x = left + (torch.arange(shape[0], dtype=torch.float64) + 0.5) * ((right - left) / shape[0])
    y = near + (torch.arange(shape[1], dtype=torch.float64) + 0.5) * ((far - near) / shape[1])
    z = torch.tensor(heights, dtype=torch.float64)
    return torch.stack(torch.meshgrid(x, y, z, indexing="ij"), dim=-1).flatten(0, 1).float()


@torch.no_grad()
def look(cameras: Cameras, anchors: Tensor) -> Sight:
    """Project anchors (Q, A, 3), in metres in the volume's frame, into every camera."""
    height, width = cameras.image_size
    with torch.autocast(anchors.device.type, enabled=False):
        camera_T_volume = torch.linalg.inv(cameras.volume_T_camera)
        pixels_T_volume = cameras.pixel_intrinsics @ camera_T_volume[:, :3]
        flat = anchors.view(-1, 3)
        u, v, distance = (flat @ pixels_T_volume[:, :, :3].mT + pixels_T_volume[:, None, :, 3]).unbind(dim=-1)
        ahead = distance > NEAREST
        safe = distance.clamp(min=NEAREST)
        # Pixel centres are whole numbers, so the image begins half a pixel before the first.
        places = torch.stack([(u / safe + 0.5) / width, (v / safe + 0.5) / height], dim=-1)
    visible = ahead & ((places >= 0) & (places < 1)).all(dim=-1)
    shape = (len(cameras.sample), *anchors.shape[:2])
    return Sight(places.view(*shape, 2), distance.view(shape), visible.view(shape))
