"""Three-dimensional encoder: residual stages and a feature pyramid over a lifted volume."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from ugocc.models.blocks import conv_norm_relu, residual_stage, resize


@dataclass(frozen=True)
class VoxelEncoderSettings:
    """Stages of 3D residual blocks and their pyramid."""

    widths: tuple[int, ...] = (64, 128, 256)
    """Channels of the stages; the lifted volume is first brought to the first of them."""
    strides: tuple[int, ...] = (1, 2, 2)
    """Stride of each stage."""
    blocks: int = 2
    """Residual blocks per stage."""
    channels: int = 256
    """Channels of every level of the pyramid."""


class VoxelEncoder(nn.Module):
    """(B, inputs, X, Y, Z) to a list of levels (B, channels, x, y, z), finest first."""

    def __init__(self, inputs: int, settings: VoxelEncoderSettings) -> None:
        super().__init__()
        self.enter = conv_norm_relu(inputs, settings.widths[0], 1, dimensions=3)
        before = (settings.widths[0], *settings.widths[:-1])
        self.stages = nn.ModuleList(
            residual_stage(i, o, stride, settings.blocks, dimensions=3)
            for i, o, stride in zip(before, settings.widths, settings.strides, strict=True)
        )
        self.laterals = nn.ModuleList(conv_norm_relu(w, settings.channels, 1, dimensions=3) for w in settings.widths)

    def forward(self, volume: Tensor) -> list[Tensor]:
        """See the class."""
        x = self.enter(volume)
        levels = []
        for stage, lateral in zip(self.stages, self.laterals, strict=True):
            x = stage(x)
            levels.append(lateral(x))
        for i in range(len(levels) - 2, -1, -1):
            x, y, z = levels[i].shape[2:]
            levels[i] = levels[i] + resize(levels[i + 1], (x, y, z))
        return levels
