"""A user's own logs as frames, and any frames as such logs.

The layout (``manifest.jsonl`` or ``manifest.parquet``, an optional ``fleet.json``, and files they point at) is
described field by field in docs/own-fleet.md.
"""

from __future__ import annotations

import io
import json
import os
from collections import defaultdict
from collections.abc import Iterable, Iterator
from itertools import pairwise
from pathlib import Path, PurePath
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ugocc.data.fields import shown
from ugocc.data.fleet_manifest import FLEET, MANIFESTS, SPLITS, Line, find_manifest, read_lines, read_shared, to_frame
from ugocc.data.frame import CameraView, Frame, LidarSweep
from ugocc.errors import DataError
from ugocc.geometry.camera import FISHEYE
from ugocc.geometry.grid import OCC3D_GRID
from ugocc.labels import UNKNOWN


class FleetSource:
    """Frames of a manifest: scene after scene in the order of the file, each in time order.

    Any number of cameras, which may differ from frame to frame.

    Args:
        root: folder of the manifest.
        split: ``train``, ``val``, ``test``, or None for all frames. A frame that names no split is in ``train``.
        fleet: name the frames carry; the one of ``fleet.json``, or the folder's, if None.
        every: keep every so many frames of each scene, from the first; neighbours are the kept ones.

    Raises:
        DataError: no manifest, a line that is no frame, a split without frames, or two frames at one time in a scene.
    """

    def __init__(self, root: Path, split: str | None = None, fleet: str | None = None, every: int = 1) -> None:
        root = Path(root)
        if split is not None and split not in SPLITS:
            raise DataError(root, "split", shown(split), f"one of {', '.join(SPLITS)}")
        if every < 1:
            raise DataError(root, "every", every, "a whole number from 1")
        self._manifest, self._shared = find_manifest(root), read_shared(root)
        self.fleet = fleet or self._shared.name
        scenes: dict[str, list[Line]] = defaultdict(list)
        lines = read_lines(self._manifest)
        for line in lines:
            if split in (None, line.split):
                scenes[line.scene].append(line)
        if not scenes:
            counts = ", ".join(f"{sum(line.split == name for line in lines)} in {name}" for name in SPLITS)
            raise DataError(self._manifest, "split", counts, f"at least one frame in {split}")
        self._lines = [line for scene in scenes.values() for line in _in_time(self._manifest, scene)[::every]]

    def __len__(self) -> int:
        return len(self._lines)

    def __iter__(self) -> Iterator[Frame]:
        return (self[index] for index in range(len(self)))

    @property
    def rig(self) -> tuple[str, ...]:
        """Names of the cameras that ``fleet.json`` describes."""
        return tuple(self._shared.rig)

    @property
    def tokens(self) -> list[str]:
        """Token of every frame, in order."""
        return [line.token for line in self._lines]

    @property
    def records(self) -> list[str]:
        """What ``fleet.json`` and the manifest say of the frames, as JSON."""
        return [
            json.dumps([self._shared.rig, self._shared.lidar], sort_keys=True),
            *(line.text for line in self._lines),
        ]

    def __getitem__(self, index: int) -> Frame:
        """The frame at a position.

        Raises:
            IndexError: no such position.
            DataError: its line has a field that is missing, unknown or wrong, or names a file that is not there.
        """
        position = range(len(self))[index]
        before, after = self._neighbour(position, -1), self._neighbour(position, 1)
        return to_frame(self._manifest, self._lines[position], self._shared, self.fleet, before, after)

    def _neighbour(self, position: int, step: int) -> str | None:
        other = position + step
        same_scene = 0 <= other < len(self) and self._lines[other].scene == self._lines[position].scene
        return self._lines[other].token if same_scene else None

    def check(self) -> None:
        """Build every frame: all fields are right and all files are there. Nothing is decoded.

        Raises:
            DataError: the first thing that cannot be used.
        """
        for _ in self:
            pass


def _in_time(manifest: Path, scene: list[Line]) -> list[Line]:
    ordered = sorted(scene, key=lambda line: line.timestamp_us)
    for first, second in pairwise(ordered):
        if first.timestamp_us == second.timestamp_us:
            found = f"{first.timestamp_us}, as in line {first.number}"
            raise DataError(
                f"{manifest}, line {second.number}", "timestamp_us", found, "one frame per moment of a scene"
            )
    return ordered


