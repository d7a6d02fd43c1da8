"""Convolution blocks shared by the two- and three-dimensional parts."""

from __future__ import annotations

from functools import cache
from typing import Final, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Dimensions = Literal[2, 3]

NARROW: Final = 16
"""Below so many channels, 1x1 convolutions with a stride are taken apart: in bfloat16 on a CPU with several threads,
oneDNN's backward pass writes behind its workspace there (oneDNN issue 6035; seen with PyTorch 2.14.1)."""


class Conv3d(nn.Conv3d):
    """A convolution that keeps the size (up to its stride), in float32 where bfloat16 comes out wrong.

    On processors with AMX, oneDNN's bfloat16 convolution in three dimensions is wrong, and now and then NaN, where a
    stride leaves one cell of the last axis (PyTorch issue 169688, open with PyTorch 2.14).
    """

    def forward(self, input: Tensor) -> Tensor:
        """(B, inputs, X, Y, Z) to (B, outputs, *size)."""
        leaves_one = 1 < self.stride[-1] >= input.shape[-1]
        if leaves_one and _is_rounded(input) and has_amx():
            with torch.autocast("cpu", enabled=False):
                return super().forward(input.float())
        return super().forward(input)


def _is_rounded(values: Tensor) -> bool:
    return values.device.type == "cpu" and torch.is_autocast_enabled("cpu")


@cache
def has_amx() -> bool:
    """Whether the processor has Intel's matrix extensions; yes where PyTorch does not tell."""
    known = getattr(torch.cpu, "_is_amx_tile_supported", None)
    return known is None or bool(known())


def conv_norm(
    inputs: int, outputs: int, kernel: int = 3, stride: int = 1, dilation: int = 1, dimensions: Dimensions = 2
) -> nn.Sequential:
    """Convolution that keeps the size (up to ``stride``) followed by batch norm, no activation."""
    conv = nn.Conv2d if dimensions == 2 else Conv3d
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
        self.shortcut = _shortcut(inputs, outputs, stride, dimensions)

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        return F.relu(self.second(self.first(x)) + self.shortcut(x), inplace=True)


def _shortcut(inputs: int, outputs: int, stride: int, dimensions: Dimensions) -> nn.Module:
    if inputs == outputs and stride == 1:
        return nn.Identity()
    if stride == 1 or inputs >= NARROW:
        return conv_norm(inputs, outputs, 1, stride, dimensions=dimensions)
    every = nn.MaxPool2d(1, stride) if dimensions == 2 else nn.MaxPool3d(1, stride)  # the cells that the stride keeps
    return nn.Sequential(every, *conv_norm(inputs, outputs, 1, dimensions=dimensions))


def residual_stage(inputs: int, outputs: int, stride: int, blocks: int, dimensions: Dimensions = 2) -> nn.Sequential:
    """``blocks`` residual blocks, the first of which strides."""
    rest = [ResidualBlock(outputs, outputs, 1, dimensions) for _ in range(blocks - 1)]
    return nn.Sequential(ResidualBlock(inputs, outputs, stride, dimensions), *rest)


def resize(x: Tensor, size: tuple[int, ...]) -> Tensor:
    """Bilinear or trilinear interpolation of (B, C, *) to (B, C, *size), cell centres aligned."""
    if tuple(x.shape[2:]) == tuple(size):
        return x
    return F.interpolate(x, size=size, mode="bilinear" if len(size) == 2 else "trilinear", align_corners=False)
