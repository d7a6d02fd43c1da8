"""The index of a nuScenes v1.0 folder: one row per key frame, joined once from the tables and kept as Parquet.

The official tables list every sweep of every sensor (2.6 million rows for v1.0-trainval); what is needed are the key
frames of cameras and lidar, and the lidar sweeps between them. The tables are read row by row, so that the peak of
memory follows what is kept. Poses are seven numbers: quaternion w, x, y, z, then translation x, y, z in metres.
"""

from __future__ import annotations

import math
import sys
from array import array
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ugocc.data.nuscenes_tables import Row, by_token, fields_of, follow, table_rows
from ugocc.errors import DataError
from ugocc.geometry.camera import check_intrinsics
from ugocc.geometry.rigid import normalised, quaternion_product, rotation_matrices
from ugocc.labels import NUSCENES_CATEGORY, UNKNOWN

LIDAR: Final = "LIDAR_TOP"
"""Channel of the lidar; its key frames define the ego pose of a moment."""
TABLES: Final = ("scene", "sample", "sample_data", "calibrated_sensor", "sensor", "ego_pose")
"""Tables that must exist."""
LABEL_TABLES: Final = ("sample_annotation", "instance", "category", "lidarseg")
"""Tables that may be absent (the test release has no annotations)."""

_Floats = NDArray[np.float64]


class _Calibration(NamedTuple):
    """One row of calibrated_sensor."""

    channel: str
    rank: int
    """Position of the channel in sensor.json."""
    is_camera: bool
    intrinsics: list[float] | None
    ego_T_sensor: list[float]


class _Recording(NamedTuple):
    """One kept row of sample_data."""

    sample: int
    """Row of the key frame it belongs to."""
    rank: int
    """Order within the key frame: the rig's order for cameras, microseconds for sweeps."""
    sensor: _Calibration
    file: str
    width: int
    height: int
    timestamp_us: int
    pose: str
    """Token in ego_pose."""
    labels: str | None
    """lidarseg file."""


class _Poses(NamedTuple):
    """The wanted rows of ego_pose."""

    row_of: dict[str, int]
    values: _Floats
    """(n, 7)."""

    def of(self, recordings: list[_Recording]) -> _Floats:
        """(m, 7) ego poses of m recordings."""
        return self.values[[self.row_of[recording.pose] for recording in recordings]]


def build_index(tables: Path) -> pa.Table:
    """Join the tables of a version folder into one row per key frame, sorted by scene name and time.

    Returns:
        Columns token, scene, timestamp_us, previous, next (null at the ends of a scene), world_T_ego, and the lists
        cameras (in the order of sensor.json), lidar (one or none), sweeps (by time) and boxes. A recording has name,
        file, width, height, timestamp_us, labels (lidarseg file or null), intrinsics (nine numbers or null),
        ego_T_sensor, world_T_ego. A box has label, centre, size (length, width, height), yaw, track, in the key ego
        frame.

    Raises:
        DataError: a table is missing or malformed, a token points nowhere, a rotation or camera matrix is none.
    """
    for name in TABLES:
        if not (tables / f"{name}.json").is_file():
            raise DataError(tables / f"{name}.json", "table", "no file", "a nuScenes v1.0 table")
    samples = _samples(tables)
    rows = {sample["token"]: i for i, sample in enumerate(samples)}
    calibrations = _calibrations(tables)
    cameras, lidar, sweeps = _recordings(tables, rows, calibrations)
    poses = _poses(tables, {r.pose for group in (cameras, lidar, sweeps) for r in group})
    world_T_ego = poses.of(_key_recordings(tables, samples, cameras, lidar))
    with fields_of(tables):
        return pa.table(
            {
                "token": [sample["token"] for sample in samples],
                "scene": [sample["scene"] for sample in samples],
                "timestamp_us": pa.array([sample["timestamp"] for sample in samples], pa.int64()),
                "previous": pa.array([sample["prev"] or None for sample in samples], pa.string()),
                "next": pa.array([sample["next"] or None for sample in samples], pa.string()),
                "world_T_ego": _fixed(world_T_ego),
                "cameras": _recording_lists(cameras, len(samples), poses),
                "lidar": _recording_lists(lidar, len(samples), poses),
                "sweeps": _recording_lists(sweeps, len(samples), poses),
                "boxes": _box_lists(tables, rows, world_T_ego),
            }
        )


