"""Is training ever waiting for data? Rendering, preparing, loading and a training step, in one run on one machine.

    python benchmarks/road.py --data data/embedded --out results/road/benchmark.json

Needs the embedded fleets (``ugocc data render``). Prints medians in milliseconds and the ratio of loading to training;
times of one run compare with each other, not with those of another machine.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

from ugocc.allocator import keep_freed_memory
from ugocc.data.dataset import FrameDataset
from ugocc.data.source import open_fleet
from ugocc.data.town.scene import DriveSettings, open_drive
from ugocc.losses.depth import depth_loss
from ugocc.losses.occupancy import occupancy_loss
from ugocc.results import commit, machine, versions
from ugocc.training.source import SourceTraining, source_recipe


def median_ms(work: Callable[[int], object], count: int, warm: int = 3) -> float:
    times = []
    for i in range(count + warm):
        began = time.perf_counter()
        work(i)
        times.append(1000 * (time.perf_counter() - began))
    return round(statistics.median(times[warm:]), 2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("data/embedded"), help="folder of the embedded fleets")
    parser.add_argument("--out", type=Path, default=Path("results/road/benchmark.json"), help="result file")
    parser.add_argument("--count", type=int, default=30, help="repetitions of each measurement")
    options = parser.parse_args()
    keep_freed_memory()
    recipe = source_recipe("flashocc", "laptop")
    measured: dict[str, float] = {}
    for fleet in ("six", "five"):
        drive = open_drive(fleet, "benchmark", 0, DriveSettings())
        measured[f"render one frame of {fleet}, one process"] = median_ms(lambda i, d=drive: d.render(i % 20), 8)
    with tempfile.TemporaryDirectory() as cache:
        frames = open_fleet(options.data / "six", "train")
        data = FrameDataset(frames, recipe.model.input, recipe.augment, cache=Path(cache))
        measured["prepare one frame"] = median_ms(lambda i: data.prepared(i), options.count)
        measured["load one sample from the cache and augment it"] = median_ms(lambda i: data[i, 1], options.count)
        batches = [data[i, 2] for i in range(8)]
    task = SourceTraining(recipe)
    optimizer = torch.optim.AdamW(task.model.parameters(), lr=1e-4, foreach=True)

    def step(i: int) -> None:
        batch = batches[i % len(batches)]
        with torch.autocast("cpu", torch.bfloat16):
            prediction = task.model(batch)
            terms = occupancy_loss(prediction.occupancy, batch, recipe.occupancy_loss)
            loss = torch.stack(list(terms.values())).sum() + depth_loss(prediction, batch, recipe.depth_loss)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    measured["training step, one sample, bf16"] = median_ms(step, options.count)
    load, train = measured["load one sample from the cache and augment it"], measured["training step, one sample, bf16"]
    for name, value in measured.items():
        print(f"{value:9.2f} ms  {name}")
    print(f"{load / train:9.2f}     loading / training step: below 1, one loading process keeps up")
    content = {
        "milliseconds": measured,
        "loading_over_training": round(load / train, 3),
        "threads": torch.get_num_threads(),
        "commit": commit(),
        "versions": versions(),
        "machine": machine(),
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
