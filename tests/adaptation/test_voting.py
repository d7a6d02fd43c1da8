from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from ugocc.adaptation.voting import FEWEST, Ballot, VotingSettings, vote, voted_loss, voters, with_free_counting
from ugocc.errors import DataError
from ugocc.geometry.grid import VoxelGrid
from ugocc.geometry.rigid import yaw_matrix
from ugocc.labels import BUILDING, FREE, OTHERS, PEDESTRIAN, TRAFFIC_OBJECT, TWO_WHEELER, VEHICLE
from ugocc.losses.occupancy import lovasz_softmax_loss

GRID = VoxelGrid((-4.0, -4.0, -1.0), (8, 8, 3), 1.0)
SETTINGS = VotingSettings(reach=3.0)


def ballot(seed: int, pose: np.ndarray | None = None, visible: float = 0.7, free: float = 0.0) -> Ballot:
    random = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(10, *GRID.shape, generator=random)
    logits[FREE] += free
    seen = torch.rand(GRID.shape, generator=random) < visible
    return Ballot(logits.softmax(0), seen, torch.from_numpy(np.eye(4) if pose is None else pose))


def trilinear(values: Tensor, place: np.ndarray) -> Tensor:
    """(C,) of (C, X, Y, Z) at metres, values held beyond the outermost centres."""
    at = np.clip((place - GRID.lower) / GRID.voxel_size - 0.5, 0, np.array(GRID.shape) - 1)
    low = np.minimum(np.floor(at).astype(int), np.array(GRID.shape) - 2)
    total = torch.zeros(len(values))
    for corner in np.ndindex(2, 2, 2):
        share = np.prod(np.where(np.array(corner) == 1, at - low, 1 - (at - low)))
        total += float(share) * values[(slice(None), *(low + corner))]
    return total


def slow_vote(own: Ballot, others: list[Ballot]) -> Tensor:
    """Voxel by voxel, frame by frame."""
    out = own.probabilities.clone()
    own_business = (VEHICLE, PEDESTRIAN, TWO_WHEELER, OTHERS, TRAFFIC_OBJECT)
    for cell, centre in zip(np.ndindex(GRID.shape), GRID.centres().reshape(-1, 3), strict=True):
        mine = own.probabilities[(slice(None), *cell)]
        if int(mine.argmax()) in own_business:
            continue
        weight = float(own.visible[cell]) * np.exp(-np.linalg.norm(centre[:2]) / SETTINGS.reach) + 1e-6
        total, weights = weight * mine, weight
        for other in others:
            there = np.linalg.inv(other.world_T_ego.numpy()) @ own.world_T_ego.numpy() @ np.append(centre, 1)
            if not ((there[:3] >= GRID.lower) & (there[:3] <= GRID.upper)).all():
                continue
            said = trilinear(other.probabilities, there[:3])
            shown = float(trilinear(other.visible[None].float(), there[:3]))
            still = 1 - float(said[list(own_business)].sum())
            weight = shown * still * np.exp(-np.linalg.norm(there[:2]) / SETTINGS.reach)
            total, weights = total + weight * said, weights + weight
        out[(slice(None), *cell)] = total / weights
    return out / out.sum(dim=0)


def test_votes_equal_loops():
    own = ballot(0, yaw_matrix(0.4, (10.0, 2.0, 0.1)), free=2.5)
    others = [ballot(1, yaw_matrix(0.5, (8.3, 1.2, 0.0))), ballot(2, yaw_matrix(0.1, (12.9, 2.5, 0.2)))]
    found = vote(own, others, GRID, SETTINGS)
    torch.testing.assert_close(found, slow_vote(own, others), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found.sum(0), torch.ones(GRID.shape))


def test_alone_a_frame_keeps_its_opinion():
    own = ballot(0)
    torch.testing.assert_close(vote(own, [], GRID, SETTINGS), own.probabilities)


def walls_at(*rows: int) -> list[Ballot]:
    """Frames at one place that see a wall, each in a row of voxels of its own."""
    found = []
    for row in rows:
        wall = torch.zeros(10, *GRID.shape)
        wall[FREE] = 1.0
        wall[:, row] = 0.0
        wall[BUILDING, row] = 0.9
        wall[FREE, row] = 0.1
        found.append(Ballot(wall, torch.ones(GRID.shape, dtype=torch.bool), torch.eye(4, dtype=torch.float64)))
    return found


def test_a_thin_wall_that_frames_put_into_neighbouring_voxels_is_not_voted_away_where_free_counts_less():
    own, *others = walls_at(5, 6, 7)
    voted = vote(own, others, GRID, SETTINGS)
    assert not (voted.argmax(0) == BUILDING).any()
    kept = with_free_counting(voted, 0.1).argmax(0) == BUILDING
    assert kept[5].all()
    assert not kept[:5].any()


def test_free_that_counts_less_is_less_likely_by_that_factor():
    probabilities = torch.stack([ballot(0).probabilities, ballot(1).probabilities])
    found = with_free_counting(probabilities, 0.3)
    torch.testing.assert_close(found.sum(1), torch.ones(2, *GRID.shape))
    odds, before = found[:, FREE] / found[:, VEHICLE], probabilities[:, FREE] / probabilities[:, VEHICLE]
    torch.testing.assert_close(odds, 0.3 * before)
    torch.testing.assert_close(
        found[:, BUILDING] / found[:, VEHICLE], probabilities[:, BUILDING] / probabilities[:, VEHICLE]
    )
    torch.testing.assert_close(with_free_counting(probabilities, 1.0), probabilities)


