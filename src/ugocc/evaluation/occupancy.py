"""The metric ``map_ten_class``: IoU per class from one global confusion over a split."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchmetrics import Metric

from ugocc.geometry.grid import VoxelGrid
from ugocc.labels import FREE, NUM_CLASSES, UNKNOWN

Confusion = NDArray[np.int64]

RING_METRES = 10.0
"""Width of the rings of distance from the ego origin in the horizontal plane."""
RINGS = 4
"""Number of rings: 0-10, 10-20, 20-30 and 30-40 m; what lies farther belongs to no ring."""


class OccupancyScores(NamedTuple):
    """What one confusion says, in percent."""

    miou: float
    """Mean over the classes 0-8 that occur in truth or prediction; NaN where none does."""
    iou_occupied: float
    """Occupied (any of 0-8) against free; NaN where nothing is occupied in either."""
    per_class: list[float | None]
    """IoU of the classes 0-8, None for a class that occurs in neither truth nor prediction."""
    confusion: Confusion
    """(10, 10) voxel counts, row = truth, column = prediction."""
    by_distance: dict[str, OccupancyScores] | None = None
    """The same per ring of distance ("0-10" ... "30-40" metres), where the metric was given a grid."""
    hidden: OccupancyScores | None = None
    """The same on the labelled voxels outside the mask, where the metric was given a grid. On Occ3D most of these are
    labelled free for want of evidence, so it is a number to compare models with, not a quality."""


def scores_of(confusion: Confusion) -> OccupancyScores:
    """Scores of one (10, 10) confusion.

    IoU_c = TP / (row + column - TP) over all ten classes: an occupied voxel taken for free, or a free one taken for
    occupied, costs the class it concerns.
    """
    hit = np.diag(confusion).astype(np.float64)
    union = confusion.sum(0) + confusion.sum(1) - hit
    per_class = [float(100 * hit[c] / union[c]) if union[c] else None for c in range(FREE)]
    occurring = [value for value in per_class if value is not None]
    both = float(confusion[:FREE, :FREE].sum())
    either = float(confusion.sum() - confusion[FREE, FREE])
    return OccupancyScores(
        miou=float(np.mean(occurring)) if occurring else float("nan"),
        iou_occupied=100 * both / either if either else float("nan"),
        per_class=per_class,
        confusion=confusion,
    )


def confusions(pred: Tensor, label: Tensor, part: Tensor, parts: int) -> Tensor:
    """(parts, 10, 10) int64 confusions (row truth, column prediction) of the voxels of each part.

    Args:
        pred: classes 0-9, any integer type and shape.
        label: classes 0-9 or 255 (ignored), same shape.
        part: int64 index of the part a voxel belongs to, same shape.
        parts: number of parts.

    Raises:
        ValueError: a class that is none of the ten.
    """
    known = label != UNKNOWN
    # Unknown voxels go to a bin of their own: that is faster than picking the others.
    truth, guess = (values.where(known, 0).to(torch.int32) for values in (label, pred))
    for name, values in (("label", truth), ("prediction", guess)):
        if values.numel() and not 0 <= int(values.min()) <= int(values.max()) < NUM_CLASSES:
            raise ValueError(f"{name}: classes {int(values.min())} to {int(values.max())}, expected 0 to 9")
    cell = (part.to(torch.int32) * NUM_CLASSES + truth) * NUM_CLASSES + guess
    bins = parts * NUM_CLASSES**2
    counts = torch.bincount(cell.where(known, bins).flatten(), minlength=bins + 1)
    return counts[:bins].reshape(parts, NUM_CLASSES, NUM_CLASSES)


class MapTenClass(Metric):
    """Mean IoU over the ten-class confusion of everything it was fed.

    Args:
        grid: grid of the volumes; given, scores by distance and on hidden voxels are reported as well.
    """

    full_state_update = False
    counts: Tensor

    def __init__(self, grid: VoxelGrid | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.grid = grid
        self._ring = None if grid is None else ring_of(grid)
        # Parts: one per ring, what lies beyond the rings, what the mask hides.
        self.add_state("counts", torch.zeros(RINGS + 2, NUM_CLASSES, NUM_CLASSES, dtype=torch.int64), "sum")

    def update(self, pred: Tensor, label: Tensor, mask: Tensor | None = None) -> None:
        """Count the voxels of some frames.

        Args:
            pred: (B, X, Y, Z) classes 0-9.
            label: (B, X, Y, Z) classes 0-9, 255 unknown (ignored).
            mask: (B, X, Y, Z) bool, voxels that count; None for all.

        Raises:
            ValueError: shapes that differ, or a class that is none of the ten.
        """
        if pred.shape != label.shape or (mask is not None and mask.shape != label.shape):
            shapes = [tuple(t.shape) for t in (pred, label, mask) if t is not None]
            raise ValueError(f"shapes of prediction, label and mask differ: {shapes}")
        if self.grid is None:
            if mask is not None:
                pred, label = pred[mask], label[mask]
            self.counts[0] += confusions(pred, label, torch.zeros_like(label, dtype=torch.int64), 1)[0]
            return
        if tuple(label.shape[1:]) != self.grid.shape:
            raise ValueError(f"volumes of shape {tuple(label.shape[1:])} on a grid of shape {self.grid.shape}")
        assert self._ring is not None
        part = self._ring.to(label.device).expand(label.shape)
        if mask is not None:
            part = part.where(mask, RINGS + 1)
        self.counts += confusions(pred, label, part, RINGS + 2)

    def compute(self) -> OccupancyScores:
        """Scores of everything counted so far."""
        counts = self.counts.cpu().numpy()
        scores = scores_of(counts[: RINGS + 1].sum(0))
        if self.grid is None:
            return scores
        names = [f"{i * RING_METRES:.0f}-{(i + 1) * RING_METRES:.0f}" for i in range(RINGS)]
        rings = {name: scores_of(count) for name, count in zip(names, counts, strict=False)}
        return scores._replace(by_distance=rings, hidden=scores_of(counts[-1]))


def ring_of(grid: VoxelGrid) -> Tensor:
    """(X, Y, Z) int64: ring of every voxel centre, ``RINGS`` for what lies beyond."""
    distance = np.linalg.norm(grid.centres()[..., :2], axis=-1)
    return torch.from_numpy(np.minimum(distance // RING_METRES, RINGS).astype(np.int64))
