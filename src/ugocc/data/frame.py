"""One moment of one vehicle, as every reader yields it.

Heavy contents (images, points, labels) are callables without arguments, made with ``functools.partial`` of a
module-level function: nothing is read until asked for, and a frame pickles to data-loading processes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from ugocc.geometry.grid import OCC3D_GRID, VoxelGrid
from ugocc.geometry.rigid import camera_to_key_ego

Matrix = NDArray[np.float64]


@dataclass(frozen=True)
class CameraView:
    """One camera at its own moment."""

    name: str
    """Name on the rig, such as CAM_FRONT."""
    image: Callable[..., NDArray[np.uint8]]
    """Reads the picture as recorded (still distorted): (height, width, 3) uint8 RGB. See ``shrinks``."""
    source: str
    """Where the picture comes from, for messages: a path, or a path and a row."""
    width: int
    """Columns of the recorded picture."""
    height: int
    """Rows of the recorded picture."""
    intrinsics: Matrix
    """(3, 3) in pixels of the recorded picture, centre of the top-left pixel at (0, 0)."""
    distortion: Matrix
    """(5,) k1, k2, p1, p2, k3; zeros for a rectified picture. (4,) k1, k2, k3, k4 of a fisheye: see
    :func:`ugocc.geometry.camera.distort`."""
    ego_T_camera: Matrix
    """(4, 4) from camera axes (x right, y down, z forward) to the ego frame."""
    world_T_ego: Matrix
    """(4, 4) pose of the vehicle when this picture was taken."""
    timestamp_us: int
    """Microseconds."""
    semantics: Callable[[], NDArray[np.uint8]] | None = None
    """Reads 2D labels in the ten classes (255 unknown), (height, width) uint8."""
    own_car: Callable[[], NDArray[np.bool_]] | None = None
    """Reads the mask of pixels that show the own vehicle, (height, width) bool."""
    shrinks: bool = False
    """Whether ``image`` takes the (columns, rows) that are enough, and may then give the picture at a half, a quarter
    or an eighth of its size, which is faster to read."""


@dataclass(frozen=True)
class LidarSweep:
    """One lidar sweep at its own moment."""

    points: Callable[[], NDArray[np.float32]]
    """Reads (M, 4) x, y, z, intensity; metres in the sensor's frame."""
    source: str
    """Where the points come from, for messages."""
    ego_T_lidar: Matrix
    """(4, 4) from the sensor's frame to the ego frame."""
    world_T_ego: Matrix
    """(4, 4) pose of the vehicle at the sweep's time."""
    timestamp_us: int
    """Microseconds."""
    labels: Callable[[], NDArray[np.uint8]] | None = None
    """Reads (M,) ten-class labels of the points (255 unknown)."""


class OccupancyLabel(NamedTuple):
    """Occupancy of one frame in the ten classes."""

    semantics: NDArray[np.uint8]
    """(X, Y, Z) class per voxel, 9 free, 255 unknown."""
    camera_mask: NDArray[np.bool_]
    """(X, Y, Z) voxels some camera sees."""
    lidar_mask: NDArray[np.bool_]
    """(X, Y, Z) voxels the lidar sees."""


@dataclass(frozen=True)
class Box:
    """One annotated object."""

    label: int
    """Ten-class id, 255 if the category has none."""
    centre: tuple[float, float, float]
    """Metres in the key ego frame."""
    size: tuple[float, float, float]
    """Length, width, height in metres."""
    yaw: float
    """Heading in radians in the key ego frame."""
    track: str = ""
    """Identity over time, if known."""


@dataclass(frozen=True)
class Frame:
    """One moment of one vehicle. The ego frame (x forward, y left, z up) at ``timestamp_us`` is the key ego frame."""

    fleet: str
    """Name of the fleet."""
    scene: str
    """Name of the drive or segment."""
    token: str
    """Unique name of this moment, also the name of its prediction file."""
    timestamp_us: int
    """Key timestamp in microseconds."""
    world_T_ego: Matrix
    """(4, 4) key pose of the vehicle."""
    cameras: tuple[CameraView, ...]
    """All cameras, in the rig's order."""
    lidar: LidarSweep | None = None
    """Key lidar sweep."""
    occupancy: Callable[[], OccupancyLabel] | None = None
    """Reads the occupancy label on ``occupancy_grid``."""
    occupancy_grid: VoxelGrid = OCC3D_GRID
    """Grid of the label."""
    boxes: tuple[Box, ...] = ()
    """Annotated objects."""
    previous: str | None = None
    """Token of the frame before in the same scene."""
    next: str | None = None
    """Token of the frame after in the same scene."""
    sweeps: tuple[LidarSweep, ...] = field(default=())
    """Further lidar sweeps near this moment (between key frames)."""

    def ego_T_camera(self, camera: CameraView) -> Matrix:
        """(4, 4) from camera axes to this frame's key ego frame, through the camera's own pose."""
        return camera_to_key_ego(self.world_T_ego, camera.world_T_ego, camera.ego_T_camera)

    def ego_T_lidar(self, sweep: LidarSweep) -> Matrix:
        """(4, 4) from a sweep's sensor frame to this frame's key ego frame."""
        return camera_to_key_ego(self.world_T_ego, sweep.world_T_ego, sweep.ego_T_lidar)


class FrameSource(Protocol):
    """What every reader is: an ordered collection of frames, scene after scene."""

    fleet: str

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Frame: ...

    def __iter__(self) -> Iterator[Frame]: ...

    @property
    def tokens(self) -> list[str]:
        """Token of every frame, in order."""
        ...
