"""The verbs ``test`` and ``score``: models and prediction folders on labelled frames, to ``results.json``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from ugocc.data.dataset import FrameDataset
from ugocc.data.frame import FrameSource
from ugocc.data.source import labelled_part, open_fleet
from ugocc.devices import device_like
from ugocc.errors import DataError, MissingPackage, check_least
from ugocc.evaluation.evaluate import METRICS, Metric, evaluate
from ugocc.evaluation.score import score_folder
from ugocc.extras import require
from ugocc.output import check_writable, reporting
from ugocc.pretrained import find_model
from ugocc.results import Row, markdown_table, write_results, write_text
from ugocc.serving.exported import GraphPrecision, Runtime
from ugocc.serving.predictor import Predictor
from ugocc.serving.report import started_from, test_report
from ugocc.serving.statistics import use_statistics
from ugocc.training.progress import progress_callback


@dataclass(frozen=True)
class TestSettings:
    """Evaluation of a model folder on a fleet."""

    __test__ = False  # not a test of pytest's

    checkpoint: Path = Path("runs/demo/full/model")
    """Model folder, one that ``ugocc export`` wrote, the name of a model that comes with the package (laptop), or
    owner/name on the Hugging Face hub."""
    root: Path = Path("data/embedded/five")
    """Folder of the fleet: nuScenes, Waymo v2 or own-fleet layout."""
    split: str = "val"
    """Scenes to evaluate on. Choose on val, claim on test."""
    name: str | None = None
    """Name of the fleet in the results, and the one whose batch-norm statistics the model uses if it has any; by
    default the folder's."""
    eval: list[Metric | Literal["all"]] | str = "all"
    """Metrics: map_ten_class, ray_iou, plausibility, depth, or all."""
    every: int = 1
    """Take every n-th frame."""
    out: Path = Path("runs/test")
    """Folder for results.json, table.md and, if asked, predictions."""
    save_predictions: bool = False
    """Also write <out>/volumes/<token>.npz."""
    workers: int = 1
    """Data-loading processes."""
    accelerator: str = "auto"
    """cpu, cuda, mps or auto."""
    statistics: int = 0
    """Frames of the fleet that batch-norm statistics are taken of where the model has none of a fleet of this name, as
    ``ugocc predict`` does with 32; no label is read for it. 0 scores the model as it is."""
    cache: Path | None = None
    """Folder of prepared frames."""
    runtime: Runtime = "onnxruntime"
    """What runs the checkpoint if ``ugocc export`` wrote it."""
    precision: GraphPrecision = "float32"
    """Of an exported graph: bfloat16 where the runtime can."""
    before: Path | None = None
    """Model folder to compare with, such as the one before adaptation; it is scored as well."""
    report: bool = True
    """Also write <out>/report.html: charts, and volumes to turn in the browser."""
    json: bool = False
    """Print one JSON document instead of the table."""

    def __post_init__(self) -> None:
        check_least("test", 0, "a number of processes, or 0 for none beside this one", workers=self.workers)
        check_least("test", 0, "a number of frames, or 0 for none", statistics=self.statistics)


@dataclass(frozen=True)
class ScoreSettings:
    """Scoring of a prediction folder, whoever made it."""

    predictions: Path = Path("runs/predict/volumes")
    """Folder of <token>.npz files, key pred, uint8."""
    root: Path = Path("data/embedded/five")
    """Folder of the labelled fleet."""
    split: str = "val"
    """Scenes to score."""
    name: str | None = None
    """Name of the fleet in the results."""
    model: str = "predictions"
    """Name of the model in the results."""
    every: int = 1
    """Take every n-th frame, as the predictions were made."""
    out: Path = Path("runs/score")
    """Folder for results.json and table.md."""
    json: bool = False
    """Print one JSON document instead of the table."""


