from __future__ import annotations

import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.ndimage import binary_erosion

from ugocc.cli import main
from ugocc.data.frame import Frame
from ugocc.data.occupancy import label_on_grid
from ugocc.data.source import open_fleet
from ugocc.errors import DataError
from ugocc.evaluation.files import write_prediction
from ugocc.geometry.grid import VoxelGrid
from ugocc.labels import BUILDING, CLASSES, FREE, PALETTE, VEHICLE
from ugocc.serving.predictor import Predictor
from ugocc.serving.view import view
from ugocc.viz.fleet import ViewSettings

pytest.importorskip("rerun")
chunk = pytest.importorskip("rerun.chunk")

Rows = dict[str, dict[int | None, dict[str, Any]]]
"""By path and frame number (None: always), what was logged."""


def read(path: Path) -> Rows:
    """A recording, without what rerun adds of its own."""
    rows: Rows = defaultdict(dict)
    for part in chunk.RrdReader(path).stream().to_chunks():
        if part.entity_path.startswith("/__"):
            continue
        assert set(part.timeline_names) == (set() if part.is_static else {"frame", "time"})
        batch = part.to_record_batch()
        for row in range(batch.num_rows):
            said = {name: batch.column(name)[row] for name in batch.schema.names}
            number = None if part.is_static else said.pop("frame").as_py()
            found = rows[part.entity_path.removeprefix("/")].setdefault(number, {})
            found |= {name: value.as_py() for name, value in said.items() if value.is_valid}
    return rows


