"""Any fleet by its folder: which reader fits is seen from what lies in it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path

from ugocc.data.fleet import FleetSource
from ugocc.data.fleet_manifest import MANIFESTS
from ugocc.data.frame import Frame, FrameSource
from ugocc.data.waymo_folder import REQUIRED, SPLITS
from ugocc.errors import DataError
from ugocc.extras import require


def open_fleet(root: Path, split: str, name: str | None = None, every: int = 1) -> FrameSource:
    """Open a folder of frames, whatever its layout.

    Args:
        root: folder with a manifest (docs/own-fleet.md), a nuScenes folder (``v1.0-*``), or a Waymo v2 folder
            (``training``, ``validation``, ``testing`` with one folder per component).
        split: ``train``, ``val`` or ``test``.
        name: name the frames carry; if None, the manifest's own, else the folder's.
        every: keep every so many frames of each scene, from the first.

    Raises:
        DataError: no layout fits (says what was looked for), ``every`` below 1, or the reader found something wrong.
        MissingPackage: the layout needs pyarrow.
    """
    root = Path(root)
    if every < 1:
        raise DataError(root, "every", every, "a whole number from 1")
    if root.is_file():
        raise DataError(root, "root", "a file", "the folder that it lies in")
    layout = layout_of(root)
    if layout == "fleet":
        return FleetSource(root, split, name, every)
    if layout == "waymo":
        require(root, "data")
        from ugocc.data.waymo import WaymoSource

        return WaymoSource(root, split, fleet=name or root.resolve().name, every=every)
    if layout == "nuscenes":
        require(root, "data")
        from ugocc.data.nuscenes import NuScenesSource

        source = NuScenesSource(root, split, fleet=name or root.resolve().name)
        return thinned(source, every)
    below = [p.name for p in sorted(root.iterdir()) if _is_fleet(p)] if root.is_dir() else []
    found = f"no known layout, but one in {', '.join(below)} below it" if below else "no known layout"
    raise DataError(
        root,
        "folder",
        found if root.is_dir() else "no such folder (`ugocc data render --root data/embedded` makes the embedded ones)",
        f"{' or '.join(MANIFESTS)} (own logs), a folder v1.0-* (nuScenes), "
        f"or {'/'.join(SPLITS.values())} with {', '.join(REQUIRED)} (Waymo v2)",
    )


def recordings_digest(frames: FrameSource) -> str:
    """SHA-256 over what a source says of its frames before any is read: tokens, of an own fleet its manifest."""
    said = frames.records if isinstance(frames, FleetSource) else frames.tokens
    return hashlib.sha256("\n".join(said).encode()).hexdigest()


def _is_fleet(folder: Path) -> bool:
    try:
        return folder.is_dir() and layout_of(folder) is not None
    except OSError:  # not ours to look into
        return False


def layout_of(root: Path) -> str | None:
    """``fleet``, ``nuscenes``, ``waymo``, or None if the folder has none of these layouts."""
    if any((root / name).is_file() for name in MANIFESTS):
        return "fleet"
    if any(p.is_dir() for p in root.glob("v1.0-*")):
        return "nuscenes"
    if any((root / split / component).is_dir() for split in SPLITS.values() for component in REQUIRED):
        return "waymo"
    return None


def thinned(source: FrameSource, every: int) -> FrameSource:
    """Every so many frames of each scene of a source, from the first.

    Args:
        source: what to thin.
        every: how many frames to go forward, from 1.
    """
    if every < 1:
        raise ValueError(f"every = {every}, expected a whole number from 1")
    return source if every == 1 else Part(source, (members[::every] for members in _scenes(source)))


def labelled_part(source: FrameSource) -> FrameSource:
    """The frames of a source that have an occupancy label; the source itself where all have, or none has."""
    scenes = [[index for index in members if source[index].occupancy is not None] for members in _scenes(source)]
    return source if sum(map(len, scenes)) in (0, len(source)) else Part(source, scenes)


def _scenes(source: FrameSource) -> Iterator[list[int]]:
    """Indices of the frames of each scene."""
    return (list(members) for _, members in groupby(range(len(source)), key=lambda index: source[index].scene))


class Part:
    """Some frames of a source, linked to each other.

    Args:
        source: the whole.
        scenes: indices of the frames of each scene, in order.
    """

    def __init__(self, source: FrameSource, scenes: Iterable[Sequence[int]]) -> None:
        self.fleet, self._source = source.fleet, source
        tokens = source.tokens
        self._places: list[tuple[int, str | None, str | None]] = []
        for kept in scenes:
            around = [None, *(tokens[index] for index in kept), None]
            self._places += list(zip(kept, around, around[2:], strict=False))

    def __len__(self) -> int:
        return len(self._places)

    def __iter__(self) -> Iterator[Frame]:
        return (self[index] for index in range(len(self)))

    def __getitem__(self, index: int) -> Frame:
        place, before, after = self._places[index]
        return replace(self._source[place], previous=before, next=after)

    @property
    def tokens(self) -> list[str]:
        """Token of every frame, in order."""
        tokens = self._source.tokens
        return [tokens[place] for place, _, _ in self._places]

    def check(self) -> None:
        """What the whole checks."""
        check = getattr(self._source, "check", None)
        if check is not None:
            check()
