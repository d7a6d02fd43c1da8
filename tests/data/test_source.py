from __future__ import annotations

import pickle
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from ugocc.data.fleet import FleetSource, fleet_from_frames
from ugocc.data.nuscenes import NuScenesSource
from ugocc.data.source import labelled_part, layout_of, open_fleet, thinned
from ugocc.data.synthetic.write_nuscenes import write_scene, write_tables
from ugocc.data.synthetic.write_waymo import write_segment
from ugocc.data.waymo import WaymoSource
from ugocc.errors import DataError

SCENES = {"scene-0001": 5, "scene-0002": 2}


@pytest.fixture(scope="module")
def fleets(six_scene, five_scene, tmp_path_factory) -> Path:
    """A folder with one fleet of every layout: six (nuScenes), five (Waymo), own (manifest)."""
    root = tmp_path_factory.mktemp("fleets")
    tables = [write_scene(six_scene(scene, frames), root / "six") for scene, frames in SCENES.items()]
    write_tables(tables, {"train": [], "val": list(SCENES), "test": []}, root / "six")
    write_segment(five_scene("100_0_000_20_000", 4), root / "five", "val", 0)
    fleet_from_frames(root / "own", WaymoSource(root / "five", "val"), split="val", name="vans")
    return root


@pytest.mark.parametrize(
    ("folder", "layout", "reader", "name", "count"),
    [
        ("six", "nuscenes", NuScenesSource, "six", 7),
        ("five", "waymo", WaymoSource, "five", 4),
        ("own", "fleet", FleetSource, "vans", 4),
    ],
)
def test_the_layout_is_seen_from_the_folder(fleets, folder, layout, reader, name, count):
    assert layout_of(fleets / folder) == layout
    source = open_fleet(fleets / folder, "val")
    assert isinstance(source, reader)
    assert (source.fleet, source[0].fleet, len(source)) == (name, name, count)
    assert open_fleet(fleets / folder, "val", "mine")[0].fleet == "mine"
    assert [f.token for f in open_fleet(str(fleets / folder), "val")] == source.tokens
    with pytest.raises(DataError):
        open_fleet(fleets / folder, "test")


@pytest.mark.parametrize(("folder", "kept"), [("six", [0, 2, 4, 5]), ("five", [0, 2]), ("own", [0, 2])])
def test_every_second_frame_of_each_scene_linked_to_each_other(fleets, folder, kept):
    whole, thin = open_fleet(fleets / folder, "val"), open_fleet(fleets / folder, "val", every=2)
    assert thin.tokens == [f.token for f in thin] == [whole.tokens[i] for i in kept]
    assert len(thin) == len(kept)
    frames = list(thin)
    for before, after in pairwise(frames):
        same = before.scene == after.scene
        assert before.next == (after.token if same else None)
        assert after.previous == (before.token if same else None)
    assert frames[0].previous is None
    assert frames[-1].next is None
    assert np.array_equal(frames[1].cameras[0].image(), whole[kept[1]].cameras[0].image())
    thin.check()
    assert pickle.loads(pickle.dumps(thin))[-1].token == thin.tokens[-1]


def test_thinning_by_one_changes_nothing_and_by_none_is_refused(fleets):
    source = open_fleet(fleets / "six", "val")
    assert thinned(source, 1) is source
    with pytest.raises(ValueError, match="every = 0"):
        thinned(source, 0)


def test_labelled_frames_of_a_source_are_linked_to_each_other(fleets):
    source = open_fleet(fleets / "six", "val")
    assert labelled_part(source) is source
    bare = {source.tokens[0], source.tokens[2]}
    some = Relabelled(source, bare)
    part = labelled_part(some)
    assert part.tokens == [token for token in source.tokens if token not in bare]
    assert all(frame.occupancy for frame in part)
    second, fourth = part[0], part[1]
    assert (second.previous, second.next) == (None, fourth.token)
    none = Relabelled(source, set(source.tokens))
    assert labelled_part(none) is none


class Relabelled:
    """A source of which some frames have no label."""

    def __init__(self, source, bare):
        self.fleet, self.tokens, self._source, self._bare = source.fleet, source.tokens, source, bare

    def __len__(self):
        return len(self._source)

    def __iter__(self):
        return (self[index] for index in range(len(self)))

    def __getitem__(self, index):
        frame = self._source[index]
        return replace(frame, occupancy=None) if frame.token in self._bare else frame


def test_an_unknown_folder_says_what_was_looked_for(fleets, tmp_path):
    with pytest.raises(DataError, match=r"no known layout, expected manifest\.jsonl or .*v1\.0-\*.*camera_image"):
        open_fleet(tmp_path, "train")
    with pytest.raises(DataError, match="no such folder"):
        open_fleet(tmp_path / "missing", "train")
    with pytest.raises(DataError, match="root: found a file, expected the folder that it lies in"):
        open_fleet(fleets / "own" / "manifest.jsonl", "train")
    with pytest.raises(DataError, match="one in five, own, six below it"):
        open_fleet(fleets, "train")


def test_a_folder_that_may_not_be_read_beside_a_fleet_is_passed_over(fleets, tmp_path, monkeypatch):
    (tmp_path / "locked").mkdir()
    (tmp_path / "mine").symlink_to(fleets / "own")
    is_file = Path.is_file

    def guarded(path: Path) -> bool:
        if "locked" in path.parts:
            raise PermissionError(13, "Permission denied", str(path))
        return is_file(path)

    monkeypatch.setattr(Path, "is_file", guarded)
    with pytest.raises(DataError, match="one in mine below it"):
        open_fleet(tmp_path, "train")


@pytest.mark.parametrize("folder", ["five", "own", "six"])
def test_no_frame_at_all_is_refused_whatever_the_layout(fleets, folder):
    with pytest.raises(DataError, match="every: found 0, expected a whole number from 1"):
        open_fleet(fleets / folder, "val", every=0)


def test_real_folders_open_by_themselves(real_waymo_root, real_waymo_fleet_root, real_ddad_root, real_nuscenes_root):
    roots = (real_waymo_root, real_waymo_fleet_root, real_ddad_root, real_nuscenes_root)
    assert [len(open_fleet(root, "train")[0].cameras) for root in roots] == [5, 5, 6, 6]
