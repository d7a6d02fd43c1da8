from __future__ import annotations

import numpy as np
import torch

from ugocc.data.batch import collate
from ugocc.data.prepare import InputSettings
from ugocc.geometry.camera import flip_affine, resize_affine, rotate_affine
from ugocc.geometry.grid import VoxelGrid
from ugocc.models.cameras import real_cameras

INPUT = InputSettings(width=64, height=32, grid=VoxelGrid((-8.0, -8.0, -1.0), (4, 4, 2), 4.0))


def test_real_cameras_come_sample_after_sample_and_spread_back(make_batch):
    batch = collate([make_batch(INPUT, cameras=1, seed=0), make_batch(INPUT, cameras=3, seed=1)])
    cameras = real_cameras(batch)
    assert cameras.sample.tolist() == [0, 1, 1, 1]
    assert torch.equal(cameras.images[1:], batch.images[1])
    assert torch.equal(cameras.volume_T_camera[0], batch.ego_T_camera[0, 0])
    spread = cameras.spread(torch.arange(4.0)[:, None], fill=-1)
    assert spread[..., 0].tolist() == [[0, -1, -1], [1, 2, 3]]


def test_focal_length_sees_resizing_but_neither_flips_nor_turns(make_batch):
    batch = make_batch(INPUT, cameras=4)
    batch.intrinsics[..., 0, 0], batch.intrinsics[..., 1, 1] = 1000.0, 1000.0
    half = resize_affine(0.5, 0.5)
    for i, affine in enumerate((np.eye(3), half, flip_affine(64) @ half, rotate_affine(5.4, 64, 32) @ half)):
        batch.image_affine[0, i] = torch.from_numpy(affine).float()
    torch.testing.assert_close(real_cameras(batch).focal_lengths(), torch.tensor([1000.0, 500, 500, 500]))


def test_height_is_above_ground_whatever_the_augmentation_of_the_volume(make_batch):
    batch = make_batch(INPUT, cameras=2)
    batch.ego_T_camera[0, :, 2, 3] = torch.tensor([1.5, 2.1])
    batch.bev_T_ego[0, 2, 3] = 0.3
    torch.testing.assert_close(real_cameras(batch).heights(), torch.tensor([1.5, 2.1]))
    torch.testing.assert_close(real_cameras(batch).volume_T_camera[:, 2, 3], torch.tensor([1.8, 2.4]))


def test_calibration_is_not_rounded_by_autocast(make_batch):
    batch = make_batch(INPUT, cameras=6)
    exact = real_cameras(batch)
    with torch.autocast("cpu", torch.bfloat16):
        cast = real_cameras(batch)
        focal = cast.focal_lengths()
    assert torch.equal(cast.pixel_intrinsics, exact.pixel_intrinsics)
    assert torch.equal(cast.volume_T_camera, exact.volume_T_camera)
    assert torch.equal(focal, exact.focal_lengths())
