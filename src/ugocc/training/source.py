"""Stage 1: training on a labelled fleet alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from lightning import LightningModule, seed_everything
from torch import Tensor

from ugocc.config import chosen, parse_settings, plain
from ugocc.data.batch import Batch
from ugocc.data.dataset import FrameDataset
from ugocc.data.source import open_fleet
from ugocc.data.transforms import AugmentSettings
from ugocc.geometry.grid import VoxelGrid
from ugocc.labels import UNKNOWN
from ugocc.losses.depth import DepthLossSettings, depth_loss
from ugocc.losses.occupancy import OccupancyLossSettings, occupancy_loss
from ugocc.losses.seen_labels import seen_labels
from ugocc.losses.semantics import SemanticLossSettings, downsample_labels, semantic_loss
from ugocc.models.assemble import build_model, model_settings
from ugocc.models.prediction import Prediction
from ugocc.models.settings import ModelSettings
from ugocc.provenance import code_digest
from ugocc.training.checkpoint import save_model
from ugocc.training.fit import by_the_first, check_finite, fit, loader, optimiser, step_seed
from ugocc.training.order import StepOrder
from ugocc.training.progress import Stopwatch
from ugocc.training.run_folder import check_same_recipe, is_finished, record_recipe
from ugocc.training.settings import FleetSettings, OptimSettings, RunSettings


@dataclass(frozen=True)
class SourceRecipe:
    """Source-only training."""

    variant: str = "source-only"
    """Name of the variant in results."""
    model: ModelSettings = field(default_factory=ModelSettings)
    """The network; name and size choose the defaults of the rest, see :func:`source_recipe`."""
    source: FleetSettings = field(default_factory=FleetSettings)
    """The labelled fleet."""
    augment: AugmentSettings = field(default_factory=AugmentSettings)
    """Changes of the training images."""
    occupancy_loss: OccupancyLossSettings = field(default_factory=OccupancyLossSettings)
    """Occupancy losses."""
    depth_loss: DepthLossSettings = field(default_factory=DepthLossSettings)
    """Lidar depth loss."""
    semantic_loss: SemanticLossSettings = field(default_factory=SemanticLossSettings)
    """2D semantics, for models that predict them and fleets that have the labels."""
    optim: OptimSettings = field(default_factory=OptimSettings)
    """Optimiser and schedule."""
    run: RunSettings = field(default_factory=RunSettings)
    """Where and how it runs."""


def parse_source_recipe(argv: Sequence[str], **kwargs: Any) -> SourceRecipe:
    """A recipe from command-line words; ``model.name`` and ``model.size`` decide the network's defaults."""
    recipe = source_recipe(chosen(argv, "model.name", "flashocc"), chosen(argv, "model.size", "laptop"))
    return parse_settings(SourceRecipe, argv, plain(recipe), **kwargs)


def source_recipe(name: str, size: str) -> SourceRecipe:
    """The defaults of a model: the published ones for the full size, those of a short training from nothing below it.

    In a few thousand steps without pretrained weights the cross-entropy learns faster than the focal loss, and every
    change of the images costs more depth accuracy than it gains.
    """
    model = model_settings(name, size)
    if size == "full":
        return SourceRecipe(model=model, optim=OptimSettings(lr=1e-4 if model.volume is None else 5e-5))
    still = AugmentSettings(scale=(0.0, 0.0), rotation_degrees=0.0, flip=0.0, bev_flip_x=0.0, bev_flip_y=0.0)
    losses = OccupancyLossSettings(focal=0.0, cross_entropy=3.0, semantic_scale=0.2, geometric_scale=0.2, lovasz=1.0)
    optim = OptimSettings(steps=2400, lr=2e-3, decay="cosine")
    return SourceRecipe(model=model, augment=still, occupancy_loss=losses, optim=optim)


