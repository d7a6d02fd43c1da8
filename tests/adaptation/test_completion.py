from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from ugocc.adaptation.completion import CompletionSettings, complete_depth, fit_ground, hidden_returns
from ugocc.data.depth_map import lidar_points_in_camera, rasterise_depth
from ugocc.errors import DataError
from ugocc.geometry.camera import resize_affine
from ugocc.geometry.rigid import BODY_T_OPTICAL, camera_to_key_ego, transform, yaw_matrix
from ugocc.labels import BUILDING, FREE, UNKNOWN

Array = NDArray[np.floating]


def sparse_of(points: Array, k: Array, pose: Array, height: int, width: int) -> NDArray[np.float32]:
    u, v, depth = lidar_points_in_camera(points, pose, k, width, height).T
    return rasterise_depth(u, v, depth, height, width)


def abs_rel(depth: Array, truth: Array, where: NDArray[np.bool_]) -> float:
    return float((np.abs(depth - truth)[where] / truth[where]).mean())


@pytest.fixture(scope="module")
def views(street: Any, six_cameras: Any) -> list[tuple[Any, Array, Array, Array]]:
    """Per camera: the true view, its sparse lidar depth, intrinsics and pose."""
    points = street.lidar()
    out = []
    for k, pose in zip(six_cameras.intrinsics, six_cameras.ego_T_camera, strict=True):
        size = (six_cameras.height, six_cameras.width)
        out.append((street.view(k, pose, *size), sparse_of(points, k, pose, *size), k, pose))
    return out


@pytest.mark.parametrize(("labelled", "largest"), [(True, 0.006), (False, 0.03)])
def test_street_is_completed_far_better_than_by_the_nearest_return(views: Any, labelled: bool, largest: float) -> None:
    ours, naive, covered = [], [], []
    for view, sparse, k, pose in views:
        result = complete_depth(view.image, sparse, k, pose, view.semantics if labelled else None)
        near = (view.depth > 0) & (view.depth < 50)
        both = near & (result.depth > 0)
        _, (row, column) = ndimage.distance_transform_edt(sparse == 0, return_indices=True)
        ours.append(abs_rel(result.depth, view.depth, both))
        naive.append(abs_rel(sparse[row, column], view.depth, both))
        covered.append(both.sum() / near.sum())
    assert np.mean(ours) < largest
    assert np.mean(ours) < 0.5 * np.mean(naive)
    assert np.mean(covered) > 0.93


def test_confident_depth_is_the_better_one(views: Any) -> None:
    errors, confidence = [], []
    for view, sparse, k, pose in views:
        result = complete_depth(view.image, sparse, k, pose)
        both = (view.depth > 0) & (result.depth > 0)
        errors.append((np.abs(result.depth - view.depth) / np.maximum(view.depth, 1))[both])
        confidence.append(result.confidence[both])
        assert result.confidence.max() <= 1
        assert ((result.confidence > 0) <= (result.depth > 0)).all()
    error, sure = np.concatenate(errors), np.concatenate(confidence)
    half = np.median(sure)
    assert error[sure > half].mean() < 0.5 * error[sure <= half].mean()


def test_ground_plane_is_found_under_cars_and_houses() -> None:
    rng = np.random.default_rng(0)
    xy = rng.uniform(-25, 25, (3000, 2))
    ground = np.column_stack([xy, 0.08 + 0.01 * xy[:, 0] - 0.005 * xy[:, 1] + rng.normal(0, 0.02, len(xy))])
    clutter = np.column_stack([rng.uniform(-25, 25, (1500, 2)), rng.uniform(0.5, 3, 1500)])
    plane = fit_ground(np.concatenate([ground, clutter]))
    np.testing.assert_allclose(plane, (0.08, 0.01, -0.005), atol=0.01)
    np.testing.assert_allclose(fit_ground(np.zeros((0, 3))), 0)


