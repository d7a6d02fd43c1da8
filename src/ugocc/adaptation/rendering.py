"""Differentiable rendering of a predicted volume along pixel rays.

Along a ray with samples i, alpha_i = 1 - P_free and w_i = alpha_i prod_{j<i} (1 - alpha_j). The depth of the ray is
sum w_i d_i with d_i along the optical axis, its class is sum w_i P_i with P_i over the nine classes that are not free.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ugocc.adaptation.views import Evidence, Views, cell_pixels, cells_visible
from ugocc.errors import DataError
from ugocc.geometry.camera import NEAR
from ugocc.geometry.grid import VoxelGrid
from ugocc.labels import BUILDING, FREE, PEDESTRIAN, TRAFFIC_OBJECT, TWO_WHEELER, UNKNOWN, VEHICLE

STANDING = (VEHICLE, PEDESTRIAN, BUILDING, TRAFFIC_OBJECT, TWO_WHEELER)
"""Classes whose surfaces mostly stand upright."""


@dataclass(frozen=True)
class RenderSettings:
    """Rendering the student's volume against 2D pseudo-labels."""

    step: float = 0.4
    """Metres between samples of a ray, at most 0.4."""
    near: float = NEAR
    """Metres along the optical axis before which nothing is sampled: that is where the own car is."""
    rays: int = 256
    """Rays per camera and step of training, drawn at random from those with a pseudo-label."""
    semantic_weight: float = 1.0
    """Weight of the rendered classes."""
    depth_weight: float = 1.0
    """Weight of the rendered depth."""
    depth_slack: float = 1.0
    """Depth may be off by as much as a shift of the surface by this many voxels explains."""
    sky_weight: float = 0.0
    """Weight of letting rays to confident sky pass; 0 masks them, as published."""
    least_hit: float = 0.1
    """Rays that hit something with less than this probability are empty: they have no class."""

    def __post_init__(self) -> None:
        if not 0 < self.step <= 0.4:
            raise DataError("rendering", "step", self.step, "above 0 and at most 0.4 metres")


class Rays(NamedTuple):
    """R rays per sample in the frame of the volume; a point of a ray is origin + depth * direction."""

    origin: Tensor
    """(B, R, 3) metres."""
    direction: Tensor
    """(B, R, 3), of length such that the parameter is depth along the optical axis."""


class Rendered(NamedTuple):
    """What rays see."""

    semantics: Tensor
    """(B, R, 9) probability of hitting each class; sums to ``hit``."""
    depth: Tensor
    """(B, R) sum of w_i d_i in metres along the optical axis; rays that hit nothing contribute nothing."""
    hit: Tensor
    """(B, R) probability of hitting anything, the sum of w_i."""
    leaves: Tensor
    """(B, R) depth at which the ray leaves the volume, 0 if it never enters."""

    def expected_depth(self) -> Tensor:
        """(B, R) depth if rays that hit nothing are said to end where they leave the volume."""
        return self.depth + (1 - self.hit) * self.leaves


class Targets(NamedTuple):
    """What R rays should see."""

    labels: Tensor
    """(B, R) uint8 class, 9 for sky, 255 unknown."""
    depth: Tensor
    """(B, R) metres along the optical axis, 0 unknown."""


def pixel_rays(views: Views, pixels: Tensor) -> Rays:
    """Rays through pixels.

    Args:
        views: cameras.
        pixels: (B, N, n, 2) u, v.

    Returns:
        R = N n rays per sample, camera after camera.
    """
    with torch.autocast(pixels.device.type, enabled=False):
        homogeneous = F.pad(pixels, (0, 1), value=1.0)
        rotation = views.volume_T_camera[..., :3, :3]
        directions = homogeneous @ (rotation @ torch.linalg.inv(views.intrinsics)).mT
    origins = views.volume_T_camera[:, :, None, :3, 3].expand_as(directions)
    return Rays(origins.flatten(1, 2), directions.flatten(1, 2))


