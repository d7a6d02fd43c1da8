"""Where the rays of RayIoU start: the lidar of a frame and of other frames of its scene."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from ugocc.data.frame import Frame
from ugocc.evaluation.ray_iou import USUAL_ORIGIN
from ugocc.geometry.grid import OCC3D_GRID, VoxelGrid
from ugocc.geometry.rigid import inverse, transform

Points = NDArray[np.float64]

MARGIN = 1.0
"""Metres between an origin and the sides of the grid (the protocol keeps |x|, |y| < 39 m of 40 m)."""
MOST = 8
"""Largest number of origins per frame."""


class SceneOrigins:
    """Lidar positions of all frames, for looking up ray origins by token.

    A frame without lidar counts with the usual place of a roof lidar.

    Args:
        frames: all frames of the split, scene after scene in the order of time.
        grid: grid of the volumes.
    """

    def __init__(self, frames: Iterable[Frame], grid: VoxelGrid = OCC3D_GRID) -> None:
        self.grid = grid
        self._path: defaultdict[str, list[Points]] = defaultdict(list)
        self._place: dict[str, tuple[str, int, Points]] = {}
        for frame in frames:
            path = self._path[frame.scene]
            self._place[frame.token] = (frame.scene, len(path), frame.world_T_ego)
            path.append(lidar_position(frame))

    def __getitem__(self, token: str) -> Points:
        """(K, 3) origins of the frame ``token`` in metres, its key ego frame; K is 1 to 8."""
        scene, position, world_T_ego = self._place[token]
        return scene_origins(np.array(self._path[scene]), position, world_T_ego, self.grid)


def lidar_position(frame: Frame) -> Points:
    """(3,) world position in metres of the frame's lidar."""
    # Points of several lasers come in the ego frame, whose origin lies on the ground: no place to look from.
    if frame.lidar is None or np.array_equal(frame.lidar.ego_T_lidar, np.eye(4)):
        return transform(frame.world_T_ego, np.array(USUAL_ORIGIN))
    return transform(frame.lidar.world_T_ego, frame.lidar.ego_T_lidar[:3, 3])


def scene_origins(path: Points, position: int, world_T_ego: Points, grid: VoxelGrid) -> Points:
    """Choose the origins of one frame: the places of the drive inside the grid, evenly thinned out to eight.

    Args:
        path: (F, 3) world positions of the lidar over the scene.
        position: which of them is the frame's own.
        world_T_ego: (4, 4) key pose of the frame.
        grid: grid of the volumes.

    Returns:
        (K, 3) metres in the key ego frame; the frame's own place alone if none is so far inside, and nothing if the
        volume does not even hold that.
    """
    places = transform(inverse(world_T_ego), path)
    margin = (MARGIN, MARGIN, 0.0)
    inside = ((places > np.add(grid.lower, margin)) & (places < np.subtract(grid.upper, margin))).all(axis=1)
    chosen = places[inside]
    if not len(chosen):
        own = places[position : position + 1]
        chosen = own[((own >= np.array(grid.lower)) & (own < np.array(grid.upper))).all(axis=1)]
    if len(chosen) > MOST:
        chosen = chosen[np.round(np.linspace(0, len(chosen) - 1, MOST)).astype(int)]
    return chosen