def test_returns_seen_through_an_obstacle_are_removed_and_only_those() -> None:
    sparse = np.zeros((60, 80))
    sparse[::5, ::2] = 20.0  # a wall, on beams five rows apart
    behind = np.zeros_like(sparse, dtype=bool)
    behind[20:41, 30:51] = True
    obstacle = np.zeros_like(behind)
    obstacle[22:40:5, 30:51:2] = True  # a car before it, hit by other beams
    sparse[obstacle] = 6.0
    hidden = hidden_returns(sparse, np.zeros_like(behind), CompletionSettings())
    inside = (sparse == 20) & ndimage.binary_erosion(behind, iterations=4)
    assert inside.sum() > 5
    assert hidden[inside].all()
    assert not hidden[(sparse == 20) & ~ndimage.binary_dilation(behind, iterations=4)].any()
    assert not hidden[obstacle].any()
    assert not hidden_returns(sparse, obstacle, CompletionSettings()).any(), "the ground hides nothing"


def test_hidden_returns_of_the_street(views: Any) -> None:
    wrong, left, lost, right = 0, 0, 0, 0
    for view, sparse, _, _ in views:
        truly_hidden = (sparse > 1.2 * view.depth) & (sparse > 0) & (view.depth > 0)
        truly_seen = (sparse > 0) & (np.abs(sparse - view.depth) < 0.05 * view.depth)
        on_ground = view.semantics == 0
        hidden = hidden_returns(sparse, on_ground, CompletionSettings(), 176 / 264)
        wrong, left = wrong + truly_hidden.sum(), left + (truly_hidden & ~hidden).sum()
        right, lost = right + truly_seen.sum(), lost + (truly_seen & hidden).sum()
    assert wrong > 50
    assert left < 0.45 * wrong
    assert lost < 0.01 * right


def test_sky(views: Any) -> None:
    for view, sparse, k, pose in views:
        labelled = complete_depth(view.image, sparse, k, pose, view.semantics)
        np.testing.assert_array_equal(labelled.sky, view.semantics == FREE)
        assert (labelled.depth[labelled.sky] == 0).all()
        guessed = complete_depth(view.image, sparse, k, pose)
        assert (guessed.sky == (view.depth == 0)).mean() > 0.94
    nothing_known = complete_depth(view.image, sparse, k, pose, np.full_like(view.semantics, UNKNOWN))
    np.testing.assert_array_equal(nothing_known.sky, guessed.sky)
    np.testing.assert_array_equal(nothing_known.depth, guessed.depth)


def test_a_facade_above_the_beams_is_no_sky() -> None:
    # Bright and even, but of the colour that returns came from; the real sky is bluer.
    image = np.full((3, 80, 120), 0.6)
    image[:, :, 60:] = np.array([0.6, 0.75, 0.95])[:, None, None]
    sparse = np.zeros((80, 120))
    sparse[30:55:5, :60] = 15.0
    k = np.array([[90, 0, 59.5], [0, 90, 50], [0, 0, 1]])
    result = complete_depth(image, sparse, k, yaw_matrix(0, (0, 0, 1.5)) @ BODY_T_OPTICAL)
    assert not result.sky[:, :58].any()
    assert result.sky[:20, 66:].all()
    np.testing.assert_allclose(result.depth[:40, :58], 15, rtol=1e-3)


def test_without_returns_nothing_is_known(views: Any) -> None:
    view, sparse, k, pose = views[0]
    empty = complete_depth(view.image, np.zeros_like(sparse), k, pose)
    assert not empty.depth.any()
    assert not empty.confidence.any()
    assert not empty.sky.any()
    labelled = complete_depth(view.image, np.zeros_like(sparse), k, pose, view.semantics)
    np.testing.assert_array_equal(labelled.sky, view.semantics == FREE)


def test_hidden_pixels_neither_give_nor_take_depth(views: Any) -> None:
    view, sparse, k, pose = views[0]
    shown = np.ones(sparse.shape, bool)
    shown[-30:, 20:90] = False
    spoilt = np.where(~shown & (sparse > 0), 1.0, sparse)
    result = complete_depth(view.image, spoilt, k, pose, view.semantics, shown)
    assert not result.depth[~shown].any()
    without = complete_depth(view.image, np.where(shown, sparse, 0), k, pose, view.semantics, shown)
    np.testing.assert_array_equal(result.depth, without.depth)
    near = (view.depth > 0) & (view.depth < 50) & shown
    assert abs_rel(result.depth, view.depth, near) < 0.02


