"""Which of a teacher's voxels become pseudo-labels: sure ones, as their neighbours are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ugocc.errors import DataError
from ugocc.labels import FREE, NUM_CLASSES, UNKNOWN


@dataclass(frozen=True)
class SelectionSettings:
    """Thresholds of the selection."""

    low: float = 0.7
    """Least probability of a voxel's class; its weight is then the lowest."""
    high: float = 0.95
    """Probability from which the weight is 1."""
    spatial: float = 0.7
    """Least mean probability of the class around the voxel."""
    kernel: int = 3
    """Edge of the neighbourhood in voxels, odd."""
    adapt: Literal["off", "lower", "share"] = "lower"
    """Per class: the thresholds as they are; lowered until ``keep_share`` of the class passes each of them; or set,
    up or down, so that ``keep_share`` passes. Thin classes pass no fixed threshold, and a surface one voxel thick has a
    third of its neighbourhood."""
    keep_share: float = 0.5
    """Share of the voxels of a class that passes an adapted threshold."""
    floor: float = 0.35
    """No class's threshold on the probability is lowered below this."""
    spatial_floor: float = 0.1
    """No class's threshold on the neighbourhood is lowered below this."""
    lowest_weight: float = 0.1
    """Weight at the low threshold; it rises in a straight line to 1 at the high one."""
    free_share: float = 0.75
    """Largest share of the free voxels in the sum of weights; they are weighted down to it."""
    soft: bool = False
    """Teach the teacher's probabilities rather than its classes."""

    def __post_init__(self) -> None:
        if self.kernel < 3 or self.kernel % 2 == 0:
            raise DataError("selection", "kernel", self.kernel, "an odd number from 3")
        if not 0 < self.low <= self.high <= 1:
            raise DataError("selection", "low, high", (self.low, self.high), "0 < low <= high <= 1")
        if not 0 <= self.free_share < 1:
            raise DataError("selection", "free_share", self.free_share, "a share from 0 to below 1")


class PseudoLabels(NamedTuple):
    """What the student is taught, without gradient."""

    labels: Tensor
    """(B, X, Y, Z) uint8 classes, 255 where nothing was selected; or soft, (B, 10, X, Y, Z) probabilities."""
    weights: Tensor
    """(B, X, Y, Z) float32, 0 where nothing was selected."""


class Scores(NamedTuple):
    """What a teacher says about each voxel; (B, X, Y, Z) each unless said."""

    probabilities: Tensor
    """(B, 10, X, Y, Z)."""
    label: Tensor
    """int64, the most probable class."""
    confidence: Tensor
    """Its probability."""
    spatial: Tensor
    """Its mean probability in the neighbourhood."""


