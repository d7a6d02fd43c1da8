"""Writes rendered scenes as a nuScenes v1.0 folder that the official devkit opens.

Scenes are written one by one, in any order and by any process; :func:`write_tables` then joins their tables.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ugocc.data.synthetic.encode import (
    depth_png_bytes,
    jpeg_bytes,
    lidar_points,
    npz_bytes,
    png_bytes,
    token,
    write_file,
)
from ugocc.data.synthetic.rendered import RenderedBox, RenderedCamera, RenderedFrame, RenderedLidar
from ugocc.data.synthetic.vocabulary import NAMES, Material, file_ids
from ugocc.geometry.rigid import Matrix, to_quaternion
from ugocc.labels import NUSCENES_CATEGORY

Row = dict[str, Any]
Tables = dict[str, list[Row]]

VERSION: Final = "v1.0-trainval"
"""Name of the folder of tables."""
LIDAR: Final = "LIDAR_TOP"

_CATEGORIES = tuple(NUSCENES_CATEGORY)
_LIDARSEG_IDS = np.full(256, _CATEGORIES.index("noise"), dtype=np.uint8)
for _material, _names in NAMES.items():
    _LIDARSEG_IDS[_material] = _CATEGORIES.index(_names.nuscenes_category)
_SCENE_TABLES = (
    *("log", "scene", "sample", "calibrated_sensor", "ego_pose", "sample_data", "lidarseg"),
    *("sample_annotation", "instance"),
)
_ATTRIBUTES = (
    *("vehicle.moving", "vehicle.stopped", "vehicle.parked", "cycle.with_rider", "cycle.without_rider"),
    *("pedestrian.sitting_lying_down", "pedestrian.standing", "pedestrian.moving"),
)
_VISIBILITIES = {"1": (0, 40), "2": (40, 60), "3": (60, 80), "4": (80, 100)}
_MOVING = 0.5
"""Metres per second from which an object counts as moving."""


def write_scene(frames: Iterable[RenderedFrame], root: Path) -> Tables:
    """Write the files of one scene.

    Args:
        frames: all frames of the scene in order.
        root: folder of the data set; other scenes may be written into it at the same time.

    Returns:
        This scene's rows of every table, for :func:`write_tables`. They can be stored as JSON.
    """
    tables: Tables = {name: [] for name in _SCENE_TABLES}
    for frame in frames:
        sample = token(frame.scene, frame.index)
        tables["sample"].append({"token": sample, "timestamp": frame.timestamp_us, "scene_token": token(frame.scene)})
        for camera in frame.cameras:
            _write_camera(tables, root, frame, camera)
        _write_lidar(tables, root, frame)
        for box in frame.boxes:
            _add_annotation(tables, frame, box)
        _write_occupancy(root, frame, sample)
    name = frame.scene
    _chain(tables["sample"])
    for channel in {row["calibrated_sensor_token"] for row in tables["sample_data"]}:
        _chain([row for row in tables["sample_data"] if row["calibrated_sensor_token"] == channel])
    _add_instances(tables)
    samples = tables["sample"]
    tables["log"].append(
        {
            "token": token(name, "log"),
            "logfile": f"embedded-{name}",
            "vehicle": "six",
            "date_captured": "2024-01-01",
            "location": "embedded-town",
        }
    )
    tables["scene"].append(
        {
            "token": token(name),
            "log_token": token(name, "log"),
            "nbr_samples": len(samples),
            "first_sample_token": samples[0]["token"],
            "last_sample_token": samples[-1]["token"],
            "name": name,
            "description": "rendered town",
        }
    )
    return tables


def write_tables(scenes: Iterable[Tables], splits: dict[str, list[str]], root: Path) -> None:
    """Join the tables of all scenes and write what belongs to no scene: sensors, categories, the map, the splits.

    Args:
        scenes: what :func:`write_scene` returned, in the order the tables shall have.
        splits: names of the scenes of train, val and test.
        root: folder of the data set.
    """
    joined: Tables = {}
    for tables in scenes:
        for name, rows in tables.items():
            joined.setdefault(name, []).extend(rows)
    channels = dict.fromkeys(row["filename"].split("/")[1] for row in joined["sample_data"])
    map_token = token("map")
    map_file = f"maps/{map_token}.png"
    joined |= {
        "sensor": [
            {"token": token(name), "channel": name, "modality": "lidar" if name == LIDAR else "camera"}
            for name in channels
        ],
        "category": [
            {"token": token(name), "name": name, "description": "", "index": i} for i, name in enumerate(_CATEGORIES)
        ],
        "attribute": [{"token": token(name), "name": name, "description": ""} for name in _ATTRIBUTES],
        "visibility": [
            {
                "token": key,
                "level": f"v{low}-{high}",
                "description": f"visibility of whole object is between {low} and {high}%",
            }
            for key, (low, high) in _VISIBILITIES.items()
        ],
        "map": [
            {
                "token": map_token,
                "log_tokens": [row["token"] for row in joined["log"]],
                "category": "semantic_prior",
                "filename": map_file,
            }
        ],
    }
    # The scenes share no map; the tables want one, so it is a scrap of drivable ground.
    (root / map_file).parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((16, 16), 255, dtype=np.uint8)).save(root / map_file)
    (root / VERSION).mkdir(exist_ok=True)
    for name, rows in joined.items():
        (root / VERSION / f"{name}.json").write_text(json.dumps(rows, indent=0), encoding="utf-8")
    (root / "splits.json").write_text(json.dumps(splits, indent=1), encoding="utf-8")


def _write_camera(tables: Tables, root: Path, frame: RenderedFrame, camera: RenderedCamera) -> None:
    stem = f"{frame.scene}__{camera.name}__{camera.timestamp_us}"
    height, width = camera.depth.shape
    file = f"samples/{camera.name}/{stem}.jpg"
    write_file(root / file, jpeg_bytes(camera.image))
    write_file(root / "semantics_2d" / camera.name / f"{stem}.png", png_bytes(file_ids("occnerf_2d")[camera.materials]))
    write_file(root / "depth" / camera.name / f"{stem}.png", depth_png_bytes(camera.depth))
    intrinsics = camera.intrinsics.tolist()
    sensor = _calibration(tables, frame.scene, camera.name, camera.ego_T_camera, intrinsics)
    row = {"fileformat": "jpg", "height": height, "width": width, "filename": file}
    _add_recording(tables, frame, camera.name, camera.timestamp_us, camera.world_T_ego, sensor, row)


def _write_lidar(tables: Tables, root: Path, frame: RenderedFrame) -> None:
    lidar = frame.lidar
    file = f"samples/{LIDAR}/{frame.scene}__{LIDAR}__{lidar.timestamp_us}.pcd.bin"
    write_file(root / file, _pcd(lidar).tobytes())
    sensor = _calibration(tables, frame.scene, LIDAR, lidar.ego_T_lidar, [])
    row = {"fileformat": "pcd", "height": 0, "width": 0, "filename": file}
    data = _add_recording(tables, frame, LIDAR, lidar.timestamp_us, frame.world_T_ego, sensor, row)
    labels = f"lidarseg/{VERSION}/{data}_lidarseg.bin"
    write_file(root / labels, _LIDARSEG_IDS[lidar.materials[lidar.ranges > 0]].tobytes())
    tables["lidarseg"].append({"token": data, "sample_data_token": data, "filename": labels})


def _pcd(lidar: RenderedLidar) -> NDArray[np.float32]:
    """(M, 5) x, y, z, intensity (0 to 255), ring (0 lowest) in the sensor's frame."""
    row, column = np.nonzero(lidar.ranges > 0)
    intensity = np.rint(lidar.intensity[row, column] * 255)
    return np.column_stack([lidar_points(lidar), intensity, len(lidar.ranges) - 1 - row]).astype("<f4")


