"""The tables of one Waymo segment: everything but the pictures and the range images.

Names and meanings of the columns follow the Waymo Open Dataset v2 (``src/waymo_open_dataset/v2/perception``).
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ugocc.data.frame import Box
from ugocc.data.parquet_rows import open_parquet, read_columns, read_table, row_places
from ugocc.data.waymo_lidar import LIDAR, LIDAR_POSE, Laser
from ugocc.errors import DataError
from ugocc.geometry.camera import check_intrinsics
from ugocc.geometry.rigid import BODY_T_OPTICAL, Matrix, are_rigid, check_rigid
from ugocc.labels import PEDESTRIAN, TRAFFIC_OBJECT, TWO_WHEELER, UNKNOWN, VEHICLE

CAMERAS = {1: "FRONT", 2: "FRONT_LEFT", 3: "FRONT_RIGHT", 4: "SIDE_LEFT", 5: "SIDE_RIGHT"}
"""Waymo's camera ids, in the order of the rig."""
BOX_CLASSES = {1: VEHICLE, 2: PEDESTRIAN, 3: TRAFFIC_OBJECT, 4: TWO_WHEELER}
"""Waymo's box types (vehicle, pedestrian, sign, cyclist) as ten classes."""

TURNING = 1
"""The laser on the roof, which takes a tenth of a second for a sweep: its pixels have poses of their own."""

TIME, CAMERA, LASER = "key.frame_timestamp_micros", "key.camera_name", "key.laser_name"
IMAGE = "[CameraImageComponent].image"
PANOPTIC = "[CameraSegmentationLabelComponent].panoptic_label"
DIVISOR = "[CameraSegmentationLabelComponent].panoptic_label_divisor"
_POSE = "[VehiclePoseComponent].world_from_vehicle.transform"
_IMAGE_POSE = "[CameraImageComponent].pose.transform"
_IMAGE_TIME = "[CameraImageComponent].pose_timestamp"
_CAMERA = "[CameraCalibrationComponent]."
_LASER = "[LiDARCalibrationComponent]."
_BOX = "[LiDARBoxComponent]."

HALF_PIXEL = 0.5
"""Waymo counts pixels from the left edge of the first one, this project from its centre."""

Place = tuple[int, int]


@dataclass(frozen=True)
class Calibration:
    """One camera of the rig."""

    intrinsics: Matrix
    """(3, 3), centre of the top-left pixel at (0, 0)."""
    distortion: Matrix
    """(5,) k1, k2, p1, p2, k3."""
    ego_T_camera: Matrix
    """(4, 4) from x right, y down, z forward."""
    width: int
    """Columns."""
    height: int
    """Rows."""


@dataclass(frozen=True)
class ImageRow:
    """Where one picture lies, and where the vehicle was."""

    place: Place
    """Row group and row of ``camera_image``."""
    world_T_ego: Matrix
    """(4, 4) vehicle pose of the picture."""
    timestamp_us: int
    """Time of that pose."""


@dataclass(frozen=True)
class Boxes:
    """Annotated objects of a segment: ten thousand may be, and most frames of a segment are never asked for."""

    times: NDArray[np.int64]
    """(N,) timestamp of each."""
    numbers: NDArray[np.float64]
    """(N, 7) centre, size and heading of each."""
    names: pa.Table
    """N rows: type and identity."""

    def at(self, time: int) -> tuple[Box, ...]:
        """Those of one frame."""
        rows = np.flatnonzero(self.times == time)
        kinds, tracks = (column.to_pylist() for column in self.names.take(rows).columns)
        return tuple(
            Box(BOX_CLASSES.get(kind, UNKNOWN), (x, y, z), (length, width, height), yaw, str(track or ""))
            for kind, track, (x, y, z, length, width, height, yaw) in zip(
                kinds, tracks, self.numbers[rows].tolist(), strict=True
            )
        )


@dataclass(frozen=True)
class Segment:
    """One drive of about 20 s at 10 Hz."""

    folder: Path
    """Folder of the split."""
    name: str
    """Segment context name."""
    poses: dict[int, Matrix]
    """Timestamp in microseconds to (4, 4) world_T_ego, in time order."""
    calibration: dict[int, Calibration]
    """Camera id to calibration."""
    images: dict[int, dict[int, ImageRow]]
    """Timestamp to camera id to row."""
    segmentation: dict[tuple[int, int], Place]
    """(timestamp, camera id) to the row of ``camera_segmentation``."""
    lasers: dict[int, tuple[Laser, ...]]
    """Timestamp to range images."""
    boxes: Boxes | None
    """Annotated objects of all frames; None without such a file."""

    def file(self, component: str) -> Path:
        """Path of one component's file."""
        return component_file(self.folder, component, self.name)


