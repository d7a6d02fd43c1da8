"""How fast is the lift, beside the frustum-cumsum formulation of lift-splat-shoot in plain PyTorch?

    python benchmarks/lift.py

Full size: 82 depth bins, 6 cameras of 16 x 44 features, 80 channels, into 100 x 100 x 8 cells, geometry made
beforehand for both. Forms take turns in one process, medians are compared; then each runs in a process of its own, for
its peak of memory. ``error`` is the largest difference from float64, relative to the largest value.
Nothing is done to the allocator. Writes a result file.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, Final

import torch
from torch import Tensor

from ugocc.models.assemble import model_settings
from ugocc.models.cameras import real_cameras
from ugocc.models.depth_net import bin_centres
from ugocc.models.example import example_batch
from ugocc.models.lift import LiftGeometry, lift_geometry, splat
from ugocc.results import commit, machine, replace_block, versions, write_text

SHAPE: Final = (1, 100, 100, 8)
FEATURES: Final = (16, 44)
CAMERAS: Final = 6
CHANNELS: Final = 80
WAYS: Final = ("forward", "forward and backward")
Form = Callable[[Tensor, Tensor], Tensor]


class _SumRuns(torch.autograd.Function):
    """Sums of runs of rows, by differences of their cumulative sum; backward, every row of a run gets its gradient."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, last: Tensor, run: Tensor) -> Tensor:
        ctx.save_for_backward(run)
        sums = rows.cumsum(0)[last]
        return torch.cat([sums[:1], sums[1:] - sums[:-1]])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        return gradient[ctx.saved_tensors[0]], None, None


@dataclass(frozen=True)
class Runs:
    """What the cumulative sum needs to know of a geometry."""

    kept: Tensor
    """(K,) frustum points inside."""
    order: Tensor
    """(K,) their order by cell."""
    last: Tensor
    """(R,) last point of each run of points in one cell."""
    run: Tensor
    """(K,) run of each point."""
    cells: Tensor
    """(R,) cell of each run."""
    shape: tuple[int, int, int, int]
    """B, X, Y, Z."""


def runs_of(geometry: LiftGeometry) -> Runs:
    """From the order of points by cell."""
    points, counts = geometry.by_cell, geometry.by_cell.bags.diff()
    kept, place = points.depths.sort()
    cells = counts.nonzero().squeeze(1)
    run = torch.repeat_interleave(torch.arange(len(cells)), counts[cells])
    return Runs(kept, place.argsort(), points.bags[1:][cells] - 1, run, cells, geometry.shape)


def cumsum_splat(context: Tensor, depth: Tensor, runs: Runs) -> Tensor:
    """The same volume from depth x context of every frustum point (Philion and Fidler 2020, section 4.2)."""
    frustum = depth[:, :, None] * context[:, None]  # (M, D, C, h, w)
    rows = frustum.permute(0, 1, 3, 4, 2).reshape(-1, context.shape[1])
    sums = _SumRuns.apply(rows[runs.kept][runs.order], runs.last, runs.run)
    volume = rows.new_zeros(math.prod(runs.shape), context.shape[1]).index_copy(0, runs.cells, sums)
    return volume.view(*runs.shape, -1).permute(0, 4, 1, 2, 3)


FORMS: Final = ("cumsum", "ours")


def form_of(name: str, geometry: LiftGeometry) -> Form:
    """One of the forms, with all it can know beforehand."""
    if name == "ours":
        return partial(splat, geometry=geometry)
    return partial(cumsum_splat, runs=runs_of(geometry))


def example() -> tuple[Tensor, Tensor, LiftGeometry]:
    """Context, depth probabilities and geometry of an evenly spaced rig."""
    settings = model_settings("fb-occ", "full")
    assert settings.depth_net is not None
    centres = bin_centres(settings.depth_net.bins)
    cameras = real_cameras(example_batch(settings.input, CAMERAS))
    torch.manual_seed(0)
    context = torch.randn(CAMERAS, CHANNELS, *FEATURES, requires_grad=True)
    depth = torch.randn(CAMERAS, len(centres), *FEATURES).softmax(1).requires_grad_()
    bins = centres.expand(CAMERAS, -1)
    return context, depth, lift_geometry(cameras, bins, FEATURES, settings.input.grid, SHAPE)


def gradient() -> Tensor:
    """Of the volume, in its own memory layout."""
    return torch.randn(*SHAPE, CHANNELS).permute(0, 4, 1, 2, 3)


