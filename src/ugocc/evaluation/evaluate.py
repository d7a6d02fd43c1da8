"""Evaluation of a network on a fleet: one pass, all metrics, one row of results."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any, Literal, Protocol

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from torch.utils.data import DataLoader

from ugocc.data.batch import Batch, collate
from ugocc.data.dataset import FrameDataset
from ugocc.data.frame import FrameSource
from ugocc.devices import accelerator_of
from ugocc.errors import DataError
from ugocc.evaluation.depth import DepthMetrics
from ugocc.evaluation.files import write_prediction
from ugocc.evaluation.origins import SceneOrigins
from ugocc.evaluation.volumes import VOLUME_METRICS, VolumeMetric, VolumeScores
from ugocc.labels import UNKNOWN
from ugocc.models.assemble import OccupancyModel
from ugocc.models.cost import peak_bytes
from ugocc.models.prediction import Prediction
from ugocc.models.settings import ModelSettings
from ugocc.results import Row, hardware

Metric = VolumeMetric | Literal["depth"]
METRICS: tuple[Metric, ...] = (*VOLUME_METRICS, "depth")


class Network(Protocol):
    """What predicts: a network of ours, or a graph that was exported from one."""

    settings: ModelSettings

    def __call__(self, batch: Batch) -> Prediction:
        """Predict every sample of a batch."""
        ...


class Evaluation(LightningModule):
    """Feeds the predictions of a network to the metrics, and to files if asked."""

    def __init__(
        self, model: Network, frames: FrameSource, metrics: Sequence[Metric], predictions: Path | None
    ) -> None:
        super().__init__()
        self.model = model
        grid = model.settings.input.grid
        self.predictions = predictions
        self.volumes = VolumeScores(grid, metrics)
        self.origins = SceneOrigins(frames, grid)
        self.seconds: list[float] = []
        """Of every prediction."""
        self.depth = DepthMetrics() if "depth" in metrics and model.settings.depth_net is not None else None

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """Predict one batch and update every metric."""
        if not (batch.occupancy != UNKNOWN).any():
            raise DataError(", ".join(batch.tokens), "occupancy", "no label", "labelled frames to evaluate on")
        began = self._now()
        prediction = self.model(batch)
        self.seconds.append(self._now() - began)
        classes = prediction.occupancy.argmax(dim=1)
        origins = [self.origins[token] for token in batch.tokens]
        self.volumes.update(classes, batch.occupancy, batch.camera_visible, origins)
        if self.depth is not None:
            self.depth.update(prediction.expected_depth(), batch.depth)
        if self.predictions is not None:
            for token, volume in zip(batch.tokens, classes.to(torch.uint8).cpu().numpy(), strict=True):
                write_prediction(self.predictions, token, volume, self.model.settings.input.grid)

    def _now(self) -> float:
        """The time when all that was asked of the device is done."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        elif self.device.type == "mps":
            torch.mps.synchronize()
        return time.perf_counter()

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, dataloader_idx: int) -> Batch:
        """Batches move themselves."""
        return batch.to(device)


def evaluate(
    model: Network,
    data: FrameDataset,
    about: dict[str, Any],
    *,
    split: str,
    metrics: Sequence[Metric] = METRICS,
    predictions: Path | None = None,
    workers: int = 1,
    accelerator: str = "auto",
    callbacks: Sequence[Callback] = (),
) -> Row:
    """Evaluate ``model`` on the labelled frames of ``data``.

    Args:
        model: the network.
        data: frames, without augmentation.
        about: the model's card: variant, train_fleet, recipe, train_seconds.
        split: name of the split, for the row.
        metrics: which ones; ``map_ten_class`` is always computed, depth if the network predicts any.
        predictions: folder for ``<token>.npz`` files, or None.
        workers: data-loading processes.
        accelerator: cpu, cuda, mps or auto (``ugocc.devices``).
        callbacks: Lightning callbacks, such as the progress display.

    Raises:
        DataError: no frames, or one without an occupancy label.
    """
    if not len(data):
        raise DataError(data.source.fleet, "frames", "none", f"labelled frames of the split {split}")
    task = Evaluation(model, data.source, metrics, predictions)
    batches = DataLoader(data, batch_size=1, collate_fn=collate, num_workers=workers)
    trainer = Trainer(
        accelerator=accelerator_of(accelerator),
        devices=1,
        logger=False,
        callbacks=list(callbacks),
        enable_progress_bar=any("ProgressBar" in type(c).__name__ for c in callbacks),
        enable_model_summary=False,
        enable_checkpointing=False,
    )
    began = time.monotonic()
    trainer.test(task, batches, verbose=False)
    seconds = round(time.monotonic() - began, 1)
    inputs, cameras = model.settings.input, len(data.frame(0).cameras)
    return Row(
        model=f"{model.settings.name}-{model.settings.size}",
        variant=about.get("variant", "unknown"),
        train_fleet=about.get("train_fleet", "unknown"),
        eval_fleet=data.source.fleet,
        split=split,
        seed=about.get("seed", 0),
        seconds=seconds,
        depth={k: round(v, 4) for k, v in task.depth.compute().items()} if task.depth and task.depth.images else {},
        frames=len(data),
        train_seconds=about.get("train_seconds", 0.0),
        backbone=model.settings.image_encoder.backbone,
        images=[cameras, inputs.height, inputs.width],
        steps=about.get("steps_with_earlier_stages", about.get("steps", 0)),
        weights_sha256=about.get("weights_sha256", ""),
        latency_ms=round(1000 * median(task.seconds), 1),
        memory_mib=round(peak_bytes(model.cpu(), cameras) / 2**20, 1) if isinstance(model, OccupancyModel) else 0.0,
        hardware=f"{hardware(trainer.strategy.root_device)}, {about.get('runtime', 'float32')}",
        **task.volumes.numbers(),
    )