def fleet_from_frames(
    root: Path, frames: Iterable[Frame], split: str | None = None, name: str | None = None, lossless: bool = False
) -> Path:
    """Write frames of any source as an own-fleet folder.

    Pictures that are JPEG or PNG files are copied as they are; others (rows of tables) are encoded.

    Args:
        root: folder to write; must not have a manifest or ``fleet.json`` yet.
        frames: what to write, in order.
        split: split all of them belong to; None leaves it out, which means ``train``.
        name: name of the fleet; the first frame's if None.
        lossless: encode pictures as PNG, not as JPEG of quality 95.

    Returns:
        Path of the manifest.

    Raises:
        DataError: the folder is of a fleet already, there are no frames, a camera's name leads out of the folder, or
            labels lie on another grid than Occ3D's.
    """
    root = Path(root)
    manifest = root / MANIFESTS[0]
    for there in (name for name in (*MANIFESTS, FLEET) if (root / name).exists()):
        raise DataError(root, "manifest", there, "a folder without a manifest, so that none is overwritten")
    lines = []
    for frame in frames:
        name = name or frame.fleet
        lines.append(json.dumps(_line(root, frame, lossless) | ({"split": split} if split else {})))
    if not lines:
        raise DataError(root, "frames", "none", "at least one frame")
    _write(root / FLEET, json.dumps({"name": name}).encode())
    # The manifest comes last: a folder that has one is complete.
    _write(manifest, ("\n".join(lines) + "\n").encode())
    return manifest


def _line(root: Path, frame: Frame, lossless: bool) -> dict[str, Any]:
    line: dict[str, Any] = {
        "token": frame.token,
        "scene": frame.scene,
        "timestamp_us": frame.timestamp_us,
        "world_T_ego": frame.world_T_ego.ravel().tolist(),
        "cameras": [_camera(root, frame.token, camera, lossless) for camera in frame.cameras],
    }
    if frame.lidar is not None:
        line["lidar"] = _sweep(root, f"lidar/{frame.token}", frame.lidar)
    if frame.sweeps:
        line["sweeps"] = [_sweep(root, f"sweeps/{frame.token}/{i}", sweep) for i, sweep in enumerate(frame.sweeps)]
    if frame.occupancy is not None:
        if frame.occupancy_grid != OCC3D_GRID:
            raise DataError(frame.token, "occupancy_grid", frame.occupancy_grid, OCC3D_GRID)
        line["occupancy"] = _store(root, f"occupancy/{frame.token}.npz", _npz(frame.occupancy()._asdict()))
    if frame.boxes:
        line["boxes"] = [
            {
                "label": b.label,
                "centre": b.centre,
                "size": b.size,
                "yaw": b.yaw,
                **({"track": b.track} if b.track else {}),
            }
            for b in frame.boxes
        ]
    return line


def _camera(root: Path, token: str, camera: CameraView, lossless: bool) -> dict[str, Any]:
    if ".." in PurePath(camera.name).parts or PurePath(camera.name).is_absolute():
        raise DataError(token, "cameras.name", shown(camera.name), "a name that can be a folder")
    stored = Path(camera.source)
    if stored.suffix.lower() in (".jpg", ".jpeg", ".png") and stored.is_file():
        data, suffix = stored.read_bytes(), stored.suffix.lower()
    else:
        data, suffix = _picture(camera.image(), lossless), ".png" if lossless else ".jpg"
    entry: dict[str, Any] = {
        "name": camera.name,
        "image": _store(root, f"images/{camera.name}/{token}{suffix}", data),
        "width": camera.width,
        "height": camera.height,
        "intrinsics": camera.intrinsics.ravel().tolist(),
        "fisheye" if camera.distortion.size == FISHEYE else "distortion": camera.distortion.tolist(),
        "ego_T_camera": camera.ego_T_camera.ravel().tolist(),
        "world_T_ego": camera.world_T_ego.ravel().tolist(),
        "timestamp_us": camera.timestamp_us,
    }
    if camera.semantics is not None:
        data = _picture(camera.semantics(), lossless=True)
        entry["semantics"] = _store(root, f"semantics/{camera.name}/{token}.png", data)
    if camera.own_car is not None:
        data = _picture(camera.own_car().astype(np.uint8) * UNKNOWN, lossless=True)
        entry["own_car"] = _store(root, f"own_car/{camera.name}/{token}.png", data)
    return entry


def _sweep(root: Path, stem: str, sweep: LidarSweep) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "points": _store(root, f"{stem}.bin", sweep.points().astype("<f4").tobytes()),
        "ego_T_lidar": sweep.ego_T_lidar.ravel().tolist(),
        "world_T_ego": sweep.world_T_ego.ravel().tolist(),
        "timestamp_us": sweep.timestamp_us,
    }
    if sweep.labels is not None:
        buffer = io.BytesIO()
        np.save(buffer, sweep.labels(), allow_pickle=False)
        entry["labels"] = _store(root, f"{stem}_labels.npy", buffer.getvalue())
    return entry


def _picture(pixels: NDArray[np.uint8], lossless: bool) -> bytes:
    buffer = io.BytesIO()
    picture = Image.fromarray(np.ascontiguousarray(pixels))
    if lossless:
        picture.save(buffer, "PNG", compress_level=1)
    else:
        picture.save(buffer, "JPEG", quality=95, subsampling=0)
    return buffer.getvalue()


def _npz(arrays: dict[str, Any]) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


def _store(root: Path, name: str, data: bytes) -> str:
    """Write a file and return its name as the manifest gives it."""
    _write(root / name, data)
    return name


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    unfinished.write_bytes(data)
    unfinished.replace(path)
