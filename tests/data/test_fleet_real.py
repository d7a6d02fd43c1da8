from __future__ import annotations

import json

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from scipy.spatial import cKDTree

from ugocc.data.fleet import FleetSource
from ugocc.data.frame import CameraView, Frame
from ugocc.geometry.camera import project
from ugocc.geometry.rigid import inverse, transform, yaw_matrix


@pytest.fixture(scope="module")
def source(real_ddad_root) -> FleetSource:
    source = FleetSource(real_ddad_root, "train")
    source.check()
    return source


def test_three_frames_of_six_cameras_one_second_apart(source):
    assert source.fleet == "ddad"
    assert source.tokens == ["scene_02_f0", "scene_02_f1", "scene_02_f2"]
    assert [f.next for f in source] == ["scene_02_f1", "scene_02_f2", None]
    assert all(0.9e6 < b.timestamp_us - a.timestamp_us < 1.1e6 for a, b in zip(source, list(source)[1:], strict=False))
    assert all(c.image().shape == (1216, 1936, 3) for c in source[0].cameras)
    assert len(source[0].cameras) == 6


def test_poses_bring_the_static_world_of_one_second_later_into_place(source):
    first, second = source[0], source[1]
    before, later = (frame.lidar.points()[:, :3] for frame in (first, second))
    reach = np.linalg.norm(later, axis=1)
    later = later[(reach > 4) & (reach < 40) & (later[:, 2] > 1)]  # the ground looks the same wherever one stands
    first_T_second = inverse(first.world_T_ego) @ second.world_T_ego
    assert 1.2 < np.linalg.norm(first_T_second[:3, 3]) < 1.3
    poses = (first_T_second, np.eye(4), inverse(first_T_second), yaw_matrix(0.02) @ first_T_second)
    right, *wrong = (np.median(cKDTree(before).query(transform(pose, later))[0]) for pose in poses)
    assert right < 0.15
    assert min(wrong) > 1.5 * right


def test_boxes_hold_the_points_their_annotators_counted(source, real_data):
    for frame in source:
        record = json.loads((real_data / "ddad" / frame.token / "frame.json").read_text())
        counts = np.array([box["num_lidar_pts"] for box in record["boxes_3d"]])
        points = frame.lidar.points()[:, :3]
        local = [transform(inverse(yaw_matrix(box.yaw, box.centre)), points) for box in frame.boxes]
        sizes = [np.array(box.size) / 2 for box in frame.boxes]
        inside, beside = (
            np.array(
                [np.count_nonzero((np.abs(p + shift) <= s).all(axis=1)) for p, s in zip(local, sizes, strict=True)]
            )
            for shift in (0.0, 1.0)
        )
        rich = counts > 100
        assert rich.sum() == 3
        # The file holds every fifth point of the scan that was annotated.
        assert np.abs(inside / counts.clip(1) - 0.175)[rich].max() < 0.055
        assert (beside[rich] < 0.7 * inside[rich]).all()


def rims(frame: Frame, camera: CameraView) -> np.ndarray:
    """(K, 2) pixels of lidar points on things with something much farther away beside them in the same row."""
    points = transform(inverse(frame.ego_T_camera(camera)), frame.lidar.points()[:, :3])
    pixels, depth = project(points, camera.intrinsics, camera.distortion)
    margin = 60
    inside = (pixels > margin).all(axis=1) & (pixels < [camera.width - margin, camera.height - margin]).all(axis=1)
    pixels, depth = pixels[inside & (depth < 60)], depth[inside & (depth < 60)]
    flat = pixels * [1, 4]  # neighbours are at most 15 columns and 4 rows away
    _, index = cKDTree(flat).query(flat, k=9, distance_upper_bound=15)
    beside = np.append(depth, np.nan)[index]  # the first neighbour is the point itself
    rim = (np.nanmax(beside, axis=1) > 1.25 * depth + 1) & (np.nanmin(beside, axis=1) > 0.95 * depth)
    return pixels[rim]


def test_rims_of_things_in_the_lidar_are_edges_in_the_pictures(source):
    # Levinson and Thrun 2013, "Automatic online calibration of cameras and lasers": a right calibration puts depth
    # discontinuities on image edges, and any shift takes them off.
    frame, shifts = source[0], (0, -10, 10, -20, 20)
    edges, count = np.zeros(len(shifts)), 0
    for camera in frame.cameras:
        grey = camera.image().astype(np.float32).mean(axis=2)
        slope = np.minimum(np.abs(gaussian_filter(grey, 2, order=(0, 1))), 12)
        found = rims(frame, camera)
        count += len(found)
        for i, shift in enumerate(shifts):
            columns, rows = np.round(found + np.array([shift, 0])).astype(int).T
            edges[i] += slope[rows, columns].sum()
    assert count > 2000
    assert edges[0] > 1.1 * edges[1:].max()
    assert edges[0] > 1.3 * edges[3:].max()


def test_every_camera_sees_its_own_part_of_the_lidar(source):
    frame = source[0]
    points = frame.lidar.points()[:, :3]
    headings = []
    for camera in frame.cameras:
        pixels, depth = project(transform(inverse(frame.ego_T_camera(camera)), points), camera.intrinsics)
        seen = (pixels > 0).all(axis=1) & (pixels < [camera.width, camera.height]).all(axis=1)
        assert seen.sum() > 1000
        assert (depth[seen] > 0).all()
        headings.append(np.degrees(np.arctan2(*points[seen, 1::-1].mean(axis=0))))
    # DDAD: 01 ahead, 05 and 06 front left and right, 07 and 08 rear left and right, 09 behind.
    front, left, right, rear_left, rear_right, behind = headings
    assert abs(front) < 15
    assert 30 < left < 100
    assert -100 < right < -30
    assert 90 < rear_left < 160
    assert -160 < rear_right < -90
    assert abs(behind) > 165
