"""What a network costs: parameters, multiply-adds and memory of one prediction."""

from __future__ import annotations

import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from ugocc.models.assemble import OccupancyModel, build_model
from ugocc.models.example import example_batch
from ugocc.models.settings import ModelSettings


@dataclass(frozen=True)
class Cost:
    """Cost of one prediction of one sample, in float32 on a CPU."""

    parameters: int
    """Numbers that are learned."""
    multiply_adds: int
    """Multiplications with an addition in convolutions and matrix products; sampling, pooling, sums and
    normalisation are not counted, as is the custom of this field's tables."""
    bytes: int
    """The most memory that tensors take at a time, input and weights apart (:func:`peak_bytes`)."""


def cost_of(settings: ModelSettings, cameras: int = 6) -> Cost:
    """Build a network and measure one prediction of an example batch.

    Args:
        settings: the network.
        cameras: cameras of the sample.
    """
    model = build_model(settings).eval()
    parameters = sum(p.numel() for p in model.parameters() if p.requires_grad)
    counter = FlopCounterMode(display=False)
    batch = example_batch(settings.input, cameras)
    model.requires_grad_(False)  # the counter looks for gradients of whatever requires one
    with torch.no_grad(), counter:
        model(batch)
    return Cost(parameters, counter.get_total_flops() // 2, peak_bytes(model, cameras))


@torch.no_grad()
def peak_bytes(model: OccupancyModel, cameras: int = 6, samples: int = 1) -> int:
    """The most bytes of tensors alive at a time during one prediction of an example batch, input and weights apart.

    Tensors are counted as operators return them; what an operator needs within itself is its own affair and differs
    between devices.
    """
    batch = example_batch(model.settings.input, cameras, samples)
    with _LiveTensors() as live:
        model(batch)
    return live.most


class _LiveTensors(TorchDispatchMode):
    """Adds up the storages that come and go while it is active."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.most = 0
        self._sizes: dict[int, int] = {}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        made = func(*args, **(kwargs or {}))
        inputs = {t.untyped_storage()._cdata for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor)}
        for tensor in tree_leaves(made):
            if isinstance(tensor, Tensor):
                self._see(tensor.untyped_storage(), inputs)
        return made

    def _see(self, storage: torch.UntypedStorage, inputs: set[int]) -> None:
        key = storage._cdata
        if key in self._sizes or key in inputs:
            return
        self._sizes[key] = storage.nbytes()
        self.now += storage.nbytes()
        self.most = max(self.most, self.now)
        weakref.finalize(storage, self._forget, key)

    def _forget(self, key: int) -> None:
        self.now -= self._sizes.pop(key)
