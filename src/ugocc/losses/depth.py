"""Depth from lidar: the bin of the nearest return of every feature cell."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ugocc.data.batch import Batch
from ugocc.models.depth_net import depth_bins
from ugocc.models.prediction import Prediction


@dataclass(frozen=True)
class DepthLossSettings:
    """Lidar depth loss."""

    weight: float = 1.0
    """Weight of the loss; 0 leaves depth to the occupancy losses."""


def depth_loss(prediction: Prediction, batch: Batch, settings: DepthLossSettings) -> Tensor:
    """Weighted lidar depth loss of a batch, a scalar; 0 with gradient 0 without returns.

    Returns on padding and on the own car do not count.
    """
    logits, bins = prediction.depth_distribution()
    rows, columns = logits.shape[-2:]
    returns = nearest_return(batch.depth * batch.pixel_mask, (rows, columns))
    return settings.weight * depth_bin_loss(logits, bins, returns)


def nearest_return(depth: Tensor, size: tuple[int, int]) -> Tensor:
    """Nearest return of every cell.

    Args:
        depth: (..., H, W) metres, 0 where there is no return.
        size: rows h and columns w of the cells; they divide H and W.

    Returns:
        (..., h, w) metres, 0 where a cell has no return.
    """
    rows, columns = size
    cells = depth.unflatten(-1, (columns, -1)).unflatten(-3, (rows, -1))
    nearest = cells.masked_fill(cells <= 0, torch.inf).amin(dim=(-3, -1))
    return nearest.masked_fill(nearest.isinf(), 0.0)


def depth_bin_loss(depth_logits: Tensor, bin_depths: Tensor, returns: Tensor) -> Tensor:
    """Binary cross-entropy of every bin's probability against the one-hot bin of the return.

    Args:
        depth_logits: (..., D, h, w).
        bin_depths: (..., D) metres.
        returns: (..., h, w) metres, 0 where there is no return; returns outside all bins do not count.

    Returns:
        Sum over bins, mean over the cells that count.
    """
    bins, inside = depth_bins(returns, bin_depths)
    chosen = (inside & (returns > 0)).flatten().nonzero().squeeze(1)
    rows = depth_logits.movedim(-3, -1).reshape(-1, depth_logits.shape[-3]).index_select(0, chosen)
    if depth_logits.dtype != torch.float64:
        rows = rows.float()
    target = bins.flatten()[chosen, None]
    log_probability = rows.log_softmax(dim=1)
    # log(1 - p), kept finite where all probability is on one wrong bin.
    log_rest = torch.log1p(-log_probability.exp().clamp(max=1 - 1e-6))
    right, wrong = log_probability.gather(1, target), log_rest.sum(dim=1, keepdim=True) - log_rest.gather(1, target)
    return -(right + wrong).sum() / max(len(chosen), 1)