def test_fleet(settings: TestSettings) -> Row:
    """Evaluate, print the table, write ``results.json``, ``table.md`` and ``report.html``."""
    with reporting(settings.json) as report:
        _check_plausibility(settings.eval)
        check_writable(settings.out)
        checkpoint = find_model(settings.checkpoint)
        before = None if settings.before is None else find_model(settings.before)
        recorded = open_fleet(settings.root, settings.split, settings.name, settings.every)
        frames = _labelled(recorded)
        network = _open(settings, checkpoint, recorded)
        rows = [_evaluate(settings, network, frames)]
        compared = None if before is None else _open(settings, before, recorded)
        if compared is not None:
            earlier = _evaluate(replace(settings, save_predictions=False), compared, frames)
            alike = (earlier.model, earlier.variant) == (rows[0].model, rows[0].variant)
            # Two runs of one kind are not two seeds of it.
            rows.append(replace(earlier, variant=f"{earlier.variant} (before)") if alike else earlier)
        written = _write(settings.out, rows)
        if settings.report:
            start = started_from(network.about) if compared is None else None
            compared = compared if start is None else _open(settings, start, recorded)
            written["report"] = test_report(settings.out, rows, checkpoint, network, compared, frames)
            print(f"report: {written['report']}")
        report({"checkpoint": checkpoint, "rows": rows, **written})
    return rows[0]


test_fleet.__test__ = False  # type: ignore[attr-defined]


def score_fleet(settings: ScoreSettings) -> Row:
    """Score the files, print the table, write ``results.json`` and ``table.md``."""
    with reporting(settings.json) as report:
        _check_plausibility("all")
        check_writable(settings.out)
        frames = _labelled(open_fleet(settings.root, settings.split, settings.name, settings.every))
        row = score_folder(settings.predictions, frames, model=settings.model, split=settings.split)
        report({"predictions": settings.predictions, "rows": [row], **_write(settings.out, [row])})
    return row


def _labelled(frames: FrameSource) -> FrameSource:
    """The frames that can be scored; says how many those are where not all have a label."""
    part = labelled_part(frames)
    if len(part) < len(frames):
        print(f"{len(part)} of {len(frames)} frames of {frames.fleet} have a label", file=sys.stderr)
    return part


def chosen_metrics(names: Sequence[str] | str) -> tuple[Metric, ...]:
    """Metrics by name, in a list or with commas between them; ``all`` is every one.

    Raises:
        DataError: no metric of that name.
    """
    wanted = _names(names)
    for name in wanted:
        if name not in (*METRICS, "all"):
            raise DataError("test", "eval", name, f"all, or one or more of {', '.join(METRICS)}")
    return METRICS if "all" in wanted else tuple(m for m in METRICS if m in wanted)


def _names(names: Sequence[str] | str) -> list[str]:
    return [name.strip() for name in names.split(",")] if isinstance(names, str) else list(names)


def _check_plausibility(names: Sequence[str] | str) -> None:
    """Say before anything is measured that plausibility needs scipy; without it, ``all`` is all but that."""
    if "plausibility" in chosen_metrics(names):
        try:
            require("plausibility", "adapt")
        except MissingPackage as error:
            if "all" not in _names(names):
                raise
            print(f"left out: {error}", file=sys.stderr)


def _open(settings: TestSettings, checkpoint: Path, frames: FrameSource) -> Predictor:
    """The network as it is scored and shown, with the statistics that were asked for, which its variant names."""
    device = device_like(settings.accelerator)
    predictor = Predictor.from_pretrained(checkpoint, device, frames.fleet, settings.runtime, settings.precision)
    statistics = use_statistics(predictor, frames, settings.statistics)
    if statistics.frames:
        variant = f"{predictor.about.get('variant', 'unknown')}, statistics {statistics.words}"
        predictor.about = {**predictor.about, "variant": variant}
    return predictor


def _evaluate(settings: TestSettings, predictor: Predictor, frames: FrameSource) -> Row:
    data = FrameDataset(frames, predictor.model.settings.input, cache=settings.cache)
    data.check()
    row = evaluate(
        predictor.model,
        data,
        predictor.about,
        split=settings.split,
        metrics=chosen_metrics(settings.eval),
        predictions=settings.out / "volumes" if settings.save_predictions else None,
        workers=settings.workers,
        accelerator=settings.accelerator,
        callbacks=[progress_callback(f"test on {frames.fleet}")],
    )
    predictor.model.to(predictor.device)  # evaluation leaves it on the CPU
    return row


def _write(out: Path, rows: list[Row]) -> dict[str, Path]:
    """Write and print the table; returns the files by what they are."""
    written = {"results": write_results(out / "results.json", rows), "table": out / "table.md"}
    table = markdown_table(rows)
    write_text(written["table"], table)
    print(table)
    print(f"results: {written['results']}")
    return written
