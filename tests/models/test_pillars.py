from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from ugocc.data.prepare import InputSettings
from ugocc.geometry.grid import VoxelGrid
from ugocc.models.cameras import real_cameras
from ugocc.models.pillars import look, pillar_anchors

INPUT = InputSettings(width=64, height=32, grid=VoxelGrid((-8.0, -8.0, -1.0), (16, 16, 4), 1.0))


def test_anchors_stand_on_the_middles_of_cells():
    anchors = pillar_anchors(INPUT.grid, (4, 8), (0.5, 2.0))
    assert anchors.shape == (32, 2, 3)
    assert anchors[0].tolist() == [[-6.0, -7.0, 0.5], [-6.0, -7.0, 2.0]]
    assert anchors[8 + 3, 0].tolist() == [-2.0, -1.0, 0.5]


def test_sight_equals_a_loop_over_points(make_batch):
    cameras = real_cameras(make_batch(INPUT, cameras=3))
    anchors = pillar_anchors(INPUT.grid, (5, 5), (0.0, 1.5, 3.0))
    sight = look(cameras, anchors)
    for m in range(3):
        k, pose = cameras.pixel_intrinsics[m].double().numpy(), cameras.volume_T_camera[m].double().numpy()
        for q in range(25):
            for a in range(3):
                point = np.linalg.inv(pose) @ [*anchors[q, a].tolist(), 1.0]
                ahead = point[2] > 0.1
                u, v, w = k @ point[:3]
                pixel = np.array([u / w, v / w]) if ahead else np.full(2, -1e3)
                inside = ahead and -0.5 <= pixel[0] < 63.5 and -0.5 <= pixel[1] < 31.5
                assert bool(sight.visible[m, q, a]) == inside
                np.testing.assert_allclose(sight.distances[m, q, a], point[2], atol=1e-4)
                if inside:
                    np.testing.assert_allclose(sight.places[m, q, a] * torch.tensor([64, 32]) - 0.5, pixel, atol=1e-3)
    assert sight.visible.any(dim=(1, 2)).all()
    assert not sight.visible.all(dim=2).any(dim=0).all()


def test_nothing_behind_a_camera_is_seen(make_batch):
    """Points behind land in the image too, whether one divides by their distance or by the least one allowed."""
    cameras = real_cameras(make_batch(INPUT, cameras=1))
    homogeneous = torch.tensor([[30 * 5, 15 * 5, 5], [30 * -5, 15 * -5, -5], [30 * 0.1, 15 * 0.1, -5]]).float()
    points = torch.linalg.inv(cameras.pixel_intrinsics[0]) @ homogeneous.T
    volume_T_camera = cameras.volume_T_camera[0]
    anchors = (volume_T_camera[:3, :3] @ points + volume_T_camera[:3, 3:]).T
    sight = look(cameras, anchors[:, None])
    torch.testing.assert_close(sight.distances.flatten(), torch.tensor([5.0, -5.0, -5.0]))
    assert ((sight.places[0, [0, 2]] > 0) & (sight.places[0, [0, 2]] < 1)).all()
    assert sight.visible.flatten().tolist() == [True, False, False]


def test_a_mirrored_volume_sees_mirrored_pillars(make_batch):
    batch = make_batch(INPUT, cameras=5)
    anchors = pillar_anchors(INPUT.grid, (6, 6), (0.0, 2.0))
    plain = look(real_cameras(batch), anchors)
    turned = replace(batch, bev_T_ego=torch.diag(torch.tensor([1.0, -1.0, 1.0, 1.0]))[None])
    mirrored = look(real_cameras(turned), anchors)
    for name in ("places", "distances", "visible"):
        there = getattr(mirrored, name).unflatten(1, (6, 6)).flip(2).flatten(1, 2)
        torch.testing.assert_close(getattr(plain, name), there, rtol=1e-3, atol=1e-3)


def test_sight_is_exact_under_autocast(make_batch):
    cameras = real_cameras(make_batch(INPUT, cameras=2))
    anchors = pillar_anchors(INPUT.grid, (4, 4), (0.0,))
    with torch.autocast("cpu", torch.bfloat16):
        low = look(cameras, anchors)
    assert torch.equal(low.places, look(cameras, anchors).places)