def test_what_was_far_is_told_by_the_frame_that_was_near():
    """A wall that is uncertain from 3.5 m is certain from 0.5 m."""
    wall = torch.full((10, *GRID.shape), 0.1)
    near = wall.clone()
    near[:, 4] = 0.0
    near[BUILDING, 4] = 1.0
    everywhere = torch.ones(GRID.shape, dtype=torch.bool)
    own = Ballot(wall, everywhere, torch.eye(4, dtype=torch.float64))
    ahead = Ballot(near, everywhere, torch.from_numpy(yaw_matrix(0.0, (3.0, 0.0, 0.0))))
    found = vote(own, [ahead], GRID, VotingSettings(reach=1.0))
    assert found[BUILDING, 7, 3:5].min() > 0.9
    assert found[BUILDING, 6].max() < 0.2


def test_what_can_move_does_not_vote_and_is_not_voted_on():
    own, other = ballot(0), ballot(1)
    moving = torch.zeros(10, *GRID.shape)
    moving[VEHICLE] = 1.0
    everywhere = torch.ones(GRID.shape, dtype=torch.bool)
    alone = vote(own, [], GRID, SETTINGS)
    torch.testing.assert_close(vote(own, [Ballot(moving, everywhere, own.world_T_ego)], GRID, SETTINGS), alone)
    parked = Ballot(moving, everywhere, own.world_T_ego)
    assert torch.equal(vote(parked, [other], GRID, SETTINGS), moving)


def test_reach_free_and_metres_must_be_positive():
    with pytest.raises(DataError, match=r"reach.*a number above 0"):
        VotingSettings(reach=0.0)
    with pytest.raises(DataError, match=r"free.*a share above 0"):
        VotingSettings(free=0.0)
    with pytest.raises(DataError, match=r"metres.*metres above 0"):
        VotingSettings(metres=(4.0, -1.0))


def test_rounds_cannot_be_negative():
    with pytest.raises(DataError, match="rounds"):
        VotingSettings(rounds=-1)


def test_loss_equals_a_loop_over_voxels():
    random = torch.Generator().manual_seed(3)
    shape = (2, 10, 12, 12, 3)
    logits = torch.randn(shape, generator=random)
    voted = (3 * torch.randn(shape, generator=random)).softmax(1)
    weights = (torch.rand(2, 12, 12, 3, generator=random) < 0.6).float()
    labels = voted.argmax(1)
    counts = [float((weights * (labels == c)).sum()) for c in range(10)]
    assert min(counts) < FEWEST < max(counts)
    total = share = 0.0
    for place in np.ndindex(*weights.shape):
        sample, voxel = place[0], place[1:]
        weight = float(weights[place]) / max(counts[int(labels[place])], FEWEST) ** 0.5
        said = logits[(sample, slice(None), *voxel)].log_softmax(0)
        total += weight * -float((voted[(sample, slice(None), *voxel)] * said).sum())
        share += weight
    seen = weights > 0
    overlap = lovasz_softmax_loss(logits.softmax(1).movedim(1, -1)[seen], labels[seen])  # has its own loops
    assert float(voted_loss(logits, voted, weights)) == pytest.approx(total / share + float(overlap), rel=1e-4)


def test_loss_is_least_for_the_vote_itself_and_nothing_without_voxels():
    random = torch.Generator().manual_seed(0)
    voted = torch.eye(10)[torch.randint(10, (1, 4, 4, 2), generator=random)].movedim(-1, 1)
    everywhere = torch.ones(1, 4, 4, 2)
    assert float(voted_loss(40 * voted, voted, everywhere)) < 1e-6
    assert float(voted_loss(40 * voted.roll(1, dims=1), voted, everywhere)) > 1
    logits = voted.clone().requires_grad_()
    nothing = voted_loss(logits, voted, torch.zeros(1, 4, 4, 2))
    assert float(nothing.detach()) == 0
    assert not torch.autograd.grad(nothing, logits)[0].any()


def test_a_student_that_cannot_tell_which_voxel_still_says_what_is_small():
    """Of four voxels one is a pedestrian, and nothing says which: the entropy alone would have all of them free."""
    voted = torch.zeros(1, 10, 40, 1, 1)
    voted[:, FREE] = 1.0
    voted[:, :, ::4] = torch.eye(10)[PEDESTRIAN][:, None, None, None]
    blurred = torch.zeros(1, 10, 1, 1, 1, requires_grad=True)
    alike = blurred.expand(1, 10, 40, 1, 1)
    (gradient,) = torch.autograd.grad(voted_loss(alike, voted, torch.ones(1, 40, 1, 1)), blurred)
    assert gradient[0, PEDESTRIAN] < 0


def test_voters_are_the_first_frames_so_far_along_the_way():
    # Round a corner, with a stop of two frames at 4 m.
    steps = torch.tensor([[0, 0, 0], [2, 0, 0], [2, 0, 0], [0, 0, 0], [0, 3, 0], [0, 3, 0], [0, 3, 0.0]])
    places = steps.cumsum(0)
    assert voters(places, 2, (4.0,)) == [0, 5]
    assert voters(places, 3, (2.0, 3.0)) == [0, 1, 4]
    assert voters(places, 0, (0.5, 4.0, 13.0, 14.0)) == [1, 2, 6]
    assert voters(places, 0, ()) == []
    standing = torch.zeros(5, 3)
    assert voters(standing, 2, (1.0,)) == []
