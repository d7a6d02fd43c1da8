from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from ugocc.adaptation.reversal import (
    AdversarySettings,
    DomainClassifier,
    domain_loss,
    reversal_strength,
    reverse_gradient,
)

SMALL = AdversarySettings(widths=(4, 6), hidden=5, dropout=0.0)


@pytest.mark.parametrize("strength", [0.0, 0.3, 2.0])
def test_reversal_leaves_values_and_turns_gradients(strength):
    x = torch.randn(3, 4, requires_grad=True)
    factors = torch.randn(3, 4)
    out = reverse_gradient(x, strength)
    torch.testing.assert_close(out, x, rtol=0, atol=0)
    (out * factors).sum().backward()
    torch.testing.assert_close(x.grad, -strength * factors)


def test_strength_over_training():
    plain, half = AdversarySettings(), AdversarySettings(strength=0.5)
    assert reversal_strength(0.0, plain) == 0.0
    assert reversal_strength(0.1, plain) == pytest.approx(2 / (1 + math.exp(-1)) - 1)
    assert reversal_strength(1.0, plain) == pytest.approx(0.99990920)
    values = [reversal_strength(i / 20, half) for i in range(21)]
    assert values == sorted(values)
    assert max(values) < 0.5


def test_only_the_features_gradient_is_turned_and_scaled():
    torch.manual_seed(0)
    classifier = DomainClassifier(3, SMALL)
    fleet = torch.tensor([0, 1, 1])
    bev = torch.randn(3, 3, 16, 16)

    def gradients(strength: float | None) -> tuple[torch.Tensor, list[torch.Tensor]]:
        features = bev.clone().requires_grad_()
        classifier.zero_grad()
        if strength is None:  # plain binary cross-entropy, written out
            logits = classifier(features)
            p = logits.sigmoid()
            entropy = torch.where(fleet == 1, -p.log(), -(1 - p).log())
            loss = 0.5 * entropy[:1].mean() + 0.5 * entropy[1:].mean()
        else:
            loss = domain_loss(classifier, features, fleet, strength).loss
        loss.backward()
        return features.grad, [p.grad.clone() for p in classifier.parameters()]

    plain, own = gradients(None)
    assert plain.abs().max() > 0
    for strength in (0.25, 1.0):
        turned, own_turned = gradients(strength)
        torch.testing.assert_close(turned, -strength * plain)
        for a, b in zip(own, own_turned, strict=True):
            torch.testing.assert_close(a, b)


@pytest.mark.parametrize("fleets", [[0, 1], [0, 0, 0, 0, 1], [1, 1], [0]])
def test_guessing_costs_ln_2_at_any_mixture(fleets):
    guess = lambda x: torch.zeros(len(x))  # noqa: E731
    found = domain_loss(guess, torch.randn(len(fleets), 2, 4, 4), torch.tensor(fleets), 1.0)
    assert found.loss.item() == pytest.approx(math.log(2))


def test_accuracy_counts_fleets_alike():
    always_target = lambda x: torch.ones(len(x))  # noqa: E731
    found = domain_loss(always_target, torch.randn(5, 2, 4, 4), torch.tensor([0, 1, 1, 1, 1]), 1.0)
    assert found.accuracy.item() == pytest.approx(0.5)


def test_any_size_of_view():
    classifier = DomainClassifier(3, SMALL).eval()
    for size in ((16, 16), (100, 100), (7, 9), (1, 1)):
        assert classifier(torch.randn(2, 3, *size)).shape == (2,)
    assert not [m for m in DomainClassifier(3, AdversarySettings()).modules() if isinstance(m, nn.BatchNorm2d)]


def test_features_become_alike_and_the_classifier_loses():
    """Two fleets that differ by an offset; a learned shift of the target is pulled over to the source."""
    torch.manual_seed(0)
    classifier = DomainClassifier(2, SMALL)
    shift = nn.Parameter(torch.zeros(2, 1, 1))
    optimizer = torch.optim.Adam([{"params": classifier.parameters(), "lr": 1e-2}, {"params": [shift], "lr": 2e-2}])
    fleet = torch.arange(16) % 2
    offset = torch.tensor([0.0, 0.9])[fleet].view(-1, 1, 1, 1)
    gaps = []
    for _ in range(300):
        bev = 0.3 * torch.randn(16, 2, 8, 8) + offset
        bev = torch.where((fleet == 1).view(-1, 1, 1, 1), bev + shift, bev)
        loss = domain_loss(classifier, bev, fleet, 0.3).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        gaps.append((shift.detach() + 0.9).abs().mean().item())
    assert sum(gaps[-100:]) / 100 < 0.45
