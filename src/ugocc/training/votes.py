"""The target's drives, voted on by the teacher as training goes on."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

from lightning import Trainer
from lightning.pytorch.callbacks import Callback

from ugocc.adaptation.voted import vote_drives
from ugocc.adaptation.voting import VotingSettings
from ugocc.data.dataset import FrameDataset
from ugocc.progress import follow
from ugocc.training.statistics import estimate_statistics


class VoteAgain(Callback):
    """Has the teacher vote on all drives of the target at evenly spaced steps, the first one included.

    The volumes of the vote at step s are in ``<folder>/<s>``, and ``task.voted`` is the folder in force. A vote is a
    function of the teacher, so a run that was interrupted within one repeats it alike.

    Args:
        folder: for the volumes.
        target: clean frames of the target.
        settings: how often and how to vote.
        statistics_frames: frames that the teacher's batch-norm statistics are estimated from.
    """

    def __init__(self, folder: Path, target: FrameDataset, settings: VotingSettings, statistics_frames: int) -> None:
        self.folder, self.target, self.settings = folder, target, settings
        self.statistics_frames = statistics_frames

    def on_train_batch_start(self, trainer: Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        """Vote if this is one of the steps."""
        step = trainer.global_step
        since = max(vote for vote in vote_steps(trainer.max_steps, self.settings.rounds) if vote <= step)
        folder = self.folder / f"{since:07d}"
        if since == step:
            with trainer.precision_plugin.forward_context():
                self._vote(pl_module, folder, trainer.global_rank, trainer.world_size)
            trainer.strategy.barrier()
        pl_module.voted = folder

    def _vote(self, task: Any, folder: Path, rank: int, ranks: int) -> None:
        teacher = copy.deepcopy(task.teacher).eval()
        estimate_statistics(teacher, self.target, self.statistics_frames)
        voting = vote_drives(teacher, self.target, folder, self.settings, (rank, ranks))
        told = follow(voting, f"vote on the drives of {self.target.source.fleet}", len(self.target))
        for _ in told if rank == 0 else voting:
            pass


def vote_steps(steps: int, rounds: int) -> list[int]:
    """Steps before which a vote is taken: evenly spaced, from 0."""
    return sorted({steps * i // rounds for i in range(rounds)})
