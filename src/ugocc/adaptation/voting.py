"""Volumes of the frames of one drive put together: what was far away then is near now, and better known.

A frame's prediction is good close to the car. With true poses, what other frames of the drive say of a place is moved
to this frame's volume and averaged, each vote weighted by how near the place was to the car that cast it. What can
move, or is thinner than a voxel, does not vote about other moments.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import torch
from torch import Tensor

from ugocc.adaptation.rendering import sample_volume
from ugocc.errors import DataError
from ugocc.geometry.grid import VoxelGrid
from ugocc.labels import FREE, MOVABLE, OTHERS, TRAFFIC_OBJECT
from ugocc.losses.occupancy import lovasz_softmax_loss

OWN: Final = (*MOVABLE, OTHERS, TRAFFIC_OBJECT)
"""What is a frame's own business: what can move is elsewhere at other moments, and what is thinner than a voxel (poles,
signs, cones) frames put into neighbouring ones, where it would be voted away."""

FEWEST: Final = 50.0
"""A class of fewer voxels counts as if it had this many, so that a handful does not drown the rest."""


@dataclass(frozen=True)
class VotingSettings:
    """Voting among the frames of a drive."""

    rounds: int = 1
    """How often the target's volumes are voted anew in the course of training, the first time before its first step; 0
    takes pseudo-labels from the teacher's volume of the moment, one frame at a time."""
    metres: tuple[float, ...] = (4.0, 9.0, 14.0, 19.0)
    """Which other frames of the drive vote: those at which the car has driven so far since, or had so far to drive
    still. A car that stands is told nothing by its other frames."""
    reach: float = 4.0
    """Metres from the car, on the ground plan, at which a vote has 1/e of the weight it has at the car."""
    free: float = 0.5
    """What a vote for free counts at least against one for a class. Where frames put a thin wall into neighbouring
    voxels, none of these gets half of the votes, and counted alike the wall would be voted away: free counts as much
    less as it takes for as few rays to pass the surface that their camera shows as do on the source."""
    frames: int = 32
    """Frames of each fleet whose rays are looked at for it; 0 counts all votes alike."""
    sure: float = 0.5
    """Least probability that a camera's ray meets a class in a voted volume, for its cell to be labelled with it."""

    def __post_init__(self) -> None:
        if self.rounds < 0:
            raise DataError("voting", "rounds", self.rounds, "a number from 0")
        if any(not metres > 0 for metres in self.metres):
            raise DataError("voting", "metres", self.metres, "metres above 0")
        if not self.reach > 0:
            raise DataError("voting", "reach", self.reach, "a number above 0")
        if not 0 < self.free <= 1:
            raise DataError("voting", "free", self.free, "a share above 0, at most 1")


class Ballot(NamedTuple):
    """What one frame says."""

    probabilities: Tensor
    """(10, X, Y, Z) of a network, in any precision."""
    visible: Tensor
    """(X, Y, Z) bool, voxels that are in a picture."""
    world_T_ego: Tensor
    """(4, 4) float64."""


def voters(places: Tensor, index: int, metres: Sequence[float]) -> list[int]:
    """Frames that vote on one: for each distance the nearest in time that is so far along the way, or farther.

    Args:
        places: (F, 3) positions of the car in a drive, metres, frame after frame.
        index: the frame that is voted on.
        metres: distances along the way, before and behind.

    Returns:
        Indices in order of time, without ``index``.
    """
    way = torch.cat([places.new_zeros(1), (places[1:] - places[:-1]).norm(dim=1).cumsum(0)])
    way = way - way[index]
    ahead = [torch.nonzero(way >= distance).flatten()[:1] for distance in metres]
    behind = [torch.nonzero(way <= -distance).flatten()[-1:] for distance in metres]
    return sorted(set(torch.cat([*ahead, *behind]).tolist())) if metres else []


@torch.no_grad()
def vote(own: Ballot, others: Sequence[Ballot], grid: VoxelGrid, settings: VotingSettings) -> Tensor:
    """(10, X, Y, Z) float32: means over the frames that had a voxel in a picture, this one's where none had.

    Voxels that this frame takes for something of :data:`OWN` keep its opinion.
    """
    centres = torch.from_numpy(grid.centres()).reshape(-1, 3).to(own.world_T_ego)
    mine = own.probabilities.float()
    weight = own.visible * _nearness(centres, grid, settings).to(mine) + 1e-6
    total, weights = mine * weight, weight
    for other in others:
        there = torch.linalg.inv(other.world_T_ego) @ own.world_T_ego
        places = centres @ there[:3, :3].T + there[:3, 3]
        said = _sample(other.probabilities.float(), places, grid)
        shown = _sample(other.visible[None].to(said), places, grid)[0] * _inside(places, grid)
        weight = shown * _nearness(places, grid, settings).to(said) * (1 - said[list(OWN)].sum(dim=0))
        total, weights = total + said * weight, weights + weight
    own_business = torch.isin(mine.argmax(dim=0), torch.tensor(OWN, device=total.device))
    voted = torch.where(own_business, mine, total / weights)
    return voted / voted.sum(dim=0)


def with_free_counting(probabilities: Tensor, factor: float) -> Tensor:
    """Probabilities (..., 10, X, Y, Z) in which free counts ``factor`` times what it did."""
    weights = probabilities.new_ones(probabilities.shape[-4])
    weights[FREE] = factor
    weighted = probabilities * weights[:, None, None, None]
    return weighted / weighted.sum(dim=-4, keepdim=True)


def _nearness(places: Tensor, grid: VoxelGrid, settings: VotingSettings) -> Tensor:
    return torch.exp(-places[:, :2].norm(dim=1) / settings.reach).view(grid.shape)


def _inside(places: Tensor, grid: VoxelGrid) -> Tensor:
    low, high = (places.new_tensor(v) for v in (grid.lower, grid.upper))
    return ((places >= low) & (places <= high)).all(dim=1).view(grid.shape)


def _sample(values: Tensor, places: Tensor, grid: VoxelGrid) -> Tensor:
    """(C, X, Y, Z) values (C, X, Y, Z) at places (X * Y * Z, 3)."""
    return sample_volume(values[None], places[None], grid).view(-1, *grid.shape)


def voted_loss(logits: Tensor, voted: Tensor, weights: Tensor) -> Tensor:
    """Cross-entropy of a student against voted volumes, every class with the root of its number of voxels, and the
    Lovasz-softmax loss against what they say is most likely.

    Nothing is selected: a voxel that the frames do not agree on teaches that it is uncertain. The entropy alone would
    make a student that is never sure of what is small, and so never says it; the other term wants as much of every
    class as there is in the votes.

    Args:
        logits: (B, 10, X, Y, Z) of the student.
        voted: (B, 10, X, Y, Z) probabilities.
        weights: (B, X, Y, Z), 0 where the student sees nothing.

    Returns:
        Scalar; 0 with gradient 0 where no voxel has a weight.
    """
    log_probabilities = logits.float().log_softmax(dim=1)
    entropy = -(voted * log_probabilities).sum(dim=1)
    label = voted.argmax(dim=1)
    counts = torch.bincount(label.flatten(), weights.flatten().float(), minlength=voted.shape[1])
    weight = weights * counts.clamp(min=FEWEST).rsqrt()[label]
    seen = weights > 0
    overlap = lovasz_softmax_loss(log_probabilities.movedim(1, -1)[seen].exp(), label[seen])
    return (weight * entropy).sum() / weight.sum().clamp(min=1e-6) + overlap
