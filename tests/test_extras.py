"""An installation without extras: what works, and what each verb says that needs one."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from ugocc.data.commands import ConvertSettings, convert_fleet
from ugocc.data.source import open_fleet
from ugocc.errors import DataError, MissingPackage
from ugocc.extras import EXTRAS, installed, later, require
from ugocc.serving.predictor import Predictor
from ugocc.verbs import VERBS, Verb
from ugocc.viz.report.curves import read_curves

ROOT = Path(__file__).resolve().parents[1]
HIDDEN = sorted({module for extra in EXTRAS.values() for module in extra.modules})

CORE = """
import contextlib, io, json, sys

class Without:
    def __init__(self, finder):
        self.finder = finder
    def find_spec(self, name, path=None, target=None):
        return None if name.partition(".")[0] in hidden else self.finder.find_spec(name, path, target)
    def find_distributions(self, context=None):
        found = getattr(self.finder, "find_distributions", lambda context: ())(context)
        return (one for one in found if one.metadata["Name"].lower().replace("-", "_") not in hidden)

hidden, commands = json.load(sys.stdin)
sys.meta_path[:] = [Without(finder) for finder in sys.meta_path]

from ugocc.cli import main

answers = []
for words in commands:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            status = main(words)
        except SystemExit as leave:
            status = leave.code
    answers.append((status, out.getvalue(), err.getvalue()))
