"""Digests of what decides a number: the code that made it and the data it was made of."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Final

DECISIVE: Final = ("adaptation", "data", "evaluation", "geometry", "losses", "models", "training", "labels.py")
"""Parts of the package that decide numbers; pictures, pages and the command line do not."""


@cache
def code_digest(package: Path | None = None) -> str:
    """SHA-256 over the source files that decide numbers, by name and content.

    Args:
        package: folder of the package; by default the one that is running.
    """
    folder = package or Path(__file__).resolve().parent
    parts = [folder / name for name in DECISIVE]
    files = [file for part in parts for file in ([part] if part.is_file() else part.rglob("*.py"))]
    return _digest(folder, sorted(files), contents=True)


def data_digest(fleet: Path) -> str:
    """SHA-256 over the names and sizes of all files of a fleet's folder."""
    return _digest(fleet, sorted(file for file in fleet.rglob("*") if file.is_file()), contents=False)


def _digest(folder: Path, files: Iterable[Path], *, contents: bool) -> str:
    total = hashlib.sha256()
    for file in files:
        about = file.read_bytes() if contents else str(file.stat().st_size).encode()
        total.update(file.relative_to(folder).as_posix().encode() + b"\0" + about + b"\0")
    return total.hexdigest()
