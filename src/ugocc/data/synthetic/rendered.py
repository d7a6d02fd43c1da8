"""What the renderer hands to the writers: one moment of one embedded fleet, in memory."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ugocc.data.synthetic.vocabulary import Material

Matrix = NDArray[np.float64]


@dataclass(frozen=True)
class RenderedCamera:
    """One picture with its truth."""

    name: str
    """Channel name of the dataset: CAM_FRONT ... (six), FRONT, FRONT_LEFT, ..., SIDE_RIGHT (five)."""
    image: NDArray[np.uint8]
    """(height, width, 3) RGB."""
    depth: NDArray[np.float32]
    """(height, width) metres along the optical axis, 0 for sky."""
    materials: NDArray[np.uint8]
    """(height, width) Material ids."""
    intrinsics: Matrix
    """(3, 3) pixels, centre of the top-left pixel at (0, 0)."""
    ego_T_camera: Matrix
    """(4, 4)."""
    world_T_ego: Matrix
    """(4, 4) vehicle pose at this camera's time."""
    timestamp_us: int
    """Time of this picture."""


@dataclass(frozen=True)
class RenderedLidar:
    """One sweep of a spinning lidar as a range image: row = beam (top beam first), column = azimuth."""

    ranges: NDArray[np.float32]
    """(beams, columns) metres, 0 where nothing returned."""
    intensity: NDArray[np.float32]
    """(beams, columns) in [0, 1]."""
    materials: NDArray[np.uint8]
    """(beams, columns) Material ids, SKY where nothing returned."""
    inclinations: NDArray[np.float64]
    """(beams,) radians above the horizon, decreasing."""
    ego_T_lidar: Matrix
    """(4, 4) from the sensor frame (x forward, y left, z up).

    Column c of W looks at azimuth pi - (c + 0.5) * 2 pi / W in it.
    """
    timestamp_us: int
    """Time of the sweep: the key time."""


@dataclass(frozen=True)
class RenderedBox:
    """One object with an identity over the scene."""

    material: Material
    """CAR, TRUCK, BUS, PEDESTRIAN, BICYCLE, MOTORCYCLE, SIGN, CONE or BARRIER."""
    track: int
    """Identity within the scene."""
    world_T_box: Matrix
    """(4, 4), origin at the box's centre, x along its length."""
    size: tuple[float, float, float]
    """Length, width, height in metres."""
    velocity: tuple[float, float]
    """World x, y in metres per second."""
    lidar_points: int
    """Returns of this frame's sweep inside the box."""


@dataclass(frozen=True)
class RenderedFrame:
    """One moment: everything the files of both datasets hold."""

    scene: str
    """Name of the scene."""
    index: int
    """Position in the scene, from 0."""
    timestamp_us: int
    """Key time."""
    world_T_ego: Matrix
    """(4, 4) key pose."""
    cameras: tuple[RenderedCamera, ...]
    """In the rig's order."""
    lidar: RenderedLidar
    """The key sweep."""
    boxes: tuple[RenderedBox, ...]
    """Objects within 80 m."""
    occupancy: NDArray[np.uint8]
    """(200, 200, 16) Material ids on the Occ3D grid, SKY = free."""
    camera_mask: NDArray[np.bool_]
    """(200, 200, 16) voxels some camera sees: free ones crossed by a ray, occupied ones hit (Occ3D, section 3)."""
    lidar_mask: NDArray[np.bool_]
    """(200, 200, 16) voxels the lidar sees."""
    in_view: NDArray[np.bool_]
    """(200, 200, 16) voxels whose centre falls into some image (Occ3D-Waymo's ``infov``)."""
