"""Pictures of earlier frames fill what a frame's own do not show."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from ugocc.adaptation.earlier import Earlier, earlier_frame
from ugocc.adaptation.rerender import RerenderSettings, filled_mask, rerender
from ugocc.adaptation.rig import VirtualRig, turned
from ugocc.adaptation.source_views import joined, source_views
from ugocc.data.frame import OccupancyLabel
from ugocc.data.prepare import Prepared, PreparedCamera
from ugocc.errors import DataError
from ugocc.geometry.camera import project
from ugocc.geometry.grid import VoxelGrid
from ugocc.geometry.rigid import inverse, transform
from ugocc.labels import DRIVABLE, FREE, PEDESTRIAN, UNKNOWN, VEHICLE

GRID = VoxelGrid((-25.6, -25.6, -1.0), (64, 64, 8), 0.8)
ROWS, COLUMNS = 96, 176


def shifted(x: float) -> np.ndarray:
    pose = np.eye(4)
    pose[0, 3] = x
    return pose


def label(street: Any, x: float) -> OccupancyLabel:
    """Ground and boxes around a vehicle at ``x`` metres; the cameras see all that is ahead of it."""
    centres = GRID.centres() + np.array([x, 0.0, 0.0])
    semantics = np.where(centres[..., 2] < 0, DRIVABLE, FREE).astype(np.uint8)
    for low, high, kind in zip(street.low, street.high, street.label, strict=True):
        semantics[((centres > low - 0.4) & (centres < high + 0.4)).all(axis=-1)] = kind
    ahead = np.broadcast_to(GRID.centres()[..., 0] > 5, GRID.shape)
    return OccupancyLabel(semantics, ahead.copy(), np.ones(GRID.shape, dtype=bool))


def frame(street: Any, cameras: Any, x: float) -> Prepared:
    """What five cameras that look ahead and to the sides record at ``x`` metres along the street."""
    made = []
    for i, (k, pose) in enumerate(zip(cameras.intrinsics, cameras.ego_T_camera, strict=True)):
        view = street.view(k, shifted(x) @ pose, ROWS, COLUMNS)
        v, u = (place[::7] for place in np.nonzero((view.depth > 1) & (view.depth < 60)))
        lidar = np.stack([u, v, view.depth[v, u]], axis=1).astype(np.float32)
        image = (view.image * 255 + 0.5).astype(np.uint8)
        made.append(PreparedCamera(str(i), image, view.semantics, None, lidar, k, np.eye(3), pose))
    return Prepared(f"at {x}", shifted(x), tuple(made), label(street, x))


@pytest.fixture(scope="module")
def now(street: Any, five_cameras: Any) -> Prepared:
    return frame(street, five_cameras, 0.0)


@pytest.fixture(scope="module")
def earlier(street: Any, five_cameras: Any, now: Prepared) -> list[Earlier]:
    frames = [frame(street, five_cameras, x) for x in (-8.0, -16.0, -24.0)]
    return [earlier_frame(f, source_views(f), GRID, now.world_T_ego) for f in frames]


@pytest.fixture(scope="module")
def rear(five_cameras: Any) -> VirtualRig:
    """The same rig looking back, a little lower."""
    looks_back = turned(VirtualRig(*five_cameras), np.pi)
    poses = looks_back.ego_T_camera.copy()
    poses[:, 2, 3] -= 0.4
    return replace(looks_back, ego_T_camera=poses)


def test_what_is_behind_was_seen_earlier(now: Prepared, earlier: list[Earlier], rear: VirtualRig, street: Any) -> None:
    alone, filled = rerender(now, rear, GRID), rerender(now, rear, GRID, earlier=earlier)
    assert not alone.cameras[0].visible.any()  # type: ignore[union-attr]
    shares, errors, labels, returns = [], [], [], []
    for camera, k, pose in zip(filled.cameras, rear.intrinsics, rear.ego_T_camera, strict=True):
        truth = street.view(k, pose, ROWS, COLUMNS)
        shown = camera.visible & (truth.depth > 0) & ~np.isin(truth.semantics, VEHICLE)  # type: ignore[operator]
        shares.append(shown.mean())
        errors.append(np.abs(camera.image / 255.0 - truth.image).mean(axis=0)[shown])
        labels.append((camera.semantics == truth.semantics)[shown])
        column, row = np.floor(camera.lidar[:, :2] + 0.5).astype(int).T
        true = truth.depth[row.clip(0, ROWS - 1), column.clip(0, COLUMNS - 1)]
        returns.append(np.abs(camera.lidar[:, 2] - true) < 0.1 * true)
    assert len(filled.cameras[0].lidar) > 200 > len(alone.cameras[0].lidar)
    assert np.concatenate(returns).mean() > 0.9
    assert np.mean(shares) > 0.4
    assert np.median(np.concatenate(errors)) < 0.04
    assert np.concatenate(labels).mean() > 0.9
    assert not any((camera.semantics == VEHICLE).any() for camera in filled.cameras[:3])  # they may have moved


def test_what_the_frame_itself_shows_stays(now: Prepared, earlier: list[Earlier], five_cameras: Any) -> None:
    rig = VirtualRig(*five_cameras)
    alone, filled = rerender(now, rig, GRID), rerender(now, rig, GRID, earlier=earlier)
    for a, b in zip(alone.cameras, filled.cameras, strict=True):
        assert (b.visible >= a.visible).all()  # type: ignore[operator]
        np.testing.assert_array_equal(a.image[:, a.visible], b.image[:, a.visible])  # type: ignore[index]
        np.testing.assert_array_equal(a.semantics[a.visible], b.semantics[a.visible])  # type: ignore[index]
    np.testing.assert_array_equal(alone.occupancy.semantics, filled.occupancy.semantics)  # type: ignore[union-attr]
    assert (filled.occupancy.camera_mask >= alone.occupancy.camera_mask).all()  # type: ignore[union-attr, operator]


def test_voxels_count_where_filled_pictures_show_them(now: Prepared, earlier: list[Earlier], rear: VirtualRig) -> None:
    alone = rerender(now, rear, GRID).occupancy
    filled = rerender(now, rear, GRID, earlier=earlier).occupancy
    assert alone is not None
    assert filled is not None
    gained = filled.camera_mask & ~alone.camera_mask
    assert gained.sum() > 500
    assert (GRID.centres()[gained][:, 0] < 8).all()
    assert not np.isin(filled.semantics[gained], (VEHICLE, PEDESTRIAN)).any()
    behind = gained & (filled.semantics == DRIVABLE)
    assert behind.sum() > 50


def test_filled_voxels_by_a_loop(now: Prepared, earlier: list[Earlier], rear: VirtualRig) -> None:
    grid = VoxelGrid((-25.3, -12.5, -0.9), (16, 16, 2), 1.6)  # no centre on a border of the other grid
    rng = np.random.default_rng(0)
    semantics = rng.choice(np.array([DRIVABLE, VEHICLE, FREE, UNKNOWN], dtype=np.uint8), grid.shape)
    blocks = rng.choice(np.array([0.0, 6.0, 18.0], dtype=np.float32), (len(rear), 4, 4))
    depth = torch.from_numpy(blocks.repeat(ROWS // 4, axis=1).repeat(COLUMNS // 4, axis=2))
    expected = np.zeros(grid.shape, dtype=bool)
    for cell, centre in zip(np.ndindex(grid.shape), grid.centres().reshape(-1, 3), strict=True):
        shown = False
        for i, (k, pose) in enumerate(zip(rear.intrinsics, rear.ego_T_camera, strict=True)):
            (pixel,), (z,) = project(transform(inverse(pose), centre[None]), k)
            column, row = np.floor(pixel + 0.5).astype(int) if z > 0.01 else (-1, -1)
            if 0 <= column < COLUMNS and 0 <= row < ROWS:
                surface = float(depth[i, row, column])
                shown |= surface > 0 and z <= 1.15 * surface + 2 * grid.voxel_size
        seen = False
        for each in earlier:
            there = transform(inverse(each.now_T_then), centre[None])[0]
            index = np.floor((there - each.grid.lower) / each.grid.voxel_size).astype(int)
            if (index >= 0).all() and (index < each.grid.shape).all():
                seen |= bool(each.seen[tuple(index)])
        expected[cell] = shown and seen and semantics[cell] != VEHICLE
    found = filled_mask(semantics, grid, rear, depth, earlier)
    assert expected.any()
    assert (found != expected).sum() <= 2  # float32 at the border of a pixel


def test_what_can_move_is_left_out_with_and_without_2d_labels(street: Any, five_cameras: Any, now: Prepared) -> None:
    then = frame(street, five_cameras, -6.0)
    assert then.occupancy is not None
    views = source_views(then)
    labelled = earlier_frame(then, views, GRID, now.world_T_ego)
    cars = views.semantics == VEHICLE
    assert cars.sum() > 200
    assert not labelled.views.pixel_mask[cars].any()
    assert not labelled.views.pixel_mask[views.sky].any()
    bare = views._replace(semantics=torch.full_like(views.semantics, UNKNOWN))
    unlabelled = earlier_frame(then, bare, GRID, now.world_T_ego)
    assert unlabelled.views.pixel_mask[cars].float().mean() < 0.12
    road = (views.semantics == DRIVABLE) & views.pixel_mask
    assert unlabelled.views.pixel_mask[road].float().mean() > 0.8
    assert not labelled.seen[then.occupancy.semantics == VEHICLE].any()
    np.testing.assert_allclose(labelled.views.ego_T_camera[:, 0, 3], views.ego_T_camera[:, 0, 3] - 6)


def test_distances_must_be_positive() -> None:
    with pytest.raises(DataError, match=r"look_back.*metres above 0"):
        RerenderSettings(look_back=(4.0, 0.0))


def test_moments_whose_pictures_differ_in_size_are_joined(street: Any, five_cameras: Any) -> None:
    then = frame(street, five_cameras, -8.0)
    small = replace(then.cameras[0], image=then.cameras[0].image[:, :-8, :-4], visible=None, semantics=None)
    views = [source_views(then), source_views(replace(then, cameras=(small,)))]
    assert views[1].depth.shape == (1, ROWS - 8, COLUMNS - 4)
    both = joined(views)
    assert both.depth.shape == (len(then.cameras) + 1, ROWS, COLUMNS)
    torch.testing.assert_close(both.depth[:-1], views[0].depth)
    for name in ("images", "depth", "confidence", "sky", "semantics", "pixel_mask"):
        here, there = getattr(both, name)[-1], getattr(views[1], name)[0]
        torch.testing.assert_close(here[..., : ROWS - 8, : COLUMNS - 4], there)
        beyond = here.clone()
        beyond[..., : ROWS - 8, : COLUMNS - 4] = UNKNOWN if name == "semantics" else 0
        assert (beyond == (UNKNOWN if name == "semantics" else 0))[..., ROWS - 8 :, :].all()
