"""The voxel grid: a box of cubic cells in the ego frame (x forward, y left, z up)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class VoxelGrid:
    """Axis-aligned grid. Voxel (i, j, k) has its centre at ``lower + (index + 0.5) * voxel_size``."""

    lower: tuple[float, float, float] = (-40.0, -40.0, -1.0)
    """Smallest corner in metres, key ego frame."""
    shape: tuple[int, int, int] = (200, 200, 16)
    """Number of voxels along x, y, z."""
    voxel_size: float = 0.4
    """Edge of a voxel in metres."""

    @property
    def upper(self) -> tuple[float, float, float]:
        """Largest corner in metres (exclusive)."""
        x, y, z = (low + n * self.voxel_size for low, n in zip(self.lower, self.shape, strict=True))
        return x, y, z

    def centres(self) -> NDArray[np.float64]:
        """(X, Y, Z, 3) voxel centres in metres."""
        axes = [low + (np.arange(n) + 0.5) * self.voxel_size for low, n in zip(self.lower, self.shape, strict=True)]
        return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)

    def index(self, points: NDArray[np.floating]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Cell of each point (..., 3): floor((p - lower) / size) as int64 (..., 3), and whether it is inside."""
        cell = np.floor((np.asarray(points, dtype=np.float64) - self.lower) / self.voxel_size).astype(np.int64)
        within = np.logical_and(cell >= 0, cell < np.asarray(self.shape))
        # Three whole masks are joined much faster than the short last axis is reduced.
        return cell, np.asarray(within[..., 0] & within[..., 1] & within[..., 2])

    def coarsened(self, factor: int) -> VoxelGrid:
        """The grid over the same box with voxels ``factor`` times as large."""
        if any(n % factor for n in self.shape):
            raise ValueError(f"grid {self.shape} cannot be divided by {factor}")
        x, y, z = (n // factor for n in self.shape)
        return VoxelGrid(self.lower, (x, y, z), self.voxel_size * factor)

    def offset_in(self, outer: VoxelGrid) -> tuple[int, int, int]:
        """Index in ``outer`` (same voxel size) of this grid's voxel (0, 0, 0).

        Raises:
            ValueError: the grids do not share cell borders, or this one sticks out.
        """
        steps = (np.asarray(self.lower) - outer.lower) / outer.voxel_size
        offset = np.round(steps).astype(int)
        fits = (offset >= 0).all() and (offset + self.shape <= np.asarray(outer.shape)).all()
        if abs(self.voxel_size - outer.voxel_size) > 1e-9 or np.abs(steps - offset).max() > 1e-6 or not fits:
            raise ValueError(f"grid {self} is not a part of {outer}")
        return int(offset[0]), int(offset[1]), int(offset[2])


OCC3D_GRID = VoxelGrid()
"""The grid of Occ3D-nuScenes and Occ3D-Waymo labels: 200x200x16 voxels of 0.4 m."""
