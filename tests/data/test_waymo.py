from __future__ import annotations

import pickle
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from made_waymo import replace_column, write_tiny
from real_fleets import transforms, write_component

from ugocc.data import waymo
from ugocc.data.synthetic.encode import png_bytes
from ugocc.data.synthetic.write_waymo import write_segment
from ugocc.data.waymo import WaymoSource, read_occupancy
from ugocc.errors import DataError
from ugocc.geometry.camera import project
from ugocc.geometry.rigid import inverse, transform, yaw_matrix
from ugocc.labels import FREE

SEGMENTS = ("100_0_000_20_000", "200_0_000_20_000")


@pytest.fixture(scope="module")
def made(five_scene, tmp_path_factory) -> Path:
    """Two segments of seven and three rendered frames, written by the writer of the embedded fleet."""
    root = tmp_path_factory.mktemp("made")
    for position, (segment, frames) in enumerate(zip(SEGMENTS, (7, 3), strict=True)):
        write_segment(five_scene(segment, frames), root, "train", position)
    return root


@pytest.fixture
def copy(made, tmp_path) -> Path:
    """A copy to break."""
    return shutil.copytree(made, tmp_path / "copy")


def test_frames_come_segment_after_segment_in_time_order(made, five_scene):
    source = WaymoSource(made)
    assert len(source) == 10
    assert [f.token for f in source] == source.tokens
    assert [f.scene for f in source] == [SEGMENTS[0]] * 7 + [SEGMENTS[1]] * 3
    times = [f.timestamp_us for f in source]
    assert times[:7] == [f.timestamp_us for f in five_scene(SEGMENTS[0], 7)]
    assert source.tokens[0] == f"{SEGMENTS[0]}_{times[0]}"
    assert (source[0].previous, source[0].next) == (None, source.tokens[1])
    assert (source[6].previous, source[6].next) == (source.tokens[5], None)
    assert source[7].previous is None
    assert source[-1].token == source.tokens[-1]
    with pytest.raises(IndexError):
        source[10]
    source.check()


def test_every_third_frame_is_linked_to_the_kept_ones_and_keeps_its_label(made):
    whole, thin = WaymoSource(made), WaymoSource(made, every=3)
    assert thin.tokens == [whole.tokens[i] for i in (0, 3, 6, 7)]
    assert [f.next for f in thin] == [thin.tokens[1], thin.tokens[2], None, None]
    assert [f.previous for f in thin] == [None, thin.tokens[0], thin.tokens[1], None]
    assert np.array_equal(thin[1].occupancy().semantics, whole[3].occupancy().semantics)
    assert not np.array_equal(thin[1].occupancy().semantics, whole[1].occupancy().semantics)


def test_second_echoes_are_read_on_demand(tmp_path):
    at = {"frame_timestamp_micros": [5], "laser_name": pa.array([2], pa.int8())}
    write_tiny(tmp_path, [5])
    images = {
        f"range_image_return{k}.values": pa.array([[10.0 * k, 0.5, 0, 0] * 8], pa.list_(pa.float32())) for k in (1, 2)
    }
    shapes = {f"range_image_return{k}.shape": pa.array([[2, 4, 4]], pa.list_(pa.int32(), 3)) for k in (1, 2)}
    write_component(tmp_path / "training", "lidar", "s", "LiDAR", at, images | shapes)
    beams = {"min": [-0.4], "max": [0.2], "values": pa.array([None], pa.list_(pa.float64()))}
    calibration = {
        "extrinsic.transform": transforms([np.eye(4)]),
        **{f"beam_inclination.{k}": v for k, v in beams.items()},
    }
    keys = {"laser_name": at["laser_name"]}
    write_component(tmp_path / "training", "lidar_calibration", "s", "LiDARCalibration", keys, calibration)
    reach = [
        np.linalg.norm(WaymoSource(tmp_path, second_return=s)[0].lidar.points()[:, :3], axis=1) for s in (False, True)
    ]
    assert reach[0] == pytest.approx(np.full(8, 10))
    assert reach[1] == pytest.approx(np.repeat([10, 20], 8))


def test_occupancy_label_is_remapped_and_masks_keep_their_meaning(made, five_scene):
    truth = five_scene(SEGMENTS[0], 7)[4]
    occupancy = WaymoSource(made)[4].occupancy()
    assert np.array_equal(occupancy.camera_mask, truth.camera_mask)
    assert np.array_equal(occupancy.lidar_mask, truth.lidar_mask)
    inside = WaymoSource(made, infov=True)[4].occupancy()
    assert np.array_equal(inside.camera_mask, truth.camera_mask & truth.in_view)
    assert np.array_equal(inside.lidar_mask, truth.lidar_mask)


