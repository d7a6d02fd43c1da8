from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from scipy.spatial.transform import Rotation

from ugocc.data import nuscenes_cache, nuscenes_index
from ugocc.data.fleet import fleet_from_frames
from ugocc.data.nuscenes import NuScenesSource, read_lidarseg, read_occupancy, read_points, read_semantics
from ugocc.data.nuscenes_tables import table_rows
from ugocc.data.source import open_fleet
from ugocc.errors import DataError
from ugocc.geometry.camera import project
from ugocc.geometry.rigid import inverse, transform, yaw_matrix
from ugocc.labels import OCC3D_NUSCENES, UNKNOWN, lookup

SMALL = 64


@pytest.fixture
def root(real_nuscenes_root: Path, tmp_path: Path) -> Path:
    """A copy of the real frames' folder whose tables a test may spoil."""
    return shutil.copytree(real_nuscenes_root, tmp_path / "nuscenes", symlinks=True, ignore=lambda *_: [".ugocc"])


def change(root: Path, table: str, edit: Callable[[list[dict[str, Any]]], object]) -> None:
    file = root / "v1.0-mini" / f"{table}.json"
    rows = json.loads(file.read_text())
    edit(rows)
    file.write_text(json.dumps(rows))


def frame_json(real_data: Path, token: str) -> dict[str, Any]:
    for file in (real_data / "nuscenes").glob("*/frame.json"):
        frame = json.loads(file.read_text())
        if frame["sample_token"] == token:
            return frame
    raise AssertionError(token)


def test_frames_of_a_split_in_order_with_their_chain(real_nuscenes_root: Path) -> None:
    val = NuScenesSource(real_nuscenes_root, "val")
    assert len(val) == 2
    first, second = val
    assert [first.scene, second.scene] == ["scene-0103", "scene-0103"]
    assert first.timestamp_us < second.timestamp_us
    assert (first.previous, first.next) == (None, second.token)
    assert (second.previous, second.next) == (first.token, None)
    assert val.tokens == [first.token, second.token]
    assert val[-1].token == second.token
    with pytest.raises(IndexError):
        val[2]
    train = NuScenesSource(real_nuscenes_root, "train", fleet="boston")
    assert [frame.scene for frame in train] == ["scene-0061"]
    assert train[0].fleet == "boston"
    assert len(train[0].cameras) == 6
    train.check()
    val.check()


def rigid(matrix: Any) -> np.ndarray:
    """The matrix with the nearest rotation: frame.json rounds, and was partly made from 32-bit numbers."""
    out = np.array(matrix)
    left, _, right = np.linalg.svd(out[:3, :3])
    out[:3, :3] = left @ right
    return out


def test_lidar_reaches_every_image_as_frame_json_says(real_data: Path, real_nuscenes_root: Path) -> None:
    for split in ("train", "val"):
        frame = NuScenesSource(real_nuscenes_root, split)[0]
        truth = frame_json(real_data, frame.token)
        points = frame.lidar.points()[:, :3].astype(np.float64)
        homogeneous = np.c_[points, np.ones(len(points))]
        assert len(points) > 30_000
        for view in frame.cameras:
            camera = next(c for c in truth["cameras"] if c["name"] == view.name)
            chain = (
                np.linalg.inv(rigid(camera["T_world_ego"]) @ rigid(camera["T_ego_cam"]))
                @ rigid(truth["T_world_ego"])
                @ rigid(truth["lidar"]["T_ego_lidar"])
            )
            expected = (homogeneous @ chain.T)[:, :3]
            ours = transform(inverse(frame.ego_T_camera(view)) @ frame.ego_T_lidar(frame.lidar), points)
            assert np.abs(ours - expected).max() < 1e-6
            if "T_cam_lidar" in camera:  # given by whoever exported the frame
                given = (homogeneous @ np.array(camera["T_cam_lidar"]).T)[:, :3]
                assert np.abs(ours - given).max() < 1e-5
            pixels, depth = project(ours, view.intrinsics)
            inside = (depth > 5.0) & (pixels >= 0).all(axis=1) & (pixels[:, 0] < 1600) & (pixels[:, 1] < 900)
            raw = expected[inside] @ np.array(camera["K"]).T
            assert inside.sum() > 500
            assert np.abs(pixels[inside] - raw[:, :2] / raw[:, 2:]).max() < 1e-4
            assert (view.width, view.height) == (1600, 900)
            assert view.image().shape == (900, 1600, 3)


