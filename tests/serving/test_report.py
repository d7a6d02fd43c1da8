"""The pages of the verbs: what stands on each, for runs of a few steps."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from ugocc.evaluation.occupancy import scores_of
from ugocc.models.assemble import build_model, model_settings
from ugocc.results import Row, read_results, write_results
from ugocc.serving.adapt import adapt_fleet
from ugocc.serving.report import REPORT, story_of
from ugocc.serving.report_sections import networks_section
from ugocc.serving.test import TestSettings, test_fleet
from ugocc.training.checkpoint import save_model
from ugocc.training.stages import parse_adapt_recipe
from ugocc.viz.report import figures


def scenes_in(path: Path) -> list[dict]:
    found = re.search(r'<script type="application/json" id="scenes">(.*?)</script>', path.read_text(encoding="utf-8"))
    assert found is not None
    return json.loads(found[1])["scenes"]


def headings(path: Path) -> list[str]:
    return re.findall(r"<h2>(.*?)</h2>", path.read_text(encoding="utf-8"))


def keys_of(scene: dict) -> list[str]:
    assert all(set(moment["volumes"]) == {v["key"] for v in scene["volumes"]} for moment in scene["moments"])
    return [volume["key"] for volume in scene["volumes"]]


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two debug models with random weights, the second started from the first."""
    folder = tmp_path_factory.mktemp("models")
    torch.manual_seed(0)
    first = save_model(folder / "first", build_model(model_settings("flashocc", "debug")), {"variant": "source-only"})
    card = {"variant": "full", "train_fleet": "six", "target_fleet": "five", "recipe": {"start": str(first)}}
    return first, save_model(folder / "second", build_model(model_settings("flashocc", "debug")), card)


