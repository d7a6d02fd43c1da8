from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from real_frames import nuscenes_frames

from ugocc.data.frame import OccupancyLabel
from ugocc.data.occupancy import PRIORITY, coarsen, label_on_grid
from ugocc.errors import DataError
from ugocc.geometry.grid import OCC3D_GRID, VoxelGrid
from ugocc.labels import DRIVABLE, FREE, NUM_CLASSES, PEDESTRIAN, UNKNOWN

LAPTOP = VoxelGrid((-25.6, -25.6, -1.0), (64, 64, 8), 0.8)
DEBUG = VoxelGrid((-25.6, -25.6, -1.0), (32, 32, 4), 1.6)


def naive_coarsen(label: OccupancyLabel, factor: int) -> OccupancyLabel:
    shape = tuple(n // factor for n in label.semantics.shape)
    semantics, camera, lidar = np.zeros(shape, np.uint8), np.zeros(shape, bool), np.zeros(shape, bool)
    for x, y, z in np.ndindex(shape):
        block = tuple(slice(i * factor, (i + 1) * factor) for i in (x, y, z))
        classes, seen = label.semantics[block].ravel(), label.camera_mask[block].ravel()
        known = classes != UNKNOWN
        candidates = classes[known & seen] if (known & seen).any() else classes[known]
        semantics[x, y, z] = max(candidates, key=PRIORITY.index, default=UNKNOWN)
        camera[x, y, z], lidar[x, y, z] = seen.any(), label.lidar_mask[block].any()
    return OccupancyLabel(semantics, camera, lidar)


def random_label(shape, seed) -> OccupancyLabel:
    rng = np.random.default_rng(seed)
    semantics = rng.choice([*range(10), FREE, FREE, UNKNOWN, UNKNOWN], shape).astype(np.uint8)
    return OccupancyLabel(semantics, rng.uniform(size=shape) < 0.3, rng.uniform(size=shape) < 0.2)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 4), st.tuples(*[st.integers(1, 4)] * 3))
def test_coarsening_equals_a_loop(seed, factor, blocks):
    label = random_label(tuple(n * factor for n in blocks), seed)
    for found, expected in zip(coarsen(label, factor), naive_coarsen(label, factor), strict=True):
        np.testing.assert_array_equal(found, expected)
        assert found.dtype == expected.dtype


def test_every_class_has_a_priority():
    assert sorted(PRIORITY) == [*range(NUM_CLASSES), UNKNOWN]


@pytest.mark.parametrize(
    ("classes", "seen", "expected"),
    [
        ({0: PEDESTRIAN}, {0}, PEDESTRIAN),
        ({0: PEDESTRIAN, 1: DRIVABLE}, {1}, DRIVABLE),  # what is seen before what is hidden
        ({0: PEDESTRIAN}, {1}, FREE),  # free space is seen, what hides behind it is not
        ({0: DRIVABLE, 1: PEDESTRIAN}, set(), PEDESTRIAN),
        ({0: UNKNOWN, 1: DRIVABLE}, {0}, DRIVABLE),  # a seen voxel without a class says nothing
        (dict.fromkeys(range(8), UNKNOWN), {0}, UNKNOWN),
    ],
)
def test_one_block_by_hand(classes, seen, expected):
    semantics, mask = np.full(8, FREE, np.uint8), np.zeros(8, bool)
    for place, value in classes.items():
        semantics[place] = value
    for place in seen:
        mask[place] = True
    label = OccupancyLabel(semantics.reshape(2, 2, 2), mask.reshape(2, 2, 2), np.zeros((2, 2, 2), bool))
    found = coarsen(label, 2)
    assert found.semantics.item() == expected
    assert found.camera_mask.item() == bool(seen)


def test_a_voxel_keeps_its_place_in_metres():
    """A labelled voxel is found again on every model grid at the cell that contains its centre."""
    rng = np.random.default_rng(3)
    for grid in (OCC3D_GRID, LAPTOP, DEBUG, VoxelGrid((-8.0, 0.0, -0.2), (40, 20, 5), 0.4)):
        semantics = np.full(OCC3D_GRID.shape, FREE, np.uint8)
        cell = tuple(rng.integers(0, OCC3D_GRID.shape))
        cell = tuple(OCC3D_GRID.index(np.clip(OCC3D_GRID.centres()[cell], grid.lower, np.array(grid.upper) - 0.1))[0])
        semantics[cell] = PEDESTRIAN
        ones = np.ones(OCC3D_GRID.shape, bool)
        found = label_on_grid(OccupancyLabel(semantics, ones, ones), OCC3D_GRID, grid)
        expected, inside = grid.index(OCC3D_GRID.centres()[cell])
        assert inside
        np.testing.assert_array_equal(np.argwhere(found.semantics == PEDESTRIAN), [expected])


def test_the_same_grid_changes_nothing():
    label = random_label(OCC3D_GRID.shape, 1)
    for found, given_ in zip(label_on_grid(label, OCC3D_GRID, OCC3D_GRID), label, strict=True):
        np.testing.assert_array_equal(found, given_)


@pytest.mark.parametrize(
    "grid",
    [
        VoxelGrid((-40.0, -40.0, -1.0), (200, 200, 16), 0.5),  # sticks out
        VoxelGrid((-25.6, -25.6, -1.0), (64, 64, 8), 0.6),  # no whole multiple
        VoxelGrid((-25.5, -25.6, -1.0), (64, 64, 8), 0.8),  # between cells
        VoxelGrid((-40.4, -40.0, -1.0), (200, 200, 16), 0.4),
        VoxelGrid((-25.6, -25.6, -1.0), (64, 64, 8), 0.2),  # finer than the label
    ],
)
def test_a_grid_that_does_not_fit_is_refused(grid):
    with pytest.raises(DataError, match=r"token7.*occupancy_grid"):
        label_on_grid(random_label(OCC3D_GRID.shape, 0), OCC3D_GRID, grid, "token7")


def test_a_label_of_another_shape_is_refused():
    label = random_label((200, 200, 16), 0)._replace(camera_mask=np.zeros((200, 200, 8), bool))
    with pytest.raises(DataError, match=r"camera_mask.*\(200, 200, 8\)"):
        label_on_grid(label, OCC3D_GRID, OCC3D_GRID)


def test_thin_classes_of_a_real_label_survive(real_data):
    label = nuscenes_frames(real_data)[0].occupancy()
    box = slice(36, 164)
    for grid in (LAPTOP, DEBUG):
        coarse = label_on_grid(label, OCC3D_GRID, grid)
        seen_before = np.unique(label.semantics[box, box][label.camera_mask[box, box]])
        seen_after = np.unique(coarse.semantics[coarse.camera_mask])
        assert len(seen_before) >= 6
        np.testing.assert_array_equal(seen_after, seen_before)
