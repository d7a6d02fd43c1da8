from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ugocc.data.waymo_lidar import range_image_to_points, row_inclinations
from ugocc.errors import DataError
from ugocc.geometry.rigid import inverse, transform, yaw_matrix

# The top lidar of a real segment (yaw 148 degrees), and a front one.
TOP = np.array(
    [
        [-0.847417431, -0.530906239, 0.004718411, 1.43],
        [0.530924656, -0.847407441, 0.004431519, 0.0],
        [0.001645695, 0.006260467, 0.999979049, 2.184],
        [0.0, 0.0, 0.0, 1.0],
    ]
)
WORLD = yaw_matrix(0.76, (-25211.25, 42391.08, -160.6))


def euler(roll: float, pitch: float, yaw: float) -> np.ndarray:
    """Rotation as three factors: about x by roll, then about y by pitch, then about z by yaw."""
    cr, sr, cp, sp, cy, sy = *_cs(roll), *_cs(pitch), *_cs(yaw)
    about_x = np.array([[1, 0, 0], [0, cr, -sr], [0, sr, cr]])
    about_y = np.array([[cp, 0, sp], [0, 1, 0], [-sp, 0, cp]])
    about_z = np.array([[cy, -sy, 0], [sy, cy, 0], [0, 0, 1]])
    return about_z @ about_y @ about_x


def _cs(angle: float) -> tuple[float, float]:
    return math.cos(angle), math.sin(angle)


def slow_points(image, inclinations, vehicle_T_lidar, poses=None, world_T_vehicle=None):
    """Pixel by pixel, with nothing but the definition of the format."""
    height, width, _ = image.shape
    sensor_yaw = math.atan2(vehicle_T_lidar[1, 0], vehicle_T_lidar[0, 0])
    points = []
    for row in range(height):
        for column in range(width):
            reach, intensity = float(image[row, column, 0]), image[row, column, 1]
            if reach <= 0:
                continue
            ratio = (width - column - 0.5) / width
            azimuth = (2 * ratio - 1) * math.pi - sensor_yaw
            up = inclinations[row]
            direction = [math.cos(azimuth) * math.cos(up), math.sin(azimuth) * math.cos(up), math.sin(up)]
            point = vehicle_T_lidar @ [*(reach * d for d in direction), 1.0]
            if poses is not None:
                roll, pitch, yaw, *position = (float(p) for p in poses[row, column])
                point = np.array([*(euler(roll, pitch, yaw) @ point[:3] + position), 1.0])
                point = np.linalg.inv(world_T_vehicle) @ point
            points.append([*point[:3], intensity])
    return np.array(points)


def random_image(rng, height=6, width=24):
    image = rng.random((height, width, 4), dtype=np.float32)
    image[..., 0] = rng.uniform(1, 75, (height, width))
    image[rng.random((height, width)) < 0.3, 0] = -1
    image[0, 0, 0] = 0
    return image


@pytest.mark.parametrize("vehicle_T_lidar", [TOP, yaw_matrix(0.0, (4.07, 0, 0.69)), yaw_matrix(-1.6, (3.2, -1, 1))])
@pytest.mark.parametrize("moving", [False, True])
def test_points_agree_with_the_slow_reference(vehicle_T_lidar, moving):
    rng = np.random.default_rng(0)
    image, inclinations = random_image(rng), np.sort(rng.uniform(-0.3, 0.05, 6))[::-1]
    poses = None
    if moving:
        poses = np.zeros((6, 24, 6))
        poses[..., :3] = np.array([0.01, -0.02, 0.76]) + rng.normal(0, 0.01, (6, 24, 3))
        poses[..., 3:] = WORLD[:3, 3] + rng.normal(0, 1, (6, 24, 3))
    fast = range_image_to_points(image, inclinations, vehicle_T_lidar, poses, WORLD)
    slow = slow_points(image, inclinations, vehicle_T_lidar, poses, WORLD)
    assert fast.dtype == np.float32
    assert fast.shape == slow.shape == (int((image[..., 0] > 0).sum()), 4)
    assert np.abs(fast - slow).max() < 1e-4


