"""The verb ``runs``: what was trained here, how far it came, and which run was the last."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

import yaml
from rich.markup import escape
from rich.table import Table

from ugocc.errors import DataError
from ugocc.last import RUNS, last_run
from ugocc.output import reporting

COLOURS: Final = {"finished": "green", "interrupted": "yellow", "not begun": "red"}
"""Of what has become of a run, on a terminal."""


@dataclass(frozen=True)
class RunsSettings:
    """The list of runs."""

    folder: Path = RUNS
    """Where runs are."""
    last: bool = False
    """Print the folder of the last run that finished, and nothing else."""
    json: bool = False
    """Print JSON instead of a table."""


@dataclass(frozen=True)
class Run:
    """One training."""

    folder: str
    """Of the run."""
    state: str
    """finished, or interrupted (the same command goes on), or not begun."""
    model: str
    """Name and size of the network."""
    variant: str
    """How it is trained."""
    steps: int
    """Of the whole run."""
    changed: str
    """When it last wrote something."""


def list_runs(settings: RunsSettings) -> list[Run]:
    """Print every run below the folder, the last one first, or the folder of the last run that finished.

    Raises:
        DataError: only the last run is asked for, and none has finished.
    """
    with reporting(settings.json) as report:
        if settings.last:
            folder = last_run(settings.folder)
            if folder is None:
                raise DataError(settings.folder, "last", "no run that finished", "one; ugocc runs lists all")
            report({"folder": folder, "runs": list(find_runs(folder))}, folder.as_posix())
            return list(find_runs(folder))
        runs = sorted(find_runs(settings.folder), key=lambda run: run.changed, reverse=True)
        table = Table("run", "state", "model", "variant", "steps", "last written")
        for run in runs:
            state = f"[{COLOURS[run.state]}]{run.state}[/]"
            table.add_row(
                escape(run.folder), state, escape(run.model), escape(run.variant), str(run.steps), run.changed
            )
        report(runs, table if runs else f"no runs in {settings.folder}")
    return runs


def find_runs(folder: Path) -> Iterator[Run]:
    """Every run folder below, known by the recipe that a run leaves before it begins."""
    for recipe in sorted(folder.rglob("recipe.yaml")):
        try:
            about = yaml.safe_load(recipe.read_text(encoding="utf-8"))
            model, variant, steps = about["model"], about["variant"], about["optim"]["steps"]
        except (OSError, yaml.YAMLError, KeyError, TypeError):
            continue  # something else of that name
        own, last = recipe.parent, recipe.parent / "checkpoints" / "last.ckpt"
        card = own / "model" / "model.json"
        state = "finished" if card.is_file() else "interrupted" if last.is_file() else "not begun"
        newest = max(file.stat().st_mtime for file in (recipe, last, card) if file.is_file())
        changed = datetime.fromtimestamp(newest).isoformat(" ", "seconds")
        yield Run(own.as_posix(), state, f"{model['name']}-{model['size']}", variant, steps, changed)
