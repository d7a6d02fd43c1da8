"""Whole pictures: what the cameras saw, what the network made of it, and what was there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from ugocc.geometry.grid import VoxelGrid
from ugocc.labels import PALETTE
from ugocc.viz.bev import draw_bev
from ugocc.viz.canvas import INK, MUTED, PAPER, Picture, panel
from ugocc.viz.lettering import font, shortened, text_width
from ugocc.viz.overlay import legend
from ugocc.viz.painter import draw_volume
from ugocc.viz.view import View

Volume = NDArray[np.uint8]
Mask = NDArray[np.bool_]

MARGIN, GAP, HEADER = 28, 12, 64
SEEN = "voxels a camera sees"
"""Note of pictures of which a mask hides the rest."""
_STRIP = 344  # rows of the strip of cameras and top views
_CAMERAS = 920  # columns the cameras may take
_ALONE = 1800, 1000  # columns and rows that they may take where there is no volume
_NARROWEST = 900  # columns
_ONE_ROW, _ROW = 300, 220  # rows of a comparison's cameras: of those in one row, and of each of several


@dataclass(frozen=True)
class Tile:
    """Where an image goes."""

    index: int
    """Which image."""
    left: int
    """First column."""
    top: int
    """First row."""
    width: int
    """Columns."""
    height: int
    """Rows."""


def prediction_picture(
    images: Sequence[tuple[str, Picture]],
    prediction: Volume,
    truth: Volume | None,
    grid: VoxelGrid,
    title: str = "",
    note: str = "",
    mask: Mask | None = None,
    view: View | None = None,
    palette: NDArray[np.uint8] = PALETTE,
) -> Picture:
    """The cameras and the volume from above in a strip, the volume in 3D below, beside the truth where there is one.

    Args:
        images: name and (H, W, 3) picture of every camera, 1 to 12 of any sizes.
        prediction: (X, Y, Z) classes 0-9.
        truth: (X, Y, Z) classes, 255 unknown, or None.
        grid: grid of both.
        title: for the top left corner.
        note: for the top right corner.
        mask: (X, Y, Z) voxels to draw in both (such as those a camera sees); None for all.
        view: camera of the 3D pictures; None for an overview.
        palette: (>= 9, 3) RGB per class.

    Returns:
        (rows, columns, 3) RGB; rows and columns depend on the sizes of the images and on whether there is a truth.
    """
    volumes = [("prediction", prediction)] + ([("truth", truth)] if truth is not None else [])
    return frame_picture(images, volumes, grid, title, note, mask, view, palette)


def frame_picture(
    images: Sequence[tuple[str, Picture]],
    volumes: Sequence[tuple[str, Volume]],
    grid: VoxelGrid,
    title: str = "",
    note: str = "",
    mask: Mask | None = None,
    view: View | None = None,
    palette: NDArray[np.uint8] = PALETTE,
) -> Picture:
    """The cameras and any number of named volumes (X, Y, Z), large where there is none; otherwise as
    :func:`prediction_picture`."""
    names, shapes = [name for name, _ in images], [p.shape[:2] for _, p in images]
    tiles, cameras_width = arrange(names, shapes, *((_CAMERAS, _STRIP) if volumes else _ALONE))
    above = 0 if volumes else min(t.top for t in tiles)
    strip = _STRIP if volumes else max(t.top + t.height for t in tiles) - above
    inner = max(cameras_width + len(volumes) * (GAP + _STRIP), _NARROWEST)
    columns = max(len(volumes), 1)
    wide = (inner - GAP * (columns - 1)) // columns
    tall = round(wide * (0.5, 0.6, 0.7)[min(columns, 3) - 1]) if volumes else -GAP
    canvas = _page(inner, strip + GAP + tall, title, note, palette)

    room = inner - len(volumes) * (GAP + _STRIP)
    _paste_cameras(canvas, images, tiles, MARGIN + (room - cameras_width) // 2, HEADER - above)
    for i, (name, volume) in enumerate(volumes):
        plan = draw_bev(volume, grid, (_STRIP, _STRIP), palette, mask)
        panel(canvas, plan, MARGIN + room + GAP + i * (GAP + _STRIP), HEADER, f"{name}, from above")
        scene = draw_volume(volume, grid, (wide, tall), view, palette, mask)
        panel(canvas, scene, MARGIN + i * (GAP + wide), HEADER + _STRIP + GAP, name)
    return np.array(canvas)


def comparison_picture(
    volumes: Sequence[tuple[str, Volume]],
    grid: VoxelGrid,
    title: str = "",
    note: str = "",
    images: Sequence[tuple[str, Picture]] = (),
    mask: Mask | None = None,
    view: View | None = None,
    palette: NDArray[np.uint8] = PALETTE,
    column: int = 500,
) -> Picture:
    """Several volumes of the same moment side by side (before, after, truth), each in 3D and from above.

    Args:
        volumes: caption and (X, Y, Z) classes of each.
        grid: grid of all.
        title: for the top left corner.
        note: for the top right corner.
        images: name and (H, W, 3) picture of cameras, shown on top in the rows of :func:`rig_rows`.
        mask: (X, Y, Z) voxels to draw in all; None for all.
        view: camera of the 3D pictures; None for an overview.
        palette: (>= 9, 3) RGB per class.
        column: width of one volume's pictures.

    Returns:
        (rows, columns, 3) RGB.
    """
    inner = len(volumes) * (column + GAP) - GAP
    tiles: list[Tile] = []
    cameras_width = strip = above = 0
    if images:
        names, shapes = [name for name, _ in images], [p.shape[:2] for _, p in images]
        tiles, cameras_width = arrange(names, shapes, inner, max(_ONE_ROW, _ROW * len(rig_rows(names))))
        above = min(t.top for t in tiles)
        strip = max(t.top + t.height for t in tiles) - above + GAP
    tall = round(0.78 * column)
    canvas = _page(inner, strip + tall + GAP + column, title, note, palette)
    _paste_cameras(canvas, images, tiles, MARGIN + (inner - cameras_width) // 2, HEADER - above)
    for i, (name, volume) in enumerate(volumes):
        left, top = MARGIN + i * (column + GAP), HEADER + strip
        panel(canvas, draw_volume(volume, grid, (column, tall), view, palette, mask), left, top, name)
        panel(canvas, draw_bev(volume, grid, (column, column), palette, mask), left, top + tall + GAP)
    return np.array(canvas)


def arrange(names: Sequence[str], shapes: Sequence[tuple[int, ...]], width: int, height: int) -> tuple[list[Tile], int]:
    """Places of camera images in a box: front cameras in the upper row, the others below, left on the left.

    Rigs whose names do not say FRONT keep their order, in rows of equal length. All images have the same width.

    Args:
        names: of the cameras.
        shapes: (rows, columns) of the images.
        width: columns of the box.
        height: rows of the box.

    Returns:
        Tiles that do not overlap, and the columns they take; they fill the rows of the box as well as they can.
    """
    rows = rig_rows(names)
    gap = GAP // 2
    longest = max(len(row) for row in rows)
    cell = (width - gap * (longest - 1)) / longest
    # What one column of cell width costs in rows, all rows together.
    slope = sum(max(shapes[i][0] / shapes[i][1] for i in row) for row in rows)
    cell = int(min(cell, (height - gap * (len(rows) - 1)) / slope))
    used = longest * (cell + gap) - gap
    tiles, top = [], 0.0
    spare = max(0.0, height - gap * (len(rows) - 1) - slope * cell) if len(rows) > 1 else 0.0
    for row in rows:
        tall = max(round(cell * shapes[i][0] / shapes[i][1]) for i in row)
        left = (used - len(row) * (cell + gap) + gap) // 2
        for i in row:
            own = max(1, round(cell * shapes[i][0] / shapes[i][1]))
            tiles.append(Tile(i, left, int(top) + (tall - own) // 2, cell, own))
            left += cell + gap
        top += tall + gap
    return ([Tile(t.index, t.left, t.top + int(spare / 2), t.width, t.height) for t in tiles], used)


def rig_rows(names: Sequence[str]) -> list[list[int]]:
    """Indices of cameras in the rows in which they are shown: those in front above the others, left on the left."""
    count = len(names)
    front = [i for i, name in enumerate(names) if "FRONT" in name.upper()]
    rest = [i for i in range(count) if i not in front]
    if count <= 2 or (count == 3 and len(front) != 1):
        rows = [list(range(count))]
    elif front and rest and len(front) <= 4 and len(rest) <= 5:
        rows = [front, rest]
    else:
        lines = 2 if count <= 8 else 3
        each = -(-count // lines)
        rows = [list(range(start, min(start + each, count))) for start in range(0, count, each)]
    return [_left_to_right(names, row) for row in rows]


def _left_to_right(names: Sequence[str], row: Sequence[int]) -> list[int]:
    def side(index: int) -> int:
        name = names[index].upper()
        far = 2 if "SIDE" in name else 1
        return far * (("RIGHT" in name) - ("LEFT" in name))

    return sorted(row, key=side)


def _paste_cameras(
    canvas: Image.Image, images: Sequence[tuple[str, Picture]], tiles: Sequence[Tile], left: int, top: int
) -> None:
    for tile in tiles:
        name, picture = images[tile.index]
        small = Image.fromarray(picture).resize((tile.width, tile.height), Image.Resampling.LANCZOS, reducing_gap=3.0)
        panel(canvas, np.array(small), left + tile.left, top + tile.top, name, radius=6)


def _page(inner: int, body: int, title: str, note: str, palette: NDArray[np.uint8]) -> Image.Image:
    """An empty page with title, note and legend around a body of this many columns and rows."""
    key = legend(inner, palette=palette)
    canvas = Image.new("RGB", (inner + 2 * MARGIN, HEADER + body + 16 + key.shape[0] + 14), PAPER)
    draw = ImageDraw.Draw(canvas)
    taken = text_width(note, 16) + 24 if note else 0
    title = shortened(title, 24, inner - taken)
    draw.text((MARGIN, HEADER / 2), title, INK, font(24, title), anchor="lm")
    draw.text((MARGIN + inner, HEADER / 2 + 2), note, MUTED, font(16, note), anchor="rm")
    canvas.paste(Image.fromarray(key), (MARGIN, HEADER + body + 16))
    return canvas
