"""Medians with spread: things to be compared take turns, so that a slow minute of the machine slows all of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch

Work = Callable[[], object]


@dataclass(frozen=True)
class Timing:
    """Milliseconds of one piece of work."""

    median: float
    """Half of the runs took less."""
    low: float
    """A tenth of the runs took less."""
    high: float
    """A tenth of the runs took more."""
    runs: int
    """How often it ran."""


def measure(
    works: Mapping[str, Work], device: torch.device, *, runs: int = 20, warm: int = 2, seconds: float = 20.0
) -> dict[str, Timing]:
    """Time every piece of work, in turns.

    Args:
        works: what to run, by name.
        device: waited for before the clock is read.
        runs: rounds that count.
        warm: rounds before them.
        seconds: no further round begins after so long, once three count.
    """
    taken: dict[str, list[float]] = {name: [] for name in works}
    began = time.perf_counter()
    for turn in range(-warm, runs):
        if turn >= 3 and time.perf_counter() - began > seconds:
            break
        for name, work in works.items():
            wait_for(device)
            start = time.perf_counter()
            work()
            wait_for(device)
            if turn >= 0:
                taken[name].append(1000 * (time.perf_counter() - start))
    return {name: timing_of(values) for name, values in taken.items()}


def timing_of(milliseconds: list[float]) -> Timing:
    """Median and spread of the times of some runs."""
    low, median, high = (round(float(v), 3) for v in np.quantile(milliseconds, [0.1, 0.5, 0.9]))
    return Timing(median, low, high, len(milliseconds))


def wait_for(device: torch.device) -> None:
    """Return when all that was asked of the device is done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()
