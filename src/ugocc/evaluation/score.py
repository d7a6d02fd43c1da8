"""Scoring of a folder of prediction files against the labels of a fleet, whoever made them."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import torch

from ugocc.data.frame import Frame, FrameSource
from ugocc.data.occupancy import label_on_grid
from ugocc.errors import DataError
from ugocc.evaluation.files import read_prediction
from ugocc.evaluation.origins import SceneOrigins
from ugocc.evaluation.volumes import VolumeScores
from ugocc.geometry.grid import VoxelGrid
from ugocc.results import Row


def score_folder(predictions: Path, frames: FrameSource, *, model: str = "predictions", split: str = "val") -> Row:
    """Score ``<token>.npz`` of every frame, as :func:`ugocc.evaluation.evaluate.evaluate` scores a model's volumes.

    A prediction may be on any grid that is a part of the label's or coarser (its file says which; all files the same):
    the label is brought onto it.

    Args:
        predictions: folder of files as :func:`ugocc.evaluation.files.read_prediction` reads them.
        frames: the labelled frames; all are scored.
        model: name for the row.
        split: name for the row.

    Raises:
        DataError: a missing or unusable file, a frame without label, files on different grids, no frames.
    """
    if not len(frames):
        raise DataError(predictions, "frames", "none", "at least one labelled frame to score")
    began = time.monotonic()
    grid = read_prediction(predictions / f"{frames.tokens[0]}.npz")[1]
    origins = SceneOrigins(frames, grid)
    scores = VolumeScores(grid)
    for frame in frames:
        _score_frame(predictions / f"{frame.token}.npz", frame, grid, origins, scores)
    return Row(
        model=model,
        variant="scored",
        train_fleet="-",
        eval_fleet=frames.fleet,
        split=split,
        seed=0,
        seconds=round(time.monotonic() - began, 1),
        frames=len(frames),
        **scores.numbers(),
    )


def _score_frame(path: Path, frame: Frame, grid: VoxelGrid, origins: SceneOrigins, scores: VolumeScores) -> None:
    if frame.occupancy is None:
        raise DataError(frame.token, "occupancy", "no label", "labelled frames to score on")
    volume, its_grid = read_prediction(path)
    if its_grid != grid:
        raise DataError(path, "grid", its_grid, f"the grid of the first file, {grid}")
    label = label_on_grid(frame.occupancy(), frame.occupancy_grid, grid, where=path)
    arrays = (volume, label.semantics, label.camera_mask)
    pred, truth, mask = (torch.from_numpy(np.ascontiguousarray(v))[None] for v in arrays)
    scores.update(pred, truth, mask, [origins[frame.token]])
