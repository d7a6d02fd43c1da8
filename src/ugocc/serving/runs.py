"""The verb ``runs``: what was trained here, how far it came, and which run was the last."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

import yaml
from rich.console import Console
from rich.table import Table


@dataclass(frozen=True)
class RunsSettings:
    """The list of runs."""

    folder: Path = Path("runs")
    """Where runs are."""
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
    """Print every run below the folder, the last one first."""
    runs = sorted(find_runs(settings.folder), key=lambda run: run.changed, reverse=True)
    if settings.json:
        print(json.dumps([asdict(run) for run in runs], indent=1))
        return runs
    if not runs:
        print(f"no runs in {settings.folder}")
        return runs
    table = Table("run", "state", "model", "variant", "steps", "last written")
    for run in runs:
        table.add_row(run.folder, run.state, run.model, run.variant, str(run.steps), run.changed)
    Console().print(table)
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
