"""Deformable sampling (Zhu et al. 2021): a query looks at a few points of a map that it chooses itself."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class SamplingPoints(nn.Module):
    """Queries (..., C) to offsets (..., heads, points, 2) in cells (column, row) and weights (..., heads, points).

    Offsets begin near whole cells: the heads look in different directions, the i-th point of a ring i cells away, so
    the first of each ring on its reference. Weights begin nearly equal, and sum to one over the points of a head. Both
    are float32 under autocast too, where half precision would round a place in the map.
    """

    def __init__(self, channels: int, heads: int, rings: int, points: int) -> None:
        super().__init__()
        self.shape = (heads, rings * points)
        self.offsets = nn.Linear(channels, heads * rings * points * 2)
        self.weights = nn.Linear(channels, heads * rings * points)
        angles = 2 * torch.pi * torch.arange(heads) / heads
        directions = torch.stack([angles.cos(), angles.sin()], dim=1)
        # On the square around the reference rather than the circle: whole cells in diagonal directions too.
        directions = directions / directions.abs().amax(dim=1, keepdim=True)
        steps = torch.arange(points).repeat(rings)
        with torch.no_grad():
            self.offsets.bias.copy_((directions[:, None] * steps[None, :, None]).flatten())
            self.weights.bias.zero_()
            # Small but not zero, or nothing behind the query would be given a gradient through them at first.
            self.offsets.weight.normal_(std=0.02)
            self.weights.weight.normal_(std=0.02)

    def forward(self, query: Tensor) -> tuple[Tensor, Tensor]:
        """See the class."""
        with torch.autocast(query.device.type, enabled=False):
            exact = query if query.dtype == torch.float64 else query.float()
            offsets = self.offsets(exact).unflatten(-1, (*self.shape, 2))
            return offsets, self.weights(exact).unflatten(-1, self.shape).softmax(dim=-1)


def deformable_sum(maps: Tensor, places: Tensor, weights: Tensor) -> Tensor:
    """Weighted sum of bilinear samples; every head has its own share of the channels.

    Args:
        maps: (N, C, h, w); beyond their borders they are zero. Heads must divide C.
        places: (N, Q, heads, points, 2) column and row as fractions of the map: cell (i, j) is at (i + 0.5) / h.
        weights: (N, Q, heads, points).

    Returns:
        (N, Q, C).
    """
    count, queries, heads, _ = weights.shape
    with torch.autocast(maps.device.type, enabled=False):
        by_head = maps.to(weights.dtype).reshape(count * heads, -1, *maps.shape[2:])
        grid = 2 * places.transpose(1, 2).flatten(0, 1) - 1
        samples = F.grid_sample(by_head, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
        mixed = (samples * weights.transpose(1, 2).flatten(0, 1)[:, None]).sum(dim=-1)
    return mixed.view(count, -1, queries).transpose(1, 2)
