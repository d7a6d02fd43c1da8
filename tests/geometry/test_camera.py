from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from ugocc.errors import DataError
from ugocc.geometry.camera import (
    check_intrinsics,
    crop_affine,
    distort,
    distortion_limit,
    distorts,
    first_row,
    flip_affine,
    horizon_row,
    pixel_rays,
    project,
    resize_affine,
    rotate_affine,
    undistort,
)
from ugocc.geometry.rigid import BODY_T_OPTICAL, inverse, transform

few = settings(max_examples=50, deadline=None)
K = np.array([[2044.5, 0, 949.1], [0, 2040.2, 632.7], [0, 0, 1]])
WAYMO = np.array([0.0404, -0.3300, 0.00104, -0.00157, 0.0])
FISHEYE = np.array([0.035, -0.012, 0.004, -0.0007])


def coefficient(largest: float) -> st.SearchStrategy[float]:
    return st.integers(-1000, 1000).map(lambda n: n / 1000 * largest)


lenses = st.tuples(*(coefficient(largest) for largest in (0.3, 0.2, 0.003, 0.003, 0.05))).map(np.array)


def apply(affine: np.ndarray, u: float, v: float) -> np.ndarray:
    return (affine @ [u, v, 1])[:2]


def slow_projection(point, intrinsics, lens):
    """The formula of the OpenCV manual, one number at a time."""
    k1, k2, p1, p2, k3 = lens
    x, y = point[0] / point[2], point[1] / point[2]
    r = math.hypot(x, y)
    scale = 1 + k1 * r**2 + k2 * r**4 + k3 * r**6
    u = x * scale + 2 * p1 * x * y + p2 * (r**2 + 2 * x**2)
    v = y * scale + p1 * (r**2 + 2 * y**2) + 2 * p2 * x * y
    return intrinsics[0][0] * u + intrinsics[0][2], intrinsics[1][1] * v + intrinsics[1][2]


@few
@given(st.floats(-0.5, 0.5), st.floats(-0.4, 0.4), st.floats(0.5, 80))
def test_projection_agrees_with_the_formula(x, y, depth):
    point = np.array([x * depth, y * depth, depth])
    pixel, z = project(point, K, WAYMO)
    assert z == depth
    assert pixel == pytest.approx(slow_projection(point, K, WAYMO), abs=1e-8)
    ideal, _ = project(point, K)
    assert ideal == pytest.approx(slow_projection(point, K, [0] * 5), abs=1e-8)
    assert np.array_equal(project(point, K, np.zeros(5))[0], ideal)


def test_projection_by_hand():
    intrinsics = np.array([[100.0, 0, 50], [0, 200, 40], [0, 0, 1]])
    pixels, depth = project(np.array([[1.0, -0.5, 2.0], [0, 0, 5]]), intrinsics)
    assert pixels.tolist() == [[100, -10], [50, 40]]
    assert depth.tolist() == [2, 5]
    # x = 0.5, y = 0, r2 = 0.25: 0.5 (1 + 0.1 * 0.25) = 0.5125 and p2 (r2 + 2 x2) = 0.01 * 0.75, p1 r2 = 0.02 * 0.25
    bent, _ = project(np.array([1.0, 0, 2]), intrinsics, [0.1, 0, 0.02, 0.01, 0])
    assert bent == pytest.approx([50 + 100 * (0.5125 + 0.0075), 40 + 200 * 0.005])


def test_nothing_behind_the_camera_has_a_pixel():
    pixels, depth = project(np.array([[0, 0, -1.0], [1, 1, 0], [0, 0, 1]]), K, WAYMO)
    assert np.isnan(pixels[:2]).all()
    assert depth.tolist() == [-1, 0, 1]
    assert np.isfinite(pixels[2]).all()


def test_a_ray_beyond_the_fold_of_the_lens_has_no_pixel():
    limit = distortion_limit(WAYMO)
    radii = np.linspace(0, 3, 3001)
    image_radius = distort(np.stack([radii, 0 * radii], axis=-1), [*WAYMO[:2], 0, 0, WAYMO[4]])[:, 0]
    assert radii[image_radius.argmax()] == pytest.approx(limit, abs=2e-3)
    pixels, _ = project(np.array([[limit * 0.99, 0, 1], [limit * 1.01, 0, 1]]), K, WAYMO)
    assert np.isfinite(pixels[0]).all()
    assert np.isnan(pixels[1]).all()
    assert distortion_limit([0.1, 0.1, 0, 0, 0.1]) > 5  # grows for ever


@few
@given(lenses, st.floats(-0.55, 0.55), st.floats(-0.4, 0.4))
def test_undistorting_undoes_distorting(lens, x, y):
    assume(distortion_limit(lens) > 1.0)
    point = np.array([x, y])
    assert undistort(distort(point, lens), lens, iterations=60) == pytest.approx(point, abs=1e-6)


