"""Every ingredient of the method, switched off one at a time: the ablation as a resumable command.

Runs live in ``<out>/<source>-<target>/seed-<n>/<variant>``, each with its result file; stages that variants have in
common, and plain trainings that directions have in common, are trained once. A run that is finished is not repeated,
and one that was interrupted goes on.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from ugocc.config import plain
from ugocc.data.dataset import FrameDataset
from ugocc.data.source import open_fleet
from ugocc.errors import DataError
from ugocc.evaluation.evaluate import evaluate
from ugocc.extras import require
from ugocc.models.assemble import model_settings
from ugocc.output import reporting
from ugocc.provenance import check_provenance, code_digest, data_digest
from ugocc.results import VARIANTS, Row, markdown_table, read_results, write_results, write_text
from ugocc.serving.tables import order
from ugocc.training.adapt_settings import AdaptRecipe
from ugocc.training.chain import adapt_after, source_alone
from ugocc.training.checkpoint import load_model, read_card
from ugocc.training.progress import progress_callback
from ugocc.training.settings import FleetSettings, RunSettings
from ugocc.training.source import SourceRecipe, source_recipe, train_source
from ugocc.training.stages import adapt_recipe, source_stage, train_adapt

PLAIN: Final = ("source-only", "oracle")
"""Variants that are plain trainings on one fleet's labels."""


@dataclass(frozen=True)
class AblationSettings:
    """The ablation."""

    fleets: Path = Path("data/embedded")
    """Folder of the fleets; every fleet of ``directions`` is a folder in it."""
    directions: tuple[str, ...] = ("six-five", "five-six")
    """Labelled and unlabelled fleet, joined by a hyphen."""
    variants: tuple[str, ...] = VARIANTS
    """Which variants."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Seeds of the trainings."""
    model: str = "ugocc"
    """Name of the network; a peer shows that adaptation is a property of the method."""
    size: str = "laptop"
    """Size of the network."""
    split: str = "test"
    """Scenes that are reported: test for claims, val while choosing."""
    out: Path = Path("runs/ablation")
    """Folder for runs."""
    publish: Path | None = None
    """Folder that result files are copied to, to be committed: tables are made from them."""
    cache: Path = Path("data/cache")
    """Folder of prepared frames."""
    steps: tuple[int, int, int] | None = None
    """Steps of the three stages; by default the recipe's."""
    json: bool = False
    """Print one JSON document instead of the table."""


def run_ablation(settings: AblationSettings) -> list[Row]:
    """Train and evaluate what is missing, print the table, write it. Returns the rows.

    Raises:
        DataError: unknown names, or models or results in ``out`` that other code or data made.
    """
    with reporting(settings.json) as report:
        check_names(settings)
        names = {name for direction in settings.directions for name in direction.split("-")}
        data = {name: data_digest(settings.fleets / name) for name in sorted(names)}
        check_provenance(settings.out, {code_digest("supervised"), code_digest("adapted")}, data)
        rows: list[Row] = []
        jobs = [(s, d, v) for s in settings.seeds for d in settings.directions for v in settings.variants]
        for number, (seed, direction, variant) in enumerate(jobs, start=1):
            print(f"[{number}/{len(jobs)}] {variant}, {direction}, seed {seed}", flush=True)
            rows += run_variant(settings, direction, variant, seed)
        rows.sort(key=order)
        written = {"results": settings.out / "results.json", "table": settings.out / "table.md"}
        write_results(written["results"], rows, plain(settings))
        table = markdown_table(rows)
        write_text(written["table"], table)
        report({"rows": rows, **written}, f"\n{table}\nresults: {written['results']}")
    return rows


def check_names(settings: AblationSettings) -> None:
    """Fail before anything is trained.

    Raises:
        DataError: an unknown variant, or a direction that does not name two fleets that are there.
        MissingPackage: scipy, for adaptation and plausibility.
    """
    require("adaptation", "adapt")
    for variant in settings.variants:
        if variant not in VARIANTS:
            raise DataError("ablation", "variants", variant, f"one of {', '.join(VARIANTS)}")
    for direction in settings.directions:
        names = direction.split("-")
        if len(names) != 2 or names[0] == names[1] or not all((settings.fleets / n).is_dir() for n in names):
            raise DataError("ablation", "directions", direction, f"SOURCE-TARGET, two fleets in {settings.fleets}")
        for name in names:
            open_fleet(settings.fleets / name, settings.split)


