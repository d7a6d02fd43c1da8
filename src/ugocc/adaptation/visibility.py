"""Which voxels some camera sees in a predicted volume: rays from each camera to each voxel.

A ray to the centre of a voxel of the road grazes through the road before it and would call most of it hidden. Rays
therefore end on the faces of the voxel that look towards the camera, and the best one counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ugocc.adaptation.views import Views, cell_at, project, to_camera, voxel_centres
from ugocc.geometry.grid import VoxelGrid


@dataclass(frozen=True)
class VisibilitySettings:
    """Rays from cameras to voxels."""

    step: float = 0.5
    """Length of a step along the ray, in voxels."""
    near: float = 1.0
    """Metres from the camera that always count as free: that is where the own car is."""
    least: float = 0.5
    """Least transmittance of a ray that reaches a voxel."""


@dataclass(frozen=True)
class Sightings:
    """K pairs of a voxel and a camera in whose picture it lies."""

    sample: Tensor
    """(K,) int64."""
    camera: Tensor
    """(K,) int64."""
    voxel: Tensor
    """(K,) int64, place in the flattened grid."""

    def where(self, chosen: Tensor) -> Sightings:
        """Those of a mask (K,) bool."""
        return Sightings(self.sample[chosen], self.camera[chosen], self.voxel[chosen])

    def any_camera(self, shape: Sequence[int], holds: Tensor | None = None) -> Tensor:
        """(B, X, Y, Z) bool: voxels of at least one pair, or of one for which (K,) ``holds``.

        ``shape`` is (B, X, Y, Z).
        """
        pairs = self if holds is None else self.where(holds)
        out = torch.zeros(shape, dtype=torch.bool, device=self.voxel.device)
        out.view(shape[0], -1)[pairs.sample, pairs.voxel] = True
        return out


@torch.no_grad()
def in_pictures(views: Views, grid: VoxelGrid, candidates: Tensor | None = None) -> Sightings:
    """Pairs of voxels and cameras such that the voxel's centre falls on a pixel that shows the world.

    Args:
        views: cameras.
        grid: of the volume.
        candidates: (B, X, Y, Z) bool, the voxels asked about; None for all.
    """
    samples, cameras = views.mask.shape
    height, width = views.visible.shape[-2:]
    points = voxel_centres(grid, views.intrinsics).expand(samples, cameras, -1, -1)
    pixels, _ = project(to_camera(views.volume_T_camera, points), views.intrinsics)
    cell, inside = cell_at(pixels, (height, width), (height, width))
    seen = inside & views.visible.flatten(2).gather(2, cell) & views.mask[..., None]
    if candidates is not None:
        seen &= candidates.flatten(1)[:, None]
    sample, camera, voxel = seen.nonzero(as_tuple=True)
    return Sightings(sample, camera, voxel)


def voxels_in_pictures(views: Views, grid: VoxelGrid) -> Tensor:
    """(B, X, Y, Z) bool: voxels whose centre falls on a pixel of some camera that shows the world."""
    return in_pictures(views, grid).any_camera((len(views.mask), *grid.shape))


@torch.no_grad()
def transmittance(
    free: Tensor, sightings: Sightings, views: Views, grid: VoxelGrid, settings: VisibilitySettings, chunk: int = 2**21
) -> Tensor:
    """Share of the light that travels from each voxel of the pairs to its camera.

    The light left after a path is the product of ``free`` over the voxels it crosses, each to the power of the length
    inside it (in voxels), so the voxel itself does not count, and neither does anything outside the grid.

    Args:
        free: (B, X, Y, Z) probability of being free; zeros and ones make it a test of the first occupied voxel.
        sightings: K pairs.
        views: cameras.
        grid: of the volume.
        settings: steps.
        chunk: points looked at at a time.

    Returns:
        (K,) float32, the largest of the rays to the faces that look towards the camera.
    """
    origin = _in_voxels(views.volume_T_camera[sightings.sample, sightings.camera, :3, 3].float(), grid)
    centre = _in_voxels(voxel_centres(grid, origin), grid)[sightings.voxel]
    towards = torch.sign(origin - centre)
    faces = centre[:, None] + 0.5 * torch.diag_embed(towards)
    rays = faces - origin[:, None]
    distance = rays.norm(dim=-1)
    density = -free.float().clamp(1e-4, 1).log()
    flat_rays, flat_distance = rays.flatten(0, 1), distance.flatten()
    flat_origin, flat_sample = origin.repeat_interleave(3, 0), sightings.sample.repeat_interleave(3)
    # Longest rays first: the first of a chunk says how many steps all of it needs.
    order = flat_distance.argsort(descending=True)
    opacity = torch.zeros_like(flat_distance)
    near, start = settings.near / grid.voxel_size, 0
    while start < len(order):
        steps = max(int((float(flat_distance[order[start]]) - near) / settings.step) + 1, 1)
        rows = order[start : start + max(chunk // steps, 1)]
        opacity[rows] = _optical_depth(
            density,
            flat_sample[rows],
            flat_origin[rows],
            flat_rays[rows],
            flat_distance[rows],
            near,
            settings.step,
            steps,
        )
        start += len(rows)
    return torch.exp(-opacity.view(-1, 3).amin(dim=1)) if len(order) else opacity


def _in_voxels(points: Tensor, grid: VoxelGrid) -> Tensor:
    """Metres to units of voxels from the lower corner: voxel i covers [i, i + 1)."""
    return (points - torch.tensor(grid.lower, dtype=points.dtype, device=points.device)) / grid.voxel_size


def _optical_depth(
    density: Tensor, sample: Tensor, origin: Tensor, ray: Tensor, distance: Tensor, near: float, step: float, steps: int
) -> Tensor:
    """(R,) integral of ``density`` (B, X, Y, Z) from ``near`` to the end of each ray in so many steps, in voxels."""
    begin = near + step * torch.arange(steps, device=ray.device, dtype=ray.dtype)
    # The last step of a ray is shorter than the others; every step is looked up in its middle.
    length = (distance[:, None] - begin).clamp(0, step)
    at = (begin + length / 2) / distance.clamp(min=1e-6)[:, None]
    place = sample[:, None].to(torch.int32)
    inside = length > 0
    for axis, size in enumerate(density.shape[1:]):
        cell = torch.addcmul(origin[:, axis, None], at, ray[:, axis, None]).floor_()
        inside &= (cell >= 0) & (cell < size)
        place = place * size + cell.to(torch.int32)
    values = density.view(-1)[torch.where(inside, place, 0).long()]
    return (values * length * inside).sum(dim=1)
