from __future__ import annotations

import pytest
import torch
from torch import nn

from ugocc.labels import FREE, OCC3D_NUSCENES_COUNTS
from ugocc.models.blocks import resize
from ugocc.models.heads import HeightHead, HeightHeadSettings, VoxelHead, VoxelHeadSettings, class_prior


def test_channels_become_heights():
    """Logit of class c at height k is channel k * 10 + c of the last convolution."""
    head = HeightHead(3, 4, HeightHeadSettings(4, 5)).eval()
    nn.init.zeros_(head.classify.weight)
    head.classify.bias.data = torch.arange(40.0)
    logits = head(torch.randn(2, 3, 6, 7))
    assert logits.shape == (2, 10, 6, 7, 4)
    assert logits[1, 3, 5, 6].tolist() == [3, 13, 23, 33]


def test_columns_do_not_mix_beyond_the_first_convolution():
    head = HeightHead(3, 2, HeightHeadSettings(4, 5)).eval()
    bev = torch.randn(1, 3, 9, 9, requires_grad=True)
    head(bev)[0, :, 4, 4].sum().backward()
    touched = bev.grad.abs().sum(dim=(0, 1)).nonzero()
    assert (touched - 4).abs().max() == 1


def test_fresh_heads_predict_the_class_frequencies():
    frequency = torch.from_numpy(OCC3D_NUSCENES_COUNTS / OCC3D_NUSCENES_COUNTS.sum())
    prior = class_prior()
    torch.testing.assert_close(prior.softmax(0)[[0, 3, FREE]], frequency[[0, 3, FREE]].float(), rtol=0.01, atol=0)
    assert prior.exp().min() == pytest.approx(1e-3)
    flat = HeightHead(3, 2, HeightHeadSettings(4, 5))
    deep = VoxelHead(3, 1, (2, 2, 2), VoxelHeadSettings(4))
    assert torch.equal(flat.classify.bias, prior.repeat(2))
    assert torch.equal(deep.classify.bias, prior)


def test_levels_are_mixed_with_the_weights_of_the_finest():
    torch.manual_seed(0)
    head = VoxelHead(3, 2, (8, 8, 4), VoxelHeadSettings(4)).eval()
    levels = [torch.randn(1, 3, 4, 4, 2), torch.randn(1, 3, 2, 2, 1)]
    fine, coarse = (conv(level) for conv, level in zip(head.levels, levels, strict=True))
    weights = resize(head.mixture(fine), (8, 8, 4)).softmax(1)
    mixed = weights[:, :1] * resize(fine, (8, 8, 4)) + weights[:, 1:] * resize(coarse, (8, 8, 4))
    expected = head.classify(head.hidden(mixed))
    assert expected.shape == (1, 10, 8, 8, 4)
    torch.testing.assert_close(head(levels), expected)
    # All weight on one level leaves the other without influence.
    nn.init.zeros_(head.mixture.weight)
    head.mixture.bias.data = torch.tensor([50.0, -50.0])
    torch.testing.assert_close(head([levels[0], levels[1] * 9]), head(levels))
