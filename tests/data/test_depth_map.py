from __future__ import annotations

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from real_frames import nuscenes_frames, record

from ugocc.data.depth_map import lidar_points_in_camera, nearest_per_cell, rasterise_depth
from ugocc.geometry.camera import project
from ugocc.geometry.rigid import BODY_T_OPTICAL, from_rotation_translation, inverse, transform, yaw_matrix

INTRINSICS = np.array([[100.0, 0, 40], [0, 100, 30], [0, 0, 1]])


def naive_raster(u, v, depth, height, width):
    image = np.zeros((height, width), dtype=np.float32)
    for a, b, d in zip(u, v, depth, strict=True):
        i, j = int(np.floor(b + 0.5)), int(np.floor(a + 0.5))
        if 0 <= i < height and 0 <= j < width and (image[i, j] == 0 or d < image[i, j]):
            image[i, j] = d
    return image


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**31), st.integers(0, 200), st.integers(1, 9), st.integers(1, 9))
def test_raster_equals_a_loop_and_the_nearest_wins(seed, count, height, width):
    rng = np.random.default_rng(seed)
    u, v = rng.uniform(-2, width + 2, count), rng.uniform(-2, height + 2, count)
    depth = rng.choice([1.5, 2.0, 30.0], count).astype(np.float32)
    np.testing.assert_array_equal(rasterise_depth(u, v, depth, height, width), naive_raster(u, v, depth, height, width))


def test_a_pixel_reaches_half_a_pixel_around_its_centre():
    u = np.array([-0.5, -0.51, 3.49, 3.5])
    image = rasterise_depth(u, np.zeros(4), np.array([5.0, 6, 7, 8]), 1, 4)
    np.testing.assert_array_equal(image, [[5, 0, 0, 7]])


def test_points_in_camera_by_hand():
    ego_T_camera = from_rotation_translation(np.eye(3), (1, 2, 3)) @ BODY_T_OPTICAL
    # 10 m ahead, 1 m to the left, 0.5 m up: 10 pixels to the left and 5 up of the principal point.
    ahead = np.array([11.0, 3, 3.5])
    points = np.array([ahead, (-9, 2, 3), (1.5, 2, 3), (101, 2, 3), (11, 12, 3)])
    found = lidar_points_in_camera(points, ego_T_camera, INTRINSICS, 80, 60)
    np.testing.assert_allclose(found, [[30, 25, 10]], atol=1e-5)
    assert found.dtype == np.float32


@settings(deadline=None)
@given(st.integers(0, 2**31), st.integers(0, 300))
def test_points_in_camera_equal_the_whole_sweep_projected(seed, count):
    rng = np.random.default_rng(seed)
    points = rng.normal(0, 20, (count, 4)).astype(np.float32)
    ego_T_camera = from_rotation_translation(yaw_matrix(rng.uniform(-3, 3))[:3, :3], (1, 2, 1.5)) @ BODY_T_OPTICAL
    intrinsics = np.array([[100.0, 0.5, 40], [0, 90, 30], [0, 0, 1]])
    pixels, depth = project(transform(inverse(ego_T_camera), points[:, :3]), intrinsics)
    seen = (depth >= 1) & (depth <= 60) & (pixels >= -0.5).all(1) & (pixels < (79.5, 59.5)).all(1)
    found = lidar_points_in_camera(points, ego_T_camera, intrinsics, 80, 60)
    np.testing.assert_allclose(found, np.column_stack([pixels, depth])[seen], rtol=1e-5, atol=1e-5)


def test_depth_limits_are_metres_along_the_optical_axis():
    points = np.array([[0, 0, z] for z in (0.99, 1.0, 60.0, 60.1)])
    found = lidar_points_in_camera(points, np.eye(4), INTRINSICS, 80, 60, nearest=1.0, farthest=60.0)
    np.testing.assert_allclose(found[:, 2], [1.0, 60.0])


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 20), st.integers(1, 20), st.integers(1, 8))
def test_nearest_per_cell_equals_a_loop(seed, height, width, stride):
    rng = np.random.default_rng(seed)
    depth = rng.uniform(1, 50, (2, 3, height, width)) * (rng.uniform(size=(2, 3, height, width)) < 0.2)
    found = nearest_per_cell(torch.from_numpy(depth), stride).numpy()
    assert found.shape == (2, 3, -(-height // stride), -(-width // stride))
    for b, n, i, j in np.ndindex(found.shape):
        cell = depth[b, n, i * stride : (i + 1) * stride, j * stride : (j + 1) * stride]
        assert found[b, n, i, j] == min(cell[cell > 0], default=0.0)


def test_real_lidar_lands_where_the_recording_says(real_data):
    """frame.json gives each camera-from-lidar matrix separately: a chain of poses we did not compose."""
    frame = nuscenes_frames(real_data)[0]
    about = record(real_data / "nuscenes" / frame.token)
    raw = frame.lidar.points()[:, :3].astype(np.float64)
    in_ego = transform(frame.ego_T_lidar(frame.lidar), raw)
    for view, camera in zip(frame.cameras, about["cameras"], strict=True):
        found = lidar_points_in_camera(in_ego, frame.ego_T_camera(view), view.intrinsics, 1600, 900)
        matrix = np.array(camera["T_cam_lidar"])
        image = (raw @ matrix[:3, :3].T + matrix[:3, 3]) @ np.array(camera["K"]).T
        depth = image[:, 2]
        with np.errstate(divide="ignore", invalid="ignore"):
            pixels = image[:, :2] / depth[:, None]
        inside = (depth >= 1) & (depth <= 60) & (pixels >= -0.5).all(1) & (pixels < (1599.5, 899.5)).all(1)
        assert inside.sum() > 2000
        # The matrices are rounded to nine digits: a point on a limit may fall on the other side of it.
        assert abs(len(found) - inside.sum()) <= 2
        if len(found) == inside.sum():
            np.testing.assert_allclose(found[:, :2], pixels[inside], atol=0.05)
            np.testing.assert_allclose(found[:, 2], depth[inside], atol=1e-3)
