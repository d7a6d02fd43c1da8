from __future__ import annotations

import pytest
import torch

from ugocc.models import blocks
from ugocc.models.blocks import NARROW, ResidualBlock, conv_norm, residual_stage, resize


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


@pytest.mark.parametrize("dimensions", [2, 3])
def test_a_narrow_shortcut_keeps_the_cells_that_a_strided_convolution_keeps(dimensions):
    size = (7, 6, 5)[:dimensions]
    narrow = ResidualBlock(8, 20, 2, dimensions).eval()
    _, conv, norm = narrow.shortcut
    plain = conv_norm(8, 20, 1, 2, dimensions=dimensions).eval()
    plain.load_state_dict(
        {f"0.{k}": v for k, v in conv.state_dict().items()} | {f"1.{k}": v for k, v in norm.state_dict().items()}
    )
    x = torch.randn(2, 8, *size)
    torch.testing.assert_close(narrow.shortcut(x), plain(x))
    wide = ResidualBlock(NARROW, 20, 2, dimensions).shortcut
    assert wide[0].stride == (2,) * dimensions


@pytest.mark.parametrize(("depth", "exact"), [(1, True), (2, True), (3, False), (4, False)])
@pytest.mark.parametrize("kernel", [1, 3])
def test_bfloat16_is_left_where_it_is_wrong_on_some_processors(monkeypatch, kernel, depth, exact):
    conv = conv_norm(16, 8, kernel, 2, dimensions=3)[0]
    x = torch.randn(1, 16, 6, 6, depth)
    plain = conv(x)
    assert (plain.shape[-1] == 1) == exact
    with torch.autocast("cpu", torch.bfloat16):
        monkeypatch.setattr(blocks, "has_amx", lambda: False)
        assert conv(x).dtype == torch.bfloat16
        monkeypatch.setattr(blocks, "has_amx", lambda: True)
        found = conv(x)
    assert found.dtype == (torch.float32 if exact else torch.bfloat16)
    torch.testing.assert_close(found.float(), plain, rtol=0 if exact else 0.05, atol=1e-6 if exact else 0.05)
