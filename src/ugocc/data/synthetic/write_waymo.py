"""Writes rendered scenes as segments of the Waymo Open Dataset, v2 Parquet release, with Occ3D-Waymo labels.

Segments are written one by one, in any order and by any process; nothing is shared between them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from ugocc.data.synthetic.encode import depth_png_bytes, jpeg_bytes, npz_bytes, png_bytes, token, write_file
from ugocc.data.synthetic.rendered import RenderedBox, RenderedCamera, RenderedFrame, RenderedLidar
from ugocc.data.synthetic.vocabulary import NAMES, file_ids
from ugocc.data.synthetic.waymo_columns import SCHEMAS
from ugocc.geometry.rigid import BODY_T_OPTICAL, Matrix, inverse, yaw_of

Row = dict[str, Any]
Tables = dict[str, list[Row]]

FOLDERS: Final = {"train": "training", "val": "validation", "test": "testing"}
"""Folder of every split."""
CAMERA_IDS: Final = {"FRONT": 1, "FRONT_LEFT": 2, "FRONT_RIGHT": 3, "SIDE_LEFT": 4, "SIDE_RIGHT": 5}
"""Waymo's number of every camera."""
TOP_LASER: Final = 1
PANOPTIC_DIVISOR: Final = 1000
"""A pixel holds class * divisor + instance; instances are not told apart here."""

_HALF_PIXEL = 0.5  # Waymo counts pixels from the left edge of the first one, the renderer from its centre
_GLOBAL_SHUTTER = 5
_FEW_POINTS = 5
"""Boxes with at most so many returns are of the harder level."""
_ROW_GROUPS = {"camera_image": 5, "camera_segmentation": 5, "lidar": 1, "lidar_pose": 1}
"""Rows that are decoded together: one frame. The original has a whole segment in one group."""


def write_segment(frames: Iterable[RenderedFrame], root: Path, split: str, position: int) -> None:
    """Write one segment.

    Args:
        frames: all frames in order.
        root: folder of the data set.
        split: train, val or test.
        position: place of the segment among those of the split in sorted order: the name of its label folder.
    """
    folder = FOLDERS[split]
    tables: Tables = {name: [] for name in SCHEMAS}
    before: RenderedFrame | None = None
    for frame in frames:
        _add_frame(tables, frame, before)
        for camera in frame.cameras:
            file = f"{frame.timestamp_us}_{CAMERA_IDS[camera.name]}.png"
            write_file(root / "depth" / folder / frame.scene / file, depth_png_bytes(camera.depth))
        labels = root / "occ3d" / folder / f"{position:03d}" / f"{frame.index:03d}_04.npz"
        write_file(labels, npz_bytes(_occupancy(frame)))
        before = frame
    _add_calibration(tables, frame)
    for component, rows in tables.items():
        _write_component(rows, root / folder / component / f"{frame.scene}.parquet", component)


def _add_frame(tables: Tables, frame: RenderedFrame, before: RenderedFrame | None) -> None:
    key = {"key.segment_context_name": frame.scene, "key.frame_timestamp_micros": frame.timestamp_us}
    pose = "[VehiclePoseComponent].world_from_vehicle.transform"
    tables["vehicle_pose"].append(key | {pose: _flat(frame.world_T_ego)})
    velocity = _velocity(frame, before)
    for camera in frame.cameras:
        camera_key = key | {"key.camera_name": CAMERA_IDS[camera.name]}
        tables["camera_image"].append(camera_key | _image(camera, velocity))
        tables["camera_segmentation"].append(camera_key | _segmentation(camera, frame.scene))
    laser_key = key | {"key.laser_name": TOP_LASER}
    tables["lidar"].append(laser_key | _range_images(frame.lidar))
    tables["lidar_pose"].append(laser_key | _pixel_poses(frame))
    boxes = [box for box in frame.boxes if NAMES[box.material].waymo_box]
    tables["lidar_box"] += [key | _box(frame, box) for box in boxes]
    tables["stats"].append(key | _stats(boxes))


