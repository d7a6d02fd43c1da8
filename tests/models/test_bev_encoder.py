from __future__ import annotations

import torch

from ugocc.models.bev_encoder import BevEncoder, BevEncoderSettings


def test_bev_encoder_keeps_the_resolution_and_sees_far():
    torch.manual_seed(0)
    encoder = BevEncoder(3, BevEncoderSettings(widths=(8, 12, 16), blocks=2, channels=5)).eval()
    bev = torch.randn(1, 3, 32, 32, requires_grad=True)
    out = encoder(bev)
    assert out.shape == (1, 5, 32, 32)
    out[0, :, 16, 16].sum().backward()
    assert bev.grad[0, :, 0, 16].any()
    assert bev.grad[0, :, 16, 31].any()
