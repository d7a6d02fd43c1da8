"""Voted volumes of all drives of a fleet, on disk: made by a network, read by the steps that learn from them."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ugocc.adaptation.late_rays import stopping_ratios
from ugocc.adaptation.strong_view import refuse_labels
from ugocc.adaptation.views import EvidenceSettings, evidence_of, views_of
from ugocc.adaptation.visibility import voxels_in_pictures
from ugocc.adaptation.voting import Ballot, VotingSettings, vote, voters
from ugocc.data.dataset import FrameDataset
from ugocc.errors import DataError
from ugocc.models.assemble import OccupancyModel
from ugocc.results import write_text

_STEPS = 255  # a probability is kept in a byte
_FREE = "free.txt"


def vote_drives(
    model: OccupancyModel,
    data: FrameDataset,
    folder: Path,
    settings: VotingSettings,
    part: tuple[int, int] = (0, 1),
) -> Iterator[str]:
    """Predict every frame, let the frames of each drive vote, and write ``folder/<token>.npz``.

    Every frame is predicted once, and its volume, ``X * Y * Z * 21`` bytes, is forgotten when the last frame that it
    votes on is done: drives may be as long as they like.

    Args:
        model: the network, in evaluation mode with the statistics of the fleet.
        data: frames without augmentation, drive by drive.
        folder: made if it is not there; files in it are replaced.
        settings: of the vote.
        part: (number, of how many) of the processes that share the drives out among them.

    Yields:
        Tokens, as their files are written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    drives = [list(drive) for _, drive in groupby(range(len(data)), key=lambda index: data.source[index].scene)]
    for frames in drives[part[0] :: part[1]]:
        places = torch.from_numpy(np.stack([data.source[index].world_T_ego[:3, 3] for index in frames]))
        asked = [voters(places, own, settings.metres) for own in range(len(frames))]
        last = {place: own for own, others in enumerate(asked) for place in (own, *others)}
        ballots: dict[int, Ballot] = {}
        for own, index in enumerate(frames):
            for place in (own, *asked[own]):
                if place not in ballots:
                    ballots[place] = _ballot(model, data, frames[place])
            token = data.source.tokens[index]
            voted = vote(ballots[own], [ballots[p] for p in asked[own]], model.settings.input.grid, settings)
            write_voted(folder, token, voted)
            ballots = {place: ballot for place, ballot in ballots.items() if last[place] > own}
            yield token


@torch.no_grad()
def _ballot(model: OccupancyModel, data: FrameDataset, index: int) -> Ballot:
    device, grid = next(model.parameters()).device, model.settings.input.grid
    batch = refuse_labels(data[index]).to(device)
    return Ballot(
        model(batch).occupancy[0].float().softmax(dim=0).half(),
        voxels_in_pictures(views_of(batch), grid)[0],
        batch.world_T_ego[0].double(),
    )


@torch.no_grad()
def rays_of(
    model: OccupancyModel,
    data: FrameDataset,
    frames: Sequence[int],
    sure: EvidenceSettings,
    voted: Path | None = None,
) -> Tensor:
    """(R,) ratios of :func:`ugocc.adaptation.late_rays.stopping_ratios`, over all rays of some frames whose depth is
    sure: in volumes of the network, or in voted ones.

    Args:
        model: the network, in evaluation mode with the statistics of the fleet.
        data: frames without augmentation.
        frames: indices.
        sure: when the network's depth is.
        voted: folder of voted volumes.
    """
    device, grid = next(model.parameters()).device, model.settings.input.grid
    found = []
    for index in frames:
        batch = refuse_labels(data[index]).to(device)
        predicted = model(batch)
        logits, bins = predicted.depth_distribution()
        depth = evidence_of(None, logits, bins, sure).depth
        own = predicted.occupancy[0].float().softmax(dim=0)
        volume = own if voted is None else read_voted(voted, batch.tokens)[0].to(device)
        found.append(stopping_ratios(volume, views_of(batch), depth, grid).cpu())
    return torch.cat(found) if found else torch.zeros(0)


def read_voted(folder: Path, tokens: Sequence[str]) -> Tensor:
    """(B, 10, X, Y, Z) float32 probabilities of some frames.

    Raises:
        DataError: a file that is not there or broken.
    """
    return torch.stack([_read(folder / f"{token}.npz") for token in tokens])


def write_voted(folder: Path, token: str, probabilities: Tensor) -> None:
    """Write ``folder/<token>.npz``, whole or not at all: (10, X, Y, Z) probabilities, a byte each."""
    path = folder / f"{token}.npz"
    steps = (probabilities.float() * _STEPS).round().to(torch.uint8).cpu().numpy()
    unfinished = path.with_name(f".{path.stem}.{os.getpid()}.npz")
    np.savez_compressed(unfinished, probabilities=steps)
    unfinished.replace(path)


def read_free(folder: Path) -> float:
    """What free counts in the voted volumes of a folder.

    Raises:
        DataError: a file that is not there or broken.
    """
    path = folder / _FREE
    try:
        return float(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(path, "free", f"unreadable ({error})", "what free counts (remove the run)") from error


def write_free(folder: Path, free: float) -> None:
    """Write it, whole or not at all."""
    write_text(folder / _FREE, f"{free}\n")


def _read(path: Path) -> Tensor:
    try:
        with path.open("rb") as stream, np.load(stream) as file:
            steps = file["probabilities"]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(path, "probabilities", f"unreadable ({error})", "a voted volume (remove the run)") from error
    values = torch.from_numpy(steps).float()
    return values / values.sum(dim=0).clamp(min=1.0)
