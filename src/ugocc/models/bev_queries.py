"""A bird's-eye view made of queries alone, without depth and lift (BEVFormer, Li et al. 2022, without its memory)."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from ugocc.errors import DataError
from ugocc.geometry.grid import VoxelGrid
from ugocc.models.bev_attention import BevAttentionSettings, ImageAttention, QueryAttention
from ugocc.models.blocks import resize
from ugocc.models.cameras import Cameras
from ugocc.models.pillars import Sight, look, pillar_anchors


@dataclass(frozen=True)
class BevQueriesSettings:
    """Layers of attention of a grid of learned queries to each other and to the images."""

    channels: int = 256
    """Channels of the queries, and of what they look at."""
    layers: int = 6
    """Layers, each of attention among queries, to the images, and a per-query network."""
    attention: BevAttentionSettings = field(default_factory=lambda: BevAttentionSettings(ffn_ratio=2))
    """Both attentions of a layer."""

    def __post_init__(self) -> None:
        if self.layers < 1:
            raise DataError("bev_queries", "layers", self.layers, "at least 1")
        if self.channels % self.attention.heads:
            raise DataError("bev_queries", "channels", self.channels, f"a multiple of {self.attention.heads} heads")


class BevQueries(nn.Module):
    """Features (M, inputs, h, w) of the real cameras to a bird's-eye view (B, C, X, Y, 1).

    Queries are learned, one for each cell (or for ``query_stride`` x ``query_stride`` of them). An image is looked at
    where the anchors of a query's pillar appear in it, at whatever distance: which of the surfaces along a ray is meant
    is for the layers to find out. Weights know neither how many cameras there are nor which is which.
    """

    anchors: Tensor

    def __init__(self, inputs: int, shape: tuple[int, int], grid: VoxelGrid, settings: BevQueriesSettings) -> None:
        super().__init__()
        stride, channels = settings.attention.query_stride, settings.channels
        if shape[0] % stride or shape[1] % stride:
            raise DataError("bev_queries", "attention.query_stride", stride, f"a divisor of {shape[0]} and {shape[1]}")
        self.full_shape = shape
        x, y = self.shape = (shape[0] // stride, shape[1] // stride)
        self.project = nn.Conv2d(inputs, channels, 1)
        self.embedding = nn.Parameter(0.02 * torch.randn(x * y, channels))
        self.rows = nn.Parameter(0.02 * torch.randn(x, 1, channels))
        self.columns = nn.Parameter(0.02 * torch.randn(1, y, channels))
        self.layers = nn.ModuleList(
            QueryLayer(channels, self.shape, settings.attention) for _ in range(settings.layers)
        )
        heights = settings.attention.anchor_heights
        self.register_buffer("anchors", pillar_anchors(grid, self.shape, heights), persistent=False)

    def forward(self, features: Tensor, cameras: Cameras) -> Tensor:
        """See the class."""
        context = self.project(features)
        sight = look(cameras, self.anchors)
        position = (self.rows + self.columns).flatten(0, 1)
        query = self.embedding.expand(cameras.mask.shape[0], -1, -1)
        for layer in self.layers:
            query = layer(query, position, context, cameras.sample, sight)
        bev = query.transpose(1, 2).unflatten(2, self.shape)
        return resize(bev, self.full_shape)[..., None]


class QueryLayer(nn.Module):
    """Queries (B, Q, C) look at each other, at the images, and into themselves; each step is added and normalised."""

    def __init__(self, channels: int, shape: tuple[int, int], settings: BevAttentionSettings) -> None:
        super().__init__()
        self.among_queries = QueryAttention(channels, shape, settings)
        self.to_images = ImageAttention(channels, settings)
        hidden = settings.ffn_ratio * channels
        self.within = nn.Sequential(nn.Linear(channels, hidden), nn.ReLU(inplace=True), nn.Linear(hidden, channels))
        self.norms = nn.ModuleList(nn.LayerNorm(channels) for _ in range(3))

    def forward(self, query: Tensor, position: Tensor, context: Tensor, sample: Tensor, sight: Sight) -> Tensor:
        """See the class; position (Q, C), context (M, C, h, w), sample (M,) the sample of each camera."""
        query = self.norms[0](query + self.among_queries(query, position))
        query = self.norms[1](query + self.to_images(query + position, context, None, sample, sight))
        return self.norms[2](query + self.within(query))
