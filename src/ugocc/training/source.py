"""Stage 1: training on a labelled fleet alone (METHOD sections 3 and 7)."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from lightning import LightningModule, Trainer, seed_everything
from lightning.pytorch.callbacks import LearningRateMonitor, ModelCheckpoint
from lightning.pytorch.loggers import TensorBoardLogger
from torch import Tensor
from torch.utils.data import DataLoader

from ugocc.config import chosen, parse_settings, plain
from ugocc.data.batch import Batch, collate
from ugocc.data.dataset import FrameDataset
from ugocc.data.source import open_fleet
from ugocc.data.transforms import AugmentSettings
from ugocc.errors import DataError
from ugocc.losses.depth import DepthLossSettings, depth_loss
from ugocc.losses.occupancy import OccupancyLossSettings, occupancy_loss
from ugocc.models.assemble import build_model, model_settings
from ugocc.models.settings import ModelSettings
from ugocc.training.checkpoint import save_model
from ugocc.training.order import StepOrder
from ugocc.training.progress import progress_callback


@dataclass(frozen=True)
class FleetSettings:
    """Where a fleet lies and which part of it is used."""

    root: Path = Path("data/embedded/six")
    """Folder of the fleet: nuScenes tables, Waymo v2 Parquet, or an own-fleet manifest."""
    name: str | None = None
    """Name in results; by default the folder's."""
    split: str = "train"
    """Scenes to use."""
    every: int = 1
    """Take every n-th frame."""


@dataclass(frozen=True)
class OptimSettings:
    """AdamW with linear warm-up and cosine or step decay (METHOD section 7)."""

    steps: int = 100_000
    """Optimisation steps of the whole run."""
    batch_size: int = 1
    """Samples per process and step."""
    lr: float = 1e-4
    """Highest learning rate."""
    weight_decay: float = 1e-2
    """Decoupled weight decay of matrices and kernels; biases and normalisation have none."""
    warmup_steps: int = 200
    """Steps of linear warm-up."""
    decay: Literal["cosine", "step"] = "step"
    """Cosine to zero, or times 0.1 at 80 % of the steps."""
    clip_norm: float = 5.0
    """Largest gradient norm."""


@dataclass(frozen=True)
class RunSettings:
    """How and where a run executes."""

    folder: Path = Path("runs/source")
    """Everything the run writes; the same folder resumes it."""
    seed: int = 0
    """Decides initial weights, order of samples, augmentation and noise."""
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = "bf16-mixed"
    """Lightning's precision flag."""
    accelerator: str = "auto"
    """cpu, cuda, mps or auto."""
    devices: int = 1
    """Processes, one per device."""
    workers: int = 1
    """Data-loading processes per training process."""
    cache: Path | None = Path("data/cache")
    """Folder of prepared frames; null reads and resizes anew each time."""
    checkpoint_every: int = 200
    """Steps between checkpoints to resume from."""
    log_every: int = 20
    """Steps between points of the TensorBoard curves."""


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
    optim: OptimSettings = field(default_factory=OptimSettings)
    """Optimiser and schedule."""
    run: RunSettings = field(default_factory=RunSettings)
    """Where and how it runs."""


def parse_source_recipe(argv: Sequence[str], **kwargs: Any) -> SourceRecipe:
    """A recipe from command-line words; ``model.name`` and ``model.size`` decide the network's defaults."""
    recipe = source_recipe(chosen(argv, "model.name", "flashocc"), chosen(argv, "model.size", "laptop"))
    return parse_settings(SourceRecipe, argv, plain(recipe), **kwargs)


def source_recipe(name: str, size: str) -> SourceRecipe:
    """The defaults of a model: METHOD's for the full size, those of a short training from random weights below it.

    In a few thousand steps without pretrained weights the cross-entropy learns faster than the focal loss, and every
    change of the images costs more depth accuracy than it gains.
    """
    model = model_settings(name, size)
    if size == "full":
        return SourceRecipe(model=model)
    still = AugmentSettings(scale=(0.0, 0.0), rotation_degrees=0.0, flip=0.0, bev_flip_x=0.0, bev_flip_y=0.0)
    losses = OccupancyLossSettings(focal=0.0, cross_entropy=3.0, semantic_scale=0.2, geometric_scale=0.2, lovasz=1.0)
    optim = OptimSettings(steps=2400, lr=2e-3, decay="cosine")
    return SourceRecipe(model=model, augment=still, occupancy_loss=losses, optim=optim)


def step_seed(seed: int, step: int, rank: int = 0) -> int:
    """Seed of the random numbers of one step, a function of the step alone so that resuming changes nothing."""
    return (seed * 1_000_003 + step * 7_919 + rank * 104_729) % (2**63 - 1)


def learning_rate_factor(step: int, settings: OptimSettings) -> float:
    """Share of the highest learning rate at ``step``: linear warm-up, then cosine to 0 or 0.1 after 80 %."""
    if step < settings.warmup_steps:
        return (step + 1) / settings.warmup_steps
    if settings.decay == "step":
        return 0.1 if step >= 0.8 * settings.steps else 1.0
    progress = (step - settings.warmup_steps) / max(settings.steps - settings.warmup_steps, 1)
    return 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))


