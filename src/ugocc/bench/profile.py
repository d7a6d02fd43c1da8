"""Where the time of a training step goes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch.profiler import ProfilerActivity, profile

from ugocc.bench.timing import wait_for


@dataclass(frozen=True)
class StepProfile:
    """Shares of the time of one step, as the host sees it."""

    phases: dict[str, float]
    """Forward and losses, backward, optimiser: shares that add up to 1."""
    operators: dict[str, float]
    """The operators that take most, without what they call, as shares of the step."""


def profile_step(step: Callable[[], object], device: torch.device, steps: int = 3, top: int = 12) -> StepProfile:
    """Run a training step under torch's profiler.

    Args:
        step: forward, backward and optimiser.
        device: it runs on.
        steps: how many are profiled, after one that is not.
        top: how many operators are listed.
    """
    step()
    wait_for(device)
    with profile(activities=[ProfilerActivity.CPU]) as taken:
        for _ in range(steps):
            step()
        wait_for(device)
    events = taken.key_averages()
    whole = sum(event.self_cpu_time_total for event in events)
    # A node of the graph is evaluated within no other, so their totals add up.
    backward = sum(e.cpu_time_total for e in events if e.key.startswith("autograd::engine::evaluate_function"))
    optimiser = sum(e.cpu_time_total for e in events if e.key.startswith("Optimizer.step"))
    longest = sorted(events, key=lambda event: -event.self_cpu_time_total)[:top]
    phases = {"forward and losses": whole - backward - optimiser, "backward": backward, "optimiser": optimiser}
    return StepProfile(
        {name: round(time / whole, 4) for name, time in phases.items()},
        {event.key: round(event.self_cpu_time_total / whole, 4) for event in longest},
    )
