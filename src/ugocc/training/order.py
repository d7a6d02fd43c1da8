"""The order of samples as a function of the step, so that resuming equals not having stopped."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from torch.utils.data import Sampler

Visit = tuple[int, int]
"""(index of a sample, how many times it was visited before)."""


class StepOrder(Sampler[list[Visit]]):
    """Endless batches: step k always holds the same samples, whichever step the run started from.

    Every sample is visited once before any is visited again. With several processes each takes its slice of the step.

    Args:
        length: number of samples.
        batch_size: samples per process and step.
        seed: of the permutations.
        start: first step to yield (:meth:`place` sets it when a run resumes).
        rank: number of this process.
        world: number of processes.
    """

    def __init__(self, length: int, batch_size: int, seed: int, start: int = 0, rank: int = 0, world: int = 1) -> None:
        if length < 1:
            raise ValueError("no samples to draw from")
        self.length, self.batch_size, self.seed, self.start = length, batch_size, seed, start
        self.rank, self.world = rank, world

    def place(self, rank: int, world: int, step: int) -> None:
        """Begin the next iteration at ``step``, as process ``rank`` of ``world``."""
        self.rank, self.world, self.start = rank, world, step

    def __iter__(self) -> Iterator[list[Visit]]:
        step = self.start
        while True:
            first = (step * self.world + self.rank) * self.batch_size
            yield [self._visit(first + i) for i in range(self.batch_size)]
            step += 1

    def visits(self, steps: int, world: int = 1) -> Iterator[Visit]:
        """What all of ``world`` processes together see in the first ``steps``."""
        return (self._visit(position) for position in range(steps * world * self.batch_size))

    def _visit(self, position: int) -> Visit:
        visit, place = divmod(position, self.length)
        return int(np.random.default_rng((self.seed, visit)).permutation(self.length)[place]), visit


class PairOrder(Sampler[list[tuple[Visit, Visit]]]):
    """The orders of two fleets side by side.

    Args:
        source: order of the source.
        target: order of the target, of as many samples per step.
    """

    def __init__(self, source: StepOrder, target: StepOrder) -> None:
        self.source, self.target = source, target

    def place(self, rank: int, world: int, step: int) -> None:
        """See :meth:`StepOrder.place`."""
        self.source.place(rank, world, step)
        self.target.place(rank, world, step)

    def __iter__(self) -> Iterator[list[tuple[Visit, Visit]]]:
        for of_source, of_target in zip(self.source, self.target, strict=True):
            yield list(zip(of_source, of_target, strict=True))
