"""What adaptation trains on: samples of both fleets, those of the target with the frames before and after."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
from torch.utils.data import Dataset

from ugocc.adaptation.transferred import TransferredDataset
from ugocc.data.batch import PER_CAMERA, Batch, collate
from ugocc.data.dataset import FrameDataset
from ugocc.losses.references import OtherTime
from ugocc.training.order import Visit


class Moments(NamedTuple):
    """Samples and, for photometric losses, the same samples at other times."""

    now: Batch
    """B samples."""
    others: tuple[OtherTime, ...]
    """The frames before and after; empty where nothing compares pictures."""


class Pair(NamedTuple):
    """One step's samples of both fleets."""

    sources: tuple[Moments, ...]
    """The source's samples as recorded or re-rendered, or both, which are then not normalised together."""
    target: Moments


class MomentDataset(Dataset[Moments]):
    """One fleet's samples with their neighbours in time, all augmented alike.

    Args:
        data: samples.
        times: frames to look back or ahead by, such as (-1, 1); empty for the sample alone.
    """

    def __init__(self, data: FrameDataset, times: tuple[int, ...] = (-1, 1)) -> None:
        self.data, self.times = data, times

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, item: Visit) -> Moments:
        """Sample (index, visit); where there is no such other frame, the sample itself stands in, marked absent."""
        now = self.data[item]
        others = []
        for step in self.times:
            place = self.data.neighbour(item[0], step)
            other = now if place is None else self._alike(self.data.sample(place, like=item), place, item[0])
            others.append(OtherTime(other, torch.tensor([place is not None])))
        return Moments(now, tuple(others))

    def _alike(self, sample: Batch, index: int, like: int) -> Batch:
        """The sample of frame ``index`` with the cameras of frame ``like``: a camera may be lost, or come back."""
        theirs, wanted = ([camera.name for camera in self.data.frame(i).cameras] for i in (index, like))
        return sample if theirs == wanted else with_cameras(sample, [_find(theirs, name) for name in wanted])


def with_cameras(sample: Batch, cameras: Sequence[int | None]) -> Batch:
    """The sample with these of its cameras in this order; None is a camera that is not there, and shows nothing."""
    chosen = torch.tensor([camera or 0 for camera in cameras])
    there = torch.tensor([camera is not None for camera in cameras])
    taken = {name: getattr(sample, name)[:, chosen] for name in PER_CAMERA}
    taken["camera_mask"] = taken["camera_mask"] & there
    taken["pixel_mask"] = taken["pixel_mask"] & there[:, None, None]
    return replace(sample, **taken)


def _find(names: Sequence[str], name: str) -> int | None:
    return names.index(name) if name in names else None


class PairDataset(Dataset[Pair]):
    """Samples of both fleets for one step: the source's labelled, some re-rendered, the target's unlabelled.

    Args:
        source: the labelled fleet, some samples re-rendered.
        target: the unlabelled one.
        recorded: samples of the source as recorded, and their neighbours; re-rendered ones have none.
    """

    def __init__(self, source: TransferredDataset, target: MomentDataset, recorded: MomentDataset) -> None:
        self.source, self.target, self.recorded = source, target, recorded

    def __len__(self) -> int:
        return max(len(self.source), len(self.target))

    def __getitem__(self, item: tuple[Visit, Visit]) -> Pair:
        """Samples (index, visit) of the source and of the target."""
        of_source, of_target = item
        sources = []
        transferred = bool(self.source.chosen_versions(of_source))
        if not transferred or self.source.settings.beside:
            sources.append(self.recorded[of_source])
        if transferred:
            now = self.source[of_source]
            absent = OtherTime(now, torch.zeros(now.size, dtype=torch.bool))
            sources.append(Moments(now, (absent,) * len(self.recorded.times)))
        return Pair(tuple(sources), self.target[of_target])


def join_moments(moments: list[Moments]) -> Moments:
    """Several samples as one."""
    others = tuple(
        OtherTime(collate([o.batch for o in times]), torch.cat([o.exists for o in times]))
        for times in zip(*(m.others for m in moments), strict=True)
    )
    return Moments(collate([m.now for m in moments]), others)


def join_pairs(pairs: list[Pair]) -> Pair:
    """Several samples of each fleet as one batch of each."""
    most = max(len(p.sources) for p in pairs)
    sources = tuple(join_moments([p.sources[i] for p in pairs if i < len(p.sources)]) for i in range(most))
    return Pair(sources, join_moments([p.target for p in pairs]))
