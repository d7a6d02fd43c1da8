from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from ugocc import last
from ugocc.cli import main
from ugocc.errors import DataError
from ugocc.last import last_model, last_run, lasting, remember
from ugocc.pretrained import find_model


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def model(folder: str) -> Path:
    path = Path(folder)
    path.mkdir(parents=True)
    (path / "model.json").write_text("{}", encoding="utf-8")
    return path


@pytest.mark.parametrize("links", [True, False], ids=["link", "text"])
@pytest.mark.parametrize("inside", ["model", "adapted/model", "full/model"])
def test_the_model_of_the_last_run_is_found(
    here: Path, monkeypatch: pytest.MonkeyPatch, links: bool, inside: str
) -> None:
    if not links:
        monkeypatch.setattr(Path, "symlink_to", _no_links)
    for name in ("one", "two"):
        model(f"runs/{name}/{inside}")
        remember(Path("runs", name))
        assert last_run() == Path("runs", name)
        assert last_model() == find_model("last") == Path("runs", name, inside)
    assert (here / "runs" / "last").is_symlink() == links
    assert sorted(path.name for path in Path("runs").iterdir()) == ["last", "one", "two"]
    assert Path("runs/last").is_file() == (not links)


def _no_links(self: Path, *args: object, **kwargs: object) -> None:
    raise OSError("no links on this disk")


def test_a_folder_that_may_be_moved_is_linked_by_its_name_and_any_other_by_its_path(here: Path) -> None:
    remember(model("runs/one/model").parent)
    assert Path("runs/last").readlink() == Path("one")
    remember(model("elsewhere/two/model").parent)
    assert last_model() == here / "elsewhere" / "two" / "model"


def test_it_is_made_where_there_are_no_runs_yet(here: Path) -> None:
    remember(model("elsewhere/one/model").parent)
    assert last_model() == here / "elsewhere" / "one" / "model"


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_to_is_no_error(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = model("runs/one/model").parent
    Path("runs").chmod(0o500)
    try:
        remember(folder)
    finally:
        Path("runs").chmod(0o700)
    assert "runs/last does not lead to this run: Permission denied" in capsys.readouterr().err
    assert last_run() is None


def test_a_disk_that_refuses_is_no_error(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = model("runs/one/model").parent
    remember(folder)

    def refuse(self: Path, target: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "replace", refuse)
    remember(model("runs/two/model").parent)
    assert "runs/last does not lead to this run: Permission denied" in capsys.readouterr().err
    assert last_run() == Path("runs/one")  # as before
    assert sorted(path.name for path in Path("runs").iterdir()) == ["last", "one", "two"]


def test_a_file_in_the_place_of_the_runs_is_no_error(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("runs").write_text("")
    remember(here)
    assert "runs/last does not lead to this run" in capsys.readouterr().err


def test_a_run_may_have_that_name(here: Path) -> None:
    folder = model("runs/last/model").parent
    remember(folder)
    assert not folder.is_symlink()
    assert last_model() == Path("runs/last/model")


def test_going_on_in_the_last_run_by_that_name_keeps_it(here: Path) -> None:
    remember(model("runs/one/model").parent)
    remember(Path("runs/last"))
    assert Path("runs/last").readlink() == Path("one")


def test_what_is_missing_is_said(here: Path) -> None:
    with pytest.raises(DataError, match="no run that finished in runs"):
        find_model("last")
    Path("runs/ablation").mkdir(parents=True)
    remember(Path("runs/ablation"))
    with pytest.raises(DataError, match=r"no model of its own in runs.ablation"):
        find_model("last")
    Path("runs/ablation").rmdir()  # the link leads nowhere now
    assert last_run() is None


def test_a_start_is_recorded_by_a_name_that_stays_right(here: Path) -> None:
    remember(model("runs/one/model").parent)
    assert lasting(Path("last")) == lasting(Path("runs/last/model")) == Path("runs/one/model")
    assert lasting(Path("runs/two/model")) == Path("runs/two/model")


def test_runs_prints_the_last_one(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["runs", "--last"]) == 1
    assert "no run that finished" in capsys.readouterr().err
    remember(model("runs/one/model").parent)
    assert main(["runs", "--last"]) == 0
    assert capsys.readouterr().out == "runs/one\n"
    assert main(["runs", "--last", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"folder": "runs/one", "runs": []}
    assert last.LAST not in {path.name for path in Path("runs/one").iterdir()}
