from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from ugocc.adaptation.pseudo_labels import PseudoLabelSettings, pseudo_labels, selection_report
from ugocc.adaptation.selection import SelectionSettings
from ugocc.adaptation.views import Evidence, Views
from ugocc.geometry.grid import VoxelGrid
from ugocc.geometry.rigid import BODY_T_OPTICAL, yaw_matrix
from ugocc.labels import BUILDING, DRIVABLE, FREE, UNKNOWN, VEHICLE

GRID = VoxelGrid((-8.0, -8.0, -1.0), (20, 20, 6), 0.8)
HEIGHT, WIDTH = 32, 64


@pytest.fixture
def views() -> Views:
    k = torch.tensor([[30.0, 0, 31.5], [0, 30.0, 12.5], [0, 0, 1]])
    poses = np.stack([yaw_matrix(yaw, (0.0, 0.0, 1.6)) @ BODY_T_OPTICAL for yaw in (0.0, np.pi / 2)])
    return Views(
        torch.ones(1, 2, dtype=torch.bool),
        k.expand(1, 2, 3, 3),
        torch.from_numpy(poses).float()[None],
        torch.ones(1, 2, HEIGHT, WIDTH, dtype=torch.bool),
    )


@pytest.fixture
def truth() -> torch.Tensor:
    """Road up to z = -0.2, a wall ahead at x = 4.0 .. 5.6, a car to the left."""
    labels = torch.full((1, *GRID.shape), FREE, dtype=torch.uint8)
    labels[:, :, :, :1] = DRIVABLE
    labels[:, 15:17] = BUILDING
    labels[:, 9:12, 14:17, 1:3] = VEHICLE
    return labels


def as_logits(labels: torch.Tensor, sharp: float = 6.0) -> torch.Tensor:
    return sharp * torch.nn.functional.one_hot(labels.long(), 10).permute(0, 4, 1, 2, 3).float()


def test_a_right_teacher_teaches_the_truth_where_cameras_look(views, truth):
    found = pseudo_labels(as_logits(truth), views, None, GRID, PseudoLabelSettings())
    kept = found.weights > 0
    assert torch.equal(found.labels[kept], truth[kept])
    assert (found.labels[~kept] == UNKNOWN).all()
    assert {int(c) for c in found.labels[kept].unique()} == {DRIVABLE, BUILDING, VEHICLE, FREE}
    assert not kept[:, 17:, 8:12].any()  # behind the wall
    assert not kept[:, :4, :9].any()  # behind the cameras
    free_share = found.weights[kept & (truth == FREE)].sum() / found.weights.sum()
    assert free_share <= 0.75 + 1e-5


def test_cameras_veto(views, truth):
    """A phantom in the air before the wall is dropped once depth or semantics say what is there."""
    wrong = truth.clone()
    wrong[:, 12:14, 9:11, 2:4] = VEHICLE
    settings = PseudoLabelSettings(SelectionSettings(spatial=0.2))
    phantom = (wrong != truth) & (wrong == VEHICLE)

    def kept(evidence: Evidence | None) -> float:
        found = pseudo_labels(as_logits(wrong), views, evidence, GRID, settings)
        return ((found.weights > 0) & phantom).float().sum().item()

    nothing = Evidence(torch.full((1, 2, 8, 16), UNKNOWN, dtype=torch.uint8), torch.zeros(1, 2, 8, 16))
    assert kept(None) > 2
    assert kept(nothing) == kept(None)
    wall = nothing.labels.clone()
    wall[:, 0, :5] = BUILDING
    assert kept(Evidence(wall, nothing.depth)) < kept(None) / 2
    far = nothing.depth.clone()
    far[:, 0] = 6.0
    assert kept(Evidence(nothing.labels, far)) == 0


def test_soft_labels_keep_probabilities(views, truth):
    settings = PseudoLabelSettings(SelectionSettings(soft=True))
    logits = as_logits(truth)
    found = pseudo_labels(logits, views, None, GRID, settings)
    hard = pseudo_labels(logits, views, None, GRID, PseudoLabelSettings())
    torch.testing.assert_close(found.labels, logits.softmax(1))
    torch.testing.assert_close(found.weights, hard.weights)


def test_a_uniform_teacher_teaches_nothing(views):
    found = pseudo_labels(torch.zeros(1, 10, *GRID.shape), views, None, GRID, PseudoLabelSettings())
    assert found.weights.sum() == 0


def test_cameras_that_do_not_exist_see_nothing(views, truth):
    blind = replace(views, mask=torch.zeros_like(views.mask))
    assert pseudo_labels(as_logits(truth), blind, None, GRID, PseudoLabelSettings()).weights.sum() == 0


def test_nothing_carries_a_gradient(views, truth):
    logits = as_logits(truth).requires_grad_()
    found = pseudo_labels(logits, views, None, GRID, PseudoLabelSettings(SelectionSettings(soft=True)))
    assert not found.labels.requires_grad
    assert not found.weights.requires_grad


def test_report_by_hand():
    #                      right  wrong  unselected  unknown truth  outside mask  right
    labels = torch.tensor([VEHICLE, VEHICLE, UNKNOWN, VEHICLE, VEHICLE, FREE], dtype=torch.uint8).view(1, 1, 1, 6)
    truth = torch.tensor([VEHICLE, FREE, VEHICLE, UNKNOWN, VEHICLE, FREE], dtype=torch.uint8).view(1, 1, 1, 6)
    weights = torch.tensor([0.1, 1.0, 0.0, 1.0, 1.0, 0.5]).view(1, 1, 1, 6)
    mask = torch.tensor([1, 1, 1, 1, 0, 1], dtype=torch.bool).view(1, 1, 1, 6)
    found = selection_report(labels, weights, truth, mask)
    assert found.selected.tolist() == [0, 2, 0, 0, 0, 0, 0, 0, 0, 1]
    assert found.precision[VEHICLE] == 0.5
    assert found.precision[FREE] == 1.0
    assert found.recall[VEHICLE] == 0.5
    assert found.recall[FREE] == 0.5
    assert found.precision[DRIVABLE].isnan()
    assert found.recall[DRIVABLE].isnan()
    assert found.coverage == pytest.approx(3 / 4)
    assert found.accuracy == pytest.approx(2 / 3)
    assert found.occupied_iou == pytest.approx(1 / 2)


def test_report_of_nothing():
    labels = torch.full((1, 2, 2, 2), UNKNOWN, dtype=torch.uint8)
    found = selection_report(labels, torch.zeros(1, 2, 2, 2), labels, torch.ones(1, 2, 2, 2, dtype=torch.bool))
    assert math.isnan(found.coverage)
    assert math.isnan(found.accuracy)
    assert found.precision.isnan().all()
