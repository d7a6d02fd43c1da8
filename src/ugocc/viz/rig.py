"""Where cameras are and look: fields of view from above, axes of frames in perspective and on maps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from PIL import Image, ImageDraw

from ugocc.geometry.camera import project
from ugocc.geometry.grid import VoxelGrid
from ugocc.geometry.rigid import Matrix, inverse, transform
from ugocc.viz.bev import plan_box
from ugocc.viz.canvas import INK, PAPER, Colour, Picture
from ugocc.viz.charts import SERIES
from ugocc.viz.lettering import font
from ugocc.viz.view import View

AXES: tuple[Colour, Colour, Colour] = ((222, 60, 60), (40, 150, 70), (45, 105, 220))
"""Colours of x, y and z."""
DRAWN = 1.1
"""Metres from a camera at which its picture is drawn in perspective."""
_FINE = 3  # lines are drawn this much larger and reduced


class Pinhole(NamedTuple):
    """One camera of a rig."""

    name: str
    """Shown beside it."""
    intrinsics: Matrix
    """(3, 3) pixels of the picture."""
    width: int
    """Columns of the picture."""
    height: int
    """Rows of the picture."""
    ego_T_camera: Matrix
    """(4, 4) camera axes to the ego frame."""

    def corners(self, depth: float) -> Matrix:
        """(4, 3) corners of the picture in the ego frame, ``depth`` metres along the optical axis."""
        u, v = np.array([-0.5, self.width - 0.5]), np.array([-0.5, self.height - 0.5])
        pixels = np.array([[u[0], v[0], 1], [u[1], v[0], 1], [u[1], v[1], 1], [u[0], v[1], 1]])
        return transform(self.ego_T_camera, depth * pixels @ np.linalg.inv(self.intrinsics).T)

    def degrees(self) -> float:
        """Width of the field of view."""
        focal, centre = self.intrinsics[0, 0], self.intrinsics[0, 2]
        return float(np.rad2deg(np.arctan((centre + 0.5) / focal) + np.arctan((self.width - 0.5 - centre) / focal)))


class Brush:
    """Smooth, half transparent lines, areas and words over a picture, in its pixels."""

    def __init__(self, picture: Picture) -> None:
        self._below = Image.fromarray(picture).convert("RGBA")
        size = (self._below.width * _FINE, self._below.height * _FINE)
        self._layer = Image.new("RGBA", size, (255, 255, 255, 0))
        self._words: list[tuple[tuple[float, float], str, Colour, int, str]] = []

    def area(self, points: Matrix, colour: Colour, opacity: float) -> None:
        """Fill a polygon (n, 2)."""
        over = Image.new("RGBA", self._layer.size, (255, 255, 255, 0))
        ImageDraw.Draw(over).polygon(self._at(points), fill=(*colour, round(255 * opacity)))
        self._layer = Image.alpha_composite(self._layer, over)

    def line(self, points: Matrix, colour: Colour, width: float = 1.5) -> None:
        """A line through points (n, 2)."""
        ImageDraw.Draw(self._layer).line(self._at(points), (*colour, 255), round(width * _FINE), joint="curve")

    def arrow(self, start: Matrix, end: Matrix, colour: Colour, width: float = 2.5) -> None:
        """An arrow between two points (2,)."""
        start, end = np.asarray(start, dtype=np.float64), np.asarray(end, dtype=np.float64)
        length = float(np.linalg.norm(end - start))
        if length < 1:
            return
        along = (end - start) / length
        across = np.array([-along[1], along[0]])
        head = min(4.2 * width, 0.6 * length)
        neck = end - head * along
        self.line(np.stack([start, neck]), colour, width)
        tip = np.stack([end, neck + 0.42 * head * across, neck - 0.42 * head * across])
        ImageDraw.Draw(self._layer).polygon(self._at(tip), fill=(*colour, 255))

    def dot(self, at: Matrix, radius: float, colour: Colour, edge: Colour | None = PAPER) -> None:
        """A disc, with a thin edge."""
        (u, v) = self._at(np.asarray(at)[None])[0]
        r = radius * _FINE
        outline = None if edge is None else (*edge, 255)
        ImageDraw.Draw(self._layer).ellipse(
            [u - r, v - r, u + r, v + r], (*colour, 255), outline, width=max(1, round(_FINE * 0.8))
        )

    def word(self, at: Matrix, text: str, colour: Colour = INK, size: int = 14, anchor: str = "mm") -> None:
        """Words with a light rim, above everything else."""
        self._words.append(((float(at[0]), float(at[1])), text, colour, size, anchor))

    def picture(self) -> Picture:
        """(H, W, 3) RGB of all of it."""
        layer = self._layer.resize(self._below.size, Image.Resampling.BOX)
        done = Image.alpha_composite(self._below, layer).convert("RGB")
        draw = ImageDraw.Draw(done)
        for at, text, colour, size, anchor in self._words:
            draw.text(at, text, colour, font(size, text), anchor=anchor, stroke_width=2, stroke_fill=PAPER)
        return np.array(done)

    @staticmethod
    def _at(points: Matrix) -> list[tuple[float, float]]:
        return [((float(u) + 0.5) * _FINE, (float(v) + 0.5) * _FINE) for u, v in np.asarray(points)]


def on_plan(points: Matrix, grid: VoxelGrid, picture: Picture) -> Matrix:
    """(n, 2) pixels of points (n, 2 or 3) in a picture that ``draw_bev`` made of a grid."""
    left, top, right, bottom = plan_box(grid, picture.shape[1], picture.shape[0])
    lower, upper = np.asarray(grid.lower[:2]), np.asarray(grid.upper[:2])
    share = (upper - np.asarray(points)[:, :2]) / (upper - lower)
    return share[:, ::-1] * (right - left, bottom - top) + (left, top)


def draw_fields_of_view(picture: Picture, grid: VoxelGrid, cameras: Sequence[Pinhole], reach: float = 10.0) -> Picture:
    """Cameras over a picture that ``draw_bev`` made of a grid: what each sees within ``reach`` metres, from above.

    Beside each stands its name, how many degrees it is wide, and how many metres it is above the ground.
    """
    brush = Brush(picture)
    for i, camera in enumerate(cameras):
        colour = SERIES[i % len(SERIES)]
        eye = camera.ego_T_camera[:3, 3]
        left, right = (camera.corners(1.0)[[0, 1]] - eye)[:, :2]
        turns = np.linspace(0, 1, 25)[:, None]
        rays = (1 - turns) * left + turns * right
        rays *= reach / np.linalg.norm(rays, axis=1, keepdims=True)
        outline = on_plan(np.concatenate([[eye[:2]], eye[:2] + rays, [eye[:2]]]), grid, picture)
        brush.area(outline, colour, 0.22)
        brush.line(outline, colour, 1.4)
        brush.dot(outline[0], 4.5, colour)
    for i, camera in enumerate(cameras):
        ahead = camera.ego_T_camera[:2, 2] / np.linalg.norm(camera.ego_T_camera[:2, 2])
        at = on_plan((camera.ego_T_camera[:2, 3] + 0.74 * reach * ahead)[None], grid, picture)[0]
        colour = _darker(SERIES[i % len(SERIES)])
        brush.word(at - np.array([0, 9]), camera.name, colour, 13)
        brush.word(at + np.array([0, 9]), f"{camera.degrees():.0f}°, {camera.ego_T_camera[2, 3]:.2f} m up", INK, 13)
    return brush.picture()


def _darker(colour: Colour) -> Colour:
    r, g, b = (round(0.72 * c) for c in colour)
    return r, g, b


def draw_axes(picture: Picture, view: View, cameras: Sequence[Pinhole], length: float = 2.2) -> Picture:
    """Axes of the ego frame and of each camera over a picture that ``draw_volume`` made from a view.

    A camera's own axes (x right, y down, z forward) are shorter; thin lines lead to the corners of its picture.
    """
    rows, columns = picture.shape[:2]
    camera_T_ego = inverse(view.ego_T_camera())
    intrinsics = view.intrinsics(columns, rows)

    def at(points: ArrayLike) -> Matrix:
        pixels = transform(camera_T_ego, np.asarray(points, dtype=np.float64)) @ intrinsics.T
        return pixels[:, :2] / pixels[:, 2:]

    brush = Brush(picture)
    for i, camera in enumerate(cameras):
        colour = SERIES[i % len(SERIES)]
        eye, corners = camera.ego_T_camera[:3, 3], camera.corners(DRAWN)
        for corner in corners:
            brush.line(at([eye, corner]), colour, 1.2)
        brush.area(at(corners), colour, 0.18)
        brush.line(at([*corners, corners[0]]), colour, 1.4)
    for pose, size, names in [(np.eye(4), length, "xyz"), *((c.ego_T_camera, 0.5, "") for c in cameras)]:
        ends = pose[:3, 3] + size * pose[:3, :3].T
        for axis, end in enumerate(ends):
            start, tip = at([pose[:3, 3], end])
            brush.arrow(start, tip, AXES[axis], 3.2 if names else 2.0)
            if names:
                brush.word(
                    tip + 12 * (tip - start) / max(np.linalg.norm(tip - start), 1e-6), names[axis], AXES[axis], 17
                )
    for camera in cameras:
        top = at(camera.corners(DRAWN)[:2]).mean(axis=0)
        brush.word(top - np.array([0, 9]), camera.name, INK, 13)
    return brush.picture()


def draw_ground(
    picture: Picture,
    ego_T_camera: Matrix,
    intrinsics: Matrix,
    distortion: ArrayLike | None = None,
    path: ArrayLike = (),
    reach: float = 40.0,
) -> Picture:
    """A net of five metres on the ground over a picture as recorded, and the way of the car on it.

    Where calibration is right the net lies flat on the road and ends below the horizon; where poses are right,
    too, the way keeps to the lane that the car took.

    Args:
        picture: (H, W, 3) RGB.
        ego_T_camera: (4, 4) camera axes to the ego frame.
        intrinsics: (3, 3) pixels of the picture.
        distortion: of :func:`ugocc.geometry.camera.distort`, or None.
        path: (n, 3) places of the car in the ego frame, in order of time.
        reach: metres to which the net goes, each way.
    """
    brush = Brush(picture)
    thin = max(1.0, picture.shape[1] / 700)
    camera_T_ego = inverse(ego_T_camera)

    def line(points: Matrix, colour: Colour, width: float) -> None:
        pixels, depth = project(transform(camera_T_ego, points), intrinsics, distortion)
        limit = 2 * max(picture.shape[:2])
        good = (depth > 0.3) & np.isfinite(pixels).all(axis=1) & (np.abs(pixels) < limit).all(axis=1)
        for i in np.flatnonzero(good[:-1] & good[1:]):
            brush.line(pixels[i : i + 2], colour, width)

    steps = np.arange(-reach, reach + 0.01, 0.5)
    still = np.zeros_like(steps)
    for across in np.arange(-reach, reach + 0.1, 5.0):
        line(np.stack([steps, still + across, still], axis=1), (255, 255, 255), thin)
        line(np.stack([still + across, steps, still], axis=1), (255, 255, 255), thin)
    places = np.asarray(path, dtype=np.float64).reshape(-1, 3)
    if len(places) > 1:
        places = np.stack(
            [np.interp(np.arange(0, len(places) - 0.99, 0.05), np.arange(len(places)), v) for v in places.T]
        )
        line(places.T, (255, 190, 40), 3 * thin)
    return brush.picture()