def test_every_raw_id_is_mapped_and_totals_are_kept(tmp_path):
    raw = np.resize(np.array([*range(15), 23], np.uint8), (200, 200, 16))
    ones = np.ones_like(raw)
    np.savez(tmp_path / "a.npz", voxel_label=raw, origin_voxel_state=ones, final_voxel_state=ones, infov=ones)
    semantics = read_occupancy(tmp_path / "a.npz").semantics
    counts = np.bincount(semantics.ravel(), minlength=256)
    published = [6, 1, 2, 7, 8, 7, 6, 6, 8, 8, 3, 4, 4, 0, 5, 9]
    assert counts.tolist() == [published.count(c) * raw.size // 16 for c in range(256)]
    assert (semantics == FREE).sum() == (raw == 23).sum()


def test_labels_of_a_part_of_the_segments_need_the_list(made, copy):
    for component in (copy / "training").iterdir():
        (component / f"{SEGMENTS[0]}.parquet").unlink(missing_ok=True)
    frame = WaymoSource(copy)[0]
    with pytest.raises(
        DataError, match=r"segments\.txt: segments: found no file, and 2 folders of labels for 1 segments"
    ):
        frame.occupancy()
    (copy / "occ3d" / "training" / "segments.txt").write_text("\n".join(SEGMENTS))
    listed, whole = WaymoSource(copy)[0], WaymoSource(made)[7]
    assert listed.token == whole.token
    assert np.array_equal(listed.occupancy().semantics, whole.occupancy().semantics)


def test_labels_follow_the_list_of_segments(made, copy):
    labels = copy / "occ3d" / "training"
    (labels / "000").rename(labels / "other")
    (labels / "001").rename(labels / "000")
    (labels / "other").rename(labels / "002")
    (labels / "segments.txt").write_text(f"{SEGMENTS[1]}\nnot_downloaded\n{SEGMENTS[0]}\n")
    for moved, original in zip(WaymoSource(copy), WaymoSource(made), strict=True):
        assert np.array_equal(moved.occupancy().semantics, original.occupancy().semantics)
    (labels / "segments.txt").write_text("not_downloaded\n")
    with pytest.raises(DataError, match=r"segments\.txt.*none of this split"):
        WaymoSource(copy)
    # As other programs write a list: with a mark before it, in another encoding; and with a name too many.
    content = f"{SEGMENTS[1]}\nnot_downloaded\n{SEGMENTS[0]}\n"
    (labels / "segments.txt").write_text(content, encoding="utf-8-sig")
    assert all(frame.occupancy for frame in WaymoSource(copy))
    (labels / "segments.txt").write_text(content, encoding="utf-16")
    with pytest.raises(DataError, match=r"segments\.txt: encoding"):
        WaymoSource(copy)
    (labels / "segments.txt").write_text(f"{SEGMENTS[1]}\n{content}")
    with pytest.raises(DataError, match=r"segments\.txt: segments: found .* twice"):
        WaymoSource(copy)


def test_labels_may_lie_elsewhere_and_may_be_missing(made, copy, tmp_path):
    shutil.move(copy / "occ3d", tmp_path / "labels")
    assert all(frame.occupancy is None for frame in WaymoSource(copy))
    (tmp_path / "labels" / "training" / "000" / "002_04.npz").unlink()
    there = [frame.occupancy is not None for frame in WaymoSource(copy, occupancy=tmp_path / "labels")]
    assert there == [True, True, False] + [True] * 7


def test_optional_components_may_be_missing(copy):
    for component in ("lidar", "lidar_pose", "lidar_calibration", "lidar_box", "camera_segmentation", "stats"):
        shutil.rmtree(copy / "training" / component)
    frame = WaymoSource(copy)[0]
    assert frame.lidar is None
    assert frame.boxes == ()
    assert all(camera.semantics is None and camera.image().size for camera in frame.cameras)


def test_the_turning_laser_needs_the_poses_of_its_pixels(copy):
    shutil.rmtree(copy / "training" / "lidar_pose")
    with pytest.raises(DataError, match=r"lidar_pose.*no row of laser 1 at \d+, expected the vehicle's poses"):
        WaymoSource(copy)[0]


@pytest.mark.parametrize("component", ["camera_image", "camera_calibration", "vehicle_pose"])
def test_a_required_component_that_is_missing_is_named(copy, component):
    path = copy / "training" / component / f"{SEGMENTS[1]}.parquet"
    path.unlink()
    with pytest.raises(DataError) as error:
        WaymoSource(copy)
    assert error.value.where == str(path)
    assert error.value.field == component


def test_wrong_splits_say_what_was_looked_for(made):
    with pytest.raises(DataError, match=r"validation.*no segments"):
        WaymoSource(made, "val")
    with pytest.raises(DataError, match="one of train, val, test"):
        WaymoSource(made, "training")
    with pytest.raises(DataError, match="every"):
        WaymoSource(made, every=0)


def test_frames_pickle_and_read_the_same(made):
    frame = WaymoSource(made)[0]
    again = pickle.loads(pickle.dumps(frame))
    assert np.array_equal(again.cameras[3].image(), frame.cameras[3].image())
    assert np.array_equal(again.lidar.points(), frame.lidar.points())


def test_the_order_of_rows_on_disk_does_not_matter(made, copy):
    for component in ("camera_image", "lidar", "vehicle_pose", "camera_segmentation", "camera_calibration"):
        path = copy / "training" / component / f"{SEGMENTS[0]}.parquet"
        rows = pq.read_table(path)
        pq.write_table(rows.take(np.random.default_rng(3).permutation(len(rows))), path, row_group_size=3)
    for shuffled, frame in zip(WaymoSource(copy), WaymoSource(made), strict=True):
        assert shuffled.token == frame.token
        for a, b in zip(shuffled.cameras, frame.cameras, strict=True):
            assert a.name == b.name
            assert np.array_equal(a.image(), b.image())
            assert np.array_equal(a.semantics(), b.semantics())
        assert np.array_equal(shuffled.lidar.points(), frame.lidar.points())


def test_projection_agrees_with_the_numbers_of_waymos_own_camera_test(tmp_path):
    # third_party/camera/camera_model_test.cc of waymo-open-dataset, test GlobalShutter: the pixel (100, 1000), counted
    # from the edge of the image, at a depth of 20 m is the point (21.44064, 8.32240, -1.62938) of the vehicle frame.
    lens = [0.032316008498, -0.321412482553, 0.000793258395371, -0.000625749354133, 0.0]
    intrinsics = [2055.55614936, 2055.55614936, 939.657469886, 641.072182194, *lens]
    extrinsic = [
        [0.999892684989, -0.00599320840002, 0.0133678704017, 1.53891424471],
        [0.00604223652133, 0.999975156055, -0.0036302411765, -0.0236339408393],
        [-0.0133457814992, 0.00371062343188, 0.999904056092, 2.11527057298],
        [0, 0, 0, 1],
    ]
    write_tiny(tmp_path, [5], intrinsics=intrinsics, extrinsic=extrinsic, size=(1920, 1280))
    (camera,) = WaymoSource(tmp_path)[0].cameras
    point = transform(inverse(camera.ego_T_camera), np.array([21.44064, 8.32240, -1.62938]))
    pixel, depth = project(point, camera.intrinsics, camera.distortion)
    assert depth == pytest.approx(20, abs=1e-3)
    assert pixel == pytest.approx([99.5, 999.5], abs=0.01)
    without, _ = project(point, camera.intrinsics)
    assert np.abs(without - pixel).max() > 4


def test_any_cameras_may_be_there_and_come_in_the_order_of_the_rig(tmp_path):
    write_tiny(tmp_path, [5], cameras=(5, 1, 4))
    assert [c.name for c in WaymoSource(tmp_path)[0].cameras] == ["FRONT", "SIDE_LEFT", "SIDE_RIGHT"]


def test_a_frame_without_pictures_is_an_error_when_asked_for(tmp_path):
    write_tiny(tmp_path, [5, 9])
    path = tmp_path / "training" / "camera_image" / "s.parquet"
    pq.write_table(pq.read_table(path).slice(0, 1), path)
    source = WaymoSource(tmp_path)
    assert source[0].cameras
    with pytest.raises(DataError, match="no row of 9"):
        source.check()


def test_poses_far_from_the_origin_keep_every_bit_that_is_stored(tmp_path):
    far = yaw_matrix(0.7, (-25211.258911955, 42391.081328606, -160.618))
    write_tiny(tmp_path / "double", [5], poses=[far])
    write_tiny(tmp_path / "single", [5], poses=[far], kind=pa.float32())
    assert np.array_equal(WaymoSource(tmp_path / "double")[0].world_T_ego, far)
    rounded = WaymoSource(tmp_path / "single")[0].world_T_ego
    assert rounded.dtype == np.float64
    assert np.array_equal(rounded, far.astype(np.float32).astype(np.float64))


def test_a_pose_time_stored_in_too_few_bits_gives_way_to_the_key(tmp_path):
    time = 1553735853_462203
    write_tiny(tmp_path, [time])
    path = tmp_path / "training" / "camera_image" / "s.parquet"
    assert WaymoSource(tmp_path)[0].cameras[0].timestamp_us == pytest.approx(time, abs=1)
    replace_column(path, "[CameraImageComponent].pose_timestamp", lambda v: [float(np.float32(t)) for t in v])
    other = shutil.copytree(tmp_path / "training", tmp_path / "b" / "training").parent
    assert WaymoSource(other)[0].cameras[0].timestamp_us == time


def test_panoptic_ids_that_are_no_classes_are_unknown_and_do_not_wrap(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = np.array([[2, 28, 29, 255, 256 + 2, 300]], dtype=np.uint16) * 100 + 7
    monkeypatch.setattr(waymo, "_bytes", lambda *_: (png_bytes(raw), 100))
    assert waymo._read_semantics(Path("x"), (0, 0), (6, 1)).tolist() == [[1, 6, 255, 255, 255, 255]]
