"""The verbs a person types: what each is for, and which function it calls."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from ugocc.training.adapt_settings import AdaptRecipe


@dataclass(frozen=True)
class Verb:
    """One verb of the command line. What it needs is imported when it runs."""

    run: str | Callable[[Sequence[str], dict[str, Any]], None]
    """``module:function``, which gets the settings; or what gets the words after the verb and the parser's texts."""
    summary: str
    """One line for the list of verbs."""
    example: str
    """A line that can be typed as it is."""
    settings: str
    """Dataclass of its options, ``module:name``."""
    resumes: bool = False
    """Whether the same command goes on where it was interrupted."""

    def __call__(self, argv: Sequence[str], texts: dict[str, Any]) -> None:
        """Run it.

        Args:
            argv: words after the verb.
            texts: the parser's program name, usage and description.
        """
        if isinstance(self.run, str):
            from ugocc.config import parse_settings

            _named(self.run)(parse_settings(_named(self.settings), argv, **texts))
        else:
            self.run(argv, texts)


def _named(name: str) -> Any:
    module, _, attribute = name.partition(":")
    return getattr(importlib.import_module(module), attribute)


def _demo(argv: Sequence[str], texts: dict[str, Any]) -> None:
    from ugocc.config import parse_settings
    from ugocc.demo import DemoSettings, run_demo
    from ugocc.last import remember

    settings = parse_settings(DemoSettings, argv, **texts)
    run_demo(settings)
    remember(settings.out)


def _fit(argv: Sequence[str], texts: dict[str, Any]) -> None:
    from ugocc.training.source import parse_source_recipe, train_source

    recipe = parse_source_recipe(argv, **texts)
    _trained(train_source(recipe), recipe.run.folder)


def _pretrain(argv: Sequence[str], texts: dict[str, Any]) -> None:
    from ugocc.config import chosen
    from ugocc.extras import require
    from ugocc.training.stages import parse_adapt_recipe, pretrain_recipe, train_adapt

    of_start = partial(pretrain_recipe, started=chosen(argv, "start", "null") != "null")
    recipe = _from_a_lasting_start(parse_adapt_recipe(argv, of_start, **texts))
    require("adaptation", "adapt")  # before fleets are opened, which may need another extra
    _trained(train_adapt(recipe), recipe.run.folder)


def _adapt(argv: Sequence[str], texts: dict[str, Any]) -> None:
    from ugocc.extras import require
    from ugocc.serving.adapt import adapt_fleet
    from ugocc.training.stages import parse_adapt_recipe

    recipe = _from_a_lasting_start(parse_adapt_recipe(argv, **texts))
    require("adaptation", "adapt")  # before fleets are opened, which may need another extra
    _trained(adapt_fleet(recipe), recipe.run.folder)


