from __future__ import annotations

import math
from dataclasses import fields, replace

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from ugocc.data.batch import Batch
from ugocc.errors import DataError
from ugocc.labels import FREE, OCC3D_NUSCENES_COUNTS
from ugocc.losses.occupancy import (
    OccupancyLossSettings,
    class_weights,
    count_classes,
    cross_entropy_loss,
    focal_loss,
    geometric_scale_loss,
    lovasz_softmax_loss,
    occupancy_loss,
    occupancy_terms,
    radius_weights,
    semantic_scale_loss,
)

SETTINGS = OccupancyLossSettings()


def random_case(seed: int, voxels: int = 60, classes: int = 10) -> tuple[Tensor, Tensor]:
    random = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(voxels, 10, generator=random, dtype=torch.float64)
    return logits, torch.randint(0, classes, (voxels,), generator=random)


def slow_lovasz(probabilities: Tensor, targets: Tensor) -> Tensor:
    """Class by class, voxel by voxel: errors in falling order times what each adds to 1 - IoU."""
    losses = []
    for c in range(probabilities.shape[1]):
        truth = targets == c
        if not truth.any():
            continue
        errors = torch.where(truth, 1 - probabilities[:, c], probabilities[:, c])
        order = errors.detach().argsort(descending=True, stable=True)
        loss, missed, added, before = 0.0, 0, 0, 0.0
        for i in order.tolist():
            missed, added = missed + int(truth[i]), added + int(~truth[i])
            iou = (int(truth.sum()) - missed) / (int(truth.sum()) + added)
            loss = loss + errors[i] * (1 - iou - before)
            before = 1 - iou
        losses.append(loss)
    return torch.stack(losses).mean()


def slow_scale(probability: Tensor, truth: Tensor) -> Tensor:
    """BCE against 1 of precision, recall and, where anything is absent, specificity of one class."""
    both = (probability * truth).sum()
    ratios = [both / probability.sum(), both / truth.sum()]
    if (~truth).any():
        ratios.append(((1 - probability) * ~truth).sum() / (~truth).sum())
    return sum(F.binary_cross_entropy(r.clamp(max=1), torch.ones_like(r)) for r in ratios)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 10))
def test_lovasz_equals_the_loop_over_classes_and_voxels(seed, classes):
    logits, targets = random_case(seed, classes=classes)
    logits.requires_grad_()
    fast, slow = (f(logits.softmax(1), targets) for f in (lovasz_softmax_loss, slow_lovasz))
    torch.testing.assert_close(fast, slow, rtol=1e-6, atol=1e-9)
    a, b = (torch.autograd.grad(loss, logits, retain_graph=True)[0] for loss in (fast, slow))
    torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-8)


def test_lovasz_of_hard_predictions_is_one_minus_iou():
    targets = torch.tensor([0, 0, 0, 1, 1, FREE])
    predicted = torch.tensor([0, 0, 1, 1, FREE, FREE])
    loss = lovasz_softmax_loss(F.one_hot(predicted, 10).float(), targets)
    assert loss.item() == pytest.approx(1 - (2 / 3 + 1 / 3 + 1 / 2) / 3)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 10))
def test_scale_losses_equal_the_formula(seed, classes):
    logits, targets = random_case(seed, classes=classes)
    p = logits.softmax(1)
    slow = [slow_scale(p[:, c], targets == c) for c in range(10) if (targets == c).any()]
    torch.testing.assert_close(semantic_scale_loss(p, targets), sum(slow) / len(slow))
    if (targets != FREE).all():
        return
    torch.testing.assert_close(geometric_scale_loss(p, targets), slow_scale(1 - p[:, FREE], targets != FREE))


def test_scale_losses_of_a_perfect_prediction_are_zero():
    targets = torch.tensor([0, 3, 3, FREE, FREE])
    p = F.one_hot(targets, 10).double()
    assert semantic_scale_loss(p, targets).item() == pytest.approx(0, abs=1e-9)
    assert geometric_scale_loss(p, targets).item() == pytest.approx(0, abs=1e-9)


def test_scale_losses_are_finite_where_all_is_free_or_all_wrong():
    for targets in (torch.full((4,), FREE), torch.zeros(4, dtype=torch.long)):
        for predicted in (0, FREE):
            logits = (100 * F.one_hot(torch.full((4,), predicted), 10)).float().requires_grad_()
            p = logits.softmax(1)
            loss = semantic_scale_loss(p, targets) + geometric_scale_loss(p, targets)
            assert torch.isfinite(loss)
            assert torch.isfinite(torch.autograd.grad(loss, logits)[0]).all()


def test_focal_equals_the_formula():
    logits, targets = random_case(0, voxels=7)
    weights = torch.linspace(1, 2, 7, dtype=torch.float64)
    total = 0.0
    for v in range(7):
        for c in range(10):
            p = 1 / (1 + math.exp(-logits[v, c]))
            right, alpha = (p, 0.25) if targets[v] == c else (1 - p, 0.75)
            total += (
                -alpha * (1 - right) ** 2 * math.log(right) / math.log(OCC3D_NUSCENES_COUNTS[c]) * float(weights[v])
            )
    assert focal_loss(logits, targets, weights, SETTINGS).item() == pytest.approx(total / 70, rel=1e-5)


