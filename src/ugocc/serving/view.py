"""The verb ``view``: pictures of a fleet, or its frames in the rerun viewer beside what a network says of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from ugocc.data.frame import Frame, FrameSource
from ugocc.data.source import open_fleet
from ugocc.errors import DataError
from ugocc.evaluation.files import read_prediction
from ugocc.extras import require
from ugocc.progress import follow
from ugocc.viz.fleet import ViewSettings, view_fleet

if TYPE_CHECKING:
    from ugocc.viz.viewer.entities import Predicted

Predict = Callable[[Frame], "Predicted | None"]
"""What a network says about a frame, or None where it says nothing."""


def view(settings: ViewSettings) -> None:
    """Write pictures, or a recording for the rerun viewer.

    Raises:
        DataError: options that contradict each other, no rerun, a folder of predictions without one of these frames, or
            what the fleet, the model and the viewer raise.
    """
    _check(settings)
    if settings.rerun is None:
        view_fleet(settings)
        return
    require("--rerun", "rerun", "rerun.blueprint")
    frames = open_fleet(settings.root, settings.split, settings.name, settings.every)
    count = min(settings.limit or len(frames), len(frames))
    predict = _predictions(settings, frames, frames.tokens[:count])
    predicted = record(settings, settings.rerun, frames, count, predict)
    said = f", {predicted} with a prediction" if settings.predictions or settings.checkpoint else ""
    print(f"{count} of {len(frames)} frames of {frames.fleet} ({settings.split}){said}: {settings.rerun}")


def record(settings: ViewSettings, target: str, frames: FrameSource, count: int, predict: Predict) -> int:
    """Log the first frames of a fleet. Returns how many have a prediction.

    Args:
        settings: what to show of each.
        target: a file .rrd, ``live``, or the address of a viewer.
        frames: the fleet.
        count: of frames.
        predict: what a network says about each.
    """
    from ugocc.viz.viewer import paths
    from ugocc.viz.viewer.entities import entities_of
    from ugocc.viz.viewer.layout import layout, log_once
    from ugocc.viz.viewer.recording import log_moment, open_recording

    known: set[str] = set()
    scene, origin, predicted = None, None, 0
    with open_recording(target, f"{frames.fleet} {settings.split}") as recording:
        log_once(recording)
        for number, frame in enumerate(follow(islice(iter(frames), count), f"view {frames.fleet}", total=count)):
            if origin is None or frame.scene != scene:
                scene, origin = frame.scene, frame.world_T_ego[:3, 3]
            said = predict(frame)
            entities = entities_of(frame, settings, origin, said)
            if number == 0:
                volumes = [paths.TRUTH] if frame.occupancy else []
                if settings.predictions or settings.checkpoint:
                    volumes.append(paths.PREDICTION)
                recording.send_blueprint(layout([camera.name for camera in frame.cameras], volumes, list(entities)))
            log_moment(recording, entities, number, frame.timestamp_us, known)
            predicted += said is not None
    return predicted


def _check(settings: ViewSettings) -> None:
    target = settings.rerun
    if target is None:
        for option in ("predictions", "checkpoint"):
            if getattr(settings, option) is not None:
                expected = "--rerun live or --rerun FILE.rrd as well; pictures are drawn by ugocc predict"
                raise DataError("command line", option, getattr(settings, option), expected)
        _refuse(settings, "--rerun live or --rerun FILE.rrd as well", "width", "device", "statistics")
        return
    if target != "live" and "://" not in target and Path(target).suffix != ".rrd":
        raise DataError("command line", "rerun", target, "live, a file that ends in .rrd, or the address of a viewer")
    if settings.film != "none":
        raise DataError("command line", "film", settings.film, "none: with --rerun there are no pictures")
    if settings.predictions is not None and settings.checkpoint is not None:
        raise DataError("command line", "checkpoint", settings.checkpoint, "predictions or a checkpoint, not both")
    _refuse(settings, "--rerun FILE.rrd alone: it says where the recording goes", "out")
    if settings.checkpoint is None:
        _refuse(settings, "--checkpoint as well", "device", "statistics")


def _refuse(settings: ViewSettings, expected: str, *options: str) -> None:
    """Refuse options that would have no effect where they are not at their defaults."""
    for option in options:
        if getattr(settings, option) != getattr(ViewSettings, option):
            raise DataError("command line", option, getattr(settings, option), expected)


def _predictions(settings: ViewSettings, frames: FrameSource, tokens: Sequence[str]) -> Predict:
    if settings.checkpoint is not None:
        return _of_model(settings.checkpoint, settings.device, frames, settings.statistics)
    if settings.predictions is not None:
        return _of_files(settings.predictions, tokens)
    return lambda frame: None


def _of_model(checkpoint: Path, device: str | None, frames: FrameSource, statistics: int) -> Predict:
    from ugocc.serving.predictor import Predictor
    from ugocc.serving.statistics import use_statistics
    from ugocc.viz.viewer.entities import Predicted

    predictor = Predictor.from_pretrained(checkpoint, device, frames.fleet)
    use_statistics(predictor, frames, statistics)

    def predict(frame: Frame) -> Predicted:
        volume = predictor(frame)
        return Predicted(volume.classes, volume.grid, volume.depth, predictor.model.settings.input)

    return predict


def _of_files(folder: Path, tokens: Sequence[str]) -> Predict:
    from ugocc.viz.viewer.entities import Predicted

    if not any((folder / f"{token}.npz").is_file() for token in tokens):
        found = "none of these frames" if folder.is_dir() else "no such folder"
        raise DataError(folder, "predictions", found, f"<token>.npz files such as {tokens[0] if tokens else ''}.npz")

    def predict(frame: Frame) -> Predicted | None:
        path = folder / f"{frame.token}.npz"
        return Predicted(*read_prediction(path)) if path.is_file() else None

    return predict
