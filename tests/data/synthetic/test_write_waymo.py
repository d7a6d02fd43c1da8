from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ugocc.data.images import read_png
from ugocc.data.synthetic.encode import lidar_points
from ugocc.data.synthetic.rendered import RenderedFrame
from ugocc.data.synthetic.vocabulary import NAMES, file_ids
from ugocc.data.synthetic.waymo_columns import SCHEMAS
from ugocc.data.synthetic.write_waymo import write_segment
from ugocc.data.waymo import WaymoSource
from ugocc.geometry.rigid import inverse, transform, yaw_matrix
from ugocc.labels import OCC3D_WAYMO, WAYMO_2D

BOX_CLASS = {1: 1, 2: 2, 3: 7, 4: 8}
NAMES_OF_SEGMENTS = ("100_0_000_20_000", "200_0_000_20_000")


@pytest.fixture(scope="module")
def segments(five_scene) -> list[list[RenderedFrame]]:
    return [five_scene(name) for name in NAMES_OF_SEGMENTS]


@pytest.fixture(scope="module")
def root(segments, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("five")
    for position, frames in enumerate(segments):
        write_segment(iter(frames), root, "val", position)
    return root


def test_everything_comes_back_through_the_reader(root: Path, segments) -> None:
    source = WaymoSource(root, "val")
    rendered = [frame for frames in segments for frame in frames]
    assert len(source) == len(rendered)
    for frame, truth in zip(source, rendered, strict=True):
        assert (frame.scene, frame.timestamp_us) == (truth.scene, truth.timestamp_us)
        assert np.array_equal(frame.world_T_ego, truth.world_T_ego)
        assert [c.name for c in frame.cameras] == [c.name for c in truth.cameras]
        for view, camera in zip(frame.cameras, truth.cameras, strict=True):
            assert view.timestamp_us == camera.timestamp_us
            assert np.array_equal(view.distortion, np.zeros(5))
            assert np.abs(view.intrinsics - camera.intrinsics).max() < 1e-12
            assert np.abs(view.ego_T_camera - camera.ego_T_camera).max() < 1e-12
            assert np.array_equal(view.world_T_ego, camera.world_T_ego)
            assert np.abs(view.image().astype(int) - camera.image).mean() < 2
            assert np.array_equal(view.semantics(), WAYMO_2D[file_ids("waymo_2d")[camera.materials]])
        label = frame.occupancy()
        assert np.array_equal(label.semantics, OCC3D_WAYMO[file_ids("occ3d_waymo")[truth.occupancy]])
        assert np.array_equal(label.camera_mask, truth.camera_mask)
        assert np.array_equal(label.lidar_mask, truth.lidar_mask)


def test_points_come_back(root: Path, segments) -> None:
    for frame, truth in zip(WaymoSource(root, "val"), segments[0] + segments[1], strict=True):
        points = frame.lidar.points()
        in_ego = transform(frame.ego_T_lidar(frame.lidar), points[:, :3])
        expected = transform(truth.lidar.ego_T_lidar, lidar_points(truth.lidar))
        intensity = truth.lidar.intensity[truth.lidar.ranges > 0]
        # The columns start elsewhere; intensities are all different and tell which point is which.
        ours, theirs = np.argsort(points[:, 3]), np.argsort(intensity)
        assert np.array_equal(points[ours, 3], intensity[theirs])
        # The pose of every pixel is float32, 300 m from the origin.
        assert np.abs(in_ego[ours] - expected[theirs]).max() < 1e-3


def test_boxes_come_back(root: Path, segments) -> None:
    for frame, truth in zip(WaymoSource(root, "val"), segments[0] + segments[1], strict=True):
        rendered = [box for box in truth.boxes if NAMES[box.material].waymo_box]
        assert 0 < len(rendered) < len(truth.boxes)
        assert len(frame.boxes) == len(rendered)
        for box, expected in zip(frame.boxes, rendered, strict=True):
            ego_T_box = inverse(truth.world_T_ego) @ expected.world_T_box
            assert np.abs(np.array(box.centre) - ego_T_box[:3, 3]).max() < 1e-9
            assert box.size == expected.size
            assert abs(box.yaw - np.arctan2(ego_T_box[1, 0], ego_T_box[0, 0])) < 1e-9
            assert box.label == BOX_CLASS[NAMES[expected.material].waymo_box]


def test_depth_and_field_of_view_are_written(root: Path, segments) -> None:
    truth = segments[1][2]
    folder = root / "depth" / "validation" / truth.scene
    depth = read_png(folder / f"{truth.timestamp_us}_4.png")
    assert depth.shape == (20, 48)
    assert np.abs(depth * 0.01 - truth.cameras[3].depth).max() <= 0.0051
    with np.load(root / "occ3d" / "validation" / "001" / "002_04.npz") as stored:
        assert np.array_equal(stored["infov"], truth.in_view)
        assert (stored["voxel_label"] == 23).sum() > 0.9 * stored["voxel_label"].size


def test_columns_are_those_of_the_release(root: Path, real_data: Path) -> None:
    for component, schema in SCHEMAS.items():
        (first, _) = sorted((root / "validation" / component).iterdir())
        assert pq.read_schema(first).remove_metadata() == schema
        assert first.stem == NAMES_OF_SEGMENTS[0]
    (real,) = (real_data / "waymo" / "v2" / "vehicle_pose").iterdir()
    official = pq.read_schema(real)
    ours = SCHEMAS["vehicle_pose"]
    assert ours.names == official.names
    assert [ours.field(n).type for n in ours.names[:2]] == [official.field(n).type for n in ours.names[:2]]
    assert official.field(2).type == pa.list_(pa.float32(), 16)  # an early export; the dataset's code says float64
    assert ours.field(2).type == pa.list_(pa.float64(), 16)


def test_frames_lie_in_row_groups_of_their_own(root: Path) -> None:
    for component, rows in (("camera_image", 5), ("camera_segmentation", 5), ("lidar", 1), ("lidar_pose", 1)):
        metadata = pq.read_metadata(root / "validation" / component / f"{NAMES_OF_SEGMENTS[0]}.parquet")
        assert metadata.num_row_groups == 3
        assert metadata.row_group(1).num_rows == rows


def test_a_segment_is_written_the_same_whenever(five_scene, tmp_path: Path) -> None:
    digests = []
    for folder in ("a", "b"):
        write_segment(five_scene("300_0_000_20_000"), tmp_path / folder, "train", 7)
        files = sorted(p for p in (tmp_path / folder).rglob("*") if p.is_file())
        digests.append([(p.relative_to(tmp_path / folder), hashlib.md5(p.read_bytes()).digest()) for p in files])
    assert digests[0] == digests[1]
    assert len(digests[0]) == len(SCHEMAS) + 3 * (5 + 1)


def test_a_lidar_turned_by_half_a_column_is_refused(five_scene, tmp_path: Path) -> None:
    frame = five_scene()[0]
    lidar = replace(frame.lidar, ego_T_lidar=yaw_matrix(np.deg2rad(5)))
    with pytest.raises(ValueError, match=r"turned by 0\.500 columns"):
        write_segment([replace(frame, lidar=lidar)], tmp_path, "train", 0)
