"""Digests of what decides a number: the code that made it and the data it was made of."""

from __future__ import annotations

import ast
import hashlib
import io
import json
import tokenize
from collections.abc import Callable, Collection, Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Final, Literal

from ugocc.errors import DataError

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

RENDERED: Final = "embedded.json"
"""File beside rendered fleets that says what they were rendered with."""

RECORDINGS: Final = "recordings.json"
"""File of a run folder (``training.run_folder``) that is no model and no result."""

ENTRIES: Final = {
    "supervised": ("training/source.py", "evaluation/evaluate.py"),
    "adapted": ("training/chain.py", "evaluation/evaluate.py"),
}
"""Files that a kind of training and its evaluation begin with; what these do not import does not decide its numbers."""


@cache
def code_digest(kind: Literal["supervised", "adapted"] = "adapted", package: Path | None = None) -> str:
    """SHA-256 over the source files that decide numbers, by name and statements.

    Comments, docstrings and empty lines may change without making other results of it.

    Args:
        kind: of training; one on labels alone does not depend on how networks are adapted.
        package: folder of the package; by default the one that is running.
    """
    folder = package or Path(__file__).resolve().parent
    parts = [folder / name for name in DECISIVE]
    indifferent = [folder / name for name in INDIFFERENT]
    decisive = (
        file
        for file in imported(folder, ENTRIES[kind])
        if any(file.is_relative_to(part) for part in parts) and not any(file.is_relative_to(p) for p in indifferent)
    )
    return _digest(folder, sorted(decisive), lambda file: "\n".join(_statements(file.read_text("utf-8"))).encode())


def imported(package: Path, entries: Iterable[str]) -> set[Path]:
    """Files of a package that some of its files import, at whatever depth, and these files.

    Args:
        package: its folder.
        entries: names in the folder.
    """
    found: set[Path] = set()
    missing = [package / name for name in entries]
    while missing:
        file = missing.pop()
        if file not in found and file.is_file():
            found.add(file)
            missing += _imports(package, file)
    return found


def data_digest(fleet: Path) -> str:
    """SHA-256 over the names and sizes of all files of a fleet's folder, but for what readers keep in hidden ones.

    Of a fleet that ``ugocc data render`` made, what it was rendered with takes the place of the sizes: sines of another
    processor differ in their last digit, and with them the length of a table of text.
    """
    files = sorted(
        file
        for file in fleet.rglob("*")
        if file.is_file() and not any(part.startswith(".") for part in file.relative_to(fleet).parts)
    )
    rendered = fleet.parent / RENDERED
    if not rendered.is_file():
        return _digest(fleet, files, lambda file: str(file.stat().st_size).encode())
    manifest = json.loads(rendered.read_text(encoding="utf-8"))
    made_with = json.dumps({key: manifest.get(key) for key in ("settings", "renderer")}, sort_keys=True).encode()
    return _digest(fleet, files, lambda _: made_with)


def _digest(folder: Path, files: Iterable[Path], about: Callable[[Path], bytes]) -> str:
    total = hashlib.sha256()
    for file in files:
        total.update(file.relative_to(folder).as_posix().encode() + b"\0" + about(file) + b"\0")
    return total.hexdigest()


def _imports(package: Path, file: Path) -> Iterator[Path]:
    """Where modules of the package would lie that a file imports; whether they do is for the caller to see."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        names: list[str] = []
        if isinstance(node, ast.ImportFrom) and node.module is not None:
            names = [node.module, *(f"{node.module}.{name.name}" for name in node.names)]
        elif isinstance(node, ast.Import):
            names = [name.name for name in node.names]
        for name in names:
            first, *rest = name.split(".")
            if first == package.name and rest:
                path = package.joinpath(*rest)
                yield from (path.with_suffix(".py"), path / "__init__.py")


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


def check_provenance(folder: Path, code: Collection[str], data: dict[str, str]) -> None:
    """Refuse models and results that do not belong in one table with what would be made now.

    Args:
        folder: where they are, at any depth.
        code: digests of the code now, for every kind of training.
        data: digests of the fleets now.

    Raises:
        DataError: a file of other code or data.
    """
    others = {folder / "results.json", *folder.rglob(RECORDINGS)}  # what an ablation sums up in, and what runs are of
    for file in sorted(set(folder.rglob("*.json")) - others):
        then = json.loads(file.read_text(encoding="utf-8"))
        found = then.get("code", "none") if isinstance(then, dict) else "none"
        if found not in code:
            today = " or ".join(sorted(digest[:12] for digest in code))
            raise DataError(file, "code", found[:12], f"{today}, that of today (or other folders to write to)")
        for name, digest in data.items():
            found = then.get("data", {}).get(name, digest)
            if found != digest:
                raise DataError(file, f"data.{name}", found[:12], f"{digest[:12]}, the files that are there now")
