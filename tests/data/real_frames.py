"""Frames of the real recordings, built straight from their frame.json, independent of every reader."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ugocc.data.frame import CameraView, Frame, LidarSweep, OccupancyLabel
from ugocc.labels import OCC3D_NUSCENES, WAYMO_2D

NUSCENES = ("scene0061_s00", "scene0103_s01", "scene0103_s08")
WAYMO = "segment_1024360143612057520_frame"
DDAD = ("scene_02_f0", "scene_02_f1", "scene_02_f2")
OCC3D = "29796060110c4163b07f06eff4af0753"


def record(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "frame.json").read_text(encoding="utf-8"))


def nuscenes_frames(real_data: Path) -> list[Frame]:
    """Three key frames; the first has its lidar, all borrow the one real occupancy label there is."""
    label = partial(read_occ3d, real_data / "occ3d" / OCC3D / "labels.npz")
    return [_frame("nuscenes", real_data / "nuscenes" / name, label) for name in NUSCENES]


def waymo_frame(real_data: Path) -> Frame:
    """Five distorted pictures of two sizes with human labels; no lidar."""
    return _frame("waymo", real_data / "waymo" / WAYMO)


def ddad_frames(real_data: Path) -> list[Frame]:
    """Three consecutive frames of a third rig, with lidar."""
    return [_frame("ddad", real_data / "ddad" / name) for name in DDAD]


def read_picture(path: Path) -> np.ndarray:
    return np.array(Image.open(path).convert("RGB"))


def read_waymo_labels(path: Path) -> np.ndarray:
    return WAYMO_2D[np.array(Image.open(path))]


def read_points(path: Path) -> np.ndarray:
    if path.suffix == ".npz":
        return np.load(path)["points"]
    return np.fromfile(path, dtype=np.float32).reshape(-1, 5)[:, :4]


def read_occ3d(path: Path) -> OccupancyLabel:
    with np.load(path) as file:
        return OccupancyLabel(OCC3D_NUSCENES[file["semantics"]], file["mask_camera"] > 0, file["mask_lidar"] > 0)


def _frame(fleet: str, folder: Path, occupancy: partial[OccupancyLabel] | None = None) -> Frame:
    about = record(folder)
    time = about.get("timestamp_us", about.get("index"))
    key_pose = np.array(about["T_world_ego"])
    lidar = None
    file = about.get("lidar", {}).get("file") or about.get("lidar", {}).get("npz")
    if file:
        lidar = LidarSweep(
            points=partial(read_points, folder / file),
            source=str(folder / file),
            ego_T_lidar=np.array(about["lidar"]["T_ego_lidar"]),
            world_T_ego=key_pose,
            timestamp_us=time,
        )
    return Frame(
        fleet=fleet,
        scene=about.get("scene", about.get("segment")),
        token=folder.name,
        timestamp_us=time,
        world_T_ego=key_pose,
        cameras=tuple(_camera(folder, camera, time) for camera in about["cameras"]),
        lidar=lidar,
        occupancy=occupancy,
    )


def _camera(folder: Path, about: dict[str, Any], time: int) -> CameraView:
    labels = about.get("semantic")
    return CameraView(
        name=about["name"],
        image=partial(read_picture, folder / about["image"]),
        source=str(folder / about["image"]),
        width=about["width"],
        height=about["height"],
        intrinsics=np.array(about["K"], dtype=np.float64),
        distortion=np.array(about.get("distortion_k1k2p1p2k3", np.zeros(5)), dtype=np.float64),
        ego_T_camera=np.array(about["T_ego_cam"]),
        world_T_ego=np.array(about["T_world_ego"]),
        timestamp_us=about.get("timestamp_us", time),
        semantics=partial(read_waymo_labels, folder / labels) if labels else None,
    )