def run(form: Form, backward: bool, leaves: tuple[Tensor, Tensor], wanted: Tensor) -> None:
    """Once, forward or forward and backward."""
    with torch.set_grad_enabled(backward):
        volume = form(*leaves)
        if backward:
            torch.autograd.grad(volume, leaves, wanted)


def seconds(repeats: int) -> dict[str, dict[str, float]]:
    """Median seconds of every form."""
    context, depth, geometry = example()
    wanted = gradient()
    forms = {name: form_of(name, geometry) for name in FORMS}
    taken: dict[tuple[str, str], list[float]] = {}
    for repeat in range(repeats + 2):
        for name, form in forms.items():
            for way in WAYS:
                start = time.perf_counter()
                run(form, way != "forward", (context, depth), wanted)
                if repeat > 1:
                    taken.setdefault((name, way), []).append(time.perf_counter() - start)
    return {name: {way: median(taken[name, way]) for way in WAYS} for name in FORMS}


def errors(name: str) -> dict[str, float]:
    """Largest difference of volume and gradients from those of float64, relative to the largest value."""
    context, depth, geometry = example()
    wanted, form = gradient(), form_of(name, geometry)

    def computed(dtype: torch.dtype) -> list[Tensor]:
        leaves = [t.detach().to(dtype).requires_grad_() for t in (context, depth)]
        volume = form(*leaves)
        return [volume.detach(), *torch.autograd.grad(volume, leaves, wanted.to(dtype))]

    pairs = zip(("volume", "context", "depth"), computed(torch.float32), computed(torch.float64), strict=True)
    return {what: float((single.double() - double).abs().max() / double.abs().max()) for what, single, double in pairs}


def peak(name: str, way: str) -> float:
    """MB by which one run raises the peak of this process's memory (Linux)."""
    context, depth, geometry = example()
    wanted, form = gradient(), form_of(name, geometry)
    narrow = context[:, :2].detach().requires_grad_()
    run(form, way != "forward", (narrow, depth), wanted[:, :2])  # loads what libraries load at first use
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    before = _status("VmRSS")
    run(form, way != "forward", (context, depth), wanted)
    return _status("VmHWM") - before


def _status(key: str) -> float:
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return int(next(line for line in lines if line.startswith(key)).split()[1]) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=30, help="runs of each form")
    parser.add_argument("--out", type=Path, default=Path("results/lift/benchmark.json"), help="result file")
    parser.add_argument("--page", type=Path, default=Path("docs/speed.md"), help="page with a report:lift block")
    parser.add_argument("--peak", nargs=2, metavar=("FORM", "WAY"), help="print the peak of one form and stop")
    options = parser.parse_args()
    if options.peak:
        print(peak(*options.peak))
        return
    taken = seconds(options.repeats)
    content: dict[str, Any] = {"seconds": taken, "error": {form: errors(form) for form in FORMS}}
    content["times as fast"] = {way: taken["cumsum"][way] / taken["ours"][way] for way in WAYS}
    if Path("/proc/self/clear_refs").exists():
        content["peak mb"] = {form: {way: _other(form, way) for way in WAYS} for form in FORMS}
    content |= {"threads": torch.get_num_threads(), "commit": commit(), "versions": versions(), "machine": machine()}
    options.out.parent.mkdir(parents=True, exist_ok=True)
    write_text(options.out, json.dumps(content, indent=1) + "\n")
    block = table(content)
    print(block)
    text = options.page.read_text(encoding="utf-8")
    write_text(options.page, replace_block(text, "report:lift", block))


def table(content: dict[str, Any]) -> str:
    """Markdown: both forms, and how many times better ours is."""
    lines = ["| | cumulative sum | ours | times |", "|---|--:|--:|--:|"]
    for way in WAYS:
        theirs, ours = (1000 * content["seconds"][form][way] for form in FORMS)
        lines.append(f"| {way}, ms | {theirs:.1f} | {ours:.1f} | {theirs / ours:.1f} |")
    for way in WAYS if "peak mb" in content else ():
        theirs, ours = (content["peak mb"][form][way] for form in FORMS)
        lines.append(
            f"| {way}, extra peak of memory, MB | {theirs:.0f} | {ours:.0f} | {theirs / max(ours, 1e-3):.1f} |"
        )
    for what in ("volume", "context", "depth"):
        theirs, ours = (content["error"][form][what] for form in FORMS)
        kind = "error of the volume" if what == "volume" else f"error of the gradient of {what}"
        lines.append(f"| {kind} | {theirs:.1e} | {ours:.1e} | |")
    return "\n".join(lines) + "\n"


def _other(form: str, way: str) -> float:
    command = [sys.executable, __file__, "--peak", form, way]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


if __name__ == "__main__":
    main()
