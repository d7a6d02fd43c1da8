"""Lines of an own-fleet manifest to frames (docs/own-fleet.md describes every field)."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ugocc.data.fields import Fields, shown
from ugocc.data.fleet_files import (
    CLASS_IDS,
    POINT_COLUMNS,
    POINT_FILES,
    read_image,
    read_occupancy,
    read_own_car,
    read_point_labels,
    read_points,
    read_semantics,
)
from ugocc.data.frame import Box, CameraView, Frame, LidarSweep
from ugocc.data.images import read_bytes
from ugocc.errors import DataError, Said, first_line
from ugocc.extras import require
from ugocc.geometry.camera import FISHEYE
from ugocc.geometry.rigid import Matrix
from ugocc.labels import CLASSES

MANIFESTS = ("manifest.jsonl", "manifest.parquet")
"""Names a manifest may have."""
FLEET = "fleet.json"
"""What is said once for all frames."""
SPLITS = ("train", "val", "test")
"""Splits a frame may belong to; the first is the default."""

_FRAME = ("token", "scene", "timestamp_us", "split", "world_T_ego", "cameras", "lidar", "sweeps", "occupancy", "boxes")
_RIG = ("width", "height", "intrinsics", "distortion", "fisheye", "ego_T_camera", "own_car")
_CAMERA = ("name", "image", *_RIG, "world_T_ego", "timestamp_us", "semantics")
_SENSOR = ("columns", "ego_T_lidar")
_LIDAR = ("points", *_SENSOR, "world_T_ego", "timestamp_us", "labels")
_BOX = ("label", "centre", "size", "yaw", "track")
_SAFE = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*")


@dataclass(frozen=True)
class Line:
    """One frame as it stands in the manifest."""

    number: int
    """Line or row, from 1."""
    text: str
    """JSON."""
    token: str
    """Unique, and a file name."""
    scene: str
    """Drive it belongs to."""
    timestamp_us: int
    """Key time."""
    split: str
    """train, val or test."""


@dataclass(frozen=True)
class Shared:
    """What ``fleet.json`` says about all frames."""

    name: str
    """Name of the fleet."""
    rig: Mapping[str, Mapping[str, Any]]
    """Camera name to fields that its entries may leave out."""
    lidar: Mapping[str, Any]
    """Fields that lidar entries may leave out."""


def find_manifest(root: Path) -> Path:
    """The manifest of a folder.

    Raises:
        DataError: none, or both kinds.
    """
    found = [root / name for name in MANIFESTS if (root / name).is_file()]
    if len(found) != 1:
        raise DataError(
            root, "manifest", " and ".join(p.name for p in found) or "none", f"one of {', '.join(MANIFESTS)}"
        )
    return found[0]


def read_shared(root: Path) -> Shared:
    """``fleet.json`` of a folder; the folder's name and nothing else where there is no such file.

    Raises:
        DataError: not JSON, or unknown keys.
    """
    path = root / FLEET
    if not path.is_file():
        return Shared(root.resolve().name, {}, {})
    fields = Fields(_parse(path.read_bytes(), path), path, "", ("name", "rig", "lidar"))
    rig = fields.value("rig", "an object") if "rig" in fields else {}
    if not isinstance(rig, Mapping):
        raise fields.error("rig", shown(rig), "an object with one entry per camera name")
    for name, camera in rig.items():
        Fields(camera, path, f"rig.{name}.", _RIG)
    lidar = fields.value("lidar", "an object") if "lidar" in fields else {}
    Fields(lidar, path, "lidar.", _SENSOR)
    return Shared(fields.text("name", root.resolve().name), rig, lidar)


def read_lines(manifest: Path) -> list[Line]:
    """Every frame of a manifest, in the order of the file; of each only what is needed to sort it.

    Raises:
        DataError: not JSON, unknown or missing keys, or a token that occurs twice.
    """
    lines: dict[str, Line] = {}
    for number, text in _texts(manifest):
        where = _where(manifest, number)
        fields = Fields(_parse(text, where), where, "", _FRAME)
        token, split = fields.text("token"), fields.text("split", SPLITS[0])
        if not _SAFE.fullmatch(token):
            raise fields.error("token", shown(token), "a file name: letters, digits, '.', '_', '-'")
        if token in lines:
            raise fields.error("token", f"{token}, as in line {lines[token].number}", "a token of its own")
        if split not in SPLITS:
            raise fields.error("split", shown(split), f"one of {', '.join(SPLITS)}")
        lines[token] = Line(number, text, token, fields.text("scene"), fields.whole("timestamp_us"), split)
    if not lines:
        raise DataError(manifest, "lines", "none", "one line per frame")
    return list(lines.values())


def _texts(manifest: Path) -> list[tuple[int, str]]:
    if manifest.suffix == ".parquet":
        require(manifest, "data")
        from ugocc.data.parquet_rows import open_parquet

        with open_parquet(manifest, ()) as file:
            try:
                rows = file.read(use_threads=False).to_pylist()
            except (ValueError, OSError) as error:  # Arrow's errors are of the first kind
                found = first_line(error)
                raise DataError(manifest, "content", found, "an undamaged Parquet file") from None
        return [(i, json.dumps(row, default=str)) for i, row in enumerate(rows, start=1)]
    try:
        content = read_bytes(manifest, "manifest").decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(manifest, "encoding", str(error), "UTF-8") from None
    # Not splitlines: JSON may hold other characters that end a line, as U+2028 does.
    return [(i, text) for i, text in enumerate(content.split("\n"), start=1) if text.strip()]


def _where(manifest: Path, number: int) -> str:
    return f"{manifest}, {'row' if manifest.suffix == '.parquet' else 'line'} {number}"


def _parse(text: str | bytes, where: object) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(where, "content", f"no JSON ({error})", "one JSON object") from None


def to_frame(manifest: Path, line: Line, shared: Shared, fleet: str, before: str | None, after: str | None) -> Frame:
    """The frame of a line. Files are looked for, not read.

    Args:
        manifest: file of the line; paths are relative to its folder.
        line: which frame.
        shared: contents of ``fleet.json``.
        fleet: name the frame carries.
        before: token of the frame before in the same scene.
        after: token of the frame after in the same scene.

    Raises:
        DataError: a field that is missing, unknown, of another kind, or names a file that is not there.
    """
    where = _where(manifest, line.number)
    fields = Fields(_parse(line.text, where), where, "", _FRAME)
    root, pose = manifest.parent, fields.transform("world_T_ego")
    cameras = fields.objects("cameras", _CAMERA)
    names = [camera.text("name") for camera in cameras]
    if not cameras or len(set(names)) != len(names):
        raise fields.error("cameras", names, "at least one camera, each with a name of its own")
    for name, camera in zip(names, cameras, strict=True):
        if shared.rig and name not in shared.rig and "width" not in camera:
            rig = f"here, or in {root / FLEET}, whose rig has {', '.join(shared.rig)}"
            raise camera.error("width", f"nothing for {name}", f"pixels {rig}")
    lidars = fields.objects("sweeps", _LIDAR)
    if "lidar" in fields:
        lidars.insert(0, Fields(fields.value("lidar", "an object"), where, "lidar.", _LIDAR))
    path = root / FLEET
    sweeps = tuple(_sweep(f.over(shared.lidar, path, "lidar."), root, pose, line.timestamp_us) for f in lidars)
    occupancy = _file(fields, "occupancy", root) if "occupancy" in fields else None
    return Frame(
        fleet=fleet,
        scene=line.scene,
        token=line.token,
        timestamp_us=line.timestamp_us,
        world_T_ego=pose,
        cameras=tuple(
            _camera(camera.over(_rig(shared, name, camera), path, f"rig.{name}."), root, pose, line.timestamp_us)
            for name, camera in zip(names, cameras, strict=True)
        ),
        lidar=sweeps[0] if "lidar" in fields else None,
        occupancy=partial(read_occupancy, occupancy) if occupancy else None,
        boxes=tuple(_box(box) for box in fields.objects("boxes", _BOX)),
        previous=before,
        next=after,
        sweeps=sweeps["lidar" in fields :],
    )


def _rig(shared: Shared, name: str, camera: Fields) -> Mapping[str, Any]:
    """What the rig says of a camera; nothing of its lens where the line does."""
    rig, lens = shared.rig.get(name, {}), ("distortion", "fisheye")
    own = any(key in camera for key in lens)
    return {key: value for key, value in rig.items() if not (own and key in lens)}


def _file(fields: Fields, key: str, root: Path) -> Path:
    path = root / fields.text(key)
    try:
        there, why = path.is_file(), "no file"
    except OSError as error:
        there, why = False, error.strerror or str(error)
    if not there:
        raise fields.error(key, f"{why}: {shown(str(path))}", "a path relative to the folder of the manifest")
    return path


def _camera(fields: Fields, root: Path, pose: Matrix, time: int) -> CameraView:
    size = fields.whole("width", least=1), fields.whole("height", least=1)
    image = _file(fields, "image", root)
    semantics = _file(fields, "semantics", root) if "semantics" in fields else None
    own_car = _file(fields, "own_car", root) if "own_car" in fields else None
    said = f"{fields.where}, {fields.prefix}"
    return CameraView(
        name=fields.text("name"),
        image=partial(read_image, image, Said(f"{said}image {image}"), size),
        source=str(image),
        width=size[0],
        height=size[1],
        intrinsics=fields.intrinsics("intrinsics"),
        distortion=_lens(fields),
        ego_T_camera=fields.transform("ego_T_camera"),
        world_T_ego=fields.transform("world_T_ego", pose),
        timestamp_us=fields.whole("timestamp_us", time),
        semantics=None
        if semantics is None
        else partial(read_semantics, semantics, Said(f"{said}semantics {semantics}"), size),
        own_car=None if own_car is None else partial(read_own_car, own_car, Said(f"{said}own_car {own_car}"), size),
        shrinks=True,
    )


def _lens(fields: Fields) -> Matrix:
    """Coefficients of :func:`ugocc.geometry.camera.distort`."""
    if "fisheye" not in fields:
        return fields.numbers("distortion", 5) if "distortion" in fields else np.zeros(5)
    if "distortion" in fields:
        raise fields.error("fisheye", "distortion beside it", "one of them")
    return fields.numbers("fisheye", FISHEYE)


def _sweep(fields: Fields, root: Path, pose: Matrix, time: int) -> LidarSweep:
    columns = fields.value("columns", "names") if "columns" in fields else list(POINT_COLUMNS)
    if not isinstance(columns, list) or not {"x", "y", "z"} <= {str(c) for c in columns}:
        raise fields.error("columns", shown(columns), "a list of names that has x, y and z")
    path = _file(fields, "points", root)
    if path.suffix not in POINT_FILES:
        raise fields.error("points", path.name, f"a file that ends in {', '.join(POINT_FILES)}")
    labels = _file(fields, "labels", root) if "labels" in fields else None
    said = Said(f"{fields.where}, {fields.prefix}points {path}")
    points = partial(read_points, path, said, tuple(str(c) for c in columns))
    return LidarSweep(
        points=points,
        source=str(path),
        ego_T_lidar=fields.transform("ego_T_lidar"),
        world_T_ego=fields.transform("world_T_ego", pose),
        timestamp_us=fields.whole("timestamp_us", time),
        labels=None if labels is None else partial(read_point_labels, labels, points),
    )


def _box(fields: Fields) -> Box:
    label = fields.value("label", "a class")
    if label in CLASSES:
        label = CLASSES.index(label)
    if isinstance(label, bool) or not isinstance(label, int) or label not in CLASS_IDS:
        raise fields.error("label", shown(label), f"one of {', '.join(CLASSES)}, its number, or 255")
    x, y, z = fields.numbers("centre", 3).tolist()
    length, width, height = fields.numbers("size", 3).tolist()
    track = fields.text("track") if "track" in fields else ""
    return Box(label, (x, y, z), (length, width, height), float(fields.numbers("yaw", 1)[0]), track)
