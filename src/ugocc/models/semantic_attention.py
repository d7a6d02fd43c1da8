"""Tokens of one class exchange image features before they are lifted."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ugocc.errors import DataError
from ugocc.labels import NUM_CLASSES
from ugocc.models.blocks import conv_norm_relu

REFERENCE_DEPTH = 10.0
"""Metres whose logarithm the decoder sees as 0."""


@dataclass(frozen=True)
class SemanticAttentionSettings:
    """Decoder to class logits, and attention in windows whose queries and keys they are."""

    channels: int = 128
    """Width of the decoder."""
    blocks: int = 2
    """3x3 convolutions of the decoder."""
    window: int = 4
    """Rows and columns of a window, in feature cells; tokens attend to the tokens of their window."""

    def __post_init__(self) -> None:
        for name in ("channels", "blocks", "window"):
            if getattr(self, name) < 1:
                raise DataError("semantic_attention", name, getattr(self, name), "at least 1")


class SemanticAttention(nn.Module):
    """Context (M, C, h, w) and expected depth (M, h, w) in metres to refined context and class logits (M, 10, h, w).

    A decoder sees both and adds what it finds to the context, x. Then tokens of a window mix their features by
    A = softmax(q k^T), where query and key are the class logits themselves: out = x + gamma W_r(A W_v x). Of the
    factors in front of the mixture only gamma starts at zero, or none of them would ever be given a gradient.
    """

    def __init__(self, context: int, settings: SemanticAttentionSettings) -> None:
        super().__init__()
        width = settings.channels
        self.window = settings.window
        self.decoder = nn.Sequential(
            *(conv_norm_relu(width if i else context + 1, width) for i in range(settings.blocks))
        )
        self.classify = nn.Conv2d(width, NUM_CLASSES, 1)
        self.refine = nn.Conv2d(width, context, 1)
        # Near zero: a fresh model lifts the context nearly as the depth net made it.
        nn.init.normal_(self.refine.weight, std=0.01)
        nn.init.zeros_(_bias(self.refine))
        self.value = nn.Linear(context, context, bias=False)
        self.result = nn.Linear(context, context, bias=False)
        self.gamma = nn.Parameter(torch.zeros(()))

    def forward(self, context: Tensor, depth: Tensor) -> tuple[Tensor, Tensor]:
        """See the class. No gradient goes to the depth: how far a token is, is not for the semantics to change."""
        distance = (depth.detach().clamp(min=0.1) / REFERENCE_DEPTH).log()
        hidden = self.decoder(torch.cat([context, distance[:, None].to(context.dtype)], dim=1))
        logits = self.classify(hidden).float()
        x = context + self.refine(hidden)
        mixed = attend_in_windows(logits, self._by_token(self.value, x).float(), self.window)
        return x + self.gamma * self._by_token(self.result, mixed), logits

    @staticmethod
    def _by_token(linear: nn.Linear, x: Tensor) -> Tensor:
        return linear(x.movedim(1, -1)).movedim(-1, 1)


def attend_in_windows(logits: Tensor, values: Tensor, window: int) -> Tensor:
    """Attention within windows with the logits as both queries and keys, unscaled.

    Args:
        logits: (M, K, h, w); under autocast too their products are taken in the dtype given.
        values: (M, C, h, w) in the dtype of the logits.
        window: edge of the square windows that tile the map from its top left; cells beyond the map, where a window
            sticks out, are not attended to.

    Returns:
        (M, C, h, w).
    """
    rows, columns = logits.shape[-2:]
    with torch.autocast(logits.device.type, enabled=False):
        tokens = _windows(logits, window)
        inside = _windows(torch.ones_like(logits[:1, :1]), window)[..., 0] > 0
        alike = (tokens @ tokens.transpose(-1, -2)).masked_fill(~inside[..., None, :], -torch.inf)
        mixed = alike.softmax(dim=-1) @ _windows(values, window)
    # (M, windows down, windows across, tokens, C) back to a map.
    mixed = mixed.unflatten(3, (window, window)).permute(0, 5, 1, 3, 2, 4)
    return mixed.flatten(4, 5).flatten(2, 3)[..., :rows, :columns]


def _windows(maps: Tensor, window: int) -> Tensor:
    """(M, C, h, w) to (M, windows down, windows across, window * window, C), zeros beyond the map."""
    rows, columns = maps.shape[-2:]
    padded = F.pad(maps, (0, -columns % window, 0, -rows % window))
    split = padded.unflatten(3, (-1, window)).unflatten(2, (-1, window))
    return split.permute(0, 2, 4, 3, 5, 1).flatten(3, 4)


def _bias(conv: nn.Conv2d) -> Tensor:
    assert conv.bias is not None
    return conv.bias