def parameter_groups(model: torch.nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Optimiser groups: weight decay for matrices and kernels, none for vectors (biases, normalisation)."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    return [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]


class SourceTraining(LightningModule):
    """One network on one labelled fleet: occupancy losses and lidar depth."""

    def __init__(self, recipe: SourceRecipe) -> None:
        super().__init__()
        self.recipe = recipe
        self.model = build_model(recipe.model, pretrained=True)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Sum of the losses of one batch."""
        torch.manual_seed(step_seed(self.recipe.run.seed, self.global_step, self.global_rank))
        prediction = self.model(batch)
        terms = occupancy_loss(prediction.occupancy, batch, self.recipe.occupancy_loss)
        terms["depth"] = depth_loss(prediction, batch, self.recipe.depth_loss)
        total = torch.stack(list(terms.values())).sum()
        if not torch.isfinite(total):
            parts = {k: float(v) for k, v in terms.items()}
            raise DataError(
                ", ".join(batch.tokens), "loss", parts, "finite losses (lower optim.lr, or check the labels)"
            )
        self.log("loss", total.detach(), batch_size=batch.size)
        self.log_dict({f"loss/{k}": v.detach() for k, v in terms.items()}, batch_size=batch.size)
        return total

    def configure_optimizers(self) -> Any:
        """AdamW and its schedule, per step."""
        optim = self.recipe.optim
        optimizer = torch.optim.AdamW(parameter_groups(self.model, optim.weight_decay), lr=optim.lr, foreach=True)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: learning_rate_factor(step, optim))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, dataloader_idx: int) -> Batch:
        """Batches move themselves."""
        return batch.to(device)


def train_source(recipe: SourceRecipe) -> Path:
    """Train, or resume where the run folder stopped, and return the folder of the finished model.

    Writes ``<run>/checkpoints/last.ckpt`` (to resume), ``<run>/tensorboard`` and ``<run>/model``.

    Raises:
        DataError: unusable data or a run folder of another recipe, before training starts.
    """
    run = recipe.run
    finished = run.folder / "model"
    check_same_recipe(recipe, run.folder)
    if (finished / "model.json").is_file():
        return finished
    seed_everything(run.seed, workers=True, verbose=False)
    frames = open_fleet(recipe.source.root, recipe.source.split, recipe.source.name, recipe.source.every)
    data = FrameDataset(frames, recipe.model.input, recipe.augment, cache=run.cache, seed=run.seed)
    data.check()
    task = SourceTraining(recipe)
    order = StepOrder(len(data), recipe.optim.batch_size, run.seed)
    began = time.monotonic()
    trainer = fit(task, loader(data, order, run.workers), order, recipe.optim, run, label=f"train on {frames.fleet}")
    about = {
        "variant": recipe.variant,
        "train_fleet": frames.fleet,
        "target_supervision": "none",
        "recipe": plain(recipe),
        "steps": trainer.global_step,
        "train_seconds": round(time.monotonic() - began, 1),
    }
    return save_model(finished, task.model, about)


def loader(data: FrameDataset, order: StepOrder, workers: int) -> DataLoader[Batch]:
    """Batches in the order of the steps."""
    return DataLoader(
        data,
        batch_sampler=order,
        collate_fn=collate,
        num_workers=workers,
        persistent_workers=workers > 0,
        pin_memory=torch.cuda.is_available(),
    )


def fit(
    task: LightningModule,
    batches: DataLoader[Batch],
    order: StepOrder,
    optim: OptimSettings,
    run: RunSettings,
    label: str,
) -> Trainer:
    """Run Lightning to ``optim.steps``, from the last checkpoint of the run folder if there is one."""
    checkpoints = run.folder / "checkpoints"
    last = checkpoints / "last.ckpt"
    saver = ModelCheckpoint(
        checkpoints,
        every_n_train_steps=run.checkpoint_every,
        save_last=True,
        save_top_k=0,
        enable_version_counter=False,
    )
    trainer = Trainer(
        max_steps=optim.steps,
        accelerator=run.accelerator,
        devices=run.devices,
        precision=run.precision,
        gradient_clip_val=optim.clip_norm,
        callbacks=[saver, LearningRateMonitor("step"), progress_callback(label)],
        logger=TensorBoardLogger(run.folder, name="tensorboard", version=""),
        log_every_n_steps=run.log_every,
        use_distributed_sampler=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )
    order.rank, order.world = trainer.global_rank, trainer.world_size
    if last.is_file():
        order.start_at(int(torch.load(last, map_location="cpu", weights_only=True)["global_step"]))
    trainer.fit(task, batches, ckpt_path=str(last) if last.is_file() else None, weights_only=True)
    return trainer


def check_same_recipe(recipe: Any, folder: Path) -> None:
    """Record the recipe in a new run folder; refuse one that holds a run of another recipe.

    Raises:
        DataError: naming the first setting that differs.
    """
    import yaml

    path = folder / "recipe.yaml"
    now = {k: v for k, v in plain(recipe).items() if k != "run"} | {"seed": recipe.run.seed}
    if path.is_file():
        then = yaml.safe_load(path.read_text(encoding="utf-8"))
        for key, old, new in _differences(then, now):
            raise DataError(path, key, f"{old} there, {new} now", "the same recipe, or another run.folder")
        return
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(now, sort_keys=False), encoding="utf-8")


def _differences(a: Any, b: Any, prefix: str = "") -> list[tuple[str, Any, Any]]:
    if isinstance(a, dict) and isinstance(b, dict):
        keys = list(a | b)
        return [d for k in keys for d in _differences(a.get(k), b.get(k), f"{prefix}.{k}" if prefix else k)]
    return [] if a == b else [(prefix, a, b)]
