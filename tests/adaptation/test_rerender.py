from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from ugocc.adaptation.rerender import RerenderSettings, rerender, visible_mask
from ugocc.adaptation.rig import VirtualRig, turned
from ugocc.adaptation.rig_transfer import transfer
from ugocc.adaptation.source_views import lidar_returns, source_views
from ugocc.data.depth_map import lidar_points_in_camera
from ugocc.data.frame import OccupancyLabel
from ugocc.data.occupancy import label_on_grid
from ugocc.data.prepare import InputSettings, Prepared, PreparedCamera
from ugocc.data.transforms import make_sample
from ugocc.geometry.camera import project
from ugocc.geometry.grid import VoxelGrid
from ugocc.geometry.rigid import inverse, transform
from ugocc.labels import UNKNOWN

GRID = VoxelGrid((-25.6, -25.6, -1.0), (32, 32, 4), 1.6)


@pytest.fixture(scope="module")
def prepared(street: Any, six_cameras: Any) -> Prepared:
    """A frame of the street; the last camera has fewer rows, another one shows a bit of the own car."""
    points, cameras = street.lidar(), []
    for i, (k, pose) in enumerate(zip(six_cameras.intrinsics, six_cameras.ego_T_camera, strict=True)):
        rows = 80 if i == 5 else 96
        view = street.view(k, pose, rows, 176)
        visible = None
        if i == 1:
            visible = np.ones((rows, 176), dtype=bool)
            visible[-12:, :60] = False
        cameras.append(
            PreparedCamera(
                name=str(i),
                image=(view.image * 255 + 0.5).astype(np.uint8),
                semantics=view.semantics,
                visible=visible,
                lidar=lidar_points_in_camera(points, pose, k, 176, rows),
                intrinsics=np.diag([2.0, 2.0, 1.0]) @ k,
                prepared_T_recorded=np.diag([0.5, 0.5, 1.0]),
                ego_T_camera=pose,
            )
        )
    rng = np.random.default_rng(0)
    label = OccupancyLabel(
        rng.integers(0, 10, GRID.shape).astype(np.uint8), rng.random(GRID.shape) < 0.3, rng.random(GRID.shape) < 0.5
    )
    return Prepared("token", np.eye(4), tuple(cameras), label)


@pytest.fixture(scope="module")
def rig(five_cameras: Any) -> VirtualRig:
    return VirtualRig(*five_cameras)


def test_views_are_padded_and_padding_is_hidden(prepared: Prepared, six_cameras: Any) -> None:
    views = source_views(prepared)
    assert views.images.shape == (6, 3, 96, 176)
    assert not views.pixel_mask[5, 80:].any()
    assert not views.pixel_mask[1, -12:, :60].any()
    assert views.pixel_mask[0].all()
    assert not (views.depth > 0)[~views.pixel_mask].any()
    assert (views.semantics[5, 80:] == UNKNOWN).all()
    np.testing.assert_allclose(views.intrinsics, six_cameras.intrinsics)
    ground = (views.semantics == 0) & views.pixel_mask
    assert (views.depth[ground] > 0).float().mean() > 0.99


def test_depth_that_is_given_is_not_completed(prepared: Prepared, street: Any) -> None:
    truth = [
        street.view(c.prepared_T_recorded @ c.intrinsics, c.ego_T_camera, *c.image.shape[1:]).depth
        for c in prepared.cameras
    ]
    views = source_views(prepared, dense=truth)
    for i, depth in enumerate(truth):
        shown = views.pixel_mask[i, : len(depth)].numpy()
        np.testing.assert_array_equal(views.depth[i, : len(depth)].numpy(), np.where(shown, depth, 0))
        np.testing.assert_array_equal(views.sky[i, : len(depth)].numpy(), shown & (depth == 0))
    assert ((views.confidence > 0) == (views.depth > 0)).all()
    unlabelled = replace(prepared, cameras=tuple(replace(c, semantics=None) for c in prepared.cameras))
    np.testing.assert_array_equal(source_views(unlabelled, dense=truth).sky, views.sky)


def test_the_result_goes_the_way_of_any_prepared_frame(
    prepared: Prepared, rig: VirtualRig, street: Any, five_cameras: Any
) -> None:
    new = rerender(prepared, rig, GRID)
    assert (new.token, len(new.cameras)) == ("token", 5)
    batch = make_sample(new, InputSettings(176, 96, GRID))
    assert batch.images.shape == (1, 5, 3, 96, 176)
    np.testing.assert_allclose(batch.pixel_intrinsics()[0].numpy(), rig.intrinsics, rtol=1e-5)
    truth = [street.view(k, t, 96, 176) for k, t in zip(rig.intrinsics, rig.ego_T_camera, strict=True)]
    depth, labels = (torch.from_numpy(np.stack(part)) for part in (list(zip(*truth, strict=True))[1:]))
    shown = (batch.depth[0] > 0) & (depth > 0)
    assert shown.float().mean() > 0.02
    assert ((batch.depth[0] - depth).abs()[shown] / depth[shown]).mean() < 0.02
    known = batch.semantics_2d[0] != UNKNOWN
    assert (batch.semantics_2d[0] == labels)[known].float().mean() > 0.97
    assert not known[~batch.pixel_mask[0]].any()
    assert prepared.occupancy is not None
    assert new.occupancy is not None
    np.testing.assert_array_equal(new.occupancy.semantics, prepared.occupancy.semantics)
    np.testing.assert_array_equal(new.occupancy.lidar_mask, prepared.occupancy.lidar_mask)


