from __future__ import annotations

import json
import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from ugocc.data import fleet_manifest
from ugocc.data.cache import Cache
from ugocc.data.fleet import FleetSource, fleet_from_frames
from ugocc.data.frame import Frame
from ugocc.data.synthetic.write_waymo import write_segment
from ugocc.data.waymo import WaymoSource
from ugocc.errors import DataError
from ugocc.geometry.rigid import BODY_T_OPTICAL, from_quaternion, to_quaternion, yaw_matrix
from ugocc.models.assemble import model_settings

EGO_T_CAMERA = yaw_matrix(0.3, (1.5, 0.1, 1.6)) @ BODY_T_OPTICAL
CAMERA: dict[str, Any] = {
    "name": "front",
    "image": "front.png",
    "width": 12,
    "height": 8,
    "intrinsics": {"fx": 10.0, "fy": 11.0, "cx": 5.5, "cy": 3.5},
    "ego_T_camera": EGO_T_CAMERA.ravel().tolist(),
}
FRAME: dict[str, Any] = {
    "token": "drive-0_000",
    "scene": "drive-0",
    "timestamp_us": 1_000_000,
    "world_T_ego": yaw_matrix(0.2, (12345.678901, -54321.987654, 3.25)).ravel().tolist(),
    "cameras": [CAMERA],
}


def write_fleet(root: Path, lines: list[dict[str, Any]], shared: dict[str, Any] | None = None) -> Path:
    root.mkdir(exist_ok=True)
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 255, (8, 12, 3)).astype(np.uint8)).save(root / "front.png")
    Image.fromarray(rng.integers(0, 255, (20, 30, 3)).astype(np.uint8)).save(root / "large.png")
    Image.fromarray(rng.choice(np.array([0, 1, 2, 9, 255], np.uint8), (8, 12))).save(root / "classes.png")
    Image.fromarray(((np.arange(96).reshape(8, 12) > 80) * 7).astype(np.uint8)).save(root / "car.png")
    (root / "manifest.jsonl").write_text("\n".join(json.dumps(line) for line in lines) + "\n")
    if shared is not None:
        (root / "fleet.json").write_text(json.dumps(shared))
    return root


def one(root: Path, shared: dict[str, Any] | None = None, **changes: Any) -> Frame:
    (frame,) = FleetSource(write_fleet(root, [FRAME | changes], shared))
    return frame


def with_camera(**changes: Any) -> dict[str, Any]:
    return {"cameras": [CAMERA | changes]}


def with_points(file: str) -> dict[str, Any]:
    return {"lidar": {"points": file, "ego_T_lidar": np.eye(4).tolist()}}


def test_the_smallest_line_makes_a_frame(tmp_path):
    frame = one(tmp_path / "my_cars")
    assert (frame.fleet, frame.scene, frame.token, frame.timestamp_us) == (
        "my_cars",
        "drive-0",
        "drive-0_000",
        1_000_000,
    )
    assert frame.world_T_ego.ravel().tolist() == FRAME["world_T_ego"]
    assert (frame.lidar, frame.occupancy, frame.boxes, frame.sweeps) == (None, None, (), ())
    (camera,) = frame.cameras
    assert camera.intrinsics.tolist() == [[10, 0, 5.5], [0, 11, 3.5], [0, 0, 1]]
    assert camera.distortion.tolist() == [0] * 5
    assert np.array_equal(camera.world_T_ego, frame.world_T_ego)
    assert np.allclose(frame.ego_T_camera(camera), EGO_T_CAMERA)
    assert camera.timestamp_us == frame.timestamp_us
    assert np.array_equal(camera.image(), np.array(Image.open(tmp_path / "my_cars" / "front.png")))
    assert camera.semantics is None
    assert camera.own_car is None


def test_every_way_to_write_a_matrix_means_the_same(tmp_path):
    quaternion, translation = to_quaternion(EGO_T_CAMERA).tolist(), EGO_T_CAMERA[:3, 3].tolist()
    ways = [
        {"ego_T_camera": EGO_T_CAMERA.tolist(), "intrinsics": [10, 0, 5.5, 0, 11, 3.5, 0, 0, 1]},
        {"ego_T_camera": {"rotation": quaternion, "translation": translation}},
        {"intrinsics": [[10, 0, 5.5], [0, 11, 3.5], [0, 0, 1]]},
    ]
    for i, way in enumerate(ways):
        (camera,) = one(tmp_path / str(i), **with_camera(**way)).cameras
        assert np.allclose(camera.ego_T_camera, EGO_T_CAMERA, atol=1e-12)
        assert camera.intrinsics.tolist() == [[10, 0, 5.5], [0, 11, 3.5], [0, 0, 1]]


