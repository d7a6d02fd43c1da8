"""Does a change of the code leave every number alone? If so, results of the code before stay results of the code now.

    python benchmarks/same_numbers.py --before COMMIT
    python benchmarks/same_numbers.py --before COMMIT --carry results/family results/ablation

Result files record a digest of the code that decides their numbers, and `ugocc reproduce` refuses to mix results of
different code: rightly, but a better error message is other code as well, and a table takes half a day. This runs both
codes on the embedded fleets with the same seeds: every sample of both fleets; a few steps of training and an evaluation
of every network; all stages of a short adaptation with its votes and label-free scores. All that they make must be
equal to the last bit. Training is in the precision that this processor is quick in, whatever either code would take by
itself. Where adaptations differ, what learns from the source's labels alone is compared as well. With ``--carry``,
result files of the code before are then marked as of the code now; each says so (``same_numbers``), keeps the commit it
was trained at, and no figure is touched. With ``--kept`` a folder keeps what each code has made, so that the next
comparison runs the new code alone. They are those of one machine, its libraries and its fleets: make them anew where
any of these is another.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import os
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ugocc.ablation import AblationSettings, base_recipe, train_variant, variant_recipe
from ugocc.calm import quieten
from ugocc.data.batch import Batch
from ugocc.data.dataset import FrameDataset
from ugocc.data.source import open_fleet
from ugocc.errors import DataError
from ugocc.evaluation.evaluate import evaluate
from ugocc.models.assemble import MODELS
from ugocc.provenance import code_digest
from ugocc.results import commit, write_text
from ugocc.training.chain import adapt_after
from ugocc.training.checkpoint import load_model, load_tensors, read_card
from ugocc.training.settings import FleetSettings
from ugocc.training.source import source_recipe, train_source

FLEETS = ("six", "five")
KINDS = {"supervised": "supervised", "adapted": "adapted", "alone": "adapted"}
"""What is compared, and which code it depends on."""
ALONE = ("strong source-only", "rig-transfer source-only")
"""Variants that know of the target its rig and statistics alone: the first stage of the method, as long as all."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", required=True, help="commit to compare the working tree with")
    parser.add_argument("--fleets", type=Path, default=Path("data/embedded"), help="folder of the embedded fleets")
    parser.add_argument("--carry", type=Path, nargs="*", default=[], help="folders whose result files are marked")
    parser.add_argument("--kept", type=Path, help="folder that keeps what a code has made: it is not made again")
    parser.add_argument("--probe", choices=KINDS, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--precision", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.probe:
        quieten()
        with tempfile.TemporaryDirectory() as folder:
            make = {"supervised": supervised, "alone": alone, "adapted": adapted}[options.probe]
            outcomes = dict(make(options.fleets, Path(folder), options.precision))
        write_text(options.out, json.dumps(outcomes))
        return
    from ugocc.devices import precision_of  # the code before may lack it

    if options.kept:
        options.kept.mkdir(parents=True, exist_ok=True)
    precision = precision_of("auto", "cpu")
    root = Path(__file__).resolve().parent.parent
    with tempfile.TemporaryDirectory() as folder:
        archive = subprocess.run(["git", "archive", options.before, "src"], cwd=root, check=True, capture_output=True)
        with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as files:
            files.extractall(folder, filter="data")
        trees = {"before": Path(folder) / "src", "now": root / "src"}
        same: set[str] = set()
        for kind, of_code in KINDS.items():
            if kind == "alone" and "adapted" in same:
                continue
            digests = {name: code_digest(of_code, tree / "ugocc") for name, tree in trees.items()}
            if digests["before"] == digests["now"]:
                print(f"{kind}: the same code")
                same.add(kind)
                continue
            kept = {name: (options.kept or Path(folder)) / f"{kind}-{digests[name]}-{precision}.json" for name in trees}
            made = probe(trees, kind, options.fleets.resolve(), kept, precision)
            before, now = made["before"], made["now"]
            differ = [key for key in now | before if now.get(key) != before.get(key)]
            print(f"{kind}: {len(now)} outcomes, {len(differ)} differ {', '.join(differ)}", flush=True)
            if not differ:
                same.add(kind)
                compared = {"outcomes": len(now), "outcomes_sha256": _digest(now.values()), "precision": precision}
                about = {"code": digests["before"], "compared_at": commit(), **compared}
                files = [file for where in options.carry for file in where.rglob("*.json")]
                carry([f for f in files if kind != "alone" or made_alone(f)], digests["now"], about)


def probe(
    trees: dict[str, Path], kind: str, fleets: Path, kept: dict[str, Path], precision: str
) -> dict[str, dict[str, str]]:
    """What each code makes, both at the same time, each on one thread; what is kept already is not made again."""
    running = {}
    for name, tree in trees.items():
        if not kept[name].is_file():
            out = str(kept[name])
            words = ["--before", "-", "--probe", kind, "--fleets", str(fleets), "--out", out, "--precision", precision]
            environment = os.environ | {"PYTHONPATH": str(tree), "OMP_NUM_THREADS": "1"}
            command = [sys.executable, __file__, *words]
            running[name] = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
    for name, process in running.items():
        if process.wait():
            for other in running.values():
                other.kill()
            raise DataError(trees[name], "probe", f"exit status {process.returncode}", "0: see what it printed")
    return {name: json.loads(file.read_text(encoding="utf-8")) for name, file in kept.items()}


def supervised(fleets: Path, folder: Path, precision: Any) -> Iterator[tuple[str, str]]:
    """Digests of samples, of networks after a few steps on labels, and of their scores."""
    recipe = source_recipe("ugocc", "laptop")
    for fleet in FLEETS:
        for split in ("train", "val", "test"):
            frames = open_fleet(fleets / fleet, split, fleet)
            data = FrameDataset(frames, recipe.model.input, recipe.augment if split == "train" else None)
            yield f"samples of {fleet}, {split}", _digest(t for i in range(len(data)) for t in _tensors(data[i, 0]))
    for name in MODELS:
        recipe = source_recipe(name, "laptop")
        recipe = replace(
            recipe,
            source=FleetSettings(fleets / "six", every=8),
            optim=replace(recipe.optim, steps=4),
            run=replace(recipe.run, folder=folder / name, accelerator="cpu", precision=precision, cache=None),
        )
        model = train_source(recipe)
        yield f"{name}, weights", _digest(load_tensors(model / "model.safetensors").values())
        for fleet in FLEETS:
            network, about = load_model(model)
            data = FrameDataset(open_fleet(fleets / fleet, "val", fleet, 20), network.settings.input)
            row = asdict(evaluate(network, data, about, split="val")) | {
                "seconds": 0,
                "train_seconds": 0,
                "latency_ms": 0,
            }
            yield f"{name}, scores on {fleet}", _digest([json.dumps(row, sort_keys=True, default=str)])


def alone(fleets: Path, folder: Path, precision: Any) -> Iterator[tuple[str, str]]:
    """Digests of networks after a few steps of the first stage alone, recorded samples only or re-rendered ones too."""
    settings = AblationSettings(fleets=fleets, steps=(3, 2, 5), cache=folder / "cache", out=folder)
    for direction in ("six-five", "five-six"):
        for variant in ALONE:
            for file in sorted(train_variant(settings, direction, variant, 0).glob("*.safetensors")):
                yield f"{direction}, {variant}, {file.stem}", _digest(load_tensors(file).values())


def made_alone(file: Path) -> bool:
    """Whether a result is of variants that know the target by its rig and statistics alone."""
    content = json.loads(file.read_text(encoding="utf-8"))
    rows = content.get("rows", []) if isinstance(content, dict) else []
    return bool(rows) and all(row["variant"] in ALONE for row in rows)


def adapted(fleets: Path, folder: Path, precision: Any) -> Iterator[tuple[str, str]]:
    """Digests of all stages of short adaptations: weights, votes, label-free scores."""
    for direction in ("six-five", "five-six"):
        settings = AblationSettings(fleets=fleets, steps=(3, 2, 5), cache=folder / "cache")
        where = folder / direction
        recipe = variant_recipe(base_recipe(settings, direction, 0, where / "full"), "full")
        recipe = replace(
            recipe,
            source=replace(recipe.source, every=8),
            target=replace(recipe.target, every=8),
            run=replace(recipe.run, accelerator="cpu", precision=precision),
        )
        model = adapt_after(recipe, where / "stages")
        for stage in (where / "stages/source-only/model", where / "stages/pretrained/model", model):
            for file in sorted(stage.glob("*.safetensors")):
                yield f"{direction}, {stage.parent.name}, {file.stem}", _digest(load_tensors(file).values())
        votes = (file.read_bytes() for file in sorted((model.parent / "voted").rglob("*.npz")))
        yield f"{direction}, votes", _digest(votes)
        choice = json.dumps(read_card(model)["choice"], sort_keys=True)
        yield f"{direction}, label-free scores", _digest([choice])


def carry(files: list[Path], code: str, about: dict[str, Any]) -> None:
    """Mark the files that are of the code before as of the code now."""
    from ugocc.results import numbers_in_a_line  # the probe does without, in the code before, too

    carried = 0
    for file in files:
        content = json.loads(file.read_text(encoding="utf-8"))
        if isinstance(content, dict) and content.get("code") == about["code"]:
            content |= {"code": code, "same_numbers": [*content.get("same_numbers", []), about]}
            write_text(file, numbers_in_a_line(json.dumps(content, indent=1)) + "\n")
            carried += 1
    if files:
        print(f"{carried} of {len(files)} files marked")


def _tensors(batch: Batch) -> Iterator[Tensor]:
    values = (getattr(batch, field.name) for field in fields(batch))
    return (value for value in values if isinstance(value, Tensor))


def _digest(values: Any) -> str:
    found = hashlib.sha256()
    for value in values:
        if isinstance(value, Tensor):
            value = value.contiguous().view(torch.uint8).numpy().tobytes() if value.ndim else str(value).encode()
        found.update(value if isinstance(value, bytes) else value.encode())
    return found.hexdigest()


if __name__ == "__main__":
    main()
