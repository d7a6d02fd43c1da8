"""The target's drives, voted on by the teacher as training goes on."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any, NamedTuple

from lightning import Trainer
from lightning.pytorch.callbacks import Callback

from ugocc.adaptation.late_rays import free_factor
from ugocc.adaptation.views import EvidenceSettings
from ugocc.adaptation.voted import rays_of, read_free, vote_drives, write_free
from ugocc.adaptation.voting import VotingSettings
from ugocc.data.dataset import FrameDataset
from ugocc.models.assemble import OccupancyModel
from ugocc.progress import follow
from ugocc.training.statistics import estimate_statistics, spaced


class Fleets(NamedTuple):
    """Clean frames of both."""

    source: FrameDataset
    target: FrameDataset


class VoteAgain(Callback):
    """Has the teacher vote on all drives of the target at evenly spaced steps, the first one included.

    The volumes of the vote at step s are in ``<folder>/<s>``, and ``task.voted`` is the folder in force. A vote is a
    function of the teacher, so a run that was interrupted within one repeats it alike.

    Args:
        folder: for the volumes.
        fleets: the frames.
        settings: how often and how to vote.
        sure: when the depth of a pixel is sure.
        statistics_frames: frames that the teacher's batch-norm statistics are estimated from.
    """

    def __init__(
        self, folder: Path, fleets: Fleets, settings: VotingSettings, sure: EvidenceSettings, statistics_frames: int
    ) -> None:
        self.folder, self.fleets, self.settings, self.sure = folder, fleets, settings, sure
        self.statistics_frames = statistics_frames

    def on_train_batch_start(self, trainer: Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        """Vote if this is one of the steps."""
        step = trainer.global_step
        since = max(vote for vote in vote_steps(trainer.max_steps, self.settings.rounds) if vote <= step)
        folder = self.folder / f"{since:07d}"
        if since == step:
            with trainer.precision_plugin.forward_context():
                teacher = copy.deepcopy(pl_module.teacher).eval()
                self._vote(teacher, folder, trainer.global_rank, trainer.world_size)
                trainer.strategy.barrier()
                if trainer.is_global_zero:
                    how = (self.settings, self.sure, self.statistics_frames)
                    write_free(folder, free_of(teacher, self.fleets, folder, *how))
            trainer.strategy.barrier()
        pl_module.voted, pl_module.free = folder, read_free(folder)

    def _vote(self, teacher: Any, folder: Path, rank: int, ranks: int) -> None:
        target = self.fleets.target
        estimate_statistics(teacher, target, self.statistics_frames)
        voting = vote_drives(teacher, target, folder, self.settings, (rank, ranks))
        told = follow(voting, f"vote on the drives of {target.source.fleet}", len(target))
        for _ in told if rank == 0 else voting:
            pass


def free_of(
    teacher: OccupancyModel,
    fleets: Fleets,
    folder: Path,
    settings: VotingSettings,
    sure: EvidenceSettings,
    statistics_frames: int,
) -> float:
    """What votes for free count in the voted volumes of a folder.

    Args:
        teacher: with the statistics of the target; it has those of the source afterwards.
        fleets: the frames.
        folder: of the volumes.
        settings: of the vote.
        sure: when the depth of a pixel is sure.
        statistics_frames: frames that statistics of the source are estimated from.
    """
    source, target = fleets
    of_target = rays_of(teacher, target, spaced(len(target), settings.frames), sure, folder)
    estimate_statistics(teacher, source, statistics_frames)
    of_source = rays_of(teacher, source, spaced(len(source), settings.frames), sure)
    return free_factor(of_target, of_source, settings.free)


def vote_steps(steps: int, rounds: int) -> list[int]:
    """Steps before which a vote is taken: evenly spaced, from 0."""
    return sorted({steps * i // rounds for i in range(rounds)})
