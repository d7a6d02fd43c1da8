from __future__ import annotations

import torch

from ugocc.models.assemble import build_model, model_settings
from ugocc.models.cost import _LiveTensors, cost_of, peak_bytes
from ugocc.models.settings import ModelSettings


def counted_by_hooks(settings: ModelSettings, batch) -> int:
    """Multiply-adds of convolutions and linear layers, each from its weight and the shape of its output."""
    total = 0

    def count(module, inputs, output):
        nonlocal total
        weight = module.weight
        if isinstance(module, torch.nn.ConvTranspose2d | torch.nn.ConvTranspose3d):
            total += inputs[0].numel() * weight[0].numel()
        elif isinstance(module, torch.nn.Linear):
            total += output.numel() * weight.shape[1]
        else:
            total += output.numel() * weight[0].numel()

    model = build_model(settings).eval()
    kinds = (torch.nn.Conv1d, torch.nn.Conv2d, torch.nn.Conv3d, torch.nn.ConvTranspose2d, torch.nn.Linear)
    for module in model.modules():
        if isinstance(module, kinds):
            module.register_forward_hook(count)
    with torch.no_grad():
        model(batch)
    return total


def test_multiply_adds_are_those_of_layers_and_products(make_batch):
    settings = model_settings("flashocc", "debug")
    cost = cost_of(settings, cameras=2)
    layers = counted_by_hooks(settings, make_batch(settings.input, cameras=2))
    assert layers <= cost.multiply_adds <= 1.02 * layers  # small matrix products of the geometry are the rest
    assert cost.parameters == sum(p.numel() for p in build_model(settings).parameters())


def test_more_cameras_need_more_memory_but_no_more_than_in_proportion():
    model = build_model(model_settings("ugocc", "debug")).eval()
    one, four = peak_bytes(model, 1), peak_bytes(model, 4)
    assert one < four <= 4 * one
    logits = 10 * 32 * 32 * 4 * 4
    assert one > logits


def test_memory_is_counted_while_it_is_in_use():
    with _LiveTensors() as live:
        a = torch.zeros(1000)  # 4000 bytes
        b = a.view(10, 100) + 1  # 4000 more; the view is none
        del a
        c = b * 2
        del b, c
        torch.ones(10).add_(1)
    assert (live.most, live.now) == (8000, 0)
