from __future__ import annotations

import numpy as np
import pytest
import torch

from ugocc.adaptation.views import Views, cell_at, cell_pixels, cells_visible, project, to_camera, voxel_centres
from ugocc.adaptation.visibility import VisibilitySettings, in_pictures, transmittance
from ugocc.geometry.camera import project as project_numpy
from ugocc.geometry.grid import VoxelGrid
from ugocc.geometry.rigid import BODY_T_OPTICAL, inverse, transform, yaw_matrix

GRID = VoxelGrid((-8.0, -8.0, -1.0), (20, 20, 6), 0.8)
HEIGHT, WIDTH = 40, 80


def make_views(yaws: list[float], samples: int = 1, height: float = 1.6, focal: float = 40.0) -> Views:
    """Cameras near the middle of the grid, looking along the yaws in degrees."""
    k = torch.tensor([[focal, 0, (WIDTH - 1) / 2], [0, focal, (HEIGHT - 1) / 2], [0, 0, 1]])
    poses = np.stack([yaw_matrix(np.deg2rad(yaw), (0.1, -0.07, height)) @ BODY_T_OPTICAL for yaw in yaws])
    n = len(yaws)
    return Views(
        torch.ones(samples, n, dtype=torch.bool),
        k.expand(samples, n, 3, 3),
        torch.from_numpy(poses).float().expand(samples, n, 4, 4),
        torch.ones(samples, n, HEIGHT, WIDTH, dtype=torch.bool),
    )


def test_projection_is_that_of_geometry():
    views = make_views([30.0, -100.0])
    points = np.random.default_rng(0).uniform(-8, 8, (50, 3))
    mine, depth = project(
        to_camera(views.volume_T_camera.double(), torch.from_numpy(points).expand(1, 2, -1, -1)),
        views.intrinsics.double(),
    )
    for n in range(2):
        camera = transform(inverse(views.volume_T_camera[0, n].double().numpy()), points)
        pixels, z = project_numpy(camera, views.intrinsics[0, n].double().numpy())
        np.testing.assert_allclose(depth[0, n], z, atol=1e-6)
        far = z > 0.1
        np.testing.assert_allclose(mine[0, n][far], pixels[far], atol=1e-4)
        assert torch.isnan(mine[0, n][z < 0]).all()


def test_cells_of_a_map_and_back():
    pixels = cell_pixels((5, 8), (HEIGHT, WIDTH), torch.zeros(1))
    cell, inside = cell_at(pixels, (HEIGHT, WIDTH), (5, 8))
    assert inside.all()
    assert torch.equal(cell, torch.arange(40))
    # Stride 8 and 10: the first cell covers pixels 0 to 7 (9), so its middle is 3.5 (4.5).
    assert pixels[0].tolist() == [4.5, 3.5]
    edges = torch.tensor([[-0.5, -0.5], [-0.51, 0.0], [79.49, 39.49], [79.5, 0.0], [torch.nan, 1.0]])
    cell, inside = cell_at(edges, (HEIGHT, WIDTH), (5, 8))
    assert inside.tolist() == [True, False, True, False, False]
    assert cell.tolist() == [0, 0, 39, 0, 0]


def test_a_cell_shows_the_world_if_all_its_pixels_do():
    views = make_views([0.0])
    views.visible[0, 0, 8, 10] = False
    seen = cells_visible(views, (5, 8))
    assert (~seen).nonzero().tolist() == [[0, 0, 1, 1]]