def _write_occupancy(root: Path, frame: RenderedFrame, sample: str) -> None:
    arrays: dict[str, NDArray[Any]] = {
        "semantics": file_ids("occ3d_nuscenes")[frame.occupancy],
        "mask_lidar": frame.lidar_mask.astype(np.uint8),
        "mask_camera": frame.camera_mask.astype(np.uint8),
    }
    write_file(root / "gts" / frame.scene / sample / "labels.npz", npz_bytes(arrays))


def _calibration(tables: Tables, scene: str, channel: str, ego_T_sensor: Matrix, intrinsics: list[Any]) -> str:
    """Token of the channel's calibration in this scene, added at its first use."""
    row = {"token": token(scene, channel, "calibration"), "sensor_token": token(channel)}
    row |= _pose(ego_T_sensor) | {"camera_intrinsic": intrinsics}
    known = next((r for r in tables["calibrated_sensor"] if r["token"] == row["token"]), None)
    if known is None:
        tables["calibrated_sensor"].append(row)
    elif known != row:
        raise ValueError(f"{scene}: calibration of {channel} changes within the scene")
    return str(row["token"])


def _add_recording(
    tables: Tables, frame: RenderedFrame, channel: str, time: int, world_T_ego: Matrix, sensor: str, row: Row
) -> str:
    """Add the rows of one file to sample_data and ego_pose (which share their token, as in the original)."""
    own = token(frame.scene, frame.index, channel)
    tables["ego_pose"].append({"token": own, "timestamp": time} | _pose(world_T_ego))
    tables["sample_data"].append(
        {
            "token": own,
            "sample_token": token(frame.scene, frame.index),
            "ego_pose_token": own,
            "calibrated_sensor_token": sensor,
            "timestamp": time,
            "is_key_frame": True,
        }
        | row
    )
    return own