def test_sweeps_carry_their_own_pose(real_nuscenes_root: Path) -> None:
    frame = NuScenesSource(real_nuscenes_root, "val")[0]
    (sweep,) = frame.sweeps
    assert sweep.timestamp_us == 1533151603997687
    assert sweep.labels is None
    # The folder's key points are this sweep moved by hand; both roads to the key ego frame must meet.
    by_pose = transform(frame.ego_T_lidar(sweep), sweep.points()[:, :3])
    key = transform(frame.ego_T_lidar(frame.lidar), frame.lidar.points()[:, :3])
    assert np.abs(by_pose - key).max() < 1e-4
    assert np.abs(by_pose - transform(frame.ego_T_lidar(frame.lidar), sweep.points()[:, :3])).max() > 0.1


def test_boxes_arrive_in_the_key_ego_frame(real_data: Path, real_nuscenes_root: Path) -> None:
    for split in ("train", "val"):
        for frame in NuScenesSource(real_nuscenes_root, split):
            truth = frame_json(real_data, frame.token)["boxes_3d"]
            assert len(frame.boxes) == len(truth) > 0
            for box, expected in zip(frame.boxes, truth, strict=True):
                assert np.abs(np.subtract(box.centre, expected["center_ego"])).max() < 2e-6
                assert box.size == tuple(expected["size_lwh"])
                assert abs(np.angle(np.exp(1j * (box.yaw - expected["yaw_ego"])))) < 1e-6
                if expected["name"] == "pedestrian":
                    assert box.label == 2
    assert {b.label for b in NuScenesSource(real_nuscenes_root, "train")[0].boxes} >= {1, 2, 6, 7, 8, UNKNOWN}


def test_points_in_a_box_are_as_many_as_annotated(real_nuscenes_root: Path) -> None:
    frame = NuScenesSource(real_nuscenes_root, "train")[0]
    points = transform(frame.ego_T_lidar(frame.lidar), frame.lidar.points()[:, :3])
    inside = []
    for box in frame.boxes:
        local = transform(inverse(yaw_matrix(box.yaw, box.centre)), points)
        inside.append(int((np.abs(local) <= np.array(box.size) / 2).all(axis=1).sum()))
    annotated = json.loads((Path(frame.lidar.source).parents[2] / "v1.0-mini" / "sample_annotation.json").read_text())
    counts = [row["num_lidar_pts"] for row in annotated if row["sample_token"] == frame.token]
    assert np.mean(np.abs(np.subtract(inside, counts)) <= 1) > 0.9


