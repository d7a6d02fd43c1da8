from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ugocc.geometry.camera import project
from ugocc.geometry.grid import OCC3D_GRID, VoxelGrid
from ugocc.geometry.rigid import inverse, transform
from ugocc.labels import BUILDING, DRIVABLE, FREE, OCC3D_NUSCENES, PALETTE, PEDESTRIAN, UNKNOWN, VEHICLE
from ugocc.viz.painter import FLOOR, draw_volume, sunlight
from ugocc.viz.view import CHASE, View, overview

GRID = VoxelGrid((-8.0, -8.0, -1.0), (20, 20, 8), 0.8)
SIZE = (320, 240)


def empty() -> np.ndarray:
    return np.full(GRID.shape, FREE, dtype=np.uint8)


def pixel_of(view: View, point: np.ndarray) -> tuple[int, int]:
    """Row and column of a point of the ego frame."""
    intrinsics = view.intrinsics(*SIZE)
    (u, v), _ = project(transform(inverse(view.ego_T_camera()), point), intrinsics)
    return round(float(v)), round(float(u))


def hue_of(colour: np.ndarray) -> int:
    """The class whose colour this is a darker or lighter shade of."""
    shade = colour / np.linalg.norm(colour)
    table = PALETTE[:9] / np.linalg.norm(PALETTE[:9].astype(float), axis=1, keepdims=True)
    return int(np.argmax(table @ shade))


@pytest.mark.parametrize(
    "view",
    [
        View(azimuth=180, elevation=30, distance=25, target=(0.0, 0.0, 0.0), field_of_view=50),
        View(azimuth=65, elevation=50, distance=30, target=(1.0, -1.0, 0.0), field_of_view=45),
        View(azimuth=-20, elevation=10, distance=22, target=(0.0, 2.0, 1.0), field_of_view=60),
    ],
)
@pytest.mark.parametrize("voxel", [(3, 4, 2), (16, 5, 4), (10, 17, 1), (9, 9, 6)])
@pytest.mark.parametrize("label", [VEHICLE, PEDESTRIAN, BUILDING])
def test_voxel_appears_where_its_projection_says(view: View, voxel: tuple[int, int, int], label: int) -> None:
    volume = empty()
    volume[voxel] = label
    picture = draw_volume(volume, GRID, SIZE, view, ego=False)
    row, column = pixel_of(view, GRID.centres()[voxel])
    assert hue_of(picture[row, column].astype(float)) == label
    # And nowhere else: what differs from the empty picture is as large as the voxel, but for its shadow on the floor.
    blank = draw_volume(empty(), GRID, SIZE, view, ego=False)
    coloured = np.argwhere((picture != blank).any(-1) & (np.ptp(picture.astype(int), axis=-1) > 40))
    half = 0.8 * 0.9 * view.intrinsics(*SIZE)[0, 0] / (view.distance - 12)
    assert np.abs(coloured - (row, column)).max() <= half + 2


def test_left_of_the_car_is_left_in_a_view_from_behind() -> None:
    volume = empty()
    volume[12, 18, 1] = VEHICLE  # y = +6.8: left
    picture = draw_volume(volume, GRID, SIZE, View(distance=25, target=(0.0, 0.0, 0.0)), ego=False)
    blue = np.argwhere((picture[..., 2].astype(int) - picture[..., 0]) > 60)
    assert len(blue) > 4
    assert blue[:, 1].max() < SIZE[0] / 2


def test_hidden_voxel_is_not_drawn() -> None:
    view = View(azimuth=180, elevation=0, distance=20, target=(0.0, 0.0, 1.0), field_of_view=60)
    volume = empty()
    volume[14, 9:11, 2:4] = PEDESTRIAN
    row, column = pixel_of(view, GRID.centres()[14, 9, 2])

    def red() -> np.ndarray:
        picture = draw_volume(volume, GRID, SIZE, view, ego=False).astype(int)
        return picture[..., 0] - picture[..., 1:].max(axis=-1) > 60

    assert red()[row, column]
    volume[4, 8:12, :6] = BUILDING  # a wall before it
    assert not red().any()


def naive_front(volume: np.ndarray, view: View, row: int, column: int) -> int:
    """Class that a pixel shows: small steps along its ray."""
    intrinsics, pose = view.intrinsics(*SIZE), view.ego_T_camera()
    ray = pose[:3, :3] @ np.linalg.inv(intrinsics) @ (column, row, 1.0)
    along = pose[:3, 3] + np.arange(0.5, 60, 0.01)[:, None] * ray
    cell, inside = GRID.index(along)
    for place in cell[inside]:
        if volume[tuple(place)] < FREE:
            return int(volume[tuple(place)])
    return FREE


