"""What the page's viewer shows: moments of scenes with camera images and volumes, packed small enough for one file."""

from __future__ import annotations

import base64
import io
import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ugocc.geometry.grid import VoxelGrid
from ugocc.labels import CLASSES, FREE, PALETTE
from ugocc.viz.canvas import Picture
from ugocc.viz.car import BOXES
from ugocc.viz.pictures import rig_rows

Volume = NDArray[np.uint8]

BEFORE, AFTER, TRUTH, BAR = "before", "after", "truth", "bar"
"""Keys of the volumes that have a place in the page; a prediction that stands alone is ``AFTER``."""
_WIDEST: Final = 720
_QUALITY: Final = 75


class Shown(NamedTuple):
    """One volume of every moment of a scene."""

    key: str
    """``BEFORE``, ``AFTER``, ``TRUTH`` or ``BAR``: what it is compared with depends on it."""
    name: str
    """On the button: Before, Prediction, Truth."""
    caption: str
    """In a few words: labels of six alone."""


@dataclass(frozen=True)
class Moment:
    """One frame as the page shows it."""

    name: str
    """Above the images."""
    images: Sequence[tuple[str, Picture]]
    """Name and (H, W, 3) picture of every camera; the page shows them in the rows of ``rig_rows``."""
    volumes: dict[str, Volume]
    """(X, Y, Z) classes by key; 255 is unknown."""
    seen: NDArray[np.bool_] | None = None
    """(X, Y, Z) voxels that cameras see, where that is known: only these are scored."""


@dataclass(frozen=True)
class Scene:
    """Moments of one drive with the same volumes of each."""

    name: str
    """In the list of scenes."""
    grid: VoxelGrid
    """Of all volumes."""
    shown: Sequence[Shown]
    """Volumes, in the order of the buttons."""
    moments: Sequence[Moment]
    """In the order of time, at least one."""


def pack_scenes(scenes: Sequence[Scene]) -> str:
    """JSON for the viewer, safe inside a ``script`` element: images as JPEG, volumes as zlib streams, both base64."""
    content = {
        "classes": [{"name": n, "colour": c.tolist()} for n, c in zip(CLASSES[:FREE], PALETTE[:FREE], strict=True)],
        "car": [{"lower": lower, "upper": upper, "colour": colour} for lower, upper, colour in BOXES],
        "scenes": [_scene(scene) for scene in scenes],
    }
    return json.dumps(content, separators=(",", ":")).replace("<", "\\u003c")


def _scene(scene: Scene) -> dict[str, Any]:
    grid = scene.grid
    return {
        "name": scene.name,
        "grid": {"lower": grid.lower, "shape": grid.shape, "voxel_size": grid.voxel_size},
        "volumes": [volume._asdict() for volume in scene.shown],
        "moments": [_moment(moment) for moment in scene.moments],
    }


def _moment(moment: Moment) -> dict[str, Any]:
    cameras = [{"name": name, "image": jpeg(picture)} for name, picture in moment.images]
    return {
        "name": moment.name,
        "cameras": [[cameras[i] for i in row] for row in rig_rows([name for name, _ in moment.images])],
        "volumes": {key: _packed(volume) for key, volume in moment.volumes.items()},
        "seen": None if moment.seen is None else _packed(moment.seen.astype(np.uint8)),
    }


def jpeg(picture: Picture) -> str:
    """A picture as a data address, scaled down to what is worth enlarging."""
    image = Image.fromarray(picture)
    if image.width > _WIDEST:
        size = (_WIDEST, max(1, round(image.height * _WIDEST / image.width)))
        image = image.resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0)
    return _address(image, "jpeg", quality=_QUALITY)


def png(picture: Picture) -> str:
    """A drawing of few colours as a data address."""
    return _address(Image.fromarray(picture).quantize(128, dither=Image.Dither.NONE), "png", optimize=True)


def _address(image: Image.Image, kind: str, **options: Any) -> str:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _packed(volume: NDArray[np.uint8]) -> str:
    return base64.b64encode(zlib.compress(np.ascontiguousarray(volume).tobytes(), 9)).decode()
