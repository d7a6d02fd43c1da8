from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from ugocc.data.batch import Batch, collate
from ugocc.geometry.rigid import BODY_T_OPTICAL, inverse, yaw_matrix
from ugocc.losses.photometric import SPATIAL, SPATIO_TEMPORAL, TEMPORAL, PhotometricSettings
from ugocc.losses.references import (
    OtherTime,
    ReferenceSettings,
    prediction_photometric_loss,
    references_of,
    shared_view,
)
from ugocc.models.assemble import model_settings
from ugocc.models.example import example_batch

HEIGHT, WIDTH = 24, 40
FAR_AWAY = np.array([2263.5, -8123.25, 31.0])


def make_batch(yaws: list[float], world_T_ego: np.ndarray, seed: int = 0) -> Batch:
    """One sample: cameras of 80 degrees on a rig at a pose far from the world's origin."""
    n = len(yaws)
    poses = np.stack([yaw_matrix(np.deg2rad(yaw), (1.0, 0.1 * i, 1.5)) @ BODY_T_OPTICAL for i, yaw in enumerate(yaws)])
    focal = WIDTH / 2 / np.tan(np.deg2rad(40))
    k = torch.tensor([[focal * 2, 0, WIDTH - 0.5], [0, focal * 2, HEIGHT - 0.5], [0, 0, 1]], dtype=torch.float32)
    affine = torch.tensor([[0.5, 0, -0.25], [0, 0.5, -0.25], [0, 0, 1]])
    voxels = (1, 2, 2, 1)
    return Batch(
        images=torch.rand(1, n, 3, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(seed)),
        camera_mask=torch.ones(1, n, dtype=torch.bool),
        intrinsics=k.expand(1, n, 3, 3).clone(),
        image_affine=affine.expand(1, n, 3, 3).clone(),
        ego_T_camera=torch.from_numpy(poses).float()[None],
        bev_T_ego=torch.eye(4)[None],
        world_T_ego=torch.from_numpy(world_T_ego)[None],
        depth=torch.zeros(1, n, HEIGHT, WIDTH),
        semantics_2d=torch.full((1, n, HEIGHT, WIDTH), 255, dtype=torch.uint8),
        pixel_mask=torch.ones(1, n, HEIGHT, WIDTH, dtype=torch.bool),
        occupancy=torch.full(voxels, 255, dtype=torch.uint8),
        camera_visible=torch.zeros(voxels, dtype=torch.bool),
        lidar_visible=torch.zeros(voxels, dtype=torch.bool),
        fleet=torch.zeros(1, dtype=torch.int64),
        tokens=(f"t{seed}",),
    )


NOW = yaw_matrix(0.3, FAR_AWAY)
BEFORE = yaw_matrix(0.28, FAR_AWAY - (1.2, 0.3, 0.0))
AFTER = yaw_matrix(0.33, FAR_AWAY - (-1.3, -0.4, 0.0))
YAWS = [0.0, 60.0, 180.0, -60.0]
YES = torch.tensor([True])


def test_overlap_of_a_ring():
    share = shared_view(make_batch(YAWS, NOW))[0]
    assert share.diagonal().sum() == 0
    assert 0.1 < share[0, 1] < 0.5
    assert 0.1 < share[0, 3] < 0.5
    assert share[0, 2] == share[2].sum() == 0  # the rear camera overlaps with none
    turned = shared_view(make_batch([0.0, 30.0], NOW))[0]
    assert turned[0, 1] > share[0, 1]


def test_overlap_by_projecting_a_point():
    """What both of two cameras see, and only that, is counted."""
    batch = make_batch([0.0, 0.0], NOW)
    assert shared_view(batch)[0, 0, 1] > 0.9  # the same view from 0.1 m beside
    gone = replace(batch, camera_mask=torch.tensor([[True, False]]))
    assert shared_view(gone).sum() == 0


def test_every_kind_in_its_place_with_its_pose():
    now, before, after = (make_batch(YAWS, pose, seed) for seed, pose in enumerate((NOW, BEFORE, AFTER)))
    settings = ReferenceSettings(spatio_temporal=True)
    refs = references_of(now, [OtherTime(before, YES), OtherTime(after, YES)], settings)
    assert refs.images.shape == (4, 8, 3, HEIGHT, WIDTH)
    plan = [TEMPORAL, TEMPORAL] + 2 * [SPATIAL, SPATIO_TEMPORAL, SPATIO_TEMPORAL]
    assert refs.kind.tolist() == [plan] * 4
    assert not refs.mask[2, 2:].any()  # the rear camera has no neighbours
    assert refs.mask[:, :2].all()
    batches = {0: now, 1: before, 2: after}
    found = set()
    for m, r in np.ndindex(4, 8):
        if not refs.mask[m, r].any():
            continue
        (seed, camera) = next(
            (s, c) for s, b in batches.items() for c in range(4) if torch.equal(refs.images[m, r], b.images[0, c])
        )
        found.add((m, int(refs.kind[m, r]), seed, camera))
        source = batches[seed]
        expected = inverse(source.world_T_ego[0].numpy() @ source.ego_T_camera[0, camera].double().numpy()) @ (
            now.world_T_ego[0].numpy() @ now.ego_T_camera[0, m].double().numpy()
        )
        np.testing.assert_allclose(refs.ref_T_target[m, r], expected, atol=2e-6)  # in spite of kilometres
        torch.testing.assert_close(refs.intrinsics[m, r], source.pixel_intrinsics()[0, camera])
    for m in range(4):
        assert {(m, TEMPORAL, 1, m), (m, TEMPORAL, 2, m)} <= found
    assert {(0, SPATIAL, 0, 1), (0, SPATIAL, 0, 3), (0, SPATIO_TEMPORAL, 1, 3), (3, SPATIO_TEMPORAL, 2, 0)} <= found
    assert not [f for f in found if f[1] == TEMPORAL and f[3] != f[0]]
    assert not [f for f in found if f[1] == SPATIAL and (f[2] or f[3] == f[0])]


