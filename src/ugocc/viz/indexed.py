"""Pictures of at most 256 colours, those of the classes among them."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ugocc.labels import FREE, PALETTE
from ugocc.viz.canvas import PAPER, Picture

_SHADES: Final = (1.0, 0.82, 0.64)
CLASS_COLOURS: Final = np.concatenate([[PAPER], *(PALETTE[:FREE] * shade for shade in _SHADES)]).astype(np.uint8)
"""(28, 3) RGB: white, and three shades of every class."""
_AT_ONCE: Final = 1 << 15  # colours that are compared with the palette together


def indexed(picture: Picture, found: int = 256 - len(CLASS_COLOURS), refine: int = 0) -> Image.Image:
    """A picture with a palette that holds the colours of the classes, so that things of few pixels keep theirs.

    Args:
        picture: (H, W, 3) RGB.
        found: most colours beside those of the classes, chosen among the picture's own.
        refine: steps of k-means for them; slow with many colours.

    Returns:
        Image of mode P; every pixel has the colour of the palette that is nearest to its own.
    """
    own = Image.fromarray(picture).quantize(found, Image.Quantize.MEDIANCUT, kmeans=refine).getpalette() or []
    table = np.concatenate([CLASS_COLOURS, np.array(own[: 3 * found], dtype=np.uint8).reshape(-1, 3)])
    used, place = np.unique(picture.reshape(-1, 3).astype(np.int32) @ (1 << 16, 1 << 8, 1), return_inverse=True)
    colours = np.stack([used >> 16, used >> 8 & 255, used & 255], axis=1)
    nearest = np.concatenate([_nearest(colours[i : i + _AT_ONCE], table) for i in range(0, len(colours), _AT_ONCE)])
    image = Image.fromarray(nearest[place].reshape(picture.shape[:2]))
    image.putpalette(table.ravel().tolist())
    return image


def _nearest(colours: NDArray[np.integer], table: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(n,) rows of a table (256 or fewer, 3) that are nearest to colours (n, 3)."""
    ours = table.astype(np.float32)
    return ((ours**2).sum(axis=1) - 2 * colours.astype(np.float32) @ ours.T).argmin(axis=1).astype(np.uint8)
