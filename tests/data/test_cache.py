from __future__ import annotations

import copy
import os
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from made_frames import GRID, LENS, camera, frame, same, some_label
from PIL import Image

from ugocc.data.cache import Cache, files_behind, load_prepared, save_prepared
from ugocc.data.prepare import InputSettings, Prepared, prepare, without_labels

SMALL = InputSettings(264, 96, GRID)


def read_picture(path: Path, size: tuple[int, int]) -> np.ndarray:
    return np.array(Image.open(path).convert("RGB"))


def frame_on_disk(folder: Path):
    """Two cameras, one of them distorted, with maps, lidar and label; the picture of the first is a file."""
    path = folder / "picture.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (300, 400, 3), dtype=np.uint8)).save(path)
    labels = np.random.default_rng(1).integers(0, 10, (300, 400), dtype=np.uint8)
    own = np.zeros((300, 400), bool)
    own[280:] = True
    first = replace(
        camera("a"),
        image=partial(read_picture, path, (400, 300)),
        semantics=partial(same, labels),
        own_car=partial(same, own),
    )
    points = np.random.default_rng(2).uniform(-30, 30, (500, 3))
    return frame((first, camera("b", 60.0, distortion=LENS)), points, some_label())


def assert_same(a: Prepared, b: Prepared) -> None:
    assert a.token == b.token
    pairs = [(a.world_T_ego, b.world_T_ego)]
    for x, y in zip(a.cameras, b.cameras, strict=True):
        assert x.name == y.name
        pairs += [(getattr(x, n), getattr(y, n)) for n in x.__dataclass_fields__ if n != "name"]
    assert (a.occupancy is None) == (b.occupancy is None)
    pairs += list(zip(a.occupancy or (), b.occupancy or (), strict=True))
    for x, y in pairs:
        assert (x is None) == (y is None)
        if x is not None:
            assert x.dtype == y.dtype
            np.testing.assert_array_equal(x, y)


@pytest.mark.parametrize("labelled", [True, False])
def test_what_comes_back_is_what_went_in(tmp_path, labelled):
    prepared = prepare(frame_on_disk(tmp_path), SMALL, labelled)
    save_prepared(tmp_path / "deep" / "one.safetensors", prepared, "key")
    assert_same(load_prepared(tmp_path / "deep" / "one.safetensors", "key"), prepared)
    assert [file.name for file in (tmp_path / "deep").iterdir()] == ["one.safetensors"]


def test_nothing_is_loaded_under_another_key_or_from_a_damaged_file(tmp_path):
    path = tmp_path / "one.safetensors"
    assert load_prepared(path, "key") is None
    save_prepared(path, prepare(frame_on_disk(tmp_path), SMALL), "key")
    assert load_prepared(path, "another") is None
    whole = path.read_bytes()
    for damaged in (whole[:-100], whole[:20], b"", b"\xff" * 200):
        path.write_bytes(damaged)
        assert load_prepared(path, "key") is None


def test_stale_is_never_used(tmp_path):
    shown = frame_on_disk(tmp_path)
    cache = Cache(tmp_path / "cache", SMALL)
    cache.save(shown, prepare(shown, SMALL))
    assert cache.load(shown) is not None
    path = tmp_path / "picture.png"
    before = path.stat()

    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    assert cache.load(shown) is None
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert cache.load(shown) is not None
    path.write_bytes(path.read_bytes() + b" ")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert cache.load(shown) is None


def turned(view):
    pose = view.ego_T_camera.copy()
    pose[0, 3] += 1e-6
    return replace(view, ego_T_camera=pose)


@pytest.mark.parametrize(
    "change",
    [
        lambda f: replace(f, cameras=(turned(f.cameras[0]), f.cameras[1])),
        lambda f: replace(f, cameras=f.cameras[::-1]),
        lambda f: replace(f, cameras=(replace(f.cameras[0], semantics=None), f.cameras[1])),
        lambda f: replace(f, cameras=(replace(f.cameras[0], image=partial(same, np.zeros(3))), f.cameras[1])),
        lambda f: replace(f, occupancy=partial(same, some_label(seed=1))),
        lambda f: replace(f, lidar=None),
        lambda f: replace(f, token="two"),
        lambda f: replace(f, occupancy_grid=GRID),
        without_labels,
    ],
)
def test_every_part_of_a_frame_counts(tmp_path, change):
    shown = frame_on_disk(tmp_path)
    cache = Cache(tmp_path, SMALL)
    assert cache.key(copy.deepcopy(shown)) == cache.key(shown)
    assert cache.key(change(shown)) != cache.key(shown)


def test_what_is_not_prepared_does_not_count(tmp_path):
    shown, cache = frame_on_disk(tmp_path), Cache(tmp_path, SMALL)
    assert cache.key(replace(shown, previous="x", next="y", sweeps=(shown.lidar,))) == cache.key(shown)


def test_settings_and_labels_have_their_own_files(tmp_path):
    shown = frame_on_disk(tmp_path)
    small, other = Cache(tmp_path, SMALL), Cache(tmp_path, replace(SMALL, max_lidar_depth=50.0))
    bare = without_labels(shown)
    assert len({small.path(shown), small.path(bare), other.path(shown), other.path(bare)}) == 4
    for cache, view, settings in ((small, shown, SMALL), (small, bare, SMALL), (other, shown, other.settings)):
        cache.save(view, prepare(view, settings))
    assert small.load(shown).occupancy is not None
    assert small.load(bare).occupancy is None
    assert other.load(bare) is None


def test_files_behind_a_frame(tmp_path):
    shown = frame_on_disk(tmp_path)
    gone = replace(shown, occupancy=partial(read_picture, tmp_path / "gone.npz", (1, 1)))
    assert list(files_behind(gone)) == [tmp_path / "picture.png", tmp_path / "gone.npz"]


def test_what_cannot_be_compared_is_refused(tmp_path):
    shown = frame_on_disk(tmp_path)
    with pytest.raises(TypeError, match="hand readers paths"):
        Cache(tmp_path, SMALL).key(replace(shown, occupancy=partial(same, object())))