def test_index_is_made_once_and_again_when_a_table_changes(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    NuScenesSource(root, "train")
    index = root / ".ugocc" / "v1.0-mini.parquet"
    assert index.exists()
    with monkeypatch.context() as patch:
        patch.setattr(nuscenes_cache, "build_index", lambda _: pytest.fail("index built twice"))
        assert NuScenesSource(root, "train")[0].scene == "scene-0061"
    change(root, "scene", lambda rows: rows[0].update(name="scene-0999"))
    assert NuScenesSource(root, "train")[0].scene == "scene-0999"
    index.write_bytes(index.read_bytes()[:1000])
    assert NuScenesSource(root, "train")[0].scene == "scene-0999"
    assert pq.read_table(index).num_rows == 3


def test_index_goes_to_the_home_cache_where_the_folder_cannot_be_written(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    (root / ".ugocc").write_text("in the way")  # as unwritable, but also for the super-user
    NuScenesSource(root, "train")
    (kept,) = (tmp_path / "home" / "ugocc").iterdir()
    assert kept.name.startswith("v1.0-mini-")
    monkeypatch.setattr(nuscenes_cache, "build_index", lambda _: pytest.fail("index built twice"))
    NuScenesSource(root, "val")


def test_several_may_make_the_index_at_once(root: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        sources = list(pool.map(lambda _: NuScenesSource(root, "val"), range(8)))
    assert all(source.tokens == sources[0].tokens for source in sources)
    assert [file.name for file in (root / ".ugocc").iterdir()] == ["v1.0-mini.parquet"]


def test_source_and_frames_survive_pickling(real_nuscenes_root: Path) -> None:
    source = pickle.loads(pickle.dumps(NuScenesSource(real_nuscenes_root, "val")))
    frame = pickle.loads(pickle.dumps(source[0]))
    assert frame.lidar.points().shape[1] == 4


def test_splits_file_decides(root: Path) -> None:
    (root / "splits.json").write_text(json.dumps({"train": ["scene-0103"], "val": [], "test": ["scene-0061"]}))
    assert NuScenesSource(root, "test")[0].scene == "scene-0061"
    assert len(NuScenesSource(root, "train")) == 2
    with pytest.raises(DataError, match=r"no scene for 'val'.*train \(1 scenes\), test \(1 scenes\).*scene-0061"):
        NuScenesSource(root, "val")
    (root / "splits.json").write_text(json.dumps({"train": ["scene-0007"]}))
    with pytest.raises(DataError, match=r"splits\.json: train: found scene 'scene-0007'"):
        NuScenesSource(root, "train")
    (root / "splits.json").write_text("{")
    with pytest.raises(DataError, match=r"splits\.json"):
        NuScenesSource(root, "train")


def test_a_folder_without_tables_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no folder v1"):
        NuScenesSource(tmp_path)
    with pytest.raises(DataError, match=r"v1\.0-mini.scene\.json"):
        NuScenesSource(tmp_path, version="v1.0-mini")


@pytest.mark.parametrize("table", ["sample", "sample_data", "calibrated_sensor", "sensor", "ego_pose"])
def test_a_missing_table_is_named(root: Path, table: str) -> None:
    (root / "v1.0-mini" / f"{table}.json").unlink()
    with pytest.raises(DataError, match=rf"{table}\.json: table: found no file"):
        NuScenesSource(root, "train")


@pytest.mark.parametrize(
    ("table", "field", "value", "message"),
    [
        ("sample", "scene_token", "nowhere", r"sample\.json: scene_token: found token 'nowhere'"),
        ("sample", "next", "nowhere", r"sample\.json: next: found token 'nowhere'"),
        ("sample_data", "sample_token", "nowhere", r"sample_data\.json: sample_token: found token 'nowhere'"),
        ("sample_data", "ego_pose_token", "nowhere", r"sample_data\.json: ego_pose_token: found token 'nowhere'"),
        ("sample_data", "calibrated_sensor_token", "nowhere", r"sample_data\.json: calibrated_sensor_token"),
        ("calibrated_sensor", "sensor_token", "nowhere", r"calibrated_sensor\.json: sensor_token"),
        ("sample_annotation", "instance_token", "nowhere", r"sample_annotation\.json: instance_token"),
        ("instance", "category_token", "nowhere", r"instance\.json: category_token"),
        ("calibrated_sensor", "camera_intrinsic", [[0, 0, 0], [0, 0, 0], [0, 0, 1]], r"camera_intrinsic of token"),
        ("calibrated_sensor", "camera_intrinsic", [], r"camera_intrinsic of token"),
        ("calibrated_sensor", "rotation", [1, 1, 0, 0], r"calibrated_sensor\.json: rotation and .*norm 1\.414"),
        ("ego_pose", "rotation", [0, 0, 0, 0], r"ego_pose\.json: rotation and translation of token \w{32}"),
        ("ego_pose", "rotation", [1, 0, 0], r"ego_pose\.json: rotation"),
        ("ego_pose", "translation", [0, float("nan"), 0], r"ego_pose\.json: rotation and translation"),
        ("ego_pose", "rotation", ["1", 0, 0, 0], r"ego_pose\.json: row"),
        ("sample_annotation", "size", [1, 2], r"sample_annotation\.json: row"),
        ("sample_data", "filename", None, r"sample_data\.json: filename of token"),
        ("sample_data", "timestamp", "noon", r"v1\.0-mini: row"),
    ],
)
def test_inconsistent_tables_name_table_token_and_field(
    root: Path, table: str, field: str, value: object, message: str
) -> None:
    change(root, table, lambda rows: rows[0].update({field: value}))
    with pytest.raises(DataError, match=message):
        NuScenesSource(root, "train")


def test_a_missing_column_is_named(root: Path) -> None:
    change(root, "sample_data", lambda rows: [row.pop("is_key_frame") for row in rows])
    with pytest.raises(DataError, match=r"sample_data\.json: is_key_frame"):
        NuScenesSource(root, "train")


def test_a_key_frame_without_camera_is_named(root: Path) -> None:
    change(root, "sample_data", lambda rows: [row.update(is_key_frame=False) for row in rows[:6]])
    with pytest.raises(DataError, match="no key frame of a camera for 'ca9a282c"):
        NuScenesSource(root, "train")


def test_without_lidar_the_first_camera_gives_the_key_pose(root: Path) -> None:
    def without_lidar(rows: list[dict[str, Any]]) -> None:
        rows[:] = [row for row in rows if "LIDAR" not in row["filename"]]

    change(root, "sample_data", without_lidar)
    frame = NuScenesSource(root, "train")[0]
    assert frame.lidar is None
    assert np.array_equal(frame.world_T_ego, frame.cameras[0].world_T_ego)


def test_boxes_are_turned_as_scipy_turns_them_bit_by_bit() -> None:
    random = np.random.default_rng(0)
    quaternions = random.normal(size=(2, 5000, 4))
    quaternions /= np.linalg.norm(quaternions, axis=2, keepdims=True) * random.uniform(0.995, 1.005, (2, 5000, 1))
    half = np.sqrt(0.5)
    turns = [(1, 0, 0, 0), (half, 0, 0, half), (0, 0, 0, 1), (half, 0, 0, -half), (-1, 0, 0, 0), (0, 1, 0, 0)]
    quaternions[0, :36], quaternions[1, :36] = np.repeat(turns, 6, axis=0), np.tile(turns, (6, 1))
    box, ego = np.concatenate([quaternions, random.normal(size=(2, 5000, 3)) * 1000], axis=2)
    ego_R_world = Rotation.from_quat(ego[:, :4], scalar_first=True).inv()
    ahead = (ego_R_world * Rotation.from_quat(box[:, :4], scalar_first=True)).apply([1.0, 0.0, 0.0])
    centre, yaw = nuscenes_index._in_ego(box, ego)
    assert np.array_equal(centre, ego_R_world.apply(box[:, 4:] - ego[:, 4:]))
    assert np.array_equal(yaw, np.arctan2(ahead[:, 1], ahead[:, 0]))


def test_without_annotations_there_are_no_boxes(root: Path) -> None:
    for table in ("sample_annotation", "instance", "category"):
        (root / "v1.0-mini" / f"{table}.json").unlink()
    assert NuScenesSource(root, "train")[0].boxes == ()


def test_check_names_what_is_missing_and_how_much(root: Path) -> None:
    source = NuScenesSource(root, "val")
    next((root / "samples" / "CAM_BACK").glob("*1533151604037558.jpg")).unlink()
    lidar = next((root / "samples" / "LIDAR_TOP").glob("*1533151604048025.pcd.bin"))
    lidar.write_bytes(lidar.read_bytes()[:-3])
    with pytest.raises(DataError, match=r"CAM_BACK.*1533151604037558\.jpg: image: found no file \(and 1 other"):
        source.check()
    with pytest.raises(DataError, match="1533151604037558"):
        next(c for c in source[0].cameras if c.name == "CAM_BACK").image()
    with pytest.raises(DataError, match="multiple of 20"):
        source[0].lidar.points()


def test_sweeps_between_key_frames_may_be_missing(root: Path) -> None:
    shutil.rmtree(root / "sweeps")
    source = NuScenesSource(root, "val")
    assert not source[0].sweeps
    source.check()
    # Nor do they stand in the way of a copy in the layout of own fleets.
    manifest = fleet_from_frames(root / "own", source, "val")
    assert len(open_fleet(manifest.parent, "val")) == len(source)


def test_image_of_another_size_than_the_table_says(root: Path) -> None:
    change(root, "sample_data", lambda rows: [row.update(width=800) for row in rows if row["width"]])
    with pytest.raises(DataError, match="1600x900 pixels, expected 800x900"):
        NuScenesSource(root, "train")[0].cameras[0].image()


def test_lidarseg_goes_through_category_indices(root: Path) -> None:
    names = ["noise", "vehicle.car", "flat.driveable_surface", "static.manmade"]
    rows = [{"token": str(i), "name": name, "description": "", "index": i} for i, name in enumerate(names)]
    change(root, "category", lambda old: old.extend(rows))
    for row in json.loads((root / "v1.0-mini" / "category.json").read_text())[:1]:
        assert "index" not in row
    file = "lidarseg/v1.0-mini/x_lidarseg.bin"
    data = json.loads((root / "v1.0-mini" / "sample_data.json").read_text())
    lidar = next(row for row in data if "LIDAR" in row["filename"] and "1532402927647951" in row["filename"])
    table = [{"token": lidar["token"], "sample_data_token": lidar["token"], "filename": file}]
    (root / "v1.0-mini" / "lidarseg.json").write_text(json.dumps(table))
    with pytest.raises(DataError, match=r"category\.json: index"):
        NuScenesSource(root, "train")
    change(root, "category", lambda old: old.__setitem__(slice(None), [row for row in old if "index" in row]))
    for table in ("instance", "sample_annotation"):
        (root / "v1.0-mini" / f"{table}.json").unlink()
    sweep = NuScenesSource(root, "train")[0].lidar
    count = len(sweep.points())
    (root / file).parent.mkdir(parents=True)
    raw = np.arange(count).astype(np.uint8) % 5
    raw.tofile(root / file)
    assert np.array_equal(sweep.labels(), np.array([UNKNOWN, 1, 0, 3, UNKNOWN])[raw])
    raw[:-1].tofile(root / file)
    with pytest.raises(DataError, match=f"{count - 1} labels, expected {count}"):
        sweep.labels()


def test_semantics_2d_appear_where_the_file_exists(root: Path) -> None:
    folder = root / "semantics_2d" / "CAM_FRONT"
    folder.mkdir(parents=True)
    source = NuScenesSource(root, "train")
    front = next(c for c in source[0].cameras if c.name == "CAM_FRONT")
    assert front.semantics is None
    raw = np.zeros((900, 1600), np.uint8)
    raw[0, :3] = 1, 16, 255
    Image.fromarray(raw).save(folder / f"{Path(front.source).stem}.png")
    views = {c.name: c for c in source[0].cameras}
    assert views["CAM_BACK"].semantics is None
    assert views["CAM_FRONT"].semantics()[0, :4].tolist() == [1, 9, UNKNOWN, UNKNOWN]
    Image.fromarray(raw.astype(np.uint16)).save(folder / "deep.png")
    with pytest.raises(DataError, match="8-bit"):
        read_semantics(folder / "deep.png", (1600, 900))


def test_real_occupancy_label_keeps_its_totals(real_data: Path, root: Path) -> None:
    (original,) = (real_data / "occ3d").glob("*/labels.npz")
    frame = NuScenesSource(root, "train")[0]
    assert frame.occupancy is None
    place = root / "gts" / frame.scene / frame.token / "labels.npz"
    place.parent.mkdir(parents=True)
    place.symlink_to(original)
    source = NuScenesSource(root, "train")
    source.check()
    label = source[0].occupancy()
    raw = np.load(original)
    assert label.semantics.shape == (200, 200, 16)
    counts = np.bincount(raw["semantics"].ravel(), minlength=18)
    for target in range(10):
        assert (label.semantics == target).sum() == counts[OCC3D_NUSCENES[:18] == target].sum()
    assert label.camera_mask.sum() == raw["mask_camera"].sum()
    assert label.lidar_mask.sum() == raw["mask_lidar"].sum()
    with pytest.raises(DataError, match=r"labels\.npz: occupancy: found no file"):
        NuScenesSource(root, "val").check()
    with pytest.raises(DataError, match="no folder"):
        NuScenesSource(root, "val", occupancy=root / "elsewhere")


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda a: a.pop("mask_camera"), "mask_camera: found keys"),
        (lambda a: a.update(semantics=a["semantics"][:100]), r"semantics: found shape \(100, 200, 16\)"),
        (lambda a: a["semantics"].__setitem__((0, 0, 0), 18), r"semantics: found ids \[18\]"),
        (lambda a: a.update(semantics=a["semantics"].astype(np.int16) - 1), r"ids \[-1\]"),
        (lambda a: a.update(semantics=np.full((200, 200, 16), "free")), "semantics: found type <U4"),
        (lambda a: a.update(semantics=np.full((200, 200, 16), None)), "Object arrays"),
    ],
)
def test_bad_occupancy_labels_are_errors(
    tmp_path: Path, edit: Callable[[dict[str, Any]], object], message: str
) -> None:
    arrays = {key: np.zeros((200, 200, 16), np.uint8) for key in ("semantics", "mask_lidar", "mask_camera")}
    edit(arrays)
    np.savez(tmp_path / "labels.npz", **arrays)
    with pytest.raises(DataError, match=message):
        read_occupancy(tmp_path / "labels.npz")


