"""Rays that pass the surface they show without being stopped in a volume: how much is missing from it, without labels.

A camera's depth says where each of its rays ends. Votes of frames that put a thin wall into neighbouring voxels leave
none of it over, and its rays go on. On the fleet with labels a volume lets few rays pass; votes for free count so much
less on the other fleet that as few pass there.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor

from ugocc.adaptation.rendering import crossing, pixel_rays
from ugocc.adaptation.views import Views, cell_pixels
from ugocc.geometry.camera import NEAR
from ugocc.geometry.grid import VoxelGrid
from ugocc.labels import FREE

SLACK: Final = 1.0
"""Voxels behind its depth by which a ray has to be stopped."""


@torch.no_grad()
def stopping_ratios(probabilities: Tensor, views: Views, depth: Tensor, grid: VoxelGrid) -> Tensor:
    """How much each ray is stopped: along it, up to :data:`SLACK` behind its surface, the greatest ratio between the
    probability of the likeliest class and that of free.

    A volume in which votes for free count ``factor`` stops a ray whose ratio is above ``factor``.

    Args:
        probabilities: (10, X, Y, Z).
        views: the cameras of one sample.
        depth: (1, N, h, w) metres along the optical axis in cells that tile the images, 0 where it is not known.
        grid: of the volume.

    Returns:
        (R,) of the rays with a depth that end within the volume.
    """
    image_size = (views.visible.shape[-2], views.visible.shape[-1])
    map_size = (depth.shape[-2], depth.shape[-1])
    pixels = cell_pixels(map_size, image_size, views.intrinsics).expand(*depth.shape[:2], -1, -1)
    rays = pixel_rays(views, pixels)
    _, leaves = crossing(rays, grid, NEAR)
    ends = depth.flatten(1).to(leaves)
    known = (ends > NEAR) & (ends < leaves)
    origin, direction, ends = rays.origin[known], rays.direction[known], ends[known]
    if not len(ends):
        return ends
    length = direction.norm(dim=-1)
    metres = (ends - NEAR) * length + SLACK * grid.voxel_size
    steps = int(torch.ceil(metres.max() / (0.5 * grid.voxel_size)))
    along = torch.linspace(0.0, 1.0, steps + 1, device=ends.device) * metres[:, None]
    points = origin[:, None] + (NEAR + along / length[:, None])[..., None] * direction[:, None]
    lower = torch.tensor(grid.lower, dtype=points.dtype, device=points.device)
    cells = torch.floor((points - lower) / grid.voxel_size).long()
    shape = torch.tensor(grid.shape, device=cells.device)
    inside = ((cells >= 0) & (cells < shape)).all(dim=-1)
    x, y, z = torch.where(inside[..., None], cells, 0).unbind(-1)
    likeliest = torch.cat([probabilities[:FREE], probabilities[FREE + 1 :]]).amax(dim=0)
    ratio = likeliest / probabilities[FREE].clamp(min=1e-6)
    return torch.where(inside, ratio[x, y, z], 0.0).amax(dim=1)


def free_factor(target: Tensor, source: Tensor, least: float) -> float:
    """What a vote for free counts on the target for as many of its rays to pass their surface as do on the source.

    Args:
        target: (R,) ratios of rays in voted volumes of the target.
        source: (S,) ratios of rays in volumes of the source.
        least: the least factor.

    Returns:
        From ``least`` to 1; 1 where there are no rays.
    """
    if not len(target) or not len(source):
        return 1.0
    late = float((source <= 1).double().mean())
    ordered = target.sort().values
    return min(max(float(ordered[min(round(late * len(ordered)), len(ordered) - 1)]), least), 1.0)
