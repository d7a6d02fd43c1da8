"""Running a stage of adaptation: from a recipe to the folder of a finished model, resumable at any point."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from lightning import Trainer, seed_everything
from lightning.pytorch.callbacks import Callback

from ugocc.adaptation.label_free import label_free_scores
from ugocc.adaptation.pseudo_labels import PseudoLabelSettings
from ugocc.adaptation.reversal import AdversarySettings
from ugocc.adaptation.rig import rig_of_frame
from ugocc.adaptation.selection import SelectionSettings
from ugocc.adaptation.teacher import TeacherSettings, norm_statistics, remembering
from ugocc.adaptation.transferred import RigTransferSettings, TransferredDataset
from ugocc.config import chosen, parse_settings, plain
from ugocc.data.batch import Batch
from ugocc.data.dataset import FrameDataset
from ugocc.data.frame import FrameSource
from ugocc.data.source import open_fleet
from ugocc.data.teacher_maps import with_teacher_maps
from ugocc.errors import DataError
from ugocc.extras import require
from ugocc.last import lasting
from ugocc.models.assemble import MODELS, OccupancyModel, adaptable, build_model, model_settings
from ugocc.models.camera_vector import camera_vector
from ugocc.models.cameras import real_cameras
from ugocc.models.depth_net import CameraNorm
from ugocc.models.settings import ModelSettings
from ugocc.progress import follow
from ugocc.training.adapt import Adaptation
from ugocc.training.adapt_settings import AdaptRecipe, ChoiceSettings, EarlierStages, TargetWeights
from ugocc.training.checkpoint import CARD, load_model, load_tensors, read_card, save_model, save_weights
from ugocc.training.fit import by_the_first, fit, is_first, loader, processes
from ugocc.training.moments import MomentDataset, PairDataset, join_pairs
from ugocc.training.order import PairOrder, StepOrder
from ugocc.training.progress import Stopwatch
from ugocc.training.run_folder import check_same_recipe, is_finished, record_recipe
from ugocc.training.settings import FleetSettings, OptimSettings, RunSettings
from ugocc.training.source import source_recipe
from ugocc.training.statistics import estimate_statistics, spaced
from ugocc.training.votes import Fleets, VoteAgain


def train_adapt(recipe: AdaptRecipe) -> Path:
    """Adapt, or resume where the run folder stopped, and return the folder of the chosen model.

    Writes ``<run>/checkpoints/last.ckpt`` (to resume), ``<run>/candidates`` (teachers to choose from),
    ``<run>/tensorboard`` and ``<run>/model``.

    Raises:
        DataError: unusable data, a start that does not fit, or a run folder of another recipe or other recordings,
            before training starts.
    """
    run = recipe.run.settled()
    recipe = replace(recipe, run=run)
    finished = run.folder / "model"
    seed_everything(run.seed, workers=True, verbose=False)
    labelled, drives = _open(recipe.source), _open(recipe.target)
    model, about = _starting_model(recipe, drives.fleet)
    check_adapts(recipe, model.settings)
    recordings = {"source": labelled, "target": drives}
    check_same_recipe(recipe, run.folder, recordings)
    if is_finished(finished):
        return finished
    seed_everything(run.seed, workers=True, verbose=False)  # again, whatever building the model has drawn
    inputs = model.settings.input
    source = FrameDataset(labelled, inputs, recipe.augment, cache=run.cache, seed=run.seed)
    if recipe.teacher_maps is not None:
        drives = with_teacher_maps(drives, recipe.teacher_maps)
    target = FrameDataset(drives, inputs, cache=run.cache, seed=run.seed, fleet_id=1, labelled=False)
    source.check()
    target.check()
    if source.source.fleet == target.source.fleet:
        raise DataError(recipe.target.root, "target.name", target.source.fleet, "another name than the source's")
    record_recipe(recipe, run.folder, recordings)
    clean_source = FrameDataset(source.source, inputs, cache=run.cache, labelled=False)
    watch = Stopwatch()
    trainer = None
    if recipe.optim.steps:
        taught = recipe.teacher
        if about.get("target_fleet") == target.source.fleet:
            taught = remembering(taught, recipe.optim.steps)
        trainer = _train(Adaptation(model, replace(recipe, teacher=taught)), source, target, clean_source, watch)
        # Training hands it back on the CPU; statistics and scores are faster where it was trained.
        model.to(trainer.strategy.root_device)

    def finish() -> None:
        report = choose(model, recipe, target)
        statistics = {}
        for data in (clean_source, target):  # the target last, for its statistics are those the network is saved with
            estimate_statistics(model, data, recipe.choice.statistics_frames)
            statistics[data.source.fleet] = norm_statistics(model)
        labels_of = {source.source.fleet, *fleets_taught(about)}
        steps = recipe.optim.steps + about.get("steps_with_earlier_stages", about.get("steps", 0))
        card = {
            "variant": recipe.variant,
            "train_fleet": source.source.fleet,
            "labels_of": sorted(labels_of),
            "target_fleet": target.source.fleet,
            "target_supervision": "none" if recipe.teacher_maps is None else f"2D maps of {recipe.teacher_maps}",
            "seed": run.seed,
            "recipe": plain(recipe),
            "steps": recipe.optim.steps,
            "steps_with_earlier_stages": steps,
            "train_seconds": round(watch.seconds + about.get("train_seconds", 0.0), 1),
            "choice": report,
        }
        save_model(finished, model, card, {source.source.fleet: statistics[source.source.fleet]})

    return by_the_first(trainer, finished, finish)


def check_adapts(recipe: AdaptRecipe, network: ModelSettings) -> None:
    """Fail before any stage is trained if a network without depth is to learn from the target, or scipy is missing.

    Raises:
        DataError: it is.
    """
    require("adaptation", "adapt")
    if recipe.learns_from_target and network.depth_net is None:
        names = ", ".join(name for name in MODELS if model_settings(name, "debug").depth_net is not None)
        raise DataError("recipe", "model", network.name, f"a network that predicts depth, to adapt it: {names}")


def _starting_model(recipe: AdaptRecipe, fleet: str) -> tuple[OccupancyModel, dict[str, Any]]:
    """The network to adapt to a fleet of this name, and what its card says."""
    if recipe.start is None:
        return build_model(recipe.model, pretrained=True), {}
    card = read_card(recipe.start)
    if fleet in fleets_taught(card):
        raise DataError(recipe.start, "labels_of", ", ".join(fleets_taught(card)), f"no labels of {fleet}")
    model, about = load_model(recipe.start)
    return model, about


def fleets_taught(card: Mapping[str, Any]) -> list[str]:
    """Fleets whose labels a model has learned from, in all of its stages; of an old card that of the last stage."""
    fleets = card.get("labels_of", [card.get("train_fleet")])
    return [str(fleet) for fleet in fleets if fleet is not None]


def _open(fleet: FleetSettings) -> FrameSource:
    return open_fleet(fleet.root, fleet.split, fleet.name, fleet.every)


def _train(
    task: Adaptation, source: FrameDataset, target: FrameDataset, clean_source: FrameDataset, watch: Stopwatch
) -> Trainer:
    """Train on pairs of samples of both fleets; returns what did it."""
    recipe, run = task.recipe, task.recipe.run
    rigs = [
        rig_of_frame(target.frame(i), source.settings.height, source.settings.width) for i in spaced(len(target), 20)
    ]
    transferred = TransferredDataset(source, rigs, recipe.rig_transfer)
    size = recipe.optim.batch_size
    of_source = StepOrder(len(source), size, run.seed)
    if recipe.rig_transfer.share and source.cache is not None:
        what = f"re-render {source.source.fleet} for the rig of {target.source.fleet}"
        part = processes(run.devices)
        workers = (os.cpu_count() or 1) // (run.devices if part[1] > 1 else 1)
        making = transferred.fill(of_source.visits(recipe.optim.steps, run.devices), max(1, workers), part)
        for _ in follow(making, what) if is_first() else making:
            pass
    if recipe.start is None:
        know_cameras(task.model, (transferred[i, 0] for i in spaced(len(source), 40)))
        task.teacher.load_state_dict(task.model.state_dict())
    around = recipe.looks_around
    recorded = source
    if recipe.recorded is not None and recipe.rig_transfer.share:
        recorded = FrameDataset(source.source, source.settings, recipe.recorded, cache=run.cache, seed=run.seed)
    of_recorded = MomentDataset(recorded, around if recipe.weights.photometric_source else ())
    pairs = PairDataset(transferred, MomentDataset(target, around), of_recorded)
    order = PairOrder(of_source, StepOrder(len(target), size, run.seed + 1))
    what = f"{recipe.variant}: {source.source.fleet} to {target.source.fleet}"
    callbacks: list[Callback] = [watch, KeepCandidates(run.folder / "candidates", recipe.choice.candidates)]
    if recipe.weights.pseudo_labels and recipe.voting.rounds:
        fleets, count = Fleets(clean_source, target), recipe.choice.statistics_frames
        callbacks.append(VoteAgain(run.folder / "voted", fleets, recipe.voting, recipe.evidence, count))
    return fit(task, loader(pairs, order, run.workers, join_pairs), order, recipe.optim, run, what, callbacks)


@torch.no_grad()
def know_cameras(model: OccupancyModel, samples: Iterable[Batch]) -> None:
    """Give the normalisation of camera vectors, which adaptation does not change, the statistics of these samples."""
    depth_net = model.settings.depth_net
    if depth_net is None:
        return
    canonical = depth_net.canonical
    vectors = torch.cat([camera_vector(real_cameras(sample), canonical) for sample in samples])
    variance, mean = torch.var_mean(vectors, dim=0)
    for module in model.modules():
        if isinstance(module, CameraNorm):
            # A number that never varies has no scale of its own.
            spread = torch.where(variance > 1e-8, variance, 1.0)
            module.load_state_dict({"running_mean": mean, "running_var": spread}, strict=False)


class KeepCandidates(Callback):
    """Writes the teacher's weights at evenly spaced steps."""

    def __init__(self, folder: Path, count: int) -> None:
        self.folder, self.count = folder, count

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Keep the teacher if this is one of the steps."""
        step, last = trainer.global_step, trainer.max_steps
        if trainer.is_global_zero and step in candidate_steps(last, self.count):
            save_weights(self.folder / f"{step:07d}.safetensors", pl_module.teacher)


def candidate_steps(steps: int, count: int) -> list[int]:
    """Up to ``count`` steps, evenly spaced, the last one included."""
    return sorted({round(steps * (i + 1) / count) for i in range(count)} - {0})


def choose(model: OccupancyModel, recipe: AdaptRecipe, target: FrameDataset) -> dict[str, Any]:
    """Load the last candidate into ``model``, or one with a clearly better label-free score; says how all scored."""
    files = sorted((recipe.run.folder / "candidates").glob("*.safetensors"))
    scored: list[dict[str, Any]] = []
    combined: list[float] = []
    for file in follow(files, "question the candidates") if len(files) > 1 else []:
        model.load_state_dict(load_tensors(file))
        estimate_statistics(model, target, recipe.choice.statistics_frames)
        scores = label_free_scores(model, target, spaced(len(target), recipe.choice.frames))
        combined.append(scores.combined)
        scored.append({"step": int(file.stem), **scores.numbers()})
        print(f"label-free score of step {int(file.stem)}: {scores.combined:.4f}", flush=True)
    if not files:
        return {}
    best = best_candidate(combined, recipe.choice.margin) if combined else len(files) - 1
    model.load_state_dict(load_tensors(files[best]))
    return {"step": int(files[best].stem), "candidates": scored}


def best_candidate(scores: Sequence[float], margin: float) -> int:
    """Index of the last score, or of the best one if that is higher by more than ``margin``.

    Scores of one model differ by less than their noise, and the last one has had its learning rate lowered.
    """
    best = max(range(len(scores)), key=lambda i: scores[i])
    return best if scores[best] > scores[-1] + margin else len(scores) - 1


def adapt_recipe(name: str, size: str) -> AdaptRecipe:
    """The defaults of all stages for a model: the published ones for the full size, those of a short training below it.

    Any network that lifts can be adapted; what it is given for it is depth for any camera.
    """
    stage_one = source_recipe(name, size)
    model = adaptable(stage_one.model)
    augment = replace(stage_one.augment, bev_turn=10.0, bev_shift=3.0, bev_scale=0.15)
    # Recorded samples of the source are shown as plain training shows them.
    recipe = AdaptRecipe(
        model=model, augment=augment, recorded=stage_one.augment, occupancy_loss=stage_one.occupancy_loss
    )
    if size == "full":
        return replace(recipe, optim=replace(stage_one.optim, steps=20_000, lr=2e-5, trunk=0.1))
    return replace(
        recipe,
        augment=replace(augment, colour=0.3, crop=0.15, scale=(-0.1, 0.15)),
        rig_transfer=RigTransferSettings(share=1.0, beside=True, samples=2, random=2, bev_flip=0.5),
        earlier=EarlierStages(1800, 100),
        weights=replace(recipe.weights, pseudo_labels=0.5, semantics=0.5, photometric_source=0.0),
        adversary=AdversarySettings(weight=0.05),
        teacher=TeacherSettings(start=0.37),
        pseudo_labels=PseudoLabelSettings(SelectionSettings(soft=True, keep_share=0.9)),
        optim=OptimSettings(steps=500, lr=5e-4, warmup_steps=20, decay="cosine"),
    )


def source_stage(recipe: AdaptRecipe) -> AdaptRecipe:
    """What of a recipe concerns the source, and nothing that is learned from the target's images.

    All the rest is left at its defaults, so that adaptations that differ there share this stage.
    """
    return AdaptRecipe(
        variant="rig-transfer source-only" if recipe.rig_transfer.share else "strong source-only",
        model=recipe.model,
        source=recipe.source,
        target=recipe.target,
        augment=recipe.augment,
        recorded=recipe.recorded,
        rig_transfer=recipe.rig_transfer,
        occupancy_loss=recipe.occupancy_loss,
        depth_loss=recipe.depth_loss,
        semantic_loss=recipe.semantic_loss,
        weights=TargetWeights(
            pseudo_labels=0.0, rendering=0.0, semantics=0.0, photometric_target=0.0, photometric_source=0.0
        ),
        adversary=AdversarySettings(weight=0.0),
        choice=ChoiceSettings(candidates=1),
        run=recipe.run,
    )


def pretrain_recipe(name: str, size: str, started: bool = False) -> AdaptRecipe:
    """The defaults of stage 2: self-supervised depth on both fleets, lidar depth and 2D semantics on the source.

    It is the adaptation step without pseudo-labels and adversary, and without occupancy losses unless it is ``started``
    from a model: what that has learned of volumes is kept in mind.
    """
    recipe = adapt_recipe(name, size)
    none = replace(
        recipe.occupancy_loss, focal=0.0, cross_entropy=0.0, semantic_scale=0.0, geometric_scale=0.0, lovasz=0.0
    )
    optim = replace(recipe.optim, steps=100)
    if size == "full":
        optim = replace(optim, steps=30_000, lr=3e-5, trunk=1.0)
    return replace(
        recipe,
        variant="pretrained",
        occupancy_loss=recipe.occupancy_loss if started else none,
        weights=replace(recipe.weights, pseudo_labels=0.0, rendering=0.0, semantics=0.0, photometric_source=1.0),
        adversary=replace(recipe.adversary, weight=0.0),
        teacher=TeacherSettings(),
        choice=replace(recipe.choice, candidates=1),
        optim=optim,
        run=RunSettings(Path("runs/pretrain")),
    )


def parse_adapt_recipe(
    argv: Sequence[str], defaults: Callable[[str, str], AdaptRecipe] = adapt_recipe, **kwargs: Any
) -> AdaptRecipe:
    """A recipe from command-line words; ``model.name`` and ``model.size``, or those of ``start``, decide the defaults
    of the rest."""
    start = lasting(Path(chosen(argv, "start", "null")))
    network = read_card(start).get("model", {}) if (start / CARD).is_file() else {}
    name, size = network.get("name", "ugocc"), network.get("size", "laptop")
    recipe = defaults(chosen(argv, "model.name", name), chosen(argv, "model.size", size))
    return parse_settings(AdaptRecipe, argv, plain(recipe), **kwargs)
