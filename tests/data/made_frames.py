"""Small frames made by hand, on a rig whose geometry tests can work out for themselves."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np

from ugocc.data.frame import CameraView, Frame, LidarSweep, OccupancyLabel
from ugocc.geometry.camera import project
from ugocc.geometry.grid import OCC3D_GRID, VoxelGrid
from ugocc.geometry.rigid import (
    BODY_T_OPTICAL,
    camera_to_key_ego,
    from_rotation_translation,
    inverse,
    transform,
    yaw_matrix,
)
from ugocc.labels import FREE, PEDESTRIAN, UNKNOWN, VEHICLE

LENS = np.array([-0.25, 0.06, 0.001, -0.002, 0.0])
GRID = VoxelGrid((-25.6, -25.6, -1.0), (64, 64, 8), 0.8)
SIZE = (400, 300)


def same(array: np.ndarray) -> np.ndarray:
    return array


def refuse(what: str) -> np.ndarray:
    raise AssertionError(f"{what} was read")


def camera(
    name: str, yaw: float = 0.0, size: tuple[int, int] = SIZE, distortion: np.ndarray | None = None
) -> CameraView:
    """A camera 1.6 m above the ground and 1 m ahead, looking along ``yaw`` (degrees), on a moving car."""
    width, height = size
    picture = np.zeros((height, width, 3), dtype=np.uint8)
    return CameraView(
        name=name,
        image=partial(same, picture),
        source=f"{name}.jpg",
        width=width,
        height=height,
        intrinsics=np.array([[0.6 * width, 0, 0.51 * width], [0, 0.62 * width, 0.48 * height], [0, 0, 1.0]]),
        distortion=np.zeros(5) if distortion is None else distortion,
        ego_T_camera=yaw_matrix(np.deg2rad(yaw), (1.0, 0.2, 1.6)) @ tilt() @ BODY_T_OPTICAL,
        world_T_ego=yaw_matrix(0.31, (103.0, 50.5, 0.4)),
        timestamp_us=10_000,
    )


def tilt() -> np.ndarray:
    """A few degrees of pitch and roll, so that no axis is left out."""
    a, b = np.deg2rad(2.0), np.deg2rad(1.5)
    pitch = [[np.cos(a), 0, np.sin(a)], [0, 1, 0], [-np.sin(a), 0, np.cos(a)]]
    roll = [[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]]
    return from_rotation_translation(np.array(pitch) @ roll, (0, 0, 0))


def frame(
    cameras: tuple[CameraView, ...],
    points: np.ndarray | None = None,
    occupancy: OccupancyLabel | None = None,
    token: str = "one",
    grid: VoxelGrid = OCC3D_GRID,
) -> Frame:
    """A frame with lidar ``points`` (P, 3) of the key ego frame."""
    key_pose = yaw_matrix(0.3, (102.5, 50.0, 0.4))
    lidar = None
    if points is not None:
        # Taken a little after the key moment, from a car that has moved on.
        ego_T_lidar, pose = yaw_matrix(-1.5, (0.9, 0.0, 1.8)), yaw_matrix(0.31, (102.9, 50.1, 0.4))
        key_T_lidar = camera_to_key_ego(key_pose, pose, ego_T_lidar)
        in_sensor = np.column_stack([transform(inverse(key_T_lidar), points), np.zeros(len(points))])
        lidar = LidarSweep(partial(same, in_sensor.astype(np.float32)), f"{token}.bin", ego_T_lidar, pose, 0)
    return Frame(
        fleet="made",
        scene="scene",
        token=token,
        timestamp_us=0,
        world_T_ego=key_pose,
        cameras=cameras,
        lidar=lidar,
        occupancy=None if occupancy is None else partial(same, occupancy),
        occupancy_grid=grid,
    )


def marked_frame(points: np.ndarray, cameras: tuple[CameraView, ...], radius: float = 2.5) -> Frame:
    """Every camera shows each point (P, 3) of the key ego frame as a white, soft disc with the label of a pedestrian.

    Pictures are as recorded, so the discs sit where the lens puts them. ``radius`` is in recorded pixels.
    """
    plain = frame(cameras, points, some_label())
    views = []
    for view in cameras:
        in_camera = transform(inverse(plain.ego_T_camera(view)), points)
        pixels, _ = project(in_camera, view.intrinsics, view.distortion)
        column, row = np.meshgrid(np.arange(view.width), np.arange(view.height))
        distance = np.full((view.height, view.width), np.inf)
        for u, v in pixels[np.isfinite(pixels).all(axis=1)]:
            distance = np.minimum(distance, np.hypot(column - u, row - v))
        brightness = 255 * np.clip(radius + 0.5 - distance, 0, 1)
        image = np.repeat(brightness[..., None], 3, axis=2).astype(np.uint8)
        labels = np.where(distance <= radius, PEDESTRIAN, UNKNOWN).astype(np.uint8)
        views.append(replace(view, image=partial(same, image), semantics=partial(same, labels)))
    return replace(plain, cameras=tuple(views))


def some_label(grid: VoxelGrid = OCC3D_GRID, seed: int = 0) -> OccupancyLabel:
    """A label without symmetry."""
    rng = np.random.default_rng(seed)
    semantics = np.full(grid.shape, FREE, dtype=np.uint8)
    semantics[rng.uniform(size=grid.shape) < 0.1] = VEHICLE
    return OccupancyLabel(semantics, rng.uniform(size=grid.shape) < 0.4, rng.uniform(size=grid.shape) < 0.3)
