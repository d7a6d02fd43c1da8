from __future__ import annotations

import pytest
import torch

from ugocc.models.blocks import ResidualBlock, conv_norm, residual_stage, resize


@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("stride", [1, 2])
def test_residual_stage_shapes(dimensions, stride):
    size = (8, 6, 4)[:dimensions]
    stage = residual_stage(4, 6, stride, 2, dimensions)
    assert stage(torch.randn(2, 4, *size)).shape == (2, 6, *(n // stride for n in size))


def test_residual_block_is_the_identity_when_its_second_norm_is_zero():
    block = ResidualBlock(4, 4).eval()
    torch.nn.init.zeros_(block.second[1].weight)
    x = torch.rand(1, 4, 5, 5)
    assert torch.equal(block(x), x)


@pytest.mark.parametrize(("kernel", "dilation"), [(1, 1), (3, 1), (3, 6)])
def test_convolutions_keep_the_size(kernel, dilation):
    assert conv_norm(2, 3, kernel, dilation=dilation)(torch.randn(1, 2, 7, 9)).shape == (1, 3, 7, 9)


def test_resize_keeps_a_linear_ramp_between_cell_centres():
    ramp = torch.arange(4.0).view(1, 1, 4, 1, 1).expand(1, 1, 4, 2, 2)
    fine = resize(ramp, (8, 2, 2))[0, 0, :, 0, 0]
    # Centres of halved cells lie a quarter of a coarse cell beside the coarse centre; the ends are held.
    torch.testing.assert_close(fine, torch.tensor([0, 0.25, 0.75, 1.25, 1.75, 2.25, 2.75, 3]))
    assert resize(ramp, (4, 2, 2)) is ramp
