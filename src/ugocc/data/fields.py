"""Values of JSON objects written by hand, each with a message that names the place and the field."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from ugocc.errors import DataError
from ugocc.geometry.camera import check_intrinsics
from ugocc.geometry.rigid import Matrix, check_rigid, from_quaternion


class Fields:
    """One JSON object, where it stands, and the keys it may have.

    Args:
        values: what was read.
        where: file and line.
        prefix: path of the object on that line, such as ``cameras[2].``; empty for the line itself.
        allowed: keys it may have.

    Raises:
        DataError: no object, or a key that is not allowed (the message names the nearest right one).
    """

    def __init__(self, values: object, where: object, prefix: str, allowed: Iterable[str]) -> None:
        self.where, self.prefix = where, prefix
        if not isinstance(values, Mapping):
            raise DataError(where, prefix.rstrip(".") or "line", shown(values), "an object {...}")
        keys = list(allowed)
        for key in values:
            if key not in keys:
                near = difflib.get_close_matches(str(key), keys, n=1, cutoff=0.5)
                advice = f"the key {near[0]}" if near else f"only {', '.join(keys)}"
                raise DataError(where, f"{prefix}{key}", "an unknown key", advice)
        # A null is as good as no key: tables of Parquet have one wherever a row lacks a column.
        self._values = {key: value for key, value in values.items() if value is not None}
        self._origins: dict[str, tuple[object, str]] = {}

    def __contains__(self, key: str) -> bool:
        return key in self._values

    def over(self, defaults: Mapping[str, Any], where: object, prefix: str) -> Fields:
        """The same object with ``defaults`` for the keys it lacks; errors in those name where they stand."""
        both = Fields({**defaults, **self._values}, self.where, self.prefix, [*defaults, *self._values])
        both._origins = {key: (where, prefix) for key in defaults if key not in self._values}
        return both

    def place(self, key: str) -> tuple[object, str]:
        """Where a key stands, and its name there."""
        where, prefix = self._origins.get(key, (self.where, self.prefix))
        return where, f"{prefix}{key}"

    def error(self, key: str, found: object, expected: object) -> DataError:
        """The error to raise about a key."""
        return DataError(*self.place(key), found, expected)

    def value(self, key: str, expected: str) -> Any:
        """The raw value of a required key."""
        if key not in self._values:
            raise self.error(key, "nothing", expected)
        return self._values[key]

    def text(self, key: str, default: str | None = None) -> str:
        """A text that is not empty."""
        value = default if key not in self and default is not None else self.value(key, "a text")
        if not isinstance(value, str) or not value:
            raise self.error(key, shown(value), "a text that is not empty")
        return value

    def whole(self, key: str, default: int | None = None, least: int | None = None) -> int:
        """A whole number, not below ``least``."""
        expected = "a whole number" if least is None else f"a whole number from {least}"
        value = default if key not in self and default is not None else self.value(key, expected)
        if isinstance(value, bool) or not isinstance(value, int) or (least is not None and value < least):
            raise self.error(key, shown(value), expected)
        return value

    def numbers(self, key: str, count: int) -> Matrix:
        """(count,) finite numbers, from a list or (for one) a bare number."""
        value = self.value(key, f"{count} numbers")
        array = _array([value] if count == 1 else value)
        if array is None or array.shape != (count,) or not np.isfinite(array).all():
            raise self.error(
                key, shown(value), "a finite number" if count == 1 else f"a list of {count} finite numbers"
            )
        return array

    def transform(self, key: str, default: Matrix | None = None) -> Matrix:
        """(4, 4) rigid transform: 16 numbers row by row, four rows of four, or rotation and translation."""
        if key not in self and default is not None:
            return default
        expected = '16 numbers row by row, or {"rotation": [w, x, y, z], "translation": [x, y, z]}'
        value = self.value(key, expected)
        if isinstance(value, Mapping):
            where, name = self.place(key)
            parts = Fields(value, where, f"{name}.", ("rotation", "translation"))
            rotation, translation = parts.numbers("rotation", 4), parts.numbers("translation", 3)
            return from_quaternion(rotation, translation, where, f"{name}.rotation")
        array = _array(value)
        if array is None or array.size != 16:
            raise self.error(key, shown(value), expected)
        return check_rigid(array.reshape(4, 4), *self.place(key))

    def intrinsics(self, key: str) -> Matrix:
        """(3, 3) camera matrix: nine numbers row by row, three rows of three, or fx, fy, cx, cy."""
        expected = '9 numbers row by row, or {"fx": .., "fy": .., "cx": .., "cy": ..}'
        value = self.value(key, expected)
        if isinstance(value, Mapping):
            where, name = self.place(key)
            parts = Fields(value, where, f"{name}.", ("fx", "fy", "cx", "cy"))
            fx, fy, cx, cy = (float(parts.numbers(k, 1)[0]) for k in ("fx", "fy", "cx", "cy"))
            value = [fx, 0, cx, 0, fy, cy, 0, 0, 1]
        array = _array(value)
        if array is None or array.size != 9:
            raise self.error(key, shown(value), expected)
        return check_intrinsics(array.reshape(3, 3), *self.place(key))

    def objects(self, key: str, allowed: Iterable[str]) -> list[Fields]:
        """The objects of a list; none where the key is absent."""
        values = self._values.get(key, [])
        if not isinstance(values, list):
            raise self.error(key, shown(values), "a list of objects")
        keys = list(allowed)
        return [Fields(v, self.where, f"{self.prefix}{key}[{i}].", keys) for i, v in enumerate(values)]


def _array(value: object) -> Matrix | None:
    """Nested lists of numbers as float64, or None."""
    try:
        array = np.asarray(value)
    except ValueError:  # ragged
        return None
    numeric = np.issubdtype(array.dtype, np.integer) or np.issubdtype(array.dtype, np.floating)
    return array.astype(np.float64) if numeric else None


def shown(value: object) -> str:
    """A value in a message, shortened."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
