"""What all pictures share: type, colours, rounded panels, and writing them to files."""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

Picture = NDArray[np.uint8]
Colour = tuple[int, int, int]

PAPER: Colour = (255, 255, 255)
INK: Colour = (29, 35, 47)
MUTED: Colour = (104, 113, 129)
RULE: Colour = (223, 228, 235)


@lru_cache(maxsize=32)
def font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """The typeface that comes with Pillow, ``size`` pixels high."""
    return ImageFont.load_default(size=size)


def text_width(text: str, size: int) -> int:
    """Columns that a line of text takes."""
    return int(np.ceil(font(size).getlength(text)))


def shortened(text: str, size: int, room: int) -> str:
    """The text, cut with an ellipsis where it is wider than ``room`` columns."""
    if text_width(text, size) <= room:
        return text
    while text and text_width(text + "…", size) > room:
        text = text[:-1]
    return text + "…"


def panel(canvas: Image.Image, picture: Picture, left: int, top: int, caption: str = "", radius: int = 8) -> None:
    """Paste a picture with rounded corners, its caption on a chip in the top left corner."""
    tile = Image.fromarray(picture)
    if caption:
        _chip(tile, caption)
    canvas.paste(tile, (left, top), _rounded(tile.width, tile.height, radius))


def _chip(tile: Image.Image, caption: str) -> None:
    size = 14 if tile.width >= 240 else 12
    caption = shortened(caption, size, tile.width - 28)
    right, bottom = 8 + text_width(caption, size) + 14, 8 + size + 9
    box = (8, 8, min(right, tile.width), min(bottom, tile.height))
    if box[2] <= box[0] or box[3] <= box[1]:
        return
    shade = Image.new("RGB", (box[2] - box[0], box[3] - box[1]), (18, 23, 33))
    mask = _rounded(*shade.size, radius=6).point(lambda v: v * 170 // 255)
    tile.paste(shade, box[:2], mask)
    ImageDraw.Draw(tile).text((15, (box[1] + box[3]) / 2), caption, (255, 255, 255), font(size), anchor="lm")


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