def test_a_tested_model_has_a_page(
    checkpoints: tuple[Path, Path], tiny_fleets: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = checkpoints
    settings = TestSettings(first, tiny_fleets / "five", out=tmp_path, workers=0, accelerator="cpu")
    row = test_fleet(settings)
    assert "volumes of five for the report: 3 of 3, " in capsys.readouterr().err
    assert scores_of(np.array(row.confusion)).miou == pytest.approx(row.miou, abs=1e-3)
    assert headings(tmp_path / REPORT) == ["Results", "Volumes", "Classes", "What is taken for what on five"]
    [scene] = scenes_in(tmp_path / REPORT)
    assert keys_of(scene) == ["after", "truth"]
    assert [volume["name"] for volume in scene["volumes"]] == ["Prediction", "Truth"]
    shown = [[camera["name"] for camera in row] for row in scene["moments"][0]["cameras"]]
    assert shown == [["FRONT_LEFT", "FRONT", "FRONT_RIGHT"], ["SIDE_LEFT", "SIDE_RIGHT"]]
    assert len(scene["moments"]) == 3

    test_fleet(replace(settings, checkpoint=second, out=tmp_path / "second"))
    assert keys_of(scenes_in(tmp_path / "second" / REPORT)[0]) == ["before", "after", "truth"]
    assert len(read_results(tmp_path / "second" / "results.json")) == 1

    test_fleet(replace(settings, checkpoint=second, before=first, eval="map_ten_class", out=tmp_path / "both"))
    variants = [row.variant for row in read_results(tmp_path / "both" / "results.json")]
    assert variants == ["full", "source-only"]
    assert "The gap between the fleets, before and after" in headings(tmp_path / "both" / REPORT)
    home = replace(settings, checkpoint=second, root=tiny_fleets / "six", before=first, eval="map_ten_class")
    test_fleet(replace(home, out=tmp_path / "home"))
    assert not [title for title in headings(tmp_path / "home" / REPORT) if "gap" in title]
    assert (tmp_path / "both" / REPORT).stat().st_size < 15e6

    # Two models of one kind are compared, not averaged.
    test_fleet(replace(settings, before=first, eval="map_ten_class", out=tmp_path / "alike", report=False))
    alike = read_results(tmp_path / "alike" / "results.json")
    assert [row.variant for row in alike] == ["source-only", "source-only (before)"]

    test_fleet(replace(settings, report=False, eval="map_ten_class", out=tmp_path / "none"))
    assert not (tmp_path / "none" / REPORT).exists()


def test_a_model_of_the_package_is_tested_by_its_name(tiny_fleets: Path, tmp_path: Path) -> None:
    test_fleet(TestSettings(Path("laptop"), tiny_fleets / "five", every=3, out=tmp_path, workers=0, accelerator="cpu"))
    assert keys_of(scenes_in(tmp_path / REPORT)[0]) == ["after", "truth"]


def test_an_adaptation_has_a_page_without_the_targets_labels(
    tiny_fleets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Nothing may run elsewhere than where the run was told to.
    monkeypatch.setattr("ugocc.devices.default_device", lambda: pytest.fail("the default device was taken"))
    target = tmp_path / "five"
    shutil.copytree(tiny_fleets / "five", target)
    shutil.rmtree(target / "occ3d")
    run = tmp_path / "run"
    words = {
        "model.name": "flashocc",
        "model.size": "debug",
        "source.root": tiny_fleets / "six",
        "target.root": target,
        "run.folder": run,
        "run.accelerator": "cpu",
        "run.precision": "32-true",
        "run.workers": 0,
        "run.log_every": 1,
        "run.cache": tmp_path / "cache",
        "optim.steps": 2,
        "choice.candidates": 2,
        "choice.frames": 1,
        "earlier.source_steps": 1,
        "earlier.pretrain_steps": 1,
    }
    adapt_fleet(parse_adapt_recipe([f"--{key}={value}" for key, value in words.items()]))
    page = run / REPORT
    assert headings(page) == [
        "Run",
        "Volumes",
        "The gap between the fleets, without labels",
        "Choice of the checkpoint",
        "Classes",
        "Training",
    ]
    assert [keys_of(scene) for scene in scenes_in(page)] == [["before", "after"], ["before", "after", "truth"]]
    assert all(moment["seen"] for scene in scenes_in(page) for moment in scene["moments"])


def row(variant: str, trained: str, evaluated: str, miou: float) -> Row:
    return Row("m", variant, trained, evaluated, "test", 0, miou, 50.0, {}, 1.0, confusion=[[5, 1], [0, 3]])


def test_a_story_takes_the_rows_of_its_direction() -> None:
    rows = [row("source-only", "six", "five", 10), row("full", "six", "five", 20), row("oracle", "five", "five", 30)]
    other = [row("source-only", "five", "six", 11), row("full", "five", "six", 21), row("oracle", "six", "six", 31)]
    story = story_of([*other, *rows], "m", "six", "five", {})
    assert [r.miou for group in story.rows.values() for r in group] == [10, 20, 30]


def test_networks_are_compared_on_fleets_they_have_no_labels_of(monkeypatch: pytest.MonkeyPatch) -> None:
    charts = []
    monkeypatch.setattr(figures, "bars", lambda models, groups, *texts: charts.append((models, groups)) or "")
    rows = [
        row("source-only", "six", "five", 10),
        row("source-only", "five", "five", 40),
        row("full", "six", "five", 20),
    ]
    rows += [row("oracle", "five", "five", 30), row("oracle", "six", "five", 12)]
    networks_section(rows, ("source-only", "full", "oracle"), ["five"])
    assert charts == [({"source-only": [10], "full": [20], "oracle": [30]}, ["m"])]


def test_a_confusion_takes_a_line_for_each_class(tmp_path: Path) -> None:
    path = write_results(tmp_path / "results.json", [row("full", "six", "five", 20)])
    assert "[5, 1]" in path.read_text(encoding="utf-8")
    assert read_results(path)[0].confusion == [[5, 1], [0, 3]]
