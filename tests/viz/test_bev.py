from __future__ import annotations

import numpy as np
import pytest

from ugocc.geometry.grid import VoxelGrid
from ugocc.labels import DRIVABLE, FREE, PEDESTRIAN, UNKNOWN, VEHICLE
from ugocc.viz.bev import BESIDE, draw_bev

GRID = VoxelGrid((-8.0, -8.0, -1.0), (20, 20, 8), 0.8)


def blue(picture: np.ndarray) -> np.ndarray:
    return np.argwhere(picture[..., 2].astype(int) - picture[..., 0] > 60)


@pytest.mark.parametrize(("voxel", "place"), [((18, 10, 2), "up"), ((1, 10, 2), "down"), ((10, 18, 2), "left")])
def test_forward_is_up_and_left_is_left(voxel: tuple[int, int, int], place: str) -> None:
    volume = np.full(GRID.shape, FREE, dtype=np.uint8)
    volume[voxel] = VEHICLE
    row, column = blue(draw_bev(volume, GRID, (200, 200), ego=False)).mean(axis=0)
    expected = {"up": (15, 95), "down": (185, 95), "left": (95, 15)}[place]
    assert abs(row - expected[0]) < 1
    assert abs(column - expected[1]) < 1


def test_highest_voxel_is_shown_and_free_unknown_masked_are_not() -> None:
    volume = np.full(GRID.shape, FREE, dtype=np.uint8)
    volume[..., 0] = DRIVABLE
    volume[5, 5, 3], volume[5, 5, 6], volume[5, 5, 7] = PEDESTRIAN, VEHICLE, UNKNOWN
    picture = draw_bev(volume, GRID, (200, 200), ego=False)
    assert len(blue(picture)) == 100  # one voxel is ten pixels wide
    masked = draw_bev(volume, GRID, (200, 200), ego=False, mask=volume != VEHICLE)
    assert len(blue(masked)) == 0
    middle = masked[145, 145].astype(int)
    assert middle[0] - middle[2] > 60  # the pedestrian below


@pytest.mark.parametrize("size", [(200, 200), (211, 190), (10, 12), (501, 333)])
def test_any_size(size: tuple[int, int]) -> None:
    volume = np.full(GRID.shape, FREE, dtype=np.uint8)
    volume[10, 18, 1] = VEHICLE
    picture = draw_bev(volume, GRID, size)
    assert picture.shape == (size[1], size[0], 3)
    assert picture.dtype == np.uint8


def test_car_is_at_the_origin_of_the_ego_frame() -> None:
    grid = VoxelGrid((-4.0, -8.0, -1.0), (20, 20, 8), 0.8)  # 4 m behind, 12 m ahead
    volume = np.full(grid.shape, FREE, dtype=np.uint8)
    without = draw_bev(volume, grid, (320, 320), ego=False)
    white = np.argwhere((draw_bev(volume, grid, (320, 320)).min(axis=-1) > 245) & (without.max(axis=-1) < 240))
    assert np.abs(white.mean(axis=0) - (320 - (4 + 1.4) * 20, 160)).max() < 8


@pytest.mark.parametrize(("shape", "box"), [((50, 25, 4), (0, 75, 300, 225)), ((25, 50, 4), (75, 0, 225, 300))])
def test_a_grid_that_is_not_square_keeps_its_proportions(
    shape: tuple[int, int, int], box: tuple[int, int, int, int]
) -> None:
    grid = VoxelGrid((-shape[0] * 0.4, -shape[1] * 0.4, -1.0), shape, 0.8)
    volume = np.full(grid.shape, FREE, dtype=np.uint8)
    without = draw_bev(volume, grid, (300, 300), ego=False)
    top, left, bottom, right = box
    inside = np.zeros((300, 300), bool)
    inside[top:bottom, left:right] = True
    assert np.array_equal((without == BESIDE).all(-1), ~inside)
    car = np.argwhere((draw_bev(volume, grid, (300, 300)) > 250).all(-1))
    tall, wide = np.ptp(car, axis=0) + 1
    assert tall / wide == pytest.approx(4.8 / 2.0, rel=0.2)
