"""Does every full-size recipe run, what does a step of it cost, and what would the whole of it take on GPUs?

    python benchmarks/recipes.py --data DIR

Every recipe is run on the CPU at its full size for two optimisation steps per stage, one sample a step, in a process of
its own: the networks, losses, stages and readers are the recipe's; batch size, number of steps, device and the
backbone's weights (random) are not. Adaptations keep one candidate and estimate statistics from one frame.

The data are the few real frames of the two fleets, laid out as their readers want them by
``tests/data/real_training.py``, which **makes up what they lack** (occupancy labels, Waymo's lidar, most of its drive):
the losses mean nothing but that they are finite. Real recordings are not part of the repository; the folders are
temporary.

What is measured goes to a result file, recipe by recipe: an interrupted run goes on, and what this code has measured is
not measured again (``--only`` and ``--again`` choose). ``ugocc table`` makes the tables of docs/full-size.md of it.

What a recipe takes on GPUs is an **estimate**; nothing was run on one. Time: the multiply-adds counted in its steps,
forward and backward, times its samples, at :data:`UTILISATION` of the peak of :data:`GPU`; votes and the choice of a
checkpoint are left out, and data are taken to arrive in time. Memory: float32 weights, gradients and AdamW's two
moments, a teacher where there is one, and the tensors that were alive at a time in a step of one sample, times the
batch. Disk and processor time: of one frame, times the frames that are kept.
"""

from __future__ import annotations

import argparse
import gc
import json
import resource
import runpy
import subprocess
import sys
import tempfile
import time
import weakref
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final
from unittest.mock import patch

import numpy as np
import torch
from lightning import LightningModule
from lightning.pytorch.callbacks import Callback
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from ugocc.adaptation.rig import rig_of_frame
from ugocc.adaptation.transferred import TransferredDataset
from ugocc.data.dataset import FrameDataset
from ugocc.data.source import open_fleet
from ugocc.errors import DataError
from ugocc.models.assemble import model_settings
from ugocc.models.settings import ModelSettings
from ugocc.provenance import code_digest
from ugocc.results import commit, machine, versions, write_text
from ugocc.training.adapt_settings import AdaptRecipe
from ugocc.training.chain import adapt, stage_one, stage_two
from ugocc.training.settings import OptimSettings
from ugocc.training.source import SourceRecipe, parse_source_recipe, train_source
from ugocc.training.stages import parse_adapt_recipe

ROOT: Final = Path(__file__).resolve().parents[1]
NETWORKS: Final = ("bevdet-occ", "flashocc", "bevformer-occ", "fb-occ", "ugocc")
RECIPES: Final[dict[str, tuple[str, ...]]] = {
    **{f"{fleet}-{name}": (f"{name}-full", f"{fleet}-full") for fleet in ("nuscenes", "waymo") for name in NETWORKS},
    "nuscenes-to-waymo-ugocc": ("nuscenes-to-waymo-ugocc-full",),
    "waymo-to-nuscenes-ugocc": ("waymo-to-nuscenes-ugocc-full",),
}
"""Every recipe of the comparison: its name, and its files in ``recipes`` in the order of ``--config``."""

