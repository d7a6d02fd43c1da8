"""The verb ``predict``: volumes, pictures and films of a folder of recordings."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, groupby, islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ugocc.data.batch import Batch
from ugocc.data.frame import Frame, FrameSource
from ugocc.data.occupancy import label_on_grid
from ugocc.data.source import open_fleet
from ugocc.errors import check_least
from ugocc.evaluation.files import write_prediction
from ugocc.labels import UNKNOWN
from ugocc.output import check_writable, reporting
from ugocc.pretrained import find_model
from ugocc.progress import follow
from ugocc.serving.exported import GraphPrecision, Runtime
from ugocc.serving.predictor import PredictedVolume, Predictor
from ugocc.serving.record import keep_apart
from ugocc.serving.statistics import statistics_on, use_statistics
from ugocc.viz.canvas import write_picture
from ugocc.viz.film import check_film, film_name, of_one_size, write_film
from ugocc.viz.pictures import SEEN, prediction_picture


@dataclass(frozen=True)
class PredictSettings:
    """Prediction of a folder of recordings."""

    checkpoint: Path = Path("laptop")
    """Model folder, one that ``ugocc export`` wrote, the name of a model that comes with the package (laptop), or
    owner/name on the Hugging Face hub."""
    root: Path = Path("data/embedded/five")
    """Folder of the recordings: nuScenes, Waymo v2 or own-fleet layout; labels are not needed."""
    split: str = "train"
    """Scenes to predict."""
    name: str | None = None
    """Name of the fleet in titles, and the one whose batch-norm statistics the model uses if it has any; by default the
    folder's."""
    out: Path = Path("runs/predict")
    """Folder for volumes/<token>.npz, pictures/<token>.png, films, and predict.json, which says what made them;
    volumes of another model or fleet do not stay beside them."""
    limit: int = 0
    """Predict only the first frames; 0 predicts all."""
    pictures: bool = True
    """Draw a picture of every frame: the cameras beside the volume, and the truth where there is one."""
    film: str = "gif"
    """Film of every scene: mp4 (needs the extra film), gif, webp (both thinned beyond 200 pictures), or none."""
    every: int = 1
    """Take every n-th frame."""
    statistics: int = 32
    """Frames of the recordings that batch-norm statistics are taken of where the model has none of a fleet of this
    name; no labels are needed for it. 0 keeps those it came with, as an exported graph does."""
    device: str | None = None
    """cpu, cuda or mps; by default cuda where there is one, else cpu."""
    runtime: Runtime = "onnxruntime"
    """What runs the checkpoint if ``ugocc export`` wrote it."""
    precision: GraphPrecision = "float32"
    """Of an exported graph: bfloat16 where the runtime can."""
    json: bool = False
    """Print one JSON document, which names what was written, instead of a line."""

    def __post_init__(self) -> None:
        check_least("predict", 0, "a number of frames, or 0 for all", limit=self.limit)
        check_least("predict", 0, "a number of frames, or 0 for none", statistics=self.statistics)


def predict_fleet(settings: PredictSettings) -> None:
    """Write volumes and pictures of every frame, and a film of every scene."""
    with reporting(settings.json) as report:
        if settings.film != "none":
            check_film(settings.out / f"film.{settings.film}")
        check_writable(settings.out)
        checkpoint = find_model(settings.checkpoint)
        frames = open_fleet(settings.root, settings.split, settings.name, settings.every)
        predictor = Predictor.from_pretrained(
            checkpoint, settings.device, frames.fleet, settings.runtime, settings.precision
        )
        count = min(settings.limit or len(frames), len(frames))
        keep_apart(settings.out, _made_by(settings, checkpoint, predictor, frames), frames.tokens[:count])
        use_statistics(predictor, frames, settings.statistics)
        chosen = follow(islice(iter(frames), count), f"predict {frames.fleet}", count)
        written: dict[str, list[Path]] = {"volumes": [], "pictures": [], "films": []}
        for scene, moments in groupby(chosen, key=lambda frame: frame.scene):
            pictures = _predict_scene(predictor, moments, settings, written)
            if settings.film == "none":
                deque(pictures, maxlen=0)
                continue
            begun = list(islice(pictures, 2))
            if len(begun) == 2:
                film = settings.out / f"{film_name(scene)}.{settings.film}"
                written["films"].append(write_film(of_one_size(chain(begun, pictures)), film, fps=4))
        about = {"checkpoint": checkpoint, "fleet": frames.fleet, "split": settings.split, "frames": count}
        report({**about, "out": settings.out, **written}, f"{count} frames of {frames.fleet}: {settings.out}")


def _made_by(
    settings: PredictSettings, checkpoint: Path, predictor: Predictor, frames: FrameSource
) -> dict[str, str | int]:
    """What decides the volumes of a folder, for its record."""
    statistics = statistics_on(predictor, frames, settings.statistics)
    taken = f" ({settings.split}, every {settings.every})" if statistics.frames else ""
    return {
        "checkpoint": str(checkpoint),
        "weights_sha256": predictor.about.get("weights_sha256", ""),
        "runtime": predictor.about.get("runtime", "PyTorch"),
        "fleet": frames.fleet,
        "statistics": statistics.words + taken,
        "split": settings.split,
        "every": settings.every,
    }


def _predict_scene(
    predictor: Predictor, moments: Iterator[Frame], settings: PredictSettings, written: dict[str, list[Path]]
) -> Iterator[NDArray[np.uint8]]:
    for frame in moments:
        sample = predictor.sample(frame)
        predicted = predictor.predict(sample)
        volume = write_prediction(settings.out / "volumes", frame.token, predicted.classes, predicted.grid)
        written["volumes"].append(volume)
        if settings.pictures or settings.film != "none":
            picture = picture_of(frame, predicted, predictor, sample)
            if settings.pictures:
                written["pictures"].append(write_picture(settings.out / "pictures" / f"{frame.token}.png", picture))
            yield picture


def picture_of(frame: Frame, predicted: PredictedVolume, predictor: Predictor, sample: Batch) -> NDArray[np.uint8]:
    """The cameras of a frame beside what they see of the predicted volume, and the truth where the frame has one.

    Args:
        frame: the frame.
        predicted: what the network says about it.
        predictor: the network.
        sample: what the predictor made of the frame.
    """
    truth = None
    if frame.occupancy is not None:
        label = label_on_grid(frame.occupancy(), frame.occupancy_grid, predicted.grid)
        truth, mask = label.semantics, label.camera_mask & (label.semantics != UNKNOWN)
    else:
        mask = predictor.in_pictures(sample)
    images = [(camera.name, camera.image()) for camera in frame.cameras]
    title = f"{frame.fleet}  {frame.scene}"
    return prediction_picture(images, predicted.classes, truth, predicted.grid, title, SEEN, mask)