def test_a_real_lens_is_undone_to_a_thousandth_of_a_pixel_in_the_default_steps():
    grid = np.stack(np.meshgrid(np.linspace(-0.47, 0.47, 21), np.linspace(-0.31, 0.31, 15)), axis=-1)
    assert np.abs(undistort(distort(grid, WAYMO), WAYMO) - grid).max() * K[0, 0] < 1e-3


@few
@given(st.floats(-2, 2), st.floats(-2, 2), st.lists(coefficient(0.02), min_size=4, max_size=4))
def test_a_fisheye_equals_its_definition(x, y, lens):
    radius = math.hypot(x, y)
    assume(distortion_limit(lens) > 2 * radius)  # near the fold nothing can be undone
    angle = math.atan(radius)
    bent = angle * (1 + sum(k * angle ** (2 * i + 2) for i, k in enumerate(lens)))
    expected = (x * bent / radius, y * bent / radius) if radius else (0, 0)
    assert distort(np.array([x, y]), lens) == pytest.approx(expected, abs=1e-9)
    assert undistort(np.array(expected), lens) == pytest.approx((x, y), abs=1e-6)


def test_a_fisheye_by_hand():
    # Half a right angle to the axis is tangent 1 to a pinhole, and pi / 4 to an ideal fisheye.
    assert distort(np.array([[0.6, 0.8], [0, 0]]), np.zeros(4)) == pytest.approx(
        np.array([[0.15, 0.2], [0, 0]]) * math.pi
    )
    assert np.isnan(undistort(np.array([[1.6, 0], [0, 2.0]]), np.zeros(4))).all()  # behind the camera
    pixels, _ = project(np.array([[2.0, 0, 2], [0, 0, -1]]), np.diag([100.0, 100, 1]), np.zeros(4))
    assert pixels[0] == pytest.approx([25 * math.pi, 0])
    assert np.isnan(pixels[1]).all()


def test_every_fisheye_distorts_and_some_fold():
    assert distorts(np.zeros(4))
    assert not distorts(np.zeros(5))
    assert distorts(WAYMO)
    assert distortion_limit(np.zeros(4)) == distortion_limit(FISHEYE) == 10
    # angle - 0.2 angle^3 grows up to sqrt(1 / 0.6)
    assert distortion_limit([-0.2, 0, 0, 0]) == pytest.approx(math.tan(math.sqrt(1 / 0.6)))
    assert np.isnan(project(np.array([5.0, 0, 1]), K, [-0.2, 0, 0, 0])[0]).all()


@few
@given(st.integers(1, 40), st.integers(1, 30), st.floats(-40, 40), st.floats(-30, 30), st.floats(0.1, 60))
def test_rays_pass_through_the_pixels_they_belong_to(width, height, cx, cy, depth):
    intrinsics = np.array([[30.0, 0, cx], [0, 33, cy], [0, 0, 1]])
    rays = pixel_rays(width, height, intrinsics)
    assert rays.shape == (height, width, 3)
    assert (rays[..., 2] == 1).all()
    pixels, _ = project(rays * depth, intrinsics)
    u, v = np.meshgrid(np.arange(width), np.arange(height))
    assert np.allclose(pixels, np.stack([u, v], axis=-1), atol=1e-6)


# --- maps between pictures: checked on pictures ---


def picture(height: int = 12, width: int = 20) -> np.ndarray:
    return np.random.default_rng(0).random((height, width))


def test_resizing_maps_block_centres_to_pixels():
    small = picture().reshape(6, 2, 10, 2).mean(axis=(1, 3))
    affine = resize_affine(0.5, 0.5)
    # Pixel (3, 2) of the small picture is the mean of columns 6, 7 and rows 4, 5: centre (6.5, 4.5).
    assert apply(affine, 6.5, 4.5) == pytest.approx([3, 2])
    assert small[2, 3] == pytest.approx(picture()[4:6, 6:8].mean())
    # Borders of pictures map to borders, whatever the scale.
    assert apply(resize_affine(0.3, 0.7), -0.5, -0.5) == pytest.approx([-0.5, -0.5])
    assert apply(resize_affine(0.3, 0.7), 99.5, 49.5) == pytest.approx([29.5, 34.5])


@few
@given(st.integers(-5, 5), st.integers(-5, 5))
def test_cropping_moves_the_corner_to_the_origin(left, top):
    assert apply(crop_affine(left, top), left, top).tolist() == [0, 0]
    image = np.pad(picture(), 5)
    cropped = image[5 + top :, 5 + left :]
    u, v = apply(crop_affine(5 + left, 5 + top), 12, 11)
    assert cropped[int(v), int(u)] == image[11, 12]


