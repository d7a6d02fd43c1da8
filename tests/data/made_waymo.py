"""A small Waymo v2 segment with the conventions of Waymo's own code, and a way to break one."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image
from real_fleets import transforms, write_component


def write_tiny(
    root: Path, times: list[int], cameras=(1,), intrinsics=None, extrinsic=None, poses=None, kind=None, size=(16, 8)
):
    """A segment called s with grey pictures."""
    intrinsics = intrinsics or [20.0, 20.0, 8.0, 4.0, 0, 0, 0, 0, 0]
    names = pa.array(list(cameras), pa.int8())
    poses = [np.eye(4)] * len(times) if poses is None else poses
    lens = ("f_u", "f_v", "c_u", "c_v", "k1", "k2", "p1", "p2", "k3")
    calibration = {f"intrinsic.{k}": [float(v)] * len(cameras) for k, v in zip(lens, intrinsics, strict=True)}
    calibration["extrinsic.transform"] = transforms([np.eye(4) if extrinsic is None else extrinsic] * len(cameras))
    calibration |= {k: pa.array([v] * len(cameras), pa.int32()) for k, v in zip(("width", "height"), size, strict=True)}
    buffer = io.BytesIO()
    Image.new("RGB", size, (90, 90, 90)).save(buffer, "JPEG")
    repeated = [t for t in times for _ in cameras]
    images = {
        "image": [buffer.getvalue()] * len(repeated),
        "pose.transform": transforms([p for p in poses for _ in cameras], kind),
        "pose_timestamp": [t * 1e-6 for t in repeated],
    }
    folder = root / "training"
    pose = {"world_from_vehicle.transform": transforms(poses, kind)}
    write_component(folder, "vehicle_pose", "s", "VehiclePose", {"frame_timestamp_micros": times}, pose)
    write_component(folder, "camera_calibration", "s", "CameraCalibration", {"camera_name": names}, calibration)
    at = {"frame_timestamp_micros": repeated, "camera_name": pa.array(list(cameras) * len(times), pa.int8())}
    write_component(folder, "camera_image", "s", "CameraImage", at, images)


def replace_column(path: Path, column: str, change) -> None:
    rows = pq.read_table(path)
    values = change(rows[column].to_pylist())
    index = rows.schema.get_field_index(column)
    pq.write_table(rows.set_column(index, column, pa.array(values, rows.schema.field(column).type)), path)
