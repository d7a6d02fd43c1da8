from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from made_frames import GRID, camera
from made_frames import frame as made_frame

from ugocc.adaptation.rig import RandomRigSettings, VirtualRig, random_rig, rig_of, rig_of_frame, turned
from ugocc.data.batch import Batch
from ugocc.data.frame import CameraView, Frame
from ugocc.data.prepare import InputSettings, prepare
from ugocc.data.transforms import make_sample
from ugocc.errors import DataError
from ugocc.geometry.camera import project
from ugocc.geometry.rigid import BODY_T_OPTICAL, check_rigid, inverse, transform, yaw_matrix, yaw_of


@pytest.fixture
def rig(six_cameras: Any) -> VirtualRig:
    return VirtualRig(*six_cameras)


def view(width: int, height: int) -> CameraView:
    k = np.array([[1000.0, 0, 790], [0, 1010, 440], [0, 0, 1]])
    pose = yaw_matrix(0.4, (1, 0.2, 1.5)) @ BODY_T_OPTICAL

    def no_picture() -> Any:
        raise AssertionError("only the calibration is to be read")

    later = yaw_matrix(0.01, (0.5, 0, 0))
    return CameraView("A", no_picture, "a", width, height, k, np.zeros(5), pose, later, 0)


def frame(*cameras: CameraView) -> Frame:
    return Frame("fleet", "scene", "token", 0, np.eye(4), cameras)


def test_rig_of_a_frame_sees_what_its_network_image_sees() -> None:
    camera = view(1600, 900)
    rig = rig_of_frame(frame(camera), height=96, width=264)
    point = np.array([[12.0, 6.0, 0.5]])
    key_T_camera = camera.world_T_ego @ camera.ego_T_camera
    recorded, _ = project(transform(inverse(key_T_camera), point), camera.intrinsics)
    seen, _ = project(transform(inverse(rig.ego_T_camera[0]), point), rig.intrinsics[0])
    # 1600 x 900 becomes 264 x 148 (rounded), of which the bottom 96 rows are kept.
    rows = round(900 * 264 / 1600)
    expected = (recorded + 0.5) * (264 / 1600, rows / 900) - 0.5 - (0, rows - 96)
    np.testing.assert_allclose(seen, expected, atol=1e-6)
    with pytest.raises(DataError, match="cameras"):
        rig_of_frame(frame(), 96, 264)


@pytest.mark.parametrize("size", [(264, 148), (400, 300), (200, 320)])
def test_rig_of_a_frame_is_that_of_its_batch(size: tuple[int, int]) -> None:
    moment = made_frame((camera("a", size=size), camera("b", 70.0, size)))
    settings = InputSettings(264, 96, GRID)
    batch = make_sample(prepare(moment, settings), settings)
    seen, expected = rig_of(batch), rig_of_frame(moment, 96, 264)
    np.testing.assert_allclose(seen.intrinsics, expected.intrinsics, rtol=1e-5)
    np.testing.assert_allclose(seen.ego_T_camera, expected.ego_T_camera, atol=1e-5)


def test_rig_of_a_batch_leaves_out_padding(six_cameras: Any) -> None:
    affine = torch.eye(3)
    affine[0, 0] = affine[1, 1] = 0.5
    intrinsics = torch.from_numpy(six_cameras.intrinsics[None]).float()
    poses = torch.from_numpy(six_cameras.ego_T_camera[None]).float()
    mask = torch.tensor([[True, True, False, True, False, False]])
    nothing = torch.zeros(1)
    batch = Batch(
        images=torch.zeros(1, 6, 3, 48, 88), camera_mask=mask, intrinsics=intrinsics,
        image_affine=affine.expand(1, 6, 3, 3), ego_T_camera=poses, bev_T_ego=nothing, world_T_ego=nothing,
        depth=nothing, semantics_2d=nothing, pixel_mask=nothing, occupancy=nothing, camera_visible=nothing,
        lidar_visible=nothing, fleet=nothing,
    )  # fmt: skip
    rig = rig_of(batch)
    assert (len(rig), rig.height, rig.width) == (3, 48, 88)
    np.testing.assert_allclose(rig.intrinsics[:, 0, 0], six_cameras.intrinsics[[0, 1, 3], 0, 0] / 2, rtol=1e-6)
    np.testing.assert_allclose(rig.ego_T_camera, six_cameras.ego_T_camera[[0, 1, 3]], atol=1e-6)