def test_a_camera_has_its_own_pose_time_lens_and_masks(tmp_path):
    moved = yaw_matrix(0.25, (12346, -54321, 3.25))
    changes = {"world_T_ego": moved.tolist(), "timestamp_us": 1_040_000, "distortion": [0.1, -0.2, 0.001, 0.002, 0.0]}
    frame = one(tmp_path, **with_camera(**changes, semantics="classes.png", own_car="car.png"))
    (camera,) = frame.cameras
    assert np.array_equal(camera.world_T_ego, moved)
    assert camera.timestamp_us == 1_040_000
    assert camera.distortion.tolist() == changes["distortion"]
    assert set(np.unique(camera.semantics())) == {0, 1, 2, 9, 255}
    assert np.array_equal(camera.own_car(), np.arange(96).reshape(8, 12) > 80)


def test_a_fisheye_has_four_coefficients_and_stays_one_in_a_copy(tmp_path):
    source = FleetSource(write_fleet(tmp_path / "a", [FRAME | with_camera(fisheye=[0.1, -0.2, 0.01, 0])]))
    fleet_from_frames(tmp_path / "b", source)
    for (frame,) in (source, FleetSource(tmp_path / "b")):
        assert frame.cameras[0].distortion.tolist() == [0.1, -0.2, 0.01, 0]


@pytest.mark.parametrize("count", [1, 2, 7, 12])
def test_any_number_of_cameras_of_any_size(tmp_path, count):
    cameras = [
        CAMERA | {"name": f"c{i}", **({"image": "large.png", "width": 30, "height": 20} if i % 2 else {})}
        for i in range(count)
    ]
    frames = [
        FRAME | {"cameras": cameras},
        FRAME | {"token": "b", "timestamp_us": 2_000_000, "cameras": cameras[:1]},
    ]
    first, second = FleetSource(write_fleet(tmp_path, frames))
    assert [c.name for c in first.cameras] == [f"c{i}" for i in range(count)]
    assert [c.image().shape for c in first.cameras] == [(20, 30, 3) if i % 2 else (8, 12, 3) for i in range(count)]
    assert len(second.cameras) == 1


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("intrinsics", {"fx": -1.0, "fy": 11.0, "cx": 5.5, "cy": 3.5}, r"fleet\.json: rig\.front\.intrinsics: "),
        ("intrinsics", {"fx": "a", "fy": 11.0, "cx": 5.5, "cy": 3.5}, r"fleet\.json: rig\.front\.intrinsics\.fx: "),
        ("ego_T_camera", [2.0] * 16, r"fleet\.json: rig\.front\.ego_T_camera: "),
        (
            "ego_T_camera",
            {"rotation": [0, 0, 0, 0], "translation": [0, 0, 0]},
            r"fleet\.json: rig\.front\.ego_T_camera",
        ),
        ("width", "wide", r"fleet\.json: rig\.front\.width: "),
    ],
)
def test_what_is_wrong_in_the_rig_is_said_of_the_rig(tmp_path, key, value, message):
    with pytest.raises(DataError, match=message):
        one(
            tmp_path,
            {"rig": {"front": {key: value}}},
            cameras=[{k: v for k, v in CAMERA.items() if k != key}],
        )


def test_a_camera_that_the_rig_has_under_another_name(tmp_path):
    rig = {"frnt": {k: CAMERA[k] for k in ("width", "height", "intrinsics", "ego_T_camera")}}
    with pytest.raises(DataError, match=r"cameras\[0\]\.width: found nothing for front, .*whose rig has frnt"):
        one(tmp_path, {"rig": rig}, cameras=[{"name": "front", "image": "front.png"}])


