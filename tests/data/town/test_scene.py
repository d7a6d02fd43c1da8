from __future__ import annotations

import hashlib
import subprocess
import sys
from dataclasses import fields, is_dataclass
from pathlib import Path

import numpy as np
import pytest

from ugocc.data.synthetic.rendered import RenderedFrame
from ugocc.data.synthetic.vocabulary import NAMES, Material
from ugocc.data.town.rigs import RIGS
from ugocc.data.town.scene import DriveSettings, lidar_points, open_drive
from ugocc.errors import DataError
from ugocc.geometry.camera import pixel_rays, project
from ugocc.geometry.grid import OCC3D_GRID
from ugocc.geometry.rigid import check_rigid, inverse, transform
from ugocc.labels import OCC3D_NUSCENES

SMALL = DriveSettings(frames=6, width=88)


def _digest(value: object) -> str:
    if isinstance(value, np.ndarray):
        return hashlib.sha256(value.tobytes()).hexdigest()
    if is_dataclass(value):
        return hashlib.sha256("".join(_digest(getattr(value, f.name)) for f in fields(value)).encode()).hexdigest()
    if isinstance(value, tuple):
        return hashlib.sha256("".join(_digest(v) for v in value).encode()).hexdigest()
    return repr(value)


@pytest.fixture(scope="module", params=["six", "five"])
def frames(request: pytest.FixtureRequest) -> list[RenderedFrame]:
    drive = open_drive(request.param, "scene", 1, SMALL)
    return [drive.render(0), drive.render(3)]


def test_a_frame_is_the_same_in_any_order_and_process(frames: list[RenderedFrame]) -> None:
    fleet = "six" if len(frames[0].cameras) == 6 else "five"
    again = open_drive(fleet, "scene", 1, SMALL).render(3)
    assert _digest(again) == _digest(frames[1])
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); from test_scene import _digest, SMALL, open_drive;"
        f"print(_digest(open_drive({fleet!r}, 'scene', 1, SMALL).render(3)))"
    )
    folder = str(Path(__file__).parent)
    shown = subprocess.run([sys.executable, "-c", code, folder], capture_output=True, text=True, check=True).stdout
    assert shown.strip() == _digest(frames[1])
    other = open_drive(fleet, "scene", 2, SMALL).render(3)
    assert _digest(other) != _digest(frames[1])


def test_depth_ends_in_occupied_voxels(frames: list[RenderedFrame]) -> None:
    for frame in frames:
        solid = []
        for camera in frame.cameras:
            height, width = camera.depth.shape
            rays = pixel_rays(width, height, camera.intrinsics)
            # A little further in, so that the point lies inside what was hit.
            points = transform(camera.ego_T_camera, (rays * (camera.depth[..., None] + 0.02))[camera.depth > 0])
            cell, inside = OCC3D_GRID.index(points)
            solid.append(frame.occupancy[tuple(cell[inside].T)] != Material.SKY)
        # Round things meet some voxels only with a corner.
        assert np.concatenate(solid).mean() > 0.96


def test_cameras_see_what_their_pixels_hit(frames: list[RenderedFrame]) -> None:
    for frame in frames:
        ground = (frame.occupancy == Material.ROAD) & frame.camera_mask
        middles = OCC3D_GRID.centres()[ground]
        near = np.abs(middles[:, :2]).max(axis=1) < 15
        hits = []
        for camera in frame.cameras:
            pixels, depth = project(transform(inverse(camera.ego_T_camera), middles[near]), camera.intrinsics)
            height, width = camera.depth.shape
            u, v = np.nan_to_num(np.round(pixels), nan=-1).astype(int).T
            ok = (depth > 0) & (u >= 0) & (v >= 0) & (u < width) & (v < height)
            hit = np.zeros(len(ok), dtype=bool)
            hit[ok] = camera.depth[v[ok], u[ok]] > 0.85 * depth[ok]
            hits.append(hit)
        assert np.any(hits, axis=0).mean() > 0.9


