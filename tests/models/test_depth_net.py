from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from ugocc.data.prepare import InputSettings
from ugocc.geometry.grid import VoxelGrid
from ugocc.models.cameras import real_cameras
from ugocc.models.depth_net import (
    GROUND_NUMBERS,
    CameraNorm,
    DepthBinSettings,
    DepthNet,
    DepthNetSettings,
    PyramidPooling,
    bin_centres,
    bin_depths,
    canonical_scale,
    depth_bins,
    ground_code,
    solid_angle,
)

INPUT = InputSettings(width=64, height=32, grid=VoxelGrid((-8.0, -8.0, -1.0), (4, 4, 2), 4.0))
SMALL = DepthNetSettings(8, 5, 1, (), DepthBinSettings(1.0, 9.0, 4))


def test_full_bins_are_those_of_the_method():
    centres = bin_centres(DepthBinSettings())
    torch.testing.assert_close(centres, torch.arange(82) * 0.5 + 1.25)


def test_log_bins_have_one_ratio():
    centres = bin_centres(DepthBinSettings(1.0, 16.0, 4, "log"))
    torch.testing.assert_close(centres, torch.tensor([1.5, 3.0, 6.0, 12.0]))


def test_canonical_scale_by_hand(make_batch):
    batch = make_batch(INPUT, cameras=4)
    # Reference: 0.5 x 64 = 32 pixels at 2 m. Same; twice the focal length; half the height; far out of range.
    settings = DepthNetSettings(canonical=True, reference_focal=0.5, reference_height=2.0, height_power=1.0)
    batch.image_affine[0] = torch.eye(3)
    focal, height = torch.tensor([32.0, 64.0, 32.0, 320.0]), torch.tensor([2.0, 2.0, 1.0, 3.0])
    batch.intrinsics[0, :, 0, 0] = batch.intrinsics[0, :, 1, 1] = focal
    batch.ego_T_camera[0, :, 2, 3] = height
    cameras = real_cameras(batch)
    torch.testing.assert_close(canonical_scale(cameras, settings), torch.tensor([1.0, 2.0, 0.5, 2.5]))
    of_sizes = canonical_scale(cameras, replace(settings, height_power=0.0))
    torch.testing.assert_close(of_sizes, torch.tensor([1.0, 2.0, 1.0, 2.5]))
    depths = bin_depths(cameras, settings)
    torch.testing.assert_close(depths[1], 2 * bin_centres(settings.bins))
    plain = bin_depths(cameras, DepthNetSettings(canonical=False))
    assert (plain == bin_centres(settings.bins)).all()


@pytest.mark.parametrize("focal", [24.0, 48.0, 64.0])
def test_a_wall_is_lifted_alike_through_every_lens(focal, make_batch):
    """Cells that see a wall of 4 m x 4 m, 10 m ahead, weighted by their solid angle: their sum knows no lens."""
    settings = DepthNetSettings(canonical=True, reference_focal=0.5)
    batch = make_batch(replace(INPUT, width=256, height=256), cameras=1)
    batch.image_affine[0] = torch.eye(3)
    batch.intrinsics[0, 0] = torch.tensor([[4 * focal, 0, 127.5], [0, 4 * focal, 127.5], [0, 0, 1]])
    cameras = real_cameras(batch)
    v, u = torch.meshgrid(torch.arange(256.0), torch.arange(256.0), indexing="ij")
    x, y = (10 * (pixel - 127.5) / (4 * focal) for pixel in (u, v))
    on_wall = ((x.abs() < 2) & (y.abs() < 2)).sum()
    reference = (4 / 10 * 0.5 * 256) ** 2
    assert on_wall * solid_angle(cameras, settings)[0] == pytest.approx(reference, rel=0.06)


def test_canonical_depth_of_the_ground_depends_on_the_row_alone(make_batch):
    """Where every level camera sees the ground in row v, metric depth / scale is one number."""
    batch = make_batch(INPUT, cameras=3)
    settings = DepthNetSettings(canonical=True, height_power=1.0, scale_range=(1e-3, 1e3))
    batch.ego_T_camera[0, :, 2, 3] = torch.tensor([1.2, 1.5, 2.1])
    cameras = real_cameras(batch)
    k = cameras.pixel_intrinsics
    row_below_horizon = 7.0
    ground = k[:, 1, 1] * cameras.heights() / row_below_horizon
    canonical = ground / canonical_scale(cameras, settings)
    assert ground.std() > 1
    torch.testing.assert_close(canonical, canonical[:1].expand(3))