def test_what_the_rig_says_need_not_be_said_again(tmp_path):
    rig = {"front": {k: CAMERA[k] for k in ("width", "height", "intrinsics", "ego_T_camera")} | {"own_car": "car.png"}}
    shared = {"name": "vans", "rig": rig, "lidar": {"ego_T_lidar": np.eye(4).tolist(), "columns": ["x", "y", "z"]}}
    np.save(tmp_path / "points.npy", np.ones((5, 3)))
    frame = one(tmp_path, shared, cameras=[{"name": "front", "image": "front.png"}], lidar={"points": "points.npy"})
    assert frame.fleet == "vans"
    assert np.array_equal(frame.cameras[0].ego_T_camera, EGO_T_CAMERA)
    assert frame.cameras[0].own_car().any()
    assert frame.lidar.points().tolist() == [[1, 1, 1, 0]] * 5
    other = one(
        tmp_path, shared, cameras=[{"name": "front", "image": "large.png", "width": 30, "height": 20}], lidar=None
    )
    assert other.cameras[0].width == 30
    assert FleetSource(tmp_path, fleet="mine")[0].fleet == "mine"


@pytest.mark.parametrize("kind", ["bin", "npy", "npz"])
def test_points_of_every_kind_of_file(tmp_path, kind):
    points = np.random.default_rng(0).normal(size=(40, 5)).astype(np.float32)
    path = tmp_path / f"points.{kind}"
    {
        "bin": lambda: points.tofile(path),
        "npy": lambda: np.save(path, points),
        "npz": lambda: np.savez(path, points=points),
    }[kind]()
    np.save(tmp_path / "labels.npy", np.arange(40, dtype=np.uint8) % 9)
    lidar = {"points": path.name, "columns": ["z", "ring", "x", "y", "intensity"], "labels": "labels.npy"}
    lidar |= {"ego_T_lidar": yaw_matrix(1.0, (0, 0, 2)).tolist(), "timestamp_us": 7}
    sweep = one(tmp_path, lidar=lidar, sweeps=[lidar | {"timestamp_us": 8}]).lidar
    assert np.array_equal(sweep.points(), points[:, [2, 3, 0, 4]])
    assert np.array_equal(sweep.labels(), np.arange(40) % 9)
    assert sweep.timestamp_us == 7
    assert np.array_equal(sweep.ego_T_lidar, yaw_matrix(1.0, (0, 0, 2)))


def test_boxes_and_occupancy(tmp_path):
    rng = np.random.default_rng(0)
    semantics = rng.choice(np.array([0, 3, 9, 255], np.uint8), (200, 200, 16))
    masks = {k: rng.random((200, 200, 16)) > 0.5 for k in ("camera_mask", "lidar_mask")}
    np.savez(tmp_path / "label.npz", semantics=semantics, **masks)
    box = {"label": "vehicle", "centre": [1, 2, 3], "size": [4, 2, 1.5], "yaw": 0.5, "track": "a"}
    frame = one(tmp_path, occupancy="label.npz", boxes=[box, box | {"label": 2, "track": None}])
    assert [(b.label, b.centre, b.size, b.yaw, b.track) for b in frame.boxes] == [
        (1, (1, 2, 3), (4, 2, 1.5), 0.5, "a"),
        (2, (1, 2, 3), (4, 2, 1.5), 0.5, ""),
    ]
    stored = frame.occupancy()
    assert np.array_equal(stored.semantics, semantics)
    assert np.array_equal(stored.camera_mask, masks["camera_mask"])
    assert np.array_equal(stored.lidar_mask, masks["lidar_mask"])


def scene_line(scene: str, time: int, **more: Any) -> dict[str, Any]:
    return FRAME | {"token": f"{scene}{time}", "scene": scene, "timestamp_us": time} | more


def test_scenes_in_order_of_the_file_and_frames_in_order_of_time(tmp_path):
    lines = [scene_line("b", 3), scene_line("a", 1), scene_line("b", 1), scene_line("a", 9), scene_line("b", 2)]
    source = FleetSource(write_fleet(tmp_path, lines))
    assert source.tokens == [f.token for f in source] == ["b1", "b2", "b3", "a1", "a9"]
    assert [f.next for f in source] == ["b2", "b3", None, "a9", None]
    assert [f.previous for f in source] == [None, "b1", "b2", None, "a1"]
    thin = FleetSource(tmp_path, every=2)
    assert [(f.previous, f.token, f.next) for f in thin] == [(None, "b1", "b3"), ("b1", "b3", None), (None, "a1", None)]
    assert source[-1].token == "a9"
    with pytest.raises(IndexError):
        source[5]


