"""The verbs ``data check`` and ``data convert``."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from ugocc.data.fleet import fleet_from_frames
from ugocc.data.source import open_fleet
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


def check_fleet(settings: CheckSettings) -> None:
    """Read every image, sweep and label of a split once; the first bad one raises its error."""
    frames = open_fleet(settings.root, settings.split, settings.name)
    for frame in follow(frames, f"check {frames.fleet}", total=len(frames)):
        for camera in frame.cameras:
            camera.image()
            if camera.semantics is not None:
                camera.semantics()
        if frame.lidar is not None:
            frame.lidar.points()
        if frame.occupancy is not None:
            frame.occupancy()
    cameras = sorted({len(frame.cameras) for frame in frames})
    print(f"{settings.root} ({settings.split}): {len(frames)} frames, {cameras} cameras each, nothing wrong")


def convert_fleet(settings: ConvertSettings) -> None:
    """Write the frames as an own-fleet folder."""
    frames = open_fleet(settings.root, settings.split, settings.name)
    count = min(settings.limit or len(frames), len(frames))
    chosen = islice(iter(frames), count)
    fleet_from_frames(settings.out, follow(chosen, "convert", total=count), settings.split)
    print(f"{count} frames of {frames.fleet} in {settings.out}")
