"""How right are the voxels a teacher teaches? Against labels that nothing learns from: a report, never a choice.

    python benchmarks/pseudo_labels.py --model runs/ablation/six-five/seed-0/stages/source-only/model \
        --source data/embedded/six --root data/embedded/five --split val --out results/pseudo-labels/six-five.json

Compares with the truth in the camera mask: the volumes that the frames of each drive vote together, all that is in
pictures and the voxels that are sure; and what is selected of single frames, the model run as the teacher of an
adaptation step runs (each clean sample normalised by itself), with the settings of the laptop recipe, once with and
once without the consistency checks. Precision is of the voxels selected as any class but free, all together; coverage
is the share of the known voxels that is selected.
"""

from __future__ import annotations

import argparse
import copy
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ugocc.adaptation.pseudo_labels import SelectionReport, pseudo_labels, selection_report
from ugocc.adaptation.selection import PseudoLabels
from ugocc.adaptation.teacher import batch_statistics
from ugocc.adaptation.views import evidence_of, views_of
from ugocc.adaptation.visibility import voxels_in_pictures
from ugocc.adaptation.voted import read_voted, vote_drives
from ugocc.adaptation.voting import with_free_counting
from ugocc.data.dataset import FrameDataset
from ugocc.data.source import open_fleet
from ugocc.labels import CLASSES, FREE
from ugocc.models.assemble import OccupancyModel
from ugocc.results import commit, machine, replace_block, versions, write_text
from ugocc.training.adapt_settings import AdaptRecipe
from ugocc.training.checkpoint import load_model, read_card
from ugocc.training.stages import adapt_recipe
from ugocc.training.votes import Fleets, free_of


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True, help="model folder")
    parser.add_argument("--root", type=Path, required=True, help="folder of the labelled fleet to compare with")
    parser.add_argument("--source", type=Path, required=True, help="folder of the fleet whose labels the model knows")
    parser.add_argument("--split", default="val", help="scenes")
    parser.add_argument("--every", type=int, default=4, help="take every n-th frame")
    parser.add_argument("--cache", type=Path, default=Path("data/cache"), help="folder of prepared frames")
    parser.add_argument("--out", type=Path, required=True, help="result file")
    parser.add_argument("--page", type=Path, default=Path("docs/results.md"), help="page whose table is rewritten")
    options = parser.parse_args()
    model, _ = load_model(options.model)
    drives = open_fleet(options.root, options.split)
    data = FrameDataset(drives, model.settings.input, cache=options.cache)
    frames = list(range(0, len(data), options.every))
    recipe = adapt_recipe(model.settings.name, model.settings.size)
    source = FrameDataset(
        open_fleet(options.source, "train"), model.settings.input, cache=options.cache, labelled=False
    )
    free, voted = voted_labels(model, source, data, frames, recipe)
    print(f"votes for free count {free:.2f}")
    ways = voted | selected_labels(model, data, frames, recipe)
    truths = torch.cat([data[i].occupancy for i in frames])
    masks = torch.cat([data[i].camera_visible for i in frames])
    report = {name: numbers_of(selection_report(*found, truths, masks)) for name, found in ways.items()}
    for name, numbers in report.items():
        precision, coverage = numbers["precision_occupied"], numbers["coverage"]
        print(f"{name}: precision of occupied voxels {precision:.3f}, coverage {coverage:.3f}")
    content = {
        "network": f"{model.settings.name}-{model.settings.size}",
        "selection": report,
        "free": round(free, 4),
        "fleet": drives.fleet,
        "split": options.split,
        "frames": len(frames),
        "weights_sha256": read_card(options.model)["weights_sha256"],
        "commit": commit(),
        "versions": versions(),
        "machine": machine(),
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    write_text(options.out, json.dumps(content, indent=1) + "\n")
    block = table(sorted(options.out.parent.glob("*.json")))
    write_text(options.page, replace_block(options.page.read_text(encoding="utf-8"), "report:pseudo-labels", block))


def voted_labels(
    model: OccupancyModel, source: FrameDataset, data: FrameDataset, frames: Sequence[int], recipe: AdaptRecipe
) -> tuple[float, dict[str, PseudoLabels]]:
    """What votes for free count, and labels and weights of some frames, voted on by their drives."""
    drives = FrameDataset(data.source, data.settings, labelled=False)
    grid, tokens = model.settings.input.grid, [data.source.tokens[i] for i in frames]
    with tempfile.TemporaryDirectory() as folder:
        for _ in vote_drives(model, drives, Path(folder), recipe.voting):
            pass
        how = (recipe.voting, recipe.evidence, recipe.choice.statistics_frames)
        free = free_of(copy.deepcopy(model), Fleets(source, drives), Path(folder), *how)
        voted = with_free_counting(read_voted(Path(folder), tokens), free)
    confidence, labels = voted.max(dim=1)
    everything = torch.cat([voxels_in_pictures(views_of(data[i]), grid) for i in frames]).float()
    sure = everything * (confidence >= recipe.pseudo_labels.selection.low)
    label = labels.to(torch.uint8)
    return free, {
        "voted": PseudoLabels(label, everything),
        f"voted, at least {recipe.pseudo_labels.selection.low:g} sure": PseudoLabels(label, sure),
    }


def selected_labels(
    model: OccupancyModel, data: FrameDataset, frames: Sequence[int], recipe: AdaptRecipe
) -> dict[str, PseudoLabels]:
    """Labels and weights of some frames, selected from each alone."""
    found: dict[str, list[PseudoLabels]] = {"with consistency checks": [], "without consistency checks": []}
    for i in frames:
        batch = data[i]
        with torch.no_grad(), batch_statistics(model):
            taught = model(batch)
        depth_logits, bins = taught.depth_distribution()
        evidence = evidence_of(taught.semantics_2d, depth_logits, bins, recipe.evidence)
        for name, believed in zip(found, (evidence, None), strict=True):
            grid = model.settings.input.grid
            found[name].append(pseudo_labels(taught.occupancy, views_of(batch), believed, grid, recipe.pseudo_labels))
    return {
        name: PseudoLabels(torch.cat([one.labels for one in each]), torch.cat([one.weights for one in each]))
        for name, each in found.items()
    }


def numbers_of(found: SelectionReport) -> dict[str, Any]:
    """A selection's numbers for the result file."""
    counts = found.selected[:FREE].double()
    hits = (found.precision[:FREE].nan_to_num() * counts).sum()
    return {
        "precision_occupied": round(float(hits / counts.sum().clamp(min=1)), 4),
        "accuracy": round(found.accuracy, 4),
        "coverage": round(found.coverage, 4),
        "occupied_iou": round(found.occupied_iou, 4),
        "precision": shares(found.precision),
        "recall": shares(found.recall),
    }


def shares(values: Tensor) -> dict[str, float | None]:
    """One number per class; None where there is none."""
    known = {name: float(value) for name, value in zip(CLASSES, values, strict=True)}
    return {name: None if value != value else round(value, 4) for name, value in known.items()}


def table(files: Sequence[Path]) -> str:
    """A Markdown table of result files, one line for each way to select."""
    head = ["file", "network", "fleet", "split", "selection", "precision, not free", "coverage", "occupied IoU"]
    head += CLASSES[:FREE]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * 5 + "--:|" * (len(head) - 5)]
    for file in files:
        content = json.loads(file.read_text(encoding="utf-8"))
        for name, found in content["selection"].items():
            parts = [found["precision_occupied"], found["coverage"], found["occupied_iou"]]
            parts += [found["precision"][c] for c in CLASSES[:FREE]]
            numbers = ["-" if part is None else f"{100 * part:.1f}" for part in parts]
            cells = [file.stem, content["network"], content["fleet"], content["split"], name, *numbers]
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
