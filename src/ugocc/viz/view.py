"""Where a picture of a volume is taken from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ugocc.geometry.grid import VoxelGrid
from ugocc.geometry.rigid import BODY_T_OPTICAL, Matrix, from_rotation_translation, inverse, transform


@dataclass(frozen=True)
class View:
    """A pinhole camera that looks at a point of the ego frame."""

    azimuth: float = 180.0
    """Degrees, anticlockwise from the forward axis: on which side of the target the camera stands (180 = behind)."""
    elevation: float = 42.0
    """Degrees above the horizon, seen from the target."""
    distance: float = 100.0
    """Metres from the target."""
    target: tuple[float, float, float] = (-3.0, 0.0, 0.0)
    """Metres in the ego frame."""
    field_of_view: float = 40.0
    """Degrees across the width of the picture."""

    def ego_T_camera(self) -> Matrix:
        """(4, 4) from camera axes to the ego frame."""
        # Standing at azimuth a, elevation e, the camera looks along the direction a + 180, -e.
        yaw, pitch = np.deg2rad(self.azimuth + 180.0), np.deg2rad(self.elevation)
        turn = np.array([[np.cos(yaw), -np.sin(yaw), 0], [np.sin(yaw), np.cos(yaw), 0], [0, 0, 1]])
        nod = np.array([[np.cos(pitch), 0, np.sin(pitch)], [0, 1, 0], [-np.sin(pitch), 0, np.cos(pitch)]])
        body = turn @ nod
        return from_rotation_translation(body @ BODY_T_OPTICAL[:3, :3], self.target - self.distance * body[:, 0])

    def intrinsics(self, width: int, height: int) -> Matrix:
        """(3, 3) in pixels of a picture of this size."""
        focal = 0.5 * width / np.tan(np.deg2rad(self.field_of_view) / 2)
        return np.array([[focal, 0, (width - 1) / 2], [0, focal, (height - 1) / 2], [0, 0, 1.0]])


CHASE = View(elevation=26.0, distance=17.0, target=(5.0, 0.0, 0.5), field_of_view=78.0)
"""From just behind and above the car."""


def overview(grid: VoxelGrid, width: int, height: int, azimuth: float = 180.0) -> View:
    """The view in which the floor of a grid fills a picture of this size as well as it can.

    Args:
        grid: the grid.
        width: columns of the picture.
        height: rows of the picture.
        azimuth: degrees, as in :class:`View`.
    """
    # A square floor looks about sin(elevation) as high as wide.
    elevation = float(np.clip(np.rad2deg(np.arcsin(min(height / width, 1.0))), 28.0, 50.0))
    lower, upper = np.array(grid.lower), np.array(grid.upper)
    middle = (lower + upper) / 2
    x, y = np.meshgrid((lower[0], upper[0]), (lower[1], upper[1]))
    floor = np.stack([x, y, np.full_like(x, lower[2])], axis=-1).reshape(-1, 3)
    away = np.deg2rad(azimuth)
    distance, shift = 1.2 * float((upper - lower).max()), 0.0
    for _ in range(20):
        # A step towards the picture's middle: what lies lower in it lies nearer to the camera.
        target = (float(middle[0] + shift * np.cos(away)), float(middle[1] + shift * np.sin(away)), 0.0)
        view = View(azimuth, elevation, distance, target, 40.0)
        points = transform(inverse(view.ego_T_camera()), floor)
        pixels = (points @ view.intrinsics(width, height).T / points[:, 2:])[:, :2]
        low, high = pixels.min(axis=0), pixels.max(axis=0)
        focal = view.intrinsics(width, height)[0, 0]
        shift += ((low[1] + high[1]) / 2 - 0.53 * height) / focal * distance / np.sin(np.deg2rad(elevation))
        distance *= float(max((high[0] - low[0]) / (1.06 * width), (high[1] - low[1]) / (0.90 * height)))
    return view
