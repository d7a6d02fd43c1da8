"""Is rig transfer from completed lidar worth what it is from true dense depth?

    python benchmarks/dense_depth.py --run runs/ablation/six-five/seed-0/stages/source-only --fleets data/embedded \
        --split test --out results/dense-depth/six-five-seed-0.json

Takes a finished run of the first stage, in which source frames are re-rendered through completed lidar, trains the same
once more with the dense depth that the embedded nuScenes fleet was rendered with, and evaluates both on both fleets.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from ugocc.config import build_settings
from ugocc.data.dataset import FrameDataset
from ugocc.data.depth_maps import depth_files
from ugocc.data.source import open_fleet
from ugocc.evaluation.evaluate import evaluate
from ugocc.results import markdown_table, write_results
from ugocc.training.adapt_settings import AdaptRecipe
from ugocc.training.checkpoint import load_model, read_card
from ugocc.training.progress import progress_callback
from ugocc.training.stages import train_adapt


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, required=True, help="finished run of the first stage")
    parser.add_argument("--fleets", type=Path, default=Path("data/embedded"), help="folder of the embedded fleets")
    parser.add_argument("--split", default="test", help="scenes to evaluate on")
    parser.add_argument("--out", type=Path, required=True, help="result file")
    options = parser.parse_args()
    card = read_card(options.run / "model")
    recipe = build_settings(AdaptRecipe, card["recipe"], options.run / "model")
    folder = options.run.with_name(f"{options.run.name}-dense-depth")
    link_depth(recipe.source.root, recipe.source.split, folder / "depth")
    transfer = replace(recipe.rig_transfer, depth_maps=folder / "depth")
    models = {
        "completed lidar": options.run / "model",
        "dense depth": train_adapt(replace(recipe, rig_transfer=transfer, run=replace(recipe.run, folder=folder))),
    }
    rows = []
    for name, model in models.items():
        for fleet in (card["target_fleet"], card["train_fleet"]):
            network, about = load_model(model, fleet)
            frames = open_fleet(options.fleets / fleet, options.split, fleet)
            data = FrameDataset(frames, network.settings.input, cache=recipe.run.cache)
            progress = progress_callback(f"{name} on {fleet}")
            row = evaluate(network, data, about, split=options.split, callbacks=[progress])
            rows.append(replace(row, variant=f"{row.variant}, {name}"))
    write_results(options.out, rows, card["recipe"])
    print(f"\n{markdown_table(rows)}\n{options.out}")


def link_depth(root: Path, split: str, folder: Path) -> None:
    """Give the depth maps that lie beside the pictures of an embedded nuScenes fleet the names that are looked for."""
    for frame in open_fleet(root, split):
        for camera, path in zip(frame.cameras, depth_files(folder, frame), strict=True):
            if not path.exists():
                path.parent.mkdir(parents=True, exist_ok=True)
                path.symlink_to((root / "depth" / camera.name / f"{Path(camera.source).stem}.png").resolve())


if __name__ == "__main__":
    main()
