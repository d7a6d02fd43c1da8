"""Occupancy labels on the grid of a model: cut to its box, coarsened to its voxels."""

from __future__ import annotations

from functools import reduce
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ugocc.data.frame import OccupancyLabel
from ugocc.errors import DataError
from ugocc.geometry.grid import VoxelGrid
from ugocc.labels import (
    BUILDING,
    DRIVABLE,
    FREE,
    OTHERS,
    PEDESTRIAN,
    SIDEWALK,
    TRAFFIC_OBJECT,
    TWO_WHEELER,
    UNKNOWN,
    VEGETATION,
    VEHICLE,
)

PRIORITY: Final = (
    UNKNOWN,
    FREE,
    DRIVABLE,
    SIDEWALK,
    VEGETATION,
    BUILDING,
    VEHICLE,
    OTHERS,
    TRAFFIC_OBJECT,
    TWO_WHEELER,
    PEDESTRIAN,
)
"""Which class a coarse voxel takes, later before earlier: thin and small things survive."""

_CLASS_OF_RANK = np.array(PRIORITY, dtype=np.uint8)
_RANK_OF_CLASS = np.zeros(256, dtype=np.uint8)
_RANK_OF_CLASS[_CLASS_OF_RANK] = np.arange(len(PRIORITY))
_SEEN: Final = 16  # above every rank


def label_on_grid(
    label: OccupancyLabel, label_grid: VoxelGrid, grid: VoxelGrid, where: object = "occupancy"
) -> OccupancyLabel:
    """Convert a label to ``grid``, a box inside ``label_grid`` with voxels a whole number of times as large.

    Raises:
        DataError: a label of another shape than its grid, or a grid that does not fit, naming ``where``.
    """
    part, part_grid = cut(label, label_grid, grid, where)
    factor = part_grid.shape[0] // grid.shape[0]
    return part if factor == 1 else coarsen(part, factor)


def cut(
    label: OccupancyLabel, label_grid: VoxelGrid, grid: VoxelGrid, where: object = "occupancy"
) -> tuple[OccupancyLabel, VoxelGrid]:
    """The part of a label inside ``grid``, in voxels of its own size, and the grid of that part.

    Raises:
        DataError: as :func:`label_on_grid`.
    """
    for name, array in label._asdict().items():
        if array.shape != label_grid.shape:
            raise DataError(where, name, f"shape {array.shape}", f"shape {label_grid.shape}")
    factor, box = _box(label_grid, grid, where)
    x, y, z = (n * factor for n in grid.shape)
    part = OccupancyLabel(label.semantics[box], label.camera_mask[box] != 0, label.lidar_mask[box] != 0)
    return part, VoxelGrid(grid.lower, (x, y, z), label_grid.voxel_size)


def own_grid(label: OccupancyLabel, grid: VoxelGrid) -> VoxelGrid:
    """The grid of a label that covers the box of ``grid`` in voxels of its own size."""
    factor = label.semantics.shape[0] // grid.shape[0]
    x, y, z = (n * factor for n in grid.shape)
    return VoxelGrid(grid.lower, (x, y, z), grid.voxel_size / factor)


def coarsen(label: OccupancyLabel, factor: int) -> OccupancyLabel:
    """Join blocks of ``factor``^3 voxels, (X, Y, Z) to (X / factor, Y / factor, Z / factor).

    A coarse voxel is visible if any of its voxels is. Its class is the one that comes last in :data:`PRIORITY`
    among its camera-visible voxels of known class, or, if there are none, among all of them.
    """
    rank = _RANK_OF_CLASS[label.semantics]
    rank += np.where(label.camera_mask & (rank > 0), np.uint8(_SEEN), np.uint8(0))
    return OccupancyLabel(
        semantics=_CLASS_OF_RANK[_largest(rank, factor) % _SEEN],
        camera_mask=_largest(label.camera_mask, factor),
        lidar_mask=_largest(label.lidar_mask, factor),
    )


def check_grid(label_grid: VoxelGrid, grid: VoxelGrid, where: object) -> None:
    """Raise :class:`DataError` if labels on ``label_grid`` cannot be converted to ``grid``."""
    _box(label_grid, grid, where)


def _box(label_grid: VoxelGrid, grid: VoxelGrid, where: object) -> tuple[int, tuple[slice, slice, slice]]:
    factor = round(grid.voxel_size / label_grid.voxel_size)
    x, y, z = (n * factor for n in grid.shape)
    try:
        if abs(factor * label_grid.voxel_size - grid.voxel_size) > 1e-6:
            raise ValueError(f"voxels of {grid.voxel_size:g} m are no multiple of {label_grid.voxel_size:g} m")
        first = VoxelGrid(grid.lower, (x, y, z), label_grid.voxel_size).offset_in(label_grid)
    except ValueError as error:
        expected = f"a label grid that contains the model's {grid} in whole voxels"
        raise DataError(where, "occupancy_grid", error, expected) from error
    return factor, (slice(first[0], first[0] + x), slice(first[1], first[1] + y), slice(first[2], first[2] + z))


def _largest(values: NDArray[Any], factor: int) -> NDArray[Any]:
    # Axis by axis, each the maximum of whole slices, which is several times faster than a reduction over short axes.
    for axis in (0, 1, 2):
        slices = [values[(slice(None),) * axis + (slice(i, None, factor),)] for i in range(factor)]
        values = reduce(np.maximum, slices)
    return values
