"""Things drawn onto camera images, and images of depth and of classes."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image, ImageDraw

from ugocc.data.frame import Box
from ugocc.geometry.camera import project
from ugocc.geometry.rigid import Matrix, inverse, transform, yaw_matrix
from ugocc.labels import CLASSES, FREE, PALETTE, UNKNOWN
from ugocc.viz.canvas import INK, PAPER, Picture
from ugocc.viz.lettering import font, text_width

NOTHING = (30, 34, 42)
"""RGB where there is no depth or no label."""
_RAMP = np.array(
    [(255, 92, 64), (255, 176, 46), (214, 226, 74), (92, 205, 122), (38, 165, 186), (52, 104, 196), (72, 52, 130)],
    dtype=np.float64,
)
_MARKS = (1, 3, 5, 10, 20, 40, 60, 100)  # metres


def depth_colours(depth: ArrayLike, nearest: float = 1.0, farthest: float = 60.0) -> Picture:
    """(..., 3) RGB of depths in metres, near warm and far cold, even steps in the logarithm."""
    metres = np.clip(np.nan_to_num(np.asarray(depth, dtype=np.float64), nan=farthest), nearest, farthest)
    place = np.log(metres / nearest) / np.log(farthest / nearest) * (len(_RAMP) - 1)
    channels = [np.interp(place, np.arange(len(_RAMP)), _RAMP[:, c]) for c in range(3)]
    return np.round(np.stack(channels, axis=-1)).astype(np.uint8)


def draw_points(
    image: Picture, pixels: NDArray[np.floating], depth: NDArray[np.floating], radius: int | None = None
) -> Picture:
    """Draw projected points, coloured by depth, nearer ones on top.

    Args:
        image: (H, W, 3) RGB, left as it is.
        pixels: (n, 2) u, v; points outside the image, NaN or at depth <= 0 are skipped.
        depth: (n,) metres along the optical axis.
        radius: pixels around a point that are filled as well; None chooses by the width of the image.

    Returns:
        (H, W, 3) RGB.
    """
    out = image.copy()
    height, width = image.shape[:2]
    reach = max(0, round(width / 550)) if radius is None else radius
    good = np.isfinite(pixels).all(axis=1) & (depth > 0)
    order = np.flatnonzero(good)[np.argsort(-depth[good], kind="stable")]
    column, row = np.round(pixels[order]).clip(-1e6, 1e6).astype(np.int64).T
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    column, row, colours = column[inside], row[inside], depth_colours(depth[order][inside])
    steps = np.arange(-reach, reach + 1)
    dot = np.stack(np.meshgrid(steps, steps), axis=-1).reshape(-1, 2)
    dot = dot[(dot**2).sum(axis=1) <= reach**2 + 0.5]
    for dv, du in dot:
        # Dots at the border are squeezed into the image.
        out[(row + dv).clip(0, height - 1), (column + du).clip(0, width - 1)] = colours
    return out


def draw_boxes(
    image: Picture,
    boxes: Iterable[Box],
    ego_T_camera: Matrix,
    intrinsics: Matrix,
    distortion: ArrayLike | None = None,
    palette: NDArray[np.uint8] = PALETTE,
) -> Picture:
    """Draw the edges of boxes in the colour of their class, with a stroke from the centre of the floor to the front.

    Args:
        image: (H, W, 3) RGB as recorded, left as it is.
        boxes: in the key ego frame.
        ego_T_camera: (4, 4) from camera axes to the key ego frame.
        intrinsics: (3, 3) pixels of the image.
        distortion: of :func:`ugocc.geometry.camera.distort`, or None.
        palette: (>= 9, 3) RGB per class.

    Returns:
        (H, W, 3) RGB.
    """
    picture = Image.fromarray(image)
    draw = ImageDraw.Draw(picture)
    thick = max(1, round(image.shape[1] / 480))
    along = np.linspace(0, 1, 24)[:, None]
    for box in boxes:
        colour = tuple(int(c) for c in palette[box.label]) if box.label < len(palette) else (255, 255, 255)
        ego_T_box = yaw_matrix(box.yaw, box.centre)
        for start, end in _box_edges(box.size):
            points = transform(inverse(ego_T_camera) @ ego_T_box, start + (end - start) * along)
            pixels, depth = project(points, intrinsics, distortion)
            pixels[depth < 0.1] = np.nan
            for a, b in pairwise(pixels):
                if np.isfinite(a).all() and np.isfinite(b).all() and np.abs([a, b]).max() < 1e5:
                    draw.line([*a, *b], fill=colour, width=thick)
    return np.array(picture)


def _box_edges(size: tuple[float, float, float]) -> list[tuple[Matrix, Matrix]]:
    """Ends of the twelve edges and of the heading stroke, in the box's own frame."""
    half = np.asarray(size) / 2
    edges = []
    for axis in range(3):
        b, c = (a for a in range(3) if a != axis)
        for sb in (-1, 1):
            for sc in (-1, 1):
                start = np.empty(3)
                start[[axis, b, c]] = -half[axis], sb * half[b], sc * half[c]
                end = start.copy()
                end[axis] = half[axis]
                edges.append((start, end))
    return [*edges, (np.array([0.0, 0.0, -half[2]]), np.array([half[0], 0.0, -half[2]]))]


