"""What the pages tell a reader to type: commands are parsed by the verbs they name, Python is run."""

from __future__ import annotations

import json
import os
import re
import shlex
from collections.abc import Iterator
from itertools import takewhile
from pathlib import Path

import pytest

from ugocc.cli import main
from ugocc.models.assemble import build_model, model_settings
from ugocc.training.checkpoint import save_model
from ugocc.verbs import VERBS, Verb

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(language: str) -> Iterator[tuple[str, str]]:
    for page in PAGES:
        name = page.relative_to(ROOT).as_posix()
        for match in re.finditer(rf"```{language}\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL):
            yield name, match[1]


def commands() -> Iterator[tuple[str, list[str]]]:
    for name, block in blocks("sh"):
        for line in block.replace("\\\n", " ").splitlines():
            words = list(takewhile(lambda word: word not in ("|", ">"), shlex.split(line, comments=True)))
            if words:
                yield name, words


@pytest.mark.parametrize(
    ("page", "words"), list(commands()), ids=lambda v: v if isinstance(v, str) else " ".join(v[:2])
)
def test_commands_are_understood(
    page: str, words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(ROOT)
    if words[0] == "ugocc":
        entry = VERBS[words[1]]
        assert isinstance(entry, Verb) or words[2] in entry
        with pytest.raises(SystemExit) as left:
            main([*words[1:], "--print_config"])
        assert left.value.code == 0, capsys.readouterr().err
    elif words[0] == "python":
        text = (ROOT / words[1]).read_text(encoding="utf-8")
        for option in [word for word in words[2:] if word.startswith("--")]:
            assert f'"{option}"' in text, option
    elif words[0] == "make":
        assert re.search(rf"^{words[1]}:", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    else:
        assert words[0] in ("pip", "cd", "git", "ls", "tensorboard"), f"{page}: no check for {words}"


def test_there_are_commands_to_check():
    assert len(list(commands())) > 20
    assert list(blocks("python"))


@pytest.mark.parametrize(("page", "block"), list(blocks("python")), ids=lambda v: v if v.endswith(".md") else "")
def test_python_runs(page: str, block: str, tiny_fleets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    code = compile(block, page, "exec")
    (tmp_path / "data").mkdir()
    for name in ("embedded", "small"):
        (tmp_path / "data" / name).symlink_to(tiny_fleets, target_is_directory=True)
    model = build_model(model_settings("flashocc", "debug"))
    save_model(tmp_path / "runs" / "demo" / "full" / "model", model, {"train_fleet": "six"})
    monkeypatch.chdir(tmp_path)
    exec(code, {"__name__": "__main__"})


@pytest.mark.parametrize(("page", "block"), list(blocks("json")), ids=lambda v: v if v.endswith(".md") else "")
def test_json_is_json(page: str, block: str):
    json.loads(re.sub(r"\s*//.*|\.\.\.,?", "", block))


def test_every_page_is_reached_from_the_readme_or_the_menu():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    menu = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    for page in PAGES[1:]:
        name = os.path.relpath(page, ROOT / "docs")
        assert f"docs/{name}" in readme or name in menu, name
