"""Does a model contradict itself? Measures of its predictions that need no labels.

Each looks only at voxels whose centre lies in a camera's picture, which callers pass as ``within`` (see
:func:`ugocc.adaptation.visibility.voxels_in_pictures`). What cannot be measured is NaN.
"""

from __future__ import annotations

import math
from typing import Final, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ugocc.adaptation.rendering import RenderSettings, pixel_rays, render
from ugocc.adaptation.views import EvidenceSettings, Views, cell_pixels, cells_visible, evidence_of, views_of
from ugocc.data.batch import Batch
from ugocc.geometry.grid import VoxelGrid
from ugocc.labels import BUILDING, DRIVABLE, FREE, NUM_CLASSES, SIDEWALK, UNKNOWN, VEGETATION
from ugocc.models.prediction import Prediction

STATIC: Final = (DRIVABLE, SIDEWALK, BUILDING, VEGETATION)
"""Classes of things that stay where they are."""


class RenderConsistency(NamedTuple):
    """How far the volume and what the same network says about the pictures are apart."""

    depth_error: float
    """Median of |ln(rendered depth / expected depth)| over cells whose depth is sure and in the volume."""
    semantics: float
    """Share of the cells whose 2D class is sure that show the same class in the volume."""


def agreement(first: Tensor, second: Tensor, within: Tensor) -> float:
    """IoU between two predictions of the same frames, mean over the occupied classes that occur in either.

    Free voxels on which both agree count for nothing: nearly all are free, and they would hide everything else.

    Args:
        first: (..., X, Y, Z) classes, one way to look at the frames.
        second: same, another way: a changed picture, or another network such as the teacher.
        within: same, bool, voxels to count.

    Returns:
        0 to 1; NaN if neither holds an occupied voxel.
    """
    pairs = first[within].long() * NUM_CLASSES + second[within].long()
    counts = torch.bincount(pairs, minlength=NUM_CLASSES**2).view(NUM_CLASSES, NUM_CLASSES)
    both = counts.diagonal()[:FREE]
    either = (counts.sum(dim=0) + counts.sum(dim=1))[:FREE] - both
    occurs = either > 0
    return float((both[occurs] / either[occurs]).mean()) if occurs.any() else math.nan


def entropy(probabilities: Tensor, within: Tensor) -> tuple[float, float]:
    """Entropy of the class probabilities as a share of the largest possible, ln 10.

    Args:
        probabilities: (B, 10, X, Y, Z).
        within: (B, X, Y, Z) bool, voxels to count.

    Returns:
        Mean over the voxels predicted occupied, and over all; 0 sure, 1 undecided, NaN without voxels.
    """
    values = torch.special.entr(probabilities.float()).sum(dim=1) / math.log(NUM_CLASSES)
    occupied = within & (probabilities.argmax(dim=1) != FREE)
    return float(values[occupied].mean()), float(values[within].mean())


@torch.no_grad()
def render_consistency(
    prediction: Prediction,
    batch: Batch,
    grid: VoxelGrid,
    sure: EvidenceSettings | None = None,
    rendering: RenderSettings | None = None,
) -> RenderConsistency:
    """Render the volume into every cell of the cameras, and compare with the network's own depth and 2D classes.

    A rendered ray shows free (sky in pictures) if it hits something with less than even odds. Cells whose surface
    the network expects beyond the volume count only if they are sky.

    Args:
        prediction: of the batch.
        batch: cameras; its labels are not looked at.
        grid: of the volume.
        sure: which cells count.
        rendering: steps of the rays.

    Returns:
        NaN where no cell counts, and for the classes of a network without 2D semantics.
    """
    rendering = rendering or RenderSettings()
    views = views_of(batch)
    said = evidence_of(prediction.semantics_2d, *prediction.depth_distribution(), sure or EvidenceSettings())
    expected, probabilities = prediction.expected_depth(), prediction.probabilities()
    rows, columns = expected.shape[-2:]
    visible = cells_visible(views, (rows, columns))
    image_size = (views.visible.shape[-2], views.visible.shape[-1])
    pixels = cell_pixels((rows, columns), image_size, views.intrinsics).expand(batch.size, 1, -1, 2)
    errors, same = [], []
    for n in range(views.mask.shape[1]):  # camera after camera, for the memory of the samples along rays
        here = slice(n, n + 1)
        camera = Views(
            views.mask[:, here], views.intrinsics[:, here], views.volume_T_camera[:, here], views.visible[:, here]
        )
        seen = render(probabilities, pixel_rays(camera, pixels), grid, rendering)
        shown, depth, label = (values[:, n].flatten(1) for values in (visible, said.depth, said.labels))
        counts = shown & (depth > rendering.near) & (depth < seen.leaves)
        rendered = seen.expected_depth().clamp(min=rendering.near)
        errors.append((rendered[counts] / depth[counts]).log().abs())
        inside = expected[:, n].flatten(1) < seen.leaves
        counts = shown & (label != UNKNOWN) & (inside | (label == FREE)) & (seen.leaves > 0)
        shows = torch.where(seen.hit < 0.5, FREE, seen.semantics.argmax(dim=2))
        same.append((shows == label)[counts])
    # numpy's median is the mean of the two middle values, torch's the lower one.
    off, right = torch.cat(errors).cpu().numpy(), torch.cat(same)
    return RenderConsistency(float(np.median(off)) if off.size else math.nan, float(right.float().mean()))


def temporal_consistency(
    now: Tensor,
    later: Tensor,
    within_now: Tensor,
    within_later: Tensor,
    later_T_now: NDArray[np.float64],
    grid: VoxelGrid,
) -> float:
    """Share of the voxels of static classes that are still there a moment later, where both moments' pictures look.

    A surface in a voxel can be anywhere in it, so after the car has moved it lies in one of the eight voxels whose
    centres surround the moved centre: the class is kept if it is the class of any of them.

    Args:
        now: (X, Y, Z) classes of a frame.
        later: same of a later frame.
        within_now: (X, Y, Z) bool, voxels in the pictures.
        within_later: same of the later frame.
        later_T_now: (4, 4) from the ego frame of ``now`` to that of ``later``, from the poses.
        grid: of both volumes.

    Returns:
        0 to 1; NaN if there is no such voxel.
    """
    before, after = now.cpu().numpy(), later.cpu().numpy()
    static = np.argwhere(np.isin(before, STATIC) & within_now.cpu().numpy())
    points = (static + 0.5) * grid.voxel_size + grid.lower
    moved = points @ later_T_now[:3, :3].T + later_T_now[:3, 3]
    cell, inside = grid.index(moved)
    inside[inside] = within_later.cpu().numpy()[tuple(cell[inside].T)]
    if not inside.any():
        return math.nan
    label = before[tuple(static[inside].T)]
    corner = np.floor((moved[inside] - grid.lower) / grid.voxel_size - 0.5).astype(np.int64)
    kept = np.zeros(len(label), dtype=bool)
    for offset in np.ndindex(2, 2, 2):
        around = np.clip(corner + offset, 0, np.asarray(grid.shape) - 1)
        kept |= after[tuple(around.T)] == label
    return float(kept.mean())
