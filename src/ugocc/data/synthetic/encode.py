"""What both writers of embedded fleets share: pictures, maps and label arrays as bytes, lidar returns as points.

Equal input gives equal bytes: no file holds a time or a name of the machine.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ugocc.data.synthetic.rendered import RenderedLidar

DEPTH_UNIT = 0.01
"""Metres per step of a depth map."""


def token(*names: object) -> str:
    """A name of 32 hexadecimal digits that depends on ``names`` alone."""
    return hashlib.md5("/".join(map(str, names)).encode(), usedforsecurity=False).hexdigest()


def write_file(path: Path, content: bytes) -> None:
    """Write a file and the folders it lies in."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def jpeg_bytes(image: NDArray[np.uint8]) -> bytes:
    """(H, W, 3) RGB as JPEG of quality 90 with full colour resolution (signs and lights are a few pixels wide)."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=90, subsampling=0)
    return buffer.getvalue()


def png_bytes(values: NDArray[np.uint8] | NDArray[np.uint16]) -> bytes:
    """(H, W) numbers of 8 or 16 bits as PNG."""
    buffer = io.BytesIO()
    Image.fromarray(values).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def depth_png_bytes(depth: NDArray[np.floating]) -> bytes:
    """(H, W) metres as 16-bit PNG in centimetres; 0 stands for none, and for what is beyond 655 m."""
    steps = np.rint(depth / DEPTH_UNIT)
    return png_bytes(np.where(steps <= np.iinfo(np.uint16).max, steps, 0).astype(np.uint16))


def npz_bytes(arrays: dict[str, NDArray[np.generic]]) -> bytes:
    """Arrays as a compressed npz file (numpy.savez_compressed takes three times as long for labels)."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as file:
        for name, array in arrays.items():
            content = io.BytesIO()
            np.lib.format.write_array(content, array, allow_pickle=False)
            file.writestr(zipfile.ZipInfo(f"{name}.npy"), content.getvalue(), zipfile.ZIP_DEFLATED, 1)
    return buffer.getvalue()


def lidar_points(lidar: RenderedLidar) -> NDArray[np.float64]:
    """(M, 3) returns in metres in the sensor's frame, beam after beam."""
    columns = lidar.ranges.shape[1]
    row, column = np.nonzero(lidar.ranges > 0)
    azimuth = np.pi - (column + 0.5) * (2 * np.pi / columns)
    inclination = lidar.inclinations[row]
    reach = lidar.ranges[row, column].astype(np.float64)
    flat = reach * np.cos(inclination)
    return np.stack([flat * np.cos(azimuth), flat * np.sin(azimuth), reach * np.sin(inclination)], axis=-1)
