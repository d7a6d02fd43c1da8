from __future__ import annotations

import os
import pty
import re
import signal
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from ugocc import verbs
from ugocc.calm import quieten
from ugocc.cli import STATUS, _cause, main
from ugocc.verbs import GROUPS, VERBS, Verb, every_verb


@pytest.mark.parametrize(
    ("words", "verb"), list(every_verb()), ids=lambda v: "-".join(v) if isinstance(v, tuple) else ""
)
def test_every_verb_has_help_with_an_example(
    words: tuple[str, ...], verb: Verb, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as leave:
        main([*words, "--help"])
    assert leave.value.code == 0
    shown = capsys.readouterr().out.splitlines()
    assert shown[0].startswith(f"usage: ugocc {' '.join(words)} ")
    assert f"  {verb.example}" in shown
    assert verb.summary in shown


def test_the_overview_names_every_verb(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    shown = capsys.readouterr().out
    listed = [line.split()[0] for line in shown.splitlines() if line.startswith("  ")]
    assert sorted(listed) == sorted(VERBS)
    assert sorted(listed) == sorted(name for names in GROUPS.values() for name in names)
    assert "Example: ugocc demo" in shown
    assert all(f"{status} " in STATUS for status in (0, 1, 2, 130))
    assert STATUS in shown
    assert main(["--version"]) == 0
    assert main(["data"]) == 0
    assert "ugocc data VERB --help" in capsys.readouterr().out


def test_an_unknown_verb_and_bad_input_have_their_exit_status(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fly"]) == 2
    assert "one of demo" in capsys.readouterr().err
    assert main(["pretrian"]) == 2
    assert "did you mean 'pretrain'?" in capsys.readouterr().err
    assert main(["data", "chek"]) == 2
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

    monkeypatch.setitem(verbs.VERBS, "models", verbs.Verb(fail, "Fails.", "ugocc models", ""))  # type: ignore[arg-type]
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


def test_lightning_says_nothing_of_itself() -> None:
    code = (
        "from ugocc.calm import quieten; quieten();"
        "from lightning.pytorch.utilities.rank_zero import rank_zero_info, rank_zero_warn;"
        "rank_zero_info('GPU ' + 'available: False'); rank_zero_warn('the lens is dirty')"  # warnings may show the line
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "the lens is dirty" in done.stderr
    assert "GPU available" not in done.stdout + done.stderr


@pytest.mark.parametrize("words", [["fit"], ["adapt"], ["test"], ["predict"]])
def test_a_verb_without_options_says_what_is_missing(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(words) == 1
    error = capsys.readouterr().err
    assert "Traceback" not in error
    assert "ugocc data render" in error or "no such folder" in error


@pytest.mark.parametrize("words", [["--help"], ["runs"], ["runs", "--last"], ["completion", "fish"], ["fly"]])
def test_what_needs_no_network_starts_without_torch(words: list[str], tmp_path: Path) -> None:
    code = "import sys; from ugocc.cli import main; main(sys.argv[1:]); print(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0
    assert not {"torch", "lightning", "timm", "numpy"} & set(done.stderr.split())


def test_the_line_about_an_error_says_its_cause() -> None:
    in_worker = "Caught OSError in DataLoader worker process 0.\nOriginal Traceback:\n  File x\nOSError: no room\n"
    assert _cause(RuntimeError(in_worker)) == "OSError: no room"
    assert _cause(RuntimeError("Exception from core.cpp:132:\nthe graph is cut\nmore")) == (
        "Exception from core.cpp:132: the graph is cut"
    )
    assert _cause(ValueError("first\nsecond")) == "first"
    assert _cause(ValueError()) == "no message"


@pytest.mark.parametrize(("resumes", "after"), [(False, ""), (True, "; the same command continues where it stopped")])
def test_an_interrupted_command_says_so(resumes: bool, after: str) -> None:
    code = (
        "import signal, sys, time; from ugocc import cli, verbs;"
        "signal.signal(signal.SIGINT, signal.default_int_handler);"  # whatever started the tests may ignore it
        "verbs.VERBS['models'] = verbs.Verb(lambda a, t: (print('ready', flush=True), time.sleep(60)), '', '', '', "
        f"{resumes});"
        "sys.exit(cli.main(['models']))"
    )
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as done:
        assert done.stdout is not None
        assert done.stdout.readline() == "ready\n"
        done.send_signal(signal.SIGINT)
        _, error = done.communicate(timeout=60)
    assert done.returncode == 130
    assert error == f"\nugocc models: interrupted{after}\n"


def test_an_interrupted_training_says_so_too(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Lightning catches Ctrl-C itself, and leaves."""

    def train(argv: object, texts: object) -> None:
        from lightning import Trainer
        from lightning.pytorch.demos.boring_classes import BoringModel

        class Interrupted(BoringModel):
            def training_step(self, batch: object, batch_idx: int) -> None:
                raise KeyboardInterrupt

        Trainer(max_steps=1, logger=False, enable_checkpointing=False, accelerator="cpu").fit(Interrupted())

    monkeypatch.setitem(verbs.VERBS, "fit", verbs.Verb(train, "", "", "", True))
    assert main(["fit"]) == 130
    assert "ugocc fit: interrupted; the same command continues where it stopped" in capsys.readouterr().err


def test_a_command_that_leaves_by_itself_keeps_its_status(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(verbs.VERBS, "fit", verbs.Verb(lambda a, t: sys.exit(3), "", "", ""))
    with pytest.raises(SystemExit, match="3"):
        main(["fit"])


def test_who_reads_no_further_sees_no_traceback(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "ugocc.cli", "completion", "fish"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=tmp_path) as done:
        assert done.stdout is not None
        assert done.stderr is not None
        done.stdout.close()
        assert done.stderr.read() == b""
    assert done.returncode == 1


@pytest.mark.parametrize("plain", [True, False])
def test_a_terminal_gets_a_table_and_colours_only_if_they_are_wanted(plain: bool, tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "try"
    folder.mkdir(parents=True)
    recipe = "model: {name: flashocc, size: debug}\nvariant: full\noptim: {steps: 30}\n"
    (folder / "recipe.yaml").write_text(recipe, encoding="utf-8")
    terminal, inner = pty.openpty()
    variables = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "FORCE_COLOR")}
    variables |= {"TERM": "xterm-256color", "COLUMNS": "100"} | ({"NO_COLOR": "1"} if plain else {})
    command = [sys.executable, "-m", "ugocc.cli", "runs"]
    done = subprocess.run(command, stdout=inner, stderr=inner, cwd=tmp_path, env=variables, timeout=60)
    os.close(inner)
    shown = os.read(terminal, 65536).decode()
    os.close(terminal)
    assert done.returncode == 0
    assert "not begun" in shown
    assert bool(re.search(r"\x1b\[[0-9;]*3[0-9]m", shown)) != plain
