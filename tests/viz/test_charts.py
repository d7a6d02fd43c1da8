from __future__ import annotations

import numpy as np
import pytest

from ugocc.labels import CLASSES
from ugocc.viz.charts import SERIES, bar_chart, line_chart, ticks


def column_heights(picture: np.ndarray, colour: tuple[int, int, int]) -> list[int]:
    """Heights of the bars of one colour from left to right (the swatch beside the name left out)."""
    area = (np.abs(picture[90:].astype(int) - colour).max(axis=-1) < 8).sum(axis=0)
    edges = np.flatnonzero(np.diff(np.concatenate([[0], area > 3, [0]]).astype(int)))
    return [int(area[a:b].max()) for a, b in edges.reshape(-1, 2)]


def test_bars_are_as_high_as_their_values() -> None:
    picture = bar_chart({"a": [10, 40, 20], "b": [20, None, 80]}, ["x", "y", "z"], title="t")
    first, second = column_heights(picture, SERIES[0]), column_heights(picture, SERIES[1])
    assert len(first) == 3
    assert len(second) == 2  # None leaves a gap
    unit = second[1] / 80
    assert first == pytest.approx([10 * unit, 40 * unit, 20 * unit], abs=2)
    assert second[0] == pytest.approx(20 * unit, abs=2)


def test_curve_passes_through_its_points() -> None:
    x = np.arange(0, 101, 5)
    picture = line_chart({"up": (x, x * 0.5)}, size=(600, 400))
    area = picture[95:340, 50:560].astype(int)
    rows, columns = np.nonzero(np.abs(area - SERIES[0]).max(axis=-1) < 30)
    slope, offset = np.polyfit(columns, rows, 1)
    assert slope < 0
    assert np.abs(rows - (slope * columns + offset)).max() < 6


@pytest.mark.parametrize(
    "curves",
    [{}, {"a": ([], [])}, {"a": ([1.0], [2.0])}, {"a": ([0, 1, 2], [1, float("nan"), 3]), "b": ([5, 6], [7, 7])}],
)
def test_curves_with_little_in_them(curves: dict) -> None:
    assert line_chart(curves).shape == (480, 900, 3)


def test_bars_with_nothing_in_them() -> None:
    assert bar_chart({"a": [None] * 9}, CLASSES[:9]).shape == (480, 1200, 3)
    assert bar_chart({"a": [0.0] * 9}, CLASSES[:9]).shape == (480, 1200, 3)


@pytest.mark.parametrize("groups", [3, 10, 60])
def test_bars_may_be_as_low_and_thin_as_they_like(groups: int) -> None:
    """Corners of a radius are no reason to fail where there is no room for them."""
    names = [str(i) for i in range(groups)]
    for top in np.linspace(0, 4, 41):
        values = list(np.linspace(0, top, groups - 1))
        assert bar_chart({"a": [*values, 100.0], "b": [*values[::-1], 50.0]}, names).shape == (480, 1200, 3)


@pytest.mark.parametrize(("low", "high"), [(0, 1), (0, 97), (-3, 8), (0.0021, 0.0034), (0, 123456), (5, 5)])
def test_ticks_are_round_and_inside(low: float, high: float) -> None:
    found = ticks(low, high)
    assert 1 <= len(found) <= 6
    assert low - 1e-9 <= found[0]
    assert found[-1] <= high + 1e-9
    if len(found) > 1:
        step = found[1] - found[0]
        assert np.allclose(np.diff(found), step)
        assert float(f"{step:.0e}"[0]) in (1, 2, 5)
