from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from ugocc.data.frame import Frame, LidarSweep
from ugocc.evaluation.origins import SceneOrigins
from ugocc.geometry.grid import OCC3D_GRID, VoxelGrid
from ugocc.geometry.rigid import yaw_matrix

EGO_T_LIDAR = yaw_matrix(0.3, (0.9, 0.1, 1.8))


def drive(count: int, step: float, scene: str = "a", lidar: bool = True, rise: float = 0.0) -> list[Frame]:
    """Frames along a line that heads 90 degrees left in the world."""
    frames = []
    for i in range(count):
        pose = yaw_matrix(np.pi / 2, (5.0, 3.0 + i * step, i * rise))
        sweep = LidarSweep(lambda: np.zeros((0, 4), np.float32), "none", EGO_T_LIDAR, pose, i)
        frames.append(Frame("f", scene, f"{scene}{i}", i, pose, (), sweep if lidar else None))
    return frames


def test_places_of_the_scene_ahead_and_behind() -> None:
    origins = SceneOrigins(drive(3, 2.0))
    assert np.allclose(origins["a1"], [(-1.1, 0.1, 1.8), (0.9, 0.1, 1.8), (2.9, 0.1, 1.8)])


def test_eight_at_most_evenly_and_inside_the_margin() -> None:
    origins = SceneOrigins(drive(40, 3.0))
    found = origins["a0"]
    assert len(found) == 8
    assert np.allclose(found[0], (0.9, 0.1, 1.8))
    assert 36 < found[-1, 0] < 39  # 38.1 m: the last place less than 39 m ahead
    assert 39 < 0.9 + 3 * 13


def test_scenes_do_not_mix_and_a_missing_lidar_has_the_usual_place() -> None:
    origins = SceneOrigins([*drive(2, 2.0), *drive(1, 2.0, scene="b", lidar=False)])
    assert origins["b0"].shape == (1, 3)
    assert origins["b0"][0] == pytest.approx((0.985, 0.0, 1.84))


def test_points_in_the_ego_frame_say_nothing_of_the_place_of_the_lidar() -> None:
    frame = drive(1, 2.0)[0]
    assert frame.lidar is not None
    origins = SceneOrigins([replace(frame, lidar=replace(frame.lidar, ego_T_lidar=np.eye(4)))])
    assert origins["a0"][0] == pytest.approx((0.985, 0.0, 1.84))


def test_only_places_inside_the_grid_in_height() -> None:
    assert len(SceneOrigins(drive(10, 1.0, rise=1.0))["a0"]) == 4  # 1.8 to 4.8 m; the grid ends at 5.4
    low = VoxelGrid((-40.0, -40.0, -1.0), (200, 200, 4), 0.4)
    assert np.allclose(SceneOrigins(drive(3, 1.0), low)["a1"], [(0.9, 0.1, 1.8)])  # none inside: its own


def test_a_grid_that_does_not_hold_the_car_has_none() -> None:
    ahead = VoxelGrid((4.0, -20.0, -1.0), (60, 100, 16), 0.4)
    assert SceneOrigins(drive(1, 1.0), ahead)["a0"].shape == (0, 3)


def test_grid_default() -> None:
    assert SceneOrigins([]).grid == OCC3D_GRID
