"""Ten-class maps of camera pictures that a 2D network made: where they lie, what made them, how a fleet reads them.

A folder of maps holds ``<token>/<camera name>.png`` (8-bit, 255 unknown) of any size with the picture's proportions,
and ``maps.json``, the card that says what made them. All maps of a folder were made the same way.
"""

from __future__ import annotations

import io
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ugocc.data.frame import CameraView, Frame, FrameSource
from ugocc.data.images import read_bytes, read_png
from ugocc.errors import DataError
from ugocc.labels import NUM_CLASSES, UNKNOWN

CARD: Final = "maps.json"


@dataclass(frozen=True)
class MapsCard:
    """What made the maps of a folder."""

    network: str
    """Name of the network's file."""
    sha256: str
    """Digest of that file."""
    architecture: str
    """Name of the architecture, empty for files that hold their own."""
    mapping: str
    """Name of the class mapping."""
    classes: tuple[int, ...]
    """Ten-class id (255 unknown) of each of the network's classes."""
    width: int
    """Columns of the maps."""
    confidence: float
    """Pixels below this probability are unknown; 0 if the network gives no probabilities."""


@dataclass(frozen=True)
class TeacherMap:
    """Reads the map of one picture: 2D labels that no human made, so unlabelled fleets keep them."""

    path: Path
    """PNG file."""
    width: int
    """Columns of the picture."""
    height: int
    """Rows of the picture."""

    def __call__(self) -> NDArray[np.uint8]:
        """(height, width) classes at the size of the picture, each pixel that of the nearest pixel of the map.

        Raises:
            DataError: missing or broken file, other proportions than the picture, or values that are no classes.
        """
        stored: NDArray[Any] = read_png(self.path)
        rows, columns = stored.shape
        if abs(rows - self.height * columns / self.width) > 1:
            expected = f"the proportions of a picture of {self.width}x{self.height}"
            raise DataError(self.path, "map", f"{columns}x{rows} pixels", expected)
        values = np.unique(stored)
        wrong = values[(values >= NUM_CLASSES) & (values != UNKNOWN)]
        if stored.dtype != np.uint8 or len(wrong):
            found = f"value {wrong[0]}" if len(wrong) else f"{stored.dtype}"
            raise DataError(self.path, "map", found, f"8-bit classes 0 to {NUM_CLASSES - 1} or {UNKNOWN}")
        row = (2 * np.arange(self.height) + 1) * rows // (2 * self.height)
        column = (2 * np.arange(self.width) + 1) * columns // (2 * self.width)
        return stored.astype(np.uint8)[row[:, None], column]


def map_path(folder: Path, token: str, camera: str) -> Path:
    """File of the map of one picture.

    Raises:
        DataError: a token or name that is no file name.
    """
    for field, name in (("token", token), ("camera", camera)):
        if not name or name == ".." or Path(name).name != name:
            raise DataError(folder, field, repr(name), "a name that can be a file name")
    return folder / token / f"{camera}.png"


def write_map(path: Path, classes: NDArray[np.uint8]) -> None:
    """Write a map (rows, columns) whole or not at all; its folder is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    encoded = io.BytesIO()
    Image.fromarray(classes).save(encoded, format="PNG")
    _write(path, encoded.getvalue())


def open_maps(folder: Path, card: MapsCard) -> None:
    """Make a folder of maps, or continue one that was made the same way.

    Raises:
        DataError: the folder holds maps made in another way, or files that are no maps.
    """
    if (folder / CARD).is_file():
        found = read_card(folder)
        for field in fields(MapsCard):
            was, now = getattr(found, field.name), getattr(card, field.name)
            if was != now:
                raise DataError(folder / CARD, field.name, was, f"{now}, as asked for now; or take another folder")
    elif folder.is_dir() and any(not file.name.startswith(".") for file in folder.iterdir()):
        raise DataError(folder, CARD, f"files, but no {CARD}", "an empty or new folder")
    else:
        folder.mkdir(parents=True, exist_ok=True)
        _write(folder / CARD, (json.dumps(asdict(card), indent=1) + "\n").encode())


def read_card(folder: Path) -> MapsCard:
    """What made the maps of a folder.

    Raises:
        DataError: no card, or not one that this version can read.
    """
    path = folder / CARD
    try:
        values: dict[str, Any] = json.loads(read_bytes(path, CARD))
        return MapsCard(**(values | {"classes": tuple(values["classes"])}))
    except (ValueError, TypeError, KeyError) as error:
        if isinstance(error, DataError):
            raise
        expected = f"a JSON object with {', '.join(f.name for f in fields(MapsCard))}"
        raise DataError(path, CARD, f"{type(error).__name__}: {error}", expected) from error


def with_teacher_maps(source: FrameSource, folder: Path) -> FrameSource:
    """The fleet with a teacher's maps for 2D labels, in place of any human ones.

    Args:
        source: any fleet.
        folder: what ``ugocc data segment`` made of it.

    Raises:
        DataError: no card, or a picture without a map: better before training than in the middle.
    """
    folder = Path(folder)
    read_card(folder)
    for frame in source:
        for camera in frame.cameras:
            path = map_path(folder, frame.token, camera.name)
            if not path.is_file():
                raise DataError(path, "map", "no such file", f"a map of every picture of {source.fleet}")
    return _Taught(source, folder)


class _Taught:
    """A fleet whose 2D labels are read from a folder of maps."""

    def __init__(self, source: FrameSource, folder: Path) -> None:
        self.fleet, self._source, self._folder = source.fleet, source, folder

    def __len__(self) -> int:
        return len(self._source)

    def __iter__(self) -> Iterator[Frame]:
        return (self[index] for index in range(len(self)))

    def __getitem__(self, index: int) -> Frame:
        frame = self._source[index]
        return replace(frame, cameras=tuple(self._taught(frame.token, camera) for camera in frame.cameras))

    def _taught(self, token: str, camera: CameraView) -> CameraView:
        path = map_path(self._folder, token, camera.name)
        return replace(camera, semantics=TeacherMap(path, camera.width, camera.height))

    @property
    def tokens(self) -> list[str]:
        """Token of every frame, in order."""
        return self._source.tokens

    def check(self) -> None:
        """What the fleet itself checks."""
        check = getattr(self._source, "check", None)
        if check is not None:
            check()


def _write(path: Path, content: bytes) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_bytes(content)
    temporary.replace(path)
