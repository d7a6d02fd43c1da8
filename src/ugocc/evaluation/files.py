"""Prediction files: ``<token>.npz`` with the volume under ``pred``, and the grid it is on."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

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
    except (ValueError, OSError, zipfile.BadZipFile, EOFError) as error:
        raise DataError(path, "prediction", f"unreadable ({error})", "an .npz file with the key pred") from error
    if "pred" not in arrays:
        raise DataError(path, "pred", f"keys {sorted(arrays)}", "the key pred")
    volume = arrays["pred"]
    if volume.dtype != np.uint8 or volume.ndim != 3:
        raise DataError(path, "pred", f"{volume.dtype} of shape {volume.shape}", "uint8 of shape (X, Y, Z)")
    if volume.max(initial=0) >= NUM_CLASSES:
        raise DataError(path, "pred", f"value {volume.max()}", f"classes 0 to {NUM_CLASSES - 1}")
    x, y, z = volume.shape
    if "lower" in arrays:
        a, b, c = (float(v) for v in arrays["lower"])
        return volume, VoxelGrid((a, b, c), (x, y, z), float(arrays["voxel_size"]))
    if volume.shape != OCC3D_GRID.shape:
        raise DataError(path, "pred", f"shape {volume.shape} without lower", f"shape {OCC3D_GRID.shape}, or lower")
    return volume, OCC3D_GRID