def _samples(tables: Path) -> list[Row]:
    """Rows of sample.json with the scene's name, sorted by that and by time."""
    scenes = by_token(tables / "scene.json")
    where = tables / "sample.json"
    samples = by_token(where)
    with fields_of(where):
        for sample in samples.values():
            sample["scene"] = follow(scenes, sample["scene_token"], where, "scene_token", "scene")["name"]
            for field in ("prev", "next"):
                if sample[field]:
                    follow(samples, sample[field], where, field, "sample")
        return sorted(samples.values(), key=lambda sample: (sample["scene"], sample["timestamp"]))


def _calibrations(tables: Path) -> dict[str, _Calibration]:
    sensors = by_token(tables / "sensor.json")
    rank = {token: i for i, token in enumerate(sensors)}
    where = tables / "calibrated_sensor.json"
    out: dict[str, _Calibration] = {}
    with fields_of(where):
        for row in table_rows(where):
            token = row["token"]
            sensor = follow(sensors, row["sensor_token"], where, "sensor_token", "sensor")
            pose = array("d")
            _append_pose(pose, row, where)
            camera = sensor["modality"] == "camera"
            matrix = None
            if camera:
                checked = check_intrinsics(row["camera_intrinsic"], where, f"camera_intrinsic of token {token}")
                matrix = checked.ravel().tolist()
            out[token] = _Calibration(sensor["channel"], rank[row["sensor_token"]], camera, matrix, pose.tolist())
    return out


def _recordings(
    tables: Path, rows: dict[str, int], calibrations: dict[str, _Calibration]
) -> tuple[list[_Recording], list[_Recording], list[_Recording]]:
    """Key frames of all cameras, key frames of the lidar, and the lidar sweeps between."""
    labels_of = _lidarseg_files(tables)
    where = tables / "sample_data.json"
    cameras: list[_Recording] = []
    lidar: list[_Recording] = []
    sweeps: list[_Recording] = []
    with fields_of(where):
        for row in table_rows(where):
            calibration = row["calibrated_sensor_token"]
            sensor: _Calibration = follow(
                calibrations, calibration, where, "calibrated_sensor_token", "calibrated_sensor"
            )
            is_key = row["is_key_frame"]
            if sensor.channel != LIDAR and not (is_key and sensor.is_camera):
                continue
            if not isinstance(row["filename"], str):
                raise DataError(where, f"filename of token {row['token']}", row["filename"], "a path")
            group = cameras if sensor.is_camera else lidar if is_key else sweeps
            group.append(
                _Recording(
                    sample=follow(rows, row["sample_token"], where, "sample_token", "sample"),
                    rank=sensor.rank if sensor.is_camera else row["timestamp"],
                    sensor=sensor,
                    file=row["filename"],
                    width=row["width"] or 0,
                    height=row["height"] or 0,
                    timestamp_us=row["timestamp"],
                    pose=row["ego_pose_token"],
                    labels=labels_of.get(row["token"]),
                )
            )
    return cameras, lidar, sweeps


def _lidarseg_files(tables: Path) -> dict[str, str]:
    where = tables / "lidarseg.json"
    with fields_of(where):
        return {row["sample_data_token"]: row["filename"] for row in table_rows(where, optional=True)}


def _poses(tables: Path, wanted: set[str]) -> _Poses:
    where = tables / "ego_pose.json"
    row_of: dict[str, int] = {}
    numbers = array("d")
    with fields_of(where):
        for row in table_rows(where):
            if row["token"] in wanted:
                row_of[row["token"]] = len(row_of)
                _append_pose(numbers, row, where)
    missing = wanted.difference(row_of)
    if missing:
        raise DataError(
            tables / "sample_data.json", "ego_pose_token", f"token {min(missing)!r}", "a token of ego_pose.json"
        )
    return _Poses(row_of, np.array(numbers).reshape(-1, 7))


def _append_pose(numbers: array[float], row: Row, where: Path) -> None:
    """Append w, x, y, z, x, y, z of a row with rotation and translation."""
    rotation, translation = row["rotation"], row["translation"]
    norm = math.hypot(*rotation)
    if len(rotation) != 4 or len(translation) != 3 or not abs(norm - 1) <= 0.01 or not math.isfinite(sum(translation)):
        raise DataError(
            where,
            f"rotation and translation of token {row['token']}",
            f"{rotation} (norm {norm:.4g}) and {translation}",
            "a unit quaternion w, x, y, z and three metres",
        )
    numbers.extend(rotation)
    numbers.extend(translation)


def _key_recordings(
    tables: Path, samples: list[Row], cameras: list[_Recording], lidar: list[_Recording]
) -> list[_Recording]:
    """The recording whose ego pose is that of each key frame: the lidar's, or of the first camera without lidar."""
    key: dict[int, _Recording] = {}
    for recording in sorted(cameras, key=lambda r: r.rank, reverse=True) + lidar:
        key[recording.sample] = recording
    with_camera = {recording.sample for recording in cameras}
    for i, sample in enumerate(samples):
        if i not in with_camera:
            raise DataError(
                tables / "sample_data.json", "sample_token", f"no key frame of a camera for {sample['token']!r}", "one"
            )
    return [key[i] for i in range(len(samples))]


