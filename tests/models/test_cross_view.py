from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from ugocc.data.batch import Batch
from ugocc.data.prepare import InputSettings
from ugocc.errors import DataError
from ugocc.models.cameras import Cameras, real_cameras
from ugocc.models.cross_view import CrossView, CrossViewSettings, ray_directions

INPUT = InputSettings(width=96, height=64)
SETTINGS = CrossViewSettings(layers=2, heads=2, stride=32)
STRIDE = 16


def module() -> CrossView:
    torch.manual_seed(0)
    made = CrossView(8, STRIDE, SETTINGS).eval()
    torch.nn.init.normal_(made.result.weight)
    return made


def features(cameras: Cameras, rows: int = 4, columns: int = 6) -> Tensor:
    random = torch.Generator().manual_seed(1)
    return torch.randn(len(cameras.sample), 8, rows, columns, generator=random)


def slow(made: CrossView, maps: Tensor, cameras: Cameras) -> Tensor:
    """Sample by sample, token by token, without a place for cameras that are not there."""
    directions = ray_directions(cameras, tuple(maps.shape[-2:]))
    down, across = -(-maps.shape[2] // 2), -(-maps.shape[3] // 2)
    out = maps.clone()
    for sample in cameras.sample.unique():
        members = torch.nonzero(cameras.sample == sample)[:, 0]
        tokens = []
        for m in members:
            for i in range(down):
                for j in range(across):
                    square = (m, slice(None), slice(2 * i, 2 * i + 2), slice(2 * j, 2 * j + 2))
                    ray = F.normalize(directions[square].mean(dim=(1, 2)), dim=0)
                    tokens.append(maps[square].mean(dim=(1, 2)) + made.direction(ray))
        mixed = made.result(made.layers(torch.stack(tokens)[None]))[0]
        for m, of_camera in zip(members, mixed.split(down * across), strict=True):
            small = of_camera.T.reshape(1, 8, down, across)
            out[m] += F.interpolate(small, scale_factor=2.0, mode="bilinear")[0, :, : maps.shape[2], : maps.shape[3]]
    return out


@pytest.mark.parametrize(("rows", "columns"), [(4, 6), (3, 5)])
def test_equals_a_loop_over_samples_and_tokens(make_batch, rows, columns):
    cameras = real_cameras(make_batch(INPUT, cameras=3, samples=2))
    maps = features(cameras, rows, columns)
    made = module()
    torch.testing.assert_close(made(maps, cameras), slow(made, maps, cameras), rtol=1e-4, atol=1e-5)


def test_neither_the_order_of_cameras_nor_one_that_is_missing_matters(make_batch):
    batch = make_batch(INPUT, cameras=4)
    made = module()
    maps = features(real_cameras(batch))
    order = torch.tensor([2, 0, 3, 1])
    seen = made(maps, real_cameras(batch))
    torch.testing.assert_close(made(maps[order], real_cameras(picked(batch, [2, 0, 3, 1]))), seen[order])
    fewer = replace(batch, camera_mask=torch.tensor([[True, True, False, True]]))
    rest = maps[[0, 1, 3]]
    three = picked(batch, [0, 1, 3])
    torch.testing.assert_close(made(rest, real_cameras(fewer)), made(rest, real_cameras(three)))


def picked(batch: Batch, order: list[int]) -> Batch:
    """The batch with these cameras only, in this order."""
    fields = ("images", "camera_mask", "intrinsics", "image_affine", "ego_T_camera")
    return replace(batch, **{name: getattr(batch, name)[:, order] for name in fields})


def test_what_one_camera_sees_reaches_its_neighbours_but_not_another_sample(make_batch):
    cameras = real_cameras(make_batch(INPUT, cameras=2, samples=2))
    maps = features(cameras)
    made = module()
    changed = maps.clone()
    changed[0, :4] += 1
    moved = (made(changed, cameras) - made(maps, cameras)).abs().amax(dim=(1, 2, 3))
    assert moved[1] > 1e-4
    assert (moved[2:] == 0).all()


def test_a_fresh_module_changes_nothing_and_learns(make_batch):
    cameras = real_cameras(make_batch(INPUT, cameras=2))
    maps = features(cameras)
    fresh = CrossView(8, STRIDE, SETTINGS)
    out = fresh(maps, cameras)
    torch.testing.assert_close(out, maps)
    out.square().sum().backward()
    assert fresh.result.weight.grad.abs().sum() > 0


def test_directions_are_rays_of_the_cameras_in_the_ego_frame(make_batch):
    cameras = real_cameras(make_batch(INPUT, cameras=4))
    rays = ray_directions(cameras, (4, 6))
    torch.testing.assert_close(rays.norm(dim=1), torch.ones(4, 4, 6))
    ahead = torch.stack([torch.cos(torch.arange(4) * torch.pi / 2), torch.sin(torch.arange(4) * torch.pi / 2)], dim=1)
    assert ((rays[:, :2].mean(dim=(2, 3)) * ahead).sum(dim=1) > 0.6).all()
    assert (rays[:, 2, -1] < rays[:, 2, 0]).all()  # lower rows look further down


def test_settings_that_do_not_fit_are_refused():
    with pytest.raises(DataError, match="divisor of 8"):
        CrossView(8, 16, CrossViewSettings(heads=3))
    with pytest.raises(DataError, match="multiple of 16"):
        CrossView(8, 16, CrossViewSettings(heads=2, stride=24))
    with pytest.raises(DataError, match="at least 1"):
        CrossViewSettings(layers=0)