def test_a_frame_without_a_split_is_for_training(tmp_path):
    lines = [scene_line("a", 1), scene_line("a", 2, split="train"), scene_line("b", 1, split="val")]
    write_fleet(tmp_path, lines)
    assert FleetSource(tmp_path, "train").tokens == ["a1", "a2"]
    assert FleetSource(tmp_path, "val").tokens == ["b1"]
    assert len(FleetSource(tmp_path)) == 3
    with pytest.raises(DataError, match="2 in train, 1 in val, 0 in test, expected at least one frame in test"):
        FleetSource(tmp_path, "test")
    with pytest.raises(DataError, match="'validation', expected one of train, val, test"):
        FleetSource(tmp_path, "validation")


def test_a_parquet_manifest_is_the_same_as_lines(tmp_path):
    np.ones((5, 4), np.float32).tofile(tmp_path / "p.bin")
    lidar = {"points": "p.bin", "ego_T_lidar": np.eye(4).ravel().tolist()}
    second = FRAME | {"token": "b", "timestamp_us": 2, "split": "val", "cameras": [CAMERA | {"distortion": [0.1] * 5}]}
    lines = [
        FRAME | {"lidar": lidar, "boxes": [{"label": 1, "centre": [1, 2, 3], "size": [1, 1, 1], "yaw": 0.0}]},
        second,
    ]
    write_fleet(tmp_path, lines)
    before = [
        (f.token, f.next, f.world_T_ego.tolist(), f.boxes, f.cameras[0].distortion.tolist())
        for f in FleetSource(tmp_path)
    ]
    (tmp_path / "manifest.jsonl").unlink()
    pq.write_table(
        pa.Table.from_pylist([line | {"split": line.get("split")} for line in lines]), tmp_path / "manifest.parquet"
    )
    after = FleetSource(tmp_path)
    assert [
        (f.token, f.next, f.world_T_ego.tolist(), f.boxes, f.cameras[0].distortion.tolist()) for f in after
    ] == before
    assert len(FleetSource(tmp_path, "val")) == 1
    write_fleet(tmp_path, lines)
    with pytest.raises(DataError, match=r"manifest\.jsonl and manifest\.parquet"):
        FleetSource(tmp_path)


