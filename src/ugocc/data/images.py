"""Pictures and label maps from files or bytes, whole or not at all."""

from __future__ import annotations

import io
import struct
import warnings
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torchvision.io import ImageReadMode, decode_jpeg

from ugocc.errors import DataError, first_line

_START_OF_IMAGE, _END_OF_IMAGE, _START_OF_SCAN, _APP1 = b"\xff\xd8", b"\xff\xd9", 0xDA, 0xE1
_ORIENTATION: Final = 0x0112
"""EXIF's number for the turn that viewers show a picture with."""
_BROKEN: Final = (OSError, ValueError, RuntimeError, SyntaxError, Image.DecompressionBombError)
"""What decoders raise."""


def read_image(
    path: Path, size: tuple[int, int] | None = None, least: tuple[int, int] | None = None
) -> NDArray[np.uint8]:
    """Read a picture file; see :func:`decode_image`."""
    return decode_image(read_bytes(path, "image"), path, size, least)


def decode_image(
    data: bytes, where: object, size: tuple[int, int] | None = None, least: tuple[int, int] | None = None
) -> NDArray[np.uint8]:
    """Decode a picture of any common format to RGB.

    JPEG goes through torchvision (half the time of Pillow on a 1600x900 picture), the rest through Pillow. So does a
    JPEG that may come out smaller: of every block of 8 x 8 pixels only the lower frequencies are decoded, in less than
    half of the time.

    Args:
        data: contents of the file.
        where: file, or file and row, for messages.
        size: (width, height) the calibration was made for; None accepts any.
        least: (width, height) that are enough. A JPEG comes at the smallest of 1, 1/2, 1/4 and 1/8 of its size that is
            no smaller than this and a whole number of pixels; None, and other formats, come as they are.

    Returns:
        (height, width, 3) uint8 RGB. The memory of a JPEG as it is is planar, so ``transpose(2, 0, 1)`` costs nothing.

    Raises:
        DataError: not a picture, incomplete, of more than 8 bits per channel, of another size, or one that viewers turn
            (EXIF orientation): which way its calibration has it nobody can tell.
    """
    try:
        if data.startswith(_START_OF_IMAGE):
            if _check_jpeg_is_whole(data):
                _check_upright(data, where)
            if least is not None and (smaller := _decode_smaller(data, where, size, least)) is not None:
                return smaller
            buffer = torch.frombuffer(bytearray(data), dtype=torch.uint8)
            pixels = decode_jpeg(buffer, mode=ImageReadMode.RGB).permute(1, 2, 0).numpy()
        else:
            with Image.open(io.BytesIO(data)) as picture:
                # Pillow has no mode for 16-bit colour, and would keep the upper half of the bits.
                how = [tile[3] for tile in picture.tile]
                modes = [picture.mode, *(str(args[0] if isinstance(args, tuple) else args) for args in how)]
                if deep := [mode for mode in modes if mode.startswith(("I", "F")) or ";16" in mode]:
                    raise DataError(where, "image", f"a picture of mode {deep[0]}", "8 bits per channel")
                pixels = np.array(picture.convert("RGB"))
                _check_upright(data, where)
    except DataError:
        raise
    except _BROKEN as error:
        raise DataError(where, "image", f"{len(data)} bytes: {first_line(error)}", "a whole picture") from error
    return _checked_size(pixels, where, "image", size)


