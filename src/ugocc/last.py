"""The last run that finished: ``runs/last`` leads to it, and the word ``last`` names its model."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Final

from ugocc.errors import DataError

RUNS: Final = Path("runs")
"""Folder of all runs, unless an option says otherwise."""
LAST: Final = "last"
"""Name of the link in it, and what stands for the last run's model among options."""
MODELS: Final = ("model", "adapted/model", "full/model")
"""Where the model of a run is: of a training, of all stages of an adaptation, of the demo."""


def remember(folder: Path, runs: Path = RUNS) -> None:
    """Let ``runs/last`` lead to the folder of a run that finished: a link, or a text file where there are no links.

    The old one stays whole until the new one is there. That it cannot be written is said, and is no error.
    """
    folder = folder.resolve()
    unfinished = runs / f".{LAST}.{os.getpid()}"
    try:
        runs.mkdir(parents=True, exist_ok=True)
        home = runs.resolve()
        target = folder.relative_to(home) if folder.is_relative_to(home) else folder
        if target == Path(LAST):
            return  # a run that was given that name
        unfinished.unlink(missing_ok=True)
        try:
            unfinished.symlink_to(target, target_is_directory=True)
        except (OSError, NotImplementedError):
            unfinished.write_text(f"{target.as_posix()}\n", encoding="utf-8")
        unfinished.replace(runs / LAST)
    except OSError as error:
        print(f"{runs / LAST} does not lead to this run: {error.strerror}", file=sys.stderr)
        try:
            unfinished.unlink(missing_ok=True)
        except OSError:
            return


def last_run(runs: Path = RUNS) -> Path | None:
    """Folder of the last run that finished; None if there is none, or if it is gone."""
    link = runs / LAST
    if link.is_symlink():
        folder = runs / link.readlink()
    elif link.is_file():
        folder = runs / link.read_text(encoding="utf-8").strip()
    else:
        folder = link
    return folder if folder.is_dir() else None


def last_model(runs: Path = RUNS) -> Path:
    """Model folder of the last run.

    Raises:
        DataError: no run has finished, or the last one made a table of many models.
    """
    folder = last_run(runs)
    if folder is None:
        raise DataError(LAST, "checkpoint", f"no run that finished in {runs}", "a model folder, see ugocc runs")
    for name in MODELS:
        if (folder / name / "model.json").is_file():
            return folder / name
    raise DataError(LAST, "checkpoint", f"no model of its own in {folder}", "one of those below it, see ugocc runs")


def lasting(model: Path) -> Path:
    """A model folder by a name that stays right: a training records what it started from, and is the last run then."""
    if model == Path(LAST) and not model.is_dir():
        return last_model()
    for parent in model.parents:
        if parent.name == LAST and parent.is_symlink():
            return parent.parent / parent.readlink() / model.relative_to(parent)
    return model