def draw_depth(depth: NDArray[np.floating], nearest: float = 1.0, farthest: float = 60.0) -> Picture:
    """(H, W, 3) RGB of a depth map (H, W) in metres; dark where it is 0."""
    return np.where((depth > 0)[..., None], depth_colours(depth, nearest, farthest), np.array(NOTHING, np.uint8))


def draw_semantics(
    labels: NDArray[np.uint8],
    image: Picture | None = None,
    opacity: float = 0.6,
    palette: NDArray[np.uint8] = PALETTE,
) -> Picture:
    """(H, W, 3) RGB of a map of classes (H, W).

    Args:
        labels: classes 0-9, 255 unknown.
        image: (H, W, 3) picture to lay the colours over; unknown pixels and sky (9) show it unchanged. Without it,
            unknown pixels are dark.
        opacity: of the colours over the image.
        palette: (10, 3) RGB per class.
    """
    table = np.full((256, 3), NOTHING, dtype=np.uint8)
    table[: len(palette)] = palette
    colours = table[labels]
    if image is None:
        return colours
    covered = ((labels != UNKNOWN) & (labels != FREE))[..., None]
    mixed = np.round(opacity * colours + (1 - opacity) * image).astype(np.uint8)
    return np.where(covered, mixed, image)


def depth_scale(width: int, nearest: float = 1.0, farthest: float = 60.0, size: int = 14) -> Picture:
    """A strip ``width`` columns wide with the colours of depths and metres below them, in the middle."""
    bar = min(width - 4 * size, 420)
    left, tall = (width - bar) // 2, size - 2
    strip = Image.new("RGB", (width, tall + size + 8), PAPER)
    metres = nearest * (farthest / nearest) ** (np.arange(bar) / max(bar - 1, 1))
    strip.paste(Image.fromarray(depth_colours(np.tile(metres, (tall, 1)), nearest, farthest)), (left, 0))
    draw = ImageDraw.Draw(strip)
    for mark in (m for m in _MARKS if nearest <= m <= farthest):
        at = left + (bar - 1) * np.log(mark / nearest) / np.log(farthest / nearest)
        draw.text((at, tall + 4), f"{mark} m", INK, font(size), anchor="mt")
    return np.array(strip)


def legend(width: int = 0, size: int = 15, palette: NDArray[np.uint8] = PALETTE) -> Picture:
    """A strip with the nine classes and their colours, on as many centred lines as ``width`` asks for (0: one line)."""
    swatch, gap, line = size - 1, 26, size + 12
    names = CLASSES[:FREE]
    lengths = [swatch + 8 + text_width(name, size) for name in names]
    room = max(width, max(lengths)) if width else sum(lengths) + gap * (len(names) - 1)
    rows = _lines(lengths, gap, room)
    # Lines of about equal length: the narrowest that needs no more of them.
    for narrower in range(room, max(lengths) - 1, -4):
        if len(tighter := _lines(lengths, gap, narrower)) > len(rows):
            break
        rows = tighter
    strip = Image.new("RGB", (room, line * len(rows)), PAPER)
    draw = ImageDraw.Draw(strip)
    for r, row in enumerate(rows):
        left = (room - sum(lengths[i] for i in row) - gap * (len(row) - 1)) // 2
        middle = r * line + line // 2
        for i in row:
            top = middle - swatch // 2
            fill = tuple(int(c) for c in palette[i])
            draw.rounded_rectangle([left, top, left + swatch, top + swatch], 3, fill=fill)
            draw.text((left + swatch + 8, middle), names[i], INK, font(size, names[i]), anchor="lm")
            left += lengths[i] + gap
    return np.array(strip)


def _lines(lengths: list[int], gap: int, room: int) -> list[list[int]]:
    """Positions of things of these lengths, line by line, each line no longer than ``room`` if it can be."""
    rows: list[list[int]] = [[]]
    for i, length in enumerate(lengths):
        if rows[-1] and sum(lengths[j] + gap for j in rows[-1]) + length > room:
            rows.append([])
        rows[-1].append(i)
    return rows
