"""What the lines of an own-fleet manifest point at: pictures, masks, points, labels."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ugocc.data.arrays import BROKEN, as_labels, as_mask, npz_of, read_npz
from ugocc.data.frame import OccupancyLabel
from ugocc.data.images import decode_image, decode_png, read_bytes
from ugocc.errors import DataError, first_line
from ugocc.geometry.grid import OCC3D_GRID
from ugocc.labels import NUM_CLASSES, UNKNOWN

POINT_COLUMNS = ("x", "y", "z", "intensity")
"""Meaning of a point's numbers unless the manifest says otherwise."""
POINT_FILES = (".bin", ".npy", ".npz")
"""Kinds of point files."""
CLASS_IDS = frozenset((*range(NUM_CLASSES), UNKNOWN))
"""Ids a label may have."""


def read_image(path: Path, said: str, size: tuple[int, int], least: tuple[int, int] | None = None) -> NDArray[np.uint8]:
    """(height, width, 3) RGB of the (width, height) that the calibration is for, or smaller where ``least`` is enough;
    messages call the file ``said``."""
    return decode_image(read_bytes(path, "image"), said, size, least)


def read_semantics(path: Path, said: str, size: tuple[int, int]) -> NDArray[np.uint8]:
    """(height, width) ten-class ids, 255 unknown, from a one-channel PNG."""
    return as_labels(said, "semantics", decode_png(read_bytes(path, "semantics"), said, size), CLASS_IDS)


def read_own_car(path: Path, said: str, size: tuple[int, int]) -> NDArray[np.bool_]:
    """(height, width) pixels of the own car: those above zero in a one-channel PNG."""
    return np.asarray(decode_png(read_bytes(path, "own_car"), said, size) != 0)


def read_points(path: Path, said: str, columns: tuple[str, ...]) -> NDArray[np.float32]:
    """Points of a ``.bin`` (float32), ``.npy`` or ``.npz`` (key ``points``) file.

    Args:
        path: the file.
        said: how messages call it.
        columns: meaning of the numbers of a point; ``intensity`` may be missing and is 0 then.

    Returns:
        (M, 4) x, y, z in metres of the sensor's frame, intensity.

    Raises:
        DataError: damaged file, another number of columns, or coordinates that are not finite.
    """
    data = _floats(path, said, columns) if path.suffix == ".bin" else _load(path, said, "points")
    if data.dtype.kind not in "iuf":
        raise DataError(said, "points", f"type {data.dtype}", "real numbers")
    if data.ndim != 2 or data.shape[1] != len(columns):
        raise DataError(said, "columns", f"shape {data.shape}", f"{len(columns)} columns: {', '.join(columns)}")
    empty = np.zeros(len(data), np.float32)
    wanted = [data[:, columns.index(c)] if c in columns else empty for c in POINT_COLUMNS]
    points = np.stack(wanted, axis=1).astype(np.float32)
    broken = int((~np.isfinite(points)).any(axis=1).sum())
    if broken:
        raise DataError(said, "points", f"{broken} of {len(points)} points with numbers that are not finite", "metres")
    return points


def _floats(path: Path, said: str, columns: tuple[str, ...]) -> NDArray[np.float32]:
    """(M, columns) float32 of a ``.bin`` file."""
    content = read_bytes(path, "points")
    if len(content) % (4 * len(columns)):
        expected = f"float32 in {len(columns)} columns: {', '.join(columns)}"
        raise DataError(said, "columns", f"{len(content)} bytes", expected)
    return np.frombuffer(content, "<f4").reshape(-1, len(columns))


def _load(path: Path, said: str, key: str) -> NDArray[Any]:
    try:
        stored = np.load(path, allow_pickle=False)
        return np.asarray(npz_of(stored)[key] if path.suffix == ".npz" else stored)
    except (KeyError, *BROKEN) as error:
        kind = f"an npz file with the key {key}" if path.suffix == ".npz" else "an npy file"
        raise DataError(said, key, first_line(error), kind) from None


def read_point_labels(path: Path, points: partial[NDArray[np.float32]]) -> NDArray[np.uint8]:
    """(M,) ten-class ids from an ``.npy`` file (or ``labels`` of an ``.npz`` file), one per point of the sweep.

    Raises:
        DataError: damaged file, other ids, or another number of labels than points.
    """
    labels = as_labels(path, "labels", _load(path, str(path), "labels"), CLASS_IDS)
    count = len(points())
    if labels.shape != (count,):
        raise DataError(path, "labels", f"shape {labels.shape}", f"({count},), one per point")
    return labels


def read_occupancy(path: Path) -> OccupancyLabel:
    """An occupancy label in the ten classes.

    Raises:
        DataError: damaged file, missing key, another shape, or values that are no classes or no mask.
    """
    stored = read_npz(path, ("semantics", "camera_mask", "lidar_mask"), OCC3D_GRID.shape)
    return OccupancyLabel(
        as_labels(path, "semantics", stored["semantics"], CLASS_IDS),
        as_mask(path, "camera_mask", stored["camera_mask"]),
        as_mask(path, "lidar_mask", stored["lidar_mask"]),
    )
