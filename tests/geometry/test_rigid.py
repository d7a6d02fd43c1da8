from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ugocc.errors import DataError
from ugocc.geometry.rigid import (
    BODY_T_OPTICAL,
    are_rigid,
    camera_to_key_ego,
    check_rigid,
    from_quaternion,
    from_rotation_translation,
    inverse,
    normalised,
    quaternion_product,
    rotation_matrices,
    to_quaternion,
    transform,
    yaw_matrix,
    yaw_of,
)

few = settings(max_examples=50, deadline=None)
quaternions = (
    st.lists(st.floats(-1, 1), min_size=4, max_size=4)
    .map(np.array)
    .filter(lambda q: np.linalg.norm(q) > 0.1)
    .map(lambda q: q / np.linalg.norm(q))
)
positions = st.lists(st.floats(-5e4, 5e4), min_size=3, max_size=3).map(np.array)
poses = st.builds(from_quaternion, quaternions, positions)


def turn_by_sandwich(q: np.ndarray, v: np.ndarray) -> np.ndarray:
    """q v q* with the multiplication table of quaternions, the definition of a rotation."""

    def times(a, b):
        w1, x1, y1, z1 = a
        w2, x2, y2, z2 = b
        return np.array(
            [
                w1 * w2 - x1 * x2 - y1 * y2 - z1 * z2,
                w1 * x2 + x1 * w2 + y1 * z2 - z1 * y2,
                w1 * y2 - x1 * z2 + y1 * w2 + z1 * x2,
                w1 * z2 + x1 * y2 - y1 * x2 + z1 * w2,
            ]
        )

    return times(times(q, np.array([0.0, *v])), q * [1, -1, -1, -1])[1:]


@few
@given(quaternions, positions, st.lists(st.floats(-10, 10), min_size=3, max_size=3).map(np.array))
def test_a_quaternion_turns_as_its_definition_says(quaternion, translation, point):
    matrix = from_quaternion(quaternion, translation)
    assert np.allclose(transform(matrix, point), turn_by_sandwich(quaternion, point) + translation, atol=1e-9)
    check_rigid(matrix, "here", "pose", tolerance=1e-12)


@few
@given(quaternions)
def test_quaternions_come_back_up_to_sign(quaternion):
    again = to_quaternion(from_quaternion(quaternion, [0, 0, 0]))
    assert again[0] >= 0
    assert abs(abs(again @ quaternion) - 1) < 1e-12


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_half_turns_have_quaternions_too(axis):
    # w = 0: where formulas that divide by w break down
    quaternion = np.eye(4)[axis + 1]
    assert abs(to_quaternion(from_quaternion(quaternion, [0, 0, 0])) @ quaternion) == pytest.approx(1)


@few
@given(poses, poses)
def test_inverse_undoes_and_reverses_products(a_T_b, b_T_c):
    assert np.abs(inverse(a_T_b) @ a_T_b - np.eye(4)).max() < 1e-9
    assert np.allclose(inverse(a_T_b @ b_T_c), inverse(b_T_c) @ inverse(a_T_b), atol=1e-6)
    assert np.allclose(inverse(np.stack([a_T_b, b_T_c]))[1], np.linalg.inv(b_T_c), atol=1e-6)


@few
@given(poses, st.integers(0, 5))
def test_transform_keeps_shapes_and_distances(a_T_b, count):
    points = np.random.default_rng(0).normal(size=(count, 2, 3)).astype(np.float32)
    moved = transform(a_T_b, points)
    assert moved.shape == points.shape
    assert moved.dtype == np.float64
    assert np.allclose(
        np.linalg.norm(moved[:, 0] - moved[:, 1], axis=-1),
        np.linalg.norm(points[:, 0] - points[:, 1], axis=-1),
        atol=1e-6,
    )
    for i in range(count):
        assert np.allclose(moved[i, 1], (a_T_b @ [*points[i, 1], 1])[:3], atol=1e-9)


