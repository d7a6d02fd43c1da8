"""From a teacher's prediction to pseudo-labels: select, look from the cameras, compare with their pictures, cap."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from ugocc.adaptation.agreement import AgreementSettings, contradictions
from ugocc.adaptation.selection import (
    PseudoLabels,
    SelectionSettings,
    cap_free,
    hard_labels,
    mask_labels,
    select_voxels,
)
from ugocc.adaptation.views import Evidence, Views
from ugocc.adaptation.visibility import VisibilitySettings, in_pictures, transmittance
from ugocc.geometry.grid import VoxelGrid
from ugocc.labels import FREE, NUM_CLASSES, UNKNOWN


@dataclass(frozen=True)
class PseudoLabelSettings:
    """How a teacher's volume becomes labels."""

    selection: SelectionSettings = field(default_factory=SelectionSettings)
    """Confidence and consistency of neighbours."""
    visibility: VisibilitySettings = field(default_factory=VisibilitySettings)
    """Rays from the cameras."""
    agreement: AgreementSettings = field(default_factory=AgreementSettings)
    """Consistency with the cameras' semantics and depth."""


@torch.no_grad()
def pseudo_labels(
    logits: Tensor, views: Views, evidence: Evidence | None, grid: VoxelGrid, settings: PseudoLabelSettings
) -> PseudoLabels:
    """Confident, spatially consistent, visible voxels that no camera contradicts.

    Args:
        logits: (B, 10, X, Y, Z) of the teacher.
        views: cameras of the same samples.
        evidence: 2D semantics and depth that are sure; None to do without.
        grid: of the volume.
        settings: of every step.

    Returns:
        Labels and weights; the free share is capped over the batch.
    """
    shape = (logits.shape[0], *logits.shape[2:])
    everything = in_pictures(views, grid)
    allowed = everything.any_camera(shape)
    labels, weights = select_voxels(logits, allowed, settings.selection)
    free = (logits.argmax(dim=1) == FREE).float()
    sightings = everything.where((weights.flatten(1) > 0)[everything.sample, everything.voxel])
    reached = transmittance(free, sightings, views, grid, settings.visibility) >= settings.visibility.least
    seen = sightings.where(reached)
    weights = weights * seen.any_camera(shape)
    if evidence is not None:
        wrong = contradictions(hard_labels(labels), seen, views, evidence, grid, settings.agreement)
        weights = weights * ~seen.any_camera(shape, wrong)
    return mask_labels(labels, cap_free(labels, weights, settings.selection.free_share))


@dataclass(frozen=True)
class SelectionReport:
    """How right a selection is, against labels that nothing learns from: for reports only."""

    precision: Tensor
    """(10,) share of the voxels selected as each class that are of it; NaN for classes never selected."""
    recall: Tensor
    """(10,) share of the voxels of each class that are selected as it; NaN for classes that do not occur."""
    selected: Tensor
    """(10,) int64 voxels selected as each class."""
    coverage: float
    """Share of the known voxels that are selected."""
    accuracy: float
    """Share of the selected voxels whose class is right; NaN if none."""
    occupied_iou: float
    """Occupied against free among the selected voxels: the first number to fall when self-training drifts."""


@torch.no_grad()
def selection_report(labels: Tensor, weights: Tensor, truth: Tensor, mask: Tensor) -> SelectionReport:
    """Compare pseudo-labels with the truth.

    Args:
        labels: (B, X, Y, Z) classes, 255 where none, or soft (B, 10, X, Y, Z).
        weights: (B, X, Y, Z), 0 where nothing is selected.
        truth: (B, X, Y, Z) classes, 255 unknown.
        mask: (B, X, Y, Z) bool, voxels to count.
    """
    known = mask & (truth != UNKNOWN)
    chosen = known & (weights > 0)
    given, true = hard_labels(labels)[chosen].long(), truth[chosen].long()
    hits = torch.bincount(true * NUM_CLASSES + given, minlength=NUM_CLASSES**2).view(NUM_CLASSES, NUM_CLASSES)
    right, selected = hits.diagonal(), hits.sum(dim=0)
    present = torch.bincount(truth[known].long(), minlength=NUM_CLASSES)
    both = ((given != FREE) & (true != FREE)).sum()
    either = ((given != FREE) | (true != FREE)).sum()
    return SelectionReport(
        precision=right / selected,
        recall=right / present,
        selected=selected,
        coverage=float(chosen.sum() / known.sum()),
        accuracy=float(right.sum() / selected.sum()),
        occupied_iou=float(both / either),
    )
