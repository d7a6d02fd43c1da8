from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ugocc.evaluation.occupancy import MapTenClass, scores_of
from ugocc.geometry.grid import OCC3D_GRID, VoxelGrid
from ugocc.labels import BUILDING, FREE, OCC3D_NUSCENES, PEDESTRIAN, UNKNOWN, VEHICLE


def volume(*classes: int) -> torch.Tensor:
    return torch.tensor(classes, dtype=torch.uint8).reshape(1, -1, 1, 1)


def naive_iou(pred: np.ndarray, label: np.ndarray, mask: np.ndarray) -> list[float | None]:
    """IoU of the classes 0-8, voxel by voxel."""
    out: list[float | None] = []
    for c in range(9):
        hit = union = 0
        for p, t, m in zip(pred.ravel(), label.ravel(), mask.ravel(), strict=True):
            if m and t != 255:
                hit += bool(p == c and t == c)
                union += bool(p == c or t == c)
        out.append(100 * hit / union if union else None)
    return out


def test_three_voxels_by_hand() -> None:
    metric = MapTenClass()
    metric.update(volume(VEHICLE, FREE, VEHICLE), volume(VEHICLE, VEHICLE, FREE))
    scores = metric.compute()
    # One hit; one vehicle taken for free; one free voxel taken for a vehicle: 1 / 3.
    assert scores.per_class[VEHICLE] == pytest.approx(100 / 3)
    assert scores.miou == pytest.approx(100 / 3)
    assert scores.iou_occupied == pytest.approx(100 / 3)
    assert scores.per_class[PEDESTRIAN] is None
    assert scores.confusion[VEHICLE, FREE] == 1
    assert scores.confusion[FREE, VEHICLE] == 1
    assert scores.confusion.sum() == 3


def test_wrong_class_still_counts_as_occupied() -> None:
    metric = MapTenClass()
    metric.update(volume(BUILDING, BUILDING, FREE, VEHICLE), volume(VEHICLE, BUILDING, FREE, VEHICLE))
    scores = metric.compute()
    assert scores.iou_occupied == 100
    assert scores.per_class[VEHICLE] == 50
    assert scores.per_class[BUILDING] == 50


def test_unknown_and_masked_voxels_do_not_count() -> None:
    metric = MapTenClass()
    mask = torch.tensor([True, True, False, False]).reshape(1, 4, 1, 1)
    metric.update(volume(VEHICLE, VEHICLE, FREE, FREE), volume(VEHICLE, UNKNOWN, VEHICLE, UNKNOWN), mask)
    scores = metric.compute()
    assert scores.miou == 100
    assert scores.confusion.sum() == 1


def test_predicted_class_that_is_nowhere_true_counts_as_zero() -> None:
    metric = MapTenClass()
    metric.update(volume(VEHICLE, PEDESTRIAN), volume(VEHICLE, FREE))
    assert metric.compute().per_class[PEDESTRIAN] == 0
    assert metric.compute().miou == 50


def test_nothing_occupied_is_not_a_number() -> None:
    metric = MapTenClass()
    metric.update(volume(FREE, FREE), volume(FREE, FREE))
    assert math.isnan(metric.compute().miou)
    assert math.isnan(metric.compute().iou_occupied)


@pytest.mark.parametrize("wrong", [(10, VEHICLE), (VEHICLE, 10), (UNKNOWN, VEHICLE)])
def test_classes_outside_the_ten_are_refused(wrong: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="expected 0 to 9"):
        MapTenClass().update(volume(wrong[0]), volume(wrong[1]))


def test_shapes_must_agree() -> None:
    with pytest.raises(ValueError, match="differ"):
        MapTenClass().update(volume(0, 1), volume(0, 1, 2))
    with pytest.raises(ValueError, match="on a grid"):
        MapTenClass(OCC3D_GRID).update(volume(0), volume(0))


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**31))
def test_equals_counting_voxel_by_voxel(seed: int) -> None:
    rng = np.random.default_rng(seed)
    shape = (2, 5, 4, 3)
    pred, label = rng.integers(0, 10, shape), rng.choice([0, 1, 1, 4, 9, 9, 255], shape)
    mask = rng.random(shape) < 0.7
    metric = MapTenClass()
    metric.update(torch.from_numpy(pred), torch.from_numpy(label), torch.from_numpy(mask))
    found, expected = metric.compute().per_class, naive_iou(pred, label, mask)
    assert [v is None for v in found] == [v is None for v in expected]
    assert [v for v in found if v is not None] == pytest.approx([v for v in expected if v is not None])
    assert metric.compute().miou == pytest.approx(np.mean([v for v in expected if v is not None]))


