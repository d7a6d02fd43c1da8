from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest

from ugocc.config import build_settings, parse_settings, plain, read_recipe
from ugocc.errors import DataError


@dataclass(frozen=True)
class Inner:
    lower: tuple[float, float] = (0.0, 1.0)
    """Corner."""
    rate: float = 1e-3
    """Rate."""
    on: bool = False
    """Switch."""


@dataclass(frozen=True)
class Many:
    roots: tuple[Path, ...] = ()
    """Folders."""


@dataclass(frozen=True)
class Stages:
    steps: tuple[int, int, int] | None = None
    """Steps."""


@dataclass(frozen=True)
class Outer:
    inner: Inner = field(default_factory=Inner)
    """Inner settings."""
    kind: Literal["a", "b"] = "a"
    """Kind."""
    folder: Path | None = None
    """Folder."""


def _recipe(folder: Path, text: str) -> Path:
    path = folder / "recipe.yaml"
    path.write_text(text)
    return path


def test_a_recipe_names_only_what_differs_and_words_override_it(tmp_path: Path) -> None:
    path = _recipe(tmp_path, "inner:\n  rate: 0.5\nkind: b\n")
    settings = parse_settings(Outer, ["--config", str(path), "--inner.lower", "[2, 3]"])
    assert settings == Outer(Inner((2.0, 3.0), 0.5), "b", None)


@pytest.mark.parametrize(
    ("text", "key", "advice"),
    [("inner:\n  rte: 1\n", "inner.rte", "inner.rate"), ("kid: a\n", "kid", "kind"), ("zzz: 1\n", "zzz", "folder")],
)
def test_an_unknown_key_names_the_file_and_the_nearest_key(tmp_path: Path, text: str, key: str, advice: str) -> None:
    path = _recipe(tmp_path, text)
    with pytest.raises(DataError) as error:
        parse_settings(Outer, ["--config", str(path)])
    assert error.value.where == str(path)
    assert error.value.field == key
    assert advice in str(error.value)


def test_a_value_of_the_wrong_type_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"inner\.rate"):
        parse_settings(Outer, ["--config", str(_recipe(tmp_path, "inner:\n  rate: fast\n"))])
    with pytest.raises(DataError, match="kind"):
        parse_settings(Outer, ["--kind", "c"])


def test_a_mistyped_option_is_told_the_nearest_and_a_switch_of_any_depth_may_stand_alone() -> None:
    with pytest.raises(DataError, match=r"--inner\.ratte.*expected --inner\.rate, or another option") as error:
        parse_settings(Outer, ["--inner.ratte", "3"])
    assert error.value.where == "command line"
    assert parse_settings(Outer, ["--inner.on"]).inner.on
    assert parse_settings(Outer, ["--inner.on", "--kind", "b"]) == Outer(Inner(on=True), "b")
    assert not parse_settings(Outer, ["--inner.on", "false"]).inner.on


def test_a_list_may_go_without_brackets() -> None:
    wanted = Outer(Inner(lower=(-1.0, 2.0)))
    for words in (["--inner.lower", "-1,2"], ["--inner.lower=-1,2"], ["--inner.lower", "[-1, 2]"]):
        assert parse_settings(Outer, words) == wanted
    for words in (["--steps", "4,1,2"], ["--steps=4,1,2"], ["--steps", "[4, 1, 2]"]):
        assert parse_settings(Stages, words) == Stages((4, 1, 2))
    for words in (["--steps", "null"], ["--steps=null"], []):
        assert parse_settings(Stages, words) == Stages()
    assert parse_settings(Many, ["--roots", "a/b"]) == Many((Path("a/b"),))
    assert parse_settings(Many, ["--roots", "a/b,c"]) == parse_settings(Many, ["--roots=[a/b,c]"])


def test_plain_values_build_the_same_settings() -> None:
    settings = Outer(Inner((3.0, 4.0), 0.25), "b", Path("x"))
    assert build_settings(Outer, plain(settings), "here") == settings
    with pytest.raises(DataError, match=r"here: inner\.lowr"):
        build_settings(Outer, {"inner": {"lowr": 1}}, "here")


def test_print_config_shows_the_whole_recipe(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as leave:
        parse_settings(Outer, ["--kind", "b", "--print_config"])
    assert leave.value.code == 0
    shown = capsys.readouterr().out
    assert "kind: b" in shown
    assert "rate: 0.001" in shown


@pytest.mark.parametrize("text", ["a: [", "- 1\n"])
def test_a_file_that_is_no_tree_of_keys(tmp_path: Path, text: str) -> None:
    with pytest.raises(DataError, match="recipe"):
        read_recipe(_recipe(tmp_path, text))
    with pytest.raises(DataError, match="no such file"):
        read_recipe(tmp_path / "missing.yaml")
