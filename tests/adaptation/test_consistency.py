from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ugocc.adaptation.consistency import agreement, entropy, render_consistency, temporal_consistency
from ugocc.adaptation.views import views_of
from ugocc.adaptation.visibility import voxels_in_pictures
from ugocc.data.batch import Batch
from ugocc.geometry.grid import VoxelGrid
from ugocc.geometry.rigid import yaw_matrix
from ugocc.labels import BUILDING, DRIVABLE, FREE, PEDESTRIAN, SIDEWALK, VEHICLE
from ugocc.models.prediction import Prediction

GRID = VoxelGrid((-12.8, -12.8, -1.2), (32, 32, 8), 0.8)


def everywhere(*shape: int) -> torch.Tensor:
    return torch.ones(shape or GRID.shape, dtype=torch.bool)


class TestAgreement:
    def test_by_hand(self):
        first = torch.tensor([0, 0, 0, 1, 9, 9, 2, 9])
        second = torch.tensor([0, 0, 1, 1, 9, 0, 9, 9])
        # drivable: 2 of {0, 1, 2, 5}; vehicle: 1 of {2, 3}; pedestrian: 0 of {6}; free counts for nothing
        assert agreement(first, second, everywhere(8)) == pytest.approx((2 / 4 + 1 / 2 + 0) / 3)
        within = torch.tensor([1, 1, 0, 1, 1, 0, 0, 1]).bool()
        assert agreement(first, second, within) == 1

    def test_nothing_occupied_is_no_agreement(self):
        free = torch.full((4,), FREE)
        assert math.isnan(agreement(free, free, everywhere(4)))
        assert agreement(free, torch.tensor([9, 9, 9, 3]), everywhere(4)) == 0

    @settings(max_examples=20, deadline=None)
    @given(st.integers(0, 2**31), st.floats(0, 1))
    def test_symmetric_and_perfect_only_for_equals(self, seed, noise):
        rng = np.random.default_rng(seed)
        first = rng.integers(0, 10, 200)
        second = torch.from_numpy(np.where(rng.uniform(size=200) < noise, rng.integers(0, 10, 200), first))
        first = torch.from_numpy(first)
        found = agreement(first, second, everywhere(200))
        assert 0 <= found <= 1
        assert found == agreement(second, first, everywhere(200))
        assert (found == 1) == bool((first == second).all())


def test_entropy_by_hand():
    probabilities = torch.full((1, 10, 3, 1, 1), 0.0)
    probabilities[0, VEHICLE, 0] = 1  # sure
    probabilities[0, :, 1] = 0.1  # undecided; the first class wins
    probabilities[0, [2, FREE], 2] = torch.tensor([0.25, 0.75])[:, None, None]
    of_free = -(0.25 * math.log(0.25) + 0.75 * math.log(0.75)) / math.log(10)
    occupied, overall = entropy(probabilities, everywhere(1, 3, 1, 1))
    assert occupied == pytest.approx(0.5, abs=1e-6)
    assert overall == pytest.approx((1 + of_free) / 3)
    within = torch.tensor([0, 0, 1]).bool().view(1, 3, 1, 1)
    occupied, overall = entropy(probabilities, within)
    assert math.isnan(occupied)
    assert overall == pytest.approx(of_free)


def scene_batch(cameras) -> Batch:
    n, height, width = len(cameras.intrinsics), cameras.height, cameras.width
    return Batch(
        images=torch.zeros(1, n, 3, height, width),
        camera_mask=everywhere(1, n),
        intrinsics=torch.from_numpy(cameras.intrinsics).float()[None],
        image_affine=torch.eye(3).repeat(1, n, 1, 1),
        ego_T_camera=torch.from_numpy(cameras.ego_T_camera).float()[None],
        bev_T_ego=torch.eye(4)[None],
        world_T_ego=torch.eye(4, dtype=torch.float64)[None],
        depth=torch.zeros(1, n, height, width),
        semantics_2d=torch.full((1, n, height, width), 255, dtype=torch.uint8),
        pixel_mask=everywhere(1, n, height, width),
        occupancy=torch.full((1, *GRID.shape), 255, dtype=torch.uint8),
        camera_visible=everywhere(1, *GRID.shape),
        lidar_visible=everywhere(1, *GRID.shape),
        fleet=torch.ones(1, dtype=torch.int64),
        tokens=("made",),
    )


