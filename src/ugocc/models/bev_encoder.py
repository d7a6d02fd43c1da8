"""Two-dimensional encoder: residual stages and a feature pyramid over a bird's-eye view."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ugocc.models.blocks import conv_norm_relu, residual_stage, resize


@dataclass(frozen=True)
class BevEncoderSettings:
    """Stages of 2D residual blocks and their pyramid."""

    widths: tuple[int, ...] = (160, 320, 640)
    """Channels of the stages, each at half the resolution of the one before (the first halves the input)."""
    blocks: int = 2
    """Residual blocks per stage."""
    channels: int = 256
    """Channels of the result."""


class BevEncoder(nn.Module):
    """(B, inputs, X, Y) to (B, channels, X, Y).

    The coarsest stage, which sees furthest, is joined to the finest stage and then brought to the input's resolution
    (the pyramid of lift-splat-shoot).
    """

    def __init__(self, inputs: int, settings: BevEncoderSettings) -> None:
        super().__init__()
        before = (inputs, *settings.widths[:-1])
        self.stages = nn.ModuleList(
            residual_stage(i, o, 2, settings.blocks) for i, o in zip(before, settings.widths, strict=True)
        )
        wide = 2 * settings.channels
        self.join = nn.Sequential(
            conv_norm_relu(settings.widths[0] + settings.widths[-1], wide), conv_norm_relu(wide, wide)
        )
        channels = settings.channels
        self.leave = nn.Sequential(conv_norm_relu(wide, channels), nn.Conv2d(channels, channels, 1))

    def forward(self, bev: Tensor) -> Tensor:
        """See the class."""
        levels = []
        x = bev
        for stage in self.stages:
            x = stage(x)
            levels.append(x)
        fine = levels[0]
        joined = self.join(torch.cat([fine, resize(levels[-1], tuple(fine.shape[2:]))], dim=1))
        return self.leave(resize(joined, tuple(bev.shape[2:])))
