from __future__ import annotations

import torch

from ugocc.models.voxel_encoder import VoxelEncoder, VoxelEncoderSettings


def test_voxel_encoder_levels():
    encoder = VoxelEncoder(3, VoxelEncoderSettings(widths=(4, 6, 8), strides=(1, 2, 2), blocks=2, channels=5)).eval()
    levels = encoder(torch.randn(2, 3, 16, 12, 8))
    assert [tuple(level.shape) for level in levels] == [(2, 5, 16, 12, 8), (2, 5, 8, 6, 4), (2, 5, 4, 3, 2)]


def test_coarse_levels_flow_into_fine_ones():
    encoder = VoxelEncoder(3, VoxelEncoderSettings(widths=(4, 6), strides=(1, 2), blocks=1, channels=5)).eval()
    volume = torch.randn(1, 3, 8, 8, 4)
    before = encoder(volume)[0]
    encoder.laterals[1][1].bias.data += 1.0
    after = encoder(volume)[0]
    assert ((after - before) >= 0).all()
    assert (after - before).max() > 0.9
