from __future__ import annotations

import copy

import pytest
import torch

from ugocc.models.assemble import MODELS, build_model, model_settings
from ugocc.models.example import example_batch


@pytest.mark.parametrize("name", MODELS)
def test_gradients_and_statistics_are_those_of_the_plain_step(name: str):
    torch.manual_seed(0)
    plain = build_model(model_settings(name, "debug")).train()
    again = copy.deepcopy(plain)
    again.recompute = True
    batch = example_batch(plain.settings.input, cameras=2, samples=2)
    for model in (plain, again):
        torch.manual_seed(1)
        model(batch).occupancy.square().mean().backward()
    for (what, a), b in zip(plain.named_parameters(), again.parameters(), strict=True):
        if a.grad is not None:
            torch.testing.assert_close(a.grad, b.grad, rtol=1e-4, atol=1e-7, msg=what)
    for (what, a), b in zip(plain.named_buffers(), again.buffers(), strict=True):
        torch.testing.assert_close(a, b, msg=what)


def test_it_keeps_less_for_the_backward_pass():
    model = build_model(model_settings("bevdet-occ", "debug")).train()
    batch = example_batch(model.settings.input)
    kept = []
    for model.recompute in (False, True):
        sizes: list[int] = []
        with torch.autograd.graph.saved_tensors_hooks(lambda t, s=sizes: s.append(t.numel()) or t, lambda t: t):
            model(batch).occupancy.mean().backward()
        kept.append(sum(sizes))
    assert kept[1] < 0.5 * kept[0]
