"""The one error a user's input can cause, and what it calls things."""

from __future__ import annotations

import re
from typing import Final

_TEXT: Final = re.compile(r"(.*?): (.*?): found (.*), expected (.*)", re.S)


class DataError(ValueError):
    """Input that cannot be used: says where, which field, what was found and what was expected.

    Args:
        where: file (or file and row) the value came from.
        field: name of the field, column, key or array.
        found: what is there.
        expected: what should be there.
    """

    def __init__(self, where: object, field: str, found: object, expected: object) -> None:
        self.where, self.field, self.found, self.expected = str(where), field, found, expected
        super().__init__(f"{where}: {field}: found {found}, expected {expected}")

    def __reduce__(self) -> tuple[type[DataError], tuple[object, ...]]:
        return type(self), (self.where, self.field, self.found, self.expected)


def check_least(where: str, least: int, expected: str, **options: int) -> None:
    """Refuse options below ``least``.

    Raises:
        DataError: naming the first, and what is ``expected``.
    """
    for option, value in options.items():
        if value < least:
            raise DataError(where, option, value, expected)


def first_line(error: BaseException) -> str:
    """What a library says is wrong, in one line; the name of its error where it says nothing."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


class Said(str):
    """What messages call something: with the line of a manifest, say. What is kept of a frame does not depend on it."""


def told_by_worker(error: Exception) -> Exception:
    """The error itself, or the DataError whose traceback a data loader's process has sent as text.

    torch raises what happened in such a process anew, as a RuntimeError where it does not know how to make another.
    """
    before, _, text = str(error).rpartition("ugocc.errors.DataError: ")
    told = _TEXT.fullmatch(text.strip()) if before and isinstance(error, RuntimeError) else None
    return error if told is None else DataError(*told.groups())


class MissingPackage(DataError):
    """A package that is not part of the core installation.

    Args:
        where: what needs it.
        package: its name; several are separated by commas.
        command: how to get it.
    """

    def __init__(self, where: object, package: str, command: str) -> None:
        super().__init__(where, package, "no such package", command)
        self.args = (f"{where} needs {package}: {command}",)

    def __reduce__(self) -> tuple[type[DataError], tuple[object, ...]]:
        return type(self), (self.where, self.field, self.expected)
