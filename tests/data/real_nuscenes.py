"""Lays the three real nuScenes frames out as the v1.0-mini folder they come from.

Written by hand from frame.json, independent of the package's own writer. scene-0061 (train) has one frame with its
lidar; scene-0103 (val) has two: the first with a real sweep of 50 ms earlier, moved to the key frame by the car's
own motion, the second with a single point, for there is no lidar of it.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from scipy.spatial.transform import Rotation

FRAMES = ("scene0061_s00", "scene0103_s01", "scene0103_s08")
CATEGORY = {
    "car": "vehicle.car",
    "truck": "vehicle.truck",
    "bus": "vehicle.bus.rigid",
    "construction_vehicle": "vehicle.construction",
    "bicycle": "vehicle.bicycle",
    "pedestrian": "human.pedestrian.adult",
    "barrier": "movable_object.barrier",
    "traffic_cone": "movable_object.trafficcone",
    "ignore": "animal",
}


def token(*names: object) -> str:
    return hashlib.md5("/".join(map(str, names)).encode()).hexdigest()


def build_real_nuscenes(real: Path, root: Path) -> Path:
    """Write the folder under ``root``; ``real`` is the folder of real recordings."""
    tables: dict[str, list[dict[str, Any]]] = defaultdict(list)
    scenes: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for folder in FRAMES:
        frame = json.loads((real / "nuscenes" / folder / "frame.json").read_text())
        frame["folder"] = real / "nuscenes" / folder
        scenes[frame["scene"]].append(frame)
    channels = [camera["name"] for camera in frame["cameras"]] + ["LIDAR_TOP"]
    for channel in channels:
        modality = "lidar" if channel == "LIDAR_TOP" else "camera"
        tables["sensor"].append({"token": token(channel), "channel": channel, "modality": modality})
        (root / "samples" / channel).mkdir(parents=True)
    (root / "sweeps" / "LIDAR_TOP").mkdir(parents=True)
    for name, frames in scenes.items():
        add_scene(tables, root, name, frames)
    add_rest(tables, root)
    (root / "v1.0-mini").mkdir()
    for name, rows in tables.items():
        (root / "v1.0-mini" / f"{name}.json").write_text(json.dumps(rows, indent=0))
    return root


def add_scene(tables: dict[str, list[dict[str, Any]]], root: Path, name: str, frames: list[dict[str, Any]]) -> None:
    samples = [frame["sample_token"] for frame in frames]
    tables["log"].append(
        {"token": token("log", name), "logfile": "", "vehicle": "n", "date_captured": "2018-07-24", "location": "x"}
    )
    tables["scene"].append(
        {
            "token": token(name),
            "log_token": token("log", name),
            "nbr_samples": len(frames),
            "first_sample_token": samples[0],
            "last_sample_token": samples[-1],
            "name": name,
            "description": "real frames",
        }
    )
    for i, frame in enumerate(frames):
        neighbours = {"prev": samples[i - 1] if i else "", "next": [*samples, ""][i + 1]}
        row = {"token": samples[i], "timestamp": frame["timestamp_us"], "scene_token": token(name)}
        tables["sample"].append(row | neighbours)
        for camera in frame["cameras"]:
            file = f"samples/{camera['name']}/{camera['original_file']}"
            (root / file).symlink_to(frame["folder"] / camera["image"])
            row = {"fileformat": "jpg", "width": camera["width"], "height": camera["height"], "filename": file}
            add_recording(tables, frame, camera["name"], camera, camera["T_ego_cam"], camera["K"], row)
        add_lidar(tables, root, frame)
        for k, box in enumerate(frame["boxes_3d"]):
            add_box(tables, frame, box, token("box", samples[i], k))


def add_recording(tables, frame, channel, moment, ego_T_sensor, intrinsics, row, is_key=True) -> None:
    own = token(frame["sample_token"], channel, moment["timestamp_us"])
    tables["ego_pose"].append(
        {"token": own, "timestamp": moment["timestamp_us"]} | rotation_translation(moment["T_world_ego"])
    )
    calibration = token("calibration", frame["scene"], channel)
    if calibration not in {c["token"] for c in tables["calibrated_sensor"]}:
        tables["calibrated_sensor"].append(
            {"token": calibration, "sensor_token": token(channel), "camera_intrinsic": intrinsics}
            | rotation_translation(ego_T_sensor)
        )
    tables["sample_data"].append(
        {
            "token": own,
            "sample_token": frame["sample_token"],
            "ego_pose_token": own,
            "calibrated_sensor_token": calibration,
            "timestamp": moment["timestamp_us"],
            "is_key_frame": is_key,
            "prev": "",
            "next": "",
        }
        | row
    )


def add_lidar(tables, root: Path, frame: dict[str, Any]) -> None:
    key_pose, ego_T_lidar = np.array(frame["T_world_ego"]), np.array(frame["lidar"]["T_ego_lidar"])
    row = {"fileformat": "pcd", "width": 0, "height": 0}
    for path in sorted(frame["folder"].glob("LIDAR_TOP_sweep_*.bin")):
        time = int(path.stem.rsplit("_", 1)[1])
        # No pose is given: the car's motion between its earliest picture and the key frame goes on before that.
        first = min(frame["cameras"], key=lambda camera: camera["timestamp_us"])
        pose = np.array(first["T_world_ego"])
        velocity = (key_pose - pose)[:3, 3] / (frame["timestamp_us"] - first["timestamp_us"])
        pose[:3, 3] += velocity * (time - first["timestamp_us"])
        sweep = f"sweeps/LIDAR_TOP/{path.stem}.pcd.bin"
        shutil.copy(path, root / sweep)
        moment = {"timestamp_us": time, "T_world_ego": pose}
        add_recording(tables, frame, "LIDAR_TOP", moment, ego_T_lidar, [], row | {"filename": sweep}, is_key=False)
        points = np.fromfile(path, np.float32).reshape(-1, 5)
        chain = np.linalg.inv(key_pose @ ego_T_lidar) @ pose @ ego_T_lidar
        points[:, :3] = points[:, :3] @ chain[:3, :3].T + chain[:3, 3]
    if (frame["folder"] / "LIDAR_TOP.bin").exists():
        points = np.fromfile(frame["folder"] / "LIDAR_TOP.bin", np.float32).reshape(-1, 5)
    elif not list(frame["folder"].glob("LIDAR_TOP_sweep_*.bin")):
        points = np.array([[0, 0, -1.84, 0, 0]], np.float32)
    file = f"samples/LIDAR_TOP/{frame['lidar']['original_file']}"
    points.astype(np.float32).tofile(root / file)
    add_recording(tables, frame, "LIDAR_TOP", frame, ego_T_lidar, [], row | {"filename": file})


def add_box(tables, frame: dict[str, Any], box: dict[str, Any], own: str) -> None:
    world_T_box = np.eye(4)
    world_T_box[:3, :3] = Rotation.from_euler("z", box["yaw_ego"]).as_matrix()
    world_T_box[:3, 3] = box["center_ego"]
    length, width, height = box["size_lwh"]
    category = CATEGORY.get(box["name"], box["name"])
    tables["instance"].append(
        {
            "token": own,
            "category_token": token(category),
            "nbr_annotations": 1,
            "first_annotation_token": own,
            "last_annotation_token": own,
        }
    )
    tables["sample_annotation"].append(
        {
            "token": own,
            "sample_token": frame["sample_token"],
            "instance_token": own,
            "visibility_token": "4",
            "attribute_tokens": [],
            "size": [width, length, height],
            "prev": "",
            "next": "",
            "num_lidar_pts": box.get("num_lidar_pts", 0),
            "num_radar_pts": 0,
        }
        | rotation_translation(np.array(frame["T_world_ego"]) @ world_T_box)
    )


def add_rest(tables, root: Path) -> None:
    for name in sorted({*CATEGORY.values(), "static_object.bicycle_rack"}):
        tables["category"].append({"token": token(name), "name": name, "description": ""})
    tables["visibility"] = [{"token": str(k), "level": "", "description": ""} for k in range(1, 5)]
    tables["attribute"] = [{"token": token("attribute"), "name": "vehicle.parked", "description": ""}]
    logs = [log["token"] for log in tables["log"]]
    map_file = f"maps/{token('map')}.png"
    tables["map"] = [{"token": token("map"), "log_tokens": logs, "category": "semantic_prior", "filename": map_file}]
    (root / "maps").mkdir()
    Image.fromarray(np.full((8, 8), 255, np.uint8)).save(root / map_file)


def rotation_translation(matrix: Any) -> dict[str, list[float]]:
    array = np.asarray(matrix, dtype=np.float64)
    quaternion = Rotation.from_matrix(array[:3, :3]).as_quat(scalar_first=True)
    return {"rotation": quaternion.tolist(), "translation": array[:3, 3].tolist()}