def test_cut_or_missing_occupancy_files_are_errors(tmp_path: Path) -> None:
    file = tmp_path / "labels.npz"
    with pytest.raises(DataError, match=r"labels\.npz: file"):
        read_occupancy(file)
    zeros = np.zeros((200, 200, 16), np.uint8)
    np.savez_compressed(file, semantics=zeros, mask_lidar=zeros, mask_camera=zeros)
    whole = file.read_bytes()
    for broken in (b"", whole[: len(whole) // 2], whole[:90] + bytes(40) + whole[130:]):
        file.write_bytes(broken)
        with pytest.raises(DataError, match=r"labels\.npz: file"):
            read_occupancy(file)


def test_bad_points_are_errors(tmp_path: Path) -> None:
    file = tmp_path / "points.pcd.bin"
    points = np.arange(10, dtype=np.float32).reshape(2, 5)
    points.tofile(file)
    assert np.array_equal(read_points(file), points[:, :4])
    points[1, 2] = np.nan
    points.tofile(file)
    with pytest.raises(DataError, match="1 numbers not finite"):
        read_points(file)
    with pytest.raises(DataError, match="lidarseg: found No such file"):
        read_lidarseg(tmp_path / "no.bin", file, lookup({}))


def test_tables_are_streamed_whatever_their_layout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [{"token": f"t{i}", "text": 'a "]}, {[" é', "numbers": [i, -1.5e-3]} for i in range(50)]
    monkeypatch.setattr("ugocc.data.nuscenes_tables._CHUNK", SMALL)  # many chunks, cut anywhere
    for indent in (None, 0, 4):
        file = tmp_path / "table.json"
        file.write_text(json.dumps(rows, indent=indent), encoding="utf-8")
        assert list(table_rows(file)) == rows
    for text, message in (
        ('[{"token": 1}', "row 1"),
        ("{}", "JSON array"),
        ('[{"a": }]', "row 0"),
        ("[1]", "an object"),
    ):
        file.write_text(text)
        with pytest.raises(DataError, match=message):
            list(table_rows(file))
    file.write_text("[]")
    assert list(table_rows(file)) == []
