"""The verbs a person types. No logic of its own: each verb reads its options and calls one function."""

from __future__ import annotations

import difflib
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from ugocc import __version__
from ugocc.allocator import keep_freed_memory
from ugocc.calm import quieten
from ugocc.errors import DataError

if TYPE_CHECKING:
    from ugocc.training.adapt_settings import AdaptRecipe


@dataclass(frozen=True)
class Verb:
    """One verb of the command line."""

    run: Callable[[Sequence[str], dict[str, Any]], None]
    """Gets the words after the verb, and the parser's texts."""
    summary: str
    """One line for the list of verbs."""
    example: str
    """A line that can be typed as it is."""
    settings: str
    """Dataclass of its options, ``module:name``, for completion, which imports nothing."""


STATUS: Final = """\
Exit status: 0 done; 1 input that cannot be used, a problem found, or an error; 2 a command that is not understood;
130 interrupted with Ctrl-C."""
"""For the list of verbs."""


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of ``ugocc``; returns the exit status (see :data:`STATUS`)."""
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
            near = difflib.get_close_matches(word, verbs, n=1)
            advice = f"did you mean {near[0]!r}?" if near else f"one of {', '.join(verbs)}"
            print(f"{name}: unknown verb {word!r}; {advice}", file=sys.stderr)
            return 2
        name, depth = f"{name} {word}", depth + 1
        if isinstance(entry, Verb):
            break
        verbs = entry
    from ugocc.output import progress_to_stderr

    texts = {
        "prog": name,
        "usage": f"{name} [options]",
        "description": f"{entry.summary}\n\nExample:\n  {entry.example}",
    }
    keep_freed_memory()
    quieten()
    progress_to_stderr()
    try:
        entry.run(words[depth:], texts)
        sys.stdout.flush()
    except DataError as error:
        if os.environ.get("UGOCC_TRACEBACK"):
            raise
        print(f"{name}: {error}", file=sys.stderr)
        return 2 if error.where == "command line" else 1
    except BrokenPipeError:  # whoever read the output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
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
    lines = [f"usage: {name} VERB [options]", ""]
    if verbs is VERBS:
        lines += ["Camera-only 3D semantic occupancy on cars nobody labelled.", ""]
    groups = GROUPS if verbs is VERBS else {"Verbs": tuple(verbs)}
    for title, names in groups.items():
        lines.append(f"{title}:")
        for verb in names:
            entry = verbs[verb]
            inner = entry.summary if isinstance(entry, Verb) else " | ".join(entry)
            lines.append(f"  {verb:<10} {inner}")
        lines.append("")
    first = next(v for v in verbs.values() if isinstance(v, Verb))
    lines.append(f"'{name} VERB --help' explains a verb. Example: {first.example}")
    return "\n".join(lines if verbs is not VERBS else [*lines, "", STATUS])


def _demo(argv: Sequence[str], texts: dict[str, Any]) -> None:
    from ugocc.config import parse_settings
    from ugocc.demo import DemoSettings, run_demo
    from ugocc.last import remember

    settings = parse_settings(DemoSettings, argv, **texts)
    run_demo(settings)
    remember(settings.out)


def _fit(argv: Sequence[str], texts: dict[str, Any]) -> None:
    from ugocc.last import remember
    from ugocc.training.source import parse_source_recipe, train_source

    recipe = parse_source_recipe(argv, **texts)
    print(f"model: {train_source(recipe)}")
    remember(recipe.run.folder)


def _pretrain(argv: Sequence[str], texts: dict[str, Any]) -> None:
    from ugocc.last import remember
    from ugocc.training.stages import parse_adapt_recipe, pretrain_recipe, train_adapt

    recipe = _from_a_lasting_start(parse_adapt_recipe(argv, pretrain_recipe, **texts))
    print(f"model: {train_adapt(recipe)}")
    remember(recipe.run.folder)


def _adapt(argv: Sequence[str], texts: dict[str, Any]) -> None:
    from ugocc.last import remember
    from ugocc.serving.adapt import adapt_fleet
    from ugocc.training.stages import parse_adapt_recipe

    recipe = _from_a_lasting_start(parse_adapt_recipe(argv, **texts))
    print(f"model: {adapt_fleet(recipe)}")
    remember(recipe.run.folder)


def _from_a_lasting_start(recipe: AdaptRecipe) -> AdaptRecipe:
    from ugocc.last import lasting

    return recipe if recipe.start is None else replace(recipe, start=lasting(recipe.start))


def _ablate(argv: Sequence[str], texts: dict[str, Any]) -> None:
    from ugocc.ablation import AblationSettings, run_ablation
    from ugocc.config import parse_settings
    from ugocc.last import remember

    settings = parse_settings(AblationSettings, argv, **texts)
    run_ablation(settings)
    remember(settings.out)


def _reproduce(argv: Sequence[str], texts: dict[str, Any]) -> None:
    from ugocc.config import parse_settings
    from ugocc.last import remember
    from ugocc.reproduce import ReproduceSettings, reproduce

    settings = parse_settings(ReproduceSettings, argv, **texts)
    reproduce(settings)
    if not settings.plan:
        remember(settings.out)


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
    from ugocc.serving.check import CheckSettings, check

    check(parse_settings(CheckSettings, argv, **texts))


def _data_convert(argv: Sequence[str], texts: dict[str, Any]) -> None:
    from ugocc.config import parse_settings
    from ugocc.data.commands import ConvertSettings, convert_fleet

    convert_fleet(parse_settings(ConvertSettings, argv, **texts))


def _data_segment(argv: Sequence[str], texts: dict[str, Any]) -> None:
    from ugocc.config import parse_settings
    from ugocc.data.segment import SegmentSettings, segment_fleet

    segment_fleet(parse_settings(SegmentSettings, argv, **texts))


def _completion(argv: Sequence[str], texts: dict[str, Any]) -> None:
    from ugocc.completion import CompletionSettings, Words, completion_script, words_of
    from ugocc.config import parse_settings

    settings = parse_settings(CompletionSettings, argv, **{**texts, "usage": "ugocc completion SHELL"})
    words = {"": Words("", verbs=tuple(VERBS))}
    for name, entry in VERBS.items():
        if not isinstance(entry, Verb):
            words[name] = Words(" | ".join(entry), verbs=tuple(entry))
    words |= {" ".join(name): words_of(verb.settings, verb.summary) for name, verb in every_verb()}
    print(completion_script(settings, words), end="")


def every_verb() -> Iterator[tuple[tuple[str, ...], Verb]]:
    """All verbs by the words that name them."""
    for name, entry in VERBS.items():
        if isinstance(entry, Verb):
            yield (name,), entry
        else:
            yield from (((name, inner), verb) for inner, verb in entry.items())


VERBS: Mapping[str, Verb | Mapping[str, Verb]] = {
    "demo": Verb(
        _demo,
        "Render the embedded fleets, train on one, evaluate on both, write a table, pictures and a film.",
        "ugocc demo",
        "ugocc.demo:DemoSettings",
    ),
    "fit": Verb(
        _fit,
        "Train a model on a labelled fleet; the same command resumes it.",
        "ugocc fit --config recipes/six-flashocc-laptop.yaml --optim.steps 400 --run.folder runs/try",
        "ugocc.training.source:SourceRecipe",
    ),
    "pretrain": Verb(
        _pretrain,
        "Learn depth without labels on two fleets, and 2D semantics on the labelled one.",
        "ugocc pretrain --source.root data/embedded/six --target.root data/embedded/five --start runs/try/model",
        "ugocc.training.adapt_settings:AdaptRecipe",
    ),
    "adapt": Verb(
        _adapt,
        "Adapt to a fleet nobody labelled: all three stages, or the last one from --start; the same command resumes.",
        "ugocc adapt --source.root data/embedded/six --target.root data/embedded/five --run.folder runs/mine",
        "ugocc.training.adapt_settings:AdaptRecipe",
    ),
    "ablate": Verb(
        _ablate,
        "Switch every ingredient of the method off in turn, in both directions, with several seeds; resumable.",
        "ugocc ablate --variants '[full,oracle]' --seeds '[0]' --split val",
        "ugocc.ablation:AblationSettings",
    ),
    "reproduce": Verb(
        _reproduce,
        "Train and score every model of the family, plain, strong and adapted, in both directions; resumable.",
        "ugocc reproduce --size laptop --plan true",
        "ugocc.reproduce:ReproduceSettings",
    ),
    "test": Verb(
        _test,
        "Evaluate a model on labelled frames and write results.json.",
        "ugocc test --checkpoint runs/try/model --root data/embedded/five --split val --eval map_ten_class",
        "ugocc.serving.test:TestSettings",
    ),
    "predict": Verb(
        _predict,
        "Predict volumes for a nuScenes, Waymo or own-fleet folder; write files, pictures and films.",
        "ugocc predict --checkpoint runs/try/model --root data/embedded/five --split val --limit 5",
        "ugocc.serving.predict:PredictSettings",
    ),
    "export": Verb(
        _export,
        "Write a model as ONNX or torch.export, in float32 or int8, for ONNX Runtime, OpenVINO and others.",
        "ugocc export --checkpoint runs/demo/full/model --root data/embedded/five --out runs/export",
        "ugocc.serving.export:ExportSettings",
    ),
    "view": Verb(
        _view,
        "Picture the frames of a fleet, or show them in the rerun viewer: cameras with lidar and boxes, and the label.",
        "ugocc view --root data/embedded/six --split val --limit 3",
        "ugocc.viz.fleet:ViewSettings",
    ),
    "score": Verb(
        _score,
        "Score a folder of <token>.npz prediction files by the same rules, without a model.",
        "ugocc score --predictions runs/predict/volumes --root data/embedded/five --split val",
        "ugocc.serving.test:ScoreSettings",
    ),
    "runs": Verb(
        _runs,
        "List what was trained here, the last run first, and how far it came.",
        "ugocc runs",
        "ugocc.serving.runs:RunsSettings",
    ),
    "doctor": Verb(
        _doctor,
        "Check the installation, devices, disk and data folders.",
        "ugocc doctor",
        "ugocc.serving.doctor:DoctorSettings",
    ),
    "models": Verb(
        _models, "List the models with parameters and sizes.", "ugocc models", "ugocc.serving.models:ModelsSettings"
    ),
    "bench": Verb(
        _bench,
        "Measure speed and memory of networks, steps, losses, loading and evaluation beside the machine's ceilings.",
        "ugocc bench --models '[ugocc]' --sizes '[laptop]' --parts '[networks,steps]'",
        "ugocc.bench.program:BenchSettings",
    ),
    "table": Verb(
        _table,
        "Write the tables of README and docs from result files.",
        "ugocc table",
        "ugocc.serving.tables:TableSettings",
    ),
    "completion": Verb(
        _completion,
        "Print a script that lets bash, zsh or fish complete what you type.",
        "source <(ugocc completion bash)",
        "ugocc.completion:CompletionSettings",
    ),
    "data": {
        "render": Verb(
            _data_render,
            "Render and write the embedded fleets.",
            "ugocc data render --root data/embedded",
            "ugocc.data.synthetic.build:RenderSettings",
        ),
        "check": Verb(
            _data_check,
            "Verify a fleet before anything trains: every file, calibration, pose and label.",
            "ugocc data check --root data/embedded/six --split val",
            "ugocc.serving.check:CheckSettings",
        ),
        "convert": Verb(
            _data_convert,
            "Copy any fleet into the documented own-fleet layout.",
            "ugocc data convert --root data/embedded/five --split val --out data/five-own --limit 4",
            "ugocc.data.commands:ConvertSettings",
        ),
        "segment": Verb(
            _data_segment,
            "Make 2D semantic maps of a fleet's pictures with a pretrained network, as a teacher.",
            "ugocc data segment --network cityscapes.onnx --root data/embedded/five --out data/maps",
            "ugocc.data.segment:SegmentSettings",
        ),
    },
}

GROUPS: Final[Mapping[str, tuple[str, ...]]] = {
    "Begin": ("demo", "doctor", "models", "completion"),
    "Train": ("fit", "pretrain", "adapt", "runs"),
    "Measure": ("test", "score", "ablate", "reproduce", "bench", "table"),
    "Use": ("predict", "view", "export", "data"),
}
"""The list of verbs, by what one wants to do."""


if __name__ == "__main__":
    raise SystemExit(main())