@torch.no_grad()
def scores(logits: Tensor, kernel: int) -> Scores:
    """Confidence of logits (B, 10, X, Y, Z) at every voxel and around it; voxels outside the grid do not count."""
    probabilities = logits.float().softmax(dim=1)
    confidence, label = probabilities.max(dim=1)
    # avg_pool3d(count_include_pad=False) would do, but refuses grids thinner than the kernel.
    padding = (kernel // 2,) * 6
    inside = F.pad(torch.ones_like(probabilities[:1, :1]), padding)
    pooled = F.avg_pool3d(F.pad(probabilities, padding), kernel, stride=1) / F.avg_pool3d(inside, kernel, stride=1)
    return Scores(probabilities, label, confidence, pooled.gather(1, label[:, None]).squeeze(1))


@torch.no_grad()
def class_thresholds(values: Tensor, labels: Tensor, fixed: float, floor: float, settings: SelectionSettings) -> Tensor:
    """Threshold of each class.

    Args:
        values: (V,) score of each voxel that may be selected.
        labels: (V,) int64 its class.
        fixed: the threshold that is adapted.
        floor: the lowest it may become.
        settings: how it adapts, and which share of a class is to pass.

    Returns:
        (10,) float32; ``fixed`` for classes without voxels.
    """
    thresholds = values.new_full((NUM_CLASSES,), fixed)
    if settings.adapt == "off" or not len(values):
        return thresholds
    # Sorted by class, falling within it: the share's last value of every class is one look-up.
    by_value = values.argsort(descending=True, stable=True)
    order = by_value[labels[by_value].argsort(stable=True)]
    counts = torch.bincount(labels, minlength=NUM_CLASSES)
    kept = (counts * settings.keep_share).ceil().long().clamp(min=1)
    last = (counts.cumsum(0) - counts + kept - 1).clamp(max=len(values) - 1)
    adapted = values[order[last]]
    if settings.adapt == "lower":
        adapted = adapted.clamp(max=fixed)
    return torch.where(counts > 0, adapted.clamp(min=floor), thresholds)


@torch.no_grad()
def select_voxels(logits: Tensor, allowed: Tensor, settings: SelectionSettings) -> PseudoLabels:
    """Voxels of a teacher that pass the thresholds; the share of free ones is not yet capped.

    Args:
        logits: (B, 10, X, Y, Z) of the teacher.
        allowed: (B, X, Y, Z) bool, voxels that may be selected (those some camera sees).
        settings: thresholds.
    """
    found = scores(logits, settings.kernel)
    labels = found.label[allowed]
    low = class_thresholds(found.confidence[allowed], labels, settings.low, settings.floor, settings)
    spatial = class_thresholds(found.spatial[allowed], labels, settings.spatial, settings.spatial_floor, settings)
    keep = allowed & (found.confidence >= low[found.label]) & (found.spatial >= spatial[found.label])
    # A class with a lower threshold reaches full weight that much earlier.
    start = low.clamp(max=settings.high)
    rise = (found.confidence - start[found.label]) / max(settings.high - settings.low, 1e-6)
    full = found.confidence >= settings.high
    ramp = settings.lowest_weight + (1 - settings.lowest_weight) * rise.clamp(0, 1).masked_fill(full, 1.0)
    weights = ramp * keep
    return mask_labels(found.probabilities if settings.soft else found.label.to(torch.uint8), weights)


@torch.no_grad()
def cap_free(labels: Tensor, weights: Tensor, share: float) -> Tensor:
    """Weights (B, X, Y, Z) with those of free voxels scaled so that they are at most ``share`` of the sum.

    Scaling, unlike dropping the least sure ones, keeps free voxels near surfaces, which are worth most.

    Args:
        labels: (B, X, Y, Z) classes or (B, 10, X, Y, Z) probabilities.
        weights: (B, X, Y, Z).
        share: from 0 to below 1; without occupied voxels no free one remains.
    """
    free = hard_labels(labels) == FREE
    of_free, of_occupied = (weights * free).sum(), (weights * ~free).sum()
    factor = (share / (1 - share) * of_occupied / of_free.clamp(min=1e-12)).clamp(max=1)
    return torch.where(free, weights * factor, weights)


def mask_labels(labels: Tensor, weights: Tensor) -> PseudoLabels:
    """Labels and weights, hard labels without weight unknown."""
    if labels.dim() == weights.dim():
        labels = labels.masked_fill(weights <= 0, UNKNOWN)
    return PseudoLabels(labels, weights)


def hard_labels(labels: Tensor) -> Tensor:
    """(B, X, Y, Z) classes of hard labels, or of soft ones (B, 10, X, Y, Z)."""
    return labels.argmax(dim=1).to(torch.uint8) if labels.dim() == 5 else labels


def pseudo_label_loss(logits: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
    """Weighted mean cross-entropy of the student against pseudo-labels.

    Plain on purpose: with class weights or a set loss (Lovasz), pseudo-labels drift towards occupied.

    Args:
        logits: (B, 10, X, Y, Z) of the student.
        labels: (B, X, Y, Z) classes, 255 ignored, or (B, 10, X, Y, Z) probabilities.
        weights: (B, X, Y, Z), 0 where there is no label.

    Returns:
        Scalar; 0 with gradient 0 where nothing was selected.
    """
    counts = weights > 0 if labels.dim() == 5 else (weights > 0) & (labels != UNKNOWN)
    chosen = counts.flatten().nonzero().squeeze(1)
    rows = _rows(logits, chosen)
    if rows.dtype != torch.float64:
        rows = rows.float()
    targets = _rows(labels, chosen).to(rows) if labels.dim() == 5 else labels.flatten()[chosen].long()
    weight = weights.flatten()[chosen].to(rows)
    entropy = F.cross_entropy(rows, targets, reduction="none")
    return (weight * entropy).sum() / weight.sum().clamp(min=1e-6)


def _rows(values: Tensor, chosen: Tensor) -> Tensor:
    """(K, C) of (B, C, X, Y, Z) at places of the flattened grid."""
    return values.movedim(1, -1).reshape(-1, values.shape[1]).index_select(0, chosen)
