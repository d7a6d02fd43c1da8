from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ugocc.geometry.camera import pixel_rays, project
from ugocc.geometry.grid import OCC3D_GRID, VoxelGrid
from ugocc.geometry.rigid import BODY_T_OPTICAL, inverse, transform, yaw_matrix

few = settings(max_examples=40, deadline=None)
grids = st.builds(
    VoxelGrid,
    st.tuples(st.floats(-60, 0), st.floats(-60, 0), st.floats(-5, 0)),
    st.tuples(st.integers(1, 9), st.integers(1, 9), st.integers(1, 6)),
    st.sampled_from([0.2, 0.4, 0.8, 1.6]),
)


def test_the_grid_of_occ3d():
    assert OCC3D_GRID.upper == pytest.approx((40, 40, 5.4))
    centres = OCC3D_GRID.centres()
    assert centres.shape == (200, 200, 16, 3)
    assert centres[0, 0, 0] == pytest.approx([-39.8, -39.8, -0.8])
    assert centres[199, 100, 15] == pytest.approx([39.8, 0.2, 5.2])
    # A step along each index moves along one axis only: x, then y, then z.
    assert centres[1, 0, 0] - centres[0, 0, 0] == pytest.approx([0.4, 0, 0])
    assert centres[0, 1, 0] - centres[0, 0, 0] == pytest.approx([0, 0.4, 0])
    assert centres[0, 0, 1] - centres[0, 0, 0] == pytest.approx([0, 0, 0.4])


@few
@given(grids)
def test_every_centre_lies_in_its_own_voxel(grid):
    index, inside = grid.index(grid.centres())
    assert inside.all()
    assert np.array_equal(index, np.stack(np.indices(grid.shape), axis=-1))


@few
@given(grids, st.lists(st.tuples(*[st.floats(-70, 70)] * 3), min_size=1, max_size=20))
def test_cells_agree_with_floor_one_point_at_a_time(grid, points):
    index, inside = grid.index(np.array(points))
    for point, cell, within in zip(points, index, inside, strict=True):
        expected = [math.floor((p - low) / grid.voxel_size) for p, low in zip(point, grid.lower, strict=True)]
        assert cell.tolist() == expected
        assert within == all(0 <= e < n for e, n in zip(expected, grid.shape, strict=True))


def test_points_just_below_the_grid_are_outside():
    # Truncation instead of floor would put them into cell 0.
    index, inside = OCC3D_GRID.index(np.array([[-40.1, 0, 0], [0, -40.39, 0], [0, 0, -1.01], [-40.0, -40.0, -1.0]]))
    assert inside.tolist() == [False, False, False, True]
    assert index.min(axis=1).tolist() == [-1, -1, -1, 0]
    assert not OCC3D_GRID.index(np.array([40.0, 0, 0]))[1]


@few
@given(grids, st.integers(1, 3))
def test_coarse_voxels_hold_the_fine_ones_below_them(grid, factor):
    fine = VoxelGrid(grid.lower, tuple(n * factor for n in grid.shape), grid.voxel_size)
    coarse = fine.coarsened(factor)
    assert coarse.shape == grid.shape
    assert coarse.upper == pytest.approx(fine.upper)
    index, inside = coarse.index(fine.centres())
    assert inside.all()
    assert np.array_equal(index, np.stack(np.indices(fine.shape), axis=-1) // factor)


def test_a_grid_that_does_not_divide_is_refused():
    with pytest.raises(ValueError, match="cannot be divided by 3"):
        OCC3D_GRID.coarsened(3)


@few
@given(st.integers(0, 10), st.integers(0, 10), st.integers(0, 3))
def test_the_offset_of_a_part_points_at_its_first_voxel(x, y, z):
    outer = VoxelGrid((-8.0, -8.0, -1.0), (40, 40, 16), 0.4)
    lower = tuple(low + 0.4 * n for low, n in zip(outer.lower, (x, y, z), strict=True))
    inner = VoxelGrid(lower, (30, 30, 13), 0.4)
    assert inner.offset_in(outer) == (x, y, z)
    cut = outer.centres()[x : x + 30, y : y + 30, z : z + 13]
    assert np.allclose(cut, inner.centres())


@pytest.mark.parametrize(
    "inner",
    [
        VoxelGrid((-40.0, -40.0, -1.0), (200, 200, 17), 0.4),
        VoxelGrid((-40.4, -40.0, -1.0), (10, 10, 2), 0.4),
        VoxelGrid((-39.9, -40.0, -1.0), (10, 10, 2), 0.4),
        VoxelGrid((-40.0, -40.0, -1.0), (10, 10, 2), 0.8),
    ],
    ids=["too high", "sticks out", "between borders", "other voxels"],
)
def test_a_grid_that_is_no_part_is_refused(inner):
    with pytest.raises(ValueError, match="not a part"):
        inner.offset_in(OCC3D_GRID)


@few
@given(st.floats(-3.1, 3.1), st.floats(1.0, 2.5), st.integers(0, 10_000))
def test_voxel_to_pixel_to_voxel(yaw, height, seed):
    """A voxel centre seen by a camera, taken back along its pixel's ray at its depth, is in the same voxel."""
    ego_T_camera = yaw_matrix(yaw, (1.5, 0.2, height)) @ BODY_T_OPTICAL
    intrinsics = np.array([[560.0, 0, 351.5], [0, 560, 140], [0, 0, 1]])
    rng = np.random.default_rng(seed)
    cells = rng.integers(0, OCC3D_GRID.shape, (50, 3))
    centres = OCC3D_GRID.centres()[tuple(cells.T)]
    pixels, depth = project(transform(inverse(ego_T_camera), centres), intrinsics)
    seen = (depth > 1) & (np.abs(pixels - [351.5, 127.5]) < [352, 128]).all(axis=1)
    nearest = np.round(pixels[seen]).astype(int)
    rays = pixel_rays(704, 256, intrinsics)[nearest[:, 1].clip(0, 255), nearest[:, 0].clip(0, 703)]
    index, inside = OCC3D_GRID.index(transform(ego_T_camera, rays * depth[seen, None]))
    # Half a pixel at 60 m is 5 cm, an eighth of a voxel.
    assert inside.all()
    assert np.array_equal(index, cells[seen])
