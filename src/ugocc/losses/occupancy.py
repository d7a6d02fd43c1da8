"""Occupancy losses: focal (Lin et al. 2017), semantic and geometric scale (MonoScene, Cao and de Charette 2022),
Lovasz-softmax (Berman et al. 2018)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from ugocc.data.batch import Batch
from ugocc.errors import DataError
from ugocc.labels import FREE, NUM_CLASSES, OCC3D_NUSCENES_COUNTS, UNKNOWN


@dataclass(frozen=True)
class OccupancyLossSettings:
    """Weights of the terms; a term of weight 0 is not computed."""

    voxels: Literal["all", "lidar", "camera"] = "camera"
    """Which voxels count: all, those the lidar sees, or those some camera sees; unknown ones never do."""
    focal: float = 100.0
    """Weight of the focal loss."""
    cross_entropy: float = 0.0
    """Weight of the softmax cross-entropy, for short trainings: it learns faster than the focal loss."""
    semantic_scale: float = 1.0
    """Weight of the semantic scale loss."""
    geometric_scale: float = 1.0
    """Weight of the geometric scale loss."""
    lovasz: float = 1.0
    """Weight of the Lovasz-softmax loss."""
    alpha: float = 0.25
    """Focal: share of the positive class, 1 - alpha for the negatives."""
    gamma: float = 2.0
    """Focal: how much less a voxel counts the better it is predicted."""
    radius_growth: float = 1.0
    """Focal: a voxel in the corner of the grid weighs 1 + radius_growth, one at the centre 1, linear in between."""
    class_counts: tuple[float, ...] | None = None
    """Voxels of each of the ten classes in the training labels; null takes those of Occ3D-nuScenes."""


def occupancy_loss(logits: Tensor, batch: Batch, settings: OccupancyLossSettings) -> dict[str, Tensor]:
    """Weighted terms of the loss of a prediction against the labels of a batch.

    Args:
        logits: (B, 10, X, Y, Z).
        batch: its labels, and what lidar and cameras see.
        settings: weights and which voxels count.

    Returns:
        Terms by name, each a scalar; they are 0 with gradient 0 where no voxel counts.
    """
    return occupancy_terms(logits, batch.occupancy, counted_voxels(batch, settings.voxels), settings)


def counted_voxels(batch: Batch, voxels: Literal["all", "lidar", "camera"]) -> Tensor:
    """(B, X, Y, Z) bool: the voxels of a batch that count in a loss."""
    if voxels == "camera":
        return batch.camera_visible
    return batch.lidar_visible if voxels == "lidar" else torch.ones_like(batch.camera_visible)


def occupancy_terms(logits: Tensor, labels: Tensor, mask: Tensor, settings: OccupancyLossSettings) -> dict[str, Tensor]:
    """Weighted terms of the loss.

    Args:
        logits: (B, 10, X, Y, Z).
        labels: (B, X, Y, Z) classes, 255 where unknown.
        mask: (B, X, Y, Z) bool, voxels that count if their label is known.
        settings: weights.

    Returns:
        Terms by name, each a scalar; they are 0 with gradient 0 where no voxel counts.
    """
    chosen = (mask & (labels != UNKNOWN)).flatten().nonzero().squeeze(1)
    rows = logits.permute(0, 2, 3, 4, 1).reshape(-1, logits.shape[1]).index_select(0, chosen)
    if logits.dtype != torch.float64:
        rows = rows.float()
    targets = labels.flatten()[chosen].long()
    terms: dict[str, Tensor] = {}
    if settings.focal:
        weights = radius_weights(labels, settings.radius_growth).flatten()[chosen]
        terms["focal"] = settings.focal * focal_loss(rows, targets, weights, settings)
    if settings.cross_entropy:
        terms["cross_entropy"] = settings.cross_entropy * cross_entropy_loss(rows, targets, settings.class_counts)
    probabilities = rows.softmax(dim=1)
    if settings.semantic_scale:
        terms["semantic_scale"] = settings.semantic_scale * semantic_scale_loss(probabilities, targets)
    if settings.geometric_scale:
        terms["geometric_scale"] = settings.geometric_scale * geometric_scale_loss(probabilities, targets)
    if settings.lovasz:
        terms["lovasz"] = settings.lovasz * lovasz_softmax_loss(probabilities, targets)
    return terms


def class_weights(counts: tuple[float, ...] | None) -> Tensor:
    """(10,) float32 weight 1 / ln(count) of each class.

    Counts are brought to the total of Occ3D-nuScenes first, so that weights depend on how frequent the classes are
    and not on how much was counted; no class counts as rarer than a hundred voxels of that total.

    Raises:
        DataError: not ten counts, or one below 0, or all 0.
    """
    reference = torch.from_numpy(OCC3D_NUSCENES_COUNTS)
    given = reference if counts is None else torch.tensor(counts, dtype=torch.float64)
    if given.shape != reference.shape or not bool((given >= 0).all()) or not bool(given.sum() > 0):
        raise DataError("occupancy_loss", "class_counts", counts, f"{NUM_CLASSES} numbers of voxels, not all 0")
    scaled = given * (reference.sum() / given.sum())
    return (1 / scaled.clamp(min=100.0).log()).float()


def count_classes(labels: Tensor) -> Tensor:
    """(10,) int64 voxels of each class in labels of any shape, unknown ones left out."""
    known = labels[labels != UNKNOWN].long()
    return torch.bincount(known, minlength=NUM_CLASSES)


def radius_weights(labels: Tensor, growth: float) -> Tensor:
    """(B, X, Y, Z) weight of each voxel: 1 at the centre of the grid, 1 + growth in its corners."""
    x = torch.arange(labels.shape[1], device=labels.device) - (labels.shape[1] - 1) / 2
    y = torch.arange(labels.shape[2], device=labels.device) - (labels.shape[2] - 1) / 2
    radius = torch.hypot(x[:, None], y[None])
    return (1 + growth * radius / radius.max().clamp(min=1e-6))[None, :, :, None].expand(labels.shape)


def focal_loss(logits: Tensor, targets: Tensor, weights: Tensor, settings: OccupancyLossSettings) -> Tensor:
    """Sigmoid focal loss (Lin et al. 2017) of ten one-against-all classifiers, mean over voxels and classes.

    Args:
        logits: (V, 10).
        targets: (V,) int64 classes.
        weights: (V,) of the voxels.
        settings: alpha, gamma and class counts.
    """
    is_target = F.one_hot(targets, logits.shape[1]).to(logits)
    probability = logits.sigmoid()
    miss = torch.where(is_target > 0, 1 - probability, probability)
    balance = settings.alpha * is_target + (1 - settings.alpha) * (1 - is_target)
    entropy = F.binary_cross_entropy_with_logits(logits, is_target, reduction="none")
    per_class = class_weights(settings.class_counts).to(logits)
    return _mean(balance * miss.pow(settings.gamma) * entropy * per_class * weights[:, None].to(logits))


def cross_entropy_loss(logits: Tensor, targets: Tensor, class_counts: tuple[float, ...] | None) -> Tensor:
    """Softmax cross-entropy of (V, 10) logits and (V,) classes: mean weighted by 1 / ln(count) of the true class."""
    weights = class_weights(class_counts).to(logits)[targets]
    entropy = F.cross_entropy(logits, targets, reduction="none")
    return (weights * entropy).sum() / weights.sum().clamp(min=1e-6)


def semantic_scale_loss(probabilities: Tensor, targets: Tensor) -> Tensor:
    """Scene-class affinity of MonoScene (Cao and de Charette 2022): precision, recall and specificity per class.

    Args:
        probabilities: (V, 10).
        targets: (V,) int64 classes; classes that do not occur do not count.
    """
    is_target = F.one_hot(targets, probabilities.shape[1]).to(probabilities)
    present = is_target.sum(dim=0) > 0
    losses = _affinity(probabilities, is_target)
    return torch.where(present, losses, losses * 0).sum() / present.sum().clamp(min=1)


def geometric_scale_loss(probabilities: Tensor, targets: Tensor) -> Tensor:
    """Scene-class affinity of MonoScene for occupied against free; (V, 10) and (V,) int64."""
    occupied = 1 - probabilities[:, FREE]
    return _affinity(occupied[:, None], (targets != FREE).to(probabilities)[:, None]).sum()


def lovasz_softmax_loss(probabilities: Tensor, targets: Tensor) -> Tensor:
    """Lovasz-softmax (Berman et al. 2018): a convex surrogate of 1 - IoU, mean over the classes that occur.

    All classes are sorted at once: a class's errors become the low 27 bits of an integer whose high bits are the
    class. One radix sort of integers is several times faster than ten sorts of floats, and errors closer than 2^-27
    have no order that matters.

    Args:
        probabilities: (V, 10).
        targets: (V,) int64 classes.
    """
    voxels, classes = probabilities.shape
    is_target = F.one_hot(targets, classes).to(probabilities)
    errors = (is_target - probabilities).abs().t().reshape(-1)
    with torch.no_grad():
        steps = 2**27 - 1
        falling = ((1 - errors.double().clamp(0, 1)) * steps).int().view(classes, voxels)
        keys = falling + (torch.arange(classes, dtype=torch.int32, device=errors.device)[:, None] << 27)
        order = torch.sort(keys.view(-1), stable=True)[1]
        hits = is_target.t().reshape(-1)[order].view(classes, voxels)
        totals = hits.sum(dim=1, keepdim=True)
        jaccard = 1 - (totals - hits.cumsum(dim=1)) / (totals + (1 - hits).cumsum(dim=1))
        gradient = torch.cat([jaccard[:, :1], jaccard[:, 1:] - jaccard[:, :-1]], dim=1)
        present = (totals > 0).to(gradient)
        # Back in the order of the voxels, the loss is a plain weighted sum of errors.
        weights = torch.empty_like(errors)
        weights[order] = (gradient * present / present.sum().clamp(min=1)).view(-1)
    return (errors * weights).sum()


def _affinity(probabilities: Tensor, is_target: Tensor) -> Tensor:
    """(C,) -log precision - log recall - log specificity of soft predictions (V, C); a ratio 0 / 0 counts nothing."""
    absent = 1 - is_target
    right = (probabilities * is_target).sum(dim=0)
    rejected = ((1 - probabilities) * absent).sum(dim=0)
    precision = _minus_log_ratio(right, probabilities.sum(dim=0), is_target.sum(dim=0))
    recall = _minus_log_ratio(right, is_target.sum(dim=0), is_target.sum(dim=0))
    specificity = _minus_log_ratio(rejected, absent.sum(dim=0), absent.sum(dim=0))
    return precision + recall + specificity


def _minus_log_ratio(part: Tensor, whole: Tensor, support: Tensor) -> Tensor:
    ratio = part.clamp(min=1e-12) / whole.clamp(min=1e-12)
    return torch.where(support > 0, -ratio.log(), part * 0)


def _mean(values: Tensor) -> Tensor:
    """Mean that is 0 for no values."""
    return values.sum() / max(values.numel(), 1)
