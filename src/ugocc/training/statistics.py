"""Batch-norm statistics of a fleet."""

from __future__ import annotations

from ugocc.adaptation.teacher import reestimate_batchnorm
from ugocc.data.dataset import FrameDataset
from ugocc.models.assemble import OccupancyModel


def estimate_statistics(model: OccupancyModel, data: FrameDataset, frames: int) -> None:
    """Replace the batch-norm statistics of a model by those of clean images of a fleet, evenly spaced over it."""
    device = next(model.parameters()).device
    reestimate_batchnorm(model, (data[i].to(device) for i in spaced(len(data), frames)))


def spaced(length: int, count: int) -> list[int]:
    """Up to ``count`` indices, evenly spaced over ``length``."""
    count = min(count, length)
    return [(2 * i + 1) * length // (2 * count) for i in range(count)]
