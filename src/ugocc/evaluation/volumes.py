"""All that is measured of predicted volumes, whoever predicted them: one accumulator for models and for files."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor
from torchmetrics import Metric

from ugocc.adaptation.plausibility import Plausibility, PlausibilitySettings, checks
from ugocc.evaluation.occupancy import MapTenClass
from ugocc.evaluation.ray_iou import RayIoU
from ugocc.extras import installed
from ugocc.geometry.grid import VoxelGrid
from ugocc.labels import CLASSES

VolumeMetric = Literal["map_ten_class", "ray_iou", "plausibility"]
VOLUME_METRICS: Final[tuple[VolumeMetric, ...]] = ("map_ten_class", "ray_iou", "plausibility")


class VolumeScores:
    """``map_ten_class``, by distance and on hidden voxels too, RayIoU and plausibility of everything it was fed.

    Args:
        grid: grid of the volumes.
        metrics: which; ``map_ten_class`` is always among them, plausibility only where scipy is installed.
    """

    def __init__(self, grid: VoxelGrid, metrics: Sequence[str] = VOLUME_METRICS) -> None:
        self.voxels = MapTenClass(grid)
        self.rays = RayIoU(grid) if "ray_iou" in metrics else None
        self.plausible = PlausibleShares(grid) if "plausibility" in metrics and installed("scipy") else None

    def update(self, pred: Tensor, label: Tensor, mask: Tensor, origins: Sequence[ArrayLike]) -> None:
        """Measure some frames.

        Args:
            pred: (B, X, Y, Z) classes 0-9.
            label: (B, X, Y, Z) classes 0-9, 255 unknown.
            mask: (B, X, Y, Z) bool, voxels that cameras see.
            origins: per frame (K, 3) origins of rays, metres, key ego frame.
        """
        if self.voxels.counts.device != pred.device:
            self.voxels.to(pred.device)
        self.voxels.update(pred, label, mask)
        if self.rays is not None:
            self.rays.update(pred, label, origins)
        if self.plausible is not None:
            self.plausible.update(pred, mask)

    def numbers(self) -> dict[str, Any]:
        """Fields of a :class:`ugocc.results.Row`: percent, plausibility in shares; None for what does not occur."""
        scores = self.voxels.compute()
        by_distance, hidden = scores.by_distance, scores.hidden
        assert by_distance is not None
        assert hidden is not None
        return {
            "miou": round(scores.miou, 3),
            "iou_occupied": round(scores.iou_occupied, 3),
            "per_class": {name: known(value) for name, value in zip(CLASSES[:9], scores.per_class, strict=True)},
            "confusion": scores.confusion.tolist(),
            "by_distance": {ring: known(of_ring.miou) for ring, of_ring in by_distance.items()},
            "hidden": {"miou": known(hidden.miou), "iou_occupied": known(hidden.iou_occupied)},
            "ray_iou": {} if self.rays is None else _measured(self.rays.compute()),
            "plausibility": {}
            if self.plausible is None
            else {k: known(v, digits=4) for k, v in self.plausible.compute()._asdict().items()},
        }


class PlausibleShares(Metric):
    """Plausibility (:func:`ugocc.adaptation.plausibility.plausibility`) of everything it was fed, in what cameras see.

    Args:
        grid: grid of the volumes.
        settings: bounds.
    """

    full_state_update = False
    counts: Tensor

    def __init__(self, grid: VoxelGrid, settings: PlausibilitySettings | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.grid, self.settings = grid, settings or PlausibilitySettings()
        self.add_state("counts", torch.zeros(len(Plausibility._fields), 2, dtype=torch.int64), "sum")

    def update(self, pred: Tensor, mask: Tensor) -> None:
        """Check some volumes.

        Args:
            pred: (B, X, Y, Z) classes 0-9.
            mask: (B, X, Y, Z) bool, voxels that cameras see.
        """
        volumes = pred.to(torch.uint8).cpu().numpy()
        for volume, shown in zip(volumes, mask.cpu().numpy(), strict=True):
            found = [(int(held.sum()), held.size) for held in checks(volume, shown, self.grid, self.settings)]
            self.counts += torch.from_numpy(np.array(found)).to(self.counts)

    def compute(self) -> Plausibility:
        """Shares of all frames together."""
        return Plausibility(*(hold / of if of else math.nan for hold, of in self.counts.tolist()))


def _measured(numbers: Mapping[str, float]) -> dict[str, float]:
    """Numbers for a result file without those that could not be measured."""
    return {name: round(value, 3) for name, value in numbers.items() if not math.isnan(value)}


def known(value: float | None, digits: int = 3) -> float | None:
    """A number for a result file: rounded, None for NaN."""
    return None if value is None or value != value else round(value, digits)
