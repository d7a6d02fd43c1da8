from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from ugocc.data.synthetic.rendered import RenderedBox, RenderedCamera, RenderedFrame, RenderedLidar
from ugocc.data.synthetic.vocabulary import Material
from ugocc.geometry.rigid import BODY_T_OPTICAL, from_quaternion, yaw_matrix

SIX = ("CAM_FRONT", "CAM_FRONT_RIGHT", "CAM_BACK_RIGHT", "CAM_BACK", "CAM_BACK_LEFT", "CAM_FRONT_LEFT")
FIVE = ("FRONT", "FRONT_LEFT", "FRONT_RIGHT", "SIDE_LEFT", "SIDE_RIGHT")
BOXES = (Material.CAR, Material.PEDESTRIAN, Material.BICYCLE, Material.SIGN, Material.CONE, Material.BARRIER)

SceneFactory = Callable[..., list[RenderedFrame]]


def random_scene(scene: str = "scene-0001", channels: tuple[str, ...] = SIX, frames: int = 3) -> list[RenderedFrame]:
    """Frames of every kind of content, of no meaning: smooth pictures, random labels, boxes that come and go."""
    rng = np.random.default_rng(sum(scene.encode()))
    tilt = from_quaternion(np.array([1, 0.01, -0.02, 0.3]) / np.linalg.norm([1, 0.01, -0.02, 0.3]), [0, 0, 0])
    rig = {}
    leaning = from_quaternion(np.array([1, 0, 0.02, 0]) / np.hypot(1, 0.02), [0, 0, 0])
    for i, name in enumerate(channels):
        width, height = (48, 20) if name.startswith("SIDE") else (48, 32)
        intrinsics = np.array([[30 + i, 0, width / 2 - 0.3], [0, 31 + i, height / 2 + 0.2], [0, 0, 1.0]])
        mount = yaw_matrix(0.9 * i, (1.0 - 0.1 * i, 0.2, 1.5 + 0.05 * i)) @ tilt @ BODY_T_OPTICAL
        rig[name] = (width, height, intrinsics, mount)
    out = []
    for index in range(frames):
        time = 1_700_000_000_000_000 + 60_000_000 * (sum(scene.encode()) % 1000) + 500_000 * index
        poses = [yaw_matrix(0.4 + 0.1 * t, (300 + 4 * t, -120 + t, 0.1)) @ tilt for t in (index, index + 0.01)]
        cameras = []
        for i, (name, (width, height, intrinsics, mount)) in enumerate(rig.items()):
            v, u = np.mgrid[:height, :width]
            image = np.stack([u * 5, v * 7, 120 + 40 * np.sin((u + v) / 7 + index)], axis=-1).astype(np.uint8)
            depth = rng.uniform(0.5, 90, (height, width)).astype(np.float32)
            depth[:3] = 0
            materials = rng.integers(0, len(Material), (height, width)).astype(np.uint8)
            pose = poses[1] if i % 2 else poses[0]
            cameras.append(
                RenderedCamera(name, image, depth, materials, intrinsics, mount, pose, time + 7000 * (i % 2))
            )
        ranges = rng.uniform(1, 70, (8, 36)).astype(np.float32) * (rng.random((8, 36)) > 0.2)
        lidar = RenderedLidar(
            ranges=ranges.astype(np.float32),
            intensity=rng.random((8, 36)).astype(np.float32),
            materials=rng.integers(0, Material.SKY, (8, 36)).astype(np.uint8),
            inclinations=np.linspace(0.1, -0.5, 8) ** 3 + np.linspace(0.05, -0.1, 8),
            ego_T_lidar=yaw_matrix(np.deg2rad(150), (1, 0, 2)) @ leaning,
            timestamp_us=time,
        )
        boxes = [
            RenderedBox(
                material=kind,
                track=track,
                world_T_box=yaw_matrix(0.5 * track + 0.1 * index, (300 + 3 * track, -110, 0.8)),
                size=(4.0 + track, 2.0, 1.5),
                velocity=(2.0 * (track % 2), 0.5),
                lidar_points=7 * (track % 3),
            )
            for track, kind in enumerate(BOXES)
            if (index + track) % 3  # every object is missing in some frame
        ]
        occupancy = np.full((200, 200, 16), Material.SKY, dtype=np.uint8)
        occupancy[:, :, 2] = rng.integers(0, len(Material), (200, 200))
        masks = [rng.random((200, 200, 16)) > 0.5 for _ in range(3)]
        out.append(RenderedFrame(scene, index, time, poses[0], tuple(cameras), lidar, tuple(boxes), occupancy, *masks))
    return out


@pytest.fixture(scope="session")
def six_scene() -> SceneFactory:
    """``six_scene(name, frames=3)``: a made-up scene of the six-camera fleet, as the renderer hands it over."""
    return lambda scene="scene-0001", frames=3: random_scene(scene, SIX, frames)


@pytest.fixture(scope="session")
def five_scene() -> SceneFactory:
    """The same of the five-camera fleet."""
    return lambda scene="100_0_000_20_000", frames=3: random_scene(scene, FIVE, frames)