class TestRendering:
    """A network that knows a hand-made street: its depth and 2D classes are ray-traced, its volume is filled in."""

    BINS = 1 + 0.25 * torch.arange(200)

    @pytest.fixture(scope="class")
    def known(self, make_town, six_cameras):
        boxes = [((8.0, y, 2.0), (1.6, 24.0, 6.4), BUILDING) for y in (0.0,)]
        boxes += [((-8.0, 0.0, 2.0), (1.6, 24.0, 6.4), BUILDING), ((0.0, -8.0, 0.4), (4.8, 1.6, 1.6), VEHICLE)]
        town = make_town(boxes)
        batch = scene_batch(six_cameras)
        labels = np.full(GRID.shape, FREE, dtype=np.uint8)
        labels[:, :, 1] = DRIVABLE
        centres = GRID.centres()
        for (x, y, z), (length, width, height), label in boxes:
            offset = np.abs(centres - [x, y, z])
            labels[(offset < np.array([length, width, height]) / 2).all(axis=-1)] = label
        views = [
            town.view(k, pose, 96, 176)
            for k, pose in zip(six_cameras.intrinsics, six_cameras.ego_T_camera, strict=True)
        ]
        depth = torch.from_numpy(np.stack([v.depth for v in views]))[None, :, 4::8, 4::8]
        classes = torch.from_numpy(np.stack([v.semantics for v in views]))[None, :, 4::8, 4::8]
        return batch, self.network(torch.from_numpy(labels)[None], depth, classes)

    def network(self, labels, depth, classes) -> Prediction:
        nearest = (depth[:, :, None] - self.BINS.view(-1, 1, 1)).abs().argmin(dim=2)
        one_hot = torch.nn.functional.one_hot
        return Prediction(
            occupancy=20 * one_hot(labels.long(), 10).movedim(-1, 1).float(),
            depth_logits=30 * one_hot(nearest, len(self.BINS)).movedim(-1, 2).float(),
            bin_depths=self.BINS.expand(1, depth.shape[1], -1),
            semantics_2d=20 * one_hot(classes.long(), 10).movedim(-1, 2).float(),
            bev=torch.zeros(1, 1, 1, 1),
        )

    def test_a_network_that_knows_agrees_with_itself(self, known):
        batch, prediction = known
        found = render_consistency(prediction, batch, GRID)
        assert found.depth_error < 0.1
        assert found.semantics > 0.85

    def test_depth_that_is_half_is_a_factor_of_two_apart(self, known):
        batch, prediction = known
        true = render_consistency(prediction, batch, GRID).depth_error
        half = replace(prediction, bin_depths=prediction.bin_depths / 2)
        assert render_consistency(half, batch, GRID).depth_error == pytest.approx(math.log(2), abs=true + 0.05)

    def test_a_volume_from_elsewhere_does_not_agree(self, known):
        batch, prediction = known
        true = render_consistency(prediction, batch, GRID)
        turned = replace(prediction, occupancy=prediction.occupancy.rot90(1, (2, 3)))
        found = render_consistency(turned, batch, GRID)
        assert found.semantics < true.semantics - 0.15
        assert found.depth_error > true.depth_error + 0.03
        empty = torch.zeros_like(prediction.occupancy)
        empty[:, FREE] = 20
        found = render_consistency(replace(prediction, occupancy=empty), batch, GRID)
        assert found.semantics < 0.4
        assert found.depth_error > 0.5

    def test_surfaces_beyond_the_volume_do_not_count_but_sky_does(self, known):
        batch, prediction = known
        cells = prediction.semantics_2d[:, :, 0].shape
        empty = torch.full((1, *GRID.shape), FREE, dtype=torch.uint8)
        for label, share in ((BUILDING, math.nan), (FREE, 1.0)):
            far = self.network(empty, torch.full(cells, 45.0), torch.full(cells, label))
            found = render_consistency(far, batch, GRID)
            assert math.isnan(found.depth_error)
            assert found.semantics == pytest.approx(share, nan_ok=True)

    def test_only_sure_pixels_that_show_the_world_count(self, known):
        batch, prediction = known
        unsure = replace(prediction, depth_logits=prediction.depth_logits * 0, semantics_2d=None)
        assert all(math.isnan(value) for value in render_consistency(unsure, batch, GRID))
        own_car = replace(batch, pixel_mask=torch.zeros_like(batch.pixel_mask))
        assert all(math.isnan(value) for value in render_consistency(prediction, own_car, GRID))
        wrong = prediction.semantics_2d.clone()
        wrong[:, 2:] = wrong[:, 2:].roll(1, dims=2)
        masked = batch.pixel_mask.clone()
        masked[:, 2:] = False
        found = render_consistency(replace(prediction, semantics_2d=wrong), replace(batch, pixel_mask=masked), GRID)
        front = render_consistency(prediction, replace(batch, pixel_mask=masked), GRID)
        assert found == front


def test_voxels_in_pictures(six_cameras):
    ahead = type(six_cameras)(six_cameras.intrinsics[:1], six_cameras.ego_T_camera[:1], 96, 176)
    within = voxels_in_pictures(views_of(scene_batch(ahead)), GRID)[0].numpy()
    x, y, z = np.moveaxis(GRID.centres(), -1, 0)
    assert not within[x < 2].any()
    assert not within[np.abs(y) > x].any()
    assert within[(x > 8) & (np.abs(y) < 2) & (z > 0) & (z < 3)].all()


