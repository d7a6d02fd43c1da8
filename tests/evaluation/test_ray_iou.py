from __future__ import annotations

import math
import warnings
from itertools import pairwise
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ugocc.evaluation import ray_cast
from ugocc.evaluation.ray_cast import OUTSIDE, first_hits
from ugocc.evaluation.ray_iou import RayIoU, lidar_rays
from ugocc.geometry.grid import OCC3D_GRID, VoxelGrid
from ugocc.labels import FREE, OCC3D_NUSCENES, PEDESTRIAN, UNKNOWN, VEHICLE


def naive_hit(volume: np.ndarray, origin: np.ndarray, ray: np.ndarray) -> tuple[int, float]:
    """Value and exit depth of the first voxel that is not free: every border crossing of the ray, sorted."""
    crossings = {0.0}
    for axis in range(3):
        if ray[axis]:
            for border in range(volume.shape[axis] + 1):
                t = (border - origin[axis]) / ray[axis]
                if t > 0:
                    crossings.add(t)
    times = sorted(crossings)
    for enter, leave in pairwise(times):
        voxel = np.floor(origin + ray * (enter + leave) / 2).astype(int)
        if (voxel < 0).any() or (voxel >= volume.shape).any():
            return OUTSIDE, math.inf
        if volume[tuple(voxel)] != FREE:
            return int(volume[tuple(voxel)]), leave
    return OUTSIDE, math.inf


def test_pattern_of_the_protocol() -> None:
    rays = lidar_rays()
    assert rays.shape == (14040, 3)
    assert np.allclose(np.linalg.norm(rays, axis=1), 1)
    pitch = np.rad2deg(np.arcsin(rays[::360, 2]))
    assert pitch[0] == pytest.approx(-45)
    assert pitch[9] == pytest.approx(-np.rad2deg(math.atan(0.1)))
    assert np.allclose(np.diff(pitch[9:]), pitch[9] - pitch[8])
    assert np.rad2deg(0.21) < pitch[-1] < np.rad2deg(0.21) + 0.7


@pytest.mark.parametrize("compiled", [True, False])
@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 2**31))
def test_casting_equals_naive_stepping(compiled: bool, seed: int) -> None:
    rng = np.random.default_rng(seed)
    shape = tuple(rng.integers(2, 9, 3))
    volumes = [np.where(rng.random(shape) < 0.1, rng.integers(0, 9, shape), FREE).astype(np.uint8) for _ in range(2)]
    origins = rng.random((3, 3)) * shape
    rays = rng.normal(size=(12, 3))
    rays[:3] = [(1, 0, 0), (0, -1, 0), (0, 0, 1)]
    rays /= np.linalg.norm(rays, axis=1, keepdims=True)
    with mock.patch("ugocc.evaluation.ray_cast.installed", return_value=compiled):
        found = first_hits(volumes, origins, rays, FREE)
    for volume, hits in zip(volumes, found, strict=True):
        for k, origin in enumerate(origins):
            for r, ray in enumerate(rays):
                value, depth = naive_hit(volume, origin, ray)
                assert hits.value[k * len(rays) + r] == value
                assert hits.depth[k * len(rays) + r] == pytest.approx(depth)


def test_compiled_or_not_the_numbers_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("numba")
    rng = np.random.default_rng(0)
    volumes = [np.where(rng.random((20, 20, 8)) < 0.02, 3, FREE).astype(np.uint8) for _ in range(2)]
    origins = np.array([[4.0, 4.0, 4.0], [10.2, 11.7, 5.5]])  # the first on a corner: rays meet several borders at once
    compiled = first_hits(volumes, origins, lidar_rays(), FREE)
    monkeypatch.setattr(ray_cast, "installed", lambda name: False)
    for one, other in zip(compiled, first_hits(volumes, origins, lidar_rays(), FREE), strict=True):
        assert np.array_equal(one.value, other.value)
        assert np.array_equal(one.depth, other.depth)


