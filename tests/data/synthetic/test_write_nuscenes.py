from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ugocc.data.images import read_png
from ugocc.data.nuscenes import NuScenesSource
from ugocc.data.synthetic.encode import lidar_points
from ugocc.data.synthetic.rendered import RenderedFrame
from ugocc.data.synthetic.vocabulary import NAMES, Material, file_ids
from ugocc.data.synthetic.write_nuscenes import write_scene, write_tables
from ugocc.geometry.rigid import inverse, transform
from ugocc.labels import NUSCENES_CATEGORY, OCC3D_NUSCENES, OCCNERF_2D

SPLITS = {"train": ["scene-0001", "scene-0002"], "val": ["scene-0003"], "test": []}


@pytest.fixture(scope="module")
def scenes(six_scene) -> dict[str, list[RenderedFrame]]:
    return {name: six_scene(name) for names in SPLITS.values() for name in names}


@pytest.fixture(scope="module")
def root(scenes, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("six")
    tables = [json.loads(json.dumps(write_scene(frames, root))) for frames in scenes.values()]
    write_tables(tables, SPLITS, root)
    return root


def test_everything_comes_back_through_the_reader(root: Path, scenes) -> None:
    source = NuScenesSource(root, "train", fleet="six")
    source.check()
    rendered = [frame for name in SPLITS["train"] for frame in scenes[name]]
    assert len(source) == len(rendered)
    for frame, truth in zip(source, rendered, strict=True):
        assert (frame.scene, frame.timestamp_us) == (truth.scene, truth.timestamp_us)
        assert np.abs(frame.world_T_ego - truth.world_T_ego).max() < 1e-12
        assert [c.name for c in frame.cameras] == [c.name for c in truth.cameras]
        for view, camera in zip(frame.cameras, truth.cameras, strict=True):
            assert view.timestamp_us == camera.timestamp_us
            assert np.array_equal(view.intrinsics, camera.intrinsics)
            assert np.abs(view.ego_T_camera - camera.ego_T_camera).max() < 1e-12
            assert np.abs(view.world_T_ego - camera.world_T_ego).max() < 1e-12
            assert np.abs(view.image().astype(int) - camera.image).mean() < 2
            assert np.array_equal(view.semantics(), OCCNERF_2D[file_ids("occnerf_2d")[camera.materials]])
            depth = read_png(root / "depth" / view.name / f"{Path(view.source).stem}.png")
            assert np.abs(depth * 0.01 - camera.depth).max() <= 0.0051
            assert ((depth == 0) == (camera.depth == 0)).all()


def test_points_and_their_labels_come_back(root: Path, scenes) -> None:
    frame, truth = NuScenesSource(root, "val")[1], scenes["scene-0003"][1]
    seen = truth.lidar.ranges > 0
    points = frame.lidar.points()
    in_ego = transform(frame.ego_T_lidar(frame.lidar), points[:, :3])
    assert np.abs(in_ego - transform(truth.lidar.ego_T_lidar, lidar_points(truth.lidar))).max() < 1e-5
    assert np.abs(points[:, 3] / 255 - truth.lidar.intensity[seen]).max() < 0.5 / 255 + 1e-6
    expected = [NUSCENES_CATEGORY[NAMES[Material(m)].nuscenes_category] for m in truth.lidar.materials[seen]]
    assert frame.lidar.labels().tolist() == expected


def test_lidar_points_agree_with_ranges_and_angles(six_scene) -> None:
    lidar = six_scene()[0].lidar
    points = lidar_points(lidar)
    rows, columns = np.nonzero(lidar.ranges > 0)
    for k in range(0, len(points), 17):
        assert np.linalg.norm(points[k]) == pytest.approx(lidar.ranges[rows[k], columns[k]], abs=1e-5)
        angle = np.degrees(np.arctan2(points[k, 1], points[k, 0]))
        assert angle == pytest.approx(180 - (columns[k] + 0.5) * 10)
        assert np.arcsin(points[k, 2] / np.linalg.norm(points[k])) == pytest.approx(lidar.inclinations[rows[k]])


def test_boxes_and_tracks_come_back(root: Path, scenes) -> None:
    tracks: dict[int, set[str]] = {}
    for frame, truth in zip(NuScenesSource(root, "val"), scenes["scene-0003"], strict=True):
        assert len(frame.boxes) == len(truth.boxes)
        for box, expected in zip(frame.boxes, truth.boxes, strict=True):
            ego_T_box = inverse(truth.world_T_ego) @ expected.world_T_box
            assert np.abs(np.array(box.centre) - ego_T_box[:3, 3]).max() < 1e-9
            assert box.size == expected.size
            assert abs(box.yaw - np.arctan2(ego_T_box[1, 0], ego_T_box[0, 0])) < 1e-9
            assert box.label == NUSCENES_CATEGORY[NAMES[expected.material].nuscenes_category]
            tracks.setdefault(expected.track, set()).add(box.track)
    assert all(len(names) == 1 for names in tracks.values())
    assert len(set.union(*tracks.values())) == len(tracks)


def test_occupancy_and_masks_come_back(root: Path, scenes) -> None:
    label, truth = NuScenesSource(root, "val")[0].occupancy(), scenes["scene-0003"][0]
    assert np.array_equal(label.semantics, OCC3D_NUSCENES[file_ids("occ3d_nuscenes")[truth.occupancy]])
    assert np.array_equal(label.camera_mask, truth.camera_mask)
    assert np.array_equal(label.lidar_mask, truth.lidar_mask)


def test_chains_of_recordings_and_annotations_are_whole(root: Path) -> None:
    for table, owner in (("sample_data", "calibrated_sensor_token"), ("sample_annotation", "instance_token")):
        rows = {row["token"]: row for row in json.loads((root / "v1.0-trainval" / f"{table}.json").read_text())}
        assert all(rows[row["next"]]["prev"] == token for token, row in rows.items() if row["next"])
        starts = [row for row in rows.values() if not row["prev"]]
        assert len(starts) == len({row[owner] for row in rows.values()})
    instances = json.loads((root / "v1.0-trainval" / "instance.json").read_text())
    assert sum(row["nbr_annotations"] for row in instances) == len(rows)


def test_a_scene_is_written_the_same_whenever(six_scene, tmp_path: Path) -> None:
    digests = []
    for folder in ("a", "b"):
        tables = write_scene(iter(six_scene("scene-0009")), tmp_path / folder)
        write_tables([tables], {"train": ["scene-0009"]}, tmp_path / folder)
        files = sorted(p for p in (tmp_path / folder).rglob("*") if p.is_file())
        digests.append([(p.relative_to(tmp_path / folder), hashlib.md5(p.read_bytes()).digest()) for p in files])
    assert digests[0] == digests[1]
    assert len(digests[0]) == 3 * (6 * 3 + 3) + 14 + 2


def test_a_rig_that_changes_within_a_scene_is_refused(six_scene, tmp_path: Path) -> None:
    first, second, _ = six_scene()
    front = replace(second.cameras[0], intrinsics=second.cameras[0].intrinsics + np.diag([1, 0, 0]))
    with pytest.raises(ValueError, match="CAM_FRONT changes"):
        write_scene([first, replace(second, cameras=(front,))], tmp_path)
