"""Convolution blocks shared by the two- and three-dimensional parts."""

from __future__ import annotations

from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

Dimensions = Literal[2, 3]


def conv_norm(
    inputs: int, outputs: int, kernel: int = 3, stride: int = 1, dilation: int = 1, dimensions: Dimensions = 2
) -> nn.Sequential:
    """Convolution that keeps the size (up to ``stride``) followed by batch norm, no activation."""
    conv = nn.Conv2d if dimensions == 2 else nn.Conv3d
    norm = nn.BatchNorm2d if dimensions == 2 else nn.BatchNorm3d
    padding = dilation * (kernel // 2)
    return nn.Sequential(conv(inputs, outputs, kernel, stride, padding, dilation, bias=False), norm(outputs))


def conv_norm_relu(
    inputs: int, outputs: int, kernel: int = 3, stride: int = 1, dilation: int = 1, dimensions: Dimensions = 2
) -> nn.Sequential:
    """:func:`conv_norm` and a ReLU."""
    block = conv_norm(inputs, outputs, kernel, stride, dilation, dimensions)
    return block.append(nn.ReLU(inplace=True))


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut (He et al. 2016, basic block), in two or three dimensions.

    Maps (B, inputs, *size) to (B, outputs, *ceil(size / stride)).
    """

    def __init__(self, inputs: int, outputs: int, stride: int = 1, dimensions: Dimensions = 2) -> None:
        super().__init__()
        self.first = conv_norm_relu(inputs, outputs, 3, stride, dimensions=dimensions)
        self.second = conv_norm(outputs, outputs, 3, dimensions=dimensions)
        same = inputs == outputs and stride == 1
        self.shortcut = nn.Identity() if same else conv_norm(inputs, outputs, 1, stride, dimensions=dimensions)

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        return F.relu(self.second(self.first(x)) + self.shortcut(x), inplace=True)


def residual_stage(inputs: int, outputs: int, stride: int, blocks: int, dimensions: Dimensions = 2) -> nn.Sequential:
    """``blocks`` residual blocks, the first of which strides."""
    rest = [ResidualBlock(outputs, outputs, 1, dimensions) for _ in range(blocks - 1)]
    return nn.Sequential(ResidualBlock(inputs, outputs, stride, dimensions), *rest)


def resize(x: Tensor, size: tuple[int, ...]) -> Tensor:
    """Bilinear or trilinear interpolation of (B, C, *) to (B, C, *size), cell centres aligned."""
    if tuple(x.shape[2:]) == tuple(size):
        return x
    return F.interpolate(x, size=size, mode="bilinear" if len(size) == 2 else "trilinear", align_corners=False)
