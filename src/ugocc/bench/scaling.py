"""How cost grows: prediction with cameras and samples, memory with samples, loading with processes."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.utils.data import DataLoader

from ugocc.bench.timing import Timing, measure
from ugocc.data.batch import Batch, collate
from ugocc.models.assemble import build_model, model_settings
from ugocc.models.cost import peak_bytes
from ugocc.models.example import example_batch

CAMERAS = (1, 2, 4, 6, 8, 12)
SAMPLES = (1, 2, 4)
PROCESSES = (1, 2)


@dataclass(frozen=True)
class Growth:
    """One point of a curve."""

    count: int
    """Cameras of a sample, or samples of a batch."""
    timing: Timing
    """Milliseconds of one prediction."""
    memory_mib: float
    """The most memory of tensors at a time (``ugocc.models.cost.peak_bytes``)."""


def with_cameras(name: str, size: str, device: torch.device, runs: int, seconds: float) -> list[Growth]:
    """Predictions of one sample of 1 to 12 cameras."""
    return _predictions(name, size, [(cameras, 1) for cameras in CAMERAS], CAMERAS, device, runs, seconds)


def with_samples(name: str, size: str, device: torch.device, runs: int, seconds: float) -> list[Growth]:
    """Predictions of batches of 1 to 4 samples of six cameras."""
    return _predictions(name, size, [(6, samples) for samples in SAMPLES], SAMPLES, device, runs, seconds)


def with_processes(folder: Path, samples: int = 24) -> dict[str, float]:
    """Samples per second that data-loading processes prepare, from an embedded fleet without a cache.

    Args:
        folder: of a fleet.
        samples: how many each count of processes loads.
    """
    from ugocc.data.dataset import FrameDataset
    from ugocc.data.source import open_fleet

    data = FrameDataset(open_fleet(folder, "train"), model_settings("flashocc", "laptop").input)
    rates = {}
    for processes in PROCESSES:
        order = [i % len(data) for i in range(samples + 4 * processes)]
        batches = iter(DataLoader(data, 1, sampler=order, num_workers=processes, collate_fn=collate))
        for _ in range(4 * processes):  # processes start
            next(batches)
        began = time.perf_counter()
        done = sum(batch.size for batch in batches)
        rates[str(processes)] = round(done / (time.perf_counter() - began), 2)
    return rates


def _predictions(
    name: str,
    size: str,
    shapes: Sequence[tuple[int, int]],
    counts: Sequence[int],
    device: torch.device,
    runs: int,
    seconds: float,
) -> list[Growth]:
    settings = model_settings(name, size)
    torch.manual_seed(0)
    model = build_model(settings).eval()
    memory = [peak_bytes(model, cameras, samples) / 2**20 for cameras, samples in shapes]
    model.to(device)
    batches = [example_batch(settings.input, cameras, samples).to(device) for cameras, samples in shapes]

    def predict(batch: Batch) -> object:
        with torch.inference_mode():
            return model(batch)

    works = {str(count): (lambda b=batch: predict(b)) for count, batch in zip(counts, batches, strict=True)}
    timings = measure(works, device, runs=runs, seconds=seconds)
    return [Growth(c, timings[str(c)], round(m, 1)) for c, m in zip(counts, memory, strict=True)]
