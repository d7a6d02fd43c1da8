"""Images to one map of features: a timm backbone and a feature pyramid."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ugocc.errors import DataError

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class ImageEncoderSettings:
    """Backbone and feature pyramid."""

    backbone: str = "resnet50"
    """Name of a timm model, with or without a tag of its weights (resnet50.tv_in1k)."""
    levels: tuple[int, ...] = (3, 4)
    """Which of the backbone's feature maps are fused, finest first; its stride is the stride of the result."""
    channels: int = 256
    """Channels of the result."""
    pretrained: bool = True
    """Start training from ImageNet weights (downloaded by timm on first use)."""
    weights: str | None = None
    """File with the backbone's weights (safetensors) to start training from, instead of a download."""
    widths: tuple[int, ...] | None = None
    """Channels of the four stages of a ResNet; None keeps the published ones."""
    stem_width: int | None = None
    """Width of a deep ResNet stem (three 3x3 convolutions, the last twice as wide); None keeps the published stem."""
    options: dict[str, Any] = field(default_factory=dict)
    """Further arguments of the timm model."""


class ImageEncoder(nn.Module):
    """(M, 3, H, W) RGB in [0, 1] to (M, channels, H / stride, W / stride)."""

    mean: Tensor
    std: Tensor

    def __init__(self, settings: ImageEncoderSettings, pretrained: bool = False) -> None:
        super().__init__()
        self.backbone = build_backbone(settings, pretrained)
        info: Any = self.backbone.feature_info
        self.stride: int = info.reduction()[0]
        self.channels = settings.channels
        self.laterals = nn.ModuleList(nn.Conv2d(c, settings.channels, 1) for c in info.channels())
        self.smooth = nn.Conv2d(settings.channels, settings.channels, 3, padding=1)
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(IMAGENET_STD).view(3, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """See the class."""
        normalised = (images - self.mean) / self.std
        levels = self.backbone(normalised.contiguous(memory_format=torch.channels_last))
        top_down: Tensor | None = None
        for lateral, level in zip(reversed(self.laterals), reversed(levels), strict=True):
            here = lateral(level)
            if top_down is not None:
                here = here + F.interpolate(top_down, size=here.shape[-2:], mode="nearest")
            top_down = here
        return self.smooth(top_down)


def build_backbone(settings: ImageEncoderSettings, pretrained: bool = False) -> nn.Module:
    """The timm feature extractor of the settings.

    Args:
        settings: which one.
        pretrained: fetch the weights that the settings name; otherwise they are random, whatever the settings say.

    Raises:
        DataError: timm has no such model, or its pretrained weights cannot be had.
    """
    options: dict[str, Any] = dict(settings.options)
    if settings.widths is not None:
        options["channels"] = tuple(settings.widths)
    if settings.stem_width is not None:
        options |= {"stem_type": "deep", "stem_width": settings.stem_width}
    pretrained = pretrained and (settings.pretrained or settings.weights is not None)
    if pretrained and settings.weights is not None:
        options["pretrained_cfg_overlay"] = {"file": settings.weights}
    if not timm.is_model(settings.backbone.split(".")[0]):
        near = timm.list_models(f"{settings.backbone.split('.')[0][:6]}*")[:8]
        raise DataError("image_encoder", "backbone", settings.backbone, f"a timm model, such as {', '.join(near)}")
    try:
        return timm.create_model(
            settings.backbone, pretrained=pretrained, features_only=True, out_indices=tuple(settings.levels), **options
        )
    except Exception as error:
        if not pretrained:
            raise
        # timm, the hub client and the file reader each raise errors of their own for one cause: no usable weights.
        raise DataError(
            "image_encoder",
            "pretrained" if settings.weights is None else "weights",
            f"no weights for {settings.backbone} in {settings.weights or 'reach'} ({type(error).__name__}: {error})",
            "network access to timm's weights, a file of weights in image_encoder.weights, or pretrained: false",
        ) from error