def component_file(folder: Path, component: str, segment: str) -> Path:
    """Path of one component of one segment below the folder of a split."""
    return folder / component / f"{segment}.parquet"


def read_timestamps(folder: Path, segment: str) -> list[int]:
    """Sorted timestamps of a segment's frames in microseconds.

    Raises:
        DataError: no ``vehicle_pose`` file, no rows, or a timestamp that occurs twice.
    """
    path = component_file(folder, "vehicle_pose", segment)
    times = [int(t) for t in read_columns(path, (TIME,))[TIME]]
    if not times or len(set(times)) != len(times):
        raise DataError(path, TIME, "no rows" if not times else "a timestamp that occurs twice", "one row per frame")
    return sorted(times)


@lru_cache(maxsize=32)
def read_segment(folder: Path, name: str) -> Segment:
    """Read the tables of one segment; the last few are kept.

    Raises:
        DataError: a required component is missing, or a value cannot be used.
    """
    pose_file = component_file(folder, "vehicle_pose", name)
    table = read_columns(pose_file, (TIME, _POSE))
    poses = {int(t): m for t, m in zip(table[TIME], _transforms(table[_POSE], pose_file, _POSE), strict=True)}
    calibration = _calibrations(component_file(folder, "camera_calibration", name))
    images = _images(component_file(folder, "camera_image", name), calibration)
    return Segment(
        folder=folder,
        name=name,
        poses=dict(sorted(poses.items())),
        calibration=calibration,
        images=images,
        segmentation=_places(component_file(folder, "camera_segmentation", name), CAMERA, (PANOPTIC, DIVISOR)),
        lasers=_lasers(folder, name),
        boxes=_boxes(component_file(folder, "lidar_box", name)),
    )


def _transform(values: Any, where: object, column: str) -> Matrix:
    """Row-major list of 16 numbers to float64.

    Waymo's world lies tens of kilometres from its origin, and the release holds float32: what is stored is rounded
    to 4 mm. Nothing is lost on top of that, because everything from here on is float64.
    """
    array = np.asarray(values if values is not None else [], dtype=np.float64)
    if array.size != 16:
        raise DataError(where, column, f"{array.size} numbers", "16 numbers, row by row")
    return check_rigid(array.reshape(4, 4), where, column)


def _transforms(column: list[Any], path: Path, name: str) -> list[Matrix]:
    """:func:`_transform` of every row of a column."""
    if all(values is not None and len(values) == 16 for values in column):
        matrices = np.array(column, dtype=np.float64).reshape(-1, 4, 4)
        if are_rigid(matrices):
            return list(matrices)
    return [_transform(values, f"{path}, row {i}", name) for i, values in enumerate(column)]


def _calibrations(path: Path) -> dict[int, Calibration]:
    intrinsic = [f"{_CAMERA}intrinsic.{k}" for k in ("f_u", "f_v", "c_u", "c_v", "k1", "k2", "p1", "p2", "k3")]
    others = [f"{_CAMERA}{k}" for k in ("extrinsic.transform", "width", "height")]
    table = read_columns(path, (CAMERA, *intrinsic, *others))
    found = {}
    for i, camera in enumerate(table[CAMERA]):
        where = f"{path}, row {i}"
        if camera not in CAMERAS:
            raise DataError(where, CAMERA, camera, "a camera id from 1 (front) to 5 (side right)")
        f_u, f_v, c_u, c_v, *distortion = (np.nan if table[c][i] is None else float(table[c][i]) for c in intrinsic)
        if not np.isfinite(distortion).all():
            raise DataError(where, f"{_CAMERA}intrinsic", f"k1, k2, p1, p2, k3 = {distortion}", "finite numbers")
        matrix = [[f_u, 0.0, c_u - HALF_PIXEL], [0.0, f_v, c_v - HALF_PIXEL], [0.0, 0.0, 1.0]]
        extrinsic, width, height = (table[c][i] for c in others)
        if not (width and height and width > 0 and height > 0):
            raise DataError(where, others[1], f"{width} x {height} pixels", "a width and a height above zero")
        found[camera] = Calibration(
            check_intrinsics(matrix, where, f"{_CAMERA}intrinsic"),
            np.array(distortion),
            _transform(extrinsic, where, others[0]) @ BODY_T_OPTICAL,
            int(width),
            int(height),
        )
    return dict(sorted(found.items()))


