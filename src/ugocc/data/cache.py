"""Prepared frames on disk: one safetensors file per frame, used only while everything it was made from is unchanged."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import fields, is_dataclass, replace
from functools import partial
from pathlib import Path
from types import FunctionType, MethodType
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from ugocc.data.frame import Frame, OccupancyLabel
from ugocc.data.prepare import InputSettings, Prepared, PreparedCamera
from ugocc.errors import Said

FORMAT: Final = 5
"""Raise it whenever :func:`ugocc.data.prepare.prepare` or the layout of the files changes."""

_CAMERA_ARRAYS: Final = (
    "image",
    "semantics",
    "visible",
    "lidar",
    "intrinsics",
    "prepared_T_recorded",
    "ego_T_camera",
)


class Cache:
    """A folder of prepared frames for one kind of input.

    Args:
        folder: where; several caches may share it.
        settings: input settings.
    """

    def __init__(self, folder: Path, settings: InputSettings) -> None:
        self.settings = settings
        self.folder = folder / digest(("input", FORMAT, settings))[:16]

    def key(self, frame: Frame) -> str:
        """Digest of all that a frame's Prepared depends on: its record, and size and time of every file behind it."""
        cameras = tuple(replace(camera, source="") for camera in frame.cameras)
        lidar = None if frame.lidar is None else replace(frame.lidar, source="")
        used = replace(frame, cameras=cameras, lidar=lidar, boxes=(), sweeps=(), previous=None, next=None)
        return digest((FORMAT, self.settings, used))

    def path(self, frame: Frame) -> Path:
        """File of a frame; with and without its labels it has different ones."""
        labels = [
            frame.occupancy is not None,
            frame.lidar is not None,
            *(c.semantics is not None for c in frame.cameras),
        ]
        return self.folder / f"{digest((frame.fleet, frame.scene, frame.token, labels))[:32]}.safetensors"

    def load(self, frame: Frame) -> Prepared | None:
        """The prepared frame, or None if it is not there, stale or damaged."""
        return load_prepared(self.path(frame), self.key(frame))

    def save(self, frame: Frame, prepared: Prepared) -> None:
        """Keep a prepared frame."""
        save_prepared(self.path(frame), prepared, self.key(frame))


def save_prepared(path: Path, prepared: Prepared, key: str) -> None:
    """Write a prepared frame whole or not at all.

    Args:
        path: file to write; its folder is made.
        prepared: the frame.
        key: what it was made from, asked for again by :func:`load_prepared`.
    """
    arrays: dict[str, NDArray[Any]] = {"world_T_ego": prepared.world_T_ego}
    for i, camera in enumerate(prepared.cameras):
        values = {name: getattr(camera, name) for name in _CAMERA_ARRAYS}
        arrays |= {f"{i}.{name}": value for name, value in values.items() if value is not None}
    if prepared.occupancy is not None:
        arrays |= {f"occupancy.{name}": value for name, value in prepared.occupancy._asdict().items()}
    names = json.dumps([camera.name for camera in prepared.cameras])
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    contiguous = {name: np.ascontiguousarray(value) for name, value in arrays.items()}
    save_file(contiguous, unfinished, metadata={"key": key, "token": prepared.token, "cameras": names})
    unfinished.replace(path)


def load_prepared(path: Path, key: str) -> Prepared | None:
    """Read what :func:`save_prepared` wrote, or None if there is no such file, it is damaged, or its key differs."""
    try:
        # The torch flavour maps the file into memory, the numpy one copies it (five times slower at full size).
        with safe_open(path, framework="pt") as file:
            about = file.metadata() or {}
            if about.get("key") != key:
                return None
            arrays: dict[str, Any] = {name: file.get_tensor(name).numpy() for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError):
        return None
    cameras = tuple(_camera(name, i, arrays) for i, name in enumerate(json.loads(about["cameras"])))
    occupancy = None
    if "occupancy.semantics" in arrays:
        occupancy = OccupancyLabel(**{name: arrays[f"occupancy.{name}"] for name in OccupancyLabel._fields})
    return Prepared(about["token"], arrays["world_T_ego"], cameras, occupancy)


def _camera(name: str, position: int, arrays: dict[str, Any]) -> PreparedCamera:
    own: dict[str, Any] = {array: arrays.get(f"{position}.{array}") for array in _CAMERA_ARRAYS}
    return PreparedCamera(name, **own)


def files_behind(frame: Frame) -> Iterator[Path]:
    """Every file the contents of a frame come from, whether it exists or not."""
    # Boxes have no files, but in a busy street most of a frame's numbers.
    return (part for part in _parts(replace(frame, boxes=())) if isinstance(part, Path))


def digest(value: Any) -> str:
    """Hexadecimal SHA-256 of a record: numbers, text, arrays, dataclasses, partials, and the state of files by path.

    A file counts by its whole path, however it was given. What messages call it (:class:`ugocc.errors.Said`) does not.

    Raises:
        TypeError: something in it cannot be told from a changed version of itself.
    """
    total = hashlib.sha256()
    for part in _parts(value):
        total.update(_file_state(part) if isinstance(part, Path) else part)
        total.update(b"\0")
    return total.hexdigest()


def _file_state(path: Path) -> bytes:
    try:
        state = path.stat()
    except OSError:
        return f"{path} missing".encode()
    # A folder's time changes with every file put into it, related or not.
    return f"{path}".encode() if path.is_dir() else f"{path} {state.st_mtime_ns} {state.st_size}".encode()


def _parts(value: Any) -> Iterator[bytes | Path]:
    """Flatten a record into bytes and files. Callables count as their name and what they were given."""
    if isinstance(value, Said):
        return
    if isinstance(value, Path):
        yield value.resolve()
    elif value is None or isinstance(value, str | int | float | bytes | np.generic):
        yield repr(value).encode()
    elif isinstance(value, np.ndarray):
        yield f"{value.dtype}{value.shape}".encode() + value.tobytes()
    elif isinstance(value, partial):
        yield from _parts((value.func, value.args, value.keywords))
    elif isinstance(value, FunctionType):
        cells = [cell.cell_contents for cell in value.__closure__ or ()]
        yield from _parts((value.__module__, value.__qualname__, cells, value.__defaults__))
    elif isinstance(value, MethodType):
        yield from _parts((value.__func__, value.__self__))
    elif is_dataclass(value) and not isinstance(value, type):
        yield from _parts((type(value).__qualname__, [getattr(value, f.name) for f in fields(value)]))
    elif isinstance(value, dict):
        yield from _parts(list(value.items()))
    elif isinstance(value, tuple | list):
        yield f"{type(value).__name__}{len(value)}".encode()
        for item in value:
            yield from _parts(item)
    else:
        raise TypeError(f"cannot tell a changed {type(value).__qualname__} from an unchanged one; hand readers paths")
