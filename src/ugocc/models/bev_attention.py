"""Depth-aware attention of a bird's-eye view to the images it was lifted from (FB-OCC, Li et al. 2023)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ugocc.errors import DataError
from ugocc.geometry.grid import VoxelGrid
from ugocc.models.blocks import resize
from ugocc.models.cameras import Cameras
from ugocc.models.deformable import SamplingPoints, deformable_sum
from ugocc.models.depth_net import depth_bins
from ugocc.models.pillars import Sight, look, pack, pillar_anchors


@dataclass(frozen=True)
class BevAttentionSettings:
    """One layer of attention over a bird's-eye view."""

    heads: int = 8
    """Heads of both attentions; they share the channels out evenly."""
    self_points: int = 4
    """Points of the bird's-eye view that each head of a query looks at."""
    anchor_heights: tuple[float, ...] = (-0.2, 1.4, 3.0, 4.6)
    """Metres above the ground of the anchors on each query's pillar."""
    anchor_points: int = 2
    """Points of an image that each head looks at around each anchor."""
    ffn_ratio: int = 4
    """Hidden width of the per-query network, in channels of the volume."""
    query_stride: int = 1
    """Cells of the volume along x and y that share a query; what it finds is interpolated between them."""

    def __post_init__(self) -> None:
        for name in ("heads", "self_points", "anchor_points", "ffn_ratio", "query_stride"):
            if getattr(self, name) < 1:
                raise DataError("bev_attention", name, getattr(self, name), "at least 1")
        if not self.anchor_heights:
            raise DataError("bev_attention", "anchor_heights", "none", "at least one height")


