"""What a verb prints: words for people, or one JSON document for scripts. Results go to stdout, all else to stderr."""

from __future__ import annotations

import json
import math
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

import rich
from rich.console import Console

from ugocc.config import plain
from ugocc.errors import DataError, told_by_worker


@contextmanager
def reporting(as_json: bool) -> Iterator[Callable[..., None]]:
    """The function ``report(value, text=None)`` with which a verb says, once, what it found or made.

    For people ``text`` is shown: words, or a table of rich's. With ``as_json`` the value becomes the one document on
    stdout; whatever is printed inside the block goes to stderr, and an error before the report is a document as well.
    """
    stdout, reported = sys.stdout, False

    def report(value: Any, text: Any = None) -> None:
        nonlocal reported
        if as_json:
            print(json_text(value), file=stdout, flush=True)
        elif text is not None:
            show(text)
        reported = True

    if not as_json:
        yield report
        return
    with redirect_stdout(sys.stderr):
        try:
            yield report
        except Exception as error:
            if not reported:
                report({"error": _described(error)})
            raise


def check_writable(folder: Path) -> None:
    """Make the folder that results go to, before hours are spent on them.

    Raises:
        DataError: it cannot be made, or not be written to.
    """
    if folder.is_file():
        raise DataError(folder, "folder", "a file", "a folder that can be written to")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise DataError(folder, "folder", error.strerror or str(error), "a folder that can be written to") from error


def json_text(value: Any) -> str:
    """JSON of settings, rows and plain values; numbers that are none, which JSON does not have, become null."""
    return json.dumps(_finite(plain(value)), indent=1, allow_nan=False)


def show(text: Any) -> None:
    """Print words or a table; a table is as wide as it needs to be where no terminal sets its width."""
    if isinstance(text, str):
        print(text)
    else:
        Console(width=None if sys.stdout.isatty() else 1000).print(text)


def progress_to_stderr() -> None:
    """Let rich draw progress on stderr, and only if that is a terminal, whatever ``FORCE_COLOR`` says of colours."""
    rich.reconfigure(stderr=True, force_terminal=None if sys.stderr.isatty() else False)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _described(raised: Exception) -> dict[str, str]:
    error = told_by_worker(raised)
    about = {"type": type(error).__name__, "message": str(error)}
    if isinstance(error, DataError):
        about |= {
            "where": error.where,
            "field": error.field,
            "found": str(error.found),
            "expected": str(error.expected),
        }
    return about
