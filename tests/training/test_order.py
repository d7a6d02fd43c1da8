from __future__ import annotations

from itertools import islice

import pytest

from ugocc.training.fit import step_seed
from ugocc.training.order import StepOrder


def _steps(order: StepOrder, count: int) -> list[list[tuple[int, int]]]:
    return list(islice(iter(order), count))


def test_resuming_equals_not_having_stopped() -> None:
    whole = _steps(StepOrder(7, 2, seed=3), 12)
    resumed = StepOrder(7, 2, seed=3)
    resumed.place(0, 1, 5)
    assert _steps(resumed, 7) == whole[5:]


def test_every_sample_is_visited_once_before_any_is_visited_again() -> None:
    visits = [v for step in _steps(StepOrder(7, 2, seed=1), 7) for v in step]
    assert sorted(visits) == sorted((i, k) for i in range(7) for k in range(2))
    assert [i for i, _ in visits[:7]] != list(range(7))


def test_processes_share_a_step_without_overlap() -> None:
    alone = _steps(StepOrder(10, 4, seed=2), 5)
    pair = [_steps(StepOrder(10, 2, seed=2, rank=r, world=2), 5) for r in range(2)]
    assert [a + b for a, b in zip(*pair, strict=True)] == alone


def test_seeds_differ_and_nothing_to_draw_from_is_an_error() -> None:
    assert _steps(StepOrder(50, 5, seed=0), 3) != _steps(StepOrder(50, 5, seed=1), 3)
    with pytest.raises(ValueError, match="no samples"):
        StepOrder(0, 1, seed=0)


def test_processes_draw_numbers_of_their_own() -> None:
    assert len({step_seed(0, step, rank) for step in range(3) for rank in range(4)}) == 12
