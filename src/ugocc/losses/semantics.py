"""2D semantics: class-weighted cross-entropy of image labels at the resolution of the features."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from ugocc.errors import DataError
from ugocc.labels import NUM_CLASSES, UNKNOWN


@dataclass(frozen=True)
class SemanticLossSettings:
    """2D semantic loss."""

    weight: float = 2.5
    """Weight of the loss; 0 leaves 2D semantics out."""
    class_weights: tuple[float, ...] = (5.0, 5.0, 10.0, 2.0, 2.0, 4.0, 1.0, 1.0, 3.0, 4.0)
    """Weight of each of the ten classes, in the order of their ids; the last is sky, which is free."""
    downsample: Literal["majority", "nearest"] = "majority"
    """A feature cell's label: the most frequent one of its pixels, or that of its middle pixel."""

    def __post_init__(self) -> None:
        if len(self.class_weights) != NUM_CLASSES:
            raise DataError("semantics", "class_weights", f"{len(self.class_weights)} numbers", f"{NUM_CLASSES}")


def semantic_loss(
    logits: Tensor, labels: Tensor, settings: SemanticLossSettings, pixel_weights: Tensor | None = None
) -> Tensor:
    """Weighted mean of the cross-entropy over the cells whose label is known, times the weight of the loss.

    Args:
        logits: (..., 10, h, w), not probabilities.
        labels: (..., H, W) classes, 255 unknown; H and W are multiples of h and w, or equal to them.
        settings: weights.
        pixel_weights: (..., h, w) further weight of each cell, such as a teacher's confidence; None for 1.

    Returns:
        Scalar; 0 with gradient 0 where nothing is known.
    """
    cells = downsample_labels(labels, (logits.shape[-2], logits.shape[-1]), settings.downsample)
    chosen = (cells != UNKNOWN).flatten().nonzero().squeeze(1)
    rows = logits.movedim(-3, -1).reshape(-1, logits.shape[-3]).index_select(0, chosen)
    if logits.dtype != torch.float64:
        rows = rows.float()
    targets = cells.flatten()[chosen].long()
    weights = torch.tensor(settings.class_weights, dtype=rows.dtype, device=rows.device)[targets]
    if pixel_weights is not None:
        weights = weights * pixel_weights.flatten()[chosen].to(weights)
    entropy = F.cross_entropy(rows, targets, reduction="none")
    return settings.weight * (weights * entropy).sum() / weights.sum().clamp(min=1e-6)


def downsample_labels(
    labels: Tensor, size: tuple[int, int], how: Literal["majority", "nearest"] = "majority"
) -> Tensor:
    """Labels of feature cells.

    Args:
        labels: (..., H, W) uint8 classes, 255 unknown.
        size: rows h and columns w of the cells; they divide H and W.
        how: "majority" takes the most frequent known class (the lower id of equals), 255 only where none is known;
            "nearest" the pixel at the middle (the upper left one of an even cell's four).

    Returns:
        (..., h, w) uint8.
    """
    rows, columns = size
    if labels.shape[-2:] == size:
        return labels
    cells = labels.unflatten(-1, (columns, -1)).unflatten(-3, (rows, -1))
    if how == "nearest":
        return cells[..., (cells.shape[-3] - 1) // 2, :, (cells.shape[-1] - 1) // 2]
    flat = cells.movedim(-3, -2).flatten(-2)
    votes = (flat[..., None] == torch.arange(NUM_CLASSES, dtype=flat.dtype, device=flat.device)).sum(dim=-2)
    most, label = votes.max(dim=-1)
    return label.to(labels.dtype).masked_fill(most == 0, UNKNOWN)