@pytest.mark.parametrize("compiled", [True, False])
def test_one_volume_alone(compiled: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_cast, "installed", lambda name: compiled)
    volume = np.full((4, 1, 1), FREE, dtype=np.uint8)
    volume[2] = VEHICLE
    (hits,) = first_hits([volume], np.array([[0.5, 0.5, 0.5]]), np.array([[1.0, 0, 0], [-1.0, 0, 0]]), FREE)
    assert hits.value.tolist() == [VEHICLE, OUTSIDE]
    assert hits.depth.tolist() == [2.5, math.inf]


def test_origin_outside_is_refused() -> None:
    metric = RayIoU(VoxelGrid((0.0, 0.0, 0.0), (4, 4, 4), 1.0))
    free = torch.full((1, 4, 4, 4), FREE)
    with pytest.raises(ValueError, match="outside the grid"):
        metric.update(free, free, [[(5.0, 1.0, 1.0)]])


def test_classes_outside_the_ten_are_refused() -> None:
    metric = RayIoU(VoxelGrid((-2.0, -2.0, 0.0), (4, 4, 4), 1.0))
    free = torch.full((1, 4, 4, 4), FREE)
    with pytest.raises(ValueError, match="prediction"):
        metric.update(torch.full_like(free, UNKNOWN), free)
    with pytest.raises(ValueError, match="label"):
        metric.update(free, torch.full_like(free, 17))
    with pytest.raises(ValueError, match="volumes of shapes"):
        metric.update(free[:, 1:], free)


def tube(*places: tuple[int, int], size: int = 20) -> torch.Tensor:
    """A volume with whole walls across x: (x index, class)."""
    out = torch.full((1, size, size, size), FREE, dtype=torch.uint8)
    for x, label in places:
        out[0, x] = label
    return out


@pytest.mark.parametrize(("shift", "hits"), [(0, (1, 1, 1)), (1, (0, 1, 1)), (2, (0, 0, 1)), (4, (0, 0, 0))])
def test_thresholds_by_hand(shift: int, hits: tuple[int, int, int]) -> None:
    # One ray straight ahead; a wall shifted by n voxels of 1 m is n metres wrong, and the threshold is exclusive.
    metric = RayIoU(VoxelGrid((0.0, 0.0, 0.0), (20, 20, 20), 1.0))
    metric._rays = np.array([[1.0, 0.0, 0.0]])
    metric.update(tube((10 + shift, VEHICLE)), tube((10, VEHICLE)), [[(0.5, 10.2, 10.2)]])
    assert [metric.compute()[k] for k in ("1", "2", "4")] == [100.0 * h for h in hits]


def test_wrong_class_free_and_unknown_truth_by_hand() -> None:
    metric = RayIoU(VoxelGrid((0.0, 0.0, 0.0), (20, 20, 20), 1.0))
    metric._rays = np.array([[1.0, 0.0, 0.0]])
    origin = [[(0.5, 10.2, 10.2)]]
    metric.update(tube((10, PEDESTRIAN)), tube((10, VEHICLE)), origin)  # a miss of both classes
    metric.update(tube((10, VEHICLE)), tube((10, VEHICLE)), origin)  # a hit
    metric.update(tube((10, VEHICLE)), tube(), origin)  # truth leaves the grid: does not count
    metric.update(tube((10, VEHICLE)), tube((9, UNKNOWN), (10, VEHICLE)), origin)  # unknown first: does not count
    metric.update(tube(), tube((10, VEHICLE)), origin)  # predicted free: missed
    assert metric.per_class()[0, VEHICLE] == pytest.approx(100 / 3)
    assert metric.per_class()[0, PEDESTRIAN] == 0
    assert np.isnan(metric.per_class()[0, 0])
    assert metric.compute()["mean"] == pytest.approx(100 / 6)