class TestOverTime:
    def labels(self, shift: float = 0.0) -> torch.Tensor:
        """A street seen ``shift`` metres further on: road, a wall across it, a sidewalk, somebody who walks."""
        x, y, z = np.moveaxis(GRID.centres(), -1, 0)
        half = GRID.voxel_size / 2 + 1e-9
        labels = np.full(GRID.shape, FREE, dtype=np.uint8)
        labels[np.abs(z) <= half] = DRIVABLE
        labels[(np.abs(z) <= half) & (y > 4)] = SIDEWALK
        labels[(np.abs(x + shift - 9.3) <= half) & (z > 0.5)] = BUILDING
        labels[(np.abs(x - 2) <= half) & (np.abs(y) <= half) & (z > 0.5)] = PEDESTRIAN
        return torch.from_numpy(labels)

    @pytest.mark.parametrize("shift", [0.0, 0.37, 0.8, 2.6])
    def test_a_street_that_is_predicted_right_is_kept(self, shift):
        later_T_now = yaw_matrix(0.0, (-shift, 0.0, 0.0))
        now, later = self.labels(), self.labels(shift)
        assert temporal_consistency(now, later, everywhere(), everywhere(), later_T_now, GRID) == 1
        backwards = yaw_matrix(0.0, (max(shift, 2.6), 0.0, 0.0))
        assert temporal_consistency(now, later, everywhere(), everywhere(), backwards, GRID) < 1

    def test_a_turn_needs_the_rotation(self):
        rng = np.random.default_rng(0)
        columns = torch.from_numpy(rng.choice([FREE, BUILDING, SIDEWALK], p=[0.9, 0.05, 0.05], size=(32, 32, 1)))
        now = columns.expand(GRID.shape).to(torch.uint8)
        quarter = yaw_matrix(np.pi / 2, (0.0, 0.0, 0.0))
        later = now.rot90(1, (0, 1))
        assert temporal_consistency(now, later, everywhere(), everywhere(), quarter, GRID) == 1
        assert temporal_consistency(now, later, everywhere(), everywhere(), quarter.T, GRID) < 0.7

    def test_voxels_that_vanish_or_change(self):
        now = torch.full(GRID.shape, FREE, dtype=torch.uint8)
        now[4, 4, 1:5] = BUILDING
        now[20, 20, 1:5] = PEDESTRIAN  # walks; not asked
        later = now.clone()
        later[4, 4, 1:3] = DRIVABLE
        later[20, 20] = FREE
        # The voxel above the lower two is still wall, and a surface on the border may count as in it.
        found = temporal_consistency(now, later, everywhere(), everywhere(), yaw_matrix(0.0, (0.0, 0.0, 1e-6)), GRID)
        assert found == pytest.approx(3 / 4)
        assert temporal_consistency(now, now, everywhere(), everywhere(), np.eye(4), GRID) == 1

    @pytest.mark.parametrize(("forward", "next_cell"), [(-0.3, -1), (0.3, 1)])
    def test_a_surface_may_cross_into_the_voxel_it_is_closer_to(self, forward, next_cell):
        now = torch.full(GRID.shape, FREE, dtype=torch.uint8)
        now[10, 10, 1:5] = BUILDING
        moved = yaw_matrix(0.0, (forward * GRID.voxel_size, 0.0, 0.0))
        for cell, kept in ((0, 1), (next_cell, 1), (-next_cell, 0), (2 * next_cell, 0)):
            later = now.roll(cell, dims=0)
            assert temporal_consistency(now, later, everywhere(), everywhere(), moved, GRID) == kept

    def test_only_what_both_moments_see_counts(self):
        now, later = self.labels(), torch.full(GRID.shape, FREE, dtype=torch.uint8)
        nothing = torch.zeros(GRID.shape, dtype=torch.bool)
        assert temporal_consistency(now, later, everywhere(), everywhere(), np.eye(4), GRID) == 0
        for seen in ((nothing, everywhere()), (everywhere(), nothing)):
            assert math.isnan(temporal_consistency(now, later, *seen, np.eye(4), GRID))
        far = yaw_matrix(0.0, (100.0, 0.0, 0.0))
        assert math.isnan(temporal_consistency(now, later, everywhere(), everywhere(), far, GRID))
        half = everywhere()
        half[16:] = False
        later[:16] = now[:16]
        assert temporal_consistency(now, later, half, everywhere(), np.eye(4), GRID) == 1
        assert temporal_consistency(now, later, everywhere(), half, np.eye(4), GRID) == 1
