"""Every verb, typed: one JSON document where asked, no control characters in a pipe, a last run that is found."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ugocc.cli import main
from ugocc.verbs import every_verb

TRAIN = "--model.size debug --optim.steps 2 --optim.warmup_steps 0 --run.accelerator cpu --run.checkpoint_every 1"
SMALL = "--size debug --steps [1,0,1] --seeds [0] --directions [six-five] --fleets data/embedded --split val"
FLEET = "--root data/embedded/five --split val"
TYPED = {
    "test": f"--checkpoint last {FLEET} --workers 0 --accelerator cpu --save_predictions true",
    "score": f"--predictions runs/test/volumes {FLEET}",
    "predict": f"--checkpoint last {FLEET} --limit 2 --device cpu",
    "export": f"--checkpoint last {FLEET} --format torch",
    "models": "--sizes [debug] --measure false",
    "runs": "",
    "doctor": "",
    "data check": FLEET,
    "table": "--results results --pages [page.md]",
    "bench": "--models [flashocc] --sizes [debug] --parts [networks] --matrix 128 --runs 1 --seconds 0.1",
    "reproduce": f"{SMALL} --models [flashocc] --adapted [] --adapted_once [] --plan",
    "ablate": f"{SMALL} --model flashocc --variants [oracle]",
    "demo": "--fleets.root data/embedded --fleets.train 1 --fleets.val 1 --fleets.test 1 --fleets.drive.frames 3 "
    "--fleets.drive.width 176 --fleets.processes 1 --size debug --steps [2,2]",
}
"""What is typed after each verb that reports; the order is that in which one needs what another wrote."""
HAS = {
    "test": {"checkpoint", "rows", "results", "table", "report"},
    "score": {"predictions", "rows", "results", "table"},
    "predict": {"checkpoint", "fleet", "split", "frames", "out", "volumes", "pictures", "films"},
    "export": {"graph", "bytes", "format", "precision", "outputs", "about"},
    "data check": {"root", "split", "fleet", "frames", "cameras"},
    "table": {"pages"},
    "bench": {"ceilings", "networks", "out"},
    "reproduce": {"results", "missing", "seconds"},
    "ablate": {"rows", "results", "table"},
    "demo": {"rows", "files"},
}
"""Names at the top of a verb's document."""


@pytest.fixture(scope="module")
def place(tiny_fleets: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder to work in: fleets, a page with a table, and a model that was just trained."""
    folder = tmp_path_factory.mktemp("work")
    shutil.copytree(tiny_fleets, folder / "data" / "embedded")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert main(["fit", *TRAIN.split(), "--source.root", "data/embedded/six", "--run.folder", "runs/try"]) == 0
        assert main(["test", *TYPED["test"].split(), "--report", "false", "--out", "results/tried"]) == 0
        Path("page.md").write_text("<!-- results:tried -->\n<!-- /results:tried -->\n", encoding="utf-8")
        yield folder


def run(words: str, capsys: pytest.CaptureFixture[str]) -> tuple[str, str]:
    status = main(words.split())
    shown = capsys.readouterr()
    assert status == 0, shown.err
    return shown.out, shown.err


def test_all_verbs_that_report_are_here() -> None:
    reporting = {" ".join(words) for words, verb in every_verb() if "json" in _options(verb.settings)}
    assert reporting == set(TYPED)


def _options(settings: str) -> set[str]:
    from ugocc.options import options_of

    return {option.name for option in options_of(settings)}


@pytest.mark.parametrize("verb", list(TYPED))
def test_with_json_stdout_is_one_document(verb: str, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, err = run(f"{verb} {TYPED[verb]} --json true", capsys)
    document: Any = json.loads(out)
    if verb in HAS:
        assert HAS[verb] <= document.keys()
    for path in _paths(document):
        assert Path(path).exists(), path
    assert not re.search(r"[\x1b\r\x08]", out + err)


def _paths(document: Any) -> Iterator[str]:
    names = ("table", "report", "about", "out", "graph", "volumes", "pictures", "films", "files", "pages", "checkpoint")
    for name in names if isinstance(document, dict) else ():
        found = document.get(name, [])
        yield from [found] if isinstance(found, str) else found


@pytest.mark.parametrize("verb", list(TYPED))
def test_a_pipe_gets_no_control_characters(
    verb: str, place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    out, err = run(f"{verb} {TYPED[verb]}", capsys)
    assert out
    assert not re.search(r"[\x1b\r\x08]", out + err)
    with pytest.raises(json.JSONDecodeError):
        json.loads(out)


def test_other_verbs_too(place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")  # a wish for colours is none for a bar that moves
    for words in (
        f"view {FLEET} --limit 2",
        f"data convert {FLEET} --limit 2 --out data/converted",
        "data render --root data/rendered --train 1 --val 0 --test 0 --drive.frames 1 --drive.width 176 --processes 1",
    ):
        out, err = run(words, capsys)
        assert not re.search(r"[\x1b\r\x08]", out + err), words


def test_progress_is_told_on_stderr(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, err = run(f"predict {TYPED['predict']}", capsys)
    assert out == "2 frames of five: runs/predict\n"
    assert "predict five: 2 of 2, 0:00 left" in err


def test_trainings_and_tables_are_the_last_run_when_they_are_done(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fleets = "--source.root data/embedded/six --target.root data/embedded/five"
    short = f"{fleets} {TRAIN} --model.name flashocc --run.report false --start last"
    typed = {
        "runs/try": f"fit {TRAIN} --source.root data/embedded/six --run.folder runs/try",
        "runs/pre": f"pretrain {short} --run.folder runs/pre",
        "runs/mine": f"adapt {short} --run.folder runs/mine --choice.candidates 1",
        "runs/ablation": f"ablate {TYPED['ablate']}",
        "runs/demo": f"demo {TYPED['demo']}",
    }
    for folder, words in typed.items():
        run(words, capsys)
        assert run("runs --last", capsys)[0] == f"{folder}\n"
    for folder, start in (("pre", "try"), ("mine", "pre")):
        recipe = (place / "runs" / folder / ("adapted" if folder == "mine" else "") / "recipe.yaml").read_text()
        assert f"start: runs/{start}/model" in recipe
    run(f"reproduce {TYPED['reproduce']}", capsys)  # a plan makes nothing
    assert main(["fit", "--source.root", "data/none", "--run.folder", "runs/failed"]) == 1
    capsys.readouterr()
    assert run("runs --last", capsys)[0] == "runs/demo\n"
    document = json.loads(run(f"predict {TYPED['predict']} --out runs/demo/predicted --json", capsys)[0])
    assert document["checkpoint"] == "runs/demo/full/model"


def test_an_error_is_a_document_where_json_is_asked_for(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "check", "--root", "data/none", "--json", "true"]) == 1
    shown = capsys.readouterr()
    assert json.loads(shown.out)["error"]["where"] == "data/none"
    assert shown.err.startswith("ugocc data check: data/none")
    assert main(["predict", "--checkpoint", "nothing", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["error"]["field"] == "checkpoint"