def test_in_pictures_by_loops():
    views = make_views([0.0, 120.0])
    views.visible[0, 1, 30:] = False
    views = Views(torch.tensor([[True, True]]), views.intrinsics, views.volume_T_camera, views.visible)
    found = in_pictures(views, GRID)
    pairs = set(zip(found.camera.tolist(), found.voxel.tolist(), strict=True))
    centres = GRID.centres().reshape(-1, 3)
    expected = set()
    for n in range(2):
        camera = transform(inverse(views.volume_T_camera[0, n].double().numpy()), centres)
        pixels, _ = project_numpy(camera, views.intrinsics[0, n].double().numpy())
        for i, (u, v) in enumerate(pixels):
            inside = np.isfinite(u) and -0.5 <= u < WIDTH - 0.5 and -0.5 <= v < HEIGHT - 0.5
            if inside and views.visible[0, n, int(np.floor(v + 0.5)), int(np.floor(u + 0.5))]:
                expected.add((n, i))
    assert len(expected) > 500
    assert len(pairs ^ expected) <= 2  # float32 against float64 at a pixel's edge


def test_missing_cameras_and_other_voxels_see_nothing():
    views = make_views([0.0, 90.0], samples=2)
    views = Views(torch.tensor([[True, False], [True, True]]), views.intrinsics, views.volume_T_camera, views.visible)
    candidates = torch.zeros(2, *GRID.shape, dtype=torch.bool)
    candidates[:, 15, 10, 2] = candidates[:, 10, 15, 2] = True
    found = in_pictures(views, GRID, candidates)
    assert set(zip(found.sample.tolist(), found.camera.tolist(), strict=True)) == {(0, 0), (1, 0), (1, 1)}
    voxels = found.any_camera((2, *GRID.shape))
    assert voxels.nonzero().tolist() == [[0, 15, 10, 2], [1, 10, 15, 2], [1, 15, 10, 2]]


def slow_transmittance(free: np.ndarray, origin: np.ndarray, voxel: tuple[int, ...], near: float, step: float) -> float:
    """Ray stepping, one point at a time; lengths in voxels."""
    size, best = GRID.voxel_size, 0.0
    start = (origin - GRID.lower) / size
    for axis in range(3):
        end = np.array(voxel) + 0.5
        end[axis] += 0.5 * np.sign(start[axis] - end[axis])
        distance, travelled, light = np.linalg.norm(end - start), near / size, 1.0
        while travelled < distance:
            length = min(step, distance - travelled)
            cell = np.floor(start + (travelled + length / 2) / distance * (end - start)).astype(int)
            if (cell >= 0).all() and (cell < GRID.shape).all():
                light *= max(free[tuple(cell)], 1e-4) ** length
            travelled += step
        best = max(best, light)
    return best


@pytest.mark.parametrize("chunk", [2**21, 300])
def test_transmittance_by_naive_stepping(chunk):
    random = np.random.default_rng(0)
    views = make_views([0.0, 100.0], samples=2)
    free = torch.from_numpy(1 - 0.6 * random.random((2, *GRID.shape)) ** 3).float()
    candidates = torch.from_numpy(random.random((2, *GRID.shape)) < 0.15)
    found = in_pictures(views, GRID, candidates)
    light = transmittance(free, found, views, GRID, VisibilitySettings(step=0.7, near=0.5), chunk)
    assert len(light) > 100
    wrong = 0
    for b, n, v, value in zip(found.sample, found.camera, found.voxel, light, strict=True):
        origin = views.volume_T_camera[b, n, :3, 3].double().numpy()
        slow = slow_transmittance(free[b].double().numpy(), origin, np.unravel_index(v, GRID.shape), 0.5, 0.7)
        wrong += abs(slow - value.item()) > 1e-3
    assert wrong <= 0.01 * len(light)  # points on a border may fall either way in float32


def exact_length(blocked: np.ndarray, origin: np.ndarray, end: np.ndarray) -> float:
    """Length inside blocked cells by cutting the ray at every plane between cells."""
    ray = end - origin
    cuts = [0.0, 1.0]
    for axis in range(3):
        planes = np.arange(blocked.shape[axis] + 1)
        cuts += [t for t in (planes - origin[axis]) / ray[axis] if 0 < t < 1]
    cuts = np.sort(cuts)
    cells = np.floor(origin + (cuts[1:, None] + cuts[:-1, None]) / 2 * ray).astype(int)
    inside = (cells >= 0).all(1) & (cells < blocked.shape).all(1)
    hit = np.zeros(len(cells), dtype=bool)
    hit[inside] = blocked[tuple(cells[inside].T)]
    return float((np.diff(cuts) * hit).sum() * np.linalg.norm(ray))


