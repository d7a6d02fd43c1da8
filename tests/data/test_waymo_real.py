from __future__ import annotations

import shutil
from itertools import pairwise

import numpy as np
import pyarrow.parquet as pq
import pytest
from made_waymo import write_tiny
from scipy.ndimage import label

from ugocc.data.fleet import FleetSource
from ugocc.data.frame import CameraView, Frame
from ugocc.data.waymo import WaymoSource
from ugocc.geometry.camera import project
from ugocc.geometry.rigid import BODY_T_OPTICAL, inverse, transform, yaw_matrix
from ugocc.labels import PEDESTRIAN, UNKNOWN, VEHICLE


def test_the_real_pose_table_is_read(real_data, tmp_path):
    (path,) = (real_data / "waymo" / "v2" / "vehicle_pose").glob("*.parquet")
    times = pq.read_table(path)["key.frame_timestamp_micros"].to_pylist()
    write_tiny(tmp_path, sorted(times))
    shutil.copy(path, tmp_path / "training" / "vehicle_pose" / "s.parquet")
    source = WaymoSource(tmp_path)
    source.check()
    assert len(source) == 199
    frames = list(source)
    steps = [b.timestamp_us - a.timestamp_us for a, b in pairwise(frames)]
    assert min(steps) > 95_000
    assert max(steps) < 105_000
    moves = [(inverse(a.world_T_ego) @ b.world_T_ego)[:3, 3] for a, b in pairwise(frames)]
    ahead, left, up = np.abs(moves).max(axis=0)
    assert 0.15 < ahead < 3  # a car drives along its own x axis
    assert max(left, up) < 0.1 * ahead


@pytest.fixture(scope="module")
def real(real_waymo_root) -> Frame:
    source = WaymoSource(real_waymo_root)
    source.check()
    return source[0]


def test_the_real_frame_is_read(real):
    assert [(c.width, c.height) for c in real.cameras] == [(1920, 1280)] * 3 + [(1920, 886)] * 2
    assert all(c.image().shape == (c.height, c.width, 3) for c in real.cameras)
    assert all(abs(c.timestamp_us - real.timestamp_us) < 100_000 for c in real.cameras)
    assert all(c.distortion[1] < -0.2 for c in real.cameras)
    assert len(real.boxes) == 75
    counts = np.bincount(real.cameras[0].semantics().ravel(), minlength=256)
    assert counts[UNKNOWN] < 0.05 * counts.sum()


def outlines(frame: Frame, camera: CameraView, kind: int, shift=(0, 0), turn=None) -> list[np.ndarray]:
    """Left, top, right, bottom of every box of a class that lies within the picture, in whole pixels."""
    camera_T_ego = inverse(frame.ego_T_camera(camera) @ (np.eye(4) if turn is None else turn))
    found = []
    for box in frame.boxes:
        corners = np.array(np.meshgrid([-0.5, 0.5], [-0.5, 0.5], [-0.5, 0.5])).reshape(3, -1).T * box.size
        points = transform(camera_T_ego @ yaw_matrix(box.yaw, box.centre), corners)
        pixels, depth = project(points, camera.intrinsics, camera.distortion)
        pixels = pixels + shift
        inside = (pixels > 0).all() and (pixels < [camera.width - 1, camera.height - 1]).all()
        if box.label == kind and inside and (depth > 0.3).all() and (depth < 45).all():
            found.append(np.round([*pixels.min(axis=0), *pixels.max(axis=0)]).astype(int))
    return found


@pytest.fixture(scope="module")
def people(real) -> list[np.ndarray]:
    """Pictures of every camera in which each person drawn by people has a number of its own."""
    return [label(camera.semantics() == PEDESTRIAN)[0] for camera in real.cameras]


def misses(frame: Frame, people: list[np.ndarray], shift=(0, 0), turn=None) -> np.ndarray:
    """(K, 2) pixels from the middle of a person's projected 3D box to the middle of the person in the picture."""
    found = []
    for camera, persons in zip(frame.cameras, people, strict=True):
        for left, top, right, bottom in outlines(frame, camera, PEDESTRIAN, shift, turn):
            inside = np.bincount(persons[top:bottom, left:right].ravel(), minlength=2)
            inside[0] = 0
            if inside.max() > max(150, 0.15 * (right - left) * (bottom - top)):
                rows, columns = np.nonzero(persons == inside.argmax())
                middle = columns.min() + columns.max() - left - right, rows.min() + rows.max() - top - bottom
                found.append(np.array(middle) / 2)
    return np.array(found).reshape(-1, 2)


def test_real_boxes_project_onto_the_people_in_the_pictures(real, people):
    right = misses(real, people)
    assert len(right) >= 6
    assert np.abs(np.median(right, axis=0)).max() < 6
    for shift in [(12, 0), (-12, 0), (0, 12), (0, -12)]:
        assert np.abs(np.median(misses(real, people, shift), axis=0)).max() > 6
    assert len(misses(real, people, turn=inverse(BODY_T_OPTICAL))) < 2  # the axes of Waymo's cameras, not optical ones
    assert len(misses(real, people, turn=np.diag([-1.0, -1.0, 1.0, 1.0]))) < 2


def test_real_people_and_near_cars_lie_inside_their_boxes(real, people):
    def covered(shift) -> float:
        hit = total = 0
        for camera, persons in zip(real.cameras, people, strict=True):
            boxes = np.zeros(persons.shape, bool)
            for left, top, right, bottom in outlines(real, camera, PEDESTRIAN, shift):
                boxes[top:bottom, left:right] = True
            hit, total = hit + np.count_nonzero(persons[boxes]), total + np.count_nonzero(persons)
        return hit / total

    assert covered((0, 0)) > 0.97
    assert covered((80, 0)) < 0.95
    near = [np.array(b.centre) for b in real.boxes if b.label == VEHICLE and np.hypot(*b.centre[:2]) < 12]
    seen = []
    for camera in real.cameras:
        points = transform(inverse(real.ego_T_camera(camera)), np.array(near))
        pixels, _ = project(points, camera.intrinsics, camera.distortion)
        inside = ((pixels >= 0) & (pixels < [camera.width - 1, camera.height - 1])).all(axis=1)
        columns, rows = np.round(pixels[inside]).astype(int).T
        seen += list(camera.semantics()[rows, columns] == VEHICLE)
    assert len(seen) >= 4
    assert all(seen)


def test_the_same_frame_as_an_own_fleet_is_the_same(real, real_waymo_fleet_root):
    (own,) = FleetSource(real_waymo_fleet_root)
    for a, b in zip(own.cameras, real.cameras, strict=True):
        assert (a.name, a.width, a.height, a.timestamp_us) == (b.name, b.width, b.height, b.timestamp_us)
        assert np.array_equal(a.image(), b.image())
        assert np.array_equal(a.semantics(), b.semantics())
        assert np.array_equal(a.distortion, b.distortion)
        assert np.abs(a.intrinsics - b.intrinsics).max() < 1e-9
        assert np.abs(a.world_T_ego - b.world_T_ego).max() < 1e-9
        assert np.abs(a.ego_T_camera - b.ego_T_camera).max() < 1e-8
    assert [(b.label, b.centre, b.size) for b in own.boxes] == [(b.label, b.centre, b.size) for b in real.boxes]
