from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from ugocc.adaptation.selection import (
    SelectionSettings,
    cap_free,
    class_thresholds,
    hard_labels,
    pseudo_label_loss,
    scores,
    select_voxels,
)
from ugocc.errors import DataError
from ugocc.labels import DRIVABLE, FREE, PEDESTRIAN

OFF = SelectionSettings(adapt="off")


def random_logits(seed: int, shape: tuple[int, int, int] = (6, 5, 4), samples: int = 2, sharp: float = 3.0):
    generator = torch.Generator().manual_seed(seed)
    smooth = F.avg_pool3d(torch.randn(samples, 10, *shape, generator=generator), 3, 1, 1, count_include_pad=False)
    return sharp * 3 * smooth


def everywhere(logits: torch.Tensor) -> torch.Tensor:
    return torch.ones_like(logits[:, 0], dtype=torch.bool)


@pytest.mark.parametrize("kernel", [3, 5])
def test_neighbourhood_by_loops(kernel):
    logits = random_logits(0)
    found = scores(logits, kernel)
    p = logits.softmax(1).double().numpy()
    r = kernel // 2
    for b, x, y, z in np.ndindex(*found.label.shape):
        c = p[b, :, x, y, z].argmax()
        window = p[b, c, max(x - r, 0) : x + r + 1, max(y - r, 0) : y + r + 1, max(z - r, 0) : z + r + 1]
        assert found.label[b, x, y, z] == c
        assert found.confidence[b, x, y, z] == pytest.approx(p[b, c, x, y, z])
        assert found.spatial[b, x, y, z] == pytest.approx(window.mean(), rel=1e-5)


@pytest.mark.parametrize("adapt", ["off", "lower", "share"])
def test_nothing_of_uniform_logits(adapt):
    logits = torch.full((2, 10, 4, 4, 4), 3.7)
    found = select_voxels(logits, everywhere(logits), SelectionSettings(adapt=adapt))
    assert (found.weights == 0).all()
    assert (found.labels == 255).all()
    student = torch.randn(2, 10, 4, 4, 4, requires_grad=True)
    loss = pseudo_label_loss(student, found.labels, found.weights)
    loss.backward()
    assert loss.item() == 0
    assert student.grad.abs().max() == 0


@pytest.mark.parametrize("adapt", ["off", "lower", "share"])
@pytest.mark.parametrize("constant", [-50.0, 8.0])
def test_a_constant_added_to_the_logits_changes_nothing(adapt, constant):
    logits = random_logits(1).round(decimals=2)
    kind = SelectionSettings(adapt=adapt)
    before, after = (select_voxels(x, everywhere(x), kind) for x in (logits, logits + constant))
    assert (before.weights > 0).any()
    torch.testing.assert_close(after.weights, before.weights, atol=2e-4, rtol=0)
    assert torch.equal(after.labels, before.labels)


def test_fixed_thresholds_by_hand():
    """Road of thickness 3 that is sure, one lonely sure pedestrian in free air, one unsure voxel."""
    probability = torch.full((1, 10, 5, 5, 7), 0.001)
    probability[0, FREE] = 0.991
    probability[0, :, :, :, :3] = 0.001
    probability[0, DRIVABLE, :, :, :3] = 0.991
    probability[0, :, 2, 2, 5] = 0.001
    probability[0, PEDESTRIAN, 2, 2, 5] = 0.991
    probability[0, :, 0, 0, 0] = 0.299 / 9
    probability[0, DRIVABLE, 0, 0, 0] = 0.701
    found = select_voxels(probability.log(), everywhere(probability), OFF)
    kept = found.weights[0] > 0
    assert kept[:, :, :2].all()  # inside the road all neighbours agree
    assert not kept[:, :, 2].any()  # its surface has 18 of 27
    assert not kept[2, 2, 5]  # neighbours say free
    assert found.weights[0, 0, 0, 0].item() == pytest.approx(0.1 + 0.9 * 0.001 / 0.25, abs=1e-4)
    assert found.weights[0, 1, 1, 0].item() == 1.0
    assert found.labels[0, 1, 1, 0] == DRIVABLE
    assert found.labels[0, 2, 2, 5] == 255


