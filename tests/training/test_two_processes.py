"""All stages by two processes that share the work, as on a machine with two GPUs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from ugocc.training.checkpoint import load_model, read_card
from ugocc.training.fit import processes


def test_two_processes_train_one_model(tiny_fleets: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    words = [
        "--model.name=flashocc",
        "--model.size=debug",
        f"--source.root={tiny_fleets / 'six'}",
        f"--target.root={tiny_fleets / 'five'}",
        f"--run.folder={run}",
        f"--run.cache={tmp_path / 'cache'}",
        "--run.accelerator=cpu",
        "--run.devices=2",
        "--run.precision=32-true",
        "--run.workers=0",
        "--optim.steps=2",
        "--choice.candidates=1",
        "--earlier.source_steps=2",
        "--earlier.pretrain_steps=1",
        "--voting.rounds=1",
    ]
    command = [sys.executable, "-m", "ugocc.cli", "adapt", *words]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.splitlines() == [f"report: {run / 'report.html'}", f"model: {run / 'adapted' / 'model'}"]
    assert done.stderr.count("full: six to five: step 2/2") == 1
    found = {}
    for stage, steps in (("source-only", 2), ("pretrained", 3), ("adapted", 5)):
        card = read_card(run / stage / "model")
        assert card["steps_with_earlier_stages"] == steps
        assert card["labels_of"] == ["six"]
        found[stage], _ = load_model(run / stage / "model")
    first, last = (found[stage].state_dict() for stage in ("source-only", "adapted"))
    assert any(not torch.equal(first[name], last[name]) for name in first)
    assert all(torch.isfinite(values).all() for values in last.values() if values.is_floating_point())


@pytest.mark.parametrize(
    ("environment", "number"),
    [
        ({"TORCHELASTIC_RUN_ID": "run", "RANK": "1", "WORLD_SIZE": "2"}, (1, 2)),
        ({"SLURM_JOB_NAME": "train", "SLURM_PROCID": "2", "SLURM_NTASKS": "4", "SLURM_NTASKS_PER_NODE": "4"}, (2, 4)),
        ({}, (0, 1)),
    ],
)
def test_processes_of_a_launcher_know_their_number_before_they_meet(
    environment: dict[str, str], number: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in os.environ if name.startswith(("SLURM_", "TORCHELASTIC_"))]:
        monkeypatch.delenv(name)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert processes(2) == number
    assert processes(1) == (0, 1)
