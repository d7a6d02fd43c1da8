from __future__ import annotations

from types import SimpleNamespace

import pytest
from lightning.pytorch.callbacks import RichProgressBar

from ugocc import progress
from ugocc.training.progress import LabelledProgressBar, ProgressLines, Stopwatch, progress_callback


def test_time_left_is_told_at_the_pace_since_the_last_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = 0.0
    monkeypatch.setattr(progress.time, "monotonic", lambda: now)
    lines = ProgressLines("train", every=15.0)
    trainer = SimpleNamespace(global_step=100, max_steps=400, is_global_zero=True, callback_metrics={"loss": 2.5})
    lines.on_train_start(trainer, None)
    # The first step waits for something that is done once; then a step takes a second.
    for step, time in ((101, 300.0), (102, 301.0), (116, 315.0), (400, 599.0)):
        trainer.global_step, now = step, time
        lines.on_train_batch_end(trainer, None, None, None, 0)
    shown = capsys.readouterr()
    assert not shown.out  # stdout is for results
    assert shown.err.splitlines() == [
        "train: step 101/400, loss 2.500, time left not known yet",
        "train: step 116/400, loss 2.500, 4:44 left",
        "train: step 400/400, loss 2.500, 0:00 left",
    ]
    trainer.is_global_zero = False  # another process: the first speaks for all
    lines.on_train_batch_end(trainer, None, None, None, 0)
    assert not capsys.readouterr().err


def test_the_time_of_a_run_that_was_interrupted_is_that_of_all_its_sittings(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("ugocc.training.progress.time.monotonic", lambda: now)
    first = Stopwatch()
    now = 160.0
    kept = first.state_dict()
    now = 5.0  # another boot of the machine
    second = Stopwatch()
    second.load_state_dict(kept)
    now = 15.0
    assert second.seconds == 70


@pytest.mark.parametrize(("terminal", "kind"), [(True, RichProgressBar), (False, ProgressLines)])
def test_a_bar_is_for_terminals(terminal: bool, kind: type, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress.sys.stderr, "isatty", lambda: terminal)
    shown = progress_callback("test on five")
    assert isinstance(shown, kind)
    if isinstance(shown, LabelledProgressBar):
        assert shown.test_description == shown._get_train_description(0) == "test on five"


def test_a_loop_tells_how_far_it_is_without_a_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = 0.0
    monkeypatch.setattr(progress.time, "monotonic", lambda: now)
    for _ in progress.follow(range(4), "predict five"):
        now += 10.0
    for _ in progress.follow(iter("ab"), "count"):
        now += 20.0
    assert capsys.readouterr().err.splitlines() == [
        "predict five: 2 of 4, 0:20 left",
        "predict five: 4 of 4, 0:00 left",
        "count: 1 done",
        "count: 2 done",
    ]