@few
@given(st.floats(-3.14, 3.14), positions)
def test_yaw_is_anticlockwise_from_above(yaw, translation):
    matrix = yaw_matrix(yaw, translation)
    assert yaw_of(matrix) == pytest.approx(yaw, abs=1e-12)
    ahead = transform(matrix, np.array([1.0, 0, 0])) - translation
    assert np.allclose(ahead, [math.cos(yaw), math.sin(yaw), 0], atol=1e-6)
    assert yaw_of(from_rotation_translation(matrix[:3, :3], [0, 0, 0])) == pytest.approx(yaw, abs=1e-12)


def test_optical_axes_in_the_body():
    right, down, forward = BODY_T_OPTICAL[:3, :3].T
    assert right.tolist() == [0, -1, 0]
    assert down.tolist() == [0, 0, -1]
    assert forward.tolist() == [1, 0, 0]
    check_rigid(BODY_T_OPTICAL, "here", "axes", tolerance=0)


def test_a_camera_that_looks_later_is_farther_ahead():
    key, later = yaw_matrix(0.5, (30_000, -20_000, 5)), yaw_matrix(0.5, (30_000, -20_000, 5))
    later[:3, 3] += 2.0 * later[:3, 0]  # two metres on
    ego_T_camera = yaw_matrix(0.1, (1.5, 0, 1.6)) @ BODY_T_OPTICAL
    key_T_camera = camera_to_key_ego(key, later, ego_T_camera)
    assert np.allclose(key_T_camera[:3, 3], [3.5, 0, 1.6], atol=1e-9)
    assert np.allclose(key_T_camera[:3, :3], ego_T_camera[:3, :3], atol=1e-12)
    # The same in float32 is off by millimetres so far from the origin: why matrices are composed in float64.
    coarse = np.linalg.inv(key.astype(np.float32)) @ later.astype(np.float32) @ ego_T_camera.astype(np.float32)
    assert np.abs(coarse - key_T_camera).max() > 1e-4


GOOD = yaw_matrix(0.3, (1, 2, 3))


@pytest.mark.parametrize(
    ("matrix", "message"),
    [
        (np.eye(3), r"shape \(3, 3\)"),
        (np.where(np.eye(4) > 0, np.nan, 0), "not finite"),
        (GOOD.T, "last row"),
        (GOOD * [[2], [2], [2], [1]], "non-rigid"),
        (np.diag([1.0, 1, -1, 1]), "det R = -1"),
        (GOOD + np.array([[0, 0.01, 0, 0], [0] * 4, [0] * 4, [0] * 4]), "non-rigid"),
    ],
)
def test_what_is_not_rigid_is_refused_by_name(matrix, message):
    with pytest.raises(DataError, match=f"rig.json: mount: .*{message}"):
        check_rigid(matrix, "rig.json", "mount")
    if matrix.shape == (4, 4):
        assert not are_rigid(np.stack([GOOD, matrix, GOOD]))


def test_rounding_to_float32_or_six_digits_passes():
    assert check_rigid(GOOD.astype(np.float32), "f", "m").dtype == np.float64
    assert np.array_equal(check_rigid(np.round(GOOD, 6).tolist(), "f", "m"), np.round(GOOD, 6))
    assert are_rigid(np.stack([GOOD, GOOD.astype(np.float32), np.round(GOOD, 6)]))


@pytest.mark.parametrize(
    "quaternion", [[1, 0, 0], [0, 0, 0, 0], [2, 0, 0, 0], [float("nan"), 0, 0, 1], [0.5, 0, 0, 0.5]]
)
def test_what_is_no_unit_quaternion_is_refused(quaternion):
    with pytest.raises(DataError, match="a unit quaternion"):
        from_quaternion(quaternion, [0, 0, 0])


@few
@given(st.lists(st.tuples(quaternions, quaternions), min_size=1, max_size=4))
def test_many_quaternions_turn_as_one_by_one(pairs):
    first, second = (np.array(group) for group in zip(*pairs, strict=True))
    matrices = rotation_matrices(quaternion_product(first, second))
    for p, q, matrix in zip(first, second, matrices, strict=True):
        whole = from_quaternion(p, (0, 0, 0)) @ from_quaternion(q, (0, 0, 0))
        assert np.allclose(matrix, whole[:3, :3], atol=1e-12)
    assert np.allclose(normalised(1.005 * first), first, atol=1e-12)