def _add_calibration(tables: Tables, frame: RenderedFrame) -> None:
    key = {"key.segment_context_name": frame.scene}
    for camera in frame.cameras:
        tables["camera_calibration"].append(key | {"key.camera_name": CAMERA_IDS[camera.name]} | _intrinsics(camera))
    lidar = frame.lidar
    ascending = lidar.inclinations[::-1]
    half_step = (ascending[-1] - ascending[0]) / (2 * max(len(ascending) - 1, 1))
    prefix = "[LiDARCalibrationComponent]"
    tables["lidar_calibration"].append(
        key
        | {
            "key.laser_name": TOP_LASER,
            f"{prefix}.extrinsic.transform": _flat(lidar.ego_T_lidar),
            f"{prefix}.beam_inclination.min": ascending[0] - half_step,
            f"{prefix}.beam_inclination.max": ascending[-1] + half_step,
            f"{prefix}.beam_inclination.values": ascending.tolist(),
        }
    )


def _image(camera: RenderedCamera, velocity: NDArray[np.float64]) -> Row:
    prefix, seconds = "[CameraImageComponent]", camera.timestamp_us * 1e-6
    row: Row = {f"{prefix}.image": jpeg_bytes(camera.image), f"{prefix}.pose.transform": _flat(camera.world_T_ego)}
    for axis, linear in zip("xyz", velocity, strict=True):
        row[f"{prefix}.velocity.linear_velocity.{axis}"] = linear
        row[f"{prefix}.velocity.angular_velocity.{axis}"] = 0.0
    shutter = f"{prefix}.rolling_shutter_params"
    return row | {
        f"{prefix}.pose_timestamp": seconds,
        f"{shutter}.shutter": 0.0,
        f"{shutter}.camera_trigger_time": seconds,
        f"{shutter}.camera_readout_done_time": seconds,
    }


def _velocity(frame: RenderedFrame, before: RenderedFrame | None) -> NDArray[np.float64]:
    """World velocity in metres per second since the frame before; zero for the first."""
    if before is None:
        return np.zeros(3)
    seconds = (frame.timestamp_us - before.timestamp_us) * 1e-6
    return (frame.world_T_ego - before.world_T_ego)[:3, 3] / seconds


def _intrinsics(camera: RenderedCamera) -> Row:
    prefix = "[CameraCalibrationComponent]"
    height, width = camera.depth.shape
    k = camera.intrinsics
    numbers = {
        "f_u": k[0, 0],
        "f_v": k[1, 1],
        "c_u": k[0, 2] + _HALF_PIXEL,
        "c_v": k[1, 2] + _HALF_PIXEL,
    } | dict.fromkeys(("k1", "k2", "p1", "p2", "k3"), 0.0)
    return {f"{prefix}.intrinsic.{name}": value for name, value in numbers.items()} | {
        f"{prefix}.extrinsic.transform": _flat(camera.ego_T_camera @ inverse(BODY_T_OPTICAL)),
        f"{prefix}.width": width,
        f"{prefix}.height": height,
        f"{prefix}.rolling_shutter_direction": _GLOBAL_SHUTTER,
    }


def _segmentation(camera: RenderedCamera, segment: str) -> Row:
    prefix = "[CameraSegmentationLabelComponent]"
    panoptic = file_ids("waymo_2d")[camera.materials].astype(np.uint16) * PANOPTIC_DIVISOR
    instances = f"{prefix}.instance_id_to_global_id_mapping"
    return {
        f"{prefix}.panoptic_label_divisor": PANOPTIC_DIVISOR,
        f"{prefix}.panoptic_label": png_bytes(panoptic),
        f"{instances}.local_instance_ids": [],
        f"{instances}.global_instance_ids": [],
        f"{instances}.is_tracked": [],
        f"{prefix}.sequence_id": segment,
        f"{prefix}.num_cameras_covered": png_bytes(np.ones_like(camera.materials)),
    }


def _range_images(lidar: RenderedLidar) -> Row:
    """Both echoes; there never is a second one. Where nothing returned, all channels are -1 as in the original."""
    seen = lidar.ranges > 0
    channels = [lidar.ranges, lidar.intensity, np.zeros_like(lidar.ranges), np.full_like(lidar.ranges, -1)]
    first = np.where(seen[..., None], np.stack(channels, axis=-1), np.float32(-1))
    first = np.roll(first, -_columns_turned(lidar), axis=1)
    row: Row = {}
    for echo, image in ((1, first), (2, np.full_like(first, -1))):
        row[f"[LiDARComponent].range_image_return{echo}.values"] = image.ravel()
        row[f"[LiDARComponent].range_image_return{echo}.shape"] = list(image.shape)
    return row