def test_the_ground_code_says_where_each_ray_meets_the_ground(make_batch):
    """Against a slow walk: unproject every cell, meet z = 0, divide the depth by the canonical scale."""
    batch = make_batch(INPUT, cameras=3)
    batch.ego_T_camera[0, :, 2, 3] = torch.tensor([1.2, 1.5, 2.1])
    cameras = real_cameras(batch)
    settings = DepthNetSettings(canonical=True, scale_range=(1e-3, 1e3))
    code = ground_code(cameras, settings, (4, 8))
    assert code.shape == (3, GROUND_NUMBERS, 4, 8)
    seen = 0
    for i, (k, pose) in enumerate(zip(cameras.pixel_intrinsics, cameras.ego_T_camera, strict=True)):
        scale = canonical_scale(cameras, settings)[i]
        for row in range(4):
            for column in range(8):
                pixel = torch.tensor([column * 8 + 3.5, row * 8 + 3.5, 1.0])
                falls = -(pose[:3, :3] @ torch.linalg.inv(k) @ pixel)[2]
                depth = pose[2, 3] / falls
                torch.testing.assert_close(code[i, 0, row, column], 10 * scale / depth, rtol=1e-4, atol=1e-4)
                if falls <= 0:
                    assert not code[i, 1:, row, column].any()
                elif 2 < depth / scale < 60:
                    seen += 1
                    peak = int(code[i, 1:, row, column].argmax())
                    nearest = torch.linspace(math.log(2), math.log(60), GROUND_NUMBERS - 1)
                    assert peak == int((nearest - torch.log(depth / scale)).abs().argmin())
    assert seen > 10


def test_camera_noise_only_in_training():
    torch.manual_seed(0)
    net = DepthNet(6, DepthNetSettings(8, 5, 1, (), DepthBinSettings(1.0, 9.0, 4), camera_noise=0.05))
    features, vector = torch.randn(4, 6, 4, 8), torch.randn(4, 27) * 100
    net.eval()
    assert all(torch.equal(a, b) for a, b in zip(net(features, vector), net(features, vector), strict=True))
    net.train()
    assert not any(torch.equal(a, b) for a, b in zip(net(features, vector), net(features, vector), strict=True))
    silent = DepthNet(6, DepthNetSettings(8, 5, 1, (), DepthBinSettings(1.0, 9.0, 4), camera_noise=0.0)).train()
    assert torch.equal(silent(features, vector)[1], silent(features, vector)[1])


def test_camera_noise_has_the_size_asked_for():
    seen = []
    net = DepthNet(6, DepthNetSettings(8, 5, 1, (), DepthBinSettings(1.0, 9.0, 4), camera_noise=0.05)).train()
    net.camera_norm.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0]))
    vector = torch.full((400, 27), 200.0)
    torch.manual_seed(0)
    net(torch.zeros(400, 6, 1, 1), vector)
    relative = seen[0] / vector - 1
    assert abs(relative.std().item() - 0.05) < 0.003
    assert abs(relative.mean().item()) < 0.003


def test_gate_depends_on_the_camera():
    torch.manual_seed(0)
    net = DepthNet(6, SMALL).eval()
    features = torch.randn(1, 6, 4, 8)
    a, b = (net(features, torch.full((1, 27), v))[1] for v in (0.0, 2.0))
    assert not torch.allclose(a, b)


@pytest.mark.parametrize("rates", [(), (1, 2)])
def test_a_single_camera_can_be_trained_on(rates):
    net = DepthNet(6, DepthNetSettings(8, 5, 1, rates, DepthBinSettings(1.0, 9.0, 4))).train()
    context, depth = net(torch.randn(1, 6, 4, 8), torch.randn(1, 27))
    assert context.shape == (1, 5, 4, 8)
    assert depth.shape == (1, 4, 4, 8)
    assert torch.isfinite(depth).all()


def test_camera_norm_normalises_and_clamps():
    norm = CameraNorm(2)
    values = torch.randn(50, 2) * torch.tensor([30.0, 0.0]) + torch.tensor([1000.0, 1.5])
    out = norm.train()(values)
    torch.testing.assert_close(out[:, 0].std(unbiased=False), torch.tensor(1.0), rtol=1e-3, atol=1e-3)
    before = norm.running_mean.clone()
    norm(values[:1])
    assert torch.equal(norm.running_mean, before)
    for _ in range(200):
        norm(values)
    # A number that never varied in training, moved a little, stays within reason.
    assert norm.eval()(values[:1] + torch.tensor([[0.0, 0.6]])).abs().max() <= 8


def test_pyramid_pooling_sees_the_whole_image():
    torch.manual_seed(0)
    pool = PyramidPooling(4, (1, 3)).eval()
    x = torch.randn(1, 4, 6, 20, requires_grad=True)
    pool(x)[0, :, 0, 0].sum().backward()
    assert x.grad[0, :, 5, 19].any()


def test_bins_by_hand():
    centres = torch.tensor([[1.5, 2.5, 3.5], [3.0, 5.0, 7.0]])  # the second camera's bins are twice as deep
    depth = torch.tensor([[[0.9, 1.0, 2.0, 3.99, 4.0]], [[1.99, 2.0, 4.0, 7.99, 8.0]]])
    index, inside = depth_bins(depth, centres)
    assert inside.tolist() == [[[False, True, True, True, False]]] * 2
    assert index[:, 0, 1:4].tolist() == [[0, 1, 2]] * 2
