"""Moments of a fleet for the report page's viewer: what networks say of them, beside the truth where there is one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from ugocc.data.frame import Frame, FrameSource
from ugocc.data.occupancy import label_on_grid
from ugocc.errors import DataError
from ugocc.geometry.grid import VoxelGrid
from ugocc.labels import UNKNOWN
from ugocc.progress import follow
from ugocc.serving.predictor import Predictor
from ugocc.training.statistics import spaced
from ugocc.viz.report.scenes import AFTER, BAR, BEFORE, TRUTH, Moment, Scene, Shown

MOMENTS: Final = 10
"""Moments of a scene that the page shows, evenly spaced."""
NAMES: Final = {BEFORE: "Before", AFTER: "After", BAR: "With labels", TRUTH: "Truth"}
"""On the buttons; a network alone is called a prediction."""


class Network(NamedTuple):
    """One network of the page."""

    key: str
    """``BEFORE``, ``AFTER`` or ``BAR``."""
    caption: str
    """What it learned from, in a few words."""
    predictor: Predictor
    """What runs it, opened for the fleet of the scene."""


def scene_of(
    frames: FrameSource,
    networks: Sequence[Network],
    moments: int = MOMENTS,
    labelled: bool = True,
) -> Scene:
    """Moments of the first scene of a fleet.

    Args:
        frames: the fleet; it has frames.
        networks: what predicts, in the order of the buttons.
        moments: how many at most.
        labelled: show the truth of frames that have one; False reads no label.

    Raises:
        DataError: networks that predict different grids.
    """
    drive = _first_scene(frames)
    chosen = [drive[i] for i in spaced(len(drive), moments)]
    predictors = {n.key: n.predictor for n in networks}
    grid = networks[0].predictor.model.settings.input.grid
    for network in networks:
        own = network.predictor.model.settings.input.grid
        if own != grid:
            raise DataError(network.caption, "model.input.grid", own, f"that of {networks[0].caption}: {grid}")
    captions = {n.key: n.caption for n in networks}
    followed = follow(chosen, f"volumes of {frames.fleet} for the report")
    found = [_moment(frame, predictors, grid, labelled) for frame in followed]
    alone = {AFTER: "Prediction"} if BEFORE not in captions else {}
    keys = list(captions)
    if all(TRUTH in moment.volumes for moment in found):
        keys, captions = [*keys, TRUTH], captions | {TRUTH: "the labels"}
    shown = [Shown(key, (NAMES | alone)[key], captions[key]) for key in keys]
    return Scene(f"{frames.fleet}, {drive[0].scene}", grid, shown, found)


def _first_scene(frames: FrameSource) -> list[Frame]:
    first: list[Frame] = []
    for frame in frames:
        if first and frame.scene != first[0].scene:
            break
        first.append(frame)
    return first


def _moment(frame: Frame, predictors: dict[str, Predictor], grid: VoxelGrid, labelled: bool) -> Moment:
    samples = {key: predictor.sample(frame) for key, predictor in predictors.items()}
    volumes = {key: predictor.predict(samples[key]).classes for key, predictor in predictors.items()}
    if labelled and frame.occupancy is not None:
        label = label_on_grid(frame.occupancy(), frame.occupancy_grid, grid)
        volumes[TRUTH] = label.semantics
        seen = label.camera_mask & (label.semantics != UNKNOWN)
    else:
        key, predictor = next(iter(predictors.items()))
        seen = predictor.in_pictures(samples[key])
    return Moment(frame.token, [(camera.name, camera.image()) for camera in frame.cameras], volumes, seen)
