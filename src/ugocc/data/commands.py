"""The verbs ``data check`` and ``data convert``."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from ugocc.data.fleet import FleetSource, fleet_from_frames
from ugocc.data.frame import Frame
from ugocc.data.oddities import oddities
from ugocc.data.source import open_fleet
from ugocc.errors import check_least
from ugocc.output import check_writable
from ugocc.progress import follow


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


def convert_fleet(settings: ConvertSettings) -> None:
    """Write the frames as an own-fleet folder."""
    frames = open_fleet(settings.root, settings.split, settings.name)
    check_writable(settings.out)
    count = min(settings.limit or len(frames), len(frames))
    chosen = islice(iter(frames), count)
    fleet_from_frames(settings.out, follow(chosen, "convert", total=count), settings.split)
    print(f"{count} frames of {frames.fleet} in {settings.out}")