def run_variant(settings: AblationSettings, direction: str, variant: str, seed: int) -> list[Row]:
    """Train a variant unless it is trained, and evaluate it on target and source unless that is done."""
    source, target = direction.split("-")
    model = train_variant(settings, direction, variant, seed)
    card = read_card(model)
    path = result_file(settings, direction, variant, seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    stamp = path.with_suffix(".sha256")
    if not (path.is_file() and stamp.is_file() and stamp.read_text(encoding="utf-8") == card["weights_sha256"]):
        rows = [replace(_evaluate(settings, model, fleet), variant=variant) for fleet in (target, source)]
        data = {name: data_digest(settings.fleets / name) for name in (source, target)}
        code = code_digest("supervised" if variant in PLAIN else "adapted")
        write_results(path, rows, card["recipe"], data, code)
        write_text(stamp, card["weights_sha256"])
    if settings.publish is not None:
        copy = settings.publish / direction / f"{file_name(variant)}-seed-{seed}.json"
        copy.parent.mkdir(parents=True, exist_ok=True)
        write_text(copy, path.read_text(encoding="utf-8"))
    return read_results(path)


def result_file(settings: AblationSettings, direction: str, variant: str, seed: int) -> Path:
    """Where the result of a variant is written."""
    return settings.out / direction / f"seed-{seed}" / file_name(variant) / f"{settings.split}.json"


def model_folder(settings: AblationSettings, direction: str, variant: str, seed: int) -> Path:
    """Where the model of a variant is once it is trained."""
    if variant in PLAIN:
        source, target = direction.split("-")
        return plain_run(settings, target if variant == "oracle" else source, seed) / "model"
    return settings.out / direction / f"seed-{seed}" / file_name(variant) / "model"


def plain_run(settings: AblationSettings, fleet: str, seed: int) -> Path:
    """Run folder of plain training on a fleet: the oracle of one direction is the source-only model of the other."""
    return settings.out / "plain" / fleet / f"seed-{seed}"


def file_name(variant: str) -> str:
    """A variant's name as that of a file."""
    return variant.replace("+", "plus").replace(" ", "-")


def base_recipe(settings: AblationSettings, direction: str, seed: int, folder: Path) -> AdaptRecipe:
    """The full method in a direction."""
    source, target = direction.split("-")
    recipe = adapt_recipe(settings.model, settings.size)
    if settings.steps is not None:
        first, second, third = settings.steps
        recipe = replace(
            recipe,
            earlier=replace(recipe.earlier, source_steps=first, pretrain_steps=second),
            optim=replace(recipe.optim, steps=third),
        )
    return replace(
        recipe,
        source=FleetSettings(settings.fleets / source),
        target=FleetSettings(settings.fleets / target),
        run=RunSettings(folder, seed=seed, cache=settings.cache),
    )


def variant_recipe(full: AdaptRecipe, variant: str) -> AdaptRecipe:
    """The full method with what the variant's name says changed."""
    silent = replace(full.adversary, weight=0.0)
    alone = replace(full.earlier, pretrain_steps=0)
    asis = replace(full.rig_transfer, share=0.0)
    only = source_stage(full).weights
    depth = replace(full.weights, pseudo_labels=0.0, rendering=0.0, semantics=0.0)
    changes: dict[str, dict[str, Any]] = {
        "+ self-supervised depth": {"weights": depth, "adversary": silent},
        "+ adversarial": {"weights": depth},
        "+ pseudo-labels": {"weights": replace(depth, pseudo_labels=full.weights.pseudo_labels)},
        "full": {},
        "without rig transfer": {"rig_transfer": asis},
        "without depth": {
            "earlier": alone,
            "weights": replace(full.weights, photometric_target=0.0, photometric_source=0.0),
            "rendering": replace(full.rendering, depth_weight=0.0),
        },
        "without semantics": {
            "model": replace(full.model, semantic_attention=None),
            "weights": replace(full.weights, semantics=0.0),
            "rendering": replace(full.rendering, semantic_weight=0.0),
        },
        "without adversarial": {"adversary": silent},
        "without pseudo-labels": {"weights": replace(full.weights, pseudo_labels=0.0)},
        "without voting": {"voting": replace(full.voting, rounds=0)},
        "without rendering": {"weights": replace(full.weights, rendering=0.0)},
        "pseudo-labels only": {
            "earlier": alone,
            "rig_transfer": asis,
            "weights": replace(only, pseudo_labels=full.weights.pseudo_labels),
            "adversary": silent,
            "agreement": False,
            "voting": replace(full.voting, rounds=0),
        },
    }
    return replace(full, variant=variant, **changes[variant])


def train_variant(settings: AblationSettings, direction: str, variant: str, seed: int) -> Path:
    """Train a variant unless it is trained; returns its model folder."""
    source, target = direction.split("-")
    folder = settings.out / direction / f"seed-{seed}"
    own = folder / file_name(variant)
    full = base_recipe(settings, direction, seed, folder)
    if variant == "source-only":
        return train_source(_plain(settings, full, source))
    if variant == "oracle":
        return train_source(_plain(settings, full, target))
    if variant == "strong source-only":
        asis = replace(full, rig_transfer=replace(full.rig_transfer, share=0.0))
        asis = replace(asis, augment=replace(asis.augment, bev_turn=0.0, bev_shift=0.0, bev_scale=0.0))
        return train_adapt(source_alone(asis, own))
    if variant == "rig-transfer source-only":
        return train_adapt(source_alone(full, own))
    recipe = variant_recipe(replace(full, run=replace(full.run, folder=own)), variant)
    # Variants of one network and one way to see the source share the stages before.
    name = "stages" if recipe.rig_transfer.share else "stages-as-recorded"
    return adapt_after(recipe, folder / (name if recipe.model == full.model else f"{name}-{own.name}"))


def _plain(settings: AblationSettings, full: AdaptRecipe, fleet: str) -> SourceRecipe:
    """Plain training on one fleet's labels: no colour jitter, no canonical geometry, the fleet's own statistics.

    As many steps as all stages of the full method. What is the oracle of one direction is the source-only model of the
    other, so both share a run.
    """
    recipe = source_recipe(settings.model, settings.size)
    network = model_settings(settings.model, settings.size)
    if network.depth_net is not None:
        network = replace(network, depth_net=replace(network.depth_net, canonical=False, camera_noise=0.0))
    steps = full.earlier.source_steps + full.earlier.pretrain_steps + full.optim.steps
    return replace(
        recipe,
        model=network,
        source=FleetSettings(settings.fleets / fleet),
        optim=replace(recipe.optim, steps=steps),
        run=replace(full.run, folder=plain_run(settings, fleet, full.run.seed)),
    )


def _evaluate(settings: AblationSettings, model: Path, fleet: str) -> Row:
    network, about = load_model(model, fleet)
    frames = open_fleet(settings.fleets / fleet, settings.split, fleet)
    data = FrameDataset(frames, network.settings.input, cache=settings.cache)
    callbacks = [progress_callback(f"evaluate on {fleet}")]
    return evaluate(network, data, about, split=settings.split, callbacks=callbacks)
