"""What the machine can do at all: a large matrix product, a large convolution, a large copy."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F

from ugocc.bench.timing import Timing, measure


@dataclass(frozen=True)
class Ceilings:
    """The best rates of one machine, in one run."""

    matrix_product: float
    """Multiply-adds per second of a float32 matrix product."""
    convolution: float
    """Multiply-adds per second of a float32 3 x 3 convolution, channels last."""
    copy: float
    """Bytes per second read and written by a copy."""
    timings: dict[str, Timing]
    """How they were measured."""

    def floor_ms(self, multiply_adds: float, moved_bytes: float) -> float:
        """Milliseconds below which work cannot come here: its arithmetic, or reading and writing, whichever is longer
        (the roofline model: Williams, Waterman and Patterson 2009)."""
        arithmetic = multiply_adds / max(self.matrix_product, self.convolution)
        return 1000 * max(arithmetic, moved_bytes / self.copy)


@torch.inference_mode()
def measure_ceilings(device: torch.device, size: int = 2048) -> Ceilings:
    """Measure them.

    Args:
        device: of what.
        size: rows and columns of the matrices; the other two are scaled with it.
    """
    a, b = (torch.randn(size, size, device=device) for _ in range(2))
    channels = size // 8
    image = torch.randn(1, channels, 64, 176, device=device).contiguous(memory_format=torch.channels_last)
    kernel = torch.randn(channels, channels, 3, 3, device=device).contiguous(memory_format=torch.channels_last)
    from_, to = torch.zeros(8 * size * size, device=device), torch.zeros(8 * size * size, device=device)
    works = {
        "matrix product": lambda: a @ b,
        "convolution": lambda: F.conv2d(image, kernel, padding=1),
        "copy": lambda: to.copy_(from_),
    }
    timings = measure(works, device, runs=15)
    seconds = {name: timing.median / 1000 for name, timing in timings.items()}
    return Ceilings(
        matrix_product=size**3 / seconds["matrix product"],
        convolution=9 * channels**2 * 64 * 176 / seconds["convolution"],
        copy=2 * 4 * from_.numel() / seconds["copy"],
        timings=timings,
    )
