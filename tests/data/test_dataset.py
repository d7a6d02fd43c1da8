from __future__ import annotations

from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from made_frames import GRID, camera, frame, refuse, same, some_label
from torch import Tensor
from torch.utils.data import DataLoader

from ugocc.data.batch import Batch, collate
from ugocc.data.cache import files_behind
from ugocc.data.dataset import FrameDataset
from ugocc.data.fleet import fleet_from_frames
from ugocc.data.frame import Frame
from ugocc.data.prepare import InputSettings
from ugocc.data.source import open_fleet
from ugocc.data.synthetic.write_nuscenes import write_scene, write_tables
from ugocc.data.synthetic.write_waymo import write_segment
from ugocc.data.transforms import AugmentSettings
from ugocc.errors import DataError
from ugocc.geometry.grid import VoxelGrid
from ugocc.labels import UNKNOWN

SMALL = InputSettings(132, 48, GRID)
POINTS = np.random.default_rng(0).uniform((3, -10, -1), (20, 10, 2), (200, 3))


@dataclass
class Source:
    frames: list[Frame]
    fleet: str = "made"

    def __len__(self):
        return len(self.frames)

    def __getitem__(self, index):
        return self.frames[index]

    def __iter__(self):
        return iter(self.frames)

    @property
    def tokens(self):
        return [f.token for f in self.frames]


def count_and_return(counter: Path, array: np.ndarray) -> np.ndarray:
    """A picture that notes in a folder each time it is read, from whichever process."""
    (counter / f"{len(list(counter.iterdir()))}").touch()
    return array


def picture(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (300, 400, 3), dtype=np.uint8)


def made_source(count: int = 5, counter: Path | None = None) -> Source:
    frames = []
    for i in range(count):
        image = partial(same, picture(i)) if counter is None else partial(count_and_return, counter, picture(i))
        views = (replace(camera("a"), image=image), camera("b", 70.0))
        made = frame(views, POINTS, some_label(seed=i), token=f"t{i}")
        frames.append(replace(made, previous=f"t{i - 1}" if i else None, next=f"t{i + 1}" if i + 1 < count else None))
    return Source(frames)


def assert_equal(a: Batch, b: Batch) -> None:
    assert a.tokens == b.tokens
    for f in fields(a):
        if isinstance(getattr(a, f.name), Tensor):
            torch.testing.assert_close(getattr(a, f.name), getattr(b, f.name), rtol=0, atol=0)


def differs(a: Batch, b: Batch) -> bool:
    return not torch.equal(a.images, b.images)


def test_a_sample_is_a_function_of_seed_visit_and_index():
    data = FrameDataset(made_source(), SMALL, AugmentSettings(), seed=3)
    again = FrameDataset(made_source(), SMALL, AugmentSettings(), seed=3)
    first = data[2, 1]
    for index in (4, 0, 1):  # what was asked for before does not matter
        again[index, 0]
    assert_equal(again[2, 1], first)
    assert differs(data[2, 0], first)
    assert differs(FrameDataset(made_source(), SMALL, AugmentSettings(), seed=4)[2, 1], first)
    data.set_epoch(1)
    assert_equal(data[2], first)


def test_without_augmentation_every_visit_is_the_same():
    data = FrameDataset(made_source(), SMALL)
    assert_equal(data[1, 0], data[1, 7])


def test_the_number_of_workers_does_not_matter(tmp_path):
    order = [(3, 0), (1, 0), (3, 1), (0, 2), (4, 5), (2, 2)]
    batches = []
    for workers in (0, 2):
        data = FrameDataset(made_source(), SMALL, AugmentSettings(colour=0.2), cache=tmp_path / str(workers))
        loader = DataLoader(data, batch_size=2, sampler=order, collate_fn=collate, num_workers=workers)
        batches.append(list(loader))
    for one, two in zip(*batches, strict=True):
        assert_equal(one, two)
    assert batches[0][0].tokens == ("t3", "t1")


def test_fleet_and_labels_arrive():
    batch = FrameDataset(made_source(), SMALL, fleet_id=1)[0]
    assert batch.fleet.tolist() == [1]
    assert batch.occupancy.shape == (1, *GRID.shape)
    assert (batch.occupancy != UNKNOWN).all()
    assert batch.depth.any()


def test_an_unlabelled_dataset_never_touches_labels_or_lidar(tmp_path):
    """The guard that nothing of a target fleet is trained on but what a car records for nothing."""
    frames = []
    for plain in made_source().frames:
        views = tuple(replace(view, semantics=partial(refuse, "a 2D label")) for view in plain.cameras)
        lidar = replace(plain.lidar, points=partial(refuse, "lidar"), labels=partial(refuse, "a lidar label"))
        frames.append(replace(plain, cameras=views, lidar=lidar, occupancy=partial(refuse, "occupancy")))
    source = Source(frames)
    with pytest.raises(AssertionError, match="was read"):
        FrameDataset(source, SMALL)[0]
    for cache in (None, tmp_path):
        data = FrameDataset(source, SMALL, AugmentSettings(), cache=cache, fleet_id=1, labelled=False)
        data.check()
        for index in range(len(data)):
            batch = data[index]
            assert batch.images.any()
            assert (batch.occupancy == UNKNOWN).all()
            assert (batch.semantics_2d == UNKNOWN).all()
            for empty in (batch.depth, batch.camera_visible, batch.lidar_visible):
                assert not empty.any()
        bare = data.frame(0)
        assert bare.lidar is None
        assert bare.occupancy is None


