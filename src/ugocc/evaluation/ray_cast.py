"""First voxel along many rays: exact voxel traversal.

Amanatides and Woo, "A fast voxel traversal algorithm for ray tracing" (Eurographics 1987). Several volumes are walked
through together, because the path does not depend on what they hold. Groups of a few rays where numba is installed to
compile that, else all rays side by side with one array entry each; both find the same numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from ugocc.extras import installed

OUTSIDE: Final = 15
"""Value of a ray that leaves the grid without meeting anything."""
_STEPS_BETWEEN_SIEVES = 4  # finished rays idle this long before they are sorted out


@dataclass(frozen=True)
class Hits:
    """What each ray met first, rays of the first origin first."""

    value: NDArray[np.uint8]
    """(origins * rays,) value of the voxel, :data:`OUTSIDE` for none."""
    depth: NDArray[np.float64]
    """(origins * rays,) voxel edges from the origin to where the ray leaves that voxel; infinite for none."""


def first_hits(
    volumes: Sequence[NDArray[np.uint8]], origins: NDArray[np.float64], rays: NDArray[np.float64], free: int
) -> list[Hits]:
    """First voxel that is not ``free`` along every ray, in each of one or two volumes.

    A ray through an edge or a corner visits the neighbour in z first, then in y, then in x.

    Args:
        volumes: one or two arrays (X, Y, Z) of values 0-14.
        origins: (K, 3) in voxels: the corner of voxel (0, 0, 0) is the zero point, one edge the unit.
        rays: (R, 3) unit directions.
        free: the value that lets rays pass.

    Raises:
        ValueError: an origin outside the grid.
    """
    shape = np.asarray(volumes[0].shape)
    if ((origins < 0) | (origins >= shape)).any():
        raise ValueError(f"ray origins outside the grid of shape {tuple(shape)}: {origins.tolist()} (in voxels)")
    # A rim of OUTSIDE voxels ends every ray, so that no step has to look at its index. Two volumes share a byte.
    packed = volumes[0] if len(volumes) == 1 else volumes[0] | volumes[1] << 4
    content = np.pad(packed, 1, constant_values=OUTSIDE if len(volumes) == 1 else OUTSIDE | OUTSIDE << 4)
    cast = _in_groups if installed("numba") else _side_by_side
    hits = cast(content, len(volumes), np.ascontiguousarray(origins), np.ascontiguousarray(rays), free)
    for hit in hits:
        hit.depth[hit.value == OUTSIDE] = np.inf
    return hits


def _in_groups(
    content: NDArray[np.uint8], volumes: int, origins: NDArray[np.float64], rays: NDArray[np.float64], free: int
) -> list[Hits]:
    """The compiled walk, origins shared out among as many threads as torch uses."""
    from ugocc.evaluation.ray_kernel import walk

    directions = np.ascontiguousarray(rays.T) + 0.0  # -0.0 becomes 0.0
    with np.errstate(divide="ignore"):
        deltas = np.abs(1 / directions)
    value = np.empty((volumes, len(origins), len(rays)), np.uint8)
    depth = np.empty((volumes, len(origins), len(rays)))
    with ThreadPoolExecutor(min(torch.get_num_threads(), len(origins))) as pool:
        jobs = [
            pool.submit(walk, content, origin, directions, deltas, free, value[:, k], depth[:, k])
            for k, origin in enumerate(origins)
        ]
        for job in jobs:
            job.result()
    return [Hits(value[i].ravel(), depth[i].ravel()) for i in range(volumes)]


def _side_by_side(
    content: NDArray[np.uint8], volumes: int, origins: NDArray[np.float64], rays: NDArray[np.float64], free: int
) -> list[Hits]:
    shape, content = np.asarray(content.shape) - 2, content.ravel()
    walk = _start(np.repeat(origins, len(rays), axis=0), np.tile(rays, (len(origins), 1)), shape)
    count = len(origins) * len(rays)
    hits = [Hits(np.full(count, OUTSIDE, np.uint8), np.zeros(count)) for _ in range(volumes)]
    searching = np.ones((volumes, count), dtype=bool)
    ray = np.arange(count)
    while len(ray):
        for _ in range(_STEPS_BETWEEN_SIEVES):
            leave = np.minimum(np.minimum(walk.x, walk.y), walk.z)
            here = content[walk.cell]
            for i, hit in enumerate(hits):
                value = here >> 4 * i & 15
                met = np.flatnonzero(searching[i] & (value != free))
                hit.value[ray[met]] = value[met]
                hit.depth[ray[met]] = leave[met]
                searching[i, met] = False
            walk.step(leave)
            walk.cell *= searching.any(axis=0)  # a finished ray waits in the rim, voxel 0
        still = np.flatnonzero(searching.any(axis=0))
        ray, searching = ray[still], searching[:, still]
        walk = walk.only(still)
    return hits


@dataclass
class _Walk:
    """Where every ray is: its voxel, and how far along the ray the next border of each axis lies."""

    cell: NDArray[np.int64]
    x: NDArray[np.float64]
    y: NDArray[np.float64]
    z: NDArray[np.float64]
    delta_x: NDArray[np.float64]
    delta_y: NDArray[np.float64]
    delta_z: NDArray[np.float64]
    step_x: NDArray[np.int64]
    step_y: NDArray[np.int64]
    step_z: NDArray[np.int64]

    def step(self, leave: NDArray[np.float64]) -> None:
        """Every ray goes on to the next voxel, over the border at ``leave``."""
        over_z = self.z == leave
        over_y = (self.y == leave) & ~over_z
        over_x = ~(over_y | over_z)
        np.add(self.x, self.delta_x, out=self.x, where=over_x)
        np.add(self.y, self.delta_y, out=self.y, where=over_y)
        np.add(self.z, self.delta_z, out=self.z, where=over_z)
        self.cell += np.where(over_x, self.step_x, np.where(over_y, self.step_y, self.step_z))

    def only(self, rays: NDArray[np.int64]) -> _Walk:
        """The walk of some of the rays."""
        return _Walk(**{name: values[rays] for name, values in vars(self).items()})


def _start(origins: NDArray[np.float64], rays: NDArray[np.float64], shape: NDArray[np.int64]) -> _Walk:
    stride = np.array([(shape[1] + 2) * (shape[2] + 2), shape[2] + 2, 1])  # of the padded volume
    voxel = np.floor(origins).astype(np.int64)
    onward = rays >= 0
    with np.errstate(divide="ignore", invalid="ignore"):
        border = np.where(rays == 0, np.inf, (voxel + onward - origins) / rays)
        delta = np.where(rays == 0, np.inf, np.abs(1 / rays))
    cell = ((voxel + 1) * stride).sum(axis=1)
    axes = [np.ascontiguousarray(a.T) for a in (border, delta, np.where(onward, stride, -stride))]
    return _Walk(cell, *axes[0], *axes[1], *axes[2])