def test_order_and_split_over_processes_do_not_matter() -> None:
    rng = np.random.default_rng(1)
    frames = [[torch.from_numpy(rng.integers(0, 10, (1, 4, 4, 2))) for _ in range(2)] for _ in range(4)]
    whole, parts = MapTenClass(), [MapTenClass(), MapTenClass()]
    for pred, label in frames:
        whole.update(pred, label)
    for i in (3, 1, 0, 2):
        parts[i % 2].update(*frames[i])
    merged = parts[0].counts + parts[1].counts  # what a sum over processes does to the state
    assert torch.equal(merged, whole.counts)
    # Dividing each frame first and averaging would be another number: the confusion is global.
    single = []
    for pred, label in frames:
        metric = MapTenClass()
        metric.update(pred, label)
        single.append(metric.compute().miou)
    assert whole.compute().miou != pytest.approx(np.mean(single), abs=1e-6)


def test_states_of_two_processes_are_summed() -> None:
    twice = {"dist_sync_fn": lambda state, group=None: [state, state], "distributed_available_fn": lambda: True}
    metric = MapTenClass(**twice)
    metric.update(volume(VEHICLE, FREE), volume(VEHICLE, VEHICLE))
    assert metric.compute().confusion.sum() == 4


def test_rings_and_hidden_voxels() -> None:
    grid = VoxelGrid((-40.0, -40.0, -1.0), (20, 20, 1), 4.0)
    label = torch.full((1, 20, 20, 1), FREE)
    pred = label.clone()
    mask = torch.ones_like(label, dtype=torch.bool)
    near, far, corner = (0, 10, 10, 0), (0, 10, 18, 0), (0, 0, 0, 0)  # 2.8 m, 34 m and 54 m from the ego
    for place in (near, far, corner):
        label[place] = VEHICLE
    pred[near] = VEHICLE
    mask[0, 5, 5, 0] = False
    label[0, 5, 5, 0] = pred[0, 5, 5, 0] = PEDESTRIAN
    metric = MapTenClass(grid)
    metric.update(pred, label, mask)
    scores = metric.compute()
    assert scores.per_class[VEHICLE] == pytest.approx(100 / 3)
    assert scores.per_class[PEDESTRIAN] is None
    assert scores.by_distance is not None
    assert scores.hidden is not None
    assert scores.by_distance["0-10"].per_class[VEHICLE] == 100
    assert scores.by_distance["30-40"].per_class[VEHICLE] == 0
    assert scores.by_distance["10-20"].per_class[VEHICLE] is None
    assert scores.hidden.per_class[PEDESTRIAN] == 100
    assert scores.confusion.sum() == 399


def test_iou_of_a_confusion() -> None:
    confusion = np.zeros((10, 10), dtype=np.int64)
    confusion[3, 3], confusion[3, 9], confusion[9, 3], confusion[9, 9] = 6, 2, 4, 1000
    assert scores_of(confusion).per_class[3] == pytest.approx(50)


def test_real_label(real_data: Path) -> None:
    (path,) = (real_data / "occ3d").glob("*/labels.npz")
    with np.load(path) as file:
        raw, seen = file["semantics"], file["mask_camera"].astype(bool)
    label = torch.from_numpy(OCC3D_NUSCENES[raw])[None]
    mask = torch.from_numpy(seen)[None]

    def score(pred: torch.Tensor) -> float:
        metric = MapTenClass()
        metric.update(pred, label, mask)
        return metric.compute().miou

    assert score(label) == 100
    assert score(torch.full_like(label, FREE)) == 0
    shifted = torch.full_like(label, FREE)
    shifted[:, 1:] = label[:, :-1]
    truth, guess = label[0].numpy()[seen], shifted[0].numpy()[seen]
    expected = [
        100 * ((truth == c) & (guess == c)).sum() / ((truth == c) | (guess == c)).sum()
        for c in range(9)
        if ((truth == c) | (guess == c)).any()
    ]
    assert 50 < score(shifted) < 90
    assert score(shifted) == pytest.approx(np.mean(expected))