WRONG: dict[str, tuple[dict[str, Any], str, str]] = {
    "misspelt": ({"timestmap_us": 5}, "timestmap_us", "the key timestamp_us"),
    "misspelt in a camera": (with_camera(intrinsic=[1]), "cameras[0].intrinsic", "the key intrinsics"),
    "misspelt in a matrix": (
        with_camera(ego_T_camera={"rotation": [1, 0, 0, 0], "translaton": [0, 0, 0]}),
        "cameras[0].ego_T_camera.translaton",
        "the key translation",
    ),
    "no scene": ({"scene": None}, "scene", "a text"),
    "token with a slash": ({"token": "a/b"}, "token", "a file name"),
    "token that climbs": ({"token": ".."}, "token", "a file name"),
    "time as text": ({"timestamp_us": "5"}, "timestamp_us", "a whole number"),
    "time in seconds": ({"timestamp_us": 5.5}, "timestamp_us", "a whole number"),
    "split": ({"split": "training"}, "split", "one of train, val, test"),
    "no cameras": ({"cameras": []}, "cameras", "at least one camera"),
    "cameras as object": ({"cameras": {"front": {}}}, "cameras", "a list of objects"),
    "twins": ({"cameras": [CAMERA, CAMERA]}, "cameras", "a name of its own"),
    "no pose": ({"world_T_ego": None}, "world_T_ego", "16 numbers"),
    "short pose": ({"world_T_ego": [1.0] * 12}, "world_T_ego", "16 numbers"),
    "ragged pose": ({"world_T_ego": [[1, 0], [1]]}, "world_T_ego", "16 numbers"),
    "scaled pose": ({"world_T_ego": (2 * np.eye(4)).tolist()}, "world_T_ego", "last row 0 0 0 1"),
    "column-major pose": (
        {"world_T_ego": yaw_matrix(0.2, (5, 6, 7)).T.ravel().tolist()},
        "world_T_ego",
        "last row 0 0 0 1",
    ),
    "quaternion xyzw": (
        {"world_T_ego": {"rotation": [0, 0, 0.5, 2.0], "translation": [0, 0, 0]}},
        "world_T_ego.rotation",
        "a unit quaternion (w, x, y, z)",
    ),
    "focal length": (
        with_camera(intrinsics={"fx": 0, "fy": 1, "cx": 1, "cy": 1}),
        "cameras[0].intrinsics",
        "focal lengths above zero",
    ),
    "focal length as text": (
        with_camera(intrinsics={"fx": "10", "fy": 1, "cx": 1, "cy": 1}),
        "cameras[0].intrinsics.fx",
        "a finite number",
    ),
    "lens of four": (with_camera(distortion=[0.1, 0.2, 0, 0]), "cameras[0].distortion", "a list of 5 finite numbers"),
    "fisheye of five": (with_camera(fisheye=[0.1] * 5), "cameras[0].fisheye", "a list of 4 finite numbers"),
    "two lenses": (with_camera(fisheye=[0.1] * 4, distortion=[0] * 5), "cameras[0].fisheye", "one of them"),
    "no width": (with_camera(width=None), "cameras[0].width", "a whole number from 1"),
    "no image": (with_camera(image="missing.png"), "cameras[0].image", "relative to the folder of the manifest"),
    "size": (with_camera(width=13), "image", "13x8 pixels"),
    "class ids": (with_camera(semantics="odd.png"), "semantics", "ids among [0, 1, 2"),
    "a picture as classes": (with_camera(semantics="front.png"), "map", "one channel"),
    "lidar without place": ({"lidar": {"points": "p.bin"}}, "lidar.ego_T_lidar", "16 numbers"),
    "lidar columns": (
        {"lidar": {"points": "p.bin", "ego_T_lidar": np.eye(4).tolist(), "columns": ["x", "y"]}},
        "lidar.columns",
        "x, y and z",
    ),
    "lidar file": (
        with_points("p.pcd"),
        "lidar.points",
        ".bin, .npy, .npz",
    ),
    "points of five": (
        with_points("five.bin"),
        "columns",
        "4 columns: x, y, z, intensity",
    ),
    "points that are none": (
        with_points("nan.bin"),
        "points",
        "metres",
    ),
    "labels of points": (
        {"lidar": {"points": "p.bin", "ego_T_lidar": np.eye(4).tolist(), "labels": "few.npy"}},
        "labels",
        "one per point",
    ),
    "half a number": (
        with_points("cut.bin"),
        "columns",
        "float32 in 4 columns",
    ),
    "words for points": (
        with_points("text.npy"),
        "points",
        "real numbers",
    ),
    "an npy called npz": (
        with_points("npy.npz"),
        "points",
        "an npz file with the key points",
    ),
    "an npy called npz for a label": ({"occupancy": "npy.npz"}, "file", "an undamaged npz file"),
    "a mask of words": ({"occupancy": "words.npz"}, "camera_mask", "only 0 and 1"),
    "a name too long": (with_camera(image="a" * 5000), "cameras[0].image", "a path relative"),
    "a singular matrix": (with_camera(intrinsics=[50, 50, 3, 50, 50, 3, 0, 0, 1]), "cameras[0].intrinsics", "singular"),
    "box class": ({"boxes": [{"label": "car"}]}, "boxes[0].label", "one of drivable surface, vehicle"),
    "box size": (
        {"boxes": [{"label": 1, "centre": [0, 0, 0], "size": [1, 2], "yaw": 0}]},
        "boxes[0].size",
        "a list of 3 finite numbers",
    ),
    "occupancy": ({"occupancy": "half.npz"}, "lidar_mask", "an array called lidar_mask"),
}


@pytest.mark.parametrize(("changes", "field", "expected"), WRONG.values(), ids=WRONG)
def test_an_error_names_line_field_found_and_expected(tmp_path, changes, field, expected):
    Image.fromarray(np.full((8, 12), 77, np.uint8)).save(tmp_path / "odd.png")
    points = np.ones((7, 4), np.float32)
    points.tofile(tmp_path / "p.bin")
    (tmp_path / "p.pcd").write_text("")
    np.ones((7, 5), np.float32).tofile(tmp_path / "five.bin")
    points[3, 1] = np.nan
    points.tofile(tmp_path / "nan.bin")
    np.save(tmp_path / "few.npy", np.zeros(6, np.uint8))
    zeros = np.zeros((200, 200, 16), np.uint8)
    np.savez(tmp_path / "half.npz", semantics=zeros, camera_mask=zeros)
    (tmp_path / "cut.bin").write_bytes(bytes(18))
    np.save(tmp_path / "text.npy", np.full((7, 4), "one"))
    with (tmp_path / "npy.npz").open("wb") as file:
        np.save(file, np.ones((7, 4)))
    words = np.full(zeros.shape, "no")
    np.savez(tmp_path / "words.npz", semantics=zeros, camera_mask=words, lidar_mask=zeros)
    lines = [FRAME | {"token": "first", "timestamp_us": 0}, FRAME | changes]
    write_fleet(tmp_path, lines)
    with pytest.raises(DataError) as error:
        read_everything(tmp_path)
    assert error.value.field == field
    assert expected in error.value.expected
    of_a_file = any(name in error.value.where for name in ("half.npz", "few.npy", "npy.npz", "words.npz"))
    assert of_a_file or "manifest.jsonl, line 2" in error.value.where


