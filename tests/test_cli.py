from __future__ import annotations

from collections.abc import Iterator

import pytest

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
