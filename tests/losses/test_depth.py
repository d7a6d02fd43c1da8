from __future__ import annotations

import math
from dataclasses import fields

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from ugocc.data.batch import Batch
from ugocc.losses.depth import DepthLossSettings, depth_bin_loss, depth_loss, nearest_return
from ugocc.models.prediction import Prediction


def slow_nearest(depth: np.ndarray, rows: int, columns: int) -> np.ndarray:
    tall, wide = depth.shape[0] // rows, depth.shape[1] // columns
    out = np.zeros((rows, columns))
    for v in range(rows):
        for u in range(columns):
            cell = depth[v * tall : (v + 1) * tall, u * wide : (u + 1) * wide]
            out[v, u] = cell[cell > 0].min() if (cell > 0).any() else 0
    return out


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.floats(0, 0.5))
def test_nearest_return_of_every_cell(seed, density):
    random = np.random.default_rng(seed)
    depth = random.uniform(1, 50, (3, 12, 20)) * (random.random((3, 12, 20)) < density)
    fast = nearest_return(torch.from_numpy(depth), (3, 4))
    np.testing.assert_array_equal(fast, np.stack([slow_nearest(d, 3, 4) for d in depth]))


def slow_loss(logits: Tensor, centres: Tensor, returns: Tensor) -> float:
    """Probabilities, one-hot and log, one number at a time."""
    total, cells = 0.0, 0
    for m, v, u in np.ndindex(*returns.shape):
        z = float(returns[m, v, u])
        probabilities = logits[m, :, v, u].softmax(0)
        edges = (centres[m, 1:] + centres[m, :-1]) / 2
        low, high = 2 * centres[m, 0] - edges[0], 2 * centres[m, -1] - edges[-1]
        if z == 0 or not low <= z < high:
            continue
        cells += 1
        hit = int((edges <= z).sum())
        for d, p in enumerate(probabilities.tolist()):
            total -= math.log(p) if d == hit else math.log(1 - p)
    return total / cells


def test_loss_equals_the_formula():
    random = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 6, 3, 4, generator=random, dtype=torch.float64)
    centres = torch.linspace(1.5, 11.5, 6).double() * torch.tensor([[1.0], [1.6]])
    returns = 25 * torch.rand(2, 3, 4, generator=random).double() * (torch.rand(2, 3, 4, generator=random) < 0.7)
    loss = depth_bin_loss(logits, centres, returns)
    assert loss.item() == pytest.approx(slow_loss(logits, centres, returns), rel=1e-6)


def case(returns: float = 5.0) -> tuple[Prediction, Batch]:
    prediction = Prediction(
        occupancy=torch.zeros(1, 10, 2, 2, 2),
        depth_logits=torch.zeros(1, 2, 4, 2, 3, requires_grad=True),
        bin_depths=torch.tensor([2.0, 4, 6, 8]).expand(1, 2, 4),
        semantics_2d=None,
        bev=torch.zeros(1, 1, 2, 2),
    )
    depth = torch.full((1, 2, 4, 6), returns)
    seen = {"depth": depth, "pixel_mask": torch.ones_like(depth).bool()}
    batch = Batch(**{f.name: torch.zeros(0) for f in fields(Batch) if f.name not in seen}, **seen)
    return prediction, batch


def test_uniform_prediction_costs_the_entropy():
    prediction, batch = case()
    loss = depth_loss(prediction, batch, DepthLossSettings(weight=2.0))
    assert loss.item() == pytest.approx(2 * (-math.log(0.25) - 3 * math.log(0.75)))


def test_gradient_pulls_towards_the_right_bin_and_own_car_is_left_out():
    prediction, batch = case()
    batch.pixel_mask[:, 1, 2:] = False
    depth_loss(prediction, batch, DepthLossSettings()).backward()
    gradient = prediction.depth_logits.grad
    assert (gradient[:, 0, 2] < 0).all()
    assert (gradient[:, 0, [0, 1, 3]] > 0).all()
    assert not gradient[:, 1, :, 1].any()


@pytest.mark.parametrize("returns", [0.0, 500.0])
def test_no_return_in_any_bin_is_zero_and_not_nan(returns):
    prediction, batch = case(returns)
    loss = depth_loss(prediction, batch, DepthLossSettings())
    loss.backward()
    assert loss.item() == 0
    assert not prediction.depth_logits.grad.any()


def test_certainty_in_the_wrong_bin_is_finite():
    logits = torch.tensor([200.0, 0, 0]).view(3, 1, 1).requires_grad_()
    loss = depth_bin_loss(logits, torch.tensor([1.0, 2, 3]), torch.tensor([[3.0]]))
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(logits.grad).all()
