"""Does the family compute on an accelerator what it computes on a CPU, and what does it take there?

    python benchmarks/gpu.py --out results/gpu/h200.json --page docs/gpu.md

Needs no data: example batches of six cameras. Predictions and gradients of every network stand beside those of the CPU
in float32, and gradients beside those of the same pass done again; then come milliseconds and peak memory of
predictions and of whole training steps at full size. Medians of runs in one process; memory is what PyTorch's allocator
held at most, weights and optimiser included.
"""

from __future__ import annotations

import argparse
import gc
import json
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from ugocc.adaptation.voted import write_voted
from ugocc.bench.steps import adaptation_step, example_pair, quiet, source_step
from ugocc.bench.timing import Timing, measure
from ugocc.models.assemble import MODELS, OccupancyModel, build_model, model_settings
from ugocc.models.example import example_batch
from ugocc.models.settings import ModelSettings
from ugocc.results import commit, machine, replace_block, versions, write_text
from ugocc.training.source import source_recipe, supervised_losses
from ugocc.training.stages import adapt_recipe

PRECISIONS: Final = {"float32": None, "bfloat16": torch.bfloat16, "float16": torch.float16}


def agreement(name: str, size: str, device: torch.device) -> dict[str, float]:
    """How far the device is from the CPU in float32: logits, classes, gradients; and from itself, done twice.

    Distances are norms of differences beside the norm of what the CPU has. Convolutions and matrix products are
    float32 throughout, without TensorFloat-32.
    """
    torch.manual_seed(0)
    model = build_model(model_settings(name, size)).eval()
    with torch.no_grad():  # else every voxel is free, the most frequent class, whatever the pictures
        model.branch.head.classify.bias.zero_()
    with without_tf32():
        expected, gradients = _forward_backward(model, torch.device("cpu"))
        found, of_device = _forward_backward(model, device)
        _, again = _forward_backward(model, device)
    return {
        "logits": distance(found, expected),
        "argmax": float((found.argmax(1) == expected.argmax(1)).double().mean()),
        "gradients": distance(of_device, gradients),
        "gradients, done twice": distance(again, of_device),
    }


def _forward_backward(model: OccupancyModel, device: torch.device) -> tuple[Tensor, Tensor]:
    recipe = source_recipe(model.settings.name, model.settings.size)
    model.to(device).zero_grad(set_to_none=True)
    batch = example_batch(model.settings.input, seed=1).to(device)
    prediction = model(batch)
    losses = (recipe.occupancy_loss, recipe.depth_loss, recipe.semantic_loss)
    terms = supervised_losses(prediction, batch, *losses, model.settings.input.grid)
    torch.stack(list(terms.values())).sum().backward()
    gradients = torch.cat([p.grad.flatten().cpu() for p in model.parameters() if p.grad is not None])
    return prediction.occupancy.detach().float().cpu(), gradients


def distance(found: Tensor, expected: Tensor) -> float:
    """Norm of the difference beside the norm of what was expected."""
    return float((found.double() - expected.double()).norm() / expected.double().norm())


@contextmanager
def without_tf32() -> Iterator[None]:
    """Float32 arithmetic in every bit."""
    before = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = before


def predictions(name: str, size: str, device: torch.device, runs: int, seconds: float) -> dict[str, Any]:
    """Milliseconds and memory of a prediction in every precision, the rig's geometry remembered."""
    model = build_model(model_settings(name, size)).eval().to(device)
    batch = example_batch(model.settings.input).to(device)

    def predict(dtype: torch.dtype | None) -> object:
        with torch.inference_mode(), torch.autocast(device.type, dtype or torch.bfloat16, enabled=dtype is not None):
            return model(batch).occupancy.argmax(1)

    return weigh({p: lambda dtype=dtype: predict(dtype) for p, dtype in PRECISIONS.items()}, device, runs, seconds)


def steps(size: str, device: torch.device, runs: int, seconds: float) -> Iterator[tuple[str, dict[str, Any]]]:
    """Milliseconds and memory of training steps: plain training, and adaptation."""
    for name, samples in (("flashocc", 4), ("bevformer-occ", 2), ("ugocc", 2)):
        for recompute in (False, True):
            recipe = source_recipe(name, size)
            recipe = replace(recipe, model=untrained(recipe.model), run=replace(recipe.run, recompute=recompute))
            batch = example_batch(recipe.model.input, samples=samples).to(device)
            what = f"{name}, source-only, {samples} samples" + (", recompute" if recompute else "")
            work = source_step(recipe, batch, device, torch.bfloat16)
            yield from weigh({what: work}, device, runs, seconds).items()
            del work, batch
    for name in ("ugocc", "flashocc"):
        recipe = adapt_recipe(name, size)
        with tempfile.TemporaryDirectory() as folder:
            pair = example_pair(recipe.model.input, device)
            volume = torch.rand(10, *recipe.model.input.grid.shape).softmax(0)
            write_voted(Path(folder), pair.target.now.tokens[0], volume)
            work = adaptation_step(recipe, pair, device, torch.bfloat16, Path(folder))
            yield from weigh({f"{name}, adaptation, 1 + 1 samples": work}, device, runs, seconds).items()
            del work, pair


