from __future__ import annotations

import io
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_frames import LENS, camera, frame, same
from PIL import Image
from real_frames import nuscenes_frames, waymo_frame

from ugocc.data.frame import Box
from ugocc.data.prepare import InputSettings, first_shown_row
from ugocc.errors import DataError
from ugocc.geometry.camera import project
from ugocc.geometry.grid import VoxelGrid
from ugocc.geometry.rigid import inverse, transform
from ugocc.labels import BUILDING, CLASSES, FREE, PALETTE, UNKNOWN, VEHICLE
from ugocc.viz.fleet import ViewSettings

rr = pytest.importorskip("rerun")

from ugocc.viz.viewer import paths, recording  # noqa: E402
from ugocc.viz.viewer.entities import Predicted, depth_on_picture, entities_of, exposed_voxels  # noqa: E402

SETTINGS = ViewSettings(semantics=True)


def values(contents: tuple[Any, ...], field: str) -> Any:
    """What an archetype among ``contents`` says in a field, as numbers."""
    (found,) = [getattr(thing, field) for thing in contents if getattr(thing, field, None) is not None]
    return np.array(found.as_arrow_array().to_pylist())


def shown(moment, settings: ViewSettings = SETTINGS, predicted: Predicted | None = None):
    return entities_of(moment, settings, moment.world_T_ego[:3, 3], predicted)


def test_exposed_voxels_are_those_with_a_bare_side():
    volume = np.full((7, 6, 5), FREE, dtype=np.uint8)
    volume[1:5, 1:5, 0:4] = BUILDING
    volume[6, 0, 4] = UNKNOWN
    cells = {tuple(cell) for cell in exposed_voxels(volume).tolist()}
    block = {(x, y, z) for x in range(1, 5) for y in range(1, 5) for z in range(4)}
    inside = {(x, y, z) for x in (2, 3) for y in (2, 3) for z in (1, 2)}
    assert cells == block - inside
    volume[2, 2, 1] = UNKNOWN  # not there to hide its neighbours
    assert exposed_voxels(volume).tolist().count([2, 2, 2]) == 1
    mask = np.zeros(volume.shape, bool)
    mask[2:4, 2:4, 1:3] = True
    assert len(exposed_voxels(volume, mask)) == 7


def test_depth_cells_lie_on_the_rows_that_the_network_is_shown():
    view = camera("FRONT", size=(200, 100))
    network = InputSettings(64, 24)  # the bottom three quarters of 64 x 32
    pose = frame((view,)).ego_T_camera(view)
    depth = depth_on_picture(np.array([[1, 2, 3, 4]], np.float32), view, pose, network, 128, 64)
    assert depth.shape == (64, 128)
    assert (depth[:16] == 0).all()
    assert (depth[16:] == np.repeat([1, 2, 3, 4], 32)).all()
    network = InputSettings(64, 16)  # the bottom half would show no more than one row above the horizon
    depth = depth_on_picture(np.array([[1, 2, 3, 4]], np.float32), view, pose, network, 128, 64)
    first = first_shown_row(view, pose, network)
    assert 0 < first < 16
    assert np.flatnonzero(depth[:, 0]).tolist() == list(range(2 * first, 2 * first + 32))


def test_a_point_falls_on_the_pixel_of_the_picture_that_shows_it():
    point = np.array([9.0, 1.0, 1.2])
    view = camera("FRONT", distortion=LENS)
    moment = frame((view,), np.array([point]))
    (u, v), _ = project(transform(inverse(moment.ego_T_camera(view)), point), view.intrinsics, LENS)
    picture = np.zeros((view.height, view.width, 3), dtype=np.uint8)
    picture[round(v) - 2 : round(v) + 3, round(u) - 2 : round(u) + 3] = 255
    moment = replace(moment, cameras=(replace(view, image=partial(same, picture)),))
    found = shown(moment, replace(SETTINGS, width=300))

    contents = found[paths.camera_path("FRONT")]
    ego_T_camera = np.eye(4)
    ego_T_camera[:3, :3] = values(contents, "mat3x3").reshape(3, 3).T
    ego_T_camera[:3, 3] = values(contents, "translation")[0]
    intrinsics = values(contents, "image_from_camera").reshape(3, 3).T
    u, v, depth = intrinsics @ transform(inverse(ego_T_camera), point)
    assert values(contents, "resolution").tolist() == [[300, 225]]
    seen = decoded(found[paths.camera_path("FRONT", paths.IMAGE)])
    rows, columns = np.nonzero(seen > 60)
    # The viewer's pixels have their centres at a half.
    assert np.allclose([columns.mean() + 0.5, rows.mean() + 0.5], [u / depth, v / depth], atol=0.7)
    (image,) = found[paths.camera_path("FRONT", paths.LIDAR_DEPTH)]
    metres = image.buffer.as_arrow_array().to_numpy(zero_copy_only=False)[0].view(np.float32).reshape(225, 300)
    assert np.isclose(metres[int(v / depth), int(u / depth)], depth, atol=1e-3)
    assert np.allclose(values(found[paths.LIDAR], "positions"), [point], atol=1e-5)


def decoded(contents: tuple[Any, ...]) -> np.ndarray:
    """(H, W) brightness of an encoded image."""
    data = bytes(values(contents, "blob").ravel().astype(np.uint8))
    return np.array(Image.open(io.BytesIO(data)).convert("L"))


