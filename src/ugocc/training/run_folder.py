"""What a run folder says it is a run of, so that it goes on as what it began as."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import yaml

from ugocc.config import plain
from ugocc.data.frame import FrameSource
from ugocc.data.source import recordings_digest
from ugocc.errors import DataError
from ugocc.output import check_writable
from ugocc.provenance import RECORDINGS
from ugocc.results import write_text
from ugocc.training.checkpoint import CARD
from ugocc.training.fit import is_first

RECIPE: Final = "recipe.yaml"
"""File of a run folder that says what it is a run of."""


def check_same_recipe(recipe: Any, folder: Path, fleets: Mapping[str, FrameSource]) -> None:
    """Refuse a run folder that holds a run of another recipe, or of recordings that were others then.

    A folder in which nothing has been made yet may become any run's: its recipe may have been the mistake.

    Args:
        recipe: of the run.
        folder: of the run.
        fleets: what it learns from, by name.

    Raises:
        DataError: naming the first setting or fleet that differs.
    """
    path = folder / RECIPE
    if not path.is_file() or {file.name for file in folder.iterdir()} <= {RECIPE, RECORDINGS}:
        return
    then = yaml.safe_load(path.read_text(encoding="utf-8"))
    for key, old, new in _differences(then, _recorded(recipe)):
        raise DataError(path, key, f"{old} there, {new} now", "the same recipe, or another run.folder")
    path = folder / RECORDINGS
    if path.is_file():
        for key, old, new in _differences(json.loads(path.read_text(encoding="utf-8")), _recordings(fleets)):
            raise DataError(path, key, f"{old} there, {new} now", "the same recordings, or another run.folder")


def record_recipe(recipe: Any, folder: Path, fleets: Mapping[str, FrameSource]) -> None:
    """Write the recipe to a new run folder, once its data are known to be usable, and digests of these.

    Raises:
        DataError: the folder cannot be written to.
    """
    check_writable(folder)
    write_text(folder / RECORDINGS, json.dumps(_recordings(fleets), indent=1))
    write_text(folder / RECIPE, yaml.safe_dump(_recorded(recipe), sort_keys=False))


def _recordings(fleets: Mapping[str, FrameSource]) -> dict[str, Any]:
    return {name: {"frames": len(of), "sha256": recordings_digest(of)[:12]} for name, of in fleets.items()}


def is_finished(model: Path) -> bool:
    """Whether a run has come to its end and left this model; says so then."""
    there = (model / CARD).is_file()
    if there and is_first():
        print(f"finished before: {model}", file=sys.stderr)
    return there


def _recorded(recipe: Any) -> dict[str, Any]:
    return {k: v for k, v in plain(recipe).items() if k != "run"} | {"seed": recipe.run.seed}


def _differences(a: Any, b: Any, prefix: str = "") -> list[tuple[str, Any, Any]]:
    if isinstance(a, dict) and isinstance(b, dict):
        keys = list(a | b)
        return [d for k in keys for d in _differences(a.get(k), b.get(k), f"{prefix}.{k}" if prefix else k)]
    return [] if a == b else [(prefix, a, b)]