def _add_annotation(tables: Tables, frame: RenderedFrame, box: RenderedBox) -> None:
    length, width, height = box.size
    attribute = _attribute(box)
    tables["sample_annotation"].append(
        {
            "token": token(frame.scene, frame.index, "box", box.track),
            "sample_token": token(frame.scene, frame.index),
            "instance_token": token(frame.scene, "instance", box.track, NAMES[box.material].nuscenes_category),
            "category_token": token(NAMES[box.material].nuscenes_category),
            "visibility_token": "4" if box.lidar_points else "1",
            "attribute_tokens": [token(attribute)] if attribute else [],
            "size": [width, length, height],
            "num_lidar_pts": box.lidar_points,
            "num_radar_pts": 0,
        }
        | _pose(box.world_T_box)
    )


def _attribute(box: RenderedBox) -> str | None:
    moving = float(np.hypot(*box.velocity)) > _MOVING
    match box.material:
        case Material.CAR | Material.TRUCK | Material.BUS:
            return "vehicle.moving" if moving else "vehicle.parked"
        case Material.BICYCLE | Material.MOTORCYCLE:
            return "cycle.with_rider" if moving else "cycle.without_rider"
        case Material.PEDESTRIAN:
            return "pedestrian.moving" if moving else "pedestrian.standing"
    return None


def _add_instances(tables: Tables) -> None:
    tracks: dict[str, list[Row]] = {}
    for row in tables["sample_annotation"]:
        tracks.setdefault(row["instance_token"], []).append(row)
    for instance, rows in tracks.items():
        _chain(rows)
        categories = [row.pop("category_token") for row in rows]
        tables["instance"].append(
            {
                "token": instance,
                "category_token": categories[0],
                "nbr_annotations": len(rows),
                "first_annotation_token": rows[0]["token"],
                "last_annotation_token": rows[-1]["token"],
            }
        )


def _chain(rows: list[Row]) -> None:
    """Link rows that follow each other in time by ``prev`` and ``next``."""
    tokens = ["", *(row["token"] for row in rows), ""]
    for row, before, after in zip(rows, tokens, tokens[2:], strict=False):
        row |= {"prev": before, "next": after}


def _pose(a_T_b: Matrix) -> Row:
    return {"rotation": to_quaternion(a_T_b).tolist(), "translation": a_T_b[:3, 3].tolist()}
