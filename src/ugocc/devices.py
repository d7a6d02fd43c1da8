"""Where networks run unless a command says otherwise."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch

from ugocc.errors import DataError

Precision = Literal["32-true", "bf16-mixed", "16-mixed"]
"""Lightning's names of the precisions to train in."""


def default_device() -> str:
    """The fastest device that the project has been run on: cuda, or cpu.

    mps, which has no float64, was never tried: whoever wants it names it.
    """
    return "cuda" if torch.cuda.is_available() else "cpu"


def device_of(name: str | None, where: str) -> torch.device:
    """The device that an option names.

    Args:
        name: cpu, cuda, mps, or one of several such as ``cuda:1``; None is :func:`default_device`.
        where: whose option it is, for the error.

    Raises:
        DataError: it is no device of this machine.
    """
    name = name or default_device()
    there = devices_here()
    if name not in there:
        raise DataError(where, "device", name, f"a device of this machine: {', '.join(there)}")
    return torch.device(name)


def devices_here() -> list[str]:
    """Names of the devices of this machine."""
    counts = {"cpu": 1, "cuda": torch.cuda.device_count(), "mps": int(torch.backends.mps.is_available())}
    return [known for kind, n in counts.items() if n for known in (kind, *(f"{kind}:{i}" for i in range(n)))]


def accelerator_of(name: str) -> str:
    """Lightning's name of what a setting asks for; ``auto`` is :func:`default_device`."""
    return default_device() if name == "auto" else name


def device_like(accelerator: str) -> str:
    """The device that Lightning's name of an accelerator means where this machine has it, else the default one."""
    return accelerator if accelerator in devices_here() else default_device()


def precision_of(name: Precision | Literal["auto"], accelerator: str) -> Precision:
    """The precision that a setting asks for.

    ``auto`` is bf16-mixed where the device multiplies bfloat16 by itself, else 32-true: a processor that has to widen
    every number first takes many times as long.

    Args:
        name: ``auto``, or the precision itself.
        accelerator: what it will run on: :func:`accelerator_of` the setting.
    """
    if name != "auto":
        return name
    return "bf16-mixed" if multiplies_bfloat16(accelerator) else "32-true"


def multiplies_bfloat16(accelerator: str) -> bool:
    """Whether a device has arithmetic for bfloat16. False where it cannot be told, and on mps, which was never tried.

    Of processors those count that PyTorch, if it is new enough to say, knows to have AVX512-BF16 or AMX.
    """
    if accelerator == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    capabilities: Mapping[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    return accelerator == "cpu" and any(capabilities.get(name, False) for name in ("avx512_bf16", "amx_bf16"))