def test_against_naive_counting_with_several_origins() -> None:
    rng = np.random.default_rng(5)
    grid = VoxelGrid((-4.0, -4.0, -1.0), (16, 16, 6), 0.5)
    pred, label = (np.where(rng.random((16, 16, 6)) < 0.05, rng.integers(0, 4, (16, 16, 6)), FREE) for _ in range(2))
    pred = np.where(rng.random(label.shape) < 0.7, label, pred)
    origins = np.array([[0.3, 0.1, 0.9], [2.2, -1.1, 0.7]])
    rays = lidar_rays()[::97]
    metric = RayIoU(grid)
    metric._rays = rays
    metric.update(torch.from_numpy(pred)[None], torch.from_numpy(label)[None], [origins])
    hit, true, guess = np.zeros((3, 9)), np.zeros(9), np.zeros(9)
    for origin in (origins - grid.lower) / grid.voxel_size:
        for ray in rays:
            t, dt = naive_hit(label, origin, ray)
            p, dp = naive_hit(pred, origin, ray)
            if t == OUTSIDE:
                continue
            true[t] += 1
            if p != OUTSIDE:
                guess[p] += 1
            for row, threshold in enumerate((1, 2, 4)):
                hit[row, t] += bool(p == t and abs(dt - dp) * 0.5 < threshold)
    with np.errstate(invalid="ignore"):
        expected = 100 * hit / (true + guess - hit)
    assert 0 < np.nanmean(expected) < 100
    assert np.allclose(metric.per_class(), expected, equal_nan=True)
    assert metric.compute()["mean"] == pytest.approx(np.nanmean(expected))


def test_order_and_split_over_processes_do_not_matter() -> None:
    rng = np.random.default_rng(2)
    grid = VoxelGrid((-4.0, -4.0, -1.0), (8, 8, 4), 1.0)
    frames = [[torch.from_numpy(rng.choice([0, 1, 9, 9], (1, 8, 8, 4))) for _ in range(2)] for _ in range(4)]
    whole, parts = RayIoU(grid), [RayIoU(grid), RayIoU(grid)]
    for frame in frames:
        whole.update(*frame)
    for i in (3, 1, 0, 2):
        parts[i % 2].update(*frames[i])
    for state in ("hits", "truths", "guesses"):
        assert torch.equal(getattr(parts[0], state) + getattr(parts[1], state), getattr(whole, state))


def test_states_of_two_processes_are_summed() -> None:
    grid = VoxelGrid((-4.0, -4.0, -1.0), (8, 8, 4), 1.0)
    seen = []

    def gather(state: torch.Tensor, group: object = None) -> list[torch.Tensor]:
        seen.append(state)
        return [state, torch.zeros_like(state)]

    metric = RayIoU(grid, dist_sync_fn=gather, distributed_available_fn=lambda: True)
    walls = torch.full((1, 8, 8, 4), VEHICLE)
    metric.update(walls, walls)
    assert metric.compute()["mean"] == 100
    assert len(seen) == 3


def test_nothing_counted_is_not_a_number() -> None:
    metric = RayIoU(VoxelGrid((0.0, -4.0, 0.0), (8, 8, 4), 1.0))
    free = torch.full((1, 8, 8, 4), FREE)
    metric.update(free, free)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert math.isnan(metric.compute()["mean"])


def test_real_label(real_data: Path) -> None:
    (path,) = (real_data / "occ3d").glob("*/labels.npz")
    with np.load(path) as file:
        label = torch.from_numpy(OCC3D_NUSCENES[file["semantics"]])[None]

    def score(pred: torch.Tensor) -> dict[str, float]:
        metric = RayIoU(OCC3D_GRID)
        metric.update(pred, label)
        return metric.compute()

    assert set(score(label).values()) == {100.0}
    assert set(score(torch.full_like(label, FREE)).values()) == {0.0}
    shifted = torch.full_like(label, FREE)
    shifted[:, 1:] = label[:, :-1]
    near = score(shifted)
    # One voxel is 0.4 m: within 1 m where the ray meets the same surface.
    assert 60 < near["1"] <= near["2"] <= near["4"] < 100