class SourceTraining(LightningModule):
    """One network on one labelled fleet: occupancy losses and lidar depth."""

    def __init__(self, recipe: SourceRecipe) -> None:
        super().__init__()
        self.recipe = recipe
        self.model = build_model(recipe.model, pretrained=True)
        self.model.recompute = recipe.run.recompute

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Sum of the losses of one batch."""
        torch.manual_seed(step_seed(self.recipe.run.seed, self.global_step, self.global_rank))
        recipe = self.recipe
        losses = (recipe.occupancy_loss, recipe.depth_loss, recipe.semantic_loss)
        terms = supervised_losses(self.model(batch), batch, *losses, recipe.model.input.grid)
        total = check_finite(terms, batch.tokens)
        self.log("loss", total.detach(), batch_size=batch.size)
        self.log_dict({f"loss/{k}": v.detach() for k, v in terms.items()}, batch_size=batch.size)
        return total

    def configure_optimizers(self) -> Any:
        """AdamW and its schedule, per step."""
        return optimiser(self.model, self.recipe.optim)

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, dataloader_idx: int) -> Batch:
        """Batches move themselves."""
        return batch.to(device)


def supervised_losses(
    prediction: Prediction,
    batch: Batch,
    occupancy: OccupancyLossSettings,
    depth: DepthLossSettings,
    semantics: SemanticLossSettings,
    grid: VoxelGrid,
) -> dict[str, Tensor]:
    """Weighted losses of a prediction against the labels and lidar of a batch, by name.

    The 2D semantics of samples without 2D labels learn what is seen of the volumes.
    """
    terms = occupancy_loss(prediction.occupancy, batch, occupancy)
    if prediction.depth_logits is not None:
        terms["depth"] = depth_loss(prediction, batch, depth)
    if prediction.semantics_2d is not None and semantics.weight:
        size = (prediction.semantics_2d.shape[-2], prediction.semantics_2d.shape[-1])
        labels = downsample_labels(batch.semantics_2d, size, semantics.downsample)
        bare = (labels == UNKNOWN).flatten(1).all(dim=1)
        if bare.any():
            labels = torch.where(bare[:, None, None, None], seen_labels(batch, size, grid), labels)
        terms["semantics"] = semantic_loss(prediction.semantics_2d, labels, semantics)
    return terms


def train_source(recipe: SourceRecipe) -> Path:
    """Train, or resume where the run folder stopped, and return the folder of the finished model.

    Writes ``<run>/checkpoints/last.ckpt`` (to resume), ``<run>/tensorboard`` and ``<run>/model``.

    Raises:
        DataError: unusable data, or a run folder of another recipe or other recordings, before training starts.
    """
    run = recipe.run.settled()
    recipe = replace(recipe, run=run)
    finished = run.folder / "model"
    frames = open_fleet(recipe.source.root, recipe.source.split, recipe.source.name, recipe.source.every)
    check_same_recipe(recipe, run.folder, {"source": frames})
    if is_finished(finished):
        return finished
    seed_everything(run.seed, workers=True, verbose=False)
    data = FrameDataset(frames, recipe.model.input, recipe.augment, cache=run.cache, seed=run.seed)
    data.check()
    record_recipe(recipe, run.folder, {"source": frames})
    task = SourceTraining(recipe)
    order = StepOrder(len(data), recipe.optim.batch_size, run.seed)
    label, watch = f"train on {frames.fleet}", Stopwatch()
    trainer = fit(task, loader(data, order, run.workers), order, recipe.optim, run, label, [watch])
    about = {
        "variant": recipe.variant,
        "train_fleet": frames.fleet,
        "labels_of": [frames.fleet],
        "target_supervision": "none",
        "seed": run.seed,
        "recipe": plain(recipe),
        "steps": trainer.global_step,
        "train_seconds": round(watch.seconds, 1),
        "code": code_digest("supervised"),
    }
    return by_the_first(trainer, finished, lambda: save_model(finished, task.model, about))