class BevAttention(nn.Module):
    """Refines a lifted volume (B, C, X, Y, Z): what queries on its ground plan find is added to every height.

    A query is a learned vector and the mean over z of the volume. It looks at other queries, then at the images
    wherever the anchors on its pillar appear in them, then into itself; each step is added and normalised. Weights
    know neither how many cameras there are nor which is which.
    """

    anchors: Tensor

    def __init__(
        self, channels: int, shape: tuple[int, int, int], grid: VoxelGrid, settings: BevAttentionSettings
    ) -> None:
        super().__init__()
        stride = settings.query_stride
        if channels % settings.heads:
            raise DataError("model", "bev_attention.heads", settings.heads, f"a divisor of the {channels} channels")
        if shape[0] % stride or shape[1] % stride:
            raise DataError("model", "bev_attention.query_stride", stride, f"a divisor of {shape[0]} and {shape[1]}")
        x, y = self.shape = (shape[0] // stride, shape[1] // stride)
        self.stride = stride
        self.embedding = nn.Parameter(0.02 * torch.randn(x * y, channels))
        self.rows = nn.Parameter(0.02 * torch.randn(x, 1, channels))
        self.columns = nn.Parameter(0.02 * torch.randn(1, y, channels))
        self.among_queries = QueryAttention(channels, self.shape, settings)
        self.to_images = ImageAttention(channels, settings)
        hidden = settings.ffn_ratio * channels
        self.within = nn.Sequential(nn.Linear(channels, hidden), nn.ReLU(inplace=True), nn.Linear(hidden, channels))
        last = nn.LayerNorm(channels)
        # A fresh layer should whisper: lifted features are small where normalised ones are of size one.
        nn.init.constant_(last.weight, 0.1)
        self.norms = nn.ModuleList((nn.LayerNorm(channels), nn.LayerNorm(channels), last))
        self.register_buffer("anchors", pillar_anchors(grid, self.shape, settings.anchor_heights), persistent=False)

    def forward(self, volume: Tensor, context: Tensor, depth: Tensor, bins: Tensor, cameras: Cameras) -> Tensor:
        """Attend.

        Args:
            volume: (B, C, X, Y, Z) as lifted.
            context: (M, C, h, w) features of every real camera.
            depth: (M, D, h, w) their depth probabilities.
            bins: (M, D) metres along the optical axis, centres of the bins.
            cameras: the M cameras.

        Returns:
            (B, C, X, Y, Z) refined.
        """
        query, position = self.queries(volume)
        query = self.norms[0](query + self.among_queries(query, position))
        sight = look(cameras, self.anchors)
        query = self.norms[1](query + self.to_images(query + position, context, (depth, bins), cameras.sample, sight))
        query = self.norms[2](query + self.within(query))
        found = query.transpose(1, 2).unflatten(2, self.shape)
        return volume + resize(found, (volume.shape[2], volume.shape[3]))[..., None]

    def queries(self, volume: Tensor) -> tuple[Tensor, Tensor]:
        """(B, Q, C) queries of a volume, and (Q, C) their position on the ground plan."""
        above = F.avg_pool2d(volume.mean(dim=4), self.stride)
        return above.flatten(2).transpose(1, 2) + self.embedding, (self.rows + self.columns).flatten(0, 1)


class QueryAttention(nn.Module):
    """Deformable self-attention of queries (B, X * Y, C) on their grid; see :class:`BevAttention`."""

    places: Tensor

    def __init__(self, channels: int, shape: tuple[int, int], settings: BevAttentionSettings) -> None:
        super().__init__()
        self.shape = shape
        self.points = SamplingPoints(channels, settings.heads, 1, settings.self_points)
        self.value = nn.Linear(channels, channels)
        self.result = nn.Linear(channels, channels)
        rows, columns = ((torch.arange(n) + 0.5) / n for n in shape)
        row, column = torch.meshgrid(rows, columns, indexing="ij")
        self.register_buffer("places", torch.stack([column, row], dim=-1).flatten(0, 1), persistent=False)

    def forward(self, query: Tensor, position: Tensor) -> Tensor:
        """Where to look depends on the position (X * Y, C) too, what is found there does not."""
        offsets, weights = self.points(query + position)
        places = self.places[:, None, None] + offsets / offsets.new_tensor([self.shape[1], self.shape[0]])
        maps = self.value(query).transpose(1, 2).unflatten(2, self.shape)
        return self.result(deformable_sum(maps, places, weights))


class ImageAttention(nn.Module):
    """Deformable attention of pillars to the images that see them; see :class:`BevAttention`."""

    def __init__(self, channels: int, settings: BevAttentionSettings) -> None:
        super().__init__()
        self.points = SamplingPoints(channels, settings.heads, len(settings.anchor_heights), settings.anchor_points)
        self.value = nn.Linear(channels, channels)
        self.result = nn.Linear(channels, channels)

    def forward(
        self, query: Tensor, context: Tensor, depth: tuple[Tensor, Tensor] | None, sample: Tensor, sight: Sight
    ) -> Tensor:
        """What each query finds: (B, Q, C), the mean over the cameras that see any of its anchors.

        With depth, the weights around an anchor are multiplied by the probability, at the anchor's pixel, of the depth
        bin that the anchor's own distance falls in.

        Args:
            query: (B, Q, C), position included.
            context: (M, C, h, w).
            depth: (M, D, h, w) probabilities of the bins and (M, D) their centres in metres; None looks at whatever
                is in an anchor's direction.
            sample: (M,) the sample of each camera.
            sight: the anchors in every camera.
        """
        count, queries, _ = query.shape
        packed = pack(sight, sample, count)
        likely = packed.visible.to(packed.places.dtype)
        if depth is not None:
            probabilities, bins = depth
            bin, inside = depth_bins(packed.distances, bins)
            likely = likely * inside * probability_at(probabilities, packed.places, bin)
        found = self.samples(query, context, likely, packed.places, packed.owner)
        # A bag per query: unlike a scattered addition it is summed in one order on every device.
        found = F.embedding_bag(packed.entries, found.flatten(0, 1), packed.starts, mode="mean")
        return self.result(found.view(count, queries, -1))

    def samples(self, query: Tensor, context: Tensor, likely: Tensor, anchors: Tensor, owner: Tensor) -> Tensor:
        """What queries find in one camera each.

        Args:
            query: (B, Q, C), position included.
            context: (M, C, h, w).
            likely: (M, K, A) how much of what is found around an anchor counts.
            anchors: (M, K, A, 2) places of the anchors in the image, as fractions.
            owner: (M, K) int64 row of the query among those of all samples.

        Returns:
            (M, K, C).
        """
        offsets, weights = (x.flatten(0, 1)[owner] for x in self.points(query))
        around = (anchors.shape[2], -1)
        cells = offsets.new_tensor([context.shape[3], context.shape[2]])
        places = anchors[:, :, None, :, None] + offsets.unflatten(3, around) / cells
        weights = weights.unflatten(3, around) * likely[:, :, None, :, None]
        maps = self.value(context.movedim(1, -1)).movedim(-1, 1)
        return deformable_sum(maps, places.flatten(3, 4), weights.flatten(3, 4))


def probability_at(depth: Tensor, places: Tensor, bins: Tensor) -> Tensor:
    """Probability of a bin at a place of the image: bilinear between the cells, held beyond the outermost.

    Args:
        depth: (M, D, h, w).
        places: (M, Q, A, 2) column and row as fractions of the image.
        bins: (M, Q, A) int64.

    Returns:
        (M, Q, A).
    """
    cameras, count, rows, columns = depth.shape
    u = (places[..., 0] * columns - 0.5).clamp(0, columns - 1)
    v = (places[..., 1] * rows - 0.5).clamp(0, rows - 1)
    left, top = u.floor(), v.floor()
    start = torch.arange(cameras, device=depth.device)[:, None, None] * count + bins
    flat = depth.reshape(-1)
    total = torch.zeros_like(u)
    for row, down in ((top, 1 - (v - top)), ((top + 1).clamp(max=rows - 1), v - top)):
        for column, across in ((left, 1 - (u - left)), ((left + 1).clamp(max=columns - 1), u - left)):
            index = (start * rows + row.long()) * columns + column.long()
            total = total + down * across * flat.index_select(0, index.flatten()).view(index.shape)
    return total
