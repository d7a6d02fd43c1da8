from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from made_frames import camera, frame
from PIL import Image

from ugocc.data.depth_maps import check_depth_maps, depth_files, read_depth_maps
from ugocc.data.frame import Frame
from ugocc.data.prepare import InputSettings
from ugocc.errors import DataError

INPUT = InputSettings(width=50, height=30)


class Frames(list):
    fleet = "made"


def moment() -> Frame:
    lens = replace(camera("left", 90, (200, 100)), distortion=np.array([-0.3, 0.1, 0.0, 0.0, 0.0]))
    return frame((camera("front"), lens), token="a")


def fill(folder: Path, of: Frame, kind: type = np.uint16) -> None:
    for path, view in zip(depth_files(folder, of), of.cameras, strict=True):
        path.parent.mkdir(parents=True, exist_ok=True)
        columns = np.arange(view.width)[None].repeat(view.height, 0)
        encoded = io.BytesIO()
        Image.fromarray((columns + 1).astype(kind)).save(encoded, format="PNG")
        path.write_bytes(encoded.getvalue())


def test_depth_is_read_in_metres_at_the_size_of_the_prepared_picture(tmp_path: Path) -> None:
    of = moment()
    fill(tmp_path, of)
    front, left = read_depth_maps(tmp_path, of, INPUT)
    view = of.cameras[0]
    assert front.shape == (round(view.height * 50 / view.width), 50)
    nearest = (2 * np.arange(50) + 1) * view.width // 100
    np.testing.assert_allclose(front, np.broadcast_to((nearest + 1) / 100, front.shape))
    # A lens that pulls inwards leaves the corners of the ideal picture outside the recorded one, or moves them there.
    assert left.shape == (25, 50)
    assert not np.allclose(left[0], left[12])


def test_a_map_that_is_missing_or_no_depth_is_refused(tmp_path: Path) -> None:
    of = moment()
    with pytest.raises(DataError, match="a depth map of every picture of made"):
        check_depth_maps(tmp_path, Frames([of]))
    fill(tmp_path, of, np.uint8)
    check_depth_maps(tmp_path, Frames([of]))
    with pytest.raises(DataError, match="16 bits"):
        read_depth_maps(tmp_path, of, INPUT)
    fill(tmp_path, of)
    with pytest.raises(DataError, match="pixels as in the calibration"):
        read_depth_maps(tmp_path, replace(of, cameras=(replace(of.cameras[0], width=30), of.cameras[1])), INPUT)
