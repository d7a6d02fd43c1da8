"""Shared by every stage of training: seeds and schedules per step, loading, and a run that resumes where it stopped."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import torch
from lightning import LightningModule, Trainer
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning.pytorch.callbacks import Callback, LearningRateMonitor, ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from ugocc.data.batch import collate
from ugocc.devices import accelerator_of, precision_of
from ugocc.errors import DataError
from ugocc.extras import installed
from ugocc.training.order import PairOrder, StepOrder
from ugocc.training.progress import progress_callback
from ugocc.training.settings import OptimSettings, RunSettings

FINITE: Final = "finite losses (lower optim.lr, check the labels, or on a CPU leave bfloat16: run.precision 32-true)"
"""What is expected of losses, and what to do where they are not."""

TRUNK: Final = frozenset({"image_encoder", "depth_net"})
"""Modules before the lift."""


def step_seed(seed: int, step: int, rank: int = 0) -> int:
    """Seed of the random numbers of one step, a function of the step alone so that resuming changes nothing."""
    return (seed * 1_000_003 + step * 7_919 + rank * 104_729) % (2**63 - 1)


def learning_rate_factor(step: int, settings: OptimSettings) -> float:
    """Share of the highest learning rate at ``step``: linear warm-up, then cosine or 0.1 after 80 %."""
    if step < settings.warmup_steps:
        return (step + 1) / settings.warmup_steps
    if settings.decay == "step":
        return 0.1 if step >= 0.8 * settings.steps else 1.0
    progress = (step - settings.warmup_steps) / max(settings.steps - settings.warmup_steps, 1)
    return settings.final + (1 - settings.final) * 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))


def parameter_groups(model: torch.nn.Module, optim: OptimSettings) -> list[dict[str, Any]]:
    """Optimiser groups: weight decay for matrices and kernels, none for vectors (biases, normalisation); where what
    comes before the lift learns at a rate of its own, two for that, then two for the rest."""
    named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    trunk = [p for name, p in named if optim.trunk != 1 and not TRUNK.isdisjoint(name.split("."))]
    parts = [(optim.lr * optim.trunk, trunk)] if trunk else []
    early = {id(p) for p in trunk}
    parts.append((optim.lr, [p for _, p in named if id(p) not in early]))
    return [
        {"params": [p for p in part if (p.ndim > 1) == decays], "weight_decay": optim.weight_decay * decays, "lr": lr}
        for lr, part in parts
        for decays in (True, False)
    ]


def optimiser(model: torch.nn.Module, optim: OptimSettings) -> dict[str, Any]:
    """AdamW and its schedule, per step, as Lightning wants them."""
    adam = torch.optim.AdamW(parameter_groups(model, optim), lr=optim.lr, foreach=True)
    schedule = torch.optim.lr_scheduler.LambdaLR(adam, lambda step: learning_rate_factor(step, optim))
    return {"optimizer": adam, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def check_finite(terms: dict[str, Tensor], tokens: Sequence[str]) -> Tensor:
    """The sum of weighted losses.

    Raises:
        DataError: it is not finite; names the samples and every term.
    """
    total = torch.stack(list(terms.values())).sum()
    if not torch.isfinite(total):
        parts = {k: float(v) for k, v in terms.items()}
        raise DataError(", ".join(tokens), "loss", parts, FINITE)
    return total


def loader(
    data: Dataset[Any], order: Sampler[list[Any]], workers: int | None, join: Callable[[list[Any]], Any] = collate
) -> Any:
    """A data loader in the order of the steps; ``join`` makes a batch of samples."""
    if workers is None:
        workers = 2 if torch.accelerator.is_available() else 0
    return DataLoader(
        data,
        batch_sampler=order,
        collate_fn=join,
        num_workers=workers,
        persistent_workers=workers > 0,
        pin_memory=torch.cuda.is_available(),
    )


def fit(
    task: LightningModule,
    batches: Any,
    order: StepOrder | PairOrder,
    optim: OptimSettings,
    run: RunSettings,
    label: str,
    callbacks: Sequence[Callback] = (),
) -> Trainer:
    """Run Lightning to ``optim.steps``, from the last checkpoint of the run folder if there is one."""
    checkpoints = run.folder / "checkpoints"
    last = checkpoints / "last.ckpt"
    step = int(torch.load(last, map_location="cpu", weights_only=True)["global_step"]) if last.is_file() else 0
    saver = ModelCheckpoint(
        checkpoints,
        every_n_train_steps=run.checkpoint_every,
        save_last=True,
        save_top_k=0,
        enable_version_counter=False,
    )
    accelerator = accelerator_of(run.accelerator)
    trainer = Trainer(
        max_steps=optim.steps,
        accelerator=accelerator,
        devices=run.devices,
        # Not every stage has losses for every part of the network, and processes wait for each other's gradients.
        strategy="auto" if run.devices == 1 else "ddp_find_unused_parameters_true",
        precision=precision_of(run.precision, accelerator),
        gradient_clip_val=optim.clip_norm,
        callbacks=[saver, LearningRateMonitor("step"), progress_callback(label), *callbacks],
        logger=curves_logger(run, step),
        log_every_n_steps=run.log_every,
        use_distributed_sampler=False,
        enable_model_summary=False,
        enable_progress_bar=sys.stderr.isatty(),
        num_sanity_val_steps=0,
    )
    order.place(trainer.global_rank, trainer.world_size, step)
    # Lightning leaves modules in the mode they come in, and a network that was loaded comes in evaluation mode.
    task.train()
    trainer.fit(task, batches, ckpt_path=str(last) if last.is_file() else None, weights_only=True)
    return trainer


def processes(devices: int) -> tuple[int, int]:
    """Number of this process among those that train together, and how many they are.

    Processes of torchrun or SLURM know before they meet; one that starts the others itself is alone until then.

    Args:
        devices: how many are to train.
    """
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return torch.distributed.get_rank(), torch.distributed.get_world_size()
    for launcher in (TorchElasticEnvironment, SLURMEnvironment) if devices > 1 else ():
        if launcher.detect():
            return launcher().global_rank(), launcher().world_size()
    return 0, 1


def is_first() -> bool:
    """Whether this is the only process, or the first of those that train together: the one that reports.

    By the number that Lightning knows from the launcher: it tells processes apart before they have met.
    """
    return getattr(rank_zero_only, "rank", 0) == 0


def by_the_first(trainer: Trainer | None, folder: Path, work: Callable[[], object]) -> Path:
    """What is done once however many processes trained: the first does it, the others wait. Returns ``folder``.

    Args:
        trainer: what trained; None where nothing did, in the only process then.
        folder: what ``work`` writes.
        work: what is to be done.
    """
    if trainer is None:
        work()
        return folder
    trainer.strategy.barrier("trained")
    if trainer.is_global_zero:
        work()
    trainer.strategy.barrier("written")
    return folder


def curves_logger(run: RunSettings, step: int) -> Logger:
    """Writes curves to ``<run>/tensorboard``: events for TensorBoard where that is installed, else CSV.

    A start at ``step`` has a CSV file of its own, for Lightning begins such files anew.
    """
    if installed("tensorboard"):
        return TensorBoardLogger(run.folder, name="tensorboard", version="")
    return CSVLogger(run.folder, name="tensorboard", version=f"from-{step:07d}", flush_logs_every_n_steps=run.log_every)