def test_fine_steps_converge_to_the_exact_length():
    random = np.random.default_rng(1)
    views = make_views([0.0])
    blocked = random.random(GRID.shape) < 0.1
    free = torch.from_numpy(np.where(blocked, 0.5, 1.0)).float()[None]
    found = in_pictures(views, GRID, torch.from_numpy(random.random((1, *GRID.shape)) < 0.1))
    light = transmittance(free, found, views, GRID, VisibilitySettings(step=0.02, near=0.0))
    origin = (views.volume_T_camera[0, 0, :3, 3].double().numpy() - GRID.lower) / GRID.voxel_size
    for v, value in zip(found.voxel, light, strict=True):
        centre = np.array(np.unravel_index(v, GRID.shape)) + 0.5
        ends = centre + 0.5 * np.diag(np.sign(origin - centre))
        exact = max(0.5 ** exact_length(blocked, origin, end) for end in ends)
        assert value.item() == pytest.approx(exact, abs=0.03)


def test_a_wall_hides_what_is_behind_it():
    views = make_views([0.0])
    free = torch.ones(1, *GRID.shape)
    free[:, 15] = 0  # a wall across the whole grid at x = 4.0 .. 4.8
    found = in_pictures(views, GRID)
    seen = transmittance(free, found, views, GRID, VisibilitySettings()) > 0.5
    x = found.voxel // (GRID.shape[1] * GRID.shape[2])
    assert seen[x <= 15].all()  # before the wall, and the wall itself
    assert not seen[x > 15].any()
    assert (x > 15).sum() > 50


def test_everything_in_the_picture_is_seen_through_air():
    views = make_views([0.0, 45.0])
    found = in_pictures(views, GRID)
    assert (transmittance(torch.ones(1, *GRID.shape), found, views, GRID, VisibilitySettings()) == 1).all()


def test_the_whole_road_is_seen():
    """Rays to centres would graze through the road before each voxel; rays to faces do not."""
    views = make_views([0.0])
    free = torch.ones(1, *GRID.shape)
    free[:, :, :, :2] = 0  # surface at z = 0.6
    found = in_pictures(views, GRID)
    z = found.voxel % GRID.shape[2]
    light = transmittance(free, found, views, GRID, VisibilitySettings(near=0.0))
    assert (light[z == 1] > 0.5).float().mean() > 0.95
    assert (light[z == 0] < 0.5).all()


def test_the_own_car_does_not_blind_its_cameras():
    views = make_views([0.0])
    free = torch.ones(1, *GRID.shape)
    free[:, 10, 9:11, :4] = 0  # around the camera, up to x = 0.8 m
    found = in_pictures(views, GRID)
    blind = transmittance(free, found, views, GRID, VisibilitySettings(near=0.0))
    seeing = transmittance(free, found, views, GRID, VisibilitySettings(near=1.2))
    assert blind.max() < 0.5
    assert (seeing == 1).all()


def test_no_pairs():
    views = make_views([0.0])
    none = in_pictures(views, GRID, torch.zeros(1, *GRID.shape, dtype=torch.bool))
    assert transmittance(torch.ones(1, *GRID.shape), none, views, GRID, VisibilitySettings()).shape == (0,)


def test_centres_in_the_order_of_a_flat_grid():
    centres = voxel_centres(GRID, torch.zeros(1))
    assert centres.view(*GRID.shape, 3)[3, 7, 2].tolist() == pytest.approx([-8 + 2.8, -8 + 6.0, -1 + 2.0])