def test_a_ray_that_meets_the_ground_first_shows_the_ground() -> None:
    # One return 20 m away on an object and none on the ground, in a picture without any edge.
    sparse = np.zeros((60, 80))
    sparse[20, 40] = 20.0
    k = np.array([[100, 0, 39.5], [0, 100, 20], [0, 0, 1]])
    pose = yaw_matrix(0, (0, 0, 1.5)) @ BODY_T_OPTICAL
    depth = complete_depth(np.full((3, 60, 80), 0.2), sparse, k, pose).depth
    ground = np.broadcast_to((100 * 1.5 / np.maximum(np.arange(60) - 20, 0.1))[:, None], depth.shape)
    np.testing.assert_allclose(depth, np.minimum(ground, 20), rtol=1e-3)


def test_shapes_are_checked(views: Any) -> None:
    view, sparse, k, pose = views[0]
    with pytest.raises(DataError, match="semantics"):
        complete_depth(view.image, sparse, k, pose, view.semantics[:-1])
    with pytest.raises(DataError, match="image"):
        complete_depth(view.image[:, 1:], sparse, k, pose)


@settings(max_examples=8, deadline=None)
@given(distance=st.floats(3, 40), share=st.floats(0.01, 0.5), seed=st.integers(0, 100))
def test_a_wall_is_completed_exactly_from_any_returns(distance: float, share: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    image = rng.uniform(0, 1, (3, 40, 60))
    sparse = np.where(rng.random((40, 60)) < share, distance, 0.0)
    sparse[0, 0] = distance
    # From 100 m up, no pixel shows the ground before the wall.
    pose = yaw_matrix(0, (0, 0, 100.0)) @ BODY_T_OPTICAL
    k = np.array([[60, 0, 29.5], [0, 60, 19.5], [0, 0, 1]])
    labels = np.full((40, 60), BUILDING, np.uint8)
    np.testing.assert_allclose(complete_depth(image, sparse, k, pose, labels).depth, distance, rtol=1e-4)


def test_held_out_beams_of_a_real_sweep(real_data: Path) -> None:
    folder = real_data / "nuscenes" / "scene0061_s00"
    frame = json.loads((folder / "frame.json").read_text())
    sweep = np.fromfile(folder / frame["lidar"]["file"], dtype=np.float32).reshape(-1, 5)
    points = transform(np.array(frame["lidar"]["T_ego_lidar"]), sweep[:, :3])
    own_car = (np.abs(points[:, 1]) < 1.2) & (np.abs(points[:, 0] - 1.5) < 3) & (points[:, 2] < 2.2)
    held_out = sweep[:, 4].astype(int) % 4 == 1  # every fourth beam: gaps twice as high as they really are
    ours, naive = [], []
    for camera in frame["cameras"]:
        picture = Image.open(folder / camera["image"]).resize((264, 149), Image.Resampling.BILINEAR)
        image = np.asarray(picture, dtype=np.float32).transpose(2, 0, 1) / 255
        k = resize_affine(264 / 1600, 149 / 900) @ np.array(camera["K"])
        pose = camera_to_key_ego(
            np.array(frame["T_world_ego"]), np.array(camera["T_world_ego"]), np.array(camera["T_ego_cam"])
        )
        given_depth = sparse_of(points[~own_car & ~held_out], k, pose, 149, 264)
        truth = sparse_of(points[~own_car & held_out], k, pose, 149, 264)
        result = complete_depth(image, given_depth, k, pose)
        asked = (truth > 0) & (given_depth == 0) & (result.depth > 0)
        _, (row, column) = ndimage.distance_transform_edt(given_depth == 0, return_indices=True)
        ours.append((np.abs(result.depth - truth) / np.maximum(truth, 1))[asked])
        naive.append((np.abs(given_depth[row, column] - truth) / np.maximum(truth, 1))[asked])
    errors, nearest = np.concatenate(ours), np.concatenate(naive)
    assert len(errors) > 4000
    assert np.median(errors) < 0.02
    assert np.median(errors) < 0.25 * np.median(nearest)
    assert errors.mean() < 0.65 * nearest.mean()
