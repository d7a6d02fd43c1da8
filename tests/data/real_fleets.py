"""The real Waymo and DDAD frames as folders that the readers read, written straight from their frame.json."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from ugocc.labels import WAYMO_2D

WAYMO_CAMERAS = ["FRONT", "FRONT_LEFT", "FRONT_RIGHT", "SIDE_LEFT", "SIDE_RIGHT"]
WAYMO_TYPES = ["unknown", "vehicle", "pedestrian", "sign", "cyclist"]
TEN_CLASSES = {"vehicle": 1, "pedestrian": 2, "sign": 7, "cyclist": 8, "Car": 1, "Truck": 1}


def write_component(
    folder: Path,
    component: str,
    segment: str,
    prefix: str,
    keys: dict[str, Any],
    columns: dict[str, Any],
    **options: Any,
) -> Path:
    """One Parquet file of a Waymo v2 split: key columns by their last name, others by theirs below the component."""
    path = folder / component / f"{segment}.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    keys = {"segment_context_name": [segment] * len(next(iter(columns.values()))), **keys}
    table = {f"key.{k}": v for k, v in keys.items()} | {f"[{prefix}Component].{k}": v for k, v in columns.items()}
    pq.write_table(pa.table(table), path, **options)
    return path


def transforms(matrices: list[Any], kind: pa.DataType | None = None) -> pa.Array:
    """Row-major 4x4 matrices as the release stores them."""
    return pa.array([np.ravel(m).tolist() for m in matrices], pa.list_(kind or pa.float64(), 16))


def build_real_waymo(real_data: Path, root: Path) -> Path:
    source = real_data / "waymo" / "segment_1024360143612057520_frame"
    frame = json.loads((source / "frame.json").read_text())
    folder, segment, time = root / "training", frame["segment"], frame["timestamp_us"]
    cameras, boxes = frame["cameras"], frame["boxes_3d"]
    names = pa.array([1 + WAYMO_CAMERAS.index(c["name"]) for c in cameras], pa.int8())
    at = {"frame_timestamp_micros": [time] * len(cameras), "camera_name": names}
    pose = {"world_from_vehicle.transform": transforms([frame["T_world_ego"]])}
    write_component(folder, "vehicle_pose", segment, "VehiclePose", {"frame_timestamp_micros": [time]}, pose)
    entries = (("f_u", 0, 0), ("f_v", 1, 1), ("c_u", 0, 2), ("c_v", 1, 2))
    lens = ("k1", "k2", "p1", "p2", "k3")
    calibration = {
        **{f"intrinsic.{k}": [c["K"][i][j] for c in cameras] for k, i, j in entries},
        **{f"intrinsic.{k}": [c["distortion_k1k2p1p2k3"][i] for c in cameras] for i, k in enumerate(lens)},
        "extrinsic.transform": transforms([c["T_ego_waymocam"] for c in cameras]),
        **{k: pa.array([c[k] for c in cameras], pa.int32()) for k in ("width", "height")},
    }
    write_component(folder, "camera_calibration", segment, "CameraCalibration", {"camera_name": names}, calibration)
    images = {
        "image": [(source / c["image"]).read_bytes() for c in cameras],
        "pose.transform": transforms([c["T_world_ego"] for c in cameras]),
        "pose_timestamp": [c["pose_timestamp_s"] for c in cameras],
    }
    write_component(folder, "camera_image", segment, "CameraImage", at, images)
    labels = {
        "panoptic_label": [(source / f"{c['name']}_panoptic_x1000.png").read_bytes() for c in cameras],
        "panoptic_label_divisor": pa.array([1000] * len(cameras), pa.int32()),
    }
    write_component(folder, "camera_segmentation", segment, "CameraSegmentationLabel", at, labels)
    at = {"frame_timestamp_micros": [time] * len(boxes), "laser_object_id": [b["track"] for b in boxes]}
    objects = {
        **{f"box.center.{a}": [b["center_ego"][i] for b in boxes] for i, a in enumerate("xyz")},
        **{f"box.size.{a}": [b["size_lwh"][i] for b in boxes] for i, a in enumerate("xyz")},
        "box.heading": [b["yaw_ego"] for b in boxes],
        "type": pa.array([WAYMO_TYPES.index(b["name"]) for b in boxes], pa.int8()),
    }
    write_component(folder, "lidar_box", segment, "LiDARBox", at, objects)
    return root


def build_real_waymo_fleet(real_data: Path, root: Path) -> Path:
    source = real_data / "waymo" / "segment_1024360143612057520_frame"
    frame = json.loads((source / "frame.json").read_text())
    root.mkdir()
    (root / "pictures").symlink_to(source)
    cameras, rig = [], {}
    for c in frame["cameras"]:
        semantics = WAYMO_2D[np.array(Image.open(source / c["semantic"]))]
        Image.fromarray(semantics).save(root / f"{c['name']}.png")
        # Waymo counts pixels from the edge of the first one; own fleets from its centre.
        k = np.array(c["K"]) - [[0, 0, 0.5], [0, 0, 0.5], [0, 0, 0]]
        rig[c["name"]] = {
            "width": c["width"],
            "height": c["height"],
            "intrinsics": {"fx": k[0, 0], "fy": k[1, 1], "cx": k[0, 2], "cy": k[1, 2]},
            "distortion": c["distortion_k1k2p1p2k3"],
            "ego_T_camera": c["T_ego_cam"],
        }
        cameras.append(
            {
                "name": c["name"],
                "image": f"pictures/{c['image']}",
                "world_T_ego": c["T_world_ego"],
                "timestamp_us": round(c["pose_timestamp_s"] * 1e6),
                "semantics": f"{c['name']}.png",
            }
        )
    line = {"token": "waymo-0", "scene": frame["segment"], "timestamp_us": frame["timestamp_us"]}
    line |= {"world_T_ego": frame["T_world_ego"], "cameras": cameras, "boxes": _boxes(frame)}
    (root / "manifest.jsonl").write_text(json.dumps(line) + "\n")
    (root / "fleet.json").write_text(json.dumps({"name": "waymo-as-own", "rig": rig}))
    return root


def build_real_ddad(real_data: Path, root: Path) -> Path:
    root.mkdir()
    lines = []
    for folder in sorted((real_data / "ddad").iterdir()):
        frame = json.loads((folder / "frame.json").read_text())
        (root / folder.name).symlink_to(folder)
        np.load(folder / "LIDAR.npz")["points"].tofile(root / f"{folder.name}.bin")
        cameras = [
            {
                "name": c["name"],
                "image": f"{folder.name}/{c['image']}",
                "width": c["width"],
                "height": c["height"],
                "intrinsics": c["K"],
                "ego_T_camera": c["T_ego_cam"],
                "world_T_ego": c["T_world_ego"],
                "timestamp_us": _microseconds(c["timestamp"]),
            }
            for c in frame["cameras"]
        ]
        lidar = {"points": f"{folder.name}.bin", "ego_T_lidar": frame["lidar"]["T_ego_lidar"]}
        line = {"token": folder.name, "scene": frame["scene"], "timestamp_us": _microseconds(frame["timestamp"])}
        line |= {"world_T_ego": frame["T_world_ego"], "cameras": cameras, "lidar": lidar, "boxes": _boxes(frame)}
        lines.append(json.dumps(line))
    (root / "manifest.jsonl").write_text("\n".join(lines) + "\n")
    (root / "fleet.json").write_text('{"name": "ddad"}')
    return root


def _boxes(frame: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {
            "label": TEN_CLASSES[b["name"]],
            "centre": b["center_ego"],
            "size": b["size_lwh"],
            "yaw": b["yaw_ego"],
            "track": str(b["track"]),
        }
        for b in frame["boxes_3d"]
    ]


def _microseconds(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp() * 1e6)
