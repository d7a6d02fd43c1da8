from __future__ import annotations

import weakref
from collections import Counter
from pathlib import Path

import pytest
import torch

from ugocc.adaptation import voted
from ugocc.adaptation.views import EvidenceSettings, views_of
from ugocc.adaptation.visibility import in_pictures
from ugocc.adaptation.voted import rays_of, read_free, read_voted, vote_drives, write_free, write_voted
from ugocc.adaptation.voting import Ballot, VotingSettings, vote
from ugocc.data.dataset import FrameDataset
from ugocc.data.source import open_fleet
from ugocc.errors import DataError
from ugocc.labels import FREE
from ugocc.models.assemble import OccupancyModel, build_model, model_settings
from ugocc.training.votes import vote_steps

SETTINGS = VotingSettings(metres=(1.0,))


@pytest.fixture(scope="module")
def model() -> OccupancyModel:
    torch.manual_seed(0)
    return build_model(model_settings("flashocc", "debug")).eval()


@pytest.fixture(scope="module")
def drives(tiny_fleets: Path, model: OccupancyModel) -> FrameDataset:
    return FrameDataset(open_fleet(tiny_fleets / "five", "train"), model.settings.input, labelled=False)


def _ballot(model: OccupancyModel, drives: FrameDataset, index: int) -> Ballot:
    batch, grid = drives[index], model.settings.input.grid
    with torch.no_grad():
        probabilities = model(batch).occupancy[0].softmax(0)
    shown = in_pictures(views_of(batch), grid)
    seen = torch.zeros(1, *grid.shape, dtype=torch.bool).flatten(1)
    seen[shown.sample, shown.voxel] = True
    return Ballot(probabilities, seen.view(grid.shape), batch.world_T_ego[0])


def test_every_frame_is_voted_on_by_those_around_it(
    model: OccupancyModel, drives: FrameDataset, tmp_path: Path
) -> None:
    assert list(vote_drives(model, drives, tmp_path, SETTINGS)) == drives.source.tokens
    for index, token in enumerate(drives.source.tokens[:3]):
        around = [drives.neighbour(index, step) for step in (-1, 1)]  # some two metres apart
        others = [_ballot(model, drives, other) for other in around if other is not None]
        assert others
        expected = vote(_ballot(model, drives, index), others, model.settings.input.grid, SETTINGS)
        torch.testing.assert_close(read_voted(tmp_path, [token])[0], expected, atol=1 / 100, rtol=0)
    assert read_voted(tmp_path, drives.source.tokens[:2]).shape[:2] == (2, 10)


def test_a_frame_is_predicted_once_and_forgotten_when_it_has_voted(
    model: OccupancyModel, drives: FrameDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    predicted: list[int] = []
    alive: weakref.WeakSet[torch.Tensor] = weakref.WeakSet()

    def ballot(network: OccupancyModel, data: FrameDataset, index: int) -> Ballot:
        made = _ballot(network, data, index)
        predicted.append(index)
        alive.add(made.probabilities)
        return made

    monkeypatch.setattr(voted, "_ballot", ballot)
    most = 0
    for _ in vote_drives(model, drives, tmp_path, SETTINGS):
        most = max(most, len(alive))
    assert sorted(predicted) == list(range(len(drives)))
    shortest = min(Counter(frame.scene for frame in drives.source).values())
    assert most == 2 < shortest  # its own, and the next one's


def test_processes_share_the_drives_out(model: OccupancyModel, drives: FrameDataset, tmp_path: Path) -> None:
    parts = [list(vote_drives(model, drives, tmp_path, SETTINGS, (number, 2))) for number in (0, 1)]
    assert sorted(parts[0] + parts[1]) == sorted(drives.source.tokens)
    scenes = [{drives.source[drives.source.tokens.index(token)].scene for token in part} for part in parts]
    assert not scenes[0] & scenes[1]


def test_a_broken_volume_is_named(model: OccupancyModel, drives: FrameDataset, tmp_path: Path) -> None:
    token = next(iter(vote_drives(model, drives, tmp_path, SETTINGS)))
    (tmp_path / f"{token}.npz").write_bytes(b"PK")
    with pytest.raises(DataError, match=rf"{token}.npz.*probabilities"):
        read_voted(tmp_path, [token])
    with pytest.raises(DataError, match=r"nowhere\.npz"):
        read_voted(tmp_path, ["nowhere"])


def test_votes_are_evenly_spaced_from_the_first_step() -> None:
    assert vote_steps(500, 2) == [0, 250]
    assert vote_steps(10, 3) == [0, 3, 6]
    assert vote_steps(2, 5) == [0, 1]


def test_what_free_counts_is_kept_with_the_volumes(tmp_path: Path) -> None:
    write_free(tmp_path, 1 / 3)
    assert read_free(tmp_path) == 1 / 3
    (tmp_path / "free.txt").write_text("half")
    with pytest.raises(DataError, match=r"free\.txt.*free.*half"):
        read_free(tmp_path)


def test_rays_are_those_of_the_frames_that_are_asked_for(
    model: OccupancyModel, drives: FrameDataset, tmp_path: Path
) -> None:
    everything = EvidenceSettings(depth_confidence=0.0)
    first, second = (rays_of(model, drives, [i], everything) for i in (0, 1))
    assert len(first) > 10
    torch.testing.assert_close(rays_of(model, drives, [0, 1], everything), torch.cat([first, second]))
    assert len(rays_of(model, drives, [], everything)) == 0
    token = drives.source.tokens[0]
    write_voted(tmp_path, token, torch.eye(10)[FREE][:, None, None, None].expand(10, *model.settings.input.grid.shape))
    assert not rays_of(model, drives, [0], everything, tmp_path).any()