@pytest.fixture(scope="module")
def file(tiny_fleets: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The fleet five with what the model of the package says of it."""
    out = tmp_path_factory.mktemp("viewer") / "new" / "five.rrd"
    words = ["view", "--root", str(tiny_fleets / "five"), "--split", "val", "--semantics", "true"]
    assert main([*words, "--rerun", str(out), "--checkpoint", "laptop", "--device", "cpu"]) == 0
    assert [path.name for path in out.parent.iterdir()] == ["five.rrd"]
    return out


@pytest.fixture(scope="module")
def rows(file: Path) -> Rows:
    return read(file)


@pytest.fixture(scope="module")
def frames(tiny_fleets: Path) -> list[Frame]:
    return list(open_fleet(tiny_fleets / "five", "val"))


def test_every_moment_of_every_entity_is_there_at_its_time(rows: Rows, frames: list[Frame]) -> None:
    below = ("", "/image", "/semantics", "/depth/lidar", "/depth/prediction")
    cameras = [f"world/ego/camera/{camera.name}{part}" for camera in frames[0].cameras for part in below]
    for path in ("frames", "world/ego", "world/ego/lidar", "world/ego/boxes", *cameras):
        moments = {number: row for number, row in rows[path].items() if number is not None}
        assert list(moments) == [0, 1, 2], path
        times = [round(row["time"].timestamp() * 1e6) for row in moments.values()]
        assert [round((t - times[0]) / 1e5) for t in times] == [0, 5, 10]
    assert [frame.token in rows["frames"][i]["TextLog:text"][0] for i, frame in enumerate(frames)] == [True] * 3
    volumes = {path.split("/")[3] for path in rows if path.startswith("world/ego/occupancy")}
    assert volumes == {"truth", "prediction"}
    assert "world/ego/occupancy/truth/drivable\\ surface" in rows


def test_time_is_that_of_the_recording(file: Path, frames: list[Frame]) -> None:
    parts = [part for part in chunk.RrdReader(file).stream().to_chunks() if part.entity_path == "/world/ego/lidar"]
    times = [t for part in parts for t in part.to_record_batch().column("time").cast("int64").to_pylist()]
    assert sorted(times) == [frame.timestamp_us * 1000 for frame in frames]


def test_cameras_have_the_calibration_of_their_pictures(rows: Rows, frames: list[Frame]) -> None:
    for number, frame in enumerate(frames):
        for camera in frame.cameras:
            row = rows[f"world/ego/camera/{camera.name}"][number]
            width, height = row["Pinhole:resolution"][0]
            scale = width / camera.width
            assert height == round(camera.height * scale)
            found = np.array(row["Pinhole:image_from_camera"]).reshape(3, 3).T
            # In the viewer the corner of the first pixel is at (0, 0), so that a scale is a scale.
            expected = camera.intrinsics.copy()
            expected[:2, 2] += 0.5
            expected[0] *= scale
            expected[1] *= height / camera.height
            assert np.allclose(found, expected, rtol=1e-5)
            ego_T_camera = frame.ego_T_camera(camera)
            assert np.allclose(np.array(row["Transform3D:mat3x3"]).reshape(3, 3).T, ego_T_camera[:3, :3], atol=1e-5)
            assert np.allclose(row["Transform3D:translation"], ego_T_camera[:3, 3], atol=1e-4)


def test_voxels_are_those_of_the_volumes_that_are_not_hidden(rows: Rows, frames: list[Frame]) -> None:
    predictor = Predictor.from_pretrained("laptop", "cpu", "five")
    for number, frame in enumerate(frames):
        predicted = predictor(frame)
        assert frame.occupancy is not None
        truth = label_on_grid(frame.occupancy(), frame.occupancy_grid, predicted.grid).semantics
        for name, volume in (("truth", truth), ("prediction", predicted.classes)):
            solid = volume < FREE
            expected = np.where(solid & ~binary_erosion(solid), volume, FREE)
            assert (drawn(rows, name, number, predicted.grid) == expected).all()


def drawn(rows: Rows, name: str, number: int, grid: VoxelGrid) -> np.ndarray:
    """(X, Y, Z) classes of the voxels that the viewer shows."""
    volume = np.full(grid.shape, FREE, dtype=np.uint8)
    for path, moments in rows.items():
        row = moments.get(number, {})
        if path.startswith(f"world/ego/occupancy/{name}/") and row.get("Boxes3D:centers"):
            centres = np.array(row["Boxes3D:centers"])
            cell, inside = grid.index(centres)
            assert inside.all()
            assert np.allclose(grid.centres()[tuple(cell.T)], centres, atol=1e-4)
            assert np.allclose(row["Boxes3D:half_sizes"], grid.voxel_size / 2)
            volume[tuple(cell.T)] = row["Boxes3D:class_ids"]
            assert path.endswith(CLASSES[row["Boxes3D:class_ids"][0]].replace(" ", "\\ "))
    return volume


def test_lidar_and_boxes_are_all_there(rows: Rows, frames: list[Frame]) -> None:
    for number, frame in enumerate(frames):
        assert frame.lidar is not None
        assert len(rows["world/ego/lidar"][number]["Points3D:positions"]) == len(frame.lidar.points())
        assert len(rows["world/ego/boxes"][number]["Boxes3D:centers"]) == len(frame.boxes)


def test_classes_have_their_names_and_colours(rows: Rows) -> None:
    (context,) = rows["world"][None]["AnnotationContext:context"]
    said = {entry["class_id"]: entry["class_description"]["info"] for entry in context}
    for label, (name, colour) in enumerate(zip(CLASSES, PALETTE, strict=True)):
        assert said[label]["label"] == name
        assert said[label]["color"] == int.from_bytes([*colour.tolist(), 255], "big")
    assert said[255]["color"] & 255 == 0


def test_a_blueprint_shows_volumes_beside_the_cameras(file: Path, frames: list[Frame]) -> None:
    reader = chunk.RrdReader(file)
    (store,) = reader.blueprints()
    names = []
    for part in reader.stream(store=store).to_chunks():
        batch = part.to_record_batch()
        names += [
            name
            for column in batch.schema.names
            if column.endswith(":display_name")
            for cell in batch.column(column).to_pylist()
            for name in cell or []
        ]
    cameras = [camera.name for camera in frames[0].cameras]
    tabs = ("Cameras", "Lidar depth", "Predicted depth")
    assert sorted(names) == sorted(["Truth", "Prediction", *tabs, "Frames", *cameras * 3])


def test_predictions_of_files_vanish_where_there_is_none(
    tiny_fleets: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    frames = list(open_fleet(tiny_fleets / "six", "val"))
    grid = VoxelGrid((-25.6, -25.6, -1.0), (64, 64, 8), 0.8)
    for frame, label in zip(frames[:2], (VEHICLE, BUILDING), strict=True):
        volume = np.full(grid.shape, FREE, dtype=np.uint8)
        volume[40, 32, 2] = label
        write_prediction(tmp_path / "volumes", frame.token, volume, grid)
    settings = ViewSettings(
        tiny_fleets / "six", "val", rerun=str(tmp_path / "a.rrd"), predictions=tmp_path / "volumes", boxes=False
    )
    view(settings)
    assert "3 of 3 frames of six (val), 2 with a prediction" in " ".join(capsys.readouterr().out.split())
    rows = read(tmp_path / "a.rrd")
    vehicle, building = (rows[f"world/ego/occupancy/prediction/{name}"] for name in ("vehicle", "building"))
    assert np.allclose(vehicle[0]["Boxes3D:centers"], grid.centres()[40, 32, 2])
    assert vehicle[1]["Clear:is_recursive"] == [False]
    assert np.allclose(building[1]["Boxes3D:centers"], grid.centres()[40, 32, 2])
    assert building[2]["Clear:is_recursive"] == [False]
    assert not {"world/ego/boxes", "world/ego/camera/CAM_FRONT/semantics"} & set(rows)


def test_real_frames_are_recorded(real_nuscenes_root: Path, tmp_path: Path) -> None:
    view(ViewSettings(real_nuscenes_root, "val", rerun=str(tmp_path / "real.rrd")))
    rows = read(tmp_path / "real.rrd")
    cameras = [path for path in rows if path.endswith("/image")]
    assert len(cameras) == 6
    assert all(list(rows[path]) == [0, 1] for path in cameras)
    assert np.abs(rows["world/ego"][0]["Transform3D:translation"]).max() == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rerun": "film.mp4"}, "rerun: found film.mp4, expected live, a file that ends in .rrd"),
        ({"predictions": Path("p")}, "predictions: found p, expected --rerun live"),
        ({"checkpoint": Path("laptop")}, "checkpoint: found laptop, expected --rerun live"),
        ({"rerun": "live", "film": "gif"}, "film: found gif, expected none"),
        ({"rerun": "live", "predictions": Path("p"), "checkpoint": Path("c")}, "not both"),
        ({"rerun": "live", "width": 0}, "width: found 0"),
        ({"width": 352}, "width: found 352, expected --rerun live"),
        ({"device": "cpu"}, "device: found cpu, expected --rerun live"),
        ({"rerun": "live", "out": Path("o")}, "out: found o, expected --rerun FILE.rrd alone"),
        ({"rerun": "live", "device": "cpu"}, "device: found cpu, expected --checkpoint as well"),
        ({"rerun": "live", "statistics": 0}, "statistics: found 0, expected --checkpoint as well"),
    ],
)
def test_options_that_do_not_fit_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError) as caught:
        view(ViewSettings(Path("nowhere"), **options))
    assert message in str(caught.value)


def test_a_folder_without_a_prediction_of_these_frames_is_named(tiny_fleets: Path, tmp_path: Path) -> None:
    for folder, found in ((tmp_path / "none", "no such folder"), (tmp_path, "none of these frames")):
        with pytest.raises(DataError, match=found):
            view(ViewSettings(tiny_fleets / "six", "val", rerun=str(tmp_path / "a.rrd"), predictions=folder))
    assert not (tmp_path / "a.rrd").exists()


def test_without_rerun_one_line_says_how_to_get_it_before_anything_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for module in ("rerun", "rerun.blueprint"):
        monkeypatch.setitem(sys.modules, module, None)
    assert main(["view", "--root", str(tmp_path / "nowhere"), "--rerun", str(tmp_path / "a.rrd")]) == 1
    said = capsys.readouterr().err.strip().splitlines()
    assert said == ["ugocc view: --rerun needs rerun: pip install 'ugocc[rerun]'"]
    assert not list(tmp_path.iterdir())
