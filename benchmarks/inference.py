"""How near the machine's ceiling are exported graphs, and what do bfloat16 and int8 cost?

    python benchmarks/inference.py --fleet data/embedded/six --model runs/adapt/model --target data/embedded/five

Full-size networks (6 pictures of 256 x 704, ResNet-50, 200 x 200 x 16 voxels, random weights, the rig of ``--fleet``)
run in ONNX Runtime and OpenVINO in float32, bfloat16 and int8, taking turns. Beside each stands its floor: the
multiply-adds of its own convolutions and matrix products at the machine's float32 ceiling, measured in the same run.
A trained model is then evaluated as itself and as each graph: what the smaller numbers cost in mIoU.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from ugocc.bench.ceilings import measure_ceilings
from ugocc.bench.timing import Work, measure
from ugocc.data.dataset import FrameDataset
from ugocc.data.source import open_fleet
from ugocc.evaluation.evaluate import evaluate
from ugocc.models.assemble import build_model, model_settings
from ugocc.models.exportable import ExportableNetwork, rig_tensors
from ugocc.results import commit, machine, replace_block, versions, write_text
from ugocc.serving.export import ExportSettings, export_model
from ugocc.serving.exported import ExportedModel, GraphPrecision, Runtime, open_model
from ugocc.training.checkpoint import save_model

WAYS: Final[tuple[tuple[Runtime, str, GraphPrecision], ...]] = (
    ("onnxruntime", "float32", "float32"),
    ("openvino", "float32", "float32"),
    ("openvino", "float32", "bfloat16"),
    ("onnxruntime", "int8", "float32"),
    ("openvino", "int8", "float32"),
)
"""Runtime, precision of the graph, and what the runtime computes in where the graph says float32."""


def label(way: tuple[Runtime, str, GraphPrecision]) -> str:
    runtime, graph, precision = way
    return f"{runtime}, {graph if graph == 'int8' else precision}"


def speed(name: str, fleet: Path, frames: int, runs: int, folder: Path) -> dict[str, Any]:
    """Milliseconds of a full-size network in every way, how often it agrees with eager PyTorch, its multiply-adds."""
    torch.manual_seed(0)
    model = build_model(model_settings(name, "full")).eval()
    with torch.no_grad():  # else every voxel is free, the most frequent class, whatever the pictures
        model.branch.head.classify.bias.zero_()
    checkpoint = save_model(folder / name, model, {"variant": "random", "train_fleet": "none"})
    graphs = {}
    for precision in ("float32", "int8"):
        out = folder / f"{name}-{precision}"
        options: dict[str, Any] = {"calibration": "fixed", "precision": precision, "root": fleet, "frames": frames}
        graphs[precision] = export_model(ExportSettings(checkpoint, out, **options))
    sample = FrameDataset(open_fleet(fleet, "train"), model.settings.input, labelled=False)[0]
    network = ExportableNetwork(model, rig_tensors(model, sample, None)).requires_grad_(False)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        expected = network(sample.images)[0].numpy()
    works: dict[str, Work] = {}
    agree = {}
    for way in WAYS:
        graph = ExportedModel(graphs[way[1]], way[0], way[2])
        feed = {"images": sample.images.numpy()}
        found = graph.run(feed)[0]
        difference = float(np.abs(found - expected).max())
        agree[label(way)] = {"argmax": float((found.argmax(1) == expected.argmax(1)).mean()), "logits": difference}
        works[label(way)] = lambda graph=graph, feed=feed: graph.run(feed)
    works["PyTorch, float32"] = lambda: _eager(network, sample.images)
    timings = measure(works, torch.device("cpu"), runs=runs, seconds=120)
    return {
        "multiply_adds": counter.get_total_flops() / 2,
        "milliseconds": {way: asdict(timing) for way, timing in timings.items()},
        "agreement": agree,
    }


def _eager(network: ExportableNetwork, images: torch.Tensor) -> object:
    with torch.inference_mode():
        return network(images)


def accuracy(model: Path, target: Path, split: str, every: int, frames: int, folder: Path) -> dict[str, float]:
    """mIoU of a trained model as itself and as every graph."""
    source = open_fleet(target, split, None, every)
    found = {}
    ways: list[tuple[str, Path, Runtime, GraphPrecision]] = [("PyTorch, float32", model, "onnxruntime", "float32")]
    for precision in ("float32", "int8"):
        out = folder / f"trained-{precision}"
        export_model(ExportSettings(model, out, precision=precision, root=target, frames=frames))  # type: ignore[arg-type]
        ways += [(label(way), out, way[0], way[2]) for way in WAYS if way[1] == precision]
    for name, checkpoint, runtime, precision in ways:
        network, about = open_model(checkpoint, source.fleet, runtime, precision)
        data = FrameDataset(source, network.settings.input)
        found[name] = round(evaluate(network, data, about, split=split, metrics=("map_ten_class",)).miou, 3)
    return found


def table(content: dict[str, Any]) -> str:
    """Markdown: milliseconds, times the floor, times as fast as the same runtime in float32, agreement; then mIoU."""
    lines = ["| network | in | ms | x floor | beside float32 | argmax as in PyTorch | logits off by |"]
    lines.append("|---|---|--:|--:|--:|--:|--:|")
    for name, found in content["networks"].items():
        for way, timing in found["milliseconds"].items():
            base = found["milliseconds"][f"{way.split(',')[0]}, float32"]["median"]
            agree = found["agreement"].get(way)
            cells = [f"{timing['median']:.0f} ({timing['low']:.0f}, {timing['high']:.0f})"]
            cells += [f"{timing['median'] / found['floor_ms']:.2f}", f"{base / timing['median']:.2f}"]
            cells += ["", ""] if agree is None else [f"{100 * agree['argmax']:.3f} %", f"{agree['logits']:.1e}"]
            lines.append("| " + " | ".join([f"{name}-full", way, *cells]) + " |")
    if content["miou"]:
        lines += ["", "| trained laptop model in | mIoU |", "|---|--:|"]
        lines += [f"| {way} | {miou:.2f} |" for way, miou in content["miou"].items()]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fleet", type=Path, default=Path("data/embedded/six"), help="fleet of the full-size networks")
    parser.add_argument("--networks", nargs="*", default=["flashocc", "ugocc-2d"], help="which networks")
    parser.add_argument("--model", type=Path, help="trained model folder, for mIoU; without it only speed is measured")
    parser.add_argument("--target", type=Path, default=Path("data/embedded/five"), help="labelled fleet for mIoU")
    parser.add_argument("--split", default="test", help="scenes of it")
    parser.add_argument("--every", type=int, default=2, help="take every n-th frame of them")
    parser.add_argument("--frames", type=int, default=16, help="frames that ranges of int8 are taken from")
    parser.add_argument("--runs", type=int, default=15, help="runs of each graph")
    parser.add_argument("--out", type=Path, default=Path("results/inference/benchmark.json"), help="result file")
    parser.add_argument("--page", type=Path, default=Path("docs/export.md"), help="page with a report:inference block")
    options = parser.parse_args()
    ceilings = measure_ceilings(torch.device("cpu"))
    networks = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for network in options.networks:
            found = speed(network, options.fleet, options.frames, options.runs, folder)
            networks[network] = {**found, "floor_ms": ceilings.floor_ms(found["multiply_adds"], 0.0)}
        trained = options.model is not None
        miou = accuracy(options.model, options.target, options.split, options.every, 32, folder) if trained else {}
    content = {
        "ceilings": asdict(ceilings),
        "networks": networks,
        "miou": miou,
        "frames of mIoU": {"fleet": options.target.name, "split": options.split, "every": options.every},
        "threads": torch.get_num_threads(),
        "commit": commit(),
        "versions": versions(),
        "machine": machine(),
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    write_text(options.out, json.dumps(content, indent=1) + "\n")
    block = table(content)
    print(block)
    text = options.page.read_text(encoding="utf-8")
    write_text(options.page, replace_block(text, "report:inference", block))


if __name__ == "__main__":
    main()
