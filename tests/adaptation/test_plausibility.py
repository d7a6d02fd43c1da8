from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ugocc.adaptation.plausibility import PlausibilitySettings, plausibility, plausible_vehicles
from ugocc.geometry.grid import VoxelGrid
from ugocc.labels import BUILDING, DRIVABLE, FREE, PEDESTRIAN, SIDEWALK, VEGETATION, VEHICLE

GRID = VoxelGrid((-16.0, -16.0, -1.2), (40, 40, 8), 0.8)
BOUNDS = PlausibilitySettings()


def street() -> np.ndarray:
    """(40, 40, 8) a road at height 0 (layer 1)."""
    labels = np.full(GRID.shape, FREE, dtype=np.uint8)
    labels[:, :, 1] = DRIVABLE
    return labels


def put_car(labels: np.ndarray, bottom: int, at: int = 10, length: int = 5, height: int = 2) -> None:
    """A car instead of whatever is below it, as labels have it: nobody sees the road under a car."""
    labels[at : at + length, 8:10, :] = FREE
    labels[at : at + length, 8:10, bottom : bottom + height] = VEHICLE


def checked(labels: np.ndarray, within: np.ndarray | None = None):
    shown = np.ones(GRID.shape, dtype=bool) if within is None else within
    return plausibility(labels[None], shown[None], GRID, BOUNDS)


@pytest.mark.parametrize(("bottom", "grounded"), [(0, 1), (1, 1), (2, 1), (3, 0), (5, 0)])
def test_cars_stand_on_the_road_beside_them(bottom, grounded):
    labels = street()
    put_car(labels, bottom)
    assert checked(labels).grounded == grounded


def test_the_nearest_road_counts_not_the_one_across_the_hill():
    """A terrace two voxels up: a car on it is level with it, whatever the road below says."""
    labels = street()
    labels[:, :, 1] = FREE
    labels[:20, :, 1], labels[20:, :, 3] = DRIVABLE, SIDEWALK
    put_car(labels, 3, at=30)
    put_car(labels, 3, at=5)
    assert checked(labels).grounded == 0.5


def test_cars_without_any_road_float():
    labels = np.full(GRID.shape, FREE, dtype=np.uint8)
    assert math.isnan(checked(labels).grounded)
    put_car(labels, 1)
    assert checked(labels).grounded == 0


def test_ground_near_the_car():
    labels = street()
    assert checked(labels).near_ground == 1
    assert checked(np.full(GRID.shape, FREE, dtype=np.uint8)).near_ground == 0
    labels[:, 20:] = np.where(labels[:, 20:] == DRIVABLE, VEGETATION, FREE)  # left of the car: grass
    assert checked(labels).near_ground == 1
    labels[:, 20:] = FREE
    labels[:, 20:, 1] = BUILDING
    assert checked(labels).near_ground == 0.5
    far = np.linalg.norm(GRID.centres()[:, :, 0, :2], axis=-1) > BOUNDS.near
    distant = street()
    distant[far] = FREE
    assert checked(distant).near_ground == 1


def test_ground_is_not_asked_for_under_movers_or_out_of_the_pictures():
    labels = street()
    labels[15:25, 15:25] = FREE
    assert checked(labels).near_ground < 1
    hidden = np.ones(GRID.shape, dtype=bool)
    hidden[15:25, 15:25, :2] = False  # the cameras look over the bonnet
    assert checked(labels, hidden).near_ground == 1
    labels[15:25, 15:25, 2] = PEDESTRIAN
    assert checked(labels).near_ground == 1


@pytest.mark.parametrize(
    ("size", "plausible"),
    [
        ((6, 2, 2), True),  # 4.8 x 1.6 x 1.6 m
        ((1, 1, 1), False),  # a speck
        ((2, 2, 1), False),  # 1.6 m
        ((3, 1, 2), True),
        ((32, 4, 4), True),  # a bus of 24.9 m fits into 32 voxels
        ((33, 4, 4), False),  # at least 24.8 m + 0.8 m
        ((3, 33, 2), False),
        ((6, 3, 7), True),  # 4.8 m fit into 7 voxels
        ((6, 3, 8), False),
    ],
)
def test_sizes_of_vehicles(size, plausible):
    grid = VoxelGrid((0, 0, 0), (40, 40, 12), 0.8)
    labels = np.full(grid.shape, FREE, dtype=np.uint8)
    labels[3 : 3 + size[0], 4 : 4 + size[1], 2 : 2 + size[2]] = VEHICLE
    assert plausible_vehicles(labels, np.ones(grid.shape, dtype=bool), grid, BOUNDS).tolist() == [plausible]


def test_a_vehicle_that_reaches_out_of_the_picture_may_be_short_but_not_huge():
    labels, within = street(), np.ones(GRID.shape, dtype=bool)
    labels[10, 10, 2] = labels[20, 30, 0] = labels[30, 10, 7] = VEHICLE  # also at the bottom and the top of the grid
    assert plausible_vehicles(labels, within, GRID, BOUNDS).tolist() == [False] * 3
    labels[20, 30, 0] = labels[30, 10, 7] = FREE
    assert plausible_vehicles(labels, within, GRID, BOUNDS).tolist() == [False]
    within[:, :10] = False
    assert plausible_vehicles(labels, within, GRID, BOUNDS).tolist() == [True]
    labels[0, 30, 2] = VEHICLE  # at the border of the grid
    labels[1:39, 20, 2] = VEHICLE
    found = plausible_vehicles(labels, within, GRID, BOUNDS)
    assert sorted(found.tolist()) == [False, True, True]


def test_what_no_camera_sees_is_not_judged():
    labels, within = street(), np.ones(GRID.shape, dtype=bool)
    put_car(labels, 5, at=30)
    assert checked(labels).grounded == 0
    within[28:] = False
    assert math.isnan(checked(labels, within).grounded)
    assert math.isnan(checked(labels, within).vehicle_size)


def test_all_frames_are_pooled():
    good, bad = street(), street()
    put_car(good, 2, length=3)
    put_car(bad, 5, length=6)
    both = plausibility(np.stack([good, bad]), np.ones((2, *GRID.shape), dtype=bool), GRID, BOUNDS)
    assert both.grounded == pytest.approx(3 / 9)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(0, 3))
def test_turning_the_world_by_quarters_changes_nothing(seed, quarters):
    rng = np.random.default_rng(seed)
    labels = rng.choice(10, size=GRID.shape, p=[0.1, 0.05, *[0.01] * 7, 0.78]).astype(np.uint8)
    within = rng.uniform(size=GRID.shape) < 0.9
    found, turned = checked(labels, within), checked(*(np.rot90(a, quarters) for a in (labels, within)))
    assert turned.near_ground == pytest.approx(found.near_ground)
    assert turned.vehicle_size == pytest.approx(found.vehicle_size)
    for value in found:
        assert 0 <= value <= 1
