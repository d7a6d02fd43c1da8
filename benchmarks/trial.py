"""What would a finished run have been with an option changed? The same training once more, and both evaluated.

    python benchmarks/trial.py --run runs/ablation/six-five/seed-2/full --change adversary.weight=0.5 \
        --split val --out results/trials/six-five/adversary-seed-2.json
    python benchmarks/trial.py --run runs/ablation/six-five/seed-0/stages/source-only --dense-depth \
        --split test --out results/dense-depth/six-five-seed-0.json

Takes the recipe of a run of any stage of adaptation, whatever it started from included, changes what ``--change`` says,
trains beside the run (resumable, as every training) and evaluates both models on both fleets. What the fleet classifier
of each got right over the second half of its steps is printed, where there is one. ``--dense-depth`` changes
what source frames are re-rendered from: the depth that the embedded nuScenes fleet was rendered with, in place of
completed lidar.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

import yaml

from ugocc.config import build_settings
from ugocc.data.dataset import FrameDataset
from ugocc.data.depth_maps import depth_files
from ugocc.data.source import open_fleet
from ugocc.errors import DataError
from ugocc.evaluation.evaluate import evaluate
from ugocc.results import markdown_table, write_results
from ugocc.training.adapt_settings import AdaptRecipe
from ugocc.training.checkpoint import load_model, read_card
from ugocc.training.progress import progress_callback
from ugocc.training.stages import train_adapt
from ugocc.viz.report.curves import read_curves


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, required=True, help="folder of a finished run")
    parser.add_argument("--change", nargs="*", default=[], metavar="OPTION=VALUE", help="options that differ")
    parser.add_argument("--dense-depth", action="store_true", help="re-render from dense depth in place of lidar")
    parser.add_argument("--fleets", type=Path, default=Path("data/embedded"), help="folder of the fleets")
    parser.add_argument("--split", default="val", help="scenes to evaluate on: val while choosing, test for a report")
    parser.add_argument("--out", type=Path, required=True, help="result file")
    options = parser.parse_args()
    if not (options.change or options.dense_depth):
        parser.error("--change or --dense-depth: one of them says what differs")
    card = read_card(options.run / "model")
    recipe = card["recipe"]
    changes = [(option, value) for option, _, value in (change.partition("=") for change in options.change)]
    label = ", ".join([*options.change, *(["dense depth"] if options.dense_depth else [])])
    if options.dense_depth:
        folder = options.run.with_name(f"{options.run.name}-depth-maps")
        link_depth(Path(recipe["source"]["root"]), recipe["source"]["split"], folder)
        changes.append(("rig_transfer.depth_maps", str(folder)))
    name = "-".join([options.run.name, *label.replace(",", "").split()])
    for option, value in [*changes, ("run.folder", str(options.run.with_name(name)))]:
        set_option(recipe, option, yaml.safe_load(value))
    changed = train_adapt(build_settings(AdaptRecipe, recipe, options.run / "model"))
    rows = []
    for what, model in {"as it was": options.run / "model", label: changed}.items():
        for fleet in (card["target_fleet"], card["train_fleet"]):
            network, about = load_model(model, fleet)
            frames = open_fleet(options.fleets / fleet, options.split, fleet)
            data = FrameDataset(frames, network.settings.input, cache=Path(recipe["run"]["cache"]))
            progress = progress_callback(f"{what} on {fleet}")
            row = evaluate(network, data, about, split=options.split, callbacks=[progress])
            rows.append(replace(row, variant=f"{row.variant}, {what}"))
    write_results(options.out, rows, recipe)
    print(f"\n{markdown_table(rows)}")
    for what, run in {"as it was": options.run, label: changed.parent}.items():
        if curve := read_curves(run).get("domain_accuracy"):
            print(f"{what}: fleets told apart in {fmean(curve.values[len(curve.values) // 2 :]):.0%} of the samples")
    print(options.out)


def set_option(recipe: dict[str, Any], option: str, value: object) -> None:
    """Set an option by its dotted name.

    Raises:
        DataError: there is no such option.
    """
    *sections, last = option.split(".")
    inner = recipe
    for section in sections:
        inner = inner.get(section) or {}
    if last not in inner:
        raise DataError("--change", option, "no such option", "an option of ugocc adapt, as rig_transfer.samples")
    inner[last] = value


def link_depth(root: Path, split: str, folder: Path) -> None:
    """Give the depth maps that lie beside the pictures of an embedded nuScenes fleet the names that are looked for."""
    for frame in open_fleet(root, split):
        for camera, path in zip(frame.cameras, depth_files(folder, frame), strict=True):
            if not path.exists():
                path.parent.mkdir(parents=True, exist_ok=True)
                path.symlink_to((root / "depth" / camera.name / f"{Path(camera.source).stem}.png").resolve())


if __name__ == "__main__":
    main()
