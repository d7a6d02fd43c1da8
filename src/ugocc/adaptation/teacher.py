"""The teacher: a slow average of the student with batch-norm statistics of its own.

Statistics are kept apart from weights on purpose. The student's running statistics mix both fleets and augmented
images; used at evaluation they cost a third of the accuracy on the target. The teacher therefore never takes them
over: it is given statistics of clean target images (:func:`reestimate_batchnorm`), or normalises each batch by itself
(:func:`batch_statistics`).
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor, nn

from ugocc.errors import DataError

M = TypeVar("M", bound=nn.Module)

NORMS = (nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)
"""Layers whose statistics describe what images look like. The one-dimensional batch norm of camera vectors is none of
them: re-estimated on one rig it would erase the calibration that it is there to pass on."""


@dataclass(frozen=True)
class TeacherSettings:
    """How the teacher follows the student."""

    decay: float = 0.999
    """Share of the teacher's weights that survives a step once warmed up."""
    warmup: float = 10.0
    """The decay of step t is at most (1 + t) / (warmup + t), so that early steps count; 0 for no warm-up."""
    start: float = 0.0
    """Share of its weights that the teacher still has from its start after the last step, where the start was trained
    for this very target: averages of what is good are better than either. Decay and warm-up follow from it. 0, and any
    other start, leave them as they are."""
    statistics: Literal["keep", "average", "copy"] = "keep"
    """Statistics of the teacher's batch norms of images and volumes: left alone, averaged like weights, or copied from
    the student."""

    def __post_init__(self) -> None:
        if not 0 <= self.start < 1:
            raise DataError("teacher", "start", self.start, "a share from 0, below 1")


def decay_at(step: int, settings: TeacherSettings) -> float:
    """Decay of update number ``step``, counted from 0."""
    return min(settings.decay, (1 + step) / (settings.warmup + step)) if settings.warmup > 0 else settings.decay


def remembering(settings: TeacherSettings, steps: int) -> TeacherSettings:
    """The settings with the decay that leaves ``settings.start`` of the start after so many steps."""
    if not settings.start or not steps:
        return settings
    return replace(settings, decay=settings.start ** (1 / steps), warmup=0.0)


def freeze(module: M) -> M:
    """The module in evaluation mode, its parameters without gradient; returned for convenience."""
    return module.eval().requires_grad_(False)


def make_teacher(student: M) -> M:
    """A frozen copy of the student."""
    return freeze(copy.deepcopy(student))


@torch.no_grad()
def update_teacher(teacher: nn.Module, student: nn.Module, step: int, settings: TeacherSettings) -> None:
    """Move the teacher towards the student: parameters by the decay, buffers by their policy.

    Statistics of layers of :data:`NORMS` follow ``settings.statistics``. Other buffers are averaged like parameters,
    or copied if they are whole numbers; among them are the statistics of camera vectors, which belong to the weights
    that read those vectors.

    Args:
        teacher: changed in place; same architecture as the student.
        student: the network that is trained.
        step: number of updates so far.
        settings: decay and policy.
    """
    decay = decay_at(step, settings)
    follow: list[tuple[Tensor, Tensor]] = list(zip(teacher.parameters(), student.parameters(), strict=True))
    statistics = {id(buffer) for layer in _norms(teacher) for buffer in layer.buffers(recurse=False)}
    given = dict(student.named_buffers())
    for name, buffer in teacher.named_buffers():
        policy = settings.statistics if id(buffer) in statistics else "average"
        if policy == "average" and buffer.is_floating_point():
            follow.append((buffer, given[name]))
        elif policy != "keep":
            buffer.copy_(given[name])
    torch._foreach_lerp_([t for t, _ in follow], [s.to(t) for t, s in follow], 1 - decay)


@contextmanager
def batch_statistics(model: nn.Module) -> Iterator[None]:
    """Within this context, layers of :data:`NORMS` normalise by the batch at hand; nothing in the model changes.

    Whoever uses it must feed batches of one fleet only.
    """
    layers = _norms(model)
    kept = [(layer.training, layer.momentum, layer.num_batches_tracked) for layer in layers]
    for layer in layers:
        layer.train()
        layer.momentum = 0.0
        layer.num_batches_tracked = None
    try:
        yield
    finally:
        for layer, (training, momentum, count) in zip(layers, kept, strict=True):
            layer.train(training)
            layer.momentum, layer.num_batches_tracked = momentum, count


@torch.no_grad()
def reestimate_batchnorm(model: nn.Module, batches: Iterable[Any], forward: Callable[[Any], Any] | None = None) -> int:
    """Replace the statistics of every layer of :data:`NORMS` by those of these batches; nothing else changes.

    Mean and variance are pooled over all batches (so the number of samples per batch matters little), while each
    batch is normalised by its own statistics on its way to deeper layers. Give it clean images, as at evaluation:
    statistics of jittered ones are wrong there. Layers that see nothing keep what they have.

    Args:
        model: any mode; modes are restored.
        batches: inputs of ``forward``.
        forward: called with each batch; the model itself if None.

    Returns:
        Number of batches seen.

    Raises:
        DataError: no batches.
    """
    pools = {layer: _Pool() for layer in _norms(model)}
    hooks = [layer.register_forward_pre_hook(pool.add) for layer, pool in pools.items()]
    modes = {module: module.training for module in model.modules()}
    model.eval()
    seen = 0
    try:
        with batch_statistics(model):
            for batch in batches:
                (forward or model)(batch)
                seen += 1
    finally:
        for hook in hooks:
            hook.remove()
        for module, mode in modes.items():
            module.training = mode
    if not seen:
        raise DataError("reestimate_batchnorm", "batches", "none", "at least one batch of clean images")
    for layer, pool in pools.items():
        if pool.count:
            mean, variance = pool.result()
            layer.running_mean.copy_(mean)
            layer.running_var.copy_(variance)
    return seen


def norm_statistics(model: nn.Module) -> dict[str, Tensor]:
    """Running mean and variance of every layer of :data:`NORMS`, copies, by their names in the state of the model."""
    return {
        f"{name}.{kind}": getattr(layer, kind).detach().clone()
        for name, layer in model.named_modules()
        if isinstance(layer, NORMS) and layer.track_running_stats
        for kind in ("running_mean", "running_var")
    }


class _Pool:
    """Count, mean and sum of squared deviations per channel, joined by the formula of Chan et al. (1983)."""

    def __init__(self) -> None:
        self.count = 0
        self.mean: Tensor = torch.zeros(())
        self.squares: Tensor = torch.zeros(())

    def add(self, layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        """Take in an input (M, C, *) of a layer; a forward pre-hook."""
        values = inputs[0].detach().float().transpose(0, 1).flatten(1)
        count = values.shape[1]
        variance, mean = torch.var_mean(values, dim=1, correction=0)
        # float64 costs nothing for one number per channel, but some accelerators have none: pool on the CPU.
        mean, squares = mean.cpu().double(), variance.cpu().double() * count
        total = self.count + count
        shift = mean - self.mean
        self.squares = self.squares + squares + shift.square() * (self.count * count / total)
        self.mean = self.mean + shift * (count / total)
        self.count = total

    def result(self) -> tuple[Tensor, Tensor]:
        """(C,) mean and unbiased variance."""
        return self.mean, self.squares / max(self.count - 1, 1)


def _norms(model: nn.Module) -> list[Any]:
    return [m for m in model.modules() if isinstance(m, NORMS) and m.track_running_stats]