def read_everything(root: Path) -> None:
    for frame in FleetSource(root):
        for camera in frame.cameras:
            camera.image()
            if camera.semantics:
                camera.semantics()
        for sweep in (frame.lidar, *frame.sweeps):
            if sweep:
                sweep.points()
                if sweep.labels:
                    sweep.labels()
        if frame.occupancy:
            frame.occupancy()


def test_what_is_wrong_with_the_whole_file_is_said_before_any_frame(tmp_path):
    with pytest.raises(DataError, match=r"found none, expected one of manifest\.jsonl, manifest\.parquet"):
        FleetSource(tmp_path)
    write_fleet(tmp_path, [FRAME, FRAME])
    with pytest.raises(DataError, match="line 2: token: found drive-0_000, as in line 1"):
        FleetSource(tmp_path)
    write_fleet(tmp_path, [FRAME, FRAME | {"token": "b"}])
    with pytest.raises(DataError, match="line 2: timestamp_us: found 1000000, as in line 1"):
        FleetSource(tmp_path)
    write_fleet(tmp_path, [FRAME], {"rig": {"front": {"focal": 1}}})
    with pytest.raises(DataError, match=r"fleet\.json: rig\.front\.focal"):
        FleetSource(tmp_path)
    write_fleet(tmp_path, [FRAME], {})
    with (tmp_path / "manifest.jsonl").open("a") as file:
        file.write("\n{'token': 1}\n")
    with pytest.raises(DataError, match="line 3: content: found no JSON"):
        FleetSource(tmp_path)
    (tmp_path / "manifest.jsonl").write_bytes(b"\n\n")
    with pytest.raises(DataError, match="one line per frame"):
        FleetSource(tmp_path)
    (tmp_path / "manifest.jsonl").write_bytes(b"\xff\xfe")
    with pytest.raises(DataError, match="UTF-8"):
        FleetSource(tmp_path)


def test_a_copy_stays_in_its_folder_and_no_sweep_is_anothers_lidar(tmp_path):
    escaping = FleetSource(write_fleet(tmp_path / "a", [FRAME | with_camera(name="../../out")]))
    with pytest.raises(DataError, match=r"cameras\.name: found '\.\./\.\./out'"):
        fleet_from_frames(tmp_path / "deep" / "copy", escaping)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a"]
    for value in (1, 2):
        np.full((1, 4), value, np.float32).tofile(tmp_path / "a" / f"{value}.bin")
    lidar, sweep = ({"points": f"{value}.bin", "ego_T_lidar": np.eye(4).tolist()} for value in (1, 2))
    lines = [
        FRAME | {"token": token, "timestamp_us": time, "lidar": lidar, "sweeps": [sweep]}
        for time, token in enumerate(("a.0", "a"))
    ]
    fleet_from_frames(tmp_path / "b", FleetSource(write_fleet(tmp_path / "a", lines)))
    for frame in FleetSource(tmp_path / "b"):
        assert [s.points()[0, 0] for s in (frame.lidar, *frame.sweeps)] == [1, 2]


def test_a_line_may_have_another_lens_than_the_rig(tmp_path):
    rig = {"rig": {"front": {"distortion": [0.1, 0, 0, 0, 0]}}}
    assert one(tmp_path, rig).cameras[0].distortion.tolist() == [0.1, 0, 0, 0, 0]
    own = one(tmp_path, rig, **with_camera(fisheye=[0.2, 0, 0, 0])).cameras[0]
    assert own.distortion.tolist() == [0.2, 0, 0, 0]


def test_a_manifest_may_begin_with_a_byte_order_mark_and_a_damaged_table_is_named(tmp_path):
    write_fleet(tmp_path, [FRAME])
    manifest = tmp_path / "manifest.jsonl"
    manifest.write_bytes(b"\xef\xbb\xbf" + manifest.read_bytes())
    assert len(FleetSource(tmp_path)) == 1
    manifest.unlink()
    table = pa.table({"token": [f"{i:08d}" for i in range(4000)]})
    pq.write_table(table, tmp_path / "manifest.parquet", compression="snappy")
    data = bytearray((tmp_path / "manifest.parquet").read_bytes())
    data[100:1000] = bytes(900)
    (tmp_path / "manifest.parquet").write_bytes(data)
    with pytest.raises(DataError, match=r"manifest\.parquet: (content|file): "):
        FleetSource(tmp_path)


