from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ugocc.data.frame import Box, CameraView, Frame, LidarSweep, OccupancyLabel
from ugocc.geometry.camera import project
from ugocc.geometry.grid import VoxelGrid
from ugocc.geometry.rigid import BODY_T_OPTICAL, from_rotation_translation
from ugocc.labels import FREE, PALETTE, PEDESTRIAN, VEHICLE
from ugocc.viz import fleet
from ugocc.viz.fleet import ViewSettings, picture_of_frame, view_fleet
from ugocc.viz.overlay import depth_colours

GRID = VoxelGrid((-8.0, -8.0, -1.0), (20, 20, 8), 0.8)
INTRINSICS = np.array([[300.0, 0, 320], [0, 300, 200], [0, 0, 1]])
EGO_T_CAMERA = from_rotation_translation(BODY_T_OPTICAL[:3, :3], (1.0, 0.0, 1.5))
POSE = from_rotation_translation(np.eye(3), (100.0, 50.0, 0.0))


def constant(value: np.ndarray) -> partial:
    return partial(np.copy, value)


def frame(token: str, occupancy: bool = True) -> Frame:
    volume = np.full(GRID.shape, FREE, dtype=np.uint8)
    volume[15:18, 9:11, 1:3] = VEHICLE
    label = OccupancyLabel(volume, np.zeros(GRID.shape, bool), np.ones(GRID.shape, bool))
    semantics = np.full((400, 640), PEDESTRIAN, dtype=np.uint8)
    camera = CameraView(
        "FRONT",
        constant(np.full((400, 640, 3), 90, np.uint8)),
        "none",
        640,
        400,
        INTRINSICS,
        np.zeros(5),
        EGO_T_CAMERA,
        POSE,
        0,
        constant(semantics),
    )
    points = np.array([[9.0, 0.5, 0.2, 1.0]], dtype=np.float32)
    sweep = LidarSweep(constant(points), "none", from_rotation_translation(np.eye(3), (0, 0, 1.0)), POSE, 0)
    box = Box(VEHICLE, (6.0, -1.0, 0.8), (4.0, 1.8, 1.6), 0.0)
    reader = (lambda: label) if occupancy else None
    return Frame("toy", "s", token, 0, POSE, (camera,), sweep, reader, GRID, (box,))


def test_camera_picture_shows_points_boxes_and_labels() -> None:
    shown = fleet._camera_picture(frame("a"), frame("a").cameras[0], np.array([[9.0, 0.5, 1.2]]), ViewSettings())
    (u, v), depth = project(np.array([-0.5, 0.3, 8.0]), INTRINSICS)
    assert np.array_equal(shown[round(v), round(u)], depth_colours(depth))
    assert (shown == PALETTE[VEHICLE]).all(-1).sum() > 100
    bare = ViewSettings(lidar=False, boxes=False, semantics=True)
    covered = fleet._camera_picture(frame("a"), frame("a").cameras[0], None, bare)
    assert np.ptp(covered, axis=(0, 1)).max() == 0
    assert covered[0, 0, 0] > covered[0, 0, 1]


def test_lidar_is_moved_to_the_key_ego_frame() -> None:
    points = fleet._ego_points(frame("a"))
    assert points is not None
    assert np.allclose(points, [[9.0, 0.5, 1.2]], atol=1e-6)


def test_label_is_drawn_where_there_is_one_and_masked_on_request() -> None:
    blue = [
        (np.diff(picture.astype(int)[..., ::2], axis=-1) > 100).sum()
        for picture in (
            picture_of_frame(frame("a"), ViewSettings(boxes=False)),
            picture_of_frame(frame("a"), ViewSettings(boxes=False, masked=True)),
            picture_of_frame(frame("a", occupancy=False), ViewSettings(boxes=False)),
        )
    ]
    legend = blue[2]
    assert blue[0] > legend + 300
    assert blue[1] == legend


def test_verb_writes_pictures_and_a_film(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Frames(list):
        fleet = "toy"

    asked = []

    def open_fleet(*arguments: object) -> Frames:
        asked.append(arguments)
        return Frames([frame("a"), frame("b"), frame("c")])

    monkeypatch.setattr(fleet, "open_fleet", open_fleet)
    view_fleet(ViewSettings(root=tmp_path, split="val", limit=2, every=3, out=tmp_path / "out", film="webp"))
    assert asked == [(tmp_path, "val", None, 3)]
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["a.png", "b.png", "toy-val.webp"]
    with Image.open(tmp_path / "out" / "a.png") as picture:
        assert picture.width > 900
