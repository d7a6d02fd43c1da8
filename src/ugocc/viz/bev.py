"""A volume from above: the highest voxel of every column, forward up, left on the left."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from ugocc.geometry.grid import VoxelGrid
from ugocc.labels import FREE, PALETTE
from ugocc.viz.painter import FLOOR, SHADOW, sunlight

Picture = NDArray[np.uint8]

BESIDE = (239, 242, 246)
"""RGB beside a grid that is not of the picture's proportions."""
_CAR = ((-1.0, 3.8), (-1.0, 1.0))  # metres along x and y
_LINES = (84, 96, 118, 90)


def draw_bev(
    volume: NDArray[np.uint8],
    grid: VoxelGrid,
    size: tuple[int, int] = (480, 480),
    palette: NDArray[np.uint8] = PALETTE,
    mask: NDArray[np.bool_] | None = None,
    ego: bool = True,
) -> Picture:
    """Top view of a volume: class of the highest voxel, lighter the higher it is, with soft shadows.

    Args:
        volume: (X, Y, Z) classes 0-9; free and unknown (255) voxels are not drawn.
        grid: its grid.
        size: columns and rows; the grid fills them as well as it can with square cells, in the middle.
        palette: (>= 9, 3) RGB per class.
        mask: (X, Y, Z) voxels to draw; None for all.
        ego: draw the car at the origin, and rings every ten metres.

    Returns:
        (rows, columns, 3) RGB. Forward (x) is up, left (y) is left.
    """
    solid = volume < FREE if mask is None else (volume < FREE) & mask
    layers = solid.shape[2]
    top = layers - 1 - solid[:, :, ::-1].argmax(axis=2)
    i, j = np.indices(top.shape)
    sun = sunlight(solid)
    filled = np.asarray(solid.any(axis=2))
    lift = 0.94 + 0.16 * top / max(layers - 1, 1)
    colour = palette[np.where(filled, volume[i, j, top], 0)] * lift[..., None]
    light = np.where(filled, sun[i, j, top + 1], sun[:, :, 0])
    shaded = np.where(filled[..., None], colour, FLOOR) * (1 - SHADOW * (1 - light))[..., None]
    cells = np.clip(shaded[::-1, ::-1] + 0.5, 0, 255).astype(np.uint8)
    left, top, right, bottom = place = plan_box(grid, *size)
    inner = right - left, bottom - top
    image = Image.fromarray(np.ascontiguousarray(cells)).resize(_whole(cells.shape, inner), Image.Resampling.NEAREST)
    image = image.resize(inner, Image.Resampling.BOX)
    if ego:
        image = _marked(image, grid)
    page = Image.new("RGB", size, BESIDE)
    page.paste(image, place)
    return np.array(page)


def plan_box(grid: VoxelGrid, width: int, height: int) -> tuple[int, int, int, int]:
    """Where :func:`draw_bev` puts a grid in a picture of this size: first column and row, and those after the last."""
    along, across = grid.shape[:2]
    scale = min(width / across, height / along)
    inner = max(1, round(across * scale)), max(1, round(along * scale))
    left, top = (width - inner[0]) // 2, (height - inner[1]) // 2
    return left, top, left + inner[0], top + inner[1]


def _whole(shape: tuple[int, ...], size: tuple[int, int]) -> tuple[int, int]:
    """The smallest multiple of the cells that is no smaller than the picture: cells then shrink to even sizes."""
    return shape[1] * -(-size[0] // shape[1]), shape[0] * -(-size[1] // shape[0])


def _marked(image: Image.Image, grid: VoxelGrid) -> Image.Image:
    """Draw the rings and the car, at four times the size for smooth lines."""
    scale = 4
    width, height = image.width * scale, image.height * scale
    layer = Image.new("RGBA", (width, height), (255, 255, 255, 0))
    draw = ImageDraw.Draw(layer)
    per_x, per_y = height / (grid.shape[0] * grid.voxel_size), width / (grid.shape[1] * grid.voxel_size)

    def at(x: float, y: float) -> tuple[float, float]:
        return (grid.upper[1] - y) * per_y, (grid.upper[0] - x) * per_x

    for radius in range(10, int(max(grid.upper[:2])) + 1, 10):
        draw.ellipse([*at(radius, radius), *at(-radius, -radius)], outline=_LINES, width=scale)
    (back, front), (right, left) = _CAR
    draw.rounded_rectangle(
        [*at(front, left), *at(back, right)], 0.6 * per_y, fill=(255, 255, 255), outline=(40, 46, 58), width=scale
    )
    draw.polygon([at(front - 0.5, 0.0), at(front - 2.0, 0.65), at(front - 2.0, -0.65)], fill=(40, 46, 58))
    small = layer.resize(image.size, Image.Resampling.BOX)
    return Image.alpha_composite(image.convert("RGBA"), small).convert("RGB")
