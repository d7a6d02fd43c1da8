from __future__ import annotations

import pytest
import torch

from ugocc.data.batch import Batch
from ugocc.data.prepare import InputSettings
from ugocc.devices import accelerator_of, default_device
from ugocc.geometry.grid import VoxelGrid
from ugocc.models.example import example_batch


@pytest.mark.parametrize("cuda", [False, True])
def test_mps_is_taken_only_where_it_is_asked_for(monkeypatch: pytest.MonkeyPatch, cuda: bool) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert default_device() == accelerator_of("auto") == ("cuda" if cuda else "cpu")
    assert [accelerator_of(name) for name in ("cpu", "cuda", "mps")] == ["cpu", "cuda", "mps"]


def test_world_poses_stay_where_they_are_on_a_device_without_float64(monkeypatch: pytest.MonkeyPatch) -> None:
    batch = example_batch(InputSettings(44, 16, VoxelGrid((-4, -4, -1), (4, 4, 2), 2.0)), cameras=1)
    asked = []
    monkeypatch.setattr(torch.Tensor, "to", lambda self, device, **_: asked.append(self.dtype) or self)
    moved = batch.to("mps")
    assert isinstance(moved, Batch)
    assert moved.world_T_ego is batch.world_T_ego
    assert asked
    assert torch.float64 not in asked
