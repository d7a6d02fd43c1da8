from __future__ import annotations

import io
import json
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from rich.table import Table

from ugocc.errors import DataError
from ugocc.output import check_writable, json_text, reporting, show


@dataclass(frozen=True)
class _Found:
    path: Path
    numbers: tuple[float, ...]


def test_a_folder_for_results_is_tried_beforehand(tmp_path: Path) -> None:
    check_writable(tmp_path / "deep" / "out")
    assert list((tmp_path / "deep" / "out").iterdir()) == []
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="expected a folder that can be written to"):
        check_writable(tmp_path / "file" / "out")
    with pytest.raises(DataError, match="file: folder: found a file, expected a folder that can be written to"):
        check_writable(tmp_path / "file")


def test_people_get_words_and_scripts_one_document(capsys: pytest.CaptureFixture[str]) -> None:
    for as_json in (False, True):
        with reporting(as_json) as report:
            print("working")
            report([_Found(Path("a/b"), (1.0, float("nan")))], "found a/b")
            print("done")
    shown = capsys.readouterr()
    people, _, document = shown.out.partition("done\n")
    assert people == "working\nfound a/b\n"
    assert json.loads(document) == [{"path": "a/b", "numbers": [1.0, None]}]
    assert shown.err == "working\ndone\n"


def test_an_error_is_a_document_too_unless_there_is_one(capsys: pytest.CaptureFixture[str]) -> None:
    error = DataError("frames.json", "token", "none", "one")
    with pytest.raises(DataError), reporting(True):
        raise error
    told = json.loads(capsys.readouterr().out)["error"]
    assert told == {
        "type": "DataError",
        "message": str(error),
        "where": "frames.json",
        "field": "token",
        "found": "none",
        "expected": "one",
    }
    with pytest.raises(DataError):
        _report_and_fail(error)
    assert json.loads(capsys.readouterr().out) == {"problems": 1}
    with pytest.raises(DataError), reporting(False):
        raise error
    assert not capsys.readouterr().out


def _report_and_fail(error: DataError) -> None:
    with reporting(True) as report:
        report({"problems": 1})
        raise error


def test_json_has_no_numbers_that_json_does_not_have() -> None:
    assert json.loads(json_text({"a": float("inf"), "b": [float("nan"), 2]})) == {"a": None, "b": [None, 2]}


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("terminal", "variables", "coloured"),
    [
        (True, {}, True),
        (True, {"NO_COLOR": "1"}, False),
        (True, {"TERM": "dumb"}, False),
        (False, {}, False),
        (False, {"FORCE_COLOR": "1"}, True),
        (False, {"FORCE_COLOR": "1", "NO_COLOR": "1"}, False),
    ],
)
def test_colours_are_for_terminals_unless_asked_otherwise(
    monkeypatch: pytest.MonkeyPatch, terminal: bool, variables: dict[str, str], coloured: bool
) -> None:
    for name in ("NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {"TERM": "xterm-256color", **variables}.items():
        monkeypatch.setenv(name, value)
    stream = _Terminal() if terminal else io.StringIO()
    monkeypatch.setattr(sys, "stdout", stream)
    table = Table("state")
    table.add_row("[red]problem")
    show(table)
    assert ("\x1b[31m" in stream.getvalue()) == coloured


def test_a_table_in_a_pipe_is_not_folded(capsys: pytest.CaptureFixture[str]) -> None:
    table = Table("run")
    table.add_row("runs/" + "long-name/" * 20)
    show(table)
    assert "long-name/" * 20 in capsys.readouterr().out
