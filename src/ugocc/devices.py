"""Where networks run unless a command says otherwise."""

from __future__ import annotations

import torch


def default_device() -> str:
    """The fastest device that the project has been run on: cuda, or cpu.

    mps, which has no float64, was never tried: whoever wants it names it.
    """
    return "cuda" if torch.cuda.is_available() else "cpu"


def accelerator_of(name: str) -> str:
    """Lightning's name of what a setting asks for; ``auto`` is :func:`default_device`."""
    return default_device() if name == "auto" else name
