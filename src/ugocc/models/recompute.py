"""Memory for time: activations of a block are thrown away and computed again in the backward pass."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Final

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

STATISTICS: Final = ("running_mean", "running_var", "num_batches_tracked")


def recomputed(block: nn.Module, *args: Any) -> Any:
    """``block(*args)`` without keeping what its backward pass needs (Chen et al. 2016).

    Numbers are those of the plain call, random ones included, and running statistics of batch norms are updated once.
    """

    def contexts() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        return nullcontext(), _without_statistics(block)

    return checkpoint(block, *args, use_reentrant=False, context_fn=contexts)


@contextmanager
def _without_statistics(block: nn.Module) -> Iterator[None]:
    """Batch norms normalise as in training and leave their running statistics alone."""
    norms = [module for module in block.modules() if isinstance(module, _BatchNorm) and module.track_running_stats]
    kept = [(norm.running_mean, norm.running_var, norm.num_batches_tracked) for norm in norms]
    for norm in norms:  # what is updated now is a copy
        for name in STATISTICS:
            setattr(norm, name, getattr(norm, name).clone())
    try:
        yield
    finally:
        for norm, tensors in zip(norms, kept, strict=True):
            for name, tensor in zip(STATISTICS, tensors, strict=True):
                setattr(norm, name, tensor)