def test_cross_entropy_equals_the_formula():
    logits, targets = torch.randn(40, 10), torch.randint(0, 10, (40,))
    weights = class_weights(None)
    rows = [weights[t] * (torch.logsumexp(row, 0) - row[t]) for row, t in zip(logits, targets, strict=True)]
    expected = torch.stack(rows).sum() / weights[targets].sum()
    assert cross_entropy_loss(logits, targets, None) == pytest.approx(float(expected), rel=1e-5)
    assert cross_entropy_loss(logits[:0], targets[:0], None) == 0


def test_class_weights_belong_to_their_classes_and_not_to_the_amount_of_data():
    weights = class_weights(None)
    torch.testing.assert_close(weights, torch.from_numpy(1 / torch.tensor(OCC3D_NUSCENES_COUNTS).log().numpy()).float())
    assert weights.argmin() == FREE
    assert weights.argmax() == 8
    fewer = class_weights(tuple(OCC3D_NUSCENES_COUNTS / 1000))
    torch.testing.assert_close(fewer, weights)
    assert torch.isfinite(class_weights((1.0,) + (0.0,) * 9)).all()
    for wrong in ((1.0, 2.0), (0.0,) * 10, (-1.0,) + (1.0,) * 9):
        with pytest.raises(DataError, match="class_counts"):
            class_weights(wrong)


def test_counts_leave_unknown_out():
    labels = torch.tensor([[0, 0, 255], [9, 3, 255]], dtype=torch.uint8)
    assert count_classes(labels).tolist() == [2, 0, 0, 1, 0, 0, 0, 0, 0, 1]


def test_weight_grows_from_the_centre_to_the_corners():
    weights = radius_weights(torch.zeros(2, 5, 5, 3), 1.0)
    assert weights.shape == (2, 5, 5, 3)
    assert weights[0, 2, 2, 0] == 1
    torch.testing.assert_close(weights[1, [0, 0, 4, 4], [0, 4, 0, 4], 2], torch.full((4,), 2.0))
    assert weights[0, 0, 2, 0] == pytest.approx(1 + 1 / math.sqrt(2))


def volume(seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    random = torch.Generator().manual_seed(seed)
    logits = torch.randn(2, 10, 6, 5, 3, generator=random)
    labels = torch.randint(0, 10, (2, 6, 5, 3), generator=random).to(torch.uint8)
    return logits, labels, torch.rand(2, 6, 5, 3, generator=random) < 0.5


def test_unknown_and_masked_voxels_have_no_say():
    logits, labels, mask = volume()
    labels[0, :2] = 255
    counted = mask & (labels != 255)
    logits.requires_grad_()
    terms = occupancy_terms(logits, labels, mask, SETTINGS)
    assert list(terms) == ["focal", "semantic_scale", "geometric_scale", "lovasz"]
    gradient = torch.autograd.grad(sum(terms.values()), logits)[0]
    assert not gradient.movedim(1, -1)[~counted].any()
    assert gradient.movedim(1, -1)[counted].abs().sum(-1).all()
    changed = torch.where(counted[:, None], logits, torch.randn_like(logits) * 50)
    other = occupancy_terms(changed, torch.where(counted, labels, 3), counted, SETTINGS)
    for name, value in terms.items():
        assert torch.equal(other[name], value)


@pytest.mark.parametrize("why", ["mask", "unknown"])
def test_nothing_to_count_is_zero_and_not_nan(why):
    logits, labels, mask = volume()
    if why == "mask":
        mask = torch.zeros_like(mask)
    else:
        labels = torch.full_like(labels, 255)
    logits.requires_grad_()
    terms = occupancy_terms(logits, labels, mask, SETTINGS)
    assert all(value.item() == 0 for value in terms.values())
    gradient = torch.autograd.grad(sum(terms.values()), logits)[0]
    assert not gradient.any()


def test_terms_scale_with_their_weights_and_vanish_at_zero():
    case = volume()
    once = occupancy_terms(*case, SETTINGS)
    twice = occupancy_terms(*case, replace(SETTINGS, focal=200.0, lovasz=3.0, semantic_scale=0.0, geometric_scale=0.5))
    assert "semantic_scale" not in twice
    for name, factor in (("focal", 2), ("lovasz", 3), ("geometric_scale", 0.5)):
        torch.testing.assert_close(twice[name], factor * once[name])


def test_which_voxels_count_is_a_setting():
    logits, labels, mask = volume()
    other = ~mask & (torch.arange(3) < 2)
    labelled = {"occupancy": labels, "camera_visible": mask, "lidar_visible": other}
    unused = {f.name: torch.zeros(0) for f in fields(Batch) if f.name not in labelled}
    batch = Batch(**unused, **labelled)
    everything = torch.ones_like(mask)
    for voxels, expected in (("camera", mask), ("lidar", other), ("all", everything)):
        a = occupancy_loss(logits, batch, replace(SETTINGS, voxels=voxels))
        b = occupancy_terms(logits, labels, expected, SETTINGS)
        assert all(torch.equal(a[name], b[name]) for name in b)


def test_descent_finds_the_labels():
    _, labels, _ = volume()
    logits = torch.zeros(2, 10, 6, 5, 3, requires_grad=True)
    optimizer = torch.optim.Adam([logits], lr=0.3)
    for _ in range(60):
        optimizer.zero_grad()
        sum(occupancy_terms(logits, labels, torch.ones_like(labels, dtype=torch.bool), SETTINGS).values()).backward()
        optimizer.step()
    assert torch.equal(logits.argmax(1), labels.long())
