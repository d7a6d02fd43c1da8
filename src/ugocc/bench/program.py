"""The verb ``bench``: what everything costs on this machine, in one run, beside what the machine can do."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Literal

import torch
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from ugocc.bench.ceilings import measure_ceilings
from ugocc.bench.loading import measure_loading
from ugocc.bench.networks import Measured, measure_jobs, network_jobs
from ugocc.bench.operators import measure_operators, measure_scoring
from ugocc.bench.page import bench_page, growth_chart
from ugocc.bench.scaling import with_cameras, with_processes, with_samples
from ugocc.bench.steps import measure_steps
from ugocc.data.source import open_fleet
from ugocc.devices import device_of
from ugocc.errors import DataError
from ugocc.extras import require
from ugocc.models.assemble import MODELS, model_settings
from ugocc.output import check_writable, reporting
from ugocc.results import commit, machine, replace_block, versions, write_text
from ugocc.viz.canvas import write_picture

PARTS: Final = ("networks", "steps", "operators", "scoring", "loading", "growth")
Part = Literal["networks", "steps", "operators", "scoring", "loading", "growth"]


@dataclass(frozen=True)
class BenchSettings:
    """Measurements of speed and memory."""

    models: tuple[str, ...] = ("bevdet-occ", "flashocc", "bevformer-occ", "fb-occ", "ugocc", "ugocc-2d")
    """Networks whose blocks are measured."""
    sizes: tuple[Literal["debug", "laptop", "full"], ...] = ("laptop", "full")
    """Sizes of them."""
    steps_size: Literal["debug", "laptop", "full"] = "laptop"
    """Size of the network whose training steps, operators, evaluation and growth are measured."""
    parts: tuple[Part, ...] = PARTS
    """What is measured."""
    fleet: Path | None = None
    """Folder of a fleet that processes load in parallel; without it that curve is left out."""
    device: str = "cpu"
    """cpu, cuda or mps."""
    matrix: int = 2048
    """Rows and columns of the matrices that the machine's ceiling is measured with; the other two grow with it."""
    runs: int = 20
    """Runs of each piece of work."""
    seconds: float = 30.0
    """No further run of a group begins after so long, once three count."""
    out: Path = Path("runs/bench/benchmark.json")
    """Result file."""
    page: Path | None = None
    """Page whose ``<!-- report:bench -->`` block is written, with a picture in ``images`` beside it."""
    json: bool = False
    """Print the content of the result file instead of tables."""


def run_bench(settings: BenchSettings) -> dict[str, Any]:
    """Measure, print, write. Returns the content of the result file.

    Raises:
        DataError: an unknown network, no such device, or nowhere to write to: before anything is measured.
        MissingPackage: scoring needs scipy.
    """
    with reporting(settings.json) as report:
        content = _measure(settings)
        write_text(settings.out, json.dumps(content, indent=1) + "\n")
        report({**content, "out": settings.out}, f"{bench_page(content)}\nresults: {settings.out}")
        if settings.page is not None:
            write_page(settings.page, content)
    return content


def _measure(settings: BenchSettings) -> dict[str, Any]:
    if "scoring" in settings.parts:
        require("scoring", "adapt")
    if settings.fleet is not None:
        open_fleet(settings.fleet, "train")  # fails now, not when its turn comes
    for name in settings.models:
        if name not in MODELS:
            raise DataError("bench", "models", name, f"names of {', '.join(MODELS)}")
    check_writable(settings.out.parent)
    if settings.page is not None:
        _with_block(settings.page, "")
    device = device_of(settings.device, "bench")
    size, runs, seconds = settings.steps_size, settings.runs, settings.seconds
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, transient=True) as progress:
        task = progress.add_task("ceilings", total=None)

        def about(what: str) -> None:
            progress.update(task, description=what)
            if not sys.stderr.isatty():
                print(f"bench: {what}", file=sys.stderr, flush=True)

        ceilings = measure_ceilings(device, settings.matrix)
        measured: dict[str, Any] = {"ceilings": asdict(ceilings)}
        if "networks" in settings.parts:
            measured["networks"] = {}
            for chosen in settings.sizes:
                for name in settings.models:
                    about(f"{name}, {chosen}")
                    jobs = network_jobs(model_settings(name, chosen), device)
                    found = measure_jobs(jobs, ceilings, device, runs, seconds)
                    measured["networks"][f"{name}-{chosen}"] = {what: _plain(m) for what, m in found.items()}
                    del jobs
        if "operators" in settings.parts:
            about("operators")
            measured["operators"] = _all_plain(measure_operators(size, device, runs, seconds))
        if "scoring" in settings.parts:
            about("scoring")
            measured["scoring"] = {s: _all_plain(measure_scoring(s, device, runs, seconds)) for s in settings.sizes}
        if "steps" in settings.parts:
            about("training steps")
            measured["steps"] = asdict(measure_steps("ugocc", size, device, runs, 4 * seconds))
        if "loading" in settings.parts:
            about("loading")
            measured["loading"] = _all_plain(measure_loading(runs, seconds))
        if "growth" in settings.parts:
            about("growth")
            measured["growth"] = {
                "cameras": [asdict(p) for p in with_cameras("ugocc", size, device, runs, seconds)],
                "samples": [asdict(p) for p in with_samples("ugocc", size, device, runs, seconds)],
                "samples per second by loading processes": {}
                if settings.fleet is None
                else with_processes(settings.fleet),
            }
    return {
        **measured,
        "size": size,
        "device": str(device),
        "threads": torch.get_num_threads(),
        "commit": commit(),
        "versions": versions(),
        "machine": machine(),
    }


def write_page(page: Path, content: Mapping[str, Any]) -> None:
    """Write the tables of a result file into a page, and the picture of growth beside it."""
    text = bench_page(content)
    if "growth" in content:
        picture = write_picture(page.parent / "images" / "growth.png", growth_chart(content))
        text += f"\n![Time and memory with cameras]({picture.relative_to(page.parent).as_posix()})\n"
    write_text(page, _with_block(page, text))


def _with_block(page: Path, block: str) -> str:
    """The page's text with another block of measurements; DataError without the file or its markers."""
    try:
        text = page.read_text(encoding="utf-8")
    except OSError as error:
        raise DataError(page, "page", error.strerror or str(error), "a Markdown file") from error
    return replace_block(text, "report:bench", block, page)


def _plain(measured: Measured) -> dict[str, Any]:
    return {**asdict(measured), "times_the_floor": round(measured.times_the_floor, 2)}


def _all_plain(timings: Mapping[str, Any]) -> dict[str, Any]:
    return {name: asdict(timing) for name, timing in timings.items()}
