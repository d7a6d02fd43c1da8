from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("numba")

from ugocc.data.nuscenes import NuScenesSource
from ugocc.data.synthetic import build
from ugocc.data.synthetic.build import DriveSettings, RenderSettings, plan, render_fleets
from ugocc.data.synthetic.rendered import RenderedFrame
from ugocc.data.synthetic.vocabulary import file_ids
from ugocc.data.waymo import WaymoSource
from ugocc.errors import DataError
from ugocc.labels import OCC3D_WAYMO

SMALL = {"train": 2, "val": 1, "test": 1, "processes": 1}


class MadeUpDrive:
    """Stands for the renderer: made-up frames that depend on the name alone."""

    def __init__(self, frames: list[RenderedFrame]) -> None:
        self.frames = frames

    def render(self, index: int) -> RenderedFrame:
        return self.frames[index]


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch, six_scene, five_scene) -> list[str]:
    """Replaces the renderer; lists the names of the drives that were opened."""
    names: list[str] = []

    def open_drive(fleet: str, name: str, seed: int, settings: DriveSettings) -> MadeUpDrive:
        names.append(name)
        return MadeUpDrive({"six": six_scene, "five": five_scene}[fleet](name, settings.frames))

    monkeypatch.setattr(build, "open_drive", open_drive)
    return names


def settings(root: Path, frames: int = 1, **changes: object) -> RenderSettings:
    return RenderSettings(root=root, drive=DriveSettings(frames=frames), **{**SMALL, **changes})


def digest(root: Path) -> dict[str, str]:
    files = (file for file in root.rglob("*") if file.is_file() and ".ugocc" not in file.parts)
    return {str(file.relative_to(root)): hashlib.md5(file.read_bytes()).hexdigest() for file in files}


def test_scenes_of_the_plan_are_disjoint_and_positions_follow_their_names() -> None:
    scenes = plan(RenderSettings())
    assert len(scenes) == len({scene.name for scene in scenes}) == 56
    for fleet in ("six", "five"):
        for split, count in (("train", 20), ("val", 4), ("test", 4)):
            chosen = [s for s in scenes if (s.fleet, s.split) == (fleet, split)]
            assert [s.name for s in sorted(chosen, key=lambda s: s.position)] == sorted(s.name for s in chosen)
            assert len(chosen) == count
    # What was trained on one build can be tested on another.
    smaller = {(s.fleet, s.split, s.name) for s in plan(RenderSettings(train=3, val=1, test=2))}
    assert smaller < {(s.fleet, s.split, s.name) for s in scenes}


def test_both_fleets_open_and_every_label_lies_with_its_frame(tmp_path: Path, opened, five_scene) -> None:
    render_fleets(settings(tmp_path, frames=2))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["embedded.json", "five", "six"]
    times = set()
    for split, scenes in (("train", 2), ("val", 1), ("test", 1)):
        six = NuScenesSource(tmp_path / "six", split)
        six.check()
        assert len(six) == 2 * scenes
        times |= {frame.timestamp_us for frame in six}
        for frame in WaymoSource(tmp_path / "five", split):
            index = 0 if frame.previous is None else 1
            truth = five_scene(frame.scene)[index]
            assert np.array_equal(frame.occupancy().semantics, OCC3D_WAYMO[file_ids("occ3d_waymo")[truth.occupancy]])
            assert frame.cameras[0].image().shape == (32, 48, 3)
    assert len(times) == 8
    manifest = json.loads((tmp_path / "embedded.json").read_text())
    assert manifest["settings"] == {"train": 2, "val": 1, "test": 1, "seed": 0, "drive": manifest["settings"]["drive"]}
    assert manifest["settings"]["drive"]["frames"] == 2
    assert manifest["scenes"]["six"]["val"] == ["scene-4001"]


