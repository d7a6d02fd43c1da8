from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from ugocc.evaluation.depth import DepthMetrics


def naive(guess: np.ndarray, true: np.ndarray) -> dict[str, float]:
    """The measures of one image, pixel by pixel."""
    n = len(true)
    ratio = [max(g / t, t / g) for g, t in zip(guess, true, strict=True)]
    return {
        "abs_rel": sum(abs(g - t) / t for g, t in zip(guess, true, strict=True)) / n,
        "sq_rel": sum((g - t) ** 2 / t for g, t in zip(guess, true, strict=True)) / n,
        "rmse": math.sqrt(sum((g - t) ** 2 for g, t in zip(guess, true, strict=True)) / n),
        "rmse_log": math.sqrt(sum((math.log(g) - math.log(t)) ** 2 for g, t in zip(guess, true, strict=True)) / n),
        "delta1": sum(r < 1.25 for r in ratio) / n,
        "delta2": sum(r < 1.25**2 for r in ratio) / n,
        "delta3": sum(r < 1.25**3 for r in ratio) / n,
    }


def test_by_hand() -> None:
    metric = DepthMetrics()
    metric.update(torch.tensor([[[11.0, 20.0, 7.0, 90.0]]]), torch.tensor([[[10.0, 20.0, 0.0, 60.0]]]))
    scores = metric.compute()  # two pixels count: no return, and beyond 50 m
    assert scores["abs_rel"] == pytest.approx(0.05)
    assert scores["sq_rel"] == pytest.approx(0.05)
    assert scores["rmse"] == pytest.approx(math.sqrt(0.5))
    assert scores["delta1"] == 1


def test_against_naive_and_averaged_over_images() -> None:
    rng = np.random.default_rng(0)
    true = rng.uniform(1, 49, (2, 2, 4, 5))
    guess = true * rng.uniform(0.6, 1.6, true.shape)
    drop = rng.random(true.shape) < 0.3
    metric = DepthMetrics(nearest=0.5, farthest=50.0)
    for i in (1, 0):
        metric.update(torch.from_numpy(guess[i]), torch.from_numpy(np.where(drop[i], 0, true[i])))
    plain, scaled = [], []
    for g, t, d in zip(guess.reshape(4, -1), true.reshape(4, -1), drop.reshape(4, -1), strict=True):
        g, t = g[~d], t[~d]
        # torch's median is the lower of the middle two.
        low = [np.sort(v)[(len(v) - 1) // 2] for v in (t, g)]
        plain.append(naive(np.clip(g, 0.5, 50), t))
        scaled.append(naive(np.clip(g * low[0] / low[1], 0.5, 50), t))
    scores = metric.compute()
    for name in plain[0]:
        assert scores[name] == pytest.approx(np.mean([p[name] for p in plain]), rel=1e-5)
        assert scores[f"scaled_{name}"] == pytest.approx(np.mean([p[name] for p in scaled]), rel=1e-5)


def test_median_scaling_removes_a_global_factor() -> None:
    true = torch.linspace(2, 20, 12).reshape(1, 3, 4)
    metric = DepthMetrics()
    metric.update(true * 2, true)
    scores = metric.compute()
    assert scores["abs_rel"] == pytest.approx(1.0)
    assert scores["scaled_abs_rel"] == pytest.approx(0.0, abs=1e-6)
    assert scores["scaled_delta1"] == 1


def test_coarse_prediction_is_interpolated_between_cell_centres() -> None:
    # Depth linear in the column: interpolation gives it back exactly away from the rim.
    truth = torch.arange(16.0).add(10.5).expand(1, 8, 16).clone()
    truth[..., :2] = truth[..., -2:] = 0
    coarse = torch.arange(4.0).mul(4).add(12.0).expand(1, 2, 4)
    metric = DepthMetrics()
    metric.update(coarse, truth)
    assert metric.compute()["rmse"] == pytest.approx(0, abs=1e-5)


def test_mask_and_images_without_a_pixel() -> None:
    true = torch.full((3, 2, 2), 10.0)
    guess = true.clone()
    guess[0, 0, 0] = 20.0
    mask = torch.ones_like(true, dtype=torch.bool)
    mask[0, 0, 0] = False
    mask[2] = False
    metric = DepthMetrics()
    metric.update(guess, true, mask)
    assert metric.images == 2
    assert metric.compute()["abs_rel"] == 0


def test_states_add_up_over_processes() -> None:
    rng = np.random.default_rng(3)
    images = [[torch.from_numpy(rng.uniform(1, 40, (2, 3, 3))) for _ in range(2)] for _ in range(3)]
    whole, parts = DepthMetrics(), [DepthMetrics(), DepthMetrics()]
    for i, pair in enumerate(images):
        whole.update(*pair)
        parts[i % 2].update(*pair)
    assert torch.allclose(parts[0].sums + parts[1].sums, whole.sums)
    assert parts[0].images + parts[1].images == whole.images


def test_nothing_is_not_a_number() -> None:
    metric = DepthMetrics()
    metric.update(torch.ones(1, 2, 2), torch.zeros(1, 2, 2))
    assert math.isnan(metric.compute()["rmse"])
