"""The real nuScenes and Waymo frames as folders that can be trained on.

**What the recordings lack is made up**, so that what a network learns from them means nothing. All frames have the one
real Occ3D label there is, which belongs to another place. The one Waymo frame is driven past eleven times, a metre
further on each time, and its lidar sees flat ground and a round wall.
"""

from __future__ import annotations

import json
import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from scipy.spatial.transform import Rotation

from ugocc.labels import FREE, OCC3D_NUSCENES, OCC3D_WAYMO, UNKNOWN

MOMENTS = 11  # every fifth are three
METRES = 1.0
TIME = "key.frame_timestamp_micros"
POSE = "[VehiclePoseComponent].world_from_vehicle.transform"


def build_real_training(data: Path, folder: Path) -> dict[str, Path]:
    """Write the folders under ``folder``: their paths, by name of the fleet."""
    here = Path(__file__).parent
    helpers = {name: runpy.run_path(str(here / f"{name}.py")) for name in ("real_nuscenes", "real_fleets")}
    label = next((data / "occ3d").glob("*/labels.npz"))
    nuscenes = helpers["real_nuscenes"]["build_real_nuscenes"](data, folder / "nuscenes")
    scenes = {row["token"]: row["name"] for row in json.loads((nuscenes / "v1.0-mini/scene.json").read_text())}
    (nuscenes / "splits.json").write_text(json.dumps({"train": sorted(scenes.values())}))
    for sample in json.loads((nuscenes / "v1.0-mini/sample.json").read_text()):
        place = nuscenes / "gts" / scenes[sample["scene_token"]] / sample["token"]
        place.mkdir(parents=True)
        (place / "labels.npz").symlink_to(label.resolve())
    waymo = helpers["real_fleets"]["build_real_waymo"](data, folder / "waymo")
    repeat_waymo(waymo / "training")
    add_waymo_lidar(waymo / "training", helpers["real_fleets"])
    add_waymo_labels(waymo / "occ3d/training/000", label)
    return {"nuscenes": nuscenes, "waymo": waymo}


def add_waymo_lidar(split: Path, helper: dict[str, Any]) -> None:
    """A top lidar 2 m above flat ground, walled in at 30 m, at every moment."""
    (segment,) = (path.stem for path in (split / "vehicle_pose").glob("*.parquet"))
    poses = pq.read_table(split / "vehicle_pose" / f"{segment}.parquet")
    times, height, columns, beams = poses[TIME].to_pylist(), 2.0, 600, np.linspace(-0.3, 0.04, 64)
    upright = beams[::-1, None]  # rows of a range image begin with the highest beam
    ground = np.where(upright < 0, height / np.sin(np.maximum(-upright, 1e-3)), np.inf)
    image = np.zeros((len(beams), columns, 4), np.float32)
    image[..., 0] = np.minimum(ground, 30 / np.cos(upright))
    moved = np.zeros((len(times), *image.shape[:2], 6), np.float32)
    for pixels, matrix in zip(moved, np.array(poses[POSE].to_pylist()).reshape(-1, 4, 4), strict=True):
        pixels[..., :3] = Rotation.from_matrix(matrix[:3, :3]).as_euler("ZYX")[::-1]
        pixels[..., 3:] = matrix[:3, 3]
    laser = pa.array([1] * len(times), pa.int8())
    keys = {"frame_timestamp_micros": times, "laser_name": laser}
    for component, prefix, values in (
        ("lidar", "LiDAR", [image.ravel()] * len(times)),
        ("lidar_pose", "LiDARPose", list(moved.reshape(len(times), -1))),
    ):
        shape = [*image.shape[:2], len(values[0]) // image[..., 0].size]
        images = {
            "range_image_return1.values": pa.array(values, pa.list_(pa.float32())),
            "range_image_return1.shape": pa.array([shape] * len(times), pa.list_(pa.int32(), 3)),
        }
        helper["write_component"](split, component, segment, prefix, keys, images)
    mount = np.eye(4)
    mount[2, 3] = height
    rays = {
        "extrinsic.transform": helper["transforms"]([mount]),
        "beam_inclination.min": [float(beams[0])],
        "beam_inclination.max": [float(beams[-1])],
        "beam_inclination.values": [beams.tolist()],
    }
    helper["write_component"](split, "lidar_calibration", segment, "LiDARCalibration", {"laser_name": laser[:1]}, rays)


def repeat_waymo(split: Path) -> None:
    """Every table that has times, again and again, a tenth of a second later and a little further on."""
    for path in sorted(split.rglob("*.parquet")):
        table = pq.read_table(path)
        if TIME in table.column_names:
            pq.write_table(pa.concat_tables([_moment(table, number) for number in range(MOMENTS)]), path)


def _moment(table: pa.Table, number: int) -> pa.Table:
    for place, field in enumerate(table.schema):
        values = table[field.name].to_pylist()
        if field.name == TIME:
            values = [value + 100_000 * number for value in values]
        elif field.name.endswith("pose_timestamp"):
            values = [value + 0.1 * number for value in values]
        elif field.name.endswith(("pose.transform", "from_vehicle.transform")):
            poses = np.array(values).reshape(-1, 4, 4)
            poses[:, :3, 3] += METRES * number * poses[:, :3, 0]
            values = poses.reshape(-1, 16).tolist()
        else:
            continue
        table = table.set_column(place, field, pa.array(values, field.type))
    return table


def add_waymo_labels(folder: Path, label: Path) -> None:
    """The real label in the ids of Occ3D-Waymo, for every moment."""
    to_waymo = np.array([int(np.flatnonzero(c == OCC3D_WAYMO)[0]) for c in range(FREE + 1)], np.uint8)
    with np.load(label) as stored:
        classes = OCC3D_NUSCENES[stored["semantics"]]
        voxels = np.where(classes == UNKNOWN, np.uint8(UNKNOWN), to_waymo[np.minimum(classes, FREE)])
        arrays = {"voxel_label": voxels, "origin_voxel_state": stored["mask_lidar"]}
        arrays["final_voxel_state"] = stored["mask_camera"]
    folder.mkdir(parents=True)
    for number in range(MOMENTS):
        np.savez_compressed(folder / f"{number:03d}_04.npz", **arrays)