@pytest.mark.parametrize(
    ("settings", "kinds"),
    [
        (ReferenceSettings(spatial=False), [TEMPORAL]),
        (ReferenceSettings(temporal=False, neighbours=1), [SPATIAL]),
        (ReferenceSettings(temporal=False, spatial=False, spatio_temporal=True, neighbours=1), [SPATIO_TEMPORAL]),
    ],
)
def test_only_the_kinds_asked_for(settings, kinds):
    now, before = make_batch(YAWS, NOW), make_batch(YAWS, BEFORE, 1)
    assert references_of(now, [OtherTime(before, YES)], settings).kind[0].tolist() == kinds


def test_nothing_to_compare_with():
    now = make_batch(YAWS, NOW)
    assert references_of(now, [], ReferenceSettings(spatial=False)) is None


def test_samples_without_another_time_and_with_fewer_cameras():
    five, two = make_batch(YAWS, NOW), make_batch(YAWS[:2], NOW, 7)
    batch = collate([five, two])
    before = collate([make_batch(YAWS, BEFORE, 1), make_batch(YAWS[:2], BEFORE, 8)])
    refs = references_of(batch, [OtherTime(before, torch.tensor([True, False]))], ReferenceSettings())
    assert refs.images.shape[0] == 6  # real cameras only
    assert refs.mask[:4, 0].all()
    assert not refs.mask[4:, 0].any()
    assert refs.mask[4, 1:].any()  # its neighbour is still there
    assert torch.isfinite(refs.ref_T_target).all()
    assert torch.equal(refs.images[4, 0], before.images[1, 0])


def test_own_car_of_the_reference_is_masked():
    now, before = make_batch(YAWS, NOW), make_batch(YAWS, BEFORE, 1)
    before.pixel_mask[0, 1, 15:] = False
    refs = references_of(now, [OtherTime(before, YES)], ReferenceSettings(spatial=False))
    assert not refs.mask[1, 0, 15:].any()
    assert refs.mask[1, 0, :15].all()
    assert refs.mask[0].all()


def test_loss_of_predicted_depth_reaches_the_prediction():
    now, before = make_batch(YAWS, NOW), make_batch(YAWS, BEFORE, 1)
    refs = references_of(now, [OtherTime(before, YES)], ReferenceSettings())
    depth = torch.full((1, 4, 3, 5), 8.0, requires_grad=True)
    found = prediction_photometric_loss(depth, now, refs, PhotometricSettings(auto_mask=False))
    found.loss.backward()
    assert found.error.shape == (4, HEIGHT, WIDTH)
    assert (depth.grad.abs().flatten(2).sum(-1) > 0).all()


def test_shuffled_cameras_have_the_same_loss():
    order = [2, 0, 3, 1]
    now, before = make_batch(YAWS, NOW), make_batch(YAWS, BEFORE, 1)

    def shuffle(batch: Batch) -> Batch:
        names = ("images", "camera_mask", "intrinsics", "image_affine", "ego_T_camera", "pixel_mask")
        return replace(batch, **{name: getattr(batch, name)[:, order] for name in names})

    depth = 3 + 10 * torch.rand(1, 4, 3, 5)
    losses = [
        prediction_photometric_loss(
            d, b, references_of(b, [OtherTime(o, YES)], ReferenceSettings()), PhotometricSettings()
        ).loss
        for d, b, o in ((depth, now, before), (depth[:, order], shuffle(now), shuffle(before)))
    ]
    torch.testing.assert_close(losses[0], losses[1])


def test_a_camera_is_no_reference_of_itself():
    alone = make_batch([0.0], NOW)
    for overlap in (0.0, 0.05):
        refs = references_of(alone, [], ReferenceSettings(temporal=False, overlap=overlap))
        assert not refs.mask.any()


def _one_wide_one_narrow() -> Batch:
    batch = example_batch(model_settings("flashocc", "debug").input, cameras=2)
    batch.ego_T_camera[0, 1] = batch.ego_T_camera[0, 0]
    batch.intrinsics[0, 1] = batch.intrinsics[0, 0]
    batch.intrinsics[0, 1, [0, 1], [0, 1]] *= 3
    return batch


def test_a_wide_picture_holds_a_narrow_one_and_not_the_other_way_round() -> None:
    share = shared_view(_one_wide_one_narrow())[0]
    assert share[1, 0] > 0.9
    assert 0 < share[0, 1] < 0.3


def test_neighbours_at_a_time_that_does_not_exist_show_nothing() -> None:
    batch = _one_wide_one_narrow()
    kinds = ReferenceSettings(temporal=False, spatial=False, spatio_temporal=True)
    for exists in (True, False):
        refs = references_of(batch, [OtherTime(batch, torch.tensor([exists]))], kinds)
        assert refs is not None
        assert bool(refs.mask.any()) == exists
