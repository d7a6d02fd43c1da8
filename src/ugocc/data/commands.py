"""The verbs ``data check`` and ``data convert``."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np

from ugocc.data.fleet import FleetSource, fleet_from_frames
from ugocc.data.frame import CameraView, Frame, LidarSweep
from ugocc.data.source import open_fleet
from ugocc.errors import check_least
from ugocc.progress import follow

FARTHEST_CAMERA: Final = 30.0
"""Metres from the origin of the car at which no camera is mounted."""
FASTEST: Final = 100.0
"""Metres per second that no car drives."""
AWAY: Final = 0.1
"""Metres that the car may drive between a frame and a picture or sweep without a pose of its own."""


@dataclass(frozen=True)
class CheckSettings:
    """Verification of a fleet."""

    root: Path = Path("data/embedded/six")
    """Folder of the fleet."""
    split: str = "train"
    """Scenes to verify."""
    name: str | None = None
    """Name of the fleet."""


class Checked(NamedTuple):
    """What was found."""

    root: Path
    """Folder of the fleet."""
    split: str
    """Scenes."""
    fleet: str
    """Name of the fleet."""
    frames: int
    """How many."""
    cameras: list[int]
    """Numbers of cameras that frames have."""
    warnings: list[str]
    """What can be read and is strange."""


@dataclass(frozen=True)
class ConvertSettings:
    """Conversion into the own-fleet layout."""

    root: Path = Path("data/embedded/six")
    """Folder of the fleet to copy."""
    split: str = "train"
    """Scenes to copy."""
    name: str | None = None
    """Name of the fleet."""
    out: Path = Path("data/converted")
    """New folder."""
    limit: int = 0
    """Copy only the first frames; 0 copies all."""

    def __post_init__(self) -> None:
        check_least("convert", 0, "a number of frames, or 0 for all", limit=self.limit)


def check_fleet(settings: CheckSettings) -> Checked:
    """Read every file of a split once.

    Raises:
        DataError: the first that cannot be used.
    """
    frames = open_fleet(settings.root, settings.split, settings.name)
    strange: dict[str, str] = {}
    cameras: set[int] = set()
    names: set[str] = set()
    before: Frame | None = None
    for frame in follow(frames, f"check {frames.fleet}", total=len(frames)):
        read_everything(frame)
        for what, found in oddities(frame, before):
            strange.setdefault(what, f"{frame.token}: {found}")
        cameras.add(len(frame.cameras))
        names |= {camera.name for camera in frame.cameras}
        before = frame
    warnings = [f"{what} First in {first}" for what, first in strange.items()]
    nobody = [name for name in frames.rig if name not in names] if isinstance(frames, FleetSource) else []
    if nobody:
        warnings.append(f"the rig of fleet.json has cameras that no frame has: {', '.join(nobody)}. Are they misspelt?")
    return Checked(settings.root, settings.split, frames.fleet, len(frames), sorted(cameras), warnings)


def read_everything(frame: Frame) -> None:
    """Open every file of a frame but lidar sweeps between key frames, which nothing is trained on.

    Raises:
        DataError: the first that cannot be used.
    """
    for camera in frame.cameras:
        camera.image()
        for read in (camera.semantics, camera.own_car):
            if read is not None:
                read()
    if frame.lidar is not None:
        frame.lidar.points()
        if frame.lidar.labels is not None:
            frame.lidar.labels()
    if frame.occupancy is not None:
        frame.occupancy()


def oddities(frame: Frame, before: Frame | None) -> Iterator[tuple[str, str]]:
    """What can be read but is hardly meant, and the numbers: poses and calibrations in other units.

    Args:
        frame: looked at.
        before: the frame read before it.
    """
    for camera in frame.cameras:
        cx, cy = camera.intrinsics[0, 2], camera.intrinsics[1, 2]
        if not (0 <= cx <= camera.width and 0 <= cy <= camera.height):
            found = f"{camera.name}, ({cx:.0f}, {cy:.0f}) in {camera.width}x{camera.height} pixels"
            yield "the principal point lies outside the picture: are intrinsics those of this resolution?", found
        away = float(np.linalg.norm(frame.ego_T_camera(camera)[:3, 3]))
        if away > FARTHEST_CAMERA:
            yield "a camera is far from the car: is ego_T_camera in metres?", f"{camera.name}, {away:.0f} m"
    if before is not None and before.scene == frame.scene:
        seconds = (frame.timestamp_us - before.timestamp_us) / 1e6
        metres = float(np.linalg.norm(frame.world_T_ego[:3, 3] - before.world_T_ego[:3, 3]))
        if metres > FASTEST * seconds:
            yield (
                "the car is faster than a car: are poses in metres and times in microseconds?",
                f"{metres:.1f} m in {seconds:.6f} s",
            )
        yield from _without_a_pose(frame, metres / max(seconds, 1e-6))


def _without_a_pose(frame: Frame, speed: float) -> Iterator[tuple[str, str]]:
    """Pictures and a sweep of another time that have the pose of the frame; ``speed`` in metres per second."""
    parts: list[CameraView | LidarSweep] = [*frame.cameras, *([] if frame.lidar is None else [frame.lidar])]
    for part in parts:
        seconds = abs(part.timestamp_us - frame.timestamp_us) / 1e6
        if speed * seconds > AWAY and np.array_equal(part.world_T_ego, frame.world_T_ego):
            name = part.name if isinstance(part, CameraView) else "lidar"
            yield (
                "a picture or sweep of another moment has the pose of the frame: give it a world_T_ego of its own.",
                f"{name}, {seconds:.3f} s away, {speed * seconds:.1f} m by then",
            )


def convert_fleet(settings: ConvertSettings) -> None:
    """Write the frames as an own-fleet folder."""
    frames = open_fleet(settings.root, settings.split, settings.name)
    count = min(settings.limit or len(frames), len(frames))
    chosen = islice(iter(frames), count)
    fleet_from_frames(settings.out, follow(chosen, "convert", total=count), settings.split)
    print(f"{count} frames of {frames.fleet} in {settings.out}")
