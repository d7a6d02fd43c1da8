"""Pictures of numbers on a grid: one number a cell, or a vector of features."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ugocc.viz.canvas import Picture
from ugocc.viz.overlay import NOTHING

_HEAT = np.array([NOTHING, (66, 40, 104), (150, 44, 110), (222, 84, 76), (250, 160, 60), (252, 236, 170)], np.float64)


def heat(values: NDArray[np.floating], highest: float | None = None) -> Picture:
    """(..., 3) RGB of numbers from 0 (dark) to ``highest`` (light), by default the largest."""
    known = np.nan_to_num(np.asarray(values, dtype=np.float64))
    top = float(known.max(initial=0.0)) if highest is None else highest
    place = np.clip(known / max(top, 1e-12), 0, 1) * (len(_HEAT) - 1)
    channels = [np.interp(place, np.arange(len(_HEAT)), _HEAT[:, c]) for c in range(3)]
    return np.round(np.stack(channels, axis=-1)).astype(np.uint8)


def components(features: NDArray[np.floating], known: NDArray[np.bool_]) -> Picture:
    """Features (C, H, W) as colours: their first three principal components over the ``known`` cells (H, W).

    Alike cells have alike colours; which colour means nothing. Unknown cells are dark. Deterministic: of the two
    directions of a component the one is taken in which its largest weight is positive.
    """
    picture = np.full((*known.shape, 3), NOTHING, dtype=np.uint8)
    rows = features[:, known].T.astype(np.float64)
    if len(rows) < 2:
        return picture
    rows = rows - rows.mean(axis=0)
    _, _, axes = np.linalg.svd(rows, full_matrices=False)
    axes = axes[:3]
    axes *= np.sign(axes[np.arange(len(axes)), np.abs(axes).argmax(axis=1)])[:, None]
    found = np.zeros((len(rows), 3))
    found[:, : len(axes)] = rows @ axes.T
    # A component ends where one cell in fifty lies beyond it, so that a few strong ones do not darken the rest.
    low, high = np.percentile(found, (2, 98), axis=0)
    shares = np.clip((found - low) / np.maximum(high - low, 1e-12), 0, 1)
    picture[known] = np.round(50 + 195 * shares).astype(np.uint8)
    return picture


def from_above(cells: Picture, size: int) -> Picture:
    """Cells (X, Y, 3) of the ground plan as ``draw_bev`` lays them: forward (x) up, left (y) left."""
    image = Image.fromarray(np.ascontiguousarray(cells[::-1, ::-1]))
    return np.array(image.resize((size, size * cells.shape[0] // cells.shape[1]), Image.Resampling.NEAREST))
