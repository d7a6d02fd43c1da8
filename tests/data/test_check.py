from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from made_frames import camera, frame

from ugocc.data.commands import CheckSettings, check_fleet, read_everything
from ugocc.data.fleet import fleet_from_frames
from ugocc.data.frame import Frame, LidarSweep
from ugocc.data.oddities import oddities
from ugocc.errors import DataError
from ugocc.geometry.rigid import BODY_T_OPTICAL
from ugocc.serving import check as serving


def made() -> Frame:
    return frame((camera("front"), camera("left", 60.0)))


def _broken() -> np.ndarray:
    raise DataError("mask.png", "map", "nothing", "a mask")


def _moved(metres: float, seconds: float) -> tuple[Frame, Frame]:
    before = made()
    pose = before.world_T_ego.copy()
    pose[0, 3] += metres
    time = before.timestamp_us + round(seconds * 1e6)
    cameras = tuple(replace(view, world_T_ego=pose, timestamp_us=time) for view in before.cameras)
    return before, replace(before, world_T_ego=pose, cameras=cameras, timestamp_us=time)


def _look(change: Callable[[Frame], Frame]) -> list[str]:
    return [what for what, _ in oddities(change(made()), None)]


def test_a_sound_fleet_has_no_warnings(tiny_fleets: Path) -> None:
    found = check_fleet(CheckSettings(tiny_fleets / "five"))
    assert (found.fleet, found.cameras, found.warnings) == ("five", [5], [])
    assert found.frames > 0


@pytest.mark.parametrize("field", ["image", "semantics", "own_car"])
def test_every_file_of_a_camera_is_read(field: str) -> None:
    front, left = made().cameras
    broken = replace(made(), cameras=(front, replace(left, **{field: _broken})))
    with pytest.raises(DataError, match=r"mask\.png"):
        read_everything(broken)


def test_poses_in_other_units_are_strange() -> None:
    before, after = _moved(12.0, 0.5)
    assert not list(oddities(after, before))
    before, after = _moved(12_000.0, 0.5)  # millimetres
    assert ["faster than a car" in what for what, _ in oddities(after, before)] == [True]
    before, after = _moved(12.0, 0.0005)  # milliseconds
    assert ["faster than a car" in what for what, _ in oddities(after, before)] == [True]
    assert not list(oddities(replace(after, scene="another"), before))


def test_calibrations_in_other_units_are_strange() -> None:
    assert not _look(lambda sound: sound)

    def off(sound: Frame) -> Frame:
        view = sound.cameras[0]
        shift = np.array([[1.0, 0, 10 * view.width], [0, 1, 0], [0, 0, 1]])
        return replace(sound, cameras=(replace(view, intrinsics=shift @ view.intrinsics),))

    def far(sound: Frame) -> Frame:
        pose = sound.cameras[0].ego_T_camera.copy()
        pose[:3, 3] *= 1000
        return replace(sound, cameras=(replace(sound.cameras[0], ego_T_camera=pose),))

    assert ["principal point" in what for what in _look(off)] == [True]
    assert ["far from the car" in what for what in _look(far)] == [True]


def test_a_picture_of_another_moment_without_a_pose_is_strange() -> None:
    before, after = _moved(6.0, 0.5)

    def warned(change: Callable[[Frame], Frame]) -> list[str]:
        return [found for what, found in oddities(change(after), before) if "another moment" in what]

    def late(now: Frame, seconds: float = 0.05) -> Frame:
        front, *others = now.cameras
        return replace(now, cameras=(replace(front, timestamp_us=now.timestamp_us + round(seconds * 1e6)), *others))

    def late_with_a_pose(now: Frame) -> Frame:
        front, *others = late(now).cameras
        pose = now.world_T_ego.copy()
        pose[0, 3] += 0.6
        return replace(now, cameras=(replace(front, world_T_ego=pose), *others))

    assert warned(late) == ["front, 0.050 s away, 0.6 m by then"]
    assert warned(lambda now: late(now, 0.005)) == []
    assert warned(late_with_a_pose) == []
    assert not [what for what, _ in oddities(late(after), None) if "another moment" in what]


def test_numbers_of_cameras_are_told_in_words(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    both = made()
    one = replace(both, token="later", timestamp_us=both.timestamp_us + 500_000, cameras=both.cameras[:1])
    fleet_from_frames(tmp_path / "fleet", [both, one])
    serving.check(serving.CheckSettings(tmp_path / "fleet"))
    assert "2 frames, 1 or 2 cameras each, " in capsys.readouterr().out


def test_a_camera_of_the_rig_that_no_frame_has_is_strange(tmp_path: Path) -> None:
    fleet_from_frames(tmp_path / "fleet", [made()])
    (tmp_path / "fleet" / "fleet.json").write_text('{"name": "cars", "rig": {"frnt": {}, "left": {}}}')
    (found,) = check_fleet(CheckSettings(tmp_path / "fleet")).warnings
    assert "that no frame has: frnt." in found


def _mounted(change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Frame], Frame]:
    def changed(sound: Frame) -> Frame:
        return replace(
            sound, cameras=tuple(replace(view, ego_T_camera=change(view.ego_T_camera)) for view in sound.cameras)
        )

    return changed


def test_calibrations_in_other_frames_and_axes_are_strange() -> None:
    on_the_roof = np.eye(4)
    on_the_roof[2, 3] = -1.73
    low = _look(_mounted(lambda pose: on_the_roof @ pose))
    assert ["not above the ground" in what for what in low] == [True] * 2
    assert any("other way round" in what for what in _look(_mounted(np.linalg.inv)))
    ahead_is_z = np.linalg.inv(BODY_T_OPTICAL)
    assert ["axes of ego_T_camera" in what for what in _look(_mounted(lambda pose: pose @ ahead_is_z))] == [True]


def test_times_in_nanoseconds_are_strange() -> None:
    found = _look(lambda sound: replace(sound, timestamp_us=1_700_000_000_000_000_000))
    assert ["in microseconds" in what for what in found] == [True]


def test_lidar_in_other_units_and_frames_is_strange() -> None:
    ahead = np.array([[10.0, y, 1.0, 0.0] for y in np.linspace(-3, 3, 50)], dtype=np.float32)

    def with_lidar(points: np.ndarray, moved: float = 0.0) -> Callable[[Frame], Frame]:
        def given(sound: Frame) -> Frame:
            pose = sound.world_T_ego.copy()
            pose[1, 3] += moved
            sweep = LidarSweep(lambda: points, "a.bin", np.eye(4), pose, sound.timestamp_us)
            return replace(sound, lidar=sweep)

        return given

    assert not _look(with_lidar(ahead))
    as_float64 = ahead.astype(np.float64).view(np.float32).reshape(-1, 4)
    for points, moved, word in (
        (np.nan_to_num(as_float64), 0.0, "float32"),
        (ahead * 1000, 0.0, "in metres"),
        (ahead[:0], 0.0, "no points"),
        (ahead, 20_000.0, "far from the car"),
        (ahead * np.float32([1, 1, -30, 1]), 0.0, "no camera sees"),
    ):
        assert [word in what for what in _look(with_lidar(points, moved))] == [True], word


def test_real_recordings_are_not_strange(
    real_nuscenes_root: Path, real_waymo_root: Path, real_waymo_fleet_root: Path, real_ddad_root: Path
) -> None:
    for root in (real_nuscenes_root, real_waymo_root, real_waymo_fleet_root, real_ddad_root):
        assert check_fleet(CheckSettings(root)).warnings == [], root
