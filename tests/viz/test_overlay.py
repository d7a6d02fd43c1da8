from __future__ import annotations

import numpy as np
import pytest

from ugocc.data.frame import Box
from ugocc.geometry.camera import project
from ugocc.geometry.rigid import BODY_T_OPTICAL, inverse, transform
from ugocc.labels import DRIVABLE, FREE, PALETTE, UNKNOWN, VEHICLE
from ugocc.viz.canvas import INK
from ugocc.viz.overlay import (
    NOTHING,
    depth_colours,
    depth_scale,
    draw_boxes,
    draw_depth,
    draw_points,
    draw_semantics,
    legend,
)

INTRINSICS = np.array([[100.0, 0, 80], [0, 100, 60], [0, 0, 1]])
EGO_T_CAMERA = BODY_T_OPTICAL + np.array([[0, 0, 0, 1.0], [0, 0, 0, 0.5], [0, 0, 0, 1.5], [0, 0, 0, 0]])
GREY = np.full((120, 160, 3), 90, dtype=np.uint8)


def test_points_lie_at_their_pixels_and_near_ones_on_top() -> None:
    pixels = np.array([(10.2, 20.4), (10.3, 20.1), (50, 60), (np.nan, 3), (-40, 5), (30, 400), (70, 70)])
    depth = np.array([5.0, 30.0, 12.0, 4.0, 4.0, 4.0, -1.0])
    out = draw_points(GREY, pixels, depth, radius=0)
    assert {tuple(p) for p in np.argwhere((out != GREY).any(-1)).tolist()} == {(20, 10), (60, 50)}
    assert np.array_equal(out[20, 10], depth_colours(5.0))
    assert np.array_equal(GREY, np.full_like(GREY, 90))


def test_points_at_the_border() -> None:
    out = draw_points(GREY, np.array([(0.0, 0.0), (159.0, 119.0)]), np.array([3.0, 3.0]), radius=2)
    assert (out != GREY).any(-1).sum() > 4
    assert (out[50:60] == GREY[50:60]).all()
    assert np.array_equal(draw_points(GREY, np.zeros((0, 2)), np.zeros(0)), GREY)


def test_depth_colours_run_from_warm_to_cold() -> None:
    colours = depth_colours([2.0, 6.0, 15.0, 40.0]).astype(int)
    warmth = colours[:, 0] - colours[:, 2]
    assert warmth[0] > warmth[1] > 0 > max(warmth[2:])
    assert np.array_equal(depth_colours(0.1), depth_colours(1.0))
    assert np.array_equal(depth_colours(np.inf), depth_colours(60.0))


@pytest.mark.parametrize("distortion", [None, (-0.2, 0.05, 0.001, -0.002, 0.0)])
def test_box_corners_are_where_they_project(distortion: tuple[float, ...] | None) -> None:
    box = Box(VEHICLE, (12.0, 1.0, 0.8), (4.0, 1.8, 1.6), 0.4)
    out = draw_boxes(GREY, [box], EGO_T_CAMERA, INTRINSICS, distortion)
    drawn = np.argwhere((out != GREY).any(-1))
    turn = np.array([[np.cos(0.4), -np.sin(0.4), 0], [np.sin(0.4), np.cos(0.4), 0], [0, 0, 1]])
    signs = np.array([(x, y, z) for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)])
    corners = signs * (2.0, 0.9, 0.8) @ turn.T + box.centre
    pixels, _ = project(transform(inverse(EGO_T_CAMERA), corners), INTRINSICS, distortion)
    for u, v in pixels:
        assert np.abs(drawn - (v, u)).max(axis=1).min() <= 1
    assert (drawn.min(axis=0) >= np.floor(pixels.min(axis=0)[::-1]) - 1).all()
    assert (drawn.max(axis=0) <= np.ceil(pixels.max(axis=0)[::-1]) + 1).all()
    assert np.array_equal(out[tuple(drawn[0])], PALETTE[VEHICLE])


def test_boxes_behind_and_around_the_camera() -> None:
    behind = Box(VEHICLE, (-12.0, 0.0, 0.8), (4.0, 1.8, 1.6), 0.0)
    assert np.array_equal(draw_boxes(GREY, [behind], EGO_T_CAMERA, INTRINSICS), GREY)
    around = Box(UNKNOWN, (1.0, 0.5, 1.5), (8.0, 4.0, 3.0), 0.0)
    assert (draw_boxes(GREY, [around], EGO_T_CAMERA, INTRINSICS) != GREY).any()


def test_depth_map() -> None:
    out = draw_depth(np.array([[0.0, 2.0], [30.0, 0.0]]))
    assert np.array_equal(out[0, 0], NOTHING)
    assert np.array_equal(out[0, 1], depth_colours(2.0))


def test_semantics() -> None:
    labels = np.array([[DRIVABLE, VEHICLE], [FREE, UNKNOWN]], dtype=np.uint8)
    alone = draw_semantics(labels)
    assert np.array_equal(alone[0], PALETTE[:2])
    assert np.array_equal(alone[1, 1], NOTHING)
    over = draw_semantics(labels, GREY[:2, :2], opacity=0.5)
    assert np.array_equal(over[1], GREY[0, :2])
    assert np.allclose(over[0, 1], (PALETTE[VEHICLE] + 90.0) / 2, atol=1)


def test_legend_shows_every_class_on_as_many_lines_as_needed() -> None:
    wide, narrow, slim = legend(), legend(400), legend(10)
    assert narrow.shape[1] == 400
    assert wide.shape[0] < narrow.shape[0] < slim.shape[0]
    for strip in (wide, narrow, slim):
        for colour in PALETTE[:9]:
            assert (strip == colour).all(-1).sum() > 80


@pytest.mark.parametrize(
    ("near", "far", "marks"), [(1.0, 60.0, (1, 3, 5, 10, 20, 40, 60)), (3.0, 50.0, (3, 5, 10, 20, 40))]
)
def test_metres_stand_below_their_colours(near: float, far: float, marks: tuple[int, ...]) -> None:
    strip = depth_scale(600, near, far).astype(int)
    bar = np.flatnonzero((strip[0] != 255).any(-1))
    written = np.flatnonzero((np.abs(strip[14:] - INK).sum(-1) < 60).any(axis=0))
    words = np.split(written, np.flatnonzero(np.diff(written) > 12) + 1)
    assert len(words) == len(marks)
    for word, mark in zip(words, marks):
        place = bar[0] + (len(bar) - 1) * np.log(mark / near) / np.log(far / near)
        assert abs(word.mean() - place) < 6
        assert np.abs(strip[0, round(place)] - depth_colours(mark, near, far)).max() < 6
