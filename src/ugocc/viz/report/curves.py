"""Training curves of run folders, as TensorBoard has them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple


class Curve(NamedTuple):
    """One quantity over the steps of a run."""

    steps: list[int]
    values: list[float]


def read_curves(run: Path) -> dict[str, Curve]:
    """Curves of a run folder by name (``loss``, ``loss/depth``, ``domain_accuracy``); empty without any.

    Points of a run that was resumed are joined; where it repeated steps, the later value counts.
    """
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    folder = run / "tensorboard"
    points: dict[str, dict[int, float]] = {}
    for file in sorted(folder.glob("events.out.tfevents.*")):
        events = EventAccumulator(str(file), size_guidance={"scalars": 0})
        events.Reload()
        for name in events.Tags()["scalars"]:
            points.setdefault(name, {}).update((event.step, event.value) for event in events.Scalars(name))
    return {name: Curve(sorted(found), [found[step] for step in sorted(found)]) for name, found in points.items()}


def in_a_row(runs: Mapping[str, Path], name: str) -> dict[str, Curve]:
    """The curve of every run that has it, by the run's name."""
    found = {label: read_curves(run).get(name) for label, run in runs.items()}
    return {label: curve for label, curve in found.items() if curve is not None}
