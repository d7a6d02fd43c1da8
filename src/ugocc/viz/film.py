"""Films of pictures: MP4 with the packages imageio and av (extra ``film``), GIF and WebP with Pillow alone."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ugocc.errors import DataError
from ugocc.extras import require
from ugocc.viz.indexed import indexed

Picture = NDArray[np.uint8]
MOST: Final = 200
"""Pictures of a GIF or WebP; a longer film is thinned, which MP4 is not."""


def write_film(frames: Iterable[Picture], path: Path, fps: float = 4) -> Path:
    """Write pictures as a film; the file is either the old one or the whole new one.

    Args:
        frames: (H, W, 3) RGB pictures of one size, at least one.
        path: ends in .mp4, .gif or .webp.
        fps: pictures per second. GIF and WebP hold equal pictures in a row as one that stays longer, and of more than
            ``MOST`` one in two, four, ..., which stay as long as those they stand for; a line is printed that says so.

    Returns:
        ``path``.

    Raises:
        DataError: another extension, MP4 without the packages it needs, no pictures, or pictures of different sizes.
    """
    check_film(path)
    pictures = iter(frames)
    first = next(pictures, None)
    if first is None:
        raise DataError(path, "film", "no pictures", "at least one")
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        _WRITERS[path.suffix.lower()](_checked(first, pictures, path), temporary, fps)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return path


def of_one_size(pictures: Iterable[Picture]) -> Iterator[Picture]:
    """Pictures (H, W, 3) on pages as large as the first: a camera that is lost or comes back changes a picture's size.

    Larger ones are shrunk, smaller ones stand in the middle of a page of the colour of the first one's corner.
    """
    page: Picture | None = None
    for picture in pictures:
        if page is None:
            page = np.broadcast_to(picture[0, 0], picture.shape)
        if picture.shape == page.shape:
            yield picture
            continue
        height, width = page.shape[:2]
        shrunk = Image.fromarray(picture)
        shrunk.thumbnail((width, height))
        whole = Image.fromarray(page.copy())
        whole.paste(shrunk, ((width - shrunk.width) // 2, (height - shrunk.height) // 2))
        yield np.asarray(whole)


def film_name(name: str) -> str:
    """The name of a scene or a fleet as that of its film: what parts folders, and what Windows forbids, becomes _."""
    return re.sub(r'[\\/:*?"<>|\x00-\x1f]', "_", name)


def check_film(path: Path) -> None:
    """Make sure that a film of this name can be written, before any of its pictures is drawn.

    Raises:
        DataError: another extension than .mp4, .gif or .webp.
        MissingPackage: .mp4 without the packages it needs.
    """
    if path.suffix.lower() not in _WRITERS:
        raise DataError(path, "film", f"extension {path.suffix or 'none'}", " or ".join(_WRITERS))
    if path.suffix.lower() == ".mp4":
        require(path, "film")


def _checked(first: Picture, others: Iterator[Picture], path: Path) -> Iterator[Picture]:
    for number, picture in enumerate(chain([first], others)):
        if picture.shape != first.shape or picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3:
            found = f"{picture.dtype} of shape {picture.shape}"
            raise DataError(path, f"picture {number}", found, f"uint8 RGB as the first, shape {first.shape}")
        yield picture


def _write_mp4(pictures: Iterator[Picture], path: Path, fps: float) -> None:
    import imageio.v3 as iio

    with iio.imopen(path, "w", plugin="pyav") as file:
        file.init_video_stream("libx264", fps=fps)
        for picture in pictures:
            # H.264 stores colour at half the size: odd rows and columns are doubled at the edge.
            odd = [(0, n % 2) for n in picture.shape[:2]]
            file.write_frame(np.pad(picture, (*odd, (0, 0)), mode="edge"))


def _write_gif(pictures: Iterator[Picture], path: Path, fps: float) -> None:
    _animate(pictures, indexed, path, fps)


def _write_webp(pictures: Iterator[Picture], path: Path, fps: float) -> None:
    _animate(pictures, Image.fromarray, path, fps, quality=80, method=2)


def _animate(
    pictures: Iterator[Picture], image_of: Callable[[Picture], Image.Image], path: Path, fps: float, **options: Any
) -> None:
    """Write with Pillow, which holds all images of a film before it writes the first."""
    images, every = thinned(pictures, image_of)
    if every > 1:
        kept = f"one picture in {every}, shown {every} times as long: all would have to fit into memory"
        print(f"long {path.suffix} film keeps {kept}; .mp4 (extra film) keeps every one", flush=True)
    duration = round(1000 * every / fps)
    images[0].save(path, save_all=True, append_images=images[1:], duration=duration, loop=0, **options)


def thinned(
    pictures: Iterable[Picture], image_of: Callable[[Picture], Image.Image], most: int = MOST
) -> tuple[list[Image.Image], int]:
    """Images of one picture in n, n the smallest power of two that leaves no more than ``most``, and n.

    No more than ``most`` + 1 images are ever in memory.
    """
    images: list[Image.Image] = []
    every = 1
    for number, picture in enumerate(pictures):
        if number % every:
            continue
        images.append(image_of(picture))
        if len(images) > most:
            images, every = images[::2], 2 * every
    return images, every


_WRITERS = {".mp4": _write_mp4, ".gif": _write_gif, ".webp": _write_webp}
