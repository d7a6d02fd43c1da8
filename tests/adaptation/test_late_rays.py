from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from ugocc.adaptation.late_rays import SLACK, free_factor, stopping_ratios
from ugocc.adaptation.views import Views, cell_pixels
from ugocc.geometry.camera import NEAR
from ugocc.geometry.grid import VoxelGrid
from ugocc.labels import BUILDING, FREE

GRID = VoxelGrid((-4.0, -4.0, -1.0), (40, 40, 10), 0.4)
SIZE, CELLS = (24, 32), (6, 8)
FORWARD = torch.tensor([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]], dtype=torch.float64)


def _views(cameras: int = 2) -> Views:
    """Cameras that look along x, each a bit to the left of the one before."""
    pose = torch.eye(4, dtype=torch.float64).repeat(1, cameras, 1, 1)
    pose[..., :3, :3] = FORWARD
    pose[0, :, 1, 3] = 0.3 * torch.arange(cameras)
    pose[..., 2, 3] = 0.5
    intrinsics = torch.tensor([[20.0, 0, 15.5], [0, 20.0, 11.5], [0, 0, 1]], dtype=torch.float64)
    visible = torch.ones(1, cameras, *SIZE, dtype=torch.bool)
    return Views(torch.ones(1, cameras, dtype=torch.bool), intrinsics.repeat(1, cameras, 1, 1), pose, visible)


def _volume(seed: int) -> Tensor:
    logits = torch.randn(10, *GRID.shape, generator=torch.Generator().manual_seed(seed))
    logits[FREE] += 4
    return logits.softmax(0)


def _slow(volume: Tensor, views: Views, depth: Tensor) -> list[float]:
    found = []
    pixels = cell_pixels(CELLS, SIZE, depth).double().numpy()
    for camera in range(depth.shape[1]):
        pose, lens = views.volume_T_camera[0, camera].numpy(), views.intrinsics[0, camera].numpy()
        for pixel, end in zip(pixels, depth[0, camera].flatten().tolist(), strict=True):
            direction = pose[:3, :3] @ np.linalg.inv(lens) @ np.append(pixel, 1)
            surface = pose[:3, 3] + end * direction
            if end <= NEAR or not ((surface > GRID.lower) & (surface < GRID.upper)).all():
                continue
            last = end + SLACK * GRID.voxel_size / np.linalg.norm(direction)
            ratios = []
            for along in np.linspace(NEAR, last, 2000):
                cell = np.floor((pose[:3, 3] + along * direction - GRID.lower) / GRID.voxel_size).astype(int)
                if ((cell >= 0) & (cell < GRID.shape)).all():
                    p = volume[(slice(None), *cell)]
                    ratios.append(max(float(v) for c, v in enumerate(p) if c != FREE) / float(p[FREE]))
            found.append(max(ratios))
    return found


def test_ratios_equal_a_loop_over_rays() -> None:
    """Samples half a voxel apart miss a corner here and there, so nearly all are equal and none is greater."""
    depth = 1.5 + 12 * torch.rand(1, 2, *CELLS, generator=torch.Generator().manual_seed(1))
    depth[0, 0, :2] = 0.0
    volume = _volume(0)
    found = stopping_ratios(volume, _views(), depth, GRID)
    expected = torch.tensor(_slow(volume, _views(), depth))
    assert len(found) == len(expected) > 30
    assert (found <= expected * 1.0001).all()
    assert float((found - expected).abs().le(1e-4 * expected).float().mean()) > 0.75


def _wall(at: float, probability: float) -> Tensor:
    """A wall one voxel thick across x."""
    volume = torch.zeros(10, *GRID.shape)
    row = math.floor((at - GRID.lower[0]) / GRID.voxel_size)
    volume[BUILDING, row] = probability
    volume[FREE] = 1 - volume[BUILDING]
    return volume


def test_a_wall_stops_rays_whose_surface_it_is_and_no_others() -> None:
    depth = torch.full((1, 2, *CELLS), 5.0)
    at_wall = stopping_ratios(_wall(5.0, 0.4), _views(), depth, GRID)
    torch.testing.assert_close(at_wall, torch.full_like(at_wall, 0.4 / 0.6))
    beyond = stopping_ratios(_wall(8.0, 0.4), _views(), depth, GRID)
    assert float(beyond.max()) == 0
    assert len(stopping_ratios(_wall(5.0, 0.4), _views(), torch.zeros(1, 2, *CELLS), GRID)) == 0
    outside = torch.full((1, 2, *CELLS), 60.0)
    assert len(stopping_ratios(_wall(5.0, 0.4), _views(), outside, GRID)) == 0


def test_with_the_factor_as_many_rays_pass_as_on_the_source() -> None:
    random = torch.Generator().manual_seed(0)
    target, source = 2 * torch.rand(1000, generator=random), 5 * torch.rand(800, generator=random)
    factor = free_factor(target, source, 0.01)
    assert abs(float((target <= factor).float().mean()) - float((source <= 1).float().mean())) < 2e-3
    assert 0.3 < factor < 0.5


def test_free_never_counts_more_than_a_class_nor_less_than_it_may() -> None:
    few, many = torch.full((10,), 3.0), torch.full((10,), 0.1)
    assert free_factor(few, many, 0.3) == 1.0
    assert free_factor(many, few, 0.3) == 0.3
    assert free_factor(torch.zeros(0), many, 0.3) == 1.0
