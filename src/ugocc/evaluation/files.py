"""Prediction files: ``<token>.npz`` with the volume under ``pred``, and the grid it is on."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ugocc.data.arrays import BROKEN
from ugocc.errors import DataError
from ugocc.geometry.grid import OCC3D_GRID, VoxelGrid
from ugocc.labels import NUM_CLASSES


def write_prediction(folder: Path, token: str, volume: NDArray[np.uint8], grid: VoxelGrid) -> Path:
    """Write ``<folder>/<token>.npz`` atomically: ``pred`` (X, Y, Z) uint8, ``lower`` (3,) and ``voxel_size`` in m."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{token}.npz"
    temporary = folder / f".{token}.{os.getpid()}.npz"
    np.savez_compressed(temporary, pred=volume, lower=np.asarray(grid.lower), voxel_size=np.asarray(grid.voxel_size))
    temporary.replace(path)
    return path


def read_prediction(path: Path) -> tuple[NDArray[np.uint8], VoxelGrid]:
    """The volume of a prediction file and its grid; a file without ``lower`` is on the Occ3D grid.

    Raises:
        DataError: missing or broken file, no ``pred``, wrong type or shape, or a value outside the ten classes.
    """
    if not path.is_file():
        raise DataError(path, "prediction", "no such file", "an .npz file with the key pred")
    try:
        with path.open("rb") as stream, np.load(stream) as file:
            arrays = {key: file[key] for key in file.files}
    except (*BROKEN, TypeError) as error:  # TypeError: a bare array
        raise DataError(path, "prediction", f"unreadable ({error})", "an .npz file with the key pred") from error
    if "pred" not in arrays:
        raise DataError(path, "pred", f"keys {sorted(arrays)}", "the key pred")
    volume = arrays["pred"]
    if volume.dtype != np.uint8 or volume.ndim != 3 or not volume.size:
        raise DataError(path, "pred", f"{volume.dtype} of shape {volume.shape}", "uint8 of shape (X, Y, Z)")
    if volume.max(initial=0) >= NUM_CLASSES:
        raise DataError(path, "pred", f"value {volume.max()}", f"classes 0 to {NUM_CLASSES - 1}")
    x, y, z = volume.shape
    if "lower" in arrays or "voxel_size" in arrays:
        return volume, _grid_of(path, arrays, (x, y, z))
    if volume.shape != OCC3D_GRID.shape:
        raise DataError(path, "pred", f"shape {volume.shape} without lower", f"shape {OCC3D_GRID.shape}, or lower")
    return volume, OCC3D_GRID


def _grid_of(path: Path, arrays: dict[str, NDArray[Any]], shape: tuple[int, int, int]) -> VoxelGrid:
    for key, form in (("lower", (3,)), ("voxel_size", ())):
        found = arrays.get(key)
        if found is None:
            raise DataError(path, key, f"keys {sorted(arrays)}", "both lower and voxel_size, or neither")
        if found.shape != form or found.dtype.kind not in "fiu" or not np.isfinite(found).all():
            raise DataError(
                path, key, f"{found.dtype} of shape {found.shape}", f"finite numbers of shape {form}, metres"
            )
    a, b, c = (float(v) for v in arrays["lower"])
    size = float(arrays["voxel_size"])
    if size <= 0:
        raise DataError(path, "voxel_size", size, "metres above zero")
    return VoxelGrid((a, b, c), shape, size)