def draw_rays(
    views: Views, evidence: Evidence, count: int, generator: torch.Generator | None = None
) -> tuple[Rays, Targets]:
    """Rays through up to ``count`` cells per camera that show the world and have a pseudo-label.

    Args:
        views: cameras.
        evidence: 2D pseudo-labels on cells (h, w).
        count: rays per camera.
        generator: random numbers, on the CPU (so that a seed means the same on every device).

    Returns:
        R = N min(count, h w) rays per sample and their targets; surplus rays of cameras with fewer such cells have
        unknown targets.
    """
    samples, cameras, *map_size = evidence.depth.shape
    size = (map_size[0], map_size[1])
    usable = cells_visible(views, size) & ((evidence.labels != UNKNOWN) | (evidence.depth > 0))
    lot = torch.rand(samples, cameras, size[0] * size[1], generator=generator).to(evidence.depth.device)
    drawn = (lot * usable.flatten(2)).topk(min(count, lot.shape[2]), dim=2).indices
    wanted = usable.flatten(2).gather(2, drawn)
    labels = evidence.labels.flatten(2).gather(2, drawn).masked_fill(~wanted, UNKNOWN)
    depth = evidence.depth.flatten(2).gather(2, drawn) * wanted
    image_size = (views.visible.shape[-2], views.visible.shape[-1])
    pixels = cell_pixels(size, image_size, views.intrinsics)[drawn]
    return pixel_rays(views, pixels), Targets(labels.flatten(1), depth.flatten(1))


def render(probabilities: Tensor, rays: Rays, grid: VoxelGrid, settings: RenderSettings) -> Rendered:
    """Render rays through a volume.

    Probabilities are interpolated between voxel centres and constant from the outermost centres to the border;
    outside the volume everything is free.

    Args:
        probabilities: (B, 10, X, Y, Z), differentiable.
        rays: R per sample.
        grid: of the volume.
        settings: steps.
    """
    enters, leaves = crossing(rays, grid, settings.near)
    step = settings.step / rays.direction.norm(dim=-1)
    steps = max(int(torch.ceil(((leaves - enters) / step).max())), 1) if leaves.numel() else 1
    depth = enters[..., None] + step[..., None] * (torch.arange(steps, device=step.device) + 0.5)
    inside = depth < leaves[..., None]
    points = rays.origin[:, :, None] + depth[..., None] * rays.direction[:, :, None]
    at_points = sample_volume(probabilities, points, grid)
    free = torch.where(inside, at_points[:, FREE], 1.0)
    # In logarithms, since the gradient of a product with zeros in it is slow and its inverse is not finite.
    log_free = free.clamp(min=1e-6).log()
    passed = torch.exp(log_free.cumsum(dim=-1) - log_free)
    weights = passed * (1 - free)
    # w_i P_i / (1 - P_free) without the division.
    semantics = torch.einsum("brk,bcrk->brc", passed * inside, at_points[:, :FREE])
    return Rendered(semantics, (weights * depth).sum(dim=-1), weights.sum(dim=-1), leaves)


@torch.no_grad()
def seen_labels(
    probabilities: Tensor,
    views: Views,
    map_size: tuple[int, int],
    grid: VoxelGrid,
    settings: RenderSettings,
    confidence: float,
) -> Tensor:
    """What cameras should see of a volume, where that is sure: a 2D label for the middle of every cell.

    Args:
        probabilities: (B, 10, X, Y, Z).
        views: cameras.
        map_size: rows and columns of cells that tile the image.
        grid: of the volume.
        settings: steps along rays.
        confidence: least probability that the ray meets the class.

    Returns:
        (B, N, h, w) uint8 classes 0-8, 255 for cells that are not sure, pass through the volume, or show the own car.
    """
    samples, cameras, height, width = views.visible.shape
    pixels = cell_pixels(map_size, (height, width), views.intrinsics).expand(samples, cameras, -1, -1)
    seen = render(probabilities, pixel_rays(views, pixels), grid, settings)
    share, label = seen.semantics.max(dim=-1)
    labels = label.to(torch.uint8).masked_fill(share < confidence, UNKNOWN).view(samples, cameras, *map_size)
    return labels.masked_fill(~cells_visible(views, map_size), UNKNOWN)


def sample_volume(volume: Tensor, points: Tensor, grid: VoxelGrid) -> Tensor:
    """Trilinear values of a volume at points; the value of a voxel is that of its centre.

    Args:
        volume: (B, C, X, Y, Z).
        points: (B, ..., 3) metres in the volume's frame; outside the outermost centres the nearest value continues.
        grid: of the volume.

    Returns:
        (B, C, ...).
    """
    lower = torch.tensor(grid.lower, dtype=points.dtype, device=points.device)
    extent = torch.tensor(grid.upper, dtype=points.dtype, device=points.device) - lower
    # grid_sample counts its last coordinate along the last axis of the volume: z, y, x. With align_corners=False
    # -1 and 1 are the outer faces of the first and last voxel, so that centres lie half a voxel inside.
    place = (2 * (points - lower) / extent - 1).flip(-1)
    flat = place.reshape(place.shape[0], 1, 1, -1, 3).to(volume)
    values = F.grid_sample(volume, flat, mode="bilinear", padding_mode="border", align_corners=False)
    return values.view(*volume.shape[:2], *points.shape[1:-1])