def test_lidar_agrees_with_the_cameras_depth(frames: list[RenderedFrame]) -> None:
    for frame in frames:
        points = transform(frame.lidar.ego_T_lidar, lidar_points(frame.lidar))
        for camera in frame.cameras:
            pixels, depth = project(transform(inverse(camera.ego_T_camera), points), camera.intrinsics)
            height, width = camera.depth.shape
            u, v = np.nan_to_num(np.round(pixels), nan=-1).astype(int).T
            ok = (depth > 1) & (depth < 30) & (u >= 0) & (v >= 0) & (u < width) & (v < height)
            seen = camera.depth[v[ok], u[ok]]
            # Pixels are coarse and the sensors sit apart: most agree to a few percent, edges do not.
            agree = np.abs(seen - depth[ok]) < 0.08 * depth[ok]
            assert agree.mean() > 0.75


def test_boxes_hold_as_many_returns_as_they_say(frames: list[RenderedFrame]) -> None:
    for frame in frames:
        world = transform(frame.world_T_ego @ frame.lidar.ego_T_lidar, lidar_points(frame.lidar))
        for box in frame.boxes:
            inside = np.abs(transform(inverse(box.world_T_box), world)) <= np.array(box.size) / 2 + 0.02
            assert inside.all(axis=1).sum() == box.lidar_points
        assert max(box.lidar_points for box in frame.boxes) > 20


def test_the_vehicle_and_the_traffic_move_and_the_way_is_free() -> None:
    for fleet in RIGS:
        for seed in range(4):
            drive = open_drive(fleet, "drive", seed, DriveSettings(frames=20, width=44))
            steps = [inverse(a) @ b for a, b in zip(drive.poses[:-1], drive.poses[1:], strict=True)]
            for step in steps:
                check_rigid(step, "drive", "step")
                assert 0.8 < np.linalg.norm(step[:3, 3]) < 4.8
                assert abs(step[1, 3]) < 1.2
                assert step[0, 3] > 0.5, "forward"
            assert any(abs(p.speed) > 1 for p in drive.town.moving)
            for index in (0, 10, 19):
                frame = drive.render(index)
                cell, inside = OCC3D_GRID.index(np.array([[1.0, 0.0, 0.9], [2.5, 0.0, 0.9], [-0.5, 0.0, 0.9]]))
                assert inside.all()
                assert (frame.occupancy[tuple(cell.T)] == Material.SKY).all()
                under = frame.occupancy[100:104, 99:101, 2]
                assert np.isin(under, [Material.ROAD, Material.LANE_MARKING]).all()


def test_calibration_scales_with_the_picture() -> None:
    for rig in RIGS.values():
        for camera in rig.cameras:
            small, large = camera.intrinsics(264), camera.intrinsics(camera.width)
            assert large[0, 0] == pytest.approx(camera.focal)
            assert small[0, 0] == pytest.approx(camera.focal * 264 / camera.width)
            # The same ray leaves through the same spot of the picture, measured from its corner.
            assert (small[0, 2] + 0.5) / 264 == pytest.approx((large[0, 2] + 0.5) / camera.width)
            height = camera.size_at(264)[1]
            assert abs(height - 264 * camera.height / camera.width) <= 0.5


def test_every_class_occurs_on_both_fleets(frames: list[RenderedFrame]) -> None:
    table = np.full(256, 255, dtype=np.uint8)
    for material, names in NAMES.items():
        table[material] = OCC3D_NUSCENES[names.occ3d_nuscenes]
    near = slice(36, 164)
    shown: set[int] = set()
    for frame in frames:
        visible = frame.occupancy[near, near][frame.camera_mask[near, near]]
        shown |= {int(c) for c in np.unique(table[visible])}
    assert shown == set(range(10))


def test_unknown_fleets_and_frames() -> None:
    with pytest.raises(DataError, match="one of six, five"):
        open_drive("seven", "x", 0)
    with pytest.raises(IndexError):
        open_drive("six", "x", 0, SMALL).render(6)
