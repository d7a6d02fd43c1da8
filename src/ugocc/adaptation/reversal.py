"""Domain-adversarial learning (Ganin et al. 2016): features that do not give their fleet away."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch.nn.functional as F
from torch import Tensor, autograd, nn


@dataclass(frozen=True)
class AdversarySettings:
    """The fleet classifier and how strongly its reversed gradient reaches the features."""

    weight: float = 1.0
    """Weight of the loss; 0 leaves the adversary out."""
    strength: float = 1.0
    """Factor of the reversed gradient at the end of training; the classifier itself learns at full rate throughout."""
    steepness: float = 10.0
    """How fast the factor rises with progress."""
    widths: tuple[int, ...] = (32, 64, 128)
    """Channels of the 3x3 convolutions of stride 2."""
    hidden: int = 64
    """Width of the layer between pooling and output."""
    dropout: float = 0.5
    """Share of the hidden layer that is dropped in training."""


class DomainLoss(NamedTuple):
    """Loss and how well the classifier did."""

    loss: Tensor
    """Scalar."""
    accuracy: Tensor
    """Scalar, mean over the fleets of the share of their samples that is recognised; 0.5 when fleets look alike."""


def reversal_strength(progress: float, settings: AdversarySettings) -> float:
    """Lambda at ``progress`` in [0, 1]: strength (2 / (1 + exp(-steepness progress)) - 1)."""
    return settings.strength * (2 / (1 + math.exp(-settings.steepness * progress)) - 1)


def reverse_gradient(features: Tensor, strength: float) -> Tensor:
    """The features unchanged; their gradient times ``-strength``."""
    reversed_features: Tensor = _Reversal.apply(features, strength)
    return reversed_features


class DomainClassifier(nn.Module):
    """Features seen from above (B, channels, X, Y), of any size, to logits (B,) of the target fleet.

    It has no batch norm: statistics over a batch that mixes fleets would give the answer away.
    """

    def __init__(self, channels: int, settings: AdversarySettings) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for inputs, outputs in zip((channels, *settings.widths), settings.widths):
            layers += [nn.Conv2d(inputs, outputs, 3, stride=2, padding=1), nn.ReLU(inplace=True)]
        self.convolutions = nn.Sequential(*layers)
        self.decide = nn.Sequential(
            nn.Linear(settings.widths[-1], settings.hidden),
            nn.ReLU(inplace=True),
            nn.Dropout(settings.dropout),
            nn.Linear(settings.hidden, 1),
        )

    def forward(self, bev: Tensor) -> Tensor:
        """See the class."""
        return self.decide(self.convolutions(bev).mean(dim=(2, 3))).squeeze(1)


def domain_loss(classifier: nn.Module, bev: Tensor, fleet: Tensor, strength: float) -> DomainLoss:
    """Binary cross-entropy of every sample's fleet; the features receive its reversed gradient.

    Every fleet in the batch counts the same, whatever its number of samples, so that guessing costs ln 2.

    Args:
        classifier: features to logits (B,), see :class:`DomainClassifier`.
        bev: (B, C, X, Y).
        fleet: (B,) 0 source, 1 target.
        strength: lambda, see :func:`reversal_strength`.
    """
    logits = classifier(reverse_gradient(bev, strength)).float()
    is_target = fleet.to(logits)
    members = F.one_hot(fleet.long(), 2).to(logits)
    count = members.sum(dim=0)
    weights = (members / count.clamp(min=1)).sum(dim=1) / (count > 0).sum()
    entropy = F.binary_cross_entropy_with_logits(logits, is_target, reduction="none")
    right = ((logits > 0) == (is_target > 0)).to(logits)
    return DomainLoss((weights * entropy).sum(), (weights * right).sum())


class _Reversal(autograd.Function):
    @staticmethod
    def forward(ctx: Any, features: Tensor, strength: float) -> Tensor:
        ctx.strength = strength
        return features.view_as(features)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return -ctx.strength * gradients[0], None