def test_finished_fleets_are_left_alone_and_others_are_not_overwritten(tmp_path: Path, opened) -> None:
    render_fleets(settings(tmp_path))
    before, count = digest(tmp_path), len(opened)
    render_fleets(settings(tmp_path, processes=2))
    assert (digest(tmp_path), len(opened)) == (before, count)
    with pytest.raises(DataError, match=r"embedded\.json: seed: found 0, expected 1 \(--force true"):
        render_fleets(settings(tmp_path, seed=1))
    with pytest.raises(DataError, match=r"drive: found .*'frames': 1"):
        render_fleets(settings(tmp_path, frames=2))
    assert digest(tmp_path) == before
    render_fleets(settings(tmp_path, train=1, force=True))
    assert len(NuScenesSource(tmp_path / "six", "train")) == 1


def test_another_renderer_is_noticed(tmp_path: Path, opened) -> None:
    render_fleets(settings(tmp_path))
    manifest = json.loads((tmp_path / "embedded.json").read_text())
    (tmp_path / "embedded.json").write_text(json.dumps(manifest | {"renderer": "0123"}))
    with pytest.raises(DataError, match="renderer: found fleets of another version"):
        render_fleets(settings(tmp_path))


def test_an_interrupted_run_goes_on_where_it_stopped(tmp_path: Path, opened, monkeypatch: pytest.MonkeyPatch) -> None:
    working: Callable[..., MadeUpDrive] = build.open_drive

    def failing(fleet: str, name: str, seed: int, drive: DriveSettings) -> MadeUpDrive:
        if name == "scene-4001":
            raise KeyboardInterrupt
        return working(fleet, name, seed, drive)

    with monkeypatch.context() as patch:
        patch.setattr(build, "open_drive", failing)
        with pytest.raises(KeyboardInterrupt):
            render_fleets(settings(tmp_path / "a"))
    assert not (tmp_path / "a" / "six").exists()
    assert not (tmp_path / "a" / "embedded.json").exists()
    with pytest.raises(DataError, match="seed"):
        render_fleets(settings(tmp_path / "a", seed=1))
    assert opened == ["scene-0001", "scene-0002"]
    render_fleets(settings(tmp_path / "a"))
    assert opened[2:4] == ["scene-4001", "scene-7001"]
    assert len(opened) == 8
    render_fleets(settings(tmp_path / "b"))
    assert digest(tmp_path / "a") == digest(tmp_path / "b")


def test_an_interruption_while_the_fleets_appear_does_no_harm(
    tmp_path: Path, opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    moves: list[Path] = []
    rename = Path.rename

    def interrupted(self: Path, target: Path) -> Path:
        moves.append(self)
        if len(moves) == 2:
            raise KeyboardInterrupt
        return rename(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", interrupted)
        with pytest.raises(KeyboardInterrupt):
            render_fleets(settings(tmp_path))
    assert (tmp_path / "six").exists()
    assert not (tmp_path / "five").exists()
    render_fleets(settings(tmp_path))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["embedded.json", "five", "six"]
    assert len(opened) == 8


def test_folders_of_others_are_never_touched(tmp_path: Path, opened) -> None:
    (tmp_path / "five").mkdir()
    (tmp_path / "five" / "diary.txt").write_text("mine")
    for force in (False, True):
        with pytest.raises(DataError, match=r"five: folder: found no embedded\.json beside it"):
            render_fleets(settings(tmp_path, force=force))
    assert (tmp_path / "five" / "diary.txt").read_text() == "mine"
    assert opened == []


@pytest.mark.parametrize("changes", [{"train": 0, "val": 0, "test": 0}, {"val": -1}, {"frames": 0}])
def test_nothing_to_render_is_an_error(tmp_path: Path, changes: dict[str, int]) -> None:
    with pytest.raises(DataError, match="at least one"):
        render_fleets(settings(tmp_path, **changes))


def test_one_process_and_two_write_the_same_bytes(tmp_path: Path) -> None:
    tiny = RenderSettings(
        tmp_path / "one", train=1, val=0, test=0, drive=DriveSettings(frames=1, width=48), processes=1
    )
    render_fleets(tiny)
    render_fleets(replace(tiny, root=tmp_path / "two", processes=2))
    one, two = digest(tmp_path / "one"), digest(tmp_path / "two")
    assert one == two
    assert len(one) > 50
    frame = WaymoSource(tmp_path / "one" / "five", "train")[0]
    assert frame.cameras[0].image().shape == (32, 48, 3)