def test_views_can_be_shared_between_rigs_and_labels_are_optional(prepared: Prepared, rig: VirtualRig) -> None:
    views = source_views(prepared)
    for new_rig in (rig, turned(rig, np.pi)):
        a, b = rerender(prepared, new_rig, GRID), rerender(prepared, new_rig, GRID, views=views)
        for one, other in zip(a.cameras, b.cameras, strict=True):
            np.testing.assert_array_equal(one.image, other.image)
            np.testing.assert_array_equal(one.lidar, other.lidar)
    plain = [camera.__class__(**{**vars(camera), "semantics": None}) for camera in prepared.cameras]
    bare = rerender(Prepared("token", np.eye(4), tuple(plain), None), rig, GRID)
    assert bare.occupancy is None
    assert all(camera.semantics is None for camera in bare.cameras)


def test_lidar_is_the_sources_own_without_what_the_new_camera_cannot_see(
    prepared: Prepared, rig: VirtualRig, street: Any
) -> None:
    views, points = source_views(prepared), lidar_returns(prepared)
    within = rerender(prepared, rig, GRID, views=views, depths=(5.0, 20.0))
    depths = np.concatenate([camera.lidar[:, 2] for camera in within.cameras])
    assert 5 <= depths.min() < depths.max() <= 20
    on_street = np.concatenate([points[:: len(points) // 50], points[:1]])
    every = street.lidar()
    assert np.abs(on_street[:, None] - every[None]).max(axis=2).min(axis=1).max() < 1e-3
    counts = []
    for tolerance in (0.0, 0.02, 0.1, 1e6):
        new = rerender(prepared, rig, GRID, RerenderSettings(lidar_tolerance=tolerance), views)
        counts.append(sum(len(camera.lidar) for camera in new.cameras))
    assert counts[0] < counts[1] < counts[2] < counts[3]
    new = rerender(prepared, rig, GRID, RerenderSettings(), views)
    for camera, k, pose in zip(new.cameras, rig.intrinsics, rig.ego_T_camera, strict=True):
        truth = street.view(k, pose, 96, 176).depth
        column, row = np.floor(camera.lidar[:, :2] + 0.5).astype(int).T
        true = truth[row.clip(0, 95), column.clip(0, 175)]
        hit = true > 0
        wrong = np.abs(camera.lidar[hit, 2] - true[hit]) > 0.1 * true[hit]
        assert wrong.mean() < 0.03
        # A sweep, not a dense map.
        assert 0 < len(camera.lidar) < 0.3 * truth.size


def test_visible_voxels_are_in_a_picture_and_in_the_mask(prepared: Prepared, rig: VirtualRig) -> None:
    """Against a loop over voxels and cameras."""
    assert prepared.occupancy is not None
    mask = prepared.occupancy.camera_mask
    expected = np.zeros(GRID.shape, dtype=bool)
    for cell, centre in zip(np.ndindex(GRID.shape), GRID.centres().reshape(-1, 3), strict=True):
        for k, pose in zip(rig.intrinsics, rig.ego_T_camera, strict=True):
            (pixel,), _ = project(transform(inverse(pose), centre[None]), k)
            inside = -0.5 <= pixel[0] < rig.width - 0.5 and -0.5 <= pixel[1] < rig.height - 0.5
            expected[cell] |= inside and mask[cell]
    got = visible_mask(mask, GRID, rig, margin=0)
    assert expected.any()
    assert (got != expected).sum() <= 2  # float32 at the border of a picture
    wider = visible_mask(mask, GRID, rig, margin=1)
    assert wider[got].all()
    assert wider.sum() > 1.5 * got.sum()


def test_invalid_pixels_show_no_voxel(prepared: Prepared, rig: VirtualRig) -> None:
    everything = np.ones(GRID.shape, dtype=bool)
    valid = torch.zeros(len(rig), rig.height, rig.width, dtype=torch.bool)
    assert not visible_mask(everything, GRID, rig, valid).any()
    valid[0] = True
    front = VirtualRig(rig.intrinsics[:1], rig.ego_T_camera[:1], rig.height, rig.width)
    np.testing.assert_array_equal(
        visible_mask(everything, GRID, rig, valid, 0), visible_mask(everything, GRID, front, margin=0)
    )
    assert not visible_mask(np.zeros(GRID.shape, dtype=bool), GRID, rig).any()


def test_visibility_is_decided_on_the_recorded_grid(prepared: Prepared, rig: VirtualRig) -> None:
    """A coarse voxel whose ground lies below the new pictures shows the free space above it."""
    fine = VoxelGrid(GRID.lower, (64, 64, 8), 0.8)
    ground = np.full(fine.shape, 9, dtype=np.uint8)
    ground[:, :, 0] = 0
    everywhere = np.ones(fine.shape, dtype=bool)
    label = OccupancyLabel(ground, everywhere, everywhere)
    settings = RerenderSettings(visibility_margin=0)
    fine_label = rerender(replace(prepared, occupancy=label), rig, GRID, settings).occupancy
    assert fine_label is not None
    new = label_on_grid(fine_label, fine, GRID)
    views = source_views(prepared)
    valid = transfer(
        views.images, views.depth, views.confidence, views.intrinsics, views.ego_T_camera, rig, views.semantics,
        views.sky, views.pixel_mask,
    ).valid  # fmt: skip
    seen = visible_mask(everywhere, fine, rig, valid, 0)
    lower, upper = seen[::2, ::2, 0::2][..., 0], seen[::2, ::2, 1::2][..., 0]
    for dx, dy in ((1, 0), (0, 1), (1, 1)):
        lower = lower | seen[dx::2, dy::2, 0]
        upper = upper | seen[dx::2, dy::2, 1]
    only_above = upper & ~lower
    assert only_above.any()
    assert (new.semantics[..., 0][only_above] == 9).all()
    assert (new.semantics[..., 0][lower] == 0).all()
    np.testing.assert_array_equal(new.camera_mask[..., 0], lower | upper)