def _trained(model: Path, run: Path) -> None:
    """Say where the model is, once however many processes trained it."""
    from ugocc.last import remember
    from ugocc.training.fit import is_first

    if is_first():
        print(f"model: {model}")
        remember(run)


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
        "Render the embedded fleets, train on one, adapt to the other, evaluate on both: a table, pictures, a film.",
        "ugocc demo",
        "ugocc.demo:DemoSettings",
        resumes=True,
    ),
    "fit": Verb(
        _fit,
        "Train a model on a labelled fleet; the same command resumes it.",
        "ugocc fit --config recipes/six-flashocc-laptop.yaml --optim.steps 400 --run.folder runs/try",
        "ugocc.training.source:SourceRecipe",
        resumes=True,
    ),
    "pretrain": Verb(
        _pretrain,
        "Learn depth without labels on two fleets, and 2D semantics on the labelled one.",
        "ugocc pretrain --source.root data/embedded/six --target.root data/embedded/five --start runs/try/model",
        "ugocc.training.adapt_settings:AdaptRecipe",
        resumes=True,
    ),
    "adapt": Verb(
        _adapt,
        "Adapt to a fleet nobody labelled: all three stages, or the last one from --start; the same command resumes.",
        "ugocc adapt --source.root data/embedded/six --target.root data/embedded/five --run.folder runs/mine",
        "ugocc.training.adapt_settings:AdaptRecipe",
        resumes=True,
    ),
    "ablate": Verb(
        _ablate,
        "Switch every ingredient of the method off in turn, in both directions, with several seeds; resumable.",
        "ugocc ablate --variants '[full,oracle]' --seeds '[0]' --split val",
        "ugocc.ablation:AblationSettings",
        resumes=True,
    ),
    "reproduce": Verb(
        _reproduce,
        "Train and score every model of the family, plain, strong and adapted, in both directions; resumable.",
        "ugocc reproduce --size laptop --plan true",
        "ugocc.reproduce:ReproduceSettings",
        resumes=True,
    ),
    "test": Verb(
        "ugocc.serving.test:test_fleet",
        "Evaluate a model on labelled frames and write results.json.",
        "ugocc test --checkpoint runs/try/model --root data/embedded/five --split val --eval map_ten_class",
        "ugocc.serving.test:TestSettings",
    ),
    "predict": Verb(
        "ugocc.serving.predict:predict_fleet",
        "Predict volumes for a nuScenes, Waymo or own-fleet folder; write files, pictures and films.",
        "ugocc predict --checkpoint runs/try/model --root data/embedded/five --split val --limit 5",
        "ugocc.serving.predict:PredictSettings",
    ),
    "export": Verb(
        "ugocc.serving.export:export_model",
        "Write a model as ONNX or torch.export, in float32 or int8, for ONNX Runtime, OpenVINO and others.",
        "ugocc export --checkpoint runs/demo/full/model --root data/embedded/five --out runs/export",
        "ugocc.serving.export:ExportSettings",
    ),
    "view": Verb(
        "ugocc.serving.view:view",
        "Picture the frames of a fleet, or show them in the rerun viewer: cameras with lidar and boxes, and the label.",
        "ugocc view --root data/embedded/six --split val --limit 3",
        "ugocc.viz.fleet:ViewSettings",
    ),
    "score": Verb(
        "ugocc.serving.test:score_fleet",
        "Score a folder of <token>.npz prediction files by the same rules, without a model.",
        "ugocc score --predictions runs/predict/volumes --root data/embedded/five --split val",
        "ugocc.serving.test:ScoreSettings",
    ),
    "runs": Verb(
        "ugocc.serving.runs:list_runs",
        "List what was trained here, the last run first, and how far it came.",
        "ugocc runs",
        "ugocc.serving.runs:RunsSettings",
    ),
    "doctor": Verb(
        "ugocc.serving.doctor:examine",
        "Check the installation, devices, disk and data folders.",
        "ugocc doctor",
        "ugocc.serving.doctor:DoctorSettings",
    ),
    "models": Verb(
        "ugocc.serving.models:list_models",
        "List the models with parameters and sizes.",
        "ugocc models",
        "ugocc.serving.models:ModelsSettings",
    ),
    "bench": Verb(
        "ugocc.bench.program:run_bench",
        "Measure speed and memory of networks, steps, losses, loading and evaluation beside the machine's ceilings.",
        "ugocc bench --models '[ugocc]' --sizes '[laptop]' --parts '[networks,steps]'",
        "ugocc.bench.program:BenchSettings",
    ),
    "table": Verb(
        "ugocc.serving.tables:write_tables",
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
            "ugocc.data.synthetic.build:render_fleets",
            "Render and write the embedded fleets.",
            "ugocc data render --root data/embedded",
            "ugocc.data.synthetic.build:RenderSettings",
            resumes=True,
        ),
        "check": Verb(
            "ugocc.serving.check:check",
            "Verify a fleet before anything trains: every file, calibration, pose and label.",
            "ugocc data check --root data/embedded/six --split val",
            "ugocc.serving.check:CheckSettings",
        ),
        "convert": Verb(
            "ugocc.data.commands:convert_fleet",
            "Copy any fleet into the documented own-fleet layout.",
            "ugocc data convert --root data/embedded/five --split val --out data/five-own --limit 4",
            "ugocc.data.commands:ConvertSettings",
        ),
        "segment": Verb(
            "ugocc.data.segment:segment_fleet",
            "Make 2D semantic maps of a fleet's pictures with a pretrained network, as a teacher.",
            "ugocc data segment --network cityscapes.onnx --root data/embedded/five --out data/maps",
            "ugocc.data.segment:SegmentSettings",
            resumes=True,
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
