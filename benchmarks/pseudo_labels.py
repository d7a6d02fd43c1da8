"""How right are the voxels a teacher teaches? Against labels that nothing learns from: a report, never a choice.

    python benchmarks/pseudo_labels.py --model runs/ablation/six-five/seed-0/stages/source-only/model \
        --root data/embedded/five --split val --out results/pseudo-labels/six-five.json

Runs a model as the teacher of an adaptation step runs (each clean sample normalised by itself), selects pseudo-labels
with the settings of the laptop recipe, and compares them with the truth in the camera mask, once with and once without
the consistency checks. Precision is of the voxels selected as any class but free, all together; coverage is the share
of the known voxels that is selected.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ugocc.adaptation.pseudo_labels import pseudo_labels, selection_report
from ugocc.adaptation.teacher import batch_statistics
from ugocc.adaptation.views import evidence_of, views_of
from ugocc.data.dataset import FrameDataset
from ugocc.data.source import open_fleet
from ugocc.labels import CLASSES, FREE
from ugocc.results import commit, machine, replace_block, versions, write_text
from ugocc.training.checkpoint import load_model, read_card
from ugocc.training.stages import adapt_recipe


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True, help="model folder")
    parser.add_argument("--root", type=Path, required=True, help="folder of the labelled fleet to compare with")
    parser.add_argument("--split", default="val", help="scenes")
    parser.add_argument("--every", type=int, default=4, help="take every n-th frame")
    parser.add_argument("--out", type=Path, required=True, help="result file")
    parser.add_argument("--page", type=Path, default=Path("docs/results.md"), help="page whose table is rewritten")
    options = parser.parse_args()
    model, _ = load_model(options.model)
    frames = open_fleet(options.root, options.split, None, options.every)
    data = FrameDataset(frames, model.settings.input)
    recipe = adapt_recipe(model.settings.name, model.settings.size)
    grid = model.settings.input.grid
    report: dict[str, Any] = {}
    for checks in (True, False):
        chosen, weights, truths, masks = [], [], [], []
        for i in range(len(data)):
            batch = data[i]
            with torch.no_grad(), batch_statistics(model):
                taught = model(batch)
            depth_logits, bins = taught.depth_distribution()
            evidence = evidence_of(taught.semantics_2d, depth_logits, bins, recipe.evidence)
            found = pseudo_labels(
                taught.occupancy, views_of(batch), evidence if checks else None, grid, recipe.pseudo_labels
            )
            chosen.append(found.labels)
            weights.append(found.weights)
            truths.append(batch.occupancy)
            masks.append(batch.camera_visible)
        found_report = selection_report(torch.cat(chosen), torch.cat(weights), torch.cat(truths), torch.cat(masks))
        counts = found_report.selected[:FREE].double()
        hits = (found_report.precision[:FREE].nan_to_num() * counts).sum()
        report["with consistency checks" if checks else "without consistency checks"] = {
            "precision_occupied": round(float(hits / counts.sum().clamp(min=1)), 4),
            "accuracy": round(found_report.accuracy, 4),
            "coverage": round(found_report.coverage, 4),
            "occupied_iou": round(found_report.occupied_iou, 4),
            "precision": shares(found_report.precision),
            "recall": shares(found_report.recall),
        }
    for name, numbers in report.items():
        precision, coverage = numbers["precision_occupied"], numbers["coverage"]
        print(f"{name}: precision of occupied voxels {precision:.3f}, coverage {coverage:.3f}")
    content = {
        "selection": report,
        "fleet": frames.fleet,
        "split": options.split,
        "frames": len(data),
        "weights_sha256": read_card(options.model)["weights_sha256"],
        "commit": commit(),
        "versions": versions(),
        "machine": machine(),
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    write_text(options.out, json.dumps(content, indent=1) + "\n")
    block = table(sorted(options.out.parent.glob("*.json")))
    write_text(options.page, replace_block(options.page.read_text(encoding="utf-8"), "report:pseudo-labels", block))


def shares(values: Tensor) -> dict[str, float | None]:
    """One number per class; None where there is none."""
    known = {name: float(value) for name, value in zip(CLASSES, values, strict=True)}
    return {name: None if value != value else round(value, 4) for name, value in known.items()}


def table(files: Sequence[Path]) -> str:
    """A Markdown table of result files, one line for each way to select."""
    head = ["file", "fleet", "split", "selection", "precision, not free", "coverage", "occupied IoU", *CLASSES[:FREE]]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * 4 + "--:|" * (len(head) - 4)]
    for file in files:
        content = json.loads(file.read_text(encoding="utf-8"))
        for name, found in content["selection"].items():
            parts = [found["precision_occupied"], found["coverage"], found["occupied_iou"]]
            parts += [found["precision"][c] for c in CLASSES[:FREE]]
            numbers = ["-" if part is None else f"{100 * part:.1f}" for part in parts]
            cells = [file.stem, content["fleet"], content["split"], name, *numbers]
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
