from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from ugocc.errors import DataError
from ugocc.models.semantic_attention import SemanticAttention, SemanticAttentionSettings, attend_in_windows

SETTINGS = SemanticAttentionSettings(channels=12, blocks=2)


def attention(channels: int = 6, gamma: float = 0.7) -> SemanticAttention:
    torch.manual_seed(0)
    module = SemanticAttention(channels, SETTINGS)
    torch.nn.init.constant_(module.gamma, gamma)
    return module


def inputs(rows: int = 7, columns: int = 9, channels: int = 6, cameras: int = 3) -> tuple[Tensor, Tensor]:
    random = torch.Generator().manual_seed(1)
    depth = 1 + 40 * torch.rand(cameras, rows, columns, generator=random)
    return torch.randn(cameras, channels, rows, columns, generator=random), depth


def slow_attention(logits: Tensor, values: Tensor, window: int) -> Tensor:
    """Window by window, token by token."""
    out = torch.zeros_like(values)
    cameras, _, rows, columns = logits.shape
    for m in range(cameras):
        for v in range(rows):
            for u in range(columns):
                top, left = v // window * window, u // window * window
                keys = [
                    (i, j)
                    for i in range(top, min(top + window, rows))
                    for j in range(left, min(left + window, columns))
                ]
                scores = torch.stack([logits[m, :, v, u] @ logits[m, :, i, j] for i, j in keys])
                weights = (scores - scores.max()).exp()
                weights = weights / weights.sum()
                for weight, (i, j) in zip(weights, keys, strict=True):
                    out[m, :, v, u] += weight * values[m, :, i, j]
    return out


@settings(max_examples=8, deadline=None)
@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 5), st.integers(0, 1000))
def test_equals_a_loop_over_tokens(rows, columns, window, seed):
    random = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(2, 10, rows, columns, generator=random, dtype=torch.float64)
    values = torch.randn(2, 3, rows, columns, generator=random, dtype=torch.float64)
    torch.testing.assert_close(attend_in_windows(logits, values, window), slow_attention(logits, values, window))


def test_whole_module_by_the_formula():
    module = attention().eval()
    context, depth = inputs()
    refined, logits = module(context, depth)
    hidden = module.decoder(torch.cat([context, (depth[:, None] / 10).log()], dim=1))
    x = context + module.refine(hidden)
    mixed = slow_attention(logits, torch.einsum("oc,mchw->mohw", module.value.weight, x), 4)
    torch.testing.assert_close(logits, module.classify(hidden))
    torch.testing.assert_close(refined, x + 0.7 * torch.einsum("oc,mchw->mohw", module.result.weight, mixed))


@pytest.mark.parametrize(("rows", "columns"), [(7, 9), (8, 12), (3, 2)])
def test_cells_beyond_the_map_are_not_attended_to(rows, columns):
    """Were they, an average of ones would fall below one near the border."""
    logits = torch.randn(2, 10, rows, columns) - 3
    torch.testing.assert_close(
        attend_in_windows(logits, torch.ones(2, 1, rows, columns), 4), torch.ones(2, 1, rows, columns)
    )


def test_tokens_of_one_class_exchange_features_and_others_do_not():
    classes = torch.randint(0, 10, (1, 8, 8), generator=torch.Generator().manual_seed(0))
    logits = 8 * torch.nn.functional.one_hot(classes, 10).movedim(-1, 1).float()
    values = torch.randn(1, 3, 8, 8)
    mixed = attend_in_windows(logits, values, 4)
    for top in (0, 4):
        for left in (0, 4):
            block = (0, slice(None), slice(top, top + 4), slice(left, left + 4))
            of_class = classes[0, top : top + 4, left : left + 4]
            for c in of_class.unique():
                mean = values[block][:, of_class == c].mean(dim=1, keepdim=True)
                torch.testing.assert_close(mixed[block][:, of_class == c], mean.expand(-1, int((of_class == c).sum())))


def test_a_fresh_module_hardly_changes_the_context():
    torch.manual_seed(0)
    context, depth = inputs(12, 33, channels=48)
    fresh = SemanticAttention(48, SemanticAttentionSettings(channels=48)).train()
    refined, logits = fresh(context, depth)
    assert (refined - context).square().mean() < 0.02 * context.square().mean()
    assert not torch.equal(refined, context)
    assert logits.std() < 1.5


def test_every_factor_of_the_attention_moves_within_two_steps():
    module = attention(gamma=0.0).train()
    assert module.result.weight.abs().min() > 0
    before = {name: p.detach().clone() for name, p in module.named_parameters()}
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
    context, depth = inputs()
    target = torch.randn_like(context)
    moved: list[set[str]] = []
    for _ in range(2):
        refined, logits = module(context, depth)
        optimizer.zero_grad()
        ((refined - target).square().mean() + logits.square().mean()).backward()
        optimizer.step()
        moved.append({name for name, p in module.named_parameters() if not torch.equal(p, before[name])})
    assert "gamma" in moved[0]
    assert moved[1] == set(before)


def test_gradient_reaches_logits_through_the_attention_and_the_context_but_not_the_depth():
    module = attention().eval()
    context, depth = inputs()
    context.requires_grad_()
    depth.requires_grad_()
    module(context, depth)[0].square().sum().backward()
    assert module.classify.weight.grad.any()  # the logits have no loss of their own here
    assert context.grad.any()
    assert depth.grad is None


def test_cameras_do_not_see_each_other():
    module = attention().eval()
    context, depth = inputs()
    together = module(context, depth)
    alone = module(context[1:2], depth[1:2])
    torch.testing.assert_close(together[0][1:2], alone[0], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(together[1][1:2], alone[1], rtol=1e-5, atol=1e-5)


def test_low_precision_is_close_and_its_logits_are_float32():
    module = attention().eval()
    context, depth = inputs()
    exact = module(context, depth)
    with torch.autocast("cpu", torch.bfloat16):
        refined, logits = module(context, depth)
    assert logits.dtype == torch.float32
    torch.testing.assert_close(refined.float(), exact[0], rtol=0.05, atol=0.05)


@pytest.mark.parametrize("name", ["channels", "blocks", "window"])
def test_settings_must_be_positive(name):
    with pytest.raises(DataError, match=name):
        SemanticAttentionSettings(**{name: 0})
