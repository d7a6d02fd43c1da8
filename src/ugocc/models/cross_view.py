"""Tokens of all cameras of a sample attend to each other before depth is predicted.

The idea is SurroundDepth's cross-view transformer (Wei et al. 2022): what one camera sees of a surface tells a
neighbour how far away it is.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ugocc.errors import DataError
from ugocc.models.cameras import Cameras


@dataclass(frozen=True)
class CrossViewSettings:
    """A transformer over the cameras of a sample."""

    layers: int = 8
    """Transformer layers."""
    heads: int = 8
    """Attention heads; they divide the channels of the features."""
    stride: int = 32
    """Image pixels per token, a multiple of the features' stride."""

    def __post_init__(self) -> None:
        for name in ("layers", "heads", "stride"):
            if getattr(self, name) < 1:
                raise DataError("cross_view", name, getattr(self, name), "at least 1")


class CrossView(nn.Module):
    """Features (M, C, h, w) to the same, with what the other cameras of the sample know added.

    Tokens are means of features over squares of ``stride`` pixels; each knows the direction of its ray in the ego
    frame, so weights depend neither on the number of cameras nor on their order. What comes out starts at zero: a
    fresh model does not change the features.
    """

    def __init__(self, channels: int, feature_stride: int, settings: CrossViewSettings) -> None:
        super().__init__()
        if channels % settings.heads:
            raise DataError("cross_view", "heads", settings.heads, f"a divisor of {channels} channels")
        if settings.stride % feature_stride:
            raise DataError("cross_view", "stride", settings.stride, f"a multiple of {feature_stride}")
        self.cells = settings.stride // feature_stride
        self.direction = nn.Linear(3, channels)
        layer = nn.TransformerEncoderLayer(
            channels, settings.heads, 4 * channels, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
        )
        self.layers = nn.TransformerEncoder(layer, settings.layers, enable_nested_tensor=False)
        self.result = nn.Linear(channels, channels)
        nn.init.zeros_(self.result.weight)
        nn.init.zeros_(self.result.bias)

    def forward(self, features: Tensor, cameras: Cameras) -> Tensor:
        """See the class."""
        size = (features.shape[-2], features.shape[-1])
        directions = F.normalize(self._pool(ray_directions(cameras, size)), dim=1)
        pooled = self._pool(features)
        rows, columns = pooled.shape[-2:]
        tokens = pooled.flatten(2).transpose(1, 2) + self.direction(directions.flatten(2).transpose(1, 2))
        gathered = cameras.spread(tokens).flatten(1, 2)
        nobody = ~cameras.mask.repeat_interleave(rows * columns, dim=1)
        mixed = self.result(self.layers(gathered, src_key_padding_mask=nobody))
        of_cameras = mixed.unflatten(1, (cameras.mask.shape[1], rows * columns))[cameras.mask]
        maps = of_cameras.transpose(1, 2).unflatten(2, (rows, columns))
        enlarged = F.interpolate(maps, scale_factor=self.cells, mode="bilinear", align_corners=False)
        return features + enlarged[..., : size[0], : size[1]].to(features.dtype)

    def _pool(self, maps: Tensor) -> Tensor:
        """Means over squares of cells; the last ones may stick out of the map."""
        return F.avg_pool2d(maps, self.cells, ceil_mode=True, count_include_pad=False)


def ray_directions(cameras: Cameras, size: tuple[int, int]) -> Tensor:
    """(M, 3, h, w) unit vectors in the ego frame, through the centres of h x w cells that tile each picture."""
    rows, columns = size
    height, width = cameras.image_size
    with torch.autocast(cameras.images.device.type, enabled=False):
        k, ego_R_camera = cameras.pixel_intrinsics.float(), cameras.ego_T_camera[:, :3, :3].float()
        v = (torch.arange(rows, device=k.device) + 0.5) * (height / rows) - 0.5
        u = (torch.arange(columns, device=k.device) + 0.5) * (width / columns) - 0.5
        pixels = torch.stack(
            [u.repeat(rows), v.repeat_interleave(columns), torch.ones(rows * columns, device=k.device)]
        )
        rays = ego_R_camera @ torch.linalg.inv(k) @ pixels
        return F.normalize(rays, dim=1).unflatten(2, (rows, columns))