def test_flipping_mirrors_columns():
    image = picture()
    for column in range(20):
        u, v = apply(flip_affine(20), column, 3)
        assert image[:, ::-1][int(v), int(u)] == image[3, column]
    assert np.array_equal(flip_affine(20) @ flip_affine(20), np.eye(3))


def test_rotating_by_a_quarter_turns_the_picture_anticlockwise():
    image = picture(12, 12)
    turned = np.rot90(image)  # anticlockwise as seen
    for column in range(12):
        for row in range(12):
            u, v = np.round(apply(rotate_affine(90, 12, 12), column, row)).astype(int)
            assert turned[v, u] == image[row, column]


@few
@given(st.floats(-180, 180), st.integers(1, 60), st.integers(1, 60))
def test_rotating_keeps_the_centre_and_lengths(degrees, width, height):
    affine, centre = rotate_affine(degrees, width, height), [(width - 1) / 2, (height - 1) / 2]
    assert apply(affine, *centre) == pytest.approx(centre)
    assert np.allclose(affine[:2, :2] @ affine[:2, :2].T, np.eye(2))
    assert np.allclose(rotate_affine(-degrees, width, height) @ affine, np.eye(3), atol=1e-9)


def test_moved_intrinsics_project_to_moved_pixels():
    affine = crop_affine(3, 7) @ resize_affine(0.4, 0.4) @ flip_affine(1920)
    points = np.random.default_rng(1).normal(size=(20, 3)) + np.array([0, 0, 6])
    moved, _ = project(points, affine @ K)
    pixels, _ = project(points, K)
    assert np.allclose(moved, pixels @ affine[:2, :2].T + affine[:2, 2])


@pytest.mark.parametrize(
    ("matrix", "message"),
    [
        (np.eye(4), r"shape \(4, 4\)"),
        (np.diag([0.0, 1, 1]), "focal lengths above zero"),
        (np.diag([1.0, -1, 1]), "focal lengths above zero"),
        (np.diag([1.0, 1, 2]), "last row 0 0 1"),
        (np.where(np.eye(3) > 0, np.inf, 0), "finite 3x3"),
    ],
)
def test_what_is_no_camera_matrix_is_refused_by_name(matrix, message):
    with pytest.raises(DataError, match=f"rig.json: intrinsics: .*{message}"):
        check_intrinsics(matrix, "rig.json", "intrinsics")
    assert check_intrinsics(K.tolist(), "rig.json", "intrinsics").tolist() == K.tolist()


@few
@given(st.floats(-3, 3), st.floats(-50, 50), st.floats(-20, 20))
def test_the_horizon_is_where_far_points_of_the_cameras_height_are_seen(yaw, pitch, roll):
    turns = zip("zyx", (yaw, np.deg2rad(pitch), np.deg2rad(roll)), strict=True)
    ego_T_camera = np.eye(4)
    for axis, angle in turns:
        ego_T_camera = ego_T_camera @ turn_about(axis, angle)
    ego_T_camera = ego_T_camera @ BODY_T_OPTICAL
    ego_T_camera[:3, 3] = (1.5, 0.2, 1.6)
    ahead = ego_T_camera[:3, 2] * (1, 1, 0)
    far = ego_T_camera[:3, 3] + 1e6 * ahead / np.linalg.norm(ahead)
    (_, row), _ = project(transform(inverse(ego_T_camera), far), K)
    assert horizon_row(K, ego_T_camera) == pytest.approx(row, abs=1e-6)


@pytest.mark.parametrize("pitch", [61.0, 90.0, -75.0])
def test_a_camera_that_looks_down_has_no_horizon(pitch):
    assert horizon_row(K, turn_about("y", np.deg2rad(pitch)) @ BODY_T_OPTICAL) is None


@few
@given(st.integers(1, 600), st.integers(8, 256), st.one_of(st.none(), st.floats(-500, 800)))
def test_rows_are_those_at_the_bottom_that_show_the_horizon(rows, shown, horizon):
    first = first_row(rows, shown, horizon)
    bottom = rows - shown
    assert first <= bottom
    assert first >= min(bottom, 0)
    if horizon is None or horizon - bottom >= shown / 32:
        assert first == bottom
    elif shown / 4 <= horizon and bottom > 0:
        assert abs(horizon - first - shown / 4) <= 0.5
    else:
        assert first == min(bottom, 0)


def turn_about(axis, angle):
    a, b = {"x": (1, 2), "y": (2, 0), "z": (0, 1)}[axis]
    turned = np.eye(4)
    turned[[a, b], [a, b]] = np.cos(angle)
    turned[a, b], turned[b, a] = -np.sin(angle), np.sin(angle)
    return turned