def test_adapted_thresholds_let_surfaces_and_thin_things_through():
    probability = torch.full((1, 10, 5, 5, 7), 0.001)
    probability[0, FREE] = 0.991
    probability[0, :, :, :, 1] = 0.05
    probability[0, DRIVABLE, :, :, 1] = 0.55
    allowed = torch.ones(1, 5, 5, 7, dtype=torch.bool)
    assert not (select_voxels(probability.log(), allowed, OFF).labels == DRIVABLE).any()
    found = select_voxels(probability.log(), allowed, SelectionSettings())
    assert (found.labels[0, :, :, 1] == DRIVABLE).float().mean() >= 0.25


def test_only_allowed_voxels():
    logits = random_logits(2)
    allowed = torch.rand(2, 6, 5, 4) < 0.4
    found = select_voxels(logits, allowed, SelectionSettings(adapt="share"))
    assert (found.weights > 0).any()
    assert not (found.weights[~allowed] > 0).any()
    nothing = select_voxels(logits, torch.zeros_like(allowed), SelectionSettings(adapt="share"))
    assert not (nothing.weights > 0).any()


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.floats(0.05, 1.0), st.integers(1, 200))
def test_quantiles_by_sorting(seed, share, count):
    random = np.random.default_rng(seed)
    values = torch.from_numpy(random.random(count).astype(np.float32))
    labels = torch.from_numpy(random.integers(0, 10, count) * random.integers(0, 2))
    floor, fixed = 0.2, 0.7
    for adapt in ("share", "lower"):
        kind = SelectionSettings(adapt=adapt, keep_share=share)
        found = class_thresholds(values, labels, fixed, floor, kind)
        for c in range(10):
            members = sorted(values[labels == c].tolist(), reverse=True)
            if not members:
                assert found[c].item() == pytest.approx(fixed)
                continue
            wanted = members[max(int(np.ceil(np.float32(len(members)) * np.float32(share))), 1) - 1]
            if adapt == "lower":
                wanted = min(wanted, fixed)
            assert found[c].item() == pytest.approx(max(wanted, floor))
            passing = sum(v >= found[c].item() for v in members)
            if found[c] > floor + 1e-6:
                assert passing >= share * len(members) - 1e-3
                if adapt == "share":
                    assert passing <= share * len(members) + 1 + 1e-3
    assert (class_thresholds(values, labels, fixed, floor, OFF) == fixed).all()


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6))
def test_weights_rise_with_confidence_and_selection_keeps_the_surest(seed):
    logits = random_logits(seed, sharp=2.0)
    found = select_voxels(logits, everywhere(logits), SelectionSettings(spatial=1e-3, spatial_floor=0.0))
    p, label = logits.softmax(1).max(1)
    for c in label.unique():
        order = p[label == c].argsort()
        weights = found.weights[label == c][order]
        assert (weights.diff() >= -1e-6).all()
    kept = found.weights > 0
    assert (found.weights[kept] >= 0.1 - 1e-6).all()
    assert (found.weights <= 1).all()
    assert (found.weights[kept & (p >= 0.95)] == 1).all()


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.floats(0, 0.95))
def test_share_of_free_is_capped(seed, share):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, 10, (2, 4, 4, 4), generator=generator).to(torch.uint8)
    labels[torch.rand(labels.shape, generator=generator) < 0.7] = FREE
    weights = torch.rand(labels.shape, generator=generator) * (torch.rand(labels.shape, generator=generator) < 0.5)
    capped = cap_free(labels, weights, share)
    free = labels == FREE
    assert torch.equal(capped[~free], weights[~free])
    total = capped.sum().item()
    assert capped[free].sum().item() <= share * total + 1e-4
    if weights[free].sum() <= share * weights.sum():
        torch.testing.assert_close(capped, weights)
    else:
        assert capped[free].sum().item() == pytest.approx(share * total, abs=1e-4)


def test_free_without_anything_occupied_is_not_taught():
    labels = torch.full((1, 2, 2, 2), FREE, dtype=torch.uint8)
    assert cap_free(labels, torch.ones(1, 2, 2, 2), 0.75).sum() == 0


