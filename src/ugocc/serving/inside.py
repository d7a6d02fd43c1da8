"""What a network does on its way from pictures to a volume: what its blocks were given and gave, for pictures of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from ugocc.data.batch import Batch
from ugocc.errors import DataError
from ugocc.geometry.grid import VoxelGrid
from ugocc.models.assemble import OccupancyModel
from ugocc.models.bev_attention import BevAttention, probability_at
from ugocc.models.depth_net import depth_bins
from ugocc.models.prediction import Prediction


@dataclass(frozen=True)
class Inside:
    """One sample on its way through a network that lifts and has both attentions."""

    prediction: Prediction
    """What came out."""
    arrived: Tensor
    """(X, Y) how much of the cameras' depth probabilities the lift put into each column of the lifted volume."""
    lifted: Tensor
    """(C, X, Y) features as lifted, mean over z."""
    refined: Tensor
    """(C, X, Y) features after the attention to the images, mean over z."""
    semantics: Tensor
    """(M, 10, h, w) class logits of the pictures: queries and keys of the semantic attention."""
    given: tuple[Any, ...]
    """What the attention to the images was given: queries, context, depth, samples of the cameras, sight."""


class Glance(NamedTuple):
    """What one query of the ground plan looks at in one camera. Pixels are of the network's images."""

    camera: int
    """Which one."""
    pixels: Tensor
    """(heads, points, 2) u, v of what is sampled."""
    weights: Tensor
    """(heads, points) of the samples, likelihood of depth included."""
    pillar: Tensor
    """(A, 2) u, v of the anchors on the query's pillar that are in the picture."""


@torch.no_grad()
def look_inside(model: OccupancyModel, batch: Batch) -> Inside:
    """Predict one sample.

    Args:
        model: in evaluation mode.
        batch: of one sample.

    Raises:
        DataError: a network without lift or without one of the attentions, or more than one sample.
    """
    lift, bev, semantic = model.lift, model.bev_attention, model.semantic_attention
    if lift is None or bev is None or semantic is None:
        raise DataError("model", "parts", model.settings.name, "a network that lifts and has both attentions")
    if batch.size != 1:
        raise DataError("batch", "size", batch.size, "one sample")
    kept: dict[nn.Module, tuple[tuple[Any, ...], Any]] = {}

    def keep(block: nn.Module) -> Callable[[nn.Module, tuple[Any, ...], Any], None]:
        return lambda _, given, result: kept.update({block: (given, result)})

    hooks = [block.register_forward_hook(keep(block)) for block in (lift, bev, semantic, bev.to_images)]
    try:
        prediction = model(batch)
    finally:
        for hook in hooks:
            hook.remove()
    (seen, depth, geometry), lifted = kept[lift]
    arrived = lift(torch.ones_like(seen[:, :1]), depth, geometry)
    return Inside(
        prediction=prediction,
        arrived=arrived[0, 0].sum(dim=2),
        lifted=lifted[0].mean(dim=3),
        refined=kept[bev][1][0].mean(dim=3),
        semantics=kept[semantic][1][1],
        given=kept[bev.to_images][0],
    )


def query_at(attention: BevAttention, grid: VoxelGrid, x: float, y: float) -> tuple[int, tuple[float, float]]:
    """Number of the query whose cell holds a place of the ground plan, and the middle of that cell, in metres."""
    lower, shape = np.asarray(grid.lower[:2]), np.asarray(attention.shape)
    span = (np.asarray(grid.upper[:2]) - lower) / shape
    cell = np.floor((np.array([x, y]) - lower) / span).astype(int).clip(0, shape - 1)
    middle = lower + (cell + 0.5) * span
    return int(cell[0] * shape[1] + cell[1]), (float(middle[0]), float(middle[1]))


@torch.no_grad()
def glances(attention: BevAttention, inside: Inside, query: int, image_size: tuple[int, int]) -> list[Glance]:
    """Where a query looks, for every camera that has any of its pillar in the picture.

    Args:
        attention: of the network.
        inside: of the sample.
        query: its number.
        image_size: rows and columns of the network's images.
    """
    queries, context, depth, _, sight = inside.given
    probabilities, bins = depth
    anchors, visible = sight.places[:, query], sight.visible[:, query]
    bin_, within = depth_bins(sight.distances[:, query : query + 1], bins)
    likely = visible * (within * probability_at(probabilities, sight.places[:, query : query + 1], bin_))[:, 0]
    offsets, weights = attention.to_images.points(queries[0, query])
    around = (anchors.shape[1], -1)
    cells = offsets.new_tensor([context.shape[3], context.shape[2]])
    places = anchors[:, None, :, None] + offsets.unflatten(1, around) / cells
    weights = weights.unflatten(1, around) * likely[:, None, :, None]
    size = offsets.new_tensor([image_size[1], image_size[0]])
    return [
        Glance(i, places[i].flatten(1, 2) * size - 0.5, weights[i].flatten(1), anchors[i][visible[i]] * size - 0.5)
        for i in range(len(anchors))
        if bool(visible[i].any())
    ]


def window_attention(logits: Tensor) -> Tensor:
    """Weights (T, T) with which the tokens of a window attend to each other, by their class logits (10, rows, cols)."""
    tokens = logits.flatten(1).T.float()
    return (tokens @ tokens.T).softmax(dim=1)