def test_boxes_have_their_place_size_heading_and_colour():
    boxes = (Box(VEHICLE, (6.0, -1.0, 0.8), (4.0, 1.8, 1.6), 0.5), Box(255, (1.0, 2.0, 0.5), (1.0, 1.0, 1.0), -2.0))
    moment = replace(frame((camera("FRONT"),)), boxes=boxes)
    contents = shown(moment)[paths.BOXES]
    assert np.allclose(values(contents, "centers"), [box.centre for box in boxes])
    assert np.allclose(values(contents, "half_sizes") * 2, [box.size for box in boxes])
    x, y, z, w = values(contents, "quaternions").T
    assert np.allclose(2 * np.arctan2(z, w), [0.5, -2.0])
    assert (x == 0).all()
    assert (y == 0).all()
    colours = np.stack([values(contents, "colors") >> shift & 255 for shift in (24, 16, 8)], axis=1)
    assert colours.tolist() == [PALETTE[VEHICLE].tolist(), [255, 255, 255]]
    assert paths.BOXES not in shown(moment, replace(SETTINGS, boxes=False))


def test_truth_is_shown_on_the_grid_of_the_prediction(real_data: Path):
    moment = nuscenes_frames(real_data)[0]
    fine, coarse = moment.occupancy_grid, VoxelGrid((-25.6, -25.6, -1.0), (64, 64, 8), 0.8)
    for predicted, grid in ((None, fine), (Predicted(np.full(coarse.shape, FREE, np.uint8), coarse), coarse)):
        found = shown(moment, SETTINGS, predicted)
        buildings = found[paths.class_path(paths.TRUTH, BUILDING)]
        cell, inside = grid.index(values(buildings, "centers"))
        assert inside.all()
        assert np.allclose(grid.centres()[tuple(cell.T)], values(buildings, "centers"), atol=1e-4)
        assert np.allclose(values(buildings, "half_sizes"), grid.voxel_size / 2)
        assert not any(path.startswith(paths.PREDICTION) for path in found)  # free space is not drawn


def test_real_pictures_with_a_lens_and_labels_become_ideal_pinholes(real_data: Path):
    moment = waymo_frame(real_data)
    found = shown(moment)
    for view in moment.cameras:
        width, height = values(found[paths.camera_path(view.name)], "resolution")[0]
        assert width == 704
        assert decoded(found[paths.camera_path(view.name, paths.IMAGE)]).shape == (height, width)
        (labels,) = found[paths.camera_path(view.name, paths.SEMANTICS)]
        classes = labels.buffer.as_arrow_array().to_numpy(zero_copy_only=False)[0]
        assert set(np.unique(classes)) <= {*range(len(CLASSES)), UNKNOWN}
    assert paths.LIDAR not in found


def test_the_ego_pose_begins_at_the_origin_and_keeps_its_axes():
    moment = frame((camera("FRONT"),))
    contents = entities_of(moment, SETTINGS, np.array([100.0, 50.0, 0.0]))[paths.EGO]
    assert np.allclose(values(contents, "translation"), moment.world_T_ego[:3, 3] - (100, 50, 0))
    assert np.allclose(values(contents, "mat3x3").reshape(3, 3).T, moment.world_T_ego[:3, :3])


def test_names_of_cameras_with_signs_of_their_own_are_one_part_of_a_path():
    assert paths.camera_path("front/left 2", "image") == r"world/ego/camera/front\/left\ 2/image"


def test_a_file_stays_as_it_was_when_something_goes_wrong(tmp_path: Path):
    path = tmp_path / "a.rrd"
    path.write_bytes(b"old")

    def interrupted() -> None:
        with recording.open_recording(str(path), "toy") as stream:
            stream.log("somewhere", rr.Points3D([[1, 2, 3]]))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_viewer_is_opened_with_the_program_beside_the_interpreter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    asked: list[dict[str, Any]] = []

    def spawn(**options: Any) -> None:
        asked.append(options)
        options["recording"].save(tmp_path / "live.rrd")

    monkeypatch.setattr(recording.rr, "spawn", spawn)
    with recording.open_recording("live", "toy") as stream:
        stream.log("somewhere", rr.Points3D([[1, 2, 3]]))
    assert asked[0]["hide_welcome_screen"]
    assert Path(asked[0]["executable_path"]).stem == "rerun"
    assert (tmp_path / "live.rrd").stat().st_size > 0


def test_a_viewer_that_cannot_be_opened_or_addressed_is_said_to_be(monkeypatch: pytest.MonkeyPatch):
    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("no display\nand more")

    def enter(target: str) -> None:
        with recording.open_recording(target, "toy"):
            raise AssertionError("nothing is to be logged")

    monkeypatch.setattr(recording.rr, "spawn", fail)
    with pytest.raises(DataError, match=r"no display, expected a display .* --rerun FILE\.rrd"):
        enter("live")
    monkeypatch.setattr(recording, "_open_viewer", lambda stream: None)
    monkeypatch.setattr(recording.rr.RecordingStream, "flush", fail)
    with pytest.raises(DataError, match=r"live: rerun: found no answer \(no display\), expected a display"):
        enter("live")
    with pytest.raises(DataError, match=r"ftp://here: rerun: found .*scheme.* such as rerun"):
        enter("ftp://here")
