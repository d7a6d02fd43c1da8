"""Words in pictures: which typeface can write them, how wide they are, and what is left of them where room is short."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache
from typing import Final

import numpy as np
from PIL import ImageFont

_WIDER: Final = (
    "DejaVuSans.ttf", "LiberationSans-Regular.ttf", "NotoSans-Regular.ttf", "FreeSans.ttf", "segoeui.ttf", "Arial.ttf",
    "Arial Unicode.ttf", "NotoSansCJK-Regular.ttc", "wqy-zenhei.ttc", "DroidSansFallbackFull.ttf", "msyh.ttc",
    "YuGothM.ttc", "malgun.ttf", "PingFang.ttc", "Hiragino Sans GB.ttc", "AppleSDGothicNeo.ttc",
)  # fmt: skip
"""Files of typefaces that systems come with, for names that Pillow's own cannot write."""
_OWN: Final = ""
"""What stands for Pillow's own among them."""
Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


def font(size: int, text: str = "") -> Font:
    """The typeface that comes with Pillow, ``size`` pixels high, or where it lacks letters of a text one of the system.

    Where none has them all, the one that lacks the fewest.
    """
    name = _OWN
    if _lacking(name, text):
        name = min((_OWN, *_installed()), key=lambda name: len(_lacking(name, text)))
    return _typeface(name, size)


def _lacking(name: str, text: str) -> set[str]:
    return {letter for letter in text if not _has(name, letter)}


@lru_cache(maxsize=4096)
def _has(name: str, letter: str) -> bool:
    """Whether a typeface draws a letter otherwise than one that is none."""
    typeface = _typeface(name, 20)
    return letter.isspace() or bytes(typeface.getmask(letter)) != bytes(typeface.getmask("\uffff"))


@lru_cache(maxsize=64)
def _typeface(name: str, size: int) -> Font:
    return ImageFont.truetype(name, size) if name != _OWN else ImageFont.load_default(size)


@lru_cache(maxsize=1)
def _installed() -> tuple[str, ...]:
    """Those of ``_WIDER`` that this system has."""
    found = []
    for name in _WIDER:
        with suppress(OSError):
            _typeface(name, 20)
            found.append(name)
    return tuple(found)


def text_width(text: str, size: int) -> int:
    """Columns that a line of text takes."""
    return int(np.ceil(font(size, text).getlength(text)))


def shortened(text: str, size: int, room: int) -> str:
    """The text, cut with an ellipsis where it is wider than ``room`` columns."""
    return text if text_width(text, size) <= room else _cut(text, size, room, lambda kept: (kept, 0))


def caption_in(text: str, room: int, largest: int, smallest: int = 9) -> tuple[str, int]:
    """A name of something and the size in which it fits into ``room`` columns.

    It becomes smaller, and only then loses its middle: of CAM_FRONT_LEFT and CAM_FRONT_RIGHT the ends differ.
    """
    for size in range(largest, smallest - 1, -1):
        if text_width(text, size) <= room:
            return text, size
    return _cut(text, smallest, room, lambda kept: (kept // 3, kept - kept // 3)), smallest


def _cut(text: str, size: int, room: int, parts: Callable[[int], tuple[int, int]]) -> str:
    """As many letters as fit with an ellipsis; ``parts`` says how many of them are at the beginning and at the end."""
    for kept in range(len(text) - 1, 0, -1):
        head, tail = parts(kept)
        short = f"{text[:head]}…{text[len(text) - tail :]}"
        if text_width(short, size) <= room:
            return short
    return "…"