def test_the_middle_column_looks_ahead_whatever_the_yaw_of_the_sensor():
    image = np.zeros((1, 4, 4), np.float32)
    image[0, :, 0] = 10
    for vehicle_T_lidar in (TOP, np.eye(4)):
        points = range_image_to_points(image, np.zeros(1), vehicle_T_lidar) - [*vehicle_T_lidar[:3, 3], 0]
        headings = np.degrees(np.arctan2(points[:, 1], points[:, 0]))
        # From behind through the left to the front, then through the right.
        assert headings == pytest.approx([135, 45, -45, -135], abs=0.5)


def test_the_first_row_is_the_highest_beam():
    image = np.zeros((3, 8, 4), np.float32)
    image[..., 0] = 20
    rows = row_inclinations([-0.3, -0.1, 0.04], 3, "here")
    z = range_image_to_points(image, rows, np.eye(4))[:, 2].reshape(3, 8)
    assert (np.diff(z, axis=0) < 0).all()
    assert z[0] == pytest.approx(np.full(8, 20 * math.sin(0.04)), abs=1e-4)


def test_two_bounds_stand_for_beams_in_the_middle_of_equal_steps():
    assert row_inclinations([-1.0, 1.0], 4, "here") == pytest.approx([0.75, 0.25, -0.25, -0.75])


@pytest.mark.parametrize("stored", [[0.1, 0.0, -0.1], [0.0, 0.1, 0.2, 0.3]])
def test_inclinations_that_do_not_fit_are_refused(stored):
    with pytest.raises(DataError, match="beam_inclination"):
        row_inclinations(stored, 3, "here")


def test_a_vehicle_that_drives_during_the_sweep_sees_a_wall_straight():
    # A wall 20 m ahead of the key pose, scanned column after column while the vehicle moves 3 m towards it.
    width, ego = 360, np.zeros((1, 360, 6))
    image = np.zeros((1, width, 4), np.float32)
    ego[0, :, 0:3], ego[0, :, 3:] = [0, 0, 0.76], WORLD[:3, 3]
    for column in range(140, 220):
        way = 3.0 * (column / width - 0.5)
        azimuth = math.pi - (column + 0.5) * 2 * math.pi / width
        image[0, column, 0] = (20 - way) / math.cos(azimuth)
        ego[0, column, 3:5] += way * np.array([math.cos(0.76), math.sin(0.76)])
    fixed = range_image_to_points(image, np.zeros(1), np.eye(4), ego, WORLD)
    bent = range_image_to_points(image, np.zeros(1), np.eye(4))
    assert np.ptp(fixed[:, 0]) < 0.01
    assert np.abs(fixed[:, 0] - 20).max() < 0.01
    assert np.ptp(bent[:, 0]) > 0.5


@settings(max_examples=25, deadline=None)
@given(
    st.floats(-3, 3), st.floats(-60, 60), st.floats(-60, 60), st.floats(-3, 3), st.integers(2, 40), st.integers(2, 90)
)
def test_a_point_put_into_its_pixel_comes_back(yaw, x, y, z, height, width):
    vehicle_T_lidar = yaw_matrix(yaw, (1.4, 0.1, 2.2))
    local = transform(inverse(vehicle_T_lidar), np.array([x, y, z]))
    reach = float(np.linalg.norm(local))
    if reach < 1:
        return
    inclinations = np.linspace(1.5, -1.5, height)
    row = int(np.abs(inclinations - math.asin(local[2] / reach)).argmin())
    heading = (math.atan2(local[1], local[0]) + yaw + math.pi) % (2 * math.pi)  # from straight back, anticlockwise
    column = min(int(width - heading / (2 * math.pi) * width), width - 1)
    image = np.zeros((height, width, 4), np.float32)
    image[row, column, :2] = reach, 0.5
    (point,) = range_image_to_points(image, inclinations, vehicle_T_lidar)
    half_pixel = max(math.pi / width, 1.5 / (height - 1))
    assert np.linalg.norm(point[:3] - [x, y, z]) <= reach * 1.6 * half_pixel + 1e-3
    assert np.linalg.norm(point[:3] - vehicle_T_lidar[:3, 3]) == pytest.approx(reach, rel=1e-5)