def test_loss_of_hard_labels_by_hand():
    torch.manual_seed(0)
    logits = torch.randn(2, 10, 3, 3, 2, dtype=torch.float64)
    labels = torch.randint(0, 10, (2, 3, 3, 2)).to(torch.uint8)
    labels[0, 0] = 255
    weights = torch.rand(2, 3, 3, 2)
    weights[1, 1] = 0
    total = norm = 0.0
    for b, x, y, z in np.ndindex(*labels.shape):
        if labels[b, x, y, z] != 255:
            w = weights[b, x, y, z].item()
            total -= w * logits[b, :, x, y, z].log_softmax(0)[int(labels[b, x, y, z])].item()
            norm += w
    assert pseudo_label_loss(logits, labels, weights).item() == pytest.approx(total / norm)


def test_soft_labels_that_are_sure_are_hard_labels():
    torch.manual_seed(0)
    logits = torch.randn(1, 10, 3, 3, 2)
    labels = torch.randint(0, 10, (1, 3, 3, 2))
    soft = F.one_hot(labels, 10).permute(0, 4, 1, 2, 3).float()
    weights = torch.rand(1, 3, 3, 2)
    torch.testing.assert_close(
        pseudo_label_loss(logits, soft, weights), pseudo_label_loss(logits, labels.to(torch.uint8), weights)
    )
    assert torch.equal(hard_labels(soft), labels.to(torch.uint8))


def test_soft_selection_teaches_probabilities():
    logits = random_logits(3)
    found = select_voxels(logits, everywhere(logits), SelectionSettings(soft=True))
    torch.testing.assert_close(found.labels, logits.softmax(1))
    # The least loss is the teacher's own entropy, reached by the teacher.
    own = pseudo_label_loss(logits, found.labels, found.weights)
    other = pseudo_label_loss(random_logits(4), found.labels, found.weights)
    entropy = -(found.labels * found.labels.log()).sum(1)
    torch.testing.assert_close(own, (entropy * found.weights).sum() / found.weights.sum())
    assert own < other


def test_gradient_of_the_loss_reaches_the_logits_of_selected_voxels_only():
    teacher, student = random_logits(5), random_logits(6).requires_grad_()
    found = select_voxels(teacher, everywhere(teacher), SelectionSettings())
    pseudo_label_loss(student, found.labels, found.weights).backward()
    touched = student.grad.abs().sum(1) > 0
    assert torch.equal(touched, found.weights > 0)


def test_gradient_by_finite_differences():
    torch.manual_seed(0)
    logits = torch.randn(1, 10, 2, 2, 1, dtype=torch.float64, requires_grad=True)
    soft = torch.rand(1, 10, 2, 2, 1, dtype=torch.float64).softmax(1)
    weights = torch.tensor([0.3, 0.0, 1.0, 0.5], dtype=torch.float64).view(1, 2, 2, 1)
    assert torch.autograd.gradcheck(lambda x: pseudo_label_loss(x, soft, weights), logits)


@pytest.mark.parametrize(
    "wrong", [{"kernel": 1}, {"kernel": 4}, {"low": 0.9, "high": 0.8}, {"low": 0.0}, {"free_share": 1.0}]
)
def test_settings_that_make_no_sense(wrong):
    with pytest.raises(DataError):
        SelectionSettings(**wrong)


def test_a_class_with_a_lower_threshold_reaches_full_weight_earlier() -> None:
    p = torch.full((1, 10, 3, 3, 3), 0.5 / 9)
    p[:, 1] = 0.5
    p[0, :, 1, 1, 1] = 0.25 / 9
    p[0, 1, 1, 1, 1] = 0.75  # 0.25 above an adapted threshold of 0.5, the width of the ramp
    found = select_voxels(p.log(), torch.ones(1, 3, 3, 3, dtype=torch.bool), SelectionSettings(keep_share=1.0))
    assert found.weights[0, 1, 1, 1].item() == pytest.approx(1.0, abs=1e-4)
    assert found.weights[0, 0, 0, 0].item() == pytest.approx(0.1, abs=1e-4)


def test_thresholds_are_those_of_what_may_be_selected() -> None:
    random = torch.Generator().manual_seed(0)
    logits = torch.randn(1, 10, 6, 5, 4, generator=random)
    allowed = torch.rand(1, 6, 5, 4, generator=random) < 0.5
    surer = torch.where(allowed[:, None], logits, 5 * logits)
    settings = SelectionSettings(floor=0.0, spatial=1e-9, spatial_floor=0.0)
    found, other = (select_voxels(each, allowed, settings).weights for each in (logits, surer))
    assert (found > 0).any()
    assert torch.equal(found, other)
