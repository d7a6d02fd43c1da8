"""Dense depth of camera pictures in a folder beside a fleet: a simulator's, that of a stereo pair, that of a network.

The folder holds ``<token>/<camera name>.png``, as folders of teacher maps do: one channel of 16 bits at the size of the
picture, centimetres along the optical axis, 0 where there is none (the sky, nothing known).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ugocc.data.frame import Frame, FrameSource
from ugocc.data.images import read_png
from ugocc.data.prepare import InputSettings, at_prepared_size
from ugocc.data.teacher_maps import map_path
from ugocc.errors import DataError


def depth_files(folder: Path, frame: Frame) -> tuple[Path, ...]:
    """The depth map of each camera of a frame."""
    return tuple(map_path(folder, frame.token, camera.name) for camera in frame.cameras)


def check_depth_maps(folder: Path, source: FrameSource) -> None:
    """Better before training than in the middle.

    Raises:
        DataError: a picture without a map.
    """
    for frame in source:
        for path in depth_files(folder, frame):
            if not path.is_file():
                raise DataError(path, "depth", "no such file", f"a depth map of every picture of {source.fleet}")


def read_depth_maps(folder: Path, frame: Frame, settings: InputSettings) -> list[NDArray[np.float32]]:
    """(h, w) metres for each camera of a frame, at the size of its prepared picture.

    Raises:
        DataError: missing or broken file, another size than the picture, or a map of 8 bits, which cannot hold depth.
    """
    maps = []
    for path, camera in zip(depth_files(folder, frame), frame.cameras, strict=True):
        stored: NDArray[Any] = read_png(path, (camera.width, camera.height))
        if stored.dtype != np.uint16:
            raise DataError(path, "depth", f"{stored.dtype}", "16 bits, centimetres")
        maps.append(at_prepared_size(camera, stored.astype(np.float32) / 100, settings))
    return maps