def test_what_is_kept_of_a_frame_does_not_depend_on_what_messages_call_it(tmp_path, monkeypatch):
    inputs = model_settings("flashocc", "debug").input
    cache = Cache(tmp_path / "cache", inputs)
    root = write_fleet(tmp_path / "fleet", [FRAME])
    key = cache.key(FleetSource(root)[0])
    manifest = root / "manifest.jsonl"
    manifest.write_text("\n\n" + manifest.read_text())
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link").symlink_to(root)
    for way in (root, Path("fleet"), Path("link")):
        assert cache.key(FleetSource(way, fleet="fleet")[0]) == key
    (root / "front.png").touch()
    assert cache.key(FleetSource(root)[0]) != key


def test_check_finds_a_file_that_is_missing_anywhere(tmp_path):
    source = FleetSource(write_fleet(tmp_path, [scene_line("a", t) for t in range(5)]))
    source.check()
    (tmp_path / "front.png").unlink()
    with pytest.raises(DataError, match=r"line 1: cameras\[0\]\.image: found no file"):
        source.check()


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.floats(-1, 1), min_size=4, max_size=4).filter(lambda q: np.linalg.norm(q) > 0.1),
    st.lists(st.floats(-1e5, 1e5), min_size=3, max_size=3),
)
def test_poses_survive_the_manifest_bit_for_bit(tmp_path_factory, quaternion, translation):
    pose = from_quaternion(np.array(quaternion) / np.linalg.norm(quaternion), translation)
    frame = one(tmp_path_factory.mktemp("pose"), world_T_ego=pose.ravel().tolist())
    assert np.array_equal(frame.world_T_ego, pose)


# --- writing ---


def same(a: Frame, b: Frame, picture_error: float = 0) -> None:
    assert (a.fleet, a.scene, a.token, a.timestamp_us, a.boxes) == (b.fleet, b.scene, b.token, b.timestamp_us, b.boxes)
    assert (a.previous, a.next) == (b.previous, b.next)
    assert np.array_equal(a.world_T_ego, b.world_T_ego)
    for x, y in zip(a.cameras, b.cameras, strict=True):
        assert (x.name, x.width, x.height, x.timestamp_us) == (y.name, y.width, y.height, y.timestamp_us)
        for field in ("intrinsics", "distortion", "ego_T_camera", "world_T_ego"):
            assert np.array_equal(getattr(x, field), getattr(y, field))
        assert np.abs(x.image().astype(int) - y.image()).mean() <= picture_error
        for mask in ("semantics", "own_car"):
            assert (getattr(x, mask) is None) == (getattr(y, mask) is None)
            if getattr(x, mask) is not None:
                assert np.array_equal(getattr(x, mask)(), getattr(y, mask)())
    for x, y in zip((a.lidar, *a.sweeps), (b.lidar, *b.sweeps), strict=True):
        assert np.array_equal(x.points(), y.points())
        assert np.array_equal(a.ego_T_lidar(x), b.ego_T_lidar(y))
        assert x.timestamp_us == y.timestamp_us
    for x, y in zip(a.occupancy(), b.occupancy(), strict=True):
        assert np.array_equal(x, y)


def test_a_converted_dataset_is_the_same_dataset(tmp_path, five_scene):
    write_segment(five_scene("300_0_000_20_000", 3), tmp_path / "waymo", "train", 0)
    original = WaymoSource(tmp_path / "waymo")
    fleet_from_frames(tmp_path / "exact", original, lossless=True)
    for a, b in zip(FleetSource(tmp_path / "exact", "train"), original, strict=True):
        same(a, b)
    fleet_from_frames(tmp_path / "small", original, split="val")
    for a, b in zip(FleetSource(tmp_path / "small", "val"), original, strict=True):
        same(a, b, picture_error=3)
    # Converting the converted copies the pictures as they are, so nothing gets worse.
    fleet_from_frames(tmp_path / "again", FleetSource(tmp_path / "small"))
    for a, b in zip(FleetSource(tmp_path / "again"), FleetSource(tmp_path / "small"), strict=True):
        same(a, b)
    with pytest.raises(DataError, match="none is overwritten"):
        fleet_from_frames(tmp_path / "again", original)
    for name in ("manifest.parquet", "fleet.json"):
        (other := tmp_path / name.replace(".", "_")).mkdir()
        (other / name).write_text("mine")
        with pytest.raises(DataError, match="none is overwritten"):
            fleet_from_frames(other, original)
        assert [(file.name, file.read_text()) for file in other.iterdir()] == [(name, "mine")]
    assert not list((tmp_path / "again").rglob("*.tmp"))
    pickle.loads(pickle.dumps(FleetSource(tmp_path / "again")))[0].cameras[0].image()