def _decode_smaller(
    data: bytes, where: object, size: tuple[int, int] | None, least: tuple[int, int]
) -> NDArray[np.uint8] | None:
    """A JPEG at a half, a quarter or an eighth of its size; None where only all of it is enough."""
    with Image.open(io.BytesIO(data)) as picture:
        width, height = picture.size
        _check_size((width, height), where, "image", size)
        fits = [n for n in (2, 4, 8) if not (width % n or height % n or width < least[0] * n or height < least[1] * n)]
        if not fits:
            return None
        picture.draft("RGB", (width // fits[-1], height // fits[-1]))
        return np.array(picture.convert("RGB"))


def read_png(path: Path, size: tuple[int, int] | None = None) -> NDArray[np.uint8] | NDArray[np.uint16]:
    """Read a one-channel PNG file; see :func:`decode_png`."""
    return decode_png(read_bytes(path, "map"), path, size)


def decode_png(
    data: bytes, where: object, size: tuple[int, int] | None = None
) -> NDArray[np.uint8] | NDArray[np.uint16]:
    """Decode a one-channel 1-, 8- or 16-bit PNG (masks, labels, depth) without changing its numbers.

    Args:
        data: contents of the file.
        where: file, or file and row, for messages.
        size: expected (width, height); None accepts any.

    Returns:
        (height, width) uint8 (also for a palette picture: its indices) or uint16.

    Raises:
        DataError: not a picture, incomplete, of another size, or with several channels.
    """
    try:
        with Image.open(io.BytesIO(data)) as picture:
            mode, values = picture.mode, np.array(picture)
    except _BROKEN as error:
        raise DataError(where, "map", f"{len(data)} bytes: {first_line(error)}", "a whole PNG picture") from error
    if mode not in ("1", "L", "P", "I", "I;16"):
        raise DataError(where, "map", f"a picture of mode {mode}", "one channel of up to 16 bits")
    # Pillow reads one bit as bool, and widens 16-bit PNGs to 32 bits ("I") in some releases.
    narrow = values if mode in ("L", "P") else values.astype(np.uint8 if mode == "1" else np.uint16)
    return _checked_size(narrow, where, "map", size)


def read_bytes(path: Path, field: str) -> bytes:
    """Contents of a file, or a DataError that names ``field`` and the file.

    Raises:
        DataError: the file is missing or unreadable.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(path, field, error.strerror or str(error), "a readable file") from error


def _check_upright(data: bytes, where: object) -> None:
    turn = None
    with warnings.catch_warnings(), suppress(*_BROKEN, struct.error):  # a damaged note is no damaged picture
        warnings.simplefilter("ignore")
        with Image.open(io.BytesIO(data)) as picture:
            turn = picture.getexif().get(_ORIENTATION)
    if turn in range(2, 9):
        wanted = "pixels stored as calibrated: turn them, or remove the tag if they are (orientation 1)"
        raise DataError(where, "image", f"EXIF orientation {turn}", wanted)


def _check_jpeg_is_whole(data: bytes) -> bool:
    """Whether there is EXIF in a JPEG that is whole; ValueError for one that is not."""
    # Decoders paint what is missing grey when an end marker comes early, and only whisper about it on stderr.
    # Entropy-coded data cannot contain the end marker, so the first one after the header has to be the last thing.
    position, exif = 2, False
    while position + 4 <= len(data) and data[position + 1] != _START_OF_SCAN:
        if data[position] != 0xFF:
            raise ValueError(f"no marker at byte {position}")
        if data[position + 1] == 0xFF:  # a marker may be preceded by any number of fill bytes
            position += 1
            continue
        exif |= data[position + 1] == _APP1 and data.startswith(b"Exif", position + 4)
        position += 2 + int.from_bytes(data[position + 2 : position + 4], "big")
    end = data.find(_END_OF_IMAGE, position)
    if end < 0:
        raise ValueError("truncated: the end marker is missing")
    rest = data[end + 2 :]
    # Padding, a second picture or an encoder's own notes may follow; not the end of this picture.
    if _END_OF_IMAGE in rest and not rest.lstrip(b"\0\xff").startswith(_START_OF_IMAGE[1:]):
        raise ValueError(f"corrupt: the picture ends at byte {end}")
    return exif


def _checked_size(pixels: NDArray[Any], where: object, field: str, size: tuple[int, int] | None) -> NDArray[Any]:
    height, width = pixels.shape[:2]
    _check_size((width, height), where, field, size)
    return pixels


def _check_size(found: tuple[int, int], where: object, field: str, size: tuple[int, int] | None) -> None:
    if size is not None and found != size:
        pixels = f"{size[0]}x{size[1]} pixels as in the calibration"
        raise DataError(where, field, f"{found[0]}x{found[1]} pixels", pixels)
