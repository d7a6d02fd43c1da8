"""Run with the official devkit on the path (and nothing of this project): opens a folder, notes what it says as JSON.

python devkit_probe.py FOLDER VERSION OUTPUT
"""

import json
import sys
from pathlib import Path

import numpy as np
from nuscenes.nuscenes import NuScenes
from nuscenes.utils.color_map import get_colormap
from nuscenes.utils.geometry_utils import transform_matrix
from nuscenes.utils.splits import mini_val, val
from pyquaternion import Quaternion


def matrix(row):
    return transform_matrix(row["translation"], Quaternion(row["rotation"]))


def main(root, version, output):
    nusc = NuScenes(version, root, verbose=True)
    nusc.list_scenes()
    frames = {}
    for sample in nusc.sample:
        lidar = nusc.get("sample_data", sample["data"]["LIDAR_TOP"])
        points = np.fromfile(nusc.get_sample_data_path(lidar["token"]), np.float32).reshape(-1, 5)[:, :3]
        world_T_lidar = matrix(nusc.get("ego_pose", lidar["ego_pose_token"])) @ matrix(
            nusc.get("calibrated_sensor", lidar["calibrated_sensor_token"])
        )
        cameras = {}
        for channel, token in sample["data"].items():
            if not channel.startswith("CAM"):
                continue
            path, boxes, intrinsics = nusc.get_sample_data(token)
            data = nusc.get("sample_data", token)
            world_T_camera = matrix(nusc.get("ego_pose", data["ego_pose_token"])) @ matrix(
                nusc.get("calibrated_sensor", data["calibrated_sensor_token"])
            )
            chain = np.linalg.inv(world_T_camera) @ world_T_lidar
            in_camera = points.astype(np.float64) @ chain[:3, :3].T + chain[:3, 3]
            pixels, depths, _ = nusc.explorer.map_pointcloud_to_image(lidar["token"], token)
            cameras[channel] = {
                "path": path,
                "intrinsics": intrinsics.tolist(),
                "points": in_camera[::7].tolist(),
                "mapped_pixels": pixels[:2].T.tolist(),
                "mapped_depths": depths.tolist(),
                "boxes": {nusc.get("sample_annotation", b.token)["instance_token"]: b.center.tolist() for b in boxes},
            }
        frames[sample["token"]] = {"cameras": cameras}
        if "lidarseg" in nusc.table_names:
            row = nusc.get("lidarseg", lidar["token"])
            labels = np.fromfile(f"{root}/{row['filename']}", np.uint8)
            frames[sample["token"]]["lidarseg"] = [nusc.lidarseg_idx2name_mapping[i] for i in labels]
    mask = nusc.map[0]["mask"].mask()
    answer = {
        "frames": frames,
        "map": [list(mask.shape), int(mask.max())],
        "categories": sorted(get_colormap()),
        "val": sorted(val),
        "mini_val": sorted(mini_val),
    }
    Path(output).write_text(json.dumps(answer))


if __name__ == "__main__":
    main(*sys.argv[1:])