def test_random_volume_against_marching_along_rays() -> None:
    rng = np.random.default_rng(3)
    volume = np.where(rng.random(GRID.shape) < 0.04, rng.choice([VEHICLE, PEDESTRIAN], GRID.shape), FREE)
    volume = volume.astype(np.uint8)
    view = View(azimuth=140, elevation=25, distance=24, target=(0.0, 0.0, 1.0), field_of_view=60)
    picture = draw_volume(volume, GRID, SIZE, view, ego=False, smooth=1).astype(float)
    wrong = 0
    for row, column in rng.integers(10, 230, (150, 2)):
        expected = naive_front(volume, view, row, column)
        spread = np.ptp(picture[row, column])
        found = FREE if spread < 40 else hue_of(picture[row, column])
        wrong += found != expected
    assert wrong <= 3  # pixels at the edge of a voxel


def test_free_unknown_and_masked_voxels_are_not_drawn() -> None:
    blank = draw_volume(empty(), GRID, SIZE)
    volume = empty()
    volume[5, 5, 2], volume[12, 8, 3] = UNKNOWN, VEHICLE
    assert np.array_equal(draw_volume(volume, GRID, SIZE, mask=volume != VEHICLE), blank)
    assert not np.array_equal(draw_volume(volume, GRID, SIZE), blank)


def test_car_stands_on_the_road_and_hides_behind_walls() -> None:
    view = View(azimuth=180, elevation=20, distance=16, target=(1.0, 0.0, 0.5), field_of_view=60)
    volume = empty()
    volume[:, :, 0] = DRIVABLE
    without = draw_volume(volume, GRID, SIZE, view, ego=False)
    changed = np.argwhere((draw_volume(volume, GRID, SIZE, view) != without).any(-1))
    assert len(changed) > 200
    assert np.abs(changed.mean(axis=0) - pixel_of(view, np.array([1.4, 0.0, 0.7]))).max() < 12
    volume[4, :, :] = BUILDING
    wall = draw_volume(volume, GRID, SIZE, view, ego=False)
    assert (draw_volume(volume, GRID, SIZE, view) != wall).any(-1).sum() < 0.1 * len(changed)


def test_camera_inside_the_volume() -> None:
    volume = np.full(GRID.shape, VEHICLE, dtype=np.uint8)
    picture = draw_volume(volume, GRID, SIZE, CHASE)
    assert picture.shape == (240, 320, 3)


def test_sunlight_falls_past_and_not_through() -> None:
    solid = np.zeros((14, 14, 6), dtype=bool)
    solid[4, 11, 5] = True
    light = sunlight(solid)
    assert light.shape == (14, 14, 8)
    assert light[4, 11, 6] == 1  # on top of the voxel
    assert light[0, 0].min() == 1
    floor = 1 - light[:, :, 0]
    assert floor.sum() == pytest.approx(1, abs=1e-5)  # one voxel takes the light of one voxel
    assert (floor * np.arange(14)[:, None]).sum() == pytest.approx(4 + 6 * 0.45, abs=1e-4)
    assert (floor * np.arange(14)).sum() == pytest.approx(11 - 6 * 0.8, abs=1e-4)


@pytest.mark.parametrize("size", [(960, 480), (600, 600), (400, 640)])
def test_overview_shows_the_whole_floor(size: tuple[int, int]) -> None:
    for grid in (OCC3D_GRID, GRID, VoxelGrid((0.0, -25.6, -2.0), (128, 128, 16), 0.4)):
        view = overview(grid, *size)
        (x0, y0, z0), (x1, y1, _) = grid.lower, grid.upper
        floor = np.array([(x, y, z0) for x in (x0, x1) for y in (y0, y1)])
        pixels, depth = project(transform(inverse(view.ego_T_camera()), floor), view.intrinsics(*size))
        assert depth.min() > 0
        assert (pixels >= -0.04 * np.array(size)).all()
        assert (pixels <= 1.04 * np.array(size)).all()
        assert np.ptp(pixels, axis=0).max() > 0.5 * min(size)


def test_real_label(real_data: Path) -> None:
    (path,) = (real_data / "occ3d").glob("*/labels.npz")
    with np.load(path) as file:
        volume, seen = OCC3D_NUSCENES[file["semantics"]], file["mask_camera"].astype(bool)
    whole = draw_volume(volume, OCC3D_GRID, (480, 300), smooth=1)
    masked = draw_volume(volume, OCC3D_GRID, (480, 300), mask=seen, smooth=1)
    floor = np.abs(masked.astype(float) - FLOOR).max(axis=-1) < 30
    assert 0.1 < (whole != masked).any(-1).mean() < 0.9
    assert floor.mean() > (np.abs(whole.astype(float) - FLOOR).max(axis=-1) < 30).mean()
