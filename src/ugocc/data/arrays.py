"""Arrays from ``npz`` files, checked before anyone uses them."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.npyio import NpzFile
from numpy.typing import NDArray

from ugocc.errors import DataError, first_line

BROKEN = (OSError, EOFError, ValueError, zipfile.BadZipFile, zlib.error)
"""What numpy raises on a file that is damaged, or holds objects."""


def read_npz(path: Path, keys: tuple[str, ...], shape: tuple[int, ...]) -> dict[str, NDArray[Any]]:
    """Some arrays of an ``npz`` file, all of one shape. Object arrays are refused.

    Args:
        path: the file.
        keys: names of the arrays.
        shape: what each must have.

    Raises:
        DataError: missing or damaged file, missing key, object array, or another shape.
    """
    try:
        # numpy forgets to close a file that it finds damaged.
        with path.open("rb") as file, npz_of(np.load(file, allow_pickle=False)) as stored:
            for key in keys:
                if key not in stored.files:
                    raise DataError(path, key, f"keys {', '.join(stored.files) or 'none'}", f"an array called {key}")
            arrays = {key: stored[key] for key in keys}
    except FileNotFoundError:
        raise DataError(path, "file", "nothing there", "an npz file") from None
    except BROKEN as error:
        if isinstance(error, DataError):
            raise
        raise DataError(path, "file", first_line(error), "an undamaged npz file of plain arrays") from None
    for key, array in arrays.items():
        if array.shape != shape:
            raise DataError(path, key, f"shape {array.shape}", f"shape {shape}")
    return arrays


def npz_of(stored: Any) -> NpzFile:
    """What ``np.load`` gave, if it is an archive.

    Raises:
        ValueError: it is a single array.
    """
    if not isinstance(stored, NpzFile):
        raise ValueError("a single array, as in an npy file")
    return stored


def as_mask(where: object, key: str, array: NDArray[Any]) -> NDArray[np.bool_]:
    """A mask stored as bool or as zeros and ones.

    Raises:
        DataError: any other value.
    """
    if array.dtype.kind not in "biuf":
        raise DataError(where, key, f"type {array.dtype}", "only 0 and 1")
    if array.dtype != np.bool_ and not np.isin(array, (0, 1)).all():
        raise DataError(where, key, f"values up to {array.max()}", "only 0 and 1")
    return array.astype(bool)


def as_labels(where: object, key: str, array: NDArray[Any], allowed: frozenset[int]) -> NDArray[np.uint8]:
    """Label ids as uint8.

    Raises:
        DataError: not whole numbers, or an id that is not in ``allowed``.
    """
    if not np.issubdtype(array.dtype, np.integer):
        raise DataError(where, key, f"type {array.dtype}", "whole numbers")
    present = np.unique(array)
    strange = [int(value) for value in present if int(value) not in allowed]
    if strange:
        raise DataError(where, key, f"ids {strange[:5]}", f"ids among {sorted(allowed)}")
    return array.astype(np.uint8)
