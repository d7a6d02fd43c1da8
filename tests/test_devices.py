from __future__ import annotations

import pytest
import torch

from ugocc.data.batch import Batch
from ugocc.data.prepare import InputSettings
from ugocc.devices import accelerator_of, default_device, device_like, device_of, multiplies_bfloat16, precision_of
from ugocc.errors import DataError
from ugocc.geometry.grid import VoxelGrid
from ugocc.models.example import example_batch
from ugocc.training.settings import RunSettings


@pytest.mark.parametrize("cuda", [False, True])
def test_mps_is_taken_only_where_it_is_asked_for(monkeypatch: pytest.MonkeyPatch, cuda: bool) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert default_device() == accelerator_of("auto") == ("cuda" if cuda else "cpu")
    assert [accelerator_of(name) for name in ("cpu", "cuda", "mps")] == ["cpu", "cuda", "mps"]


@pytest.mark.parametrize("name", ["gpu", "cuda:2", "cuda:", "mps"])
def test_a_device_that_is_not_there_is_named_beside_those_that_are(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(
        DataError, match=f"predict: device: found {name}, expected .*: cpu, cpu:0, cuda, cuda:0, cuda:1$"
    ):
        device_of(name, "predict")
    assert device_of("cuda:1", "predict") == torch.device("cuda", 1)
    assert device_of("cpu", "predict") == torch.device("cpu")


def test_a_page_is_made_where_the_run_was_if_that_is_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert [device_like(name) for name in ("cpu", "cuda", "auto", "gpu", "mps")] == ["cpu", *["cuda"] * 4]


@pytest.mark.parametrize(
    ("capabilities", "expected"),
    [
        ({"avx2": True, "avx512_f": True, "avx512_bf16": False, "amx_bf16": False}, "32-true"),
        ({"avx512_bf16": True, "amx_bf16": False}, "bf16-mixed"),
        ({"avx512_bf16": False, "amx_bf16": True}, "bf16-mixed"),
        ({"architecture": "arm64", "bf16": True}, "32-true"),  # nobody has seen that it is fast there
    ],
)
def test_bfloat16_is_taken_where_the_processor_multiplies_it(
    monkeypatch: pytest.MonkeyPatch, capabilities: dict[str, object], expected: str
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)
    assert precision_of("auto", "cpu") == expected
    assert RunSettings(accelerator="cpu").settled().precision == expected
    for asked in ("32-true", "bf16-mixed", "16-mixed"):
        assert precision_of(asked, "cpu") == asked


def test_bfloat16_on_other_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True}, raising=False)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: not including_emulation)
    assert precision_of("auto", "cuda") == "bf16-mixed"
    assert precision_of("auto", "mps") == "32-true"
    monkeypatch.delattr(torch.cpu, "get_capabilities")  # an older PyTorch does not say
    assert not multiplies_bfloat16("cpu")


def test_world_poses_stay_where_they_are_on_a_device_without_float64(monkeypatch: pytest.MonkeyPatch) -> None:
    batch = example_batch(InputSettings(44, 16, VoxelGrid((-4, -4, -1), (4, 4, 2), 2.0)), cameras=1)
    asked = []
    monkeypatch.setattr(torch.Tensor, "to", lambda self, device, **_: asked.append(self.dtype) or self)
    moved = batch.to("mps")
    assert isinstance(moved, Batch)
    assert moved.world_T_ego is batch.world_T_ego
    assert asked
    assert torch.float64 not in asked