def test_an_unlabelled_dataset_finds_no_labels_in_a_shared_cache(tmp_path):
    assert (FrameDataset(made_source(), SMALL, cache=tmp_path)[0].occupancy != UNKNOWN).all()
    bare = FrameDataset(made_source(), SMALL, cache=tmp_path, labelled=False)
    assert (bare[0].occupancy == UNKNOWN).all()
    assert not bare[0].depth.any()
    assert (FrameDataset(made_source(), SMALL, cache=tmp_path)[0].occupancy != UNKNOWN).all()


def test_a_frame_is_prepared_once(tmp_path):
    counter = tmp_path / "counter"
    counter.mkdir()
    source = made_source(3, counter)
    cached = FrameDataset(source, SMALL, AugmentSettings(), cache=tmp_path / "cache")
    fresh = FrameDataset(made_source(3), SMALL, AugmentSettings())
    for visit in range(3):
        for index in range(3):
            assert_equal(cached[index, visit], fresh[index, visit])
    assert len(list(counter.iterdir())) == 3


def test_neighbours():
    source = made_source(5)
    data = FrameDataset(source, SMALL)
    assert [data.neighbour(2, step) for step in (-3, -2, -1, 0, 1, 2, 3)] == [None, 0, 1, 2, 3, 4, None]
    some = FrameDataset(Source([source.frames[i] for i in (0, 1, 3)]), SMALL)
    assert some.neighbour(0, 1) == 1
    assert some.neighbour(1, 1) is None  # t2 is not in this source
    assert some.neighbour(2, -1) is None


def broken(change) -> Source:
    source = made_source(3)
    source.frames[1] = change(source.frames[1])
    return source


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (Source([]), "made: frames: found none"),
        (broken(lambda f: replace(f, token="t0")), "token: found t0 twice"),
        (broken(lambda f: replace(f, cameras=())), "t1: cameras: found none"),
        (broken(lambda f: replace(f, occupancy=None)), "t1: occupancy: found no label"),
        (broken(lambda f: replace(f, occupancy_grid=VoxelGrid(voxel_size=0.5))), "t1: occupancy_grid"),
        (
            broken(lambda f: replace(f, occupancy=partial(same, Path("gone.npz")))),
            "gone.npz: file: found nothing there",
        ),
    ],
)
def test_check_names_the_first_fault(source, message):
    with pytest.raises(DataError, match=message):
        FrameDataset(source, SMALL).check()


def test_check_accepts_what_is_right():
    FrameDataset(made_source(), SMALL).check()
    unlabelled = broken(lambda f: replace(f, occupancy=None))
    FrameDataset(unlabelled, SMALL, labelled=False).check()
    lidar = made_source().frames[0].lidar
    assert lidar is not None
    between = replace(lidar, points=partial(same, Path("gone.bin")))
    FrameDataset(broken(lambda f: replace(f, sweeps=(between,))), SMALL).check()  # nothing is prepared from it


@pytest.fixture(scope="module")
def fleets(six_scene, five_scene, tmp_path_factory) -> Path:
    """A fleet of every layout."""
    root = tmp_path_factory.mktemp("fleets")
    write_tables([write_scene(six_scene("scene-1", 3), root / "six")], {"val": ["scene-1"]}, root / "six")
    write_segment(five_scene("100_0_000_20_000", 3), root / "five", "val", 0)
    fleet_from_frames(root / "own", open_fleet(root / "five", "val"), split="val")
    return root


@pytest.mark.parametrize("name", ["six", "five", "own"])
@pytest.mark.parametrize("labelled", [True, False])
def test_frames_of_every_reader_are_checked_cached_and_augmented(fleets, tmp_path, name, labelled):
    def opened() -> FrameDataset:
        source = open_fleet(fleets / name, "val")
        return FrameDataset(source, SMALL, AugmentSettings(), cache=tmp_path, labelled=labelled)

    data, again = opened(), opened()
    data.check()
    assert len(list(files_behind(data.frame(0)))) >= 5
    batches = collate([data[index, 0] for index in range(3)])
    written = {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*.safetensors")}
    assert len(written) == 3
    for index in range(3):
        assert data.cache.key(data.frame(index)) == again.cache.key(again.frame(index))
        assert again.cache.load(again.frame(index)) is not None
    assert torch.equal(collate([again[index, 0] for index in range(3)]).images, batches.images)
    assert {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*.safetensors")} == written
    assert batches.depth.any() == labelled
    assert (batches.occupancy != UNKNOWN).any() == labelled
    assert [data.neighbour(0, 1), data.neighbour(2, -2), data.neighbour(2, 1)] == [1, 0, None]
