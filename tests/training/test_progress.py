from __future__ import annotations

from types import SimpleNamespace

import pytest

from ugocc.training import progress


def test_time_left_is_told_at_the_pace_since_the_last_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = 0.0
    monkeypatch.setattr(progress.time, "monotonic", lambda: now)
    lines = progress.ProgressLines("train", every=15.0)
    trainer = SimpleNamespace(global_step=100, max_steps=400, callback_metrics={"loss": 2.5})
    lines.on_train_start(trainer, None)
    # The first step waits for something that is done once; then a step takes a second.
    for step, time in ((101, 300.0), (102, 301.0), (116, 315.0), (400, 599.0)):
        trainer.global_step, now = step, time
        lines.on_train_batch_end(trainer, None, None, None, 0)
    assert capsys.readouterr().out.splitlines() == [
        "train: step 101/400, loss 2.500, time left not known yet",
        "train: step 116/400, loss 2.500, 4:44 left",
        "train: step 400/400, loss 2.500, 0:00 left",
    ]