def untrained(settings: ModelSettings) -> ModelSettings:
    """The same network without fetching weights of its backbone."""
    return replace(settings, image_encoder=replace(settings.image_encoder, pretrained=False))


def weigh(works: Mapping[str, Callable[[], object]], device: torch.device, runs: int, seconds: float) -> dict[str, Any]:
    """Milliseconds of each, and the most memory while it ran."""
    memory = {}
    for name, work in works.items():
        gc.collect()
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        work()
        memory[name] = round(torch.cuda.max_memory_allocated(device) / 2**20, 1) if device.type == "cuda" else 0.0
    timings: dict[str, Timing] = measure(works, device, runs=runs, seconds=seconds)
    return {name: {**asdict(timings[name]), "memory_mib": memory[name]} for name in works}


def agreement_table(content: Mapping[str, Any]) -> str:
    """Markdown: distances between the device and the CPU."""
    lines = ["| network | classes as on the CPU | logits off by | gradients off by | done twice, differ by |"]
    lines.append("|---|--:|--:|--:|--:|")
    for name, found in content["agreement"].items():
        cells = [f"{100 * found['argmax']:.3f} %"]
        cells += [f"{found[key]:.1e}" for key in ("logits", "gradients", "gradients, done twice")]
        lines.append("| " + " | ".join([f"{name}-{content['compared']}", *cells]) + " |")
    return "\n".join(lines)


def speed_table(content: Mapping[str, Any]) -> str:
    """Markdown: milliseconds and memory of predictions."""
    lines = ["| network | " + " | ".join(f"{p}, ms | MiB" for p in PRECISIONS) + " |"]
    lines.append("|---|" + "--:|--:|" * len(PRECISIONS))
    for name, found in content["predictions"].items():
        cells = [f"{cost_of(found[p])} | {found[p]['memory_mib']:.0f}" for p in PRECISIONS]
        lines.append("| " + " | ".join([f"{name}-{content['size']}", *cells]) + " |")
    return "\n".join(lines)


def steps_table(content: Mapping[str, Any]) -> str:
    """Markdown: milliseconds and memory of training steps."""
    lines = ["| step, in bfloat16 | ms | GiB |", "|---|--:|--:|"]
    lines += [f"| {what} | {cost_of(t)} | {t['memory_mib'] / 1024:.1f} |" for what, t in content["steps"].items()]
    return "\n".join(lines)


def cost_of(timing: Mapping[str, float]) -> str:
    """Median and spread."""
    return f"{timing['median']:.1f} ({timing['low']:.1f}, {timing['high']:.1f})"


def write_page(page: Path, content: Mapping[str, Any]) -> None:
    """Write the tables into the page's blocks."""
    names = ", ".join(content["machine"]["accelerators"]) or content["machine"]["processor"]
    changed = ", changed" if content["commit"].endswith("-dirty") else ""
    where = f"{names}, PyTorch {content['versions']['torch']}, commit {content['commit'][:7]}{changed}."
    text = page.read_text(encoding="utf-8")
    tables = {"agreement": agreement_table, "predictions": speed_table, "steps": steps_table}
    for block, table in tables.items():
        text = replace_block(text, f"gpu:{block}", f"{table(content)}\n\n*{where}*\n")
    write_text(page, text)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda", help="cuda, or cpu to try the program")
    parser.add_argument("--size", default="full", choices=("debug", "laptop", "full"), help="size of the networks")
    parser.add_argument("--compared", default="laptop", choices=("debug", "laptop", "full"), help="with the CPU")
    parser.add_argument("--models", nargs="*", default=list(MODELS), help="networks")
    parser.add_argument("--runs", type=int, default=20, help="runs of each piece of work")
    parser.add_argument("--seconds", type=float, default=4.0, help="no further run of a group begins after so long")
    parser.add_argument("--out", type=Path, default=Path("runs/bench/gpu.json"), help="result file")
    parser.add_argument("--page", type=Path, help="page whose blocks are written")
    options = parser.parse_args()
    device = torch.device(options.device)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    content: dict[str, Any] = {"agreement": {}, "predictions": {}, "steps": {}}
    content |= {"size": options.size, "compared": options.compared, "device": str(device)}
    content |= {"commit": commit(), "versions": versions(), "machine": machine()}
    for name in options.models:
        content["agreement"][name] = agreement(name, options.compared, device)
        print(name, content["agreement"][name], flush=True)
        content["predictions"][name] = predictions(name, options.size, device, options.runs, options.seconds)
        print(name, {k: (v["median"], v["memory_mib"]) for k, v in content["predictions"][name].items()}, flush=True)
        write_text(options.out, json.dumps(content, indent=1) + "\n")
    with quiet():
        for what, cost in steps(options.size, device, options.runs, options.seconds):
            content["steps"][what] = cost
            print(what, cost, flush=True)
            write_text(options.out, json.dumps(content, indent=1) + "\n")
    print(agreement_table(content), speed_table(content), steps_table(content), sep="\n\n")
    if options.page is not None:
        write_page(options.page, content)


if __name__ == "__main__":
    main()
