"""RayIoU: what a lidar in the predicted volume would see, against one in the true volume.

The measure and its protocol are those of SparseOcc (Liu et al., ECCV 2024, "Fully Sparse 3D Occupancy Prediction"):
rays of a fixed pattern start at the lidar of the frame and at up to seven other places the vehicle visits in the
scene; the first voxel that is not free gives a ray its class and its depth, the distance at which the ray *leaves*
that voxel. A ray is a hit where the classes agree and the depths differ by less than 1, 2 or 4 m. Rays that leave the
true volume without meeting anything do not count; rays that leave the predicted one count as missed. No visibility
mask applies.

Deviations: ten classes instead of 17, so the numbers are not those of SparseOcc's table; grids other than Occ3D's keep
the protocol's margin of 1 m; origins outside the grid in height are dropped; a ray whose first voxel that is not free
is unknown (255) in truth does not count (Occ3D's labels have no such voxel); where points come in the ego frame, as
Waymo's of five lasers do, rays start at the usual place of a roof lidar, that of nuScenes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor
from torchmetrics import Metric

from ugocc.evaluation.ray_cast import first_hits
from ugocc.geometry.grid import OCC3D_GRID, VoxelGrid
from ugocc.labels import FREE, NUM_CLASSES, UNKNOWN

THRESHOLDS: Final = (1.0, 2.0, 4.0)
"""Metres by which depths may differ."""
USUAL_ORIGIN: Final = (0.985, 0.0, 1.84)
"""Ego position in metres of a roof lidar (that of nuScenes), for samples whose own is not given."""
_NO_TRUTH = 10  # the volume code of an unknown voxel; classes end at 9, OUTSIDE is 15


def lidar_rays() -> NDArray[np.float64]:
    """(14040, 3) unit directions of the protocol: 39 pitches times 360 degrees of azimuth, pitch by pitch.

    The ten lowest pitches look at the ground 1, 2, ... 10 sensor heights away (-45 to -5.7 degrees); from there they
    rise in the last of these steps until they pass 0.21 rad, the upper edge of nuScenes' lidar.
    """
    pitches = [-math.atan(1 / k) for k in range(1, 11)]
    while pitches[-1] < 0.21:
        pitches.append(2 * pitches[-1] - pitches[-2])
    pitch, azimuth = np.meshgrid(pitches, np.deg2rad(np.arange(360)), indexing="ij")
    rays = [np.cos(pitch) * np.cos(azimuth), np.cos(pitch) * np.sin(azimuth), np.sin(pitch)]
    return np.stack(rays, axis=-1).reshape(-1, 3)


class RayIoU(Metric):
    """RayIoU at 1, 2 and 4 m over everything it was fed, in percent.

    Args:
        grid: grid of the volumes.
    """

    full_state_update = False
    hits: Tensor
    truths: Tensor
    guesses: Tensor

    def __init__(self, grid: VoxelGrid = OCC3D_GRID, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.grid = grid
        self._rays = lidar_rays()
        self.add_state("hits", torch.zeros(len(THRESHOLDS), FREE, dtype=torch.int64), "sum")
        self.add_state("truths", torch.zeros(FREE, dtype=torch.int64), "sum")
        self.add_state("guesses", torch.zeros(FREE, dtype=torch.int64), "sum")

    def update(self, pred: Tensor, label: Tensor, origins: Sequence[ArrayLike] | None = None) -> None:
        """Cast the rays of some frames.

        Args:
            pred: (B, X, Y, Z) classes 0-9.
            label: (B, X, Y, Z) classes 0-9, 255 unknown.
            origins: per sample (K, 3) ray origins in metres, key ego frame, inside the grid
                (:func:`ugocc.evaluation.origins.scene_origins`), where there are any; None for one usual lidar
                position.

        Raises:
            ValueError: shapes that differ or do not fit the grid, a class that is none of the ten, an origin outside.
        """
        if pred.shape != label.shape or tuple(label.shape[1:]) != self.grid.shape:
            shapes = f"{tuple(pred.shape)} and {tuple(label.shape)}"
            raise ValueError(f"volumes of shapes {shapes}, expected twice (B, {self.grid.shape})")
        starts = [np.array([USUAL_ORIGIN])] * len(label) if origins is None else origins
        for guess, truth, start in zip(pred.cpu().numpy(), label.cpu().numpy(), starts, strict=True):
            self._one(guess, truth, np.asarray(start, dtype=np.float64).reshape(-1, 3))

    def _one(self, pred: NDArray[np.integer], label: NDArray[np.integer], origins: NDArray[np.float64]) -> None:
        if pred.max() >= NUM_CLASSES or pred.min() < 0:
            raise ValueError(f"prediction: classes {pred.min()} to {pred.max()}, expected 0 to 9")
        if ((label < 0) | (label > FREE) & (label != UNKNOWN)).any():
            raise ValueError(f"label: classes {np.unique(label).tolist()}, expected 0 to 9 and {UNKNOWN}")
        if not len(origins):
            return
        truth = np.where(label == UNKNOWN, _NO_TRUTH, label).astype(np.uint8)
        cells = (origins - self.grid.lower) / self.grid.voxel_size
        true, guess = first_hits((truth, pred.astype(np.uint8)), cells, self._rays, FREE)
        with np.errstate(invalid="ignore"):  # infinite minus infinite, where neither meets anything
            error = self.grid.voxel_size * np.abs(true.depth - guess.depth)
        # One count of all: 16 values of truth, 16 of the guess, and 4 numbers of thresholds that are missed.
        missed = np.zeros(error.shape, np.uint8)
        for threshold in THRESHOLDS:
            missed += error >= threshold
        kind = (true.value.astype(np.uint16) << 6) + (guess.value << 2) + missed
        counts = torch.from_numpy(np.bincount(kind, minlength=1 << 10).reshape(16, 16, 4)[:FREE]).to(self.hits)
        agree = counts.diagonal()[:, :FREE]  # (4, 9)
        self.truths += counts.sum(dim=(1, 2))
        self.guesses += counts.sum(dim=(0, 2))[:FREE]
        self.hits += agree[: len(THRESHOLDS)].cumsum(dim=0)

    def per_class(self) -> NDArray[np.float64]:
        """(3, 9) percent at every threshold for the classes 0-8; NaN for a class no counted ray meets.

        Of this process only: call it where the states are synced, or on one process.
        """
        union = (self.truths + self.guesses - self.hits).cpu().numpy().astype(np.float64)
        hits = self.hits.cpu().numpy()
        return np.divide(100.0 * hits, union, out=np.full(hits.shape, np.nan), where=union > 0)

    def compute(self) -> dict[str, float]:
        """Percent at "1", "2" and "4" metres and their "mean"; NaN before any ray counted."""
        per_class = self.per_class()
        occurs = ~np.isnan(per_class[0])
        scores = [float(row[occurs].mean()) if occurs.any() else float("nan") for row in per_class]
        named = {f"{threshold:g}": score for threshold, score in zip(THRESHOLDS, scores, strict=True)}
        return named | {"mean": float(np.mean(scores))}