assert not set(hidden) & set(sys.modules), "imported although it is hidden"
print("answers:" + json.dumps(answers))
"""
"""A process for which packages are not installed: neither importable nor in the metadata, which torchmetrics reads."""


class Answer(NamedTuple):
    status: int
    out: str
    err: str


def in_core(folder: Path, *commands: str) -> list[Answer]:
    """Run commands, one after another, in one process that has no extras."""
    path = os.pathsep.join([str(ROOT / "src"), os.environ.get("PYTHONPATH", "")])
    given = json.dumps([HIDDEN, [command.split() for command in commands]])
    done = subprocess.run(
        [sys.executable, "-c", CORE],
        input=given,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    return [Answer(*answer) for answer in json.loads(done.stdout.rpartition("answers:")[2])]


def test_the_extras_are_those_of_the_project():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    assert set(extras) == {*EXTRAS, "all", "test", "docs", "dev"}
    assert extras["all"] == [f"ugocc[{','.join(EXTRAS)}]"]
    for name, (modules, _) in EXTRAS.items():
        brought = " ".join([*extras[name], *(extras["data"] if "ugocc[data]" in extras[name] else [])])
        assert all(module.replace("_", "-") in brought for module in modules), name
    assert not [text for text in project["dependencies"] if text.partition(">")[0] in HIDDEN]


def test_every_verb_but_the_renderers_has_help_in_the_core(tmp_path: Path):
    verbs = [
        verb
        for name, entry in VERBS.items()
        for verb in ([name] if isinstance(entry, Verb) else [f"{name} {inner}" for inner in entry])
        if verb not in ("demo", "data render")
    ]
    answers = in_core(tmp_path, "--help", *(f"{verb} --help" for verb in verbs))
    assert [answer.status for answer in answers] == [0] * (len(verbs) + 1)
    assert all("Example:" in answer.out for answer in answers)


def test_verbs_say_in_one_line_what_they_need(tmp_path: Path):
    for name in ("nuscenes/v1.0-mini", "waymo/training/camera_image", "own"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("own/manifest.parquet", "teacher.onnx", "teacher.tflite"):
        (tmp_path / name).write_bytes(b"")
    wanted = {
        "predict --root nuscenes": ("nuscenes", "pyarrow", "data"),
        "predict --root nuscenes --film mp4": ("runs/predict/film.mp4", "imageio, av", "film"),
        "view --root waymo --film mp4": ("runs/view/film.mp4", "imageio, av", "film"),
        "data check --root waymo": ("waymo", "pyarrow", "data"),
        "data convert --root nuscenes --out new": ("nuscenes", "pyarrow", "data"),
        "test --checkpoint laptop --root own": ("own/manifest.parquet", "pyarrow", "data"),
        "test --checkpoint laptop --root own --eval [plausibility]": ("plausibility", "scipy", "adapt"),
        "fit --source.root nuscenes --model.size debug": ("nuscenes", "pyarrow", "data"),
        "pretrain --source.root nuscenes --target.root waymo --model.size debug": ("adaptation", "scipy", "adapt"),
        "adapt --source.root nuscenes --target.root waymo": ("adaptation", "scipy", "adapt"),
        "ablate": ("adaptation", "scipy", "adapt"),
        "reproduce --plan true": ("adaptation", "scipy", "adapt"),
        "bench --parts [scoring]": ("scoring", "scipy", "adapt"),
        "bench --parts [growth] --fleet waymo": ("waymo", "pyarrow", "data"),
        "export": ("export", "onnx, onnxscript", "export"),
        "data segment --network teacher.onnx --root waymo": ("teacher.onnx", "onnxruntime", "segment"),
        "data segment --network teacher.tflite --root waymo": ("teacher.tflite", "ai-edge-litert", "segment"),
        "data render": ("rendering", "numba, pyarrow", "synthetic"),
        "demo": ("rendering", "numba, pyarrow", "synthetic"),
    }
    for (command, (who, packages, extra)), answer in zip(wanted.items(), in_core(tmp_path, *wanted), strict=True):
        verb = " ".join(command.partition(" --")[0].split())
        line = f"ugocc {verb}: {Path(who)} needs {packages}: pip install 'ugocc[{extra}]'\n"
        *left_out, said = answer.err.splitlines(keepends=True)
        assert (answer.status, said, answer.out) == (1, line, ""), command
        assert all(other.startswith("left out: ") for other in left_out), command


def test_an_own_fleet_needs_no_extra(tiny_fleets: Path, tmp_path: Path):
    fleet = tmp_path / "own"
    convert_fleet(ConvertSettings(tiny_fleets / "five", "val", out=fleet))
    fit = "--model.size debug --optim.steps 4 --run.log_every 2 --run.cache null --run.accelerator cpu --run.folder run"
    answers = in_core(
        tmp_path,
        "predict --root own --split val --out predicted --device cpu",
        f"fit --source.root own --source.split val {fit}",
        "test --root own --split val --checkpoint run/model --out tested --workers 0 --accelerator cpu",
        "test --root own --split val --checkpoint laptop --out shipped --workers 0 --accelerator cpu",
        "score --root own --split val --predictions predicted/volumes",
        "data check --root own --split val",
    )
    assert [answer.status for answer in answers] == [0] * len(answers), answers
    frame = open_fleet(fleet, "val")[0]
    written = np.load(tmp_path / "predicted" / "volumes" / f"{frame.token}.npz")["pred"]
    assert np.array_equal(written, Predictor.from_pretrained("laptop", "cpu", "five")(frame).classes)
    assert read_curves(tmp_path / "run")["loss"].steps == [1, 3]
    for name, answer in (("tested", answers[2]), ("runs/score", answers[4])):
        assert "left out: plausibility needs scipy: pip install 'ugocc[adapt]'" in answer.err
        (row,) = json.loads((tmp_path / name / "results.json").read_text(encoding="utf-8"))["rows"]
        assert row["ray_iou"]
        assert row["plausibility"] == {}
    assert "<h2>Training" in (tmp_path / "tested" / "report.html").read_text(encoding="utf-8")


def test_a_package_that_is_not_there():
    assert installed("json")
    assert not installed("no_such_package")
    assert not installed("no_such_package.part")
    with pytest.raises(MissingPackage) as found:
        require("this test", "film", "json", "no_such_package.part", "nor_this")
    assert str(found.value) == "this test needs no-such-package, nor-this: pip install 'ugocc[film]'"
    again = pickle.loads(pickle.dumps(found.value))
    assert isinstance(again, DataError)
    assert str(again) == str(found.value)
    missing = later("no_such_package", "film")
    with pytest.raises(MissingPackage, match="needs no-such-package"):
        _ = missing.something
    assert later("math", "film").floor(1.5) == 1
