"""2D labels of a fleet that has none: what its cameras should see of the occupancy labels.

Maps of 2D classes are rare: nuScenes has none, and own recordings seldom do. Along the ray through the middle of every
cell of a picture the first voxel that is not free says what the cell shows. Voxels are larger than what is in them: a
surface lies in the middle of its voxel on average, so a ray meets it half a voxel below the upper face, after it has
been in voxels that are not free for half an edge. Sky and what is beyond the volume stay unknown.
"""

from __future__ import annotations

from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor

from ugocc.data.batch import Batch, exact_product
from ugocc.geometry.camera import NEAR
from ugocc.geometry.grid import VoxelGrid
from ugocc.labels import FREE, UNKNOWN

STEPS_PER_VOXEL: Final = 4
"""Places at which a ray looks, per edge of a voxel."""

STEPS_AT_ONCE: Final = 64
"""Steps that all rays take together."""

DEPTH: Final = 0.5
"""Edges of a voxel that a surface lies below the faces of its voxel."""


@torch.no_grad()
def seen_labels(batch: Batch, map_size: tuple[int, int], grid: VoxelGrid) -> Tensor:
    """Classes that cells of the pictures show, by the occupancy labels of a batch.

    Args:
        batch: labelled samples, moved and mirrored as they are.
        map_size: rows h and columns w of cells that tile the network's images.
        grid: of the labels.

    Returns:
        (B, N, h, w) uint8 classes 0-8; 255 where the ray leaves the volume, meets something unknown first, or the cell
        shows something other than the world.
    """
    (rows, columns), (height, width) = map_size, batch.images.shape[-2:]
    like = batch.intrinsics
    v = (torch.arange(rows, device=like.device) + 0.5) * (height / rows) - 0.5
    u = (torch.arange(columns, device=like.device) + 0.5) * (width / columns) - 0.5
    pixels = torch.stack([u.repeat(rows), v.repeat_interleave(columns), torch.ones(rows * columns).to(u)], dim=-1)
    volume_T_camera = batch.volume_T_camera()
    rays = exact_product(volume_T_camera[..., :3, :3], torch.linalg.inv(batch.pixel_intrinsics()))
    directions = exact_product(pixels.to(like), rays.mT)  # (B, N, h w, 3) for one metre along the optical axis
    origins = volume_T_camera[..., None, :3, 3] + NEAR * directions
    directions = F.normalize(directions, dim=-1) * (grid.voxel_size / STEPS_PER_VOXEL)

    labels = _first_met(origins, directions, batch.occupancy, grid)
    shown = batch.pixel_mask.unflatten(-1, (columns, -1)).unflatten(-3, (rows, -1)).all(dim=-1).all(dim=-2)
    shown &= batch.camera_mask[..., None, None]
    labels = labels.masked_fill(labels == FREE, UNKNOWN).unflatten(-1, map_size)
    return labels.masked_fill(~shown, UNKNOWN)


def _first_met(origins: Tensor, directions: Tensor, volumes: Tensor, grid: VoxelGrid) -> Tensor:
    """(B, N, P) uint8 classes that rays (B, N, P, 3) meet, step by step in ``directions``; free where they meet none.

    A few dozen steps of all rays at a time, for single ones are too little work for a GPU; then those go on that met
    nothing and are still in the volume.
    """
    shape, count = directions.shape[:-1], directions[..., 0].numel()
    labels = torch.full((count,), FREE, dtype=torch.uint8, device=origins.device)
    up = torch.tensor([0.0, 0.0, DEPTH * grid.voxel_size], device=origins.device)
    enough = int(DEPTH * STEPS_PER_VOXEL) + 1  # steps in a row in voxels that are not free
    last = _last_steps(origins, directions, grid).flatten()
    ray = torch.arange(count, device=origins.device)
    sample = ray // (count // len(volumes))
    origins, directions = origins.reshape(-1, 3), directions.reshape(-1, 3)
    before = torch.zeros(count, enough - 1, dtype=torch.bool, device=origins.device)
    farthest = sum(edge**2 for edge in grid.shape) ** 0.5
    for steps in torch.arange(int(STEPS_PER_VOXEL * farthest) + 1, device=origins.device).split(STEPS_AT_ONCE):
        points = origins[:, None] + steps[:, None] * directions[:, None]
        here = _classes_at(points, sample, volumes, grid)
        solid = torch.cat([before, (here != FREE) & (_classes_at(points + up, sample, volumes, grid) != FREE)], dim=-1)
        met = solid.unfold(-1, enough, 1).all(dim=-1)
        first = here.gather(-1, met.to(torch.uint8).argmax(dim=-1, keepdim=True)).squeeze(-1)
        done = met.any(dim=-1)
        labels[ray[done]] = first[done]
        on = (~done & (last + 1 >= steps[-1])).nonzero()[:, 0]  # a step more, for rounding
        if not len(on):
            break
        ray, sample, last = ray[on], sample[on], last[on]
        origins, directions, before = origins[on], directions[on], solid[on, len(steps) :]
    return labels.view(shape)


def _last_steps(origins: Tensor, directions: Tensor, grid: VoxelGrid) -> Tensor:
    """(...) steps after which rays (..., 3) have left the volume for good; negative where they never enter it."""
    borders = torch.tensor([grid.lower, grid.upper], dtype=origins.dtype, device=origins.device)
    steps = (borders[:, None] - origins.flatten(0, -2)) / directions.flatten(0, -2)
    return steps.amax(dim=0).nan_to_num(nan=torch.inf).amin(dim=-1).view(origins.shape[:-1])


def _classes_at(points: Tensor, sample: Tensor, volumes: Tensor, grid: VoxelGrid) -> Tensor:
    """(M, S) classes of volumes (B, X, Y, Z) at points (M, S, 3) of samples (M,), free outside."""
    lower = torch.tensor(grid.lower, dtype=points.dtype, device=points.device)
    shape = torch.tensor(grid.shape, device=points.device)
    cell = torch.floor((points - lower) / grid.voxel_size).long()
    inside = ((cell >= 0) & (cell < shape)).all(dim=-1)
    x, y, z = torch.where(inside[..., None], cell, 0).unbind(-1)
    place = ((sample[:, None] * grid.shape[0] + x) * grid.shape[1] + y) * grid.shape[2] + z
    return torch.where(inside, volumes.take(place), FREE)
