"""Training curves of run folders, as TensorBoard or, without that, CSV files have them."""

from __future__ import annotations

import csv
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from ugocc.errors import MissingPackage
from ugocc.extras import require


class Curve(NamedTuple):
    """One quantity over the steps of a run."""

    steps: list[int]
    values: list[float]


def read_curves(run: Path) -> dict[str, Curve]:
    """Curves of a run folder by name (``loss``, ``loss/depth``, ``domain_accuracy``); empty without any.

    Points of a run that was resumed are joined; where it repeated steps, the later value counts. Events cannot be read
    without the package tensorboard; a warning says so.
    """
    folder = run / "tensorboard"
    points: dict[str, dict[int, float]] = {}
    for name, step, value in (*_of_events(folder), *_of_tables(folder)):
        points.setdefault(name, {})[step] = value
    return {name: Curve(sorted(found), [found[step] for step in sorted(found)]) for name, found in points.items()}


Point = tuple[str, int, float]
"""Name of a curve, step, value."""


def _of_events(folder: Path) -> Iterator[Point]:
    files = sorted(folder.glob("events.out.tfevents.*"))
    try:
        if files:
            require(folder, "tensorboard")
    except MissingPackage as error:
        warnings.warn(f"curves left out: {error}", stacklevel=2)
        return
    for file in files:
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

        events = EventAccumulator(str(file), size_guidance={"scalars": 0})
        events.Reload()
        for name in events.Tags()["scalars"]:
            yield from ((name, event.step, event.value) for event in events.Scalars(name))


def _of_tables(folder: Path) -> Iterator[Point]:
    """From the file of every start; :func:`ugocc.training.fit.curves_logger` names its folder by the first step."""
    for path in sorted(folder.glob("from-*/metrics.csv")):
        with path.open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                step = int(row.pop("step"))
                yield from ((name, step, float(value)) for name, value in row.items() if value)


def in_a_row(runs: Mapping[str, Path], name: str) -> dict[str, Curve]:
    """The curve of every run that has it, by the run's name."""
    found = {label: read_curves(run).get(name) for label, run in runs.items()}
    return {label: curve for label, curve in found.items() if curve is not None}
