"""The two rigs of the embedded fleets: where cameras and lidar sit, and what they see.

The numbers follow the public calibrations of nuScenes (six cameras) and Waymo (five cameras): focal lengths and
principal points in pixels of the full-size picture, positions in metres in the ego frame (rear axle, on the ground).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ugocc.geometry.camera import resize_affine
from ugocc.geometry.rigid import BODY_T_OPTICAL, from_rotation_translation, yaw_matrix

Matrix = NDArray[np.float64]


@dataclass(frozen=True)
class CameraMount:
    """One camera of a rig."""

    name: str
    """Channel name of the dataset."""
    position: tuple[float, float, float]
    """Metres in the ego frame."""
    yaw: float
    """Viewing direction in degrees, anticlockwise from straight ahead."""
    focal: float
    """Focal length in pixels of the full-size picture."""
    size: tuple[int, int]
    """Columns and rows of the full-size picture."""
    principal: tuple[float, float]
    """Principal point in pixels of the full-size picture."""
    trigger_ms: float
    """When the picture is taken, relative to the key time."""
    pitch: float = 0.0
    """Degrees, positive looks down."""
    roll: float = 0.0
    """Degrees about the viewing direction."""

    def picture_size(self, width: int) -> tuple[int, int]:
        """(rows, columns) of the picture at ``width`` columns, proportions kept."""
        return max(1, int(self.size[1] * width / self.size[0] + 0.5)), width

    def intrinsics(self, width: int) -> Matrix:
        """(3, 3) at ``width`` columns: what resizing the full-size picture does to its camera matrix."""
        rows, columns = self.picture_size(width)
        full = np.array([[self.focal, 0, self.principal[0]], [0, self.focal, self.principal[1]], [0, 0, 1.0]])
        return np.asarray(resize_affine(columns / self.size[0], rows / self.size[1]) @ full)

    def ego_T_camera(self) -> Matrix:
        """(4, 4) from camera axes to the ego frame."""
        return yaw_matrix(np.deg2rad(self.yaw), self.position) @ _pitch_roll(self.pitch, self.roll) @ BODY_T_OPTICAL


@dataclass(frozen=True)
class LidarMount:
    """The spinning lidar of a rig."""

    position: tuple[float, float, float]
    """Metres in the ego frame."""
    yaw: float
    """Degrees between the sensor's x axis and straight ahead."""
    inclinations: tuple[float, float]
    """Degrees above the horizon of the topmost and the lowest beam."""
    beams: int
    """Number of beams."""
    reach: float
    """Longest range that returns, in metres."""

    def beam_inclinations(self) -> NDArray[np.float64]:
        """(beams,) radians above the horizon, top beam first."""
        return np.asarray(np.deg2rad(np.linspace(*self.inclinations, self.beams)))

    def ego_T_lidar(self) -> Matrix:
        """(4, 4) from the sensor frame to the ego frame."""
        return yaw_matrix(np.deg2rad(self.yaw), self.position)


@dataclass(frozen=True)
class Rig:
    """Cameras and lidar of one fleet."""

    cameras: tuple[CameraMount, ...]
    """In the dataset's order."""
    lidar: LidarMount
    """The sensor on the roof."""


_WIDE = (1600, 900)
_TALL = (1920, 1280)
_SIDE = (1920, 886)

SIX: Final = Rig(
    (
        CameraMount("CAM_FRONT", (1.70, 0.02, 1.51), 0.0, 1266.0, _WIDE, (816.0, 470.0), -35.0),
        CameraMount("CAM_FRONT_RIGHT", (1.55, -0.49, 1.50), -55.0, 1261.0, _WIDE, (808.0, 472.0), -27.0),
        CameraMount("CAM_FRONT_LEFT", (1.52, 0.49, 1.51), 55.0, 1272.0, _WIDE, (817.0, 465.0), -43.0),
        CameraMount("CAM_BACK", (0.03, 0.0, 1.57), 180.0, 809.0, _WIDE, (820.0, 472.0), -10.0),
        CameraMount("CAM_BACK_LEFT", (1.04, 0.48, 1.58), 110.0, 1257.0, _WIDE, (796.0, 473.0), -1.0),
        CameraMount("CAM_BACK_RIGHT", (1.01, -0.48, 1.56), -110.0, 1260.0, _WIDE, (805.0, 476.0), -20.0),
    ),
    # The real sensor's x axis points to the right of the car.
    LidarMount((0.94, 0.0, 1.84), -90.0, (10.0, -30.0), 32, 70.0),
)
"""Six cameras as on nuScenes' cars."""

FIVE: Final = Rig(
    (
        CameraMount("FRONT", (1.54, -0.02, 2.12), 0.0, 2055.0, _TALL, (950.0, 634.0), 8.0),
        CameraMount("FRONT_LEFT", (1.49, 0.09, 2.12), 45.0, 2056.0, _TALL, (955.0, 643.0), -3.0),
        CameraMount("FRONT_RIGHT", (1.49, -0.09, 2.12), -45.0, 2050.0, _TALL, (960.0, 645.0), 19.0),
        CameraMount("SIDE_LEFT", (1.43, 0.11, 2.12), 90.0, 2055.0, _SIDE, (968.0, 246.0), -14.0),
        CameraMount("SIDE_RIGHT", (1.43, -0.11, 2.12), -90.0, 2062.0, _SIDE, (962.0, 241.0), 30.0),
    ),
    LidarMount((1.43, 0.0, 2.18), 0.0, (2.4, -17.6), 64, 75.0),
)
"""Five cameras as on Waymo's cars."""

RIGS: Final[dict[str, Rig]] = {"six": SIX, "five": FIVE}
"""Rig of each embedded fleet."""


def mounted(rig: Rig, rng: np.random.Generator) -> Rig:
    """``rig`` as one particular car carries it: angles off by about 0.4 degrees, lenses by 0.3 %, positions by 1 cm."""
    cameras = []
    for camera in rig.cameras:
        yaw, pitch, roll = rng.normal(0.0, (0.5, 0.4, 0.25))
        x, y, z = rng.normal(0.0, 0.01, 3) + camera.position
        u, v = rng.normal(0.0, 6.0, 2) + camera.principal
        cameras.append(
            replace(
                camera,
                position=(x, y, z),
                yaw=camera.yaw + yaw,
                pitch=pitch,
                roll=roll,
                focal=camera.focal * (1 + rng.normal(0.0, 0.003)),
                principal=(u, v),
            )
        )
    return replace(rig, cameras=tuple(cameras))


def _pitch_roll(pitch: float, roll: float) -> Matrix:
    """(4, 4) in body axes (x forward): roll about x, then pitch about y."""
    cp, sp = np.cos(np.deg2rad(pitch)), np.sin(np.deg2rad(pitch))
    cr, sr = np.cos(np.deg2rad(roll)), np.sin(np.deg2rad(roll))
    pitched = np.array([[cp, 0, sp], [0, 1, 0], [-sp, 0, cp]])
    rolled = np.array([[1, 0, 0], [0, cr, -sr], [0, sr, cr]])
    return from_rotation_translation(pitched @ rolled, (0.0, 0.0, 0.0))