def render_loss(
    logits: Tensor, rays: Rays, targets: Targets, grid: VoxelGrid, settings: RenderSettings
) -> dict[str, Tensor]:
    """Weighted losses of a rendered volume against 2D pseudo-labels.

    Classes: cross-entropy of the class given that the ray hits, over rays that are not empty. Depth: L1 between
    logarithms of depths, over rays whose surface is in the volume; a ray that passes all of it ends at its far side,
    so that this also pulls empty rays to a surface. Even a perfect volume renders too near where a ray grazes the
    road, for a voxel is occupied above the surface in it, so errors within the slack cost nothing.

    Args:
        logits: (B, 10, X, Y, Z) of the student.
        rays: R per sample.
        targets: of the rays; detached here.
        grid: of the volume.
        settings: weights.

    Returns:
        Terms by name, each a scalar; 0 with gradient 0 where no ray counts. Terms of weight 0 are left out.
    """
    with torch.autocast(logits.device.type, enabled=False):
        probabilities = (logits if logits.dtype == torch.float64 else logits.float()).softmax(dim=1)
        seen = render(probabilities, rays, grid, settings)
        labels, depth = targets.labels.detach(), targets.depth.detach().to(seen.depth)
        within = (depth > settings.near) & (depth < seen.leaves)
        beyond = depth >= seen.leaves
        terms: dict[str, Tensor] = {}
        if settings.semantic_weight:
            counts = (labels < FREE) & ~beyond & (seen.hit.detach() > settings.least_hit)
            share = seen.semantics.gather(2, labels.long().clamp(max=FREE - 1)[..., None]).squeeze(2)
            entropy = -torch.log((share + 1e-6) / (seen.hit + 1e-6))
            terms["render_semantics"] = settings.semantic_weight * _mean(entropy, counts)
        if settings.depth_weight:
            expected = seen.expected_depth().clamp(min=settings.near)
            slack = settings.depth_slack * _depth_of_a_voxel(rays.direction, labels, grid)
            nearest = torch.minimum(torch.maximum(expected.detach(), depth - slack), depth + slack)
            difference = expected.log() - nearest.clamp(min=settings.near).log()
            counts = within & (labels != FREE)
            terms["render_depth"] = settings.depth_weight * _mean(difference.abs(), counts)
        if settings.sky_weight:
            passes = -torch.log((1 - seen.hit).clamp(min=1e-3))
            terms["render_sky"] = settings.sky_weight * _mean(passes, labels == FREE)
    return terms


def crossing(rays: Rays, grid: VoxelGrid, near: float) -> tuple[Tensor, Tensor]:
    """(B, R) depth at which rays enter (from ``near`` on) and leave the box of the grid; both 0 if they miss it."""
    lower = torch.tensor(grid.lower, dtype=rays.origin.dtype, device=rays.origin.device)
    upper = torch.tensor(grid.upper, dtype=rays.origin.dtype, device=rays.origin.device)
    # A direction of exactly 0 along an axis: a tiny one gives the right infinities without 0 / 0.
    direction = torch.where(rays.direction.abs() < 1e-9, 1e-9, rays.direction)
    first, second = (lower - rays.origin) / direction, (upper - rays.origin) / direction
    enters = torch.minimum(first, second).amax(dim=-1).clamp(min=near)
    leaves = torch.maximum(first, second).amin(dim=-1)
    hits = leaves > enters
    return torch.where(hits, enters, 0.0), torch.where(hits, leaves, 0.0)


def _depth_of_a_voxel(direction: Tensor, labels: Tensor, grid: VoxelGrid) -> Tensor:
    """(B, R) change of depth if the surface moves by a voxel across itself, of rays (B, R, 3) on classes (B, R).

    Surfaces of classes that stand are upright; others may lie or stand, and the larger change counts.
    """
    standing = torch.isin(labels, torch.tensor(STANDING, dtype=labels.dtype, device=labels.device))
    upright, flat = direction[..., :2].norm(dim=-1), direction[..., 2].abs()
    across = torch.where(standing, upright, torch.minimum(upright, flat))
    return grid.voxel_size / across.clamp(min=1e-3)


def _mean(values: Tensor, counts: Tensor) -> Tensor:
    """Mean over the entries that count; 0 with gradient 0 for none."""
    return torch.where(counts, values, values * 0).sum() / counts.sum().clamp(min=1)
