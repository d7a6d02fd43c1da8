from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
from made_frames import camera, frame

from ugocc.data.fleet import fleet_from_frames
from ugocc.data.fleet_manifest import FLEET
from ugocc.data.frame import FrameSource
from ugocc.data.source import open_fleet
from ugocc.errors import DataError
from ugocc.training.run_folder import check_same_recipe, is_finished, record_recipe
from ugocc.training.settings import RunSettings


@dataclass(frozen=True)
class Recipe:
    """Stands for that of any stage."""

    steps: int = 10
    run: RunSettings = field(default_factory=RunSettings)


@pytest.fixture
def fleet(tmp_path: Path) -> Path:
    """An own fleet of two frames."""
    one = frame((camera("front"),))
    two = replace(one, token="b", timestamp_us=one.timestamp_us + 500_000)
    return fleet_from_frames(tmp_path / "cars", [one, two], "train", "cars").parent


def _of(fleet: Path) -> dict[str, FrameSource]:
    return {"source": open_fleet(fleet, "train")}


def test_a_run_goes_on_with_its_recipe_and_recordings_alone(fleet: Path, tmp_path: Path) -> None:
    run, recordings = tmp_path / "run", _of(fleet)
    record_recipe(Recipe(), run, recordings)
    (run / "checkpoints").mkdir()
    check_same_recipe(Recipe(), run, recordings)
    with pytest.raises(DataError, match=r"recipe\.yaml: steps: found 10 there, 20 now"):
        check_same_recipe(Recipe(20), run, recordings)
    moved = fleet.rename(tmp_path / "moved")
    check_same_recipe(Recipe(), run, _of(moved))


@pytest.mark.parametrize("corrected", ["calibration", "frames", "rig"])
def test_a_fleet_that_was_corrected_is_not_passed_over(corrected: str, fleet: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    record_recipe(Recipe(), run, _of(fleet))
    (run / "model").mkdir()
    manifest = fleet / "manifest.jsonl"
    lines = manifest.read_text().splitlines()
    if corrected == "calibration":
        line = json.loads(lines[0])
        pose = np.reshape(line["cameras"][0]["ego_T_camera"], (4, 4))
        pose[2, 3] += 1.73
        line["cameras"][0]["ego_T_camera"] = pose.ravel().tolist()
        lines[0] = json.dumps(line)
    elif corrected == "frames":
        line = json.loads(lines[1])
        lines.append(json.dumps(line | {"token": "c", "timestamp_us": line["timestamp_us"] + 500_000}))
    else:
        shared = json.loads((fleet / FLEET).read_text())
        (fleet / FLEET).write_text(json.dumps(shared | {"rig": {"front": {"distortion": [0.1, 0, 0, 0, 0]}}}))
    manifest.write_text("\n".join(lines))
    with pytest.raises(DataError, match=r"recordings\.json: source\..*another run\.folder"):
        check_same_recipe(Recipe(), run, _of(fleet))


def test_runs_from_before_recordings_were_told_apart_go_on(fleet: Path, tmp_path: Path) -> None:
    record_recipe(Recipe(), tmp_path, _of(fleet))
    (tmp_path / "recordings.json").unlink()
    check_same_recipe(Recipe(), tmp_path, _of(fleet))


def test_a_recipe_of_which_nothing_was_made_may_be_corrected(fleet: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    record_recipe(Recipe(), run, _of(fleet))
    check_same_recipe(Recipe(20), run, _of(fleet))
    (run / "voted").mkdir()
    with pytest.raises(DataError, match=r"another run\.folder"):
        check_same_recipe(Recipe(20), run, _of(fleet))


def test_a_run_that_is_finished_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert not is_finished(tmp_path)
    (tmp_path / "model.json").write_text("{}")
    assert is_finished(tmp_path)
    assert capsys.readouterr().err == f"finished before: {tmp_path}\n"
