from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from ugocc.models.deformable import SamplingPoints, deformable_sum


def slow_bilinear(image: Tensor, column: float, row: float) -> Tensor:
    """(C, h, w) at a place given in cells, zero beyond the borders."""
    total = torch.zeros(image.shape[0], dtype=image.dtype)
    for i in (math.floor(row), math.floor(row) + 1):
        for j in (math.floor(column), math.floor(column) + 1):
            if 0 <= i < image.shape[1] and 0 <= j < image.shape[2]:
                total += (1 - abs(row - i)) * (1 - abs(column - j)) * image[:, i, j]
    return total


def test_sum_equals_a_loop_over_points():
    random = torch.Generator().manual_seed(0)
    maps = torch.randn(2, 6, 4, 7, generator=random, dtype=torch.float64)
    places = 1.4 * torch.rand(2, 5, 3, 2, 2, generator=random, dtype=torch.float64) - 0.2
    weights = torch.rand(2, 5, 3, 2, generator=random, dtype=torch.float64)
    expected = torch.zeros(2, 5, 6, dtype=torch.float64)
    for n in range(2):
        for q in range(5):
            for head in range(3):
                share = slice(2 * head, 2 * head + 2)
                for p in range(2):
                    column, row = (places[n, q, head, p] * torch.tensor([7, 4]) - 0.5).tolist()
                    expected[n, q, share] += weights[n, q, head, p] * slow_bilinear(maps[n, share], column, row)
    torch.testing.assert_close(deformable_sum(maps, places, weights), expected)


def test_centre_of_a_cell_is_the_cell():
    maps = torch.arange(12.0).view(1, 1, 3, 4)
    place = torch.tensor([(2 + 0.5) / 4, (1 + 0.5) / 3]).view(1, 1, 1, 1, 2)
    assert deformable_sum(maps, place, torch.ones(1, 1, 1, 1)).item() == pytest.approx(6.0)


def test_points_begin_on_rings_with_nearly_equal_weights():
    torch.manual_seed(0)
    offsets, weights = SamplingPoints(6, heads=4, rings=2, points=3)(torch.zeros(5, 6))
    assert offsets.shape == (5, 4, 6, 2)
    torch.testing.assert_close(weights, torch.full((5, 4, 6), 1 / 6))
    along = [[0, 0], [1, 0], [2, 0]] * 2
    torch.testing.assert_close(offsets[0, 0], torch.tensor(along).float())
    torch.testing.assert_close(offsets[0, 1], torch.tensor(along).float().flip(1), atol=1e-6, rtol=0)
    torch.testing.assert_close(SamplingPoints(6, 4, 2, 3)(torch.randn(5, 6))[1].sum(-1), torch.ones(5, 4))


def test_points_are_exact_under_autocast():
    points, query = SamplingPoints(6, 4, 2, 3), torch.randn(5, 6)
    exact = points(query)
    with torch.autocast("cpu", torch.bfloat16):
        low = points(query)
        found = deformable_sum(torch.randn(5, 4, 3, 3).bfloat16(), low[0][:, None] * 0 + 0.5, low[1][:, None])
    assert all(torch.equal(a, b) for a, b in zip(exact, low, strict=True))
    assert found.dtype == torch.float32
