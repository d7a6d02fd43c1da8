"""What of a fleet can be read and is hardly meant: numbers in other units, frames and axes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ugocc.data.frame import CameraView, Frame, LidarSweep
from ugocc.geometry.camera import project
from ugocc.geometry.rigid import inverse, transform

FARTHEST_SENSOR: Final = 30.0
"""Metres from the origin of the car at which nothing is mounted."""
LOWEST_CAMERA: Final = 0.2
"""Metres above the ground below which no camera is mounted."""
STEEPEST: Final = 60.0
"""Degrees above or below the horizon at which not every camera of a car looks."""
FARTHEST_POINT: Final = 1000.0
"""Metres at which no lidar measures."""
FASTEST: Final = 100.0
"""Metres per second that no car drives."""
AWAY: Final = 0.1
"""Metres that the car may drive between a frame and a picture or sweep without a pose of its own."""
LATEST: Final = 10**17
"""Microseconds, in the year 5138: nanoseconds reached it in 1973."""

Oddity = tuple[str, str]
"""What is strange, and what was found."""


def oddities(frame: Frame, before: Frame | None) -> Iterator[Oddity]:
    """What is strange about a frame. Its lidar is read where a scene begins, since what is wrong is wrong throughout.

    Args:
        frame: looked at.
        before: the frame read before it.
    """
    yield from _cameras(frame)
    if frame.timestamp_us > LATEST:
        yield "times lie thousands of years ahead: are they in microseconds?", str(frame.timestamp_us)
    if before is not None and before.scene == frame.scene:
        yield from _drive(frame, before)
    elif frame.lidar is not None:
        yield from _lidar(frame, frame.lidar)


def _cameras(frame: Frame) -> Iterator[Oddity]:
    steep = []
    for camera in frame.cameras:
        cx, cy = camera.intrinsics[0, 2], camera.intrinsics[1, 2]
        if not (0 <= cx <= camera.width and 0 <= cy <= camera.height):
            found = f"{camera.name}, ({cx:.0f}, {cy:.0f}) in {camera.width}x{camera.height} pixels"
            yield "the principal point lies outside the picture: are intrinsics those of this resolution?", found
        ego_T_camera = frame.ego_T_camera(camera)
        away, height = float(np.linalg.norm(ego_T_camera[:3, 3])), float(ego_T_camera[2, 3])
        if away > FARTHEST_SENSOR:
            yield "a camera is far from the car: is ego_T_camera in metres?", f"{camera.name}, {away:.0f} m"
        elif height < LOWEST_CAMERA:
            what = "a camera is not above the ground: is the origin of the ego frame on the ground, and ego_T_camera"
            yield f"{what} the camera's pose in it, not the other way round?", f"{camera.name}, {height:.2f} m high"
        steep.append(abs(ego_T_camera[2, 2]) > np.sin(np.deg2rad(STEEPEST)))
    if all(steep):
        what = "every camera looks at the sky or the ground: are the axes of ego_T_camera x right, y down, z forward?"
        yield what, ", ".join(camera.name for camera in frame.cameras)


def _drive(frame: Frame, before: Frame) -> Iterator[Oddity]:
    seconds = (frame.timestamp_us - before.timestamp_us) / 1e6
    metres = float(np.linalg.norm(frame.world_T_ego[:3, 3] - before.world_T_ego[:3, 3]))
    if metres > FASTEST * seconds:
        what = "the car is faster than a car: are poses in metres and times in microseconds?"
        yield what, f"{metres:.1f} m in {seconds:.6f} s"
    yield from _without_a_pose(frame, metres / max(seconds, 1e-6))


def _without_a_pose(frame: Frame, speed: float) -> Iterator[Oddity]:
    """Pictures and a sweep of another time that have the pose of the frame; ``speed`` in metres per second."""
    parts: list[CameraView | LidarSweep] = [*frame.cameras, *([] if frame.lidar is None else [frame.lidar])]
    for part in parts:
        seconds = abs(part.timestamp_us - frame.timestamp_us) / 1e6
        if speed * seconds > AWAY and np.array_equal(part.world_T_ego, frame.world_T_ego):
            name = part.name if isinstance(part, CameraView) else "lidar"
            yield (
                "a picture or sweep of another moment has the pose of the frame: give it a world_T_ego of its own.",
                f"{name}, {seconds:.3f} s away, {speed * seconds:.1f} m by then",
            )


def _lidar(frame: Frame, sweep: LidarSweep) -> Iterator[Oddity]:
    points = sweep.points()[:, :3].astype(np.float64)
    if not len(points):
        yield "a lidar sweep has no points.", sweep.source
        return
    reach = float(np.abs(points).max())
    if reach > FARTHEST_POINT:
        what = "lidar points are far away: are they float32, in metres, and as many columns as is said?"
        yield what, f"{sweep.source}, {reach:.3g} m"
        return
    ego_T_lidar = frame.ego_T_lidar(sweep)
    away = float(np.linalg.norm(ego_T_lidar[:3, 3]))
    if away > FARTHEST_SENSOR:
        yield "the lidar is far from the car: are its world_T_ego and ego_T_lidar right?", f"{away:.0f} m"
    elif not any(_sees(frame, camera, transform(ego_T_lidar, points)) for camera in frame.cameras):
        yield "no camera sees a point of the lidar: are ego_T_lidar and ego_T_camera right?", f"{len(points)} points"


def _sees(frame: Frame, camera: CameraView, points: NDArray[np.float64]) -> bool:
    """Whether any of these points in the ego frame falls into a picture, lens left aside."""
    pixels, _ = project(transform(inverse(frame.ego_T_camera(camera)), points), camera.intrinsics)
    return bool(((pixels >= 0) & (pixels < (camera.width, camera.height))).all(axis=1).any())