def test_turning_keeps_the_middle_and_the_heights(rig: VirtualRig) -> None:
    back = turned(rig, np.pi)
    np.testing.assert_allclose(back.ego_T_camera[:, :3, 3].mean(0), rig.ego_T_camera[:, :3, 3].mean(0), atol=1e-12)
    np.testing.assert_allclose(back.ego_T_camera[:, 2, 3], rig.ego_T_camera[:, 2, 3])
    # The camera that looked ahead looks back.
    np.testing.assert_allclose(back.ego_T_camera[0, :2, 2], -rig.ego_T_camera[0, :2, 2], atol=1e-12)
    np.testing.assert_allclose(turned(back, -np.pi).ego_T_camera, rig.ego_T_camera, atol=1e-12)


def test_random_rigs_stay_within_their_ranges_and_repeat(rig: VirtualRig) -> None:
    s = RandomRigSettings(turn=0.0)
    drawn = [random_rig(rig, np.random.default_rng(seed), s) for seed in range(40)]
    again = random_rig(rig, np.random.default_rng(7), s)
    np.testing.assert_array_equal(again.ego_T_camera, drawn[7].ego_T_camera)
    factors, lifts, places = [], [], []
    for new in drawn:
        ratio = new.intrinsics[:, 0, 0] / rig.intrinsics[:, 0, 0]
        np.testing.assert_allclose(ratio, ratio[0])
        np.testing.assert_array_equal(new.intrinsics[:, :2, 2], rig.intrinsics[:, :2, 2])
        move = new.ego_T_camera[:, :3, 3] - rig.ego_T_camera[:, :3, 3]
        np.testing.assert_allclose(move[:, 2], move[0, 2])
        assert np.abs(move[:, :2]).max() <= s.move + s.shift
        assert np.ptp(move[:, :2], axis=0).max() <= 2 * s.shift  # the rig moves as a whole, each camera a little more
        places.append(move[:, :2].mean(axis=0))
        factors.append(ratio[0])
        lifts.append(move[0, 2])
        for a, b in zip(new.ego_T_camera, rig.ego_T_camera, strict=True):
            check_rigid(a, "random rig", "ego_T_camera", 1e-9)
            angle = np.arccos(np.clip(a[:3, 2] @ b[:3, 2], -1, 1))
            assert angle <= np.deg2rad(s.yaw_degrees + s.pitch_degrees)
    assert s.focal[0] <= min(factors) < 0.9
    assert 1.1 < max(factors) <= s.focal[1]
    assert s.lift[0] <= min(lifts) < 0
    assert 0.4 < max(lifts) <= s.lift[1]
    assert (np.ptp(places, axis=0) > 1.5 * s.move).all()


def test_random_rigs_turn_now_and_then(rig: VirtualRig) -> None:
    still = RandomRigSettings((1, 1), (0, 0), 0, 0, 0, 0, turn=0.5)
    headings = [yaw_of(random_rig(rig, np.random.default_rng(i), still).ego_T_camera[0] @ inverse(BODY_T_OPTICAL))
                for i in range(40)]  # fmt: skip
    unturned = np.sum(np.abs(headings) < 1e-9)
    assert 10 < unturned < 30
    assert np.ptp(headings) > np.pi


def test_shapes_are_checked(rig: VirtualRig) -> None:
    with pytest.raises(DataError, match="VirtualRig"):
        replace(rig, ego_T_camera=rig.ego_T_camera[:2])
