"""Whose batch-norm statistics a network uses on a fleet: its own, or those of the fleet's frames where it has none."""

from __future__ import annotations

import sys
from typing import NamedTuple

from ugocc.data.frame import FrameSource
from ugocc.models.assemble import OccupancyModel
from ugocc.progress import follow
from ugocc.serving.predictor import Predictor
from ugocc.training.statistics import spaced


class Statistics(NamedTuple):
    """What normalises a network's features on a fleet."""

    words: str
    """Whose they are, in a few words."""
    frames: tuple[int, ...]
    """Indices of the fleet's frames that they are taken of; none where the network keeps its own."""


def statistics_on(predictor: Predictor, frames: FrameSource, count: int) -> Statistics:
    """Which statistics a network is to use on a fleet.

    Args:
        predictor: the network, opened for this fleet.
        frames: the fleet.
        count: frames to take statistics of where the network has none of a fleet of this name; 0 keeps those it came
            with, and so does an exported graph.
    """
    if predictor.knows(frames.fleet):
        return Statistics(f"the model's of {frames.fleet}", ())
    looked = spaced(len(frames), count) if isinstance(predictor.model, OccupancyModel) else ()
    if looked:
        return Statistics(f"of {len(looked)} frames of {frames.fleet}", tuple(looked))
    about = predictor.about
    return Statistics(f"the model's of {about.get('target_fleet') or about.get('train_fleet', 'unknown')}", ())


def use_statistics(predictor: Predictor, frames: FrameSource, count: int) -> Statistics:
    """Let a network use what :func:`statistics_on` chooses, and say on stderr what that is for a fleet new to it.

    No label is read.
    """
    chosen, fleet = statistics_on(predictor, frames, count), frames.fleet
    if predictor.knows(fleet):
        return chosen
    settings, variant = predictor.model.settings, predictor.about.get("variant", "unknown")
    further = f"; --statistics 32 takes those of {fleet}, as ugocc predict does"
    if chosen.frames:
        further = ""
    elif not isinstance(predictor.model, OccupancyModel):
        further = ", with which the graph was exported"
    new = f"{fleet} is new to {settings.name}-{settings.size} ({variant})"
    print(f"{new}: batch-norm statistics are {chosen.words}{further}", file=sys.stderr)
    if chosen.frames:
        looked = (frames[index] for index in chosen.frames)
        predictor.normalise_by(follow(looked, f"look at {fleet}", len(chosen.frames)))
    return chosen
