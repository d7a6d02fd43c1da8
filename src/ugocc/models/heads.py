"""Features to class logits of every voxel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ugocc.labels import NUM_CLASSES, OCC3D_NUSCENES_COUNTS
from ugocc.models.blocks import conv_norm_relu, resize


@dataclass(frozen=True)
class VoxelHeadSettings:
    """Head over the levels of a 3D pyramid."""

    channels: int = 32
    """Channels at output resolution, where they are dear."""


@dataclass(frozen=True)
class HeightHeadSettings:
    """Channel-to-height head over a bird's-eye view (FlashOcc)."""

    channels: int = 256
    """Channels of the 3x3 convolution."""
    hidden: int = 512
    """Hidden width of the per-column network."""


class VoxelHead(nn.Module):
    """Levels (B, inputs, x, y, z), finest first, to logits (B, 10, X, Y, Z).

    Every level is brought to the output grid; each voxel mixes the levels with softmax weights predicted from the
    finest.
    """

    def __init__(self, inputs: int, levels: int, shape: tuple[int, int, int], settings: VoxelHeadSettings) -> None:
        super().__init__()
        width = settings.channels
        self.shape = shape
        self.levels = nn.ModuleList(conv_norm_relu(inputs, width, 3, dimensions=3) for _ in range(levels))
        self.mixture = nn.Conv3d(width, levels, 1)
        self.hidden = conv_norm_relu(width, width, 1, dimensions=3)
        self.classify = nn.Conv3d(width, NUM_CLASSES, 1)
        with torch.no_grad():
            _bias(self.classify).copy_(class_prior())

    def forward(self, levels: Sequence[Tensor]) -> Tensor:
        """See the class."""
        features = [conv(level) for conv, level in zip(self.levels, levels, strict=True)]
        weights = resize(self.mixture(features[0]), self.shape).softmax(dim=1)
        mixed = torch.zeros((), device=weights.device)
        for i, feature in enumerate(features):
            mixed = mixed + weights[:, i, None] * resize(feature, self.shape)
        return self.classify(self.hidden(mixed))


class HeightHead(nn.Module):
    """(B, inputs, X, Y) to logits (B, 10, X, Y, Z): the channels of a column become its voxels."""

    def __init__(self, inputs: int, heights: int, settings: HeightHeadSettings) -> None:
        super().__init__()
        self.heights = heights
        self.enter = nn.Sequential(nn.Conv2d(inputs, settings.channels, 3, padding=1), nn.ReLU(inplace=True))
        # A network per column is a stack of 1x1 convolutions.
        self.hidden = nn.Sequential(nn.Conv2d(settings.channels, settings.hidden, 1), nn.ReLU(inplace=True))
        self.classify = nn.Conv2d(settings.hidden, heights * NUM_CLASSES, 1)
        with torch.no_grad():
            _bias(self.classify).copy_(class_prior().repeat(heights))

    def forward(self, bev: Tensor) -> Tensor:
        """See the class."""
        columns = self.classify(self.hidden(self.enter(bev)))
        return columns.unflatten(1, (self.heights, NUM_CLASSES)).permute(0, 2, 3, 4, 1)


def class_prior(smallest: float = 1e-3) -> Tensor:
    """(10,) log frequency of the classes on Occ3D-nuScenes, not below ``smallest``.

    As the bias of a fresh head it makes the first prediction the frequencies (nearly all free), so that training need
    not begin by unlearning nine tenths of occupied space.
    """
    frequency = torch.from_numpy(OCC3D_NUSCENES_COUNTS / OCC3D_NUSCENES_COUNTS.sum())
    return frequency.clamp(min=smallest).log().float()


def _bias(conv: nn.Conv2d | nn.Conv3d) -> Tensor:
    assert conv.bias is not None
    return conv.bias
