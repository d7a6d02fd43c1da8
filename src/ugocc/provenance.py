"""Digests of what decides a number: the code that made it and the data it was made of."""

from __future__ import annotations

import ast
import hashlib
import io
import tokenize
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Final

DECISIVE: Final = ("adaptation", "data", "evaluation", "geometry", "losses", "models", "training", "labels.py")
"""Parts of the package that decide numbers; pictures, pages and the command line do not."""

INDIFFERENT: Final = (
    "data/commands.py",
    "data/segment.py",
    "data/segment_networks.py",
    "data/synthetic",  # what it renders is told apart by the digest of the data
    "data/town",
    "models/cost.py",
    "models/example.py",
    "models/exportable.py",
    "training/model_card.py",
    "training/progress.py",
)
"""What in these parts decides none."""


@cache
def code_digest(package: Path | None = None) -> str:
    """SHA-256 over the source files that decide numbers, by name and statements.

    Comments, docstrings and empty lines may change without making other results of it.

    Args:
        package: folder of the package; by default the one that is running.
    """
    folder = package or Path(__file__).resolve().parent
    parts = [folder / name for name in DECISIVE]
    files = [file for part in parts for file in ([part] if part.is_file() else part.rglob("*.py"))]
    indifferent = [folder / name for name in INDIFFERENT]
    decisive = (f for f in files if not any(f.is_relative_to(part) for part in indifferent))
    return _digest(folder, sorted(decisive), lambda file: "\n".join(_statements(file.read_text("utf-8"))).encode())


def data_digest(fleet: Path) -> str:
    """SHA-256 over the names and sizes of all files of a fleet's folder."""
    files = sorted(file for file in fleet.rglob("*") if file.is_file())
    return _digest(fleet, files, lambda file: str(file.stat().st_size).encode())


def _digest(folder: Path, files: Iterable[Path], about: Callable[[Path], bytes]) -> str:
    total = hashlib.sha256()
    for file in files:
        total.update(file.relative_to(folder).as_posix().encode() + b"\0" + about(file) + b"\0")
    return total.hexdigest()


def _statements(text: str) -> Iterator[str]:
    """Lines of a source file without docstrings, comments and what is empty then.

    Python's own printer of syntax trees differs between its releases, so lines are kept as they are written.
    """
    lines = text.splitlines()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            row, column = token.start
            lines[row - 1] = lines[row - 1][:column]
    for node in ast.walk(ast.parse(text)):
        body = getattr(node, "body", ())
        for statement in body if isinstance(body, list) else ():
            if _is_text(statement):
                rows = statement.end_lineno - statement.lineno + 1
                lines[statement.lineno - 1 : statement.end_lineno] = [""] * rows
    return (line.rstrip() for line in lines if line.strip())


def _is_text(statement: ast.AST) -> bool:
    """Whether a statement is a string and nothing else: a docstring, or one below a constant or a field."""
    return (
        isinstance(statement, ast.Expr)
        and isinstance(statement.value, ast.Constant)
        and isinstance(statement.value.value, str)
    )
