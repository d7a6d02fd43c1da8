"""What all pictures share: colours, rounded panels, and writing them to files."""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from ugocc.viz.lettering import caption_in, font, text_width

Picture = NDArray[np.uint8]
Colour = tuple[int, int, int]

PAPER: Colour = (255, 255, 255)
INK: Colour = (29, 35, 47)
MUTED: Colour = (104, 113, 129)
RULE: Colour = (223, 228, 235)


def panel(canvas: Image.Image, picture: Picture, left: int, top: int, caption: str = "", radius: int = 8) -> None:
    """Paste a picture with rounded corners, its caption on a chip in the top left corner."""
    tile = Image.fromarray(picture)
    if caption:
        _chip(tile, caption)
    canvas.paste(tile, (left, top), _rounded(tile.width, tile.height, radius))


def _chip(tile: Image.Image, caption: str) -> None:
    caption, size = caption_in(caption, tile.width - 28, largest=14 if tile.width >= 240 else 12)
    right, bottom = 8 + text_width(caption, size) + 14, 8 + size + 9
    box = (8, 8, min(right, tile.width), min(bottom, tile.height))
    if box[2] <= box[0] or box[3] <= box[1]:
        return
    shade = Image.new("RGB", (box[2] - box[0], box[3] - box[1]), (18, 23, 33))
    mask = _rounded(*shade.size, radius=6).point(lambda v: v * 170 // 255)
    tile.paste(shade, box[:2], mask)
    ImageDraw.Draw(tile).text((15, (box[1] + box[3]) / 2), caption, (255, 255, 255), font(size, caption), anchor="lm")


@lru_cache(maxsize=64)
def _rounded(width: int, height: int, radius: int) -> Image.Image:
    mask = Image.new("L", (width * 4, height * 4), 0)
    ImageDraw.Draw(mask).rounded_rectangle([0, 0, width * 4 - 1, height * 4 - 1], radius * 4, fill=255)
    return mask.reduce(4)


def write_picture(path: Path, picture: Picture) -> Path:
    """Write a picture in the format of the file's extension; the file is either the old one or the whole new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    Image.fromarray(picture).save(temporary)
    temporary.replace(path)
    return path
