"""The two rigs: cameras at recorded size and lidar, with the proportions of nuScenes and Waymo calibrations."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ugocc.geometry.camera import resize_affine
from ugocc.geometry.rigid import BODY_T_OPTICAL, from_rotation_translation, yaw_matrix

Matrix = NDArray[np.float64]


@dataclass(frozen=True)
class CameraSpec:
    """One camera of a rig at recorded size."""

    name: str
    """Channel name of the dataset."""
    width: int
    """Columns."""
    height: int
    """Rows."""
    focal: float
    """Pixels."""
    centre: tuple[float, float]
    """Principal point in pixels."""
    position: tuple[float, float, float]
    """Metres in the ego frame."""
    yaw: float
    """Viewing direction in degrees, anticlockwise from forward."""

    def size_at(self, width: int) -> tuple[int, int]:
        """Columns and rows when the picture is ``width`` columns wide."""
        return width, round(self.height * width / self.width)

    def intrinsics(self, width: int) -> Matrix:
        """(3, 3) when the picture is ``width`` columns wide."""
        columns, rows = self.size_at(width)
        k = np.array([[self.focal, 0, self.centre[0]], [0, self.focal, self.centre[1]], [0, 0, 1.0]])
        return resize_affine(columns / self.width, rows / self.height) @ k

    def ego_T_camera(self) -> Matrix:
        """(4, 4) from optical axes to the ego frame."""
        return yaw_matrix(np.deg2rad(self.yaw), self.position) @ BODY_T_OPTICAL


@dataclass(frozen=True)
class Rig:
    """Cameras and a spinning lidar on a car."""

    cameras: tuple[CameraSpec, ...]
    """In the order of the dataset."""
    lidar_position: tuple[float, float, float]
    """Metres in the ego frame."""
    lidar_yaw: float
    """Degrees between the sensor's x axis and forward."""
    inclinations: tuple[float, ...]
    """Degrees above the horizon of every beam, from the top beam down."""
    lidar_columns: int
    """Firings per turn."""
    lidar_range: float
    """Metres."""

    def ego_T_lidar(self) -> Matrix:
        """(4, 4) from the sensor frame to the ego frame."""
        return from_rotation_translation(yaw_matrix(np.deg2rad(self.lidar_yaw))[:3, :3], self.lidar_position)


def _six(name: str, yaw: float, x: float, y: float, focal: float = 1262.0) -> CameraSpec:
    return CameraSpec(name, 1600, 900, focal, (812.0, 482.0), (x, y, 1.51), yaw)


def _five(name: str, height: int, row: float, yaw: float, x: float, y: float) -> CameraSpec:
    return CameraSpec(name, 1920, height, 2056.0, (952.0, row), (x, y, 2.115), yaw)


SIX = Rig(
    cameras=(
        _six("CAM_FRONT", 0, 1.70, 0.0),
        _six("CAM_FRONT_RIGHT", -56, 1.55, -0.49),
        _six("CAM_FRONT_LEFT", 56, 1.53, 0.49),
        _six("CAM_BACK", 180, 0.02, 0.0, focal=809.0),
        _six("CAM_BACK_LEFT", 109, 1.04, 0.48),
        _six("CAM_BACK_RIGHT", -110, 1.06, -0.48),
    ),
    lidar_position=(0.94, 0.0, 1.84),
    lidar_yaw=-90.0,
    inclinations=tuple(np.linspace(10.67, -30.67, 32).tolist()),
    lidar_columns=1080,
    lidar_range=70.0,
)
"""The nuScenes rig: six 1600x900 cameras about 1.5 m up, 65 degrees wide, the rear one 89; a 32-beam lidar."""

FIVE = Rig(
    cameras=(
        _five("FRONT", 1280, 634.0, 0, 1.54, -0.02),
        _five("FRONT_LEFT", 1280, 640.0, 45, 1.49, 0.09),
        _five("FRONT_RIGHT", 1280, 638.0, -45, 1.49, -0.10),
        _five("SIDE_LEFT", 886, 240.0, 90, 1.43, 0.11),
        _five("SIDE_RIGHT", 886, 242.0, -90, 1.43, -0.11),
    ),
    lidar_position=(1.43, 0.0, 2.18),
    lidar_yaw=148.0,
    inclinations=tuple(np.linspace(2.4, -17.6, 64).tolist()),
    lidar_columns=900,
    lidar_range=75.0,
)
"""The Waymo rig: five 1920-column cameras about 2.1 m up, 50 degrees wide, the sides lower; a 64-beam lidar."""

RIGS = {"six": SIX, "five": FIVE}
"""Rig of every embedded fleet."""
