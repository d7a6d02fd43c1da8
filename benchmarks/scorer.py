"""How long does scoring a folder of prediction files take?

    python benchmarks/scorer.py --root data/embedded/six --split train --frames 100

Writes predictions on the label's own grid (the labels, a tenth of whose occupied voxels are given another class) into
a temporary folder, scores them as ``ugocc score`` does, and writes the seconds to a result file. Labels of 200 x 200 x
16 voxels are what the field's tables are made of.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

import numpy as np

from ugocc.data.source import open_fleet
from ugocc.errors import DataError
from ugocc.evaluation.files import write_prediction
from ugocc.evaluation.score import score_folder
from ugocc.labels import FREE, UNKNOWN
from ugocc.results import commit, machine, versions, write_text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, default=Path("data/embedded/six"), help="folder of a labelled fleet")
    parser.add_argument("--split", default="train", help="scenes")
    parser.add_argument("--frames", type=int, default=100, help="number of frames, evenly spaced over the split")
    parser.add_argument("--out", type=Path, default=Path("results/scorer/benchmark.json"), help="result file")
    options = parser.parse_args()
    whole = open_fleet(options.root, options.split)
    frames = open_fleet(options.root, options.split, None, max(len(whole) // options.frames, 1))
    random = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        for frame in frames:
            if frame.occupancy is None:
                raise DataError(frame.token, "occupancy", "no label", "labelled frames")
            volume = np.where((label := frame.occupancy().semantics) == UNKNOWN, FREE, label)
            wrong = (volume != FREE) & (random.random(volume.shape) < 0.1)
            volume[wrong] = random.integers(0, FREE, int(wrong.sum()))
            write_prediction(Path(folder), frame.token, volume.astype(np.uint8), frame.occupancy_grid)
        score_folder(Path(folder), open_fleet(options.root, options.split, None, len(whole)))  # compiles the ray caster
        row = score_folder(Path(folder), frames)
    content = {
        "frames": row.frames,
        "grid": frames[0].occupancy_grid.shape,
        "seconds": row.seconds,
        "miou": row.miou,
        "ray_iou": row.ray_iou,
        "commit": commit(),
        "versions": versions(),
        "machine": machine(),
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    write_text(options.out, json.dumps(content, indent=1) + "\n")
    print(f"{row.frames} frames of {frames[0].occupancy_grid.shape}: {row.seconds} s")


if __name__ == "__main__":
    main()
