from __future__ import annotations

import numpy as np
import pytest

from ugocc.geometry.grid import VoxelGrid
from ugocc.geometry.rigid import BODY_T_OPTICAL, from_rotation_translation, yaw_matrix
from ugocc.labels import FREE, VEHICLE
from ugocc.viz.bev import draw_bev
from ugocc.viz.charts import SERIES
from ugocc.viz.rig import Brush, Pinhole, draw_axes, draw_fields_of_view, draw_ground, on_plan
from ugocc.viz.view import View

GRID = VoxelGrid((-12.0, -12.0, -1.0), (24, 24, 1), 1.0)
K = np.array([[100.0, 0, 99.5], [0, 100.0, 49.5], [0, 0, 1]])


def camera(yaw: float, name: str = "camera") -> Pinhole:
    pose = yaw_matrix(yaw) @ from_rotation_translation(BODY_T_OPTICAL[:3, :3], (1.0, 0.0, 1.5))
    return Pinhole(name, K, 200, 100, pose)


def floor() -> np.ndarray:
    return draw_bev(np.full(GRID.shape, FREE, np.uint8), GRID, (240, 240))


def test_a_picture_of_twice_its_focal_length_is_ninety_degrees_wide():
    assert camera(0.0).degrees() == pytest.approx(90.0)


def test_corners_of_a_camera_that_looks_ahead_are_ahead_and_left_is_on_the_left():
    top_left, top_right, bottom_right, _ = camera(0.0).corners(2.0)
    assert top_left == pytest.approx([3.0, 2.0, 2.5])
    assert top_right == pytest.approx([3.0, -2.0, 2.5])
    assert bottom_right == pytest.approx([3.0, -2.0, 0.5])


def test_forward_is_up_and_left_is_left_on_the_plan():
    (centre, ahead, left) = on_plan(np.array([[0, 0], [6, 0], [0, 6]]), GRID, floor())
    assert centre == pytest.approx([120, 120])
    assert ahead == pytest.approx([120, 60])
    assert left == pytest.approx([60, 120])


def test_a_plan_that_is_not_square_is_where_it_was_drawn():
    grid = VoxelGrid((-12.0, -6.0, -1.0), (24, 12, 1), 1.0)
    volume = np.full(grid.shape, FREE, np.uint8)
    volume[18, 9] = VEHICLE
    plan = draw_bev(volume, grid, (240, 240), ego=False)
    rows, columns = np.nonzero(plan[..., 2].astype(int) - plan[..., 0] > 60)
    ((u, v),) = on_plan(np.array([[6.5, 3.5]]), grid, plan)
    assert (columns.mean() + 0.5, rows.mean() + 0.5) == pytest.approx((u, v))


@pytest.mark.parametrize(("yaw", "inside"), [(0.0, (60, 120)), (np.pi / 2, (120, 60)), (np.pi, (180, 120))])
def test_a_field_of_view_lies_where_the_camera_looks(yaw: float, inside: tuple[int, int]):
    before = floor()
    after = draw_fields_of_view(before, GRID, [camera(yaw, "")])
    changed = np.abs(after.astype(int) - before).sum(axis=2) > 20
    row, column = inside
    assert changed[row - 3 : row + 3, column - 3 : column + 3].all()
    opposite = (240 - row, 240 - column)
    assert not changed[opposite[0] - 3 : opposite[0] + 3, opposite[1] - 3 : opposite[1] + 3].any()


def test_axes_are_drawn_for_the_ego_frame_and_every_camera():
    blank = np.full((300, 400, 3), 255, np.uint8)
    view = View(azimuth=140.0, elevation=30.0, distance=10.0, target=(1.0, 0.0, 1.0))
    bare, one = draw_axes(blank, view, []), draw_axes(blank, view, [camera(0.0)])
    assert (bare != blank).any()
    assert ((one != bare).any(axis=2)).sum() > 200


def test_a_brush_leaves_the_picture_it_is_given_alone_and_draws_in_its_colour():
    blank = np.full((40, 40, 3), 255, np.uint8)
    brush = Brush(blank)
    brush.area(np.array([[5, 5], [35, 5], [35, 35], [5, 35]]), SERIES[0], 1.0)
    brush.arrow(np.array([2.0, 2.0]), np.array([2.5, 2.0]), SERIES[1])  # shorter than a pixel: nothing
    assert tuple(brush.picture()[20, 20]) == SERIES[0]
    assert (blank == 255).all()


def test_the_ground_ends_at_the_horizon_and_the_way_lies_where_the_car_goes():
    blank = np.zeros((100, 200, 3), np.uint8)
    ahead = [[x, 0.0, 0.0] for x in range(0, 30, 3)]
    drawn = draw_ground(blank, camera(0.0).ego_T_camera, K, None, ahead)
    lit = drawn.any(axis=2)
    assert not lit[:48].any()  # the horizon of a level camera is the row of its principal point
    assert lit[60:].any()
    way = (drawn == (255, 190, 40)).all(axis=2)
    rows, columns = np.nonzero(way)
    assert rows.max() > 90
    assert np.abs(columns - 99.5).max() < 3
    assert not (draw_ground(blank, camera(0.0).ego_T_camera, K) == (255, 190, 40)).all(axis=2).any()