def _recording_lists(recordings: list[_Recording], count: int, poses: _Poses) -> pa.ListArray:
    """One list of recordings per key frame."""
    ordered = sorted(recordings, key=lambda r: (r.sample, r.rank))
    columns = {
        "name": pa.array([r.sensor.channel for r in ordered], pa.string()),
        "file": pa.array([r.file for r in ordered], pa.string()),
        "width": pa.array([r.width for r in ordered], pa.int32()),
        "height": pa.array([r.height for r in ordered], pa.int32()),
        "timestamp_us": pa.array([r.timestamp_us for r in ordered], pa.int64()),
        "labels": pa.array([r.labels for r in ordered], pa.string()),
        "intrinsics": pa.array([r.sensor.intrinsics for r in ordered], pa.list_(pa.float64(), 9)),
        "ego_T_sensor": _fixed(np.array([r.sensor.ego_T_sensor for r in ordered]).reshape(-1, 7)),
        "world_T_ego": _fixed(poses.of(ordered)),
    }
    return _lists(np.array([r.sample for r in ordered], dtype=np.int64), count, columns)


def _box_lists(tables: Path, rows: dict[str, int], world_T_ego: _Floats) -> pa.ListArray:
    """One list of boxes per key frame, moved from the world to the key ego frame."""
    label_of = _instance_labels(tables)
    where = tables / "sample_annotation.json"
    owners, labels, sizes, poses = array("q"), array("B"), array("d"), array("d")
    tracks: list[str] = []
    with fields_of(where):
        for row in table_rows(where, optional=True):
            instance = sys.intern(row["instance_token"])
            width, length, height = row["size"]
            owners.append(follow(rows, row["sample_token"], where, "sample_token", "sample"))
            labels.append(follow(label_of, instance, where, "instance_token", "instance"))
            tracks.append(instance)
            sizes.extend((length, width, height))
            _append_pose(poses, row, where)
    order = np.argsort(np.array(owners), kind="stable")
    owner = np.array(owners)[order]
    centre, yaw = _in_ego(np.array(poses).reshape(-1, 7)[order], world_T_ego[owner])
    columns = {
        "label": pa.array(np.array(labels)[order]),
        "centre": _fixed(centre),
        "size": _fixed(np.array(sizes).reshape(-1, 3)[order]),
        "yaw": pa.array(yaw),
        "track": pa.array(tracks, pa.string()).take(pa.array(order)),
    }
    return _lists(owner, len(rows), columns)


def _instance_labels(tables: Path) -> dict[str, int]:
    """Ten-class label of every instance through its category."""
    categories = by_token(tables / "category.json", optional=True)
    where = tables / "instance.json"
    with fields_of(where):
        return {
            row["token"]: NUSCENES_CATEGORY.get(
                follow(categories, row["category_token"], where, "category_token", "category")["name"], UNKNOWN
            )
            for row in table_rows(where, optional=True)
        }


def _in_ego(world_T_box: _Floats, world_T_ego: _Floats) -> tuple[_Floats, _Floats]:
    """Centres (n, 3) and headings (n,) of boxes in their ego frames, poses as (n, 7)."""
    if not len(world_T_box):
        return np.zeros((0, 3)), np.zeros(0)
    ego_Q_world = normalised(world_T_ego[:, :4]) * (1.0, -1.0, -1.0, -1.0)
    ego_Q_box = normalised(quaternion_product(ego_Q_world, normalised(world_T_box[:, :4])))
    offset = world_T_box[:, 4:] - world_T_ego[:, 4:]
    centre = np.einsum("nij,nj->ni", rotation_matrices(ego_Q_world), offset)
    ahead = np.einsum("nij,nj->ni", rotation_matrices(ego_Q_box), [[1.0, 0.0, 0.0]])
    return centre, np.arctan2(ahead[:, 1], ahead[:, 0])


def _lists(owner: NDArray[np.int64], count: int, columns: dict[str, pa.Array]) -> pa.ListArray:
    """Rows of ``columns``, sorted by ``owner``, as one list per owner."""
    offsets = np.searchsorted(owner, np.arange(count + 1)).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), pa.StructArray.from_arrays(columns.values(), columns.keys()))


def _fixed(values: _Floats) -> pa.FixedSizeListArray:
    """(n, k) numbers as n lists of k."""
    return pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), values.shape[1])