def _images(path: Path, calibration: dict[int, Calibration]) -> dict[int, dict[int, ImageRow]]:
    open_parquet(path, (IMAGE,)).close()
    table = read_columns(path, (TIME, CAMERA, _IMAGE_POSE, _IMAGE_TIME))
    poses = _transforms(table[_IMAGE_POSE], path, _IMAGE_POSE)
    rows: dict[int, dict[int, ImageRow]] = defaultdict(dict)
    for i, (place, pose) in enumerate(zip(row_places(path), poses, strict=True)):
        time, camera, seconds = int(table[TIME][i]), table[CAMERA][i], table[_IMAGE_TIME][i]
        if camera not in calibration:
            raise DataError(f"{path}, row {i}", CAMERA, camera, f"a calibrated camera, one of {list(calibration)}")
        # A time that is far off was stored in too few bits; the key's is right to a tenth of a second.
        own = round(seconds * 1e6) if seconds is not None and abs(seconds * 1e6 - time) < 1e6 else time
        rows[time][camera] = ImageRow(place, pose, own)
    return {time: dict(sorted(cameras.items())) for time, cameras in rows.items()}


def _places(path: Path, sensor: str, heavy: tuple[str, ...]) -> dict[tuple[int, int], Place]:
    """(timestamp, sensor id) to row of an optional component that has ``heavy`` columns; empty without a file."""
    if not path.is_file():
        return {}
    open_parquet(path, heavy).close()
    table = read_columns(path, (TIME, sensor))
    return {(int(t), int(s)): p for t, s, p in zip(table[TIME], table[sensor], row_places(path), strict=True)}


def _lasers(folder: Path, name: str) -> dict[int, tuple[Laser, ...]]:
    ranges, poses = (
        [column.format(part) for part in ("values", "shape")] for column in (LIDAR.format(1, "{}"), LIDAR_POSE)
    )
    places = _places(component_file(folder, "lidar", name), LASER, tuple(ranges))
    if not places:
        return {}
    pose_places = _places(component_file(folder, "lidar_pose", name), LASER, tuple(poses))
    path = component_file(folder, "lidar_calibration", name)
    extrinsic, values, low, high = (
        f"{_LASER}{k}"
        for k in ("extrinsic.transform", "beam_inclination.values", "beam_inclination.min", "beam_inclination.max")
    )
    table = read_columns(path, (LASER, extrinsic, values, low, high))
    beams = {}
    for i, laser in enumerate(table[LASER]):
        inclinations = table[values][i] or [table[low][i], table[high][i]]
        beams[laser] = tuple(inclinations), _transform(table[extrinsic][i], f"{path}, row {i}", extrinsic)
    found: dict[int, list[Laser]] = defaultdict(list)
    for (time, laser), place in sorted(places.items()):
        if laser not in beams:
            raise DataError(path, LASER, f"lasers {sorted(beams)}", f"a calibration of laser {laser}")
        pose = pose_places.get((time, laser))
        if laser == TURNING and pose is None:
            where = component_file(folder, "lidar_pose", name)
            raise DataError(where, TIME, f"no row of laser {laser} at {time}", "the vehicle's poses during its sweep")
        found[time].append(Laser(laser, place, pose, *beams[laser]))
    return {time: tuple(lasers) for time, lasers in found.items()}


def _boxes(path: Path) -> Boxes | None:
    if not path.is_file():
        return None
    centre, size = ([f"{_BOX}box.{part}.{axis}" for axis in "xyz"] for part in ("center", "size"))
    kind, track, seven = f"{_BOX}type", "key.laser_object_id", (*centre, *size, f"{_BOX}box.heading")
    table = read_table(path, (TIME, track, *seven, kind))
    numbers = np.stack([table.column(c).to_numpy().astype(np.float64) for c in seven], axis=1)
    for i in np.flatnonzero(~np.isfinite(numbers).all(axis=1))[:1]:
        raise DataError(f"{path}, row {i}", f"{_BOX}box", numbers[i].tolist(), "seven finite numbers")
    return Boxes(table.column(TIME).to_numpy().astype(np.int64), numbers, table.select([kind, track]))
