from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from ugocc import extras
from ugocc.cli import main
from ugocc.errors import DataError
from ugocc.serving import doctor
from ugocc.serving.doctor import DoctorSettings, examine
from ugocc.serving.runs import RunsSettings, list_runs


def run_folder(folder: Path, state: str) -> None:
    folder.mkdir(parents=True)
    recipe = {"model": {"name": "flashocc", "size": "debug"}, "variant": "full", "optim": {"steps": 30}}
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe), encoding="utf-8")
    for name, there in (("checkpoints/last.ckpt", state != "not begun"), ("model/model.json", state == "finished")):
        if there:
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_text("{}", encoding="utf-8")


def test_runs_are_listed_with_their_state(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    for state in ("finished", "interrupted", "not begun"):
        run_folder(tmp_path / "some" / state.replace(" ", "-"), state)
    (tmp_path / "recipe.yaml").write_text("something: else", encoding="utf-8")
    runs = list_runs(RunsSettings(tmp_path, json=True))
    assert {run.folder.split("/")[-1].replace("-", " "): run.state for run in runs} == {
        s: s for s in ("finished", "interrupted", "not begun")
    }
    printed = json.loads(capsys.readouterr().out)
    assert printed[0]["model"] == "flashocc-debug"
    assert [p["changed"] for p in printed] == sorted((p["changed"] for p in printed), reverse=True)
    assert main(["runs", "--folder", str(tmp_path / "nothing")]) == 0
    assert "no runs" in capsys.readouterr().out


def test_a_folder_may_have_brackets_in_its_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("exp[lr=0.1]", "of [", "[/a]"):
        folder = tmp_path / name
        folder.mkdir(parents=True)
        text = "model: {name: flashocc, size: debug}\nvariant: full\noptim: {steps: 30}\n"
        (folder / "recipe.yaml").write_text(text, encoding="utf-8")
    list_runs(RunsSettings(tmp_path))
    shown = capsys.readouterr().out
    assert all(name in shown for name in ("exp[lr=0.1]", "of [", "[/a]"))


def test_doctor_finds_this_installation_well(
    tiny_fleets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(tmp_path)
    found = {finding.what: finding for finding in examine(DoctorSettings((tiny_fleets / "five",), json=True))}
    assert found["torch"].state == found["cpu"].state == "ok"
    assert found[str(tiny_fleets / "five")].text == "train 3 frames, val 3 frames, test 3 frames"
    assert {entry["what"] for entry in json.loads(capsys.readouterr().out)} == set(found)


def test_doctor_names_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(doctor, "requires", lambda name: ["no-such-package>=1", "numba>=1; extra == 'synthetic'"])
    monkeypatch.setitem(extras.EXTRAS, "wings", extras.Extra(("no_such_module", "json"), "flying"))
    with pytest.raises(DataError, match="no-such-package"):
        examine(DoctorSettings())
    assert "extra wings: flying needs no-such-module: pip install 'ugocc[wings]'" in capsys.readouterr().out
    assert main(["doctor", "--root", f"[{tmp_path / 'nothing'}]"]) == 1
