from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ugocc.errors import DataError
from ugocc.evaluation.files import read_prediction, write_prediction
from ugocc.geometry.grid import OCC3D_GRID, VoxelGrid

SMALL = VoxelGrid((-1.0, -2.0, 0.0), (3, 4, 5), 0.8)


def test_a_volume_and_its_grid_survive_the_file(tmp_path: Path) -> None:
    volume = np.random.default_rng(0).integers(0, 10, SMALL.shape).astype(np.uint8)
    path = write_prediction(tmp_path, "token", volume, SMALL)
    again, grid = read_prediction(path)
    assert (again == volume).all()
    assert grid == SMALL
    assert [p.name for p in tmp_path.iterdir()] == ["token.npz"]


def test_a_file_of_others_is_on_the_occ3d_grid(tmp_path: Path) -> None:
    np.savez(tmp_path / "t.npz", pred=np.full(OCC3D_GRID.shape, 9, np.uint8))
    assert read_prediction(tmp_path / "t.npz")[1] == OCC3D_GRID


@pytest.mark.parametrize(
    ("arrays", "expected"),
    [
        ({"other": np.zeros((2, 2, 2), np.uint8)}, "the key pred"),
        ({"pred": np.zeros((2, 2, 2), np.int64)}, "uint8 of shape"),
        ({"pred": np.zeros((2, 2), np.uint8)}, "uint8 of shape"),
        ({"pred": np.zeros((0, 2, 2), np.uint8), "lower": np.zeros(3), "voxel_size": 1}, "uint8 of shape"),
        ({"pred": np.full((2, 2, 2), 17, np.uint8), "lower": np.zeros(3), "voxel_size": 1}, "classes 0 to 9"),
        ({"pred": np.zeros((2, 2, 2), np.uint8)}, "or lower"),
    ],
)
def test_bad_files_are_named(tmp_path: Path, arrays: dict[str, np.ndarray], expected: str) -> None:
    np.savez(tmp_path / "t.npz", **arrays)
    with pytest.raises(DataError, match=expected):
        read_prediction(tmp_path / "t.npz")


def test_missing_and_truncated_files(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        read_prediction(tmp_path / "t.npz")
    whole = write_prediction(tmp_path, "t", np.zeros(SMALL.shape, np.uint8), SMALL).read_bytes()
    (tmp_path / "t.npz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match="unreadable"):
        read_prediction(tmp_path / "t.npz")
    damaged = bytearray(whole)
    damaged[100:116] = bytes(255 - byte for byte in damaged[100:116])
    (tmp_path / "t.npz").write_bytes(damaged)
    with pytest.raises(DataError, match=r"t\.npz: prediction: found unreadable"):
        read_prediction(tmp_path / "t.npz")
