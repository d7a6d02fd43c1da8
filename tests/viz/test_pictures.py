from __future__ import annotations

from itertools import combinations, pairwise

import numpy as np
import pytest

from ugocc.geometry.grid import VoxelGrid
from ugocc.labels import BUILDING, DRIVABLE, FREE, PALETTE, VEHICLE
from ugocc.viz.canvas import write_picture
from ugocc.viz.pictures import arrange, comparison_picture, frame_picture, prediction_picture, rig_rows

GRID = VoxelGrid((-8.0, -8.0, -1.0), (20, 20, 8), 0.8)
SIX = ["CAM_FRONT", "CAM_FRONT_RIGHT", "CAM_FRONT_LEFT", "CAM_BACK", "CAM_BACK_LEFT", "CAM_BACK_RIGHT"]
FIVE = ["FRONT", "FRONT_LEFT", "FRONT_RIGHT", "SIDE_LEFT", "SIDE_RIGHT"]
RIGS = {
    1: (["CAM_FRONT"], [(90, 160)]),
    2: (["LEFT", "RIGHT"], [(90, 160), (120, 160)]),
    3: (["FRONT_RIGHT", "FRONT", "FRONT_LEFT"], [(90, 160)] * 3),
    5: (FIVE, [(128, 192)] * 3 + [(89, 192)] * 2),
    6: (SIX, [(90, 160)] * 6),
    8: ([f"camera {i}" for i in range(8)], [(60 + 15 * i, 160) for i in range(8)]),
    12: ([f"front {i}" for i in range(12)], [(90, 100 + 10 * i) for i in range(12)]),
}


def street() -> np.ndarray:
    volume = np.full(GRID.shape, FREE, dtype=np.uint8)
    volume[:, 6:14, 0] = DRIVABLE
    volume[14:17, 9:11, 1:3] = VEHICLE
    volume[:, 17:, :6] = BUILDING
    return volume


def cameras(count: int) -> list[tuple[str, np.ndarray]]:
    names, shapes = RIGS[count]
    # One flat colour each, none of them elsewhere in the picture.
    return [(n, np.full((*s, 3), (200, 10 + 15 * i, 90), np.uint8)) for i, (n, s) in enumerate(zip(names, shapes))]


@pytest.mark.parametrize("count", RIGS)
def test_cameras_do_not_overlap_and_keep_their_proportions(count: int) -> None:
    names, shapes = RIGS[count]
    tiles, width = arrange(names, shapes, 920, 344)
    assert sorted(t.index for t in tiles) == list(range(count))
    for tile in tiles:
        rows, columns = shapes[tile.index]
        assert tile.height / tile.width == pytest.approx(rows / columns, rel=0.02)
        assert 0 <= tile.left <= tile.left + tile.width <= width <= 920
        assert 0 <= tile.top <= tile.top + tile.height <= 344
    for a, b in combinations(tiles, 2):
        apart_x = a.left + a.width <= b.left or b.left + b.width <= a.left
        apart_y = a.top + a.height <= b.top or b.top + b.height <= a.top
        assert apart_x or apart_y
    # The strip is used: either all of its columns or nearly all of its rows.
    assert width > 880 or max(t.top + t.height for t in tiles) - min(t.top for t in tiles) > 320


@pytest.mark.parametrize(
    ("names", "rows"),
    [
        (SIX, [[2, 0, 1], [4, 3, 5]]),
        (FIVE, [[1, 0, 2], [3, 4]]),
        (["a", "b", "c", "d"], [[0, 1], [2, 3]]),
        (["FRONT_RIGHT", "FRONT_LEFT"], [[1, 0]]),
    ],
)
def test_cameras_are_arranged_like_the_rig(names: list[str], rows: list[list[int]]) -> None:
    tiles, _ = arrange(names, [(90, 160)] * len(names), 920, 344)
    tops = sorted({t.top for t in tiles})
    found = [[t.index for t in sorted(tiles, key=lambda t: t.left) if t.top == top] for top in tops]
    assert found == rows


@pytest.mark.parametrize("count", RIGS)
def test_every_camera_is_in_the_picture(count: int) -> None:
    images = cameras(count)
    volume = street()
    truth = volume if count in (1, 5) else None
    picture = prediction_picture(images, volume, truth, GRID, title="a title", note="a note")
    for _, image in images:
        assert (picture == image[0, 0]).all(-1).sum() > 1500
    assert (picture == PALETTE[VEHICLE]).all(-1).sum() > 50
    assert (picture[-2:] == 255).all()


@pytest.mark.parametrize("count", RIGS)
def test_cameras_alone_take_the_page(count: int) -> None:
    beside = frame_picture(cameras(count), [("label", street())], GRID)
    alone = frame_picture(cameras(count), [], GRID)

    def shown(picture: np.ndarray) -> np.ndarray:
        return (picture[..., 0] == 200) & (picture[..., 2] == 90)

    assert shown(alone).sum() > 3 * shown(beside).sum()
    assert len(alone) < 1200
    rows = np.flatnonzero(shown(alone).any(axis=1))
    assert rows[0] < 80
    assert len(alone) - rows[-1] < 80


def test_mask_hides_voxels_of_prediction_and_truth() -> None:
    volume = street()
    picture = prediction_picture(cameras(1), volume, volume, GRID, mask=np.zeros(GRID.shape, bool))
    nothing = np.full_like(volume, FREE)
    assert np.array_equal(picture, prediction_picture(cameras(1), nothing, nothing, GRID))


def test_size_depends_on_the_rig_alone() -> None:
    volume = street()
    one = prediction_picture(cameras(6), volume, volume, GRID, title="x")
    two = prediction_picture(cameras(6), np.full_like(volume, FREE), volume, GRID, title="x" * 300, note="n")
    assert one.shape == two.shape


@pytest.mark.parametrize("count", [0, 5])
def test_comparison(count: int) -> None:
    volume = street()
    volumes = [("before", np.full_like(volume, FREE)), ("after", volume), ("truth", volume)]
    picture = comparison_picture(volumes, GRID, title="t", images=cameras(count) if count else (), column=240)
    assert picture.shape[1] == 3 * 240 + 2 * 12 + 2 * 28
    columns = [picture[:-120, 28 + i * 252 : 28 + i * 252 + 240] for i in range(3)]
    blue = [((c[..., 2].astype(int) - c[..., 0]) > 100).sum() for c in columns]
    assert blue[0] == 0
    assert blue[1] > 100
    assert blue[1] == blue[2]


@pytest.mark.parametrize("count", RIGS)
def test_a_comparison_shows_cameras_in_the_rows_of_the_rig(count: int) -> None:
    images = cameras(count)
    picture = comparison_picture([("one", street())] * 3, GRID, images=images, column=400)
    names = [name for name, _ in images]
    places = {i: np.argwhere((picture == image[0, 0]).all(-1)) for i, (_, image) in enumerate(images)}
    rows = rig_rows(names)
    for row in rows:
        lefts = [places[i][:, 1].mean() for i in row]
        assert lefts == sorted(lefts)
    for upper, lower in pairwise(rows):
        assert max(places[i][:, 0].max() for i in upper) < min(places[i][:, 0].min() for i in lower)


def test_pictures_are_written_whole(tmp_path) -> None:
    path = write_picture(tmp_path / "new" / "picture.png", np.zeros((4, 5, 3), np.uint8))
    assert [p.name for p in path.parent.iterdir()] == ["picture.png"]