def _columns_turned(lidar: RenderedLidar) -> int:
    """Columns to skip: Waymo's first column looks back along the vehicle, the renderer's along the sensor."""
    turned = yaw_of(lidar.ego_T_lidar) / (2 * np.pi) * lidar.ranges.shape[1]
    if abs(turned - round(turned)) > 1e-6:
        raise ValueError(f"a lidar turned by {turned:.3f} columns; only whole columns can be written")
    return round(turned)


def _pixel_poses(frame: RenderedFrame) -> Row:
    """The same pose for every pixel: the rendered sweep is taken at one moment."""
    r = frame.world_T_ego
    angles = (np.arctan2(r[2, 1], r[2, 2]), -np.arcsin(np.clip(r[2, 0], -1, 1)), yaw_of(r))
    poses = np.broadcast_to(np.array([*angles, *r[:3, 3]], dtype=np.float32), (*frame.lidar.ranges.shape, 6))
    prefix = "[LiDARPoseComponent].range_image_return1"
    return {f"{prefix}.values": poses.ravel(), f"{prefix}.shape": list(poses.shape)}


def _box(frame: RenderedFrame, box: RenderedBox) -> Row:
    ego_T_world = inverse(frame.world_T_ego)
    ego_T_box = ego_T_world @ box.world_T_box
    speed = ego_T_world[:3, :2] @ np.array(box.velocity)
    level = 2 if box.lidar_points <= _FEW_POINTS else 1
    prefix = "[LiDARBoxComponent]"
    heading = yaw_of(ego_T_box)
    row: Row = {
        "key.laser_object_id": token(frame.scene, "object", box.track)[:22],
        f"{prefix}.box.heading": heading - 2 * np.pi if heading >= np.pi else heading,
        f"{prefix}.type": NAMES[box.material].waymo_box,
        f"{prefix}.num_lidar_points_in_box": box.lidar_points,
        f"{prefix}.num_top_lidar_points_in_box": box.lidar_points,
        f"{prefix}.difficulty_level.detection": level,
        f"{prefix}.difficulty_level.tracking": level,
    }
    for i, axis in enumerate("xyz"):
        row[f"{prefix}.box.center.{axis}"] = ego_T_box[i, 3]
        row[f"{prefix}.box.size.{axis}"] = box.size[i]
        row[f"{prefix}.speed.{axis}"] = speed[i]
        row[f"{prefix}.acceleration.{axis}"] = 0.0
    return row


def _stats(boxes: list[RenderedBox]) -> Row:
    counts = sorted(Counter(NAMES[box.material].waymo_box for box in boxes if box.lidar_points).items())
    prefix = "[StatsComponent]"
    return {
        f"{prefix}.time_of_day": "Day",
        f"{prefix}.location": "location_other",
        f"{prefix}.weather": "sunny",
        f"{prefix}.lidar_object_counts.types": [kind for kind, _ in counts],
        f"{prefix}.lidar_object_counts.counts": [count for _, count in counts],
        f"{prefix}.camera_object_counts.types": None,
        f"{prefix}.camera_object_counts.counts": None,
    }


def _occupancy(frame: RenderedFrame) -> dict[str, NDArray[Any]]:
    return {
        "voxel_label": file_ids("occ3d_waymo")[frame.occupancy],
        "origin_voxel_state": frame.lidar_mask.astype(np.uint8),
        "final_voxel_state": frame.camera_mask.astype(np.uint8),
        "infov": frame.in_view.astype(np.uint8),
    }


def _write_component(rows: list[Row], path: Path, component: str) -> None:
    schema = SCHEMAS[component]
    columns = [pa.array([row[field.name] for row in rows], field.type) for field in schema]
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(
        pa.table(columns, schema=schema),
        path,
        row_group_size=_ROW_GROUPS.get(component, max(len(rows), 1)),
        compression="zstd",
        use_dictionary=["key.segment_context_name"],
    )


def _flat(a_T_b: Matrix) -> list[float]:
    """Sixteen numbers, row by row."""
    return a_T_b.ravel().tolist()
