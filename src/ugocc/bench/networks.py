"""Networks and their blocks, forward and backward, beside the machine's ceilings."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten, tree_leaves, tree_unflatten
from torch.utils.flop_counter import FlopCounterMode

from ugocc.bench.ceilings import Ceilings
from ugocc.bench.timing import Timing, Work, measure
from ugocc.models.assemble import OccupancyModel, build_model
from ugocc.models.example import example_batch
from ugocc.models.settings import ModelSettings


@dataclass(frozen=True)
class Measured:
    """One piece of work beside its floor."""

    timing: Timing
    """Milliseconds."""
    multiply_adds: float
    """Of convolutions and matrix products."""
    moved_bytes: float
    """Of inputs, outputs and weights, once each."""
    floor_ms: float
    """What the machine's ceilings allow at best (``Ceilings.floor_ms``)."""

    @property
    def times_the_floor(self) -> float:
        """How far from the best."""
        return self.timing.median / self.floor_ms


@dataclass(frozen=True)
class Job:
    """A piece of work and what is known of it."""

    work: Work
    """Runs it once."""
    multiply_adds: float
    """See :class:`Measured`."""
    moved_bytes: float
    """See :class:`Measured`."""


def measure_jobs(
    jobs: Mapping[str, Job], ceilings: Ceilings, device: torch.device, runs: int, seconds: float
) -> dict[str, Measured]:
    """Time jobs in turns and put each beside its floor."""
    timings = measure({name: job.work for name, job in jobs.items()}, device, runs=runs, seconds=seconds)
    return {
        name: Measured(
            timings[name], job.multiply_adds, job.moved_bytes, ceilings.floor_ms(job.multiply_adds, job.moved_bytes)
        )
        for name, job in jobs.items()
    }


def network_jobs(settings: ModelSettings, device: torch.device, cameras: int = 6) -> dict[str, Job]:
    """One network: its blocks and the whole, forward in evaluation and forward and backward in training.

    Blocks get the very tensors that they get inside the network.
    """
    torch.manual_seed(0)
    model = build_model(settings).to(device)
    batch = example_batch(settings.input, cameras).to(device)
    model.eval()
    with torch.no_grad():
        model(batch)  # geometry of the rig is remembered
        seen = dict(_inputs_of_blocks(model, lambda: model(batch)))
    jobs = {}
    for name, (block, args) in {**seen, "whole network": (model, (batch,))}.items():
        jobs[f"{name}, forward"] = _forward_job(block, args)
        jobs[f"{name}, forward and backward"] = _backward_job(block, args)
    return jobs


def _inputs_of_blocks(model: OccupancyModel, run: Callable[[], object]) -> Iterator[tuple[str, tuple[nn.Module, Any]]]:
    """Name, module and arguments of every block that takes part in a run."""
    named = dict(model.named_children())
    branch = named.pop("branch")
    named |= {f"branch.{name}": child for name, child in branch.named_children()}
    found: dict[str, tuple[nn.Module, Any]] = {}
    hooks = [
        module.register_forward_pre_hook(lambda module, args, name=name: found.__setitem__(name, (module, args)))
        for name, module in named.items()
        if not isinstance(module, nn.Identity)
    ]
    run()
    for hook in hooks:
        hook.remove()
    yield from found.items()


def _forward_job(block: nn.Module, args: tuple[Any, ...]) -> Job:
    def work() -> object:
        block.eval()
        with torch.no_grad():
            return block(*args)

    block.requires_grad_(False)  # the counter looks for gradients of whatever requires one
    job = _counted(work, block, args)
    block.requires_grad_(True)
    return job


def _backward_job(block: nn.Module, args: tuple[Any, ...]) -> Job:
    leaves, spec = tree_flatten(args)
    # The blocks of a network hand gradients on; the pictures need none.
    wants = [isinstance(leaf, Tensor) and leaf.is_floating_point() for leaf in leaves]

    def work() -> object:
        block.train()
        given = [leaf.detach().requires_grad_() if want else leaf for leaf, want in zip(leaves, wants, strict=True)]
        made = block(*tree_unflatten(given, spec))
        outputs = [t for t in _tensors(made) if t.requires_grad]
        torch.autograd.backward(outputs, [torch.ones_like(t) for t in outputs])
        block.zero_grad(set_to_none=True)
        return made

    return _counted(work, block, args)


def _counted(work: Work, block: nn.Module, args: tuple[Any, ...]) -> Job:
    with FlopCounterMode(display=False) as counter:
        made = work()
    tensors = [*_tensors(args), *_tensors(made), *block.parameters()]
    return Job(work, counter.get_total_flops() / 2, sum(t.numel() * t.element_size() for t in tensors))


def _tensors(tree: Any) -> list[Tensor]:
    found = []
    for leaf in tree_leaves(tree):
        if hasattr(leaf, "__dataclass_fields__"):
            found += _tensors(vars(leaf))
        elif isinstance(leaf, Tensor):
            found.append(leaf)
    return found
