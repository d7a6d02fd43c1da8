from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from ugocc.adaptation.label_free import (
    LabelFreeScores,
    LabelFreeSettings,
    label_free_scores,
    mirrored,
    rank_report,
)
from ugocc.adaptation.teacher import reestimate_batchnorm
from ugocc.data.batch import Batch
from ugocc.data.dataset import FrameDataset
from ugocc.data.source import open_fleet
from ugocc.data.transforms import AugmentSettings
from ugocc.errors import DataError
from ugocc.labels import DRIVABLE, FREE, NUM_CLASSES
from ugocc.models.assemble import build_model, model_settings
from ugocc.models.prediction import Prediction

MODEL = model_settings("flashocc", "debug")
GRID = MODEL.input.grid


@pytest.fixture(scope="module")
def fleet(tiny_fleets) -> FrameDataset:
    """Three frames of one scene of the five-camera fleet, without labels."""
    return FrameDataset(open_fleet(tiny_fleets / "five", "val"), MODEL.input, fleet_id=1, labelled=False)


@pytest.fixture(scope="module")
def truth(tiny_fleets) -> dict[str, Tensor]:
    """(X, Y, Z) true classes by token."""
    labelled = FrameDataset(open_fleet(tiny_fleets / "five", "val"), MODEL.input)
    return {batch.tokens[0]: batch.occupancy[0] for batch in (labelled[i] for i in range(len(labelled)))}


class Oracle(nn.Module):
    """Says the truth, with a share of the voxels that it got wrong; wrong ones differ from call to call."""

    def __init__(self, truth: dict[str, Tensor], wrong: float = 0.0, sure: float = 20.0) -> None:
        super().__init__()
        self.truth, self.wrong, self.sure = truth, wrong, sure
        self.random = torch.Generator().manual_seed(0)

    def forward(self, batch: Batch) -> Prediction:
        labels = self.truth[batch.tokens[0]].clone()
        labels[labels > FREE] = FREE
        guess = torch.randint(0, NUM_CLASSES, labels.shape, generator=self.random).to(torch.uint8)
        labels = torch.where(torch.rand(labels.shape, generator=self.random) < self.wrong, guess, labels)
        cameras = batch.images.shape[1]
        return Prediction(
            occupancy=self.sure * torch.nn.functional.one_hot(labels.long(), 10).movedim(-1, 0)[None].float(),
            depth_logits=torch.zeros(1, cameras, 4, 4, 11),
            bin_depths=torch.tensor([2.0, 10, 30, 60]).expand(1, cameras, 4),
            semantics_2d=None,
            bev=torch.zeros(1, 1, 1, 1),
        )


def test_the_truth_scores_higher_than_what_is_wrong(fleet, truth):
    scores = [label_free_scores(Oracle(truth, wrong), fleet, [0, 1, 2]) for wrong in (0.0, 0.05, 0.3)]
    best = scores[0]
    assert best.agreement == 1
    assert best.temporal > 0.9
    assert best.near_ground > 0.8
    assert best.entropy_occupied == pytest.approx(0, abs=1e-4)
    for name in ("combined", "agreement", "temporal"):
        values = [getattr(s, name) for s in scores]
        assert values[0] > values[1] > values[2], name
    assert all(s.vehicle_size < best.vehicle_size for s in scores[1:])
    unsure = label_free_scores(Oracle(truth, sure=2.0), fleet, [0, 1, 2])
    assert unsure.entropy_occupied > 0.3
    assert unsure.combined < best.combined


def test_silence_is_the_worst(fleet, truth):
    silent = label_free_scores(Oracle({token: torch.full_like(v, FREE) for token, v in truth.items()}), fleet, [0, 1])
    assert silent.classes == 0
    assert (silent.agreement, silent.temporal, silent.plausibility, silent.certainty) == (0, 0, 0, 0)
    assert silent.render_depth == 0  # its depth is never sure
    assert silent.combined == 0
    assert silent.numbers()["depth_error"] is None
    road = {token: torch.where(v == DRIVABLE, v, FREE) for token, v in truth.items()}
    assert label_free_scores(Oracle(road), fleet, [0]).classes == 1


class Outspoken(nn.Module):
    """A network that has learned nothing and would call everything free, made to say something."""

    def __init__(self, fleet: FrameDataset) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.network = build_model(MODEL)
        reestimate_batchnorm(self.network, [fleet[i] for i in range(len(fleet))])

    def forward(self, batch: Batch) -> Prediction:
        said = self.network(batch)
        centred = said.occupancy - said.occupancy.mean(dim=(2, 3, 4), keepdim=True)
        return replace(said, occupancy=centred / centred.std())


@pytest.fixture(scope="module")
def network(fleet) -> nn.Module:
    return Outspoken(fleet).train()


def test_a_real_network_is_scored_the_same_twice_and_left_as_it_was(fleet, network):
    before = {name: value.clone() for name, value in network.state_dict().items()}
    first = label_free_scores(network, fleet, [0, 2])
    assert network.training
    assert label_free_scores(network, fleet, [0, 2]).numbers() == first.numbers()
    assert 0 < first.agreement < 1
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert label_free_scores(network, fleet, [2, 0]).combined == pytest.approx(first.combined)
    assert first.frames == 2
    assert math.isnan(first.render_semantics)
    assert json.loads(json.dumps(first.numbers(), allow_nan=False))["combined"] == first.combined
    assert label_free_scores(network, fleet, [0, 2], LabelFreeSettings(seed=1)).agreement != first.agreement


