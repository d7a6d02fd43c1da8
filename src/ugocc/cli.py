"""The verbs a person types. No logic of its own: each verb reads its options and calls one function."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ugocc import __version__
from ugocc.allocator import keep_freed_memory
from ugocc.calm import quieten
from ugocc.errors import DataError


@dataclass(frozen=True)
class Verb:
    """One verb of the command line."""

    run: Callable[[Sequence[str], dict[str, Any]], None]
    """Gets the words after the verb, and the parser's texts."""
    summary: str
    """One line for the list of verbs."""
    example: str
    """A line that can be typed as it is."""


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of ``ugocc``; returns the exit status (0 done, 1 bad input or an error, 2 bad command, 130
    interrupted)."""
    words = list(sys.argv[1:] if argv is None else argv)
    if words[:1] in (["--version"], ["-V"]):
        print(f"ugocc {__version__}")
        return 0
    verbs: Mapping[str, Verb | Mapping[str, Verb]] = VERBS
    name, depth = "ugocc", 0
    while True:
        word = words[depth] if depth < len(words) else "--help"
        if word in ("-h", "--help"):
            print(_overview(name, verbs))
            return 0
        entry = verbs.get(word)
        if entry is None:
            print(f"{name}: unknown verb {word!r}; one of {', '.join(verbs)}", file=sys.stderr)
            return 2
        name, depth = f"{name} {word}", depth + 1
        if isinstance(entry, Verb):
            break
        verbs = entry
    texts = {"prog": name, "description": f"{entry.summary}\n\nExample:\n  {entry.example}"}
    keep_freed_memory()
    quieten()
    try:
        entry.run(words[depth:], texts)
    except DataError as error:
        if os.environ.get("UGOCC_TRACEBACK"):
            raise
        print(f"{name}: {error}", file=sys.stderr)
        return 2 if error.where == "command line" else 1
    except Exception as error:
        if os.environ.get("UGOCC_TRACEBACK"):
            raise
        line = str(error).strip().splitlines()[:1] or ["no message"]
        print(f"{name}: {type(error).__name__}: {line[0]} (UGOCC_TRACEBACK=1 shows where)", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"\n{name}: interrupted; the same command continues where it stopped", file=sys.stderr)
        return 130
    return 0


def _overview(name: str, verbs: Mapping[str, Verb | Mapping[str, Verb]]) -> str:
    lines = [f"usage: {name} VERB [options]", "", "Camera-only 3D semantic occupancy on cars nobody labelled.", ""]
    for word, entry in verbs.items():
        inner = entry.summary if isinstance(entry, Verb) else " | ".join(entry)
        lines.append(f"  {word:<10} {inner}")
    first = next(v for v in verbs.values() if isinstance(v, Verb))
    return "\n".join([*lines, "", f"'{name} VERB --help' explains a verb. Example: {first.example}"])


def _demo(argv: Sequence[str], texts: dict[str, Any]) -> None:
    from ugocc.config import parse_settings
    from ugocc.demo import DemoSettings, run_demo

    run_demo(parse_settings(DemoSettings, argv, **texts))


def _fit(argv: Sequence[str], texts: dict[str, Any]) -> None:
    from ugocc.training.source import parse_source_recipe, train_source

    print(f"model: {train_source(parse_source_recipe(argv, **texts))}")


def _pretrain(argv: Sequence[str], texts: dict[str, Any]) -> None:
    from ugocc.training.stages import parse_adapt_recipe, pretrain_recipe, train_adapt

    print(f"model: {train_adapt(parse_adapt_recipe(argv, pretrain_recipe, **texts))}")


def _adapt(argv: Sequence[str], texts: dict[str, Any]) -> None:
    from ugocc.serving.adapt import adapt_fleet
    from ugocc.training.stages import parse_adapt_recipe

    print(f"model: {adapt_fleet(parse_adapt_recipe(argv, **texts))}")


def _ablate(argv: Sequence[str], texts: dict[str, Any]) -> None:
    from ugocc.ablation import AblationSettings, run_ablation
    from ugocc.config import parse_settings

    run_ablation(parse_settings(AblationSettings, argv, **texts))


def _reproduce(argv: Sequence[str], texts: dict[str, Any]) -> None:
    from ugocc.config import parse_settings
    from ugocc.reproduce import ReproduceSettings, reproduce

    reproduce(parse_settings(ReproduceSettings, argv, **texts))


def _test(argv: Sequence[str], texts: dict[str, Any]) -> None:
    from ugocc.config import parse_settings
    from ugocc.serving.test import TestSettings, test_fleet

    test_fleet(parse_settings(TestSettings, argv, **texts))


def _predict(argv: Sequence[str], texts: dict[str, Any]) -> None:
    from ugocc.config import parse_settings
    from ugocc.serving.predict import PredictSettings, predict_fleet

    predict_fleet(parse_settings(PredictSettings, argv, **texts))


def _export(argv: Sequence[str], texts: dict[str, Any]) -> None:
    from ugocc.config import parse_settings
    from ugocc.serving.export import ExportSettings, export_model

    export_model(parse_settings(ExportSettings, argv, **texts))


def _view(argv: Sequence[str], texts: dict[str, Any]) -> None:
    from ugocc.config import parse_settings
    from ugocc.serving.view import view
    from ugocc.viz.fleet import ViewSettings

    view(parse_settings(ViewSettings, argv, **texts))


def _score(argv: Sequence[str], texts: dict[str, Any]) -> None:
    from ugocc.config import parse_settings
    from ugocc.serving.test import ScoreSettings, score_fleet

    score_fleet(parse_settings(ScoreSettings, argv, **texts))


def _models(argv: Sequence[str], texts: dict[str, Any]) -> None:
    from ugocc.config import parse_settings
    from ugocc.serving.models import ModelsSettings, list_models

    list_models(parse_settings(ModelsSettings, argv, **texts))


def _doctor(argv: Sequence[str], texts: dict[str, Any]) -> None:
    from ugocc.config import parse_settings
    from ugocc.serving.doctor import DoctorSettings, examine

    examine(parse_settings(DoctorSettings, argv, **texts))


def _runs(argv: Sequence[str], texts: dict[str, Any]) -> None:
    from ugocc.config import parse_settings
    from ugocc.serving.runs import RunsSettings, list_runs

    list_runs(parse_settings(RunsSettings, argv, **texts))


def _bench(argv: Sequence[str], texts: dict[str, Any]) -> None:
    from ugocc.bench.program import BenchSettings, run_bench
    from ugocc.config import parse_settings

    run_bench(parse_settings(BenchSettings, argv, **texts))


def _table(argv: Sequence[str], texts: dict[str, Any]) -> None:
    from ugocc.config import parse_settings
    from ugocc.serving.tables import TableSettings, write_tables

    write_tables(parse_settings(TableSettings, argv, **texts))


def _data_render(argv: Sequence[str], texts: dict[str, Any]) -> None:
    from ugocc.config import parse_settings
    from ugocc.data.synthetic.build import RenderSettings, render_fleets

    render_fleets(parse_settings(RenderSettings, argv, **texts))


def _data_check(argv: Sequence[str], texts: dict[str, Any]) -> None:
    from ugocc.config import parse_settings
    from ugocc.data.commands import CheckSettings, check_fleet

    check_fleet(parse_settings(CheckSettings, argv, **texts))


def _data_convert(argv: Sequence[str], texts: dict[str, Any]) -> None:
    from ugocc.config import parse_settings
    from ugocc.data.commands import ConvertSettings, convert_fleet

    convert_fleet(parse_settings(ConvertSettings, argv, **texts))


def _data_segment(argv: Sequence[str], texts: dict[str, Any]) -> None:
    from ugocc.config import parse_settings
    from ugocc.data.segment import SegmentSettings, segment_fleet

    segment_fleet(parse_settings(SegmentSettings, argv, **texts))


VERBS: Mapping[str, Verb | Mapping[str, Verb]] = {
    "demo": Verb(
        _demo,
        "Render the embedded fleets, train on one, evaluate on both, write a table, pictures and a film.",
        "ugocc demo",
    ),
    "fit": Verb(
        _fit,
        "Train a model on a labelled fleet; the same command resumes it.",
        "ugocc fit --config recipes/six-flashocc-laptop.yaml --optim.steps 400 --run.folder runs/try",
    ),
    "pretrain": Verb(
        _pretrain,
        "Learn depth without labels on two fleets, and 2D semantics on the labelled one.",
        "ugocc pretrain --source.root data/embedded/six --target.root data/embedded/five --start runs/try/model",
    ),
    "adapt": Verb(
        _adapt,
        "Adapt to a fleet nobody labelled: all three stages, or the last one from --start; the same command resumes.",
        "ugocc adapt --source.root data/embedded/six --target.root data/embedded/five --run.folder runs/mine",
    ),
    "ablate": Verb(
        _ablate,
        "Switch every ingredient of the method off in turn, in both directions, with several seeds; resumable.",
        "ugocc ablate --variants '[full,oracle]' --seeds '[0]' --split val",
    ),
    "reproduce": Verb(
        _reproduce,
        "Train and score every model of the family, plain, strong and adapted, in both directions; resumable.",
        "ugocc reproduce --size laptop --plan true",
    ),
    "test": Verb(
        _test,
        "Evaluate a model on labelled frames and write results.json.",
        "ugocc test --checkpoint runs/try/model --root data/embedded/five --split val --eval map_ten_class",
    ),
    "predict": Verb(
        _predict,
        "Predict volumes for a nuScenes, Waymo or own-fleet folder; write files, pictures and films.",
        "ugocc predict --checkpoint runs/try/model --root data/embedded/five --split val --limit 5",
    ),
    "export": Verb(
        _export,
        "Write a model as ONNX or torch.export, in float32 or int8, for ONNX Runtime, OpenVINO and others.",
        "ugocc export --checkpoint runs/demo/full/model --root data/embedded/five --out runs/export",
    ),
    "view": Verb(
        _view,
        "Picture the frames of a fleet, or show them in the rerun viewer: cameras with lidar and boxes, and the label.",
        "ugocc view --root data/embedded/six --split val --limit 3",
    ),
    "score": Verb(
        _score,
        "Score a folder of <token>.npz prediction files by the same rules, without a model.",
        "ugocc score --predictions runs/predict/volumes --root data/embedded/five --split val",
    ),
    "runs": Verb(_runs, "List what was trained here, the last run first, and how far it came.", "ugocc runs"),
    "doctor": Verb(_doctor, "Check the installation, devices, disk and data folders.", "ugocc doctor"),
    "models": Verb(_models, "List the models with parameters and sizes.", "ugocc models"),
    "bench": Verb(
        _bench,
        "Measure speed and memory of networks, steps, losses, loading and evaluation beside the machine's ceilings.",
        "ugocc bench --models '[ugocc]' --sizes '[laptop]' --parts '[networks,steps]'",
    ),
    "table": Verb(_table, "Write the tables of README and docs from result files.", "ugocc table"),
    "data": {
        "render": Verb(_data_render, "Render and write the embedded fleets.", "ugocc data render --root data/embedded"),
        "check": Verb(
            _data_check,
            "Verify a fleet before anything trains: every file, calibration, pose and label.",
            "ugocc data check --root data/embedded/six --split val",
        ),
        "convert": Verb(
            _data_convert,
            "Copy any fleet into the documented own-fleet layout.",
            "ugocc data convert --root data/embedded/five --split val --out data/five-own --limit 4",
        ),
        "segment": Verb(
            _data_segment,
            "Make 2D semantic maps of a fleet's pictures with a pretrained network, as a teacher.",
            "ugocc data segment --network cityscapes.onnx --root data/embedded/five --out data/maps",
        ),
    },
}


if __name__ == "__main__":
    raise SystemExit(main())
