"""Columns of the Waymo v2 components that an embedded fleet holds.

Names and types are those of the dataset's own code (waymo-open-dataset, ``src/waymo_open_dataset/v2``: ``base.py``,
``column_types.py``, ``perception/*.py``).
"""

from __future__ import annotations

from typing import Final

import pyarrow as pa

Columns = dict[str, pa.DataType]

_SEGMENT: Columns = {"key.segment_context_name": pa.string()}
_FRAME: Columns = _SEGMENT | {"key.frame_timestamp_micros": pa.int64()}
_CAMERA: Columns = {"key.camera_name": pa.int8()}
_LASER: Columns = {"key.laser_name": pa.int8()}
_TRANSFORM = pa.list_(pa.float64(), 16)
_RANGE_IMAGE: Columns = {"values": pa.list_(pa.float32()), "shape": pa.list_(pa.int32(), 3)}
_COUNTS: Columns = {"types": pa.list_(pa.int8()), "counts": pa.list_(pa.int32())}


def _each(names: str, kind: pa.DataType) -> Columns:
    return dict.fromkeys(names.split(), kind)


def _in(prefix: str, columns: Columns) -> Columns:
    return {f"{prefix}.{name}": kind for name, kind in columns.items()}


_COMPONENTS: dict[str, Columns] = {
    "vehicle_pose": _FRAME | {"[VehiclePoseComponent].world_from_vehicle.transform": _TRANSFORM},
    "camera_image": _FRAME
    | _CAMERA
    | _in(
        "[CameraImageComponent]",
        {"image": pa.binary(), "pose.transform": _TRANSFORM}
        | _in("velocity.linear_velocity", _each("x y z", pa.float32()))
        | _in("velocity.angular_velocity", _each("x y z", pa.float64()))
        | {"pose_timestamp": pa.float64()}
        | _in("rolling_shutter_params", _each("shutter camera_trigger_time camera_readout_done_time", pa.float64())),
    ),
    "camera_calibration": _SEGMENT
    | _CAMERA
    | _in(
        "[CameraCalibrationComponent]",
        _in("intrinsic", _each("f_u f_v c_u c_v k1 k2 p1 p2 k3", pa.float64()))
        | {"extrinsic.transform": _TRANSFORM, "width": pa.int32(), "height": pa.int32()}
        | {"rolling_shutter_direction": pa.int8()},
    ),
    "camera_segmentation": _FRAME
    | _CAMERA
    | _in(
        "[CameraSegmentationLabelComponent]",
        {"panoptic_label_divisor": pa.int32(), "panoptic_label": pa.binary()}
        | _in(
            "instance_id_to_global_id_mapping",
            _each("local_instance_ids global_instance_ids", pa.list_(pa.int32()))
            | {"is_tracked": pa.list_(pa.bool_())},
        )
        | {"sequence_id": pa.string(), "num_cameras_covered": pa.binary()},
    ),
    "lidar": _FRAME
    | _LASER
    | _in("[LiDARComponent]", _in("range_image_return1", _RANGE_IMAGE) | _in("range_image_return2", _RANGE_IMAGE)),
    "lidar_pose": _FRAME | _LASER | _in("[LiDARPoseComponent].range_image_return1", _RANGE_IMAGE),
    "lidar_calibration": _SEGMENT
    | _LASER
    | _in(
        "[LiDARCalibrationComponent]",
        {"extrinsic.transform": _TRANSFORM}
        | _in("beam_inclination", _each("min max", pa.float64()) | {"values": pa.list_(pa.float64())}),
    ),
    "lidar_box": _FRAME
    | {"key.laser_object_id": pa.string()}
    | _in(
        "[LiDARBoxComponent]",
        _in("box.center", _each("x y z", pa.float64()))
        | _in("box.size", _each("x y z", pa.float64()))
        | {"box.heading": pa.float64(), "type": pa.int8()}
        | _each("num_lidar_points_in_box num_top_lidar_points_in_box", pa.int64())
        | _in("speed", _each("x y z", pa.float64()))
        | _in("acceleration", _each("x y z", pa.float64()))
        | _in("difficulty_level", _each("detection tracking", pa.int8())),
    ),
    "stats": _FRAME
    | _in(
        "[StatsComponent]",
        _each("time_of_day location weather", pa.string())
        | _in("lidar_object_counts", _COUNTS)
        | _in("camera_object_counts", _COUNTS),
    ),
}

SCHEMAS: Final = {name: pa.schema(columns) for name, columns in _COMPONENTS.items()}
"""Arrow schema of every component by the name of its folder."""
