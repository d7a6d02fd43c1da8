from __future__ import annotations

import torch

from ugocc.data.prepare import InputSettings
from ugocc.geometry.grid import VoxelGrid
from ugocc.models.camera_vector import CAMERA_NUMBERS, camera_vector
from ugocc.models.cameras import real_cameras

INPUT = InputSettings(width=64, height=32, grid=VoxelGrid((-8.0, -8.0, -1.0), (4, 4, 2), 4.0))


def test_plain_vector_holds_the_calibration(make_batch):
    batch = make_batch(INPUT, cameras=2)
    batch.bev_T_ego[0, 0, 0] = -1.0
    vector = camera_vector(real_cameras(batch))
    assert vector.shape == (2, CAMERA_NUMBERS)
    scale = 64 / 1600
    expected = [1266, 1266, 800, 450, scale, 0, 0, scale, 0, 32 - 36, -1, 0, 0, 1, 1]
    torch.testing.assert_close(vector[0, :15], torch.tensor(expected, dtype=torch.float32))
    torch.testing.assert_close(vector[1, 15:].view(3, 4), batch.ego_T_camera[0, 1, :3])


def test_canonical_vector_cannot_tell_focal_length_or_height(make_batch):
    """Two cameras that differ in f and h alone: the plain vectors differ, the canonical ones do not."""
    batch = make_batch(INPUT, cameras=2)
    batch.ego_T_camera[0, 1] = batch.ego_T_camera[0, 0]
    batch.ego_T_camera[0, 1, :3, 3] *= 1.4
    batch.intrinsics[0, 1] = batch.intrinsics[0, 0]
    batch.intrinsics[0, 1, 0, 0] = batch.intrinsics[0, 1, 1, 1] = 2060.0
    cameras = real_cameras(batch)
    plain, canonical = camera_vector(cameras), camera_vector(cameras, canonical=True)
    assert not torch.allclose(plain[0], plain[1])
    torch.testing.assert_close(canonical[0], canonical[1], rtol=1e-5, atol=1e-5)


def test_canonical_vector_cannot_tell_the_size_of_the_recording(make_batch):
    """The same view recorded at twice the resolution and scaled down twice as much is the same view."""
    batch = make_batch(INPUT, cameras=2)
    batch.ego_T_camera[0, 1] = batch.ego_T_camera[0, 0]
    batch.image_affine[0, 0] = torch.diag(torch.tensor([0.04, 0.04, 1.0]))
    batch.image_affine[0, 1] = torch.diag(torch.tensor([0.02, 0.02, 1.0]))
    batch.intrinsics[0, 1] = batch.intrinsics[0, 0] * torch.tensor([[2.0], [2.0], [1.0]])
    canonical = camera_vector(real_cameras(batch), canonical=True)
    torch.testing.assert_close(canonical[0], canonical[1])


def test_canonical_vector_still_tells_a_mirror_and_a_heading(make_batch):
    batch = make_batch(INPUT, cameras=2)
    batch.image_affine[0, 1, 0, 0] *= -1
    a, b = camera_vector(real_cameras(batch), canonical=True)
    assert a[4] * b[4] < 0
    assert not torch.allclose(a[15:], b[15:])
