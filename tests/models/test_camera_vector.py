from __future__ import annotations

import torch

from ugocc.data.prepare import InputSettings
from ugocc.geometry.grid import VoxelGrid
from ugocc.models.camera_vector import CAMERA_NUMBERS, camera_vector, without_heading
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


def test_canonical_vector_cannot_tell_where_a_camera_sits_or_heads(make_batch):
    """A rear camera is a front camera on another side of the car."""
    batch = make_batch(INPUT, cameras=4)
    batch.intrinsics[0, :] = batch.intrinsics[0, 0].clone()
    batch.bev_T_ego[0, 0, 0] = -1.0
    plain, canonical = (camera_vector(real_cameras(batch), kind) for kind in (False, True))
    assert not torch.allclose(plain[0], plain[2])
    torch.testing.assert_close(canonical, canonical[:1].expand(4, -1))


def test_canonical_vector_still_tells_a_mirror_pitch_and_roll(make_batch):
    batch = make_batch(INPUT, cameras=3)
    batch.intrinsics[0, :] = batch.intrinsics[0, 0].clone()
    batch.image_affine[0, 1, 0, 0] *= -1
    down = torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.96, 0.28], [0.0, -0.28, 0.96]])  # about the camera's x axis
    batch.ego_T_camera[0, 2, :3, :3] = batch.ego_T_camera[0, 2, :3, :3] @ down
    a, b, c = camera_vector(real_cameras(batch), canonical=True)
    assert a[4] * b[4] < 0
    torch.testing.assert_close(a[15:], b[15:])
    assert not torch.allclose(a[15:], c[15:])


def test_heading_is_taken_out_and_nothing_else():
    random = torch.Generator().manual_seed(0)
    turned, _ = torch.linalg.qr(torch.randn(50, 3, 3, generator=random, dtype=torch.float64))
    level = without_heading(turned)
    torch.testing.assert_close(level[:, 1, 2], torch.zeros(50, dtype=torch.float64))
    assert (level[:, 0, 2] >= 0).all()
    torch.testing.assert_close(level[:, 2], turned[:, 2])
    torch.testing.assert_close(level @ level.mT, torch.eye(3, dtype=torch.float64).expand(50, 3, 3))
    vertical = torch.tensor([[[1.0, 0, 0], [0, -1, 0], [0, 0, -1]]])
    torch.testing.assert_close(without_heading(vertical), vertical)