GPU: Final = "NVIDIA A100"
PEAK: Final = 312e12
"""Operations per second in bfloat16 without sparsity, as its data sheet has it; a multiply-add is two."""
UTILISATION: Final = 0.2
"""Assumed share of the peak that a training step of such a network reaches."""
SCALING: Final = 0.9
"""Assumed share of eight times the speed that eight GPUs reach."""
FRAMES: Final = {"nuscenes": 28_130, "waymo": 31_600}
"""Training frames: key frames of v1.0-trainval, and about every fifth frame of Waymo."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the real recordings")
    parser.add_argument("--out", type=Path, default=ROOT / "results/recipes/benchmark.json", help="result file")
    parser.add_argument(
        "--only",
        nargs="*",
        default=list(RECIPES),
        help="recipes to run; none: steps of the recipes and assumptions anew",
    )
    parser.add_argument("--again", action="store_true", help="measure also what this code has measured")
    parser.add_argument("--row", type=Path, help="run the one recipe of --only in this process, to this file")
    options = parser.parse_args()
    if unknown := set(options.only) - set(RECIPES):
        parser.error(f"no recipe {', '.join(sorted(unknown))}; there are {', '.join(RECIPES)}")
    if options.row:
        with tempfile.TemporaryDirectory() as folder:
            row = run_recipe(options.only[0], real_fleets(options.data, Path(folder)), Path(folder) / "run")
        write_text(options.row, json.dumps(row))
        return
    known = json.loads(options.out.read_text())["recipes"] if options.out.is_file() else []
    rows = {row["recipe"]: row for row in known}
    for name in options.only:
        if name in rows and rows[name]["code"] == code_digest() and not options.again:
            print(f"{name}: measured before", flush=True)
            continue
        with tempfile.TemporaryDirectory() as folder:  # a process of its own, since the peak is a process's
            file = Path(folder) / "row.json"
            words = [sys.executable, __file__, "--data", str(options.data), "--only", name, "--row", str(file)]
            subprocess.run(words, check=True)
            rows[name] = json.loads(file.read_text())
        write_rows(options.out, [rows[key] for key in RECIPES if key in rows])
        print(f"{name}: {shown(rows[name])}", flush=True)
    write_rows(options.out, [planned_anew(rows[key]) for key in RECIPES if key in rows])


def planned_anew(row: dict[str, Any]) -> dict[str, Any]:
    """A row with the steps of today's recipe and today's assumptions; what was measured stays."""
    recipe = parse(row["recipe"])
    planned = stages(recipe)
    row = row | {"devices": recipe.run.devices, "stages": [s | planned[s["stage"]] for s in row["stages"]]}
    return row | {"estimate": estimate(row)}


def write_rows(out: Path, rows: list[dict[str, Any]]) -> None:
    assumed = {"gpu": GPU, "peak": PEAK, "utilisation": UTILISATION, "scaling": SCALING, "frames": FRAMES}
    content = {"recipes": rows, "assumed": assumed, "versions": versions(), "machine": machine()}
    out.parent.mkdir(parents=True, exist_ok=True)
    write_text(out, json.dumps(content, indent=1) + "\n")


def shown(row: dict[str, Any]) -> str:
    steps = [f"{stage['stage']} {stage['cpu_seconds'][-1]:.0f} s of processor time a step" for stage in row["stages"]]
    return f"{', '.join(steps)}; {row['resident_bytes'] / 2**30:.1f} GiB; finite: {row['finite']}"


def real_fleets(data: Path, folder: Path) -> dict[str, Path]:
    """The real frames as folders that can be trained on, by name of the fleet.

    Raises:
        DataError: no real recordings.
    """
    if not data.is_dir():
        raise DataError(data, "folder", "no such folder", "the real recordings")
    helper = runpy.run_path(str(ROOT / "tests/data/real_training.py"))
    return helper["build_real_training"](data, folder)


def run_recipe(name: str, fleets: dict[str, Path], folder: Path, small: bool = False) -> dict[str, Any]:
    """Two steps of every stage of a recipe, and what they cost.

    Args:
        name: one of :data:`RECIPES`.
        fleets: folders of the fleets, by name.
        folder: for the run.
        small: with the smallest network of the same parts, on small images: everything else is the recipe's.

    Raises:
        DataError: the recipe cannot be run; a loss that is not finite.
    """
    recipe = parse(name)
    quick = parse(name, words_for(name, fleets, folder))
    if small:
        quick = replace(quick, model=shrunk(quick.model))
    watch = Watch()
    # Lightning asks every task for callbacks of its own.
    with patch.object(LightningModule, "configure_callbacks", lambda task: [watch]):
        if isinstance(quick, AdaptRecipe):
            adapt(quick)
        else:
            train_source(quick)
    planned = stages(recipe)
    for stage in watch.stages:
        stage |= planned[stage["stage"]]
    row: dict[str, Any] = {
        "recipe": name,
        "files": RECIPES[name],
        "verb": "adapt" if isinstance(recipe, AdaptRecipe) else "fit",
        "model": recipe.model.name,
        "size": "small" if small else recipe.model.size,
        "backbone": quick.model.image_encoder.backbone,
        "images": [quick.model.input.height, quick.model.input.width],
        "devices": recipe.run.devices,
        "precision": quick.run.settled().precision,
        "parameters": watch.parameters,
        "stages": watch.stages,
        "finite": all(np.isfinite(v) for s in watch.stages for losses in s["losses"] for v in losses.values()),
        # Linux counts in KiB, macOS in bytes.
        "resident_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        * (1 if sys.platform == "darwin" else 1024),
        "versions": quick.rig_transfer.versions if isinstance(quick, AdaptRecipe) else 0,
        "cache": cache_sizes(folder.parent / "cache"),
        "rerender_seconds": rerendering(quick) if isinstance(quick, AdaptRecipe) else 0.0,
        "commit": commit(),
        "code": code_digest(),
    }
    return row | {"estimate": estimate(row)}


def parse(name: str, words: Sequence[str] = ()) -> SourceRecipe | AdaptRecipe:
    """A recipe as ``ugocc fit`` or ``ugocc adapt`` reads it."""
    files = [word for file in RECIPES[name] for word in ("--config", str(ROOT / "recipes" / f"{file}.yaml"))]
    return (parse_adapt_recipe if "-to-" in name else parse_source_recipe)([*files, *words])


def words_for(name: str, fleets: dict[str, Path], folder: Path) -> list[str]:
    """What is changed to run a recipe here: folders, the device, and how long and how many samples at once."""
    words = [
        "--optim.steps=2",
        "--optim.batch_size=1",
        "--model.image_encoder.pretrained=false",
        f"--run.folder={folder / 'source-only'}",
        "--run.accelerator=cpu",
        "--run.devices=1",
        "--run.precision=auto",  # 16-mixed is for GPUs alone
        "--run.workers=0",
    ]
    source, _, target = name.partition("-to-")
    words.append(f"--source.root={fleets[source.split('-')[0]]}")
    if target:
        words += [
            f"--target.root={fleets[target.split('-')[0]]}",
            f"--run.folder={folder}",
            f"--run.cache={folder.parent / 'cache'}",
            "--earlier.source_steps=2",
            "--earlier.pretrain_steps=2",
            "--choice.candidates=1",
            "--choice.statistics_frames=1",
        ]
    return words


def stages(recipe: SourceRecipe | AdaptRecipe) -> dict[str, dict[str, int]]:
    """How long the stages of a recipe are meant to be, and how many samples a step of theirs takes per process."""
    optims: dict[str, OptimSettings] = {"source-only": recipe.optim}
    if isinstance(recipe, AdaptRecipe):
        folder = recipe.run.folder
        optims["source-only"] = stage_one(recipe, folder).optim
        optims["pretrained"] = stage_two(recipe, folder, folder).optim
        optims["adapted"] = recipe.optim
    return {name: {"planned_steps": optim.steps, "batch_size": optim.batch_size} for name, optim in optims.items()}


def shrunk(full: ModelSettings) -> ModelSettings:
    """The smallest network that has the parts of this one."""
    small = model_settings(full.name, "debug")
    if full.depth_net is not None and small.depth_net is not None:
        noise, canonical = full.depth_net.camera_noise, full.depth_net.canonical
        small = replace(small, depth_net=replace(small.depth_net, camera_noise=noise, canonical=canonical))
    return replace(small, name=full.name, size=full.size)  # the size chooses defaults of later stages


class Watch(Callback):
    """Notes of every step what it took and what its losses were, stage by stage."""

    def __init__(self) -> None:
        self.stages: list[dict[str, Any]] = []
        self.parameters = 0
        self._counting = Counting()
        self._began = (0.0, 0.0)

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """A stage begins; what the one before it left is not counted as its own."""
        gc.collect()
        self.parameters = sum(p.numel() for p in pl_module.model.parameters())
        stage = {"stage": pl_module.recipe.run.folder.name, "teacher": hasattr(pl_module, "teacher")}
        self.stages.append(
            stage | {key: [] for key in ("seconds", "cpu_seconds", "multiply_adds", "live_bytes", "losses")}
        )

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        """Votes, if there are any, have been taken; the step begins."""
        self._counting = Counting()
        self._counting.__enter__()
        self._began = time.monotonic(), time.process_time()

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """The optimiser has moved."""
        now = time.monotonic(), time.process_time()
        self._counting.__exit__(None, None, None)
        stage = self.stages[-1]
        stage["seconds"].append(round(now[0] - self._began[0], 2))
        stage["cpu_seconds"].append(round(now[1] - self._began[1], 2))
        stage["multiply_adds"].append(self._counting.multiply_adds)
        stage["live_bytes"].append(self._counting.most)
        metrics = trainer.callback_metrics.items()
        stage["losses"].append({k.removeprefix("loss/"): float(v) for k, v in metrics if k.startswith("loss/")})


class Counting(TorchDispatchMode):
    """Counts multiply-adds and the bytes of tensors alive at a time while it is active, backward passes included.

    As ``ugocc.models.cost`` counts those of a prediction; tensors that were there before are not counted.
    """

    def __init__(self) -> None:
        super().__init__()
        self.multiply_adds = self.most = self._now = 0
        self._alive: dict[int, int] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        made = func(*args, **kwargs)
        count = flop_registry.get(func.overloadpacket)
        if count is not None:
            self.multiply_adds += count(*args, **kwargs, out_val=made) // 2
        before = {storage._cdata for storage in _storages((args, kwargs))}
        for storage in _storages(made):
            key = storage._cdata
            if key not in before and key not in self._alive:
                self._alive[key] = storage.nbytes()
                self._now += storage.nbytes()
                self.most = max(self.most, self._now)
                weakref.finalize(storage, self._forget, key)
        return made

    def _forget(self, key: int) -> None:
        self._now -= self._alive.pop(key)


def _storages(tree: Any) -> list[torch.UntypedStorage]:
    tensors = [leaf for leaf in tree_leaves(tree) if isinstance(leaf, torch.Tensor)]
    return [tensor.untyped_storage() for tensor in tensors if tensor.layout is torch.strided]


def cache_sizes(folder: Path) -> dict[str, float]:
    """Mean bytes of a prepared and of a re-rendered frame in a cache; empty without one."""
    prepared = [file for file in folder.rglob("*.safetensors") if file.parent.name != "transferred"]
    found = {"prepared": prepared, "re-rendered": list(folder.rglob("transferred/*.safetensors"))}
    return {kind: float(np.mean([f.stat().st_size for f in files])) for kind, files in found.items() if files}


def rerendering(recipe: AdaptRecipe) -> float:
    """Seconds that a core takes to re-render a source frame for one rig; its lidar is completed once for all."""
    inputs = recipe.model.input
    source, target = (open_fleet(f.root, f.split, f.name, f.every) for f in (recipe.source, recipe.target))
    rig = rig_of_frame(target[0], inputs.height, inputs.width)
    data = TransferredDataset(FrameDataset(source, inputs), [rig], recipe.rig_transfer)
    data.versions(0, [0])  # what is compiled is compiled here
    began = time.process_time()
    data.versions(len(data) // 2, range(recipe.rig_transfer.versions))
    return round((time.process_time() - began) / recipe.rig_transfer.versions, 2)


def estimate(row: dict[str, Any]) -> dict[str, Any]:
    """What a recipe would take on one and on eight GPUs; see the top of this file."""
    parameters = row["parameters"]
    samples = [stage["planned_steps"] * stage["batch_size"] * row["devices"] for stage in row["stages"]]
    adds = sum(n * float(np.mean(s["multiply_adds"])) for n, s in zip(samples, row["stages"], strict=True))
    hours = 2 * adds / (PEAK * UTILISATION) / 3600
    memory = [
        parameters * (20 if stage["teacher"] else 16)
        + stage["batch_size"] * (stage["live_bytes"][-1] - 4 * parameters)  # gradients are among the parameters' 16
        for stage in row["stages"]
    ]
    fleets = [part.split("-")[0] for part in row["recipe"].split("-to-")]
    rerendered = row["versions"] * FRAMES[fleets[0]]
    cache = sum(FRAMES[fleet] for fleet in fleets) * row["cache"].get("prepared", 0.0)
    return {
        "samples": samples,
        "steps": {
            gpus: [round(n / s["batch_size"] / int(gpus)) for n, s in zip(samples, row["stages"], strict=True)]
            for gpus in ("1", "8")
        },
        "multiply_adds": adds,
        "hours": {"1": round(hours, 2), "8": round(hours / (8 * SCALING), 2)},
        "bytes_per_gpu": max(memory),
        "cache_bytes": cache + rerendered * row["cache"].get("re-rendered", 0.0),
        "rerender_core_hours": round(rerendered * row["rerender_seconds"] / 3600, 1),
    }


if __name__ == "__main__":
    main()
