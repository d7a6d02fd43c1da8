from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from ugocc.errors import DataError
from ugocc.losses.semantics import SemanticLossSettings, downsample_labels, semantic_loss

PUBLISHED = (5.0, 5.0, 10.0, 2.0, 2.0, 4.0, 1.0, 1.0, 3.0, 4.0)


def slow_majority(labels: np.ndarray, rows: int, columns: int) -> np.ndarray:
    tall, wide = labels.shape[0] // rows, labels.shape[1] // columns
    out = np.full((rows, columns), 255, dtype=np.uint8)
    for v in range(rows):
        for u in range(columns):
            known = [int(c) for c in labels[v * tall : (v + 1) * tall, u * wide : (u + 1) * wide].flatten() if c != 255]
            if known:
                votes = Counter(known)
                out[v, u] = min(votes, key=lambda c: (-votes[c], c))
    return out


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.floats(0, 1))
def test_majority_of_every_cell(seed, unknown):
    random = np.random.default_rng(seed)
    labels = random.integers(0, 10, (2, 12, 20)).astype(np.uint8)
    labels[random.random(labels.shape) < unknown] = 255
    fast = downsample_labels(torch.from_numpy(labels), (3, 5))
    assert fast.dtype == torch.uint8
    np.testing.assert_array_equal(fast, np.stack([slow_majority(image, 3, 5) for image in labels]))


def test_nearest_takes_the_middle_pixel():
    labels = torch.arange(36, dtype=torch.uint8).view(6, 6)
    assert downsample_labels(labels, (2, 2), "nearest").tolist() == [[7, 10], [25, 28]]
    assert downsample_labels(labels[:4, :4], (2, 2), "nearest").tolist() == [[0, 2], [12, 14]]


def test_loss_is_the_weighted_cross_entropy_of_known_cells():
    torch.manual_seed(0)
    logits = torch.randn(2, 3, 10, 4, 5, dtype=torch.float64)
    labels = torch.randint(0, 10, (2, 3, 4, 5)).to(torch.uint8)
    labels[torch.rand(labels.shape) < 0.3] = 255
    expected = F.cross_entropy(
        logits.flatten(0, 1),
        labels.flatten(0, 1).long(),
        weight=torch.tensor(PUBLISHED, dtype=torch.float64),
        ignore_index=255,
    )
    torch.testing.assert_close(semantic_loss(logits, labels, SemanticLossSettings()), 2.5 * expected)


def test_weights_follow_the_classes():
    """A pedestrian pixel counts ten times as much as one of others."""
    settings_ = SemanticLossSettings(weight=1.0)
    assert settings_.class_weights == PUBLISHED
    logits = torch.zeros(1, 10, 1, 2)
    logits[0, 2, 0, 0] = 3.0  # right about the pedestrian, clueless about the other
    labels = torch.tensor([[[2, 6]]], dtype=torch.uint8)
    right, clueless = -torch.log_softmax(logits[0, :, 0, 0], 0)[2], torch.log(torch.tensor(10.0))
    torch.testing.assert_close(semantic_loss(logits, labels, settings_), (10 * right + clueless) / 11)


def test_pixel_weights_switch_cells_off():
    torch.manual_seed(0)
    logits = torch.randn(1, 10, 2, 2)
    labels = torch.tensor([[[0, 1], [2, 3]]], dtype=torch.uint8)
    weights = torch.tensor([[[1.0, 0.0], [1.0, 0.0]]])
    masked = labels.clone()
    masked[weights == 0] = 255
    settings_ = SemanticLossSettings()
    torch.testing.assert_close(
        semantic_loss(logits, labels, settings_, weights), semantic_loss(logits, masked, settings_)
    )


def test_nothing_known_is_no_loss_and_no_gradient():
    logits = torch.randn(1, 2, 10, 4, 4, requires_grad=True)
    loss = semantic_loss(logits, torch.full((1, 2, 16, 16), 255, dtype=torch.uint8), SemanticLossSettings())
    loss.backward()
    assert loss.item() == 0
    assert logits.grad.abs().max() == 0


def test_gradient_by_finite_differences():
    torch.manual_seed(0)
    logits = torch.randn(1, 10, 2, 2, dtype=torch.float64, requires_grad=True)
    labels = torch.tensor([[[0, 255], [9, 3]]], dtype=torch.uint8)
    assert torch.autograd.gradcheck(lambda x: semantic_loss(x, labels, SemanticLossSettings()), logits)


def test_half_precision_logits():
    logits = torch.randn(1, 10, 2, 2)
    labels = torch.tensor([[[0, 5], [9, 3]]], dtype=torch.uint8)
    half = semantic_loss(logits.bfloat16(), labels, SemanticLossSettings())
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, semantic_loss(logits.bfloat16().float(), labels, SemanticLossSettings()))


def test_wrong_number_of_class_weights():
    with pytest.raises(DataError, match="class_weights"):
        SemanticLossSettings(class_weights=(1.0, 2.0))