def test_the_last_frame_has_no_next_one(fleet, truth):
    assert math.isnan(label_free_scores(Oracle(truth), fleet, [2]).temporal)
    assert not math.isnan(label_free_scores(Oracle(truth), fleet, [0]).temporal)


def test_labels_and_random_changes_are_refused(fleet, tiny_fleets, network):
    labelled = FrameDataset(open_fleet(tiny_fleets / "five", "val"), MODEL.input)
    with pytest.raises(DataError, match="without labels"):
        label_free_scores(network, labelled, [0])
    with pytest.raises(DataError, match="at least one frame"):
        label_free_scores(network, fleet, [])
    jittered = FrameDataset(fleet.source, MODEL.input, AugmentSettings(), labelled=False)
    with pytest.raises(DataError, match="without augmentation"):
        label_free_scores(network, jittered, [0])
    assert network.training


def test_the_depth_of_lidar_alone_is_refused(fleet, network):
    class Measured(FrameDataset):
        def __getitem__(self, item):
            batch = super().__getitem__(item)
            batch.depth[0, 0, 5, 5] = 7.0
            return batch

    with pytest.raises(DataError, match="depth"):
        label_free_scores(network, Measured(fleet.source, MODEL.input, labelled=False), [0])


def test_mirrored_pictures_show_the_same_world(fleet):
    batch = fleet[0]
    flipped = mirrored(batch)
    width = batch.images.shape[-1]
    point = torch.tensor([0.4, -0.3, 6.0])
    for intrinsics, other in zip(batch.pixel_intrinsics()[0], flipped.pixel_intrinsics()[0], strict=True):
        (u, v, _), (left, down, _) = intrinsics @ point / 6, other @ point / 6
        assert float(left) == pytest.approx(width - 1 - float(u), abs=1e-3)
        assert float(down) == pytest.approx(float(v), abs=1e-4)
    assert torch.equal(flipped.images[..., 0], batch.images[..., -1])
    assert torch.equal(flipped.pixel_mask, batch.pixel_mask.flip(-1))
    again = mirrored(flipped)
    assert torch.equal(again.images, batch.images)
    torch.testing.assert_close(again.image_affine, batch.image_affine)


def test_combined_by_hand():
    scores = LabelFreeScores(0.5, math.log(2), 0.8, 0.3, 0.1, 0.9, 0.6, 0.9, 0.3, 9, 4)
    assert scores.render_depth == pytest.approx(0.5)
    assert scores.plausibility == pytest.approx(0.6)
    assert scores.combined == pytest.approx((0.5 + 0.5 + 0.8 + 0.7 + 0.9 + 0.6) / 6)
    without = replace(scores, render_semantics=math.nan, temporal=math.nan)
    assert without.combined == pytest.approx((0.5 + 0.5 + 0.7 + 0.6) / 4)
    assert without.numbers()["temporal"] is None


class TestRanks:
    def test_by_hand(self):
        found = rank_report([0.1, 0.4, 0.3, 0.2], [10.0, 30.0, 40.0, 20.0])
        # ranks 1 4 3 2 against 1 3 4 2: d^2 = 0 + 1 + 1 + 0; one of six pairs is swapped
        assert found["spearman"] == pytest.approx(1 - 6 * 2 / (4 * 15))
        assert found["kendall"] == pytest.approx((5 - 1) / 6)
        assert (found["chosen"], found["best"], found["regret"]) == (1, 2, 10.0)

    def test_ties_and_too_few(self):
        tied = rank_report([0.5, 0.5, 0.1], [1.0, 3.0, 3.0])
        assert (tied["chosen"], tied["best"], tied["regret"]) == (0, 1, 2.0)
        assert -1 < tied["kendall"] < 1
        for scores, truth in (([0.5, 0.5], [1.0, 2.0]), ([1.0, 2.0], [3.0, 3.0]), ([0.3], [7.0])):
            found = rank_report(scores, truth)
            assert math.isnan(found["spearman"])
            assert math.isnan(found["kendall"])
        assert rank_report([0.3], [7.0])["regret"] == 0

    @pytest.mark.parametrize(("scores", "truth"), [([], []), ([1.0], [1.0, 2.0]), ([math.nan, 1.0], [1.0, 2.0])])
    def test_nonsense_is_refused(self, scores, truth):
        with pytest.raises(ValueError, match="score"):
            rank_report(scores, truth)

    @settings(max_examples=30, deadline=None)
    @given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=2, max_size=8))
    def test_only_the_order_of_scores_matters(self, pairs):
        scores, truth = [float(a) for a, _ in pairs], [float(b) for _, b in pairs]
        found, stretched = rank_report(scores, truth), rank_report(list(np.exp(scores)), truth)
        assert found["regret"] >= 0
        for name, value in found.items():
            assert stretched[name] == pytest.approx(value, nan_ok=True)
        perfect = rank_report(truth, truth)
        assert perfect["regret"] == 0
        assert math.isnan(perfect["spearman"]) or perfect["spearman"] == pytest.approx(1)
