"""Filling many small convex quadrilaterals at once."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def fill_quads(corners: NDArray[np.float32], width: int, height: int) -> NDArray[np.int32]:
    """Paint quadrilaterals in their order, later ones over earlier ones.

    Args:
        corners: (n, 4, 2) pixel positions u, v of convex quadrilaterals, in order around each. A pixel belongs to a
            quadrilateral where its centre (a whole number) is inside; shared edges are painted by one side only.
        width: columns of the picture.
        height: rows of the picture.

    Returns:
        (height, width) int32 index of the quadrilateral on top, -1 for none.
    """
    u, v = corners[..., 0], corners[..., 1]
    top = np.clip(np.ceil(v.min(axis=1)), 0, height).astype(np.int32)
    bottom = np.clip(np.ceil(v.max(axis=1)), 0, height).astype(np.int32)
    rows = np.maximum(bottom - top, 0)
    # One entry per row that a quadrilateral touches, and the span of columns that it covers there.
    quad = np.repeat(np.arange(len(corners), dtype=np.int32), rows)
    row = _counted(rows) + np.repeat(top, rows)
    left = np.full(len(quad), np.inf, dtype=np.float32)
    right = np.full(len(quad), -np.inf, dtype=np.float32)
    for a, b in ((0, 1), (1, 2), (2, 3), (3, 0)):
        with np.errstate(divide="ignore", invalid="ignore"):
            slope = (u[:, b] - u[:, a]) / (v[:, b] - v[:, a])
            base = u[:, a] - slope * v[:, a]
        low, high = np.minimum(v[:, a], v[:, b])[quad], np.maximum(v[:, a], v[:, b])[quad]
        crosses = np.flatnonzero((low <= row) & (row < high))
        at = slope[quad[crosses]] * row[crosses] + base[quad[crosses]]
        left[crosses] = np.minimum(left[crosses], at)
        right[crosses] = np.maximum(right[crosses], at)
    first = np.ceil(np.clip(left, 0, width)).astype(np.int32)
    columns = np.maximum(np.ceil(np.clip(right, 0, width)).astype(np.int32) - first, 0)
    picture = np.full(height * width, -1, dtype=np.int32)
    picture[_counted(columns) + np.repeat(row * width + first, columns)] = np.repeat(quad, columns)
    return picture.reshape(height, width)


def _counted(lengths: NDArray[np.int32]) -> NDArray[np.int32]:
    """0, 1, ... n - 1 for every n of ``lengths``, one after the other."""
    ends = np.cumsum(lengths, dtype=np.int64)
    total = int(ends[-1]) if len(ends) else 0
    return (np.arange(total) - np.repeat(ends - lengths, lengths)).astype(np.int32)
