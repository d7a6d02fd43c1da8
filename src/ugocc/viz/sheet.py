"""Pictures side by side on one page, and small files of them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from ugocc.viz.canvas import INK, MUTED, PAPER, Colour, Picture, panel
from ugocc.viz.indexed import CLASS_COLOURS, indexed
from ugocc.viz.lettering import font, shortened
from ugocc.viz.overlay import depth_scale, legend

Panel = tuple[str, Picture]

MARGIN, GAP, TITLE, NAME = 24, 10, 54, 26


def sheet(
    rows: Sequence[tuple[str, Sequence[Panel]]],
    title: str = "",
    note: str = "",
    width: int = 1200,
    classes: bool = False,
    depth: tuple[float, float] | None = None,
) -> Picture:
    """Rows of captioned pictures, each row as wide as the page and its pictures of one height.

    Args:
        rows: a line above the row ("" for none), and caption and (H, W, 3) picture of each of its panels.
        title: for the top left corner; without title and note there is no header.
        note: small print below the rows.
        width: columns of the page.
        classes: add a legend of the classes.
        depth: add a scale of depths, from the nearest to the farthest of these metres.

    Returns:
        (rows, width, 3) RGB.
    """
    inner = width - 2 * MARGIN
    top = TITLE if title else MARGIN
    places: list[tuple[Panel, int, int, int, int]] = []
    names: list[tuple[str, int]] = []
    for name, panels in rows:
        if name:
            names.append((name, top + NAME // 2))
            top += NAME
        aspects = [picture.shape[1] / picture.shape[0] for _, picture in panels]
        tall = (inner - GAP * (len(panels) - 1)) / sum(aspects)
        left = float(MARGIN)
        for one, aspect in zip(panels, aspects, strict=True):
            right = left + aspect * tall
            places.append((one, round(left), top, round(right) - round(left), round(tall)))
            left = right + GAP
        top += round(tall) + GAP
    keys = ([legend(inner)] if classes else []) + ([depth_scale(inner, *depth)] if depth else [])
    foot = sum(key.shape[0] + 12 for key in keys) + (28 if note else 0)
    page = Image.new("RGB", (width, top - GAP + foot + 16), PAPER)
    draw = ImageDraw.Draw(page)
    if title:
        _line(draw, title, 22, TITLE / 2, inner, INK)
    for name, at in names:
        _line(draw, name, 15, at, inner, MUTED)
    for (caption, picture), left_, top_, wide, tall in places:
        panel(page, _resized(picture, wide, tall), left_, top_, caption)
    for key in keys:
        page.paste(Image.fromarray(key), (MARGIN, top + 2))
        top += key.shape[0] + 12
    if note:
        _line(draw, note, 14, page.height - 16 - 10, inner, MUTED)
    return np.array(page)


def _line(draw: ImageDraw.ImageDraw, text: str, size: int, at: float, room: int, colour: Colour) -> None:
    short = shortened(text, size, room)
    draw.text((MARGIN, at), short, colour, font(size, short), anchor="lm")


def _resized(picture: Picture, width: int, height: int) -> Picture:
    image = Image.fromarray(picture)
    return np.array(image.resize((width, height), Image.Resampling.LANCZOS, reducing_gap=3.0))


def stacked(pictures: Sequence[Picture]) -> Picture:
    """Pictures of one width below each other."""
    gap = np.full((GAP, pictures[0].shape[1], 3), PAPER, dtype=np.uint8)
    return np.concatenate([part for picture in pictures for part in (gap, picture)][1:])


def write_small(path: Path, picture: Picture, most: int = 250_000) -> Path:
    """Write a PNG with a palette, of as many colours as fit into ``most`` bytes; whole or not at all.

    Three shades of every class are in the palette: things of few voxels would otherwise take the colour of others.

    Raises:
        ValueError: sixteen colours beside those of the classes do not fit.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.png")
    for found in (256 - len(CLASS_COLOURS), 128, 64, 32, 16):
        indexed(picture, found, refine=2).save(temporary, optimize=True)
        if temporary.stat().st_size <= most:
            temporary.replace(path)
            return path
    temporary.unlink()
    raise ValueError(f"{path}: a picture of {picture.shape[1]} x {picture.shape[0]} does not fit into {most} bytes")
