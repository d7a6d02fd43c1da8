from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ugocc.labels import PALETTE, TWO_WHEELER
from ugocc.viz.canvas import PAPER
from ugocc.viz.maps import components, from_above, heat
from ugocc.viz.overlay import NOTHING
from ugocc.viz.sheet import GAP, MARGIN, sheet, stacked, write_small


def flat(height: int, width: int, colour: tuple[int, int, int]) -> np.ndarray:
    return np.full((height, width, 3), colour, np.uint8)


def test_rows_fill_the_page_and_pictures_keep_their_proportions():
    page = sheet([("", [("", flat(50, 100, (200, 0, 0))), ("", flat(50, 150, (0, 0, 200)))])], width=600)
    red, blue = ((page == colour).all(axis=2) for colour in ((200, 0, 0), (0, 0, 200)))
    assert np.flatnonzero(red.any(axis=0))[0] == MARGIN
    assert np.flatnonzero(blue.any(axis=0))[-1] == pytest.approx(600 - MARGIN - 1, abs=1)
    tall = (600 - 2 * MARGIN - GAP) / 5
    assert red.any(axis=1).sum() == blue.any(axis=1).sum() == round(tall)
    assert red.any(axis=0).sum() == pytest.approx(2 * tall, abs=1)


def test_title_names_note_and_legend_take_room():
    rows = [("a name", [("chip", flat(50, 100, (90, 90, 90)))])]
    bare, full = sheet([("", rows[0][1])]), sheet(rows, title="title", note="note", classes=True)
    assert full.shape[0] > bare.shape[0] + 80
    scaled = sheet(rows, title="title", note="note", classes=True, depth=(1.0, 60.0))
    assert scaled.shape[0] > full.shape[0] + 20
    assert np.array_equal(scaled[: full.shape[0] - 40], full[:-40])
    assert bare.shape[1] == full.shape[1] == 1200


def test_stacked_pictures_are_apart():
    both = stacked([flat(10, 20, (1, 2, 3)), flat(10, 20, (4, 5, 6))])
    assert both.shape == (20 + GAP, 20, 3)
    assert (both[10 : 10 + GAP] == PAPER).all()


def test_a_small_file_keeps_the_classes_even_of_a_single_pixel(tmp_path: Path):
    noise = np.random.default_rng(0).integers(60, 200, (300, 400, 3)).astype(np.uint8)
    noise[5, 7] = PALETTE[TWO_WHEELER]
    noise[:, 300:] = 255
    path = write_small(tmp_path / "a" / "small.png", noise, most=200_000)
    assert path.stat().st_size <= 200_000
    with Image.open(path) as image:
        assert image.mode == "P"
        read = np.array(image.convert("RGB"))
    assert (read[5, 7] == PALETTE[TWO_WHEELER]).all()
    assert (read[:, 300:] == 255).all()
    assert np.abs(read[50:, :300].astype(int) - noise[50:, :300]).mean() < 25


def test_a_file_that_cannot_be_small_is_an_error_and_leaves_nothing(tmp_path: Path):
    noise = np.random.default_rng(0).integers(0, 255, (200, 200, 3)).astype(np.uint8)
    with pytest.raises(ValueError, match="does not fit"):
        write_small(tmp_path / "small.png", noise, most=500)
    assert not list(tmp_path.iterdir())


def test_heat_is_dark_at_zero_and_grows_lighter():
    picture = heat(np.array([[0.0, 0.5, 1.0, np.nan]]))
    assert tuple(picture[0, 0]) == tuple(picture[0, 3]) == NOTHING
    assert picture[0, 0].sum() < picture[0, 1].sum() < picture[0, 2].sum()
    assert (heat(np.zeros((2, 2))) == NOTHING).all()


def test_components_give_alike_cells_alike_colours():
    features = np.zeros((5, 4, 4))
    features[0, :2] = 1.0
    known = np.ones((4, 4), bool)
    known[3, 3] = False
    picture = components(features, known)
    assert len(np.unique(picture[:2].reshape(-1, 3), axis=0)) == 1
    assert (picture[0, 0] != picture[2, 0]).any()
    assert tuple(picture[3, 3]) == NOTHING
    assert (components(features, np.zeros((4, 4), bool)) == NOTHING).all()


def test_cells_from_above_lie_as_in_a_top_view():
    cells = np.zeros((3, 3, 3), np.uint8)
    cells[2, 2] = 255  # ahead, on the left
    picture = from_above(cells, 30)
    assert picture.shape == (30, 30, 3)
    assert (picture[:10, :10] == 255).all()
    assert (picture[10:] == 0).all()
