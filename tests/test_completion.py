"""Completion scripts, sourced by the shells they are for where those are installed."""

from __future__ import annotations

import os
import pty
import select
import shutil
import subprocess
import sys
import time
from importlib import import_module
from pathlib import Path

import pytest

from ugocc.cli import main
from ugocc.config import settings_parser
from ugocc.options import options_of
from ugocc.verbs import VERBS, Verb, every_verb

ASKED = {
    "": {"demo", "fit", "predict", "data", "completion"},
    "pre": {"pretrain", "predict"},
    "data ": {"render", "check", "convert", "segment"},
    "data check --ro": {"--root"},
    "test --runtime ": {"onnxruntime", "openvino"},
    "test --save_predictions ": {"true", "false"},
    "predict --checkpoint la": {"laptop", "last"},
    "fit --optim.w": {"--optim.weight_decay", "--optim.warmup_steps"},
    "fit --config rec": {"recipes"},
    "completion ": {"bash", "zsh", "fish"},
}
"""What is typed after ``ugocc``, and what is offered, in a folder with the file ``recipes``."""


@pytest.fixture
def script(request: pytest.FixtureRequest, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    shell = request.param
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    assert main(["completion", shell]) == 0
    path = tmp_path / f"ugocc.{shell}"
    path.write_text(capsys.readouterr().out, encoding="utf-8")
    (tmp_path / "recipes").touch()
    return path


@pytest.mark.parametrize(
    ("words", "verb"), list(every_verb()), ids=lambda v: "-".join(v) if isinstance(v, tuple) else ""
)
def test_options_read_from_the_source_are_those_of_the_parser(words: tuple[str, ...], verb: Verb) -> None:
    module, name = verb.settings.split(":")
    parser = settings_parser(getattr(import_module(module), name))
    options = {
        option.removeprefix("--")
        for action in parser._actions
        for option in action.option_strings
        if option.startswith("--") and not option.endswith(("+", ".help"))
    }
    read = {option.name: option for option in options_of(verb.settings)}
    assert {name for name, option in read.items() if not option.is_positional} == options - {
        "help",
        "config",
        "print_config",
    }
    assert all(option.help for option in read.values())


@pytest.mark.parametrize("script", ["bash"], indirect=True)
def test_bash_completes(script: Path) -> None:
    for typed, wanted in {**ASKED, "test --runtime=o": {"onnxruntime", "openvino"}}.items():
        words = ["ugocc", *typed.replace("=", " = ").split(), *([""] if typed.endswith(" ") or not typed else [])]
        quoted = " ".join(f"'{word}'" for word in words)
        asking = f"source {script}; COMP_WORDS=({quoted}); COMP_CWORD={len(words) - 1}; _ugocc"
        asking += "; printf '%s\\n' \"${COMPREPLY[@]}\""
        _check(typed, wanted, _run(["bash", "--norc", "-c", asking], script))


@pytest.mark.parametrize("script", ["fish"], indirect=True)
def test_fish_completes(script: Path) -> None:
    for typed, wanted in ASKED.items():
        shown = _run(["fish", "--no-config", "-c", f"source {script}; complete -C 'ugocc {typed}'"], script)
        _check(typed, wanted, [line.split("\t")[0].rstrip("/") for line in shown])


@pytest.mark.parametrize("script", ["zsh"], indirect=True)
def test_zsh_completes(script: Path) -> None:
    """zsh completes only where someone types, on a terminal."""
    child, terminal = pty.fork()
    if child == 0:
        os.chdir(script.parent)
        os.execvpe("zsh", ["zsh", "-f", "-i"], {**os.environ, "TERM": "dumb", "PS1": "ready> "})
    try:
        _type(
            terminal,
            f"autoload -U compinit; compinit -u -D; setopt noalwaysprompt; source {script}; print don''e\n",
            "done",
        )
        for typed, wanted in ASKED.items():
            if len(wanted) > 1:
                _type(terminal, f"ugocc {typed}\t\t", *wanted)
                os.write(terminal, b"\x15")  # forget the line
        _type(terminal, "ugocc test --runtime=on\t", "onnxruntime")
    finally:
        os.close(terminal)
        os.waitpid(child, 0)


def test_the_script_is_printed_without_torch() -> None:
    code = (
        "import sys; from ugocc.cli import main; status = main(['completion', 'bash']);"
        "sys.exit(status or any(name in sys.modules for name in ('torch', 'lightning', 'numpy')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "complete -F _ugocc ugocc" in done.stdout


@pytest.mark.parametrize("words", [[], ["tcsh"]])
def test_another_shell_is_a_bad_command(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", *words]) == 2
    assert "shell" in capsys.readouterr().err


def _run(command: list[str], script: Path) -> list[str]:
    done = subprocess.run(command, capture_output=True, text=True, cwd=script.parent, timeout=60)
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    return done.stdout.splitlines()


def _check(typed: str, wanted: set[str], offered: list[str]) -> None:
    if typed:
        assert set(offered) == wanted, typed
    else:
        assert set(offered) == set(VERBS)


def _type(terminal: int, text: str, *wanted: str, patience: float = 30.0) -> None:
    os.write(terminal, text.encode())
    shown, until = "", time.monotonic() + patience
    while not all(word in shown.removeprefix(text) for word in wanted):
        assert time.monotonic() < until, f"{text!r}: {shown!r}"
        if select.select([terminal], [], [], 0.2)[0]:
            shown += os.read(terminal, 65536).decode(errors="replace")