def test_sweeps_labels_and_own_car_are_written_too(tmp_path):
    np.ones((7, 4), np.float32).tofile(tmp_path / "p.bin")
    np.save(tmp_path / "l.npy", np.arange(7, dtype=np.uint8))
    np.savez(
        tmp_path / "o.npz", **{k: np.ones((200, 200, 16), np.uint8) for k in ("semantics", "camera_mask", "lidar_mask")}
    )
    lidar = {"points": "p.bin", "ego_T_lidar": np.eye(4).tolist(), "labels": "l.npy", "timestamp_us": 900_000}
    box = {"label": 8, "centre": [1, 2, 3], "size": [1, 1, 1], "yaw": 0.0}
    more = {"lidar": lidar, "sweeps": [lidar, lidar], "occupancy": "o.npz", "boxes": [box]}
    frame = one(tmp_path, **more, **with_camera(own_car="car.png", semantics="classes.png"))
    fleet_from_frames(tmp_path / "copy", [frame], name=frame.fleet)
    (again,) = FleetSource(tmp_path / "copy")
    same(again, frame)
    assert np.array_equal(again.sweeps[1].labels(), np.arange(7))
    with pytest.raises(DataError, match="at least one frame"):
        fleet_from_frames(tmp_path / "empty", [])
    assert not (tmp_path / "empty" / "manifest.jsonl").exists()


def test_the_worked_example_of_the_documentation_is_read(tmp_path):
    page = (Path(__file__).parents[2] / "docs" / "own-fleet.md").read_text(encoding="utf-8")
    shared, line = (json.loads(block) for block in re.findall(r"```json\n(.*?)```", page, flags=re.DOTALL))
    for path, size in (("images/front", (1920, 1080)), ("images/left", (1280, 800))):
        (tmp_path / path).mkdir(parents=True)
        Image.new("RGB", size).save(tmp_path / path / "000123.jpg")
    for folder in ("masks", "lidar"):
        (tmp_path / folder).mkdir()
    Image.new("L", (1920, 1080)).save(tmp_path / "masks" / "front.png")
    np.ones((9, 5), np.float32).tofile(tmp_path / "lidar" / "000123.bin")
    (tmp_path / "fleet.json").write_text(json.dumps(shared))
    (tmp_path / "manifest.jsonl").write_text(json.dumps(line))
    (frame,) = FleetSource(tmp_path, "train")
    assert frame.fleet == "delivery-vans"
    front, left = frame.cameras
    assert front.image().shape == (1080, 1920, 3)
    assert not front.own_car().any()
    assert frame.lidar.points().shape == (9, 4)
    # "front looks along the car's x axis, left along its y axis", both upright
    assert np.allclose(front.ego_T_camera[:3, :3], BODY_T_OPTICAL[:3, :3])
    assert np.allclose(left.ego_T_camera[:3, :3], yaw_matrix(np.pi / 2)[:3, :3] @ BODY_T_OPTICAL[:3, :3])
    assert frame.ego_T_camera(front)[0, 3] > front.ego_T_camera[0, 3]  # the picture was taken a little later
    for table, keys in (("a frame", fleet_manifest._FRAME), ("a camera", fleet_manifest._CAMERA)):
        section = page.split(f"## Fields of {table}")[1].split("\n## ")[0]
        assert all(f"`{key}`" in section for key in keys)


def test_texts_may_hold_characters_that_end_lines_elsewhere(tmp_path):
    scene = "north\u2028side\u0085"
    root = write_fleet(tmp_path / "cars", [FRAME])
    text = json.dumps(FRAME | {"scene": scene}, ensure_ascii=False)
    (root / "manifest.jsonl").write_text(f"{text}\r\n\n", encoding="utf-8", newline="")
    assert [frame.scene for frame in FleetSource(root)] == [scene]
