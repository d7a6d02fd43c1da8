from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from ugocc import cli
from ugocc.calm import quieten
from ugocc.cli import VERBS, Verb, main


def _verbs() -> Iterator[tuple[list[str], Verb]]:
    for name, entry in VERBS.items():
        if isinstance(entry, Verb):
            yield [name], entry
        else:
            yield from (([name, inner], verb) for inner, verb in entry.items())


@pytest.mark.parametrize(("words", "verb"), list(_verbs()), ids=lambda v: "-".join(v) if isinstance(v, list) else "")
def test_every_verb_has_help_with_an_example(words: list[str], verb: Verb, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as leave:
        main([*words, "--help"])
    assert leave.value.code == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert verb.example in shown
    assert verb.summary in shown


def test_the_overview_names_every_verb(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    shown = capsys.readouterr().out
    assert all(name in shown for name in VERBS)
    assert main(["--version"]) == 0


def test_an_unknown_verb_and_bad_input_have_their_exit_status(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fly"]) == 2
    assert "one of demo" in capsys.readouterr().err
    assert main(["fit", "--config", "no-such-recipe.yaml"]) == 1
    shown = capsys.readouterr().err
    assert "no-such-recipe.yaml" in shown
    assert "Traceback" not in shown


def test_a_misspelt_option_is_a_bad_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["table", "--resluts", "x"]) == 2
    assert "resluts" in capsys.readouterr().err


def test_an_unexpected_error_is_one_line_unless_asked(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(argv: object, texts: object) -> None:
        raise RuntimeError("first line\nsecond line")

    monkeypatch.setitem(cli.VERBS, "models", cli.Verb(fail, "Fails.", "ugocc models"))  # type: ignore[arg-type]
    monkeypatch.delenv("UGOCC_TRACEBACK", raising=False)
    assert main(["models"]) == 1
    error = capsys.readouterr().err
    assert error.startswith("ugocc models: RuntimeError: first line (UGOCC_TRACEBACK=1")
    assert len(error.splitlines()) == 1
    monkeypatch.setenv("UGOCC_TRACEBACK", "1")
    with pytest.raises(RuntimeError):
        main(["models"])


def test_noise_is_left_out_and_other_warnings_come_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYTHONWARNINGS", raising=False)
    with warnings.catch_warnings(record=True) as seen:
        quieten()
        for _ in range(2):
            warnings.warn("Found 3 module(s) in eval mode at the start of training", stacklevel=1)
            warnings.warn("the lens is dirty", stacklevel=1)
    assert [str(warning.message) for warning in seen] == ["the lens is dirty"]


@pytest.mark.parametrize("words", [["fit"], ["adapt"], ["test"], ["predict"]])
def test_a_verb_without_options_says_what_is_missing(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(words) == 1
    error = capsys.readouterr().err
    assert "Traceback" not in error
    assert "data/embedded" in error or "no such folder" in error
