from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageFont

from ugocc.viz import lettering
from ugocc.viz.canvas import panel
from ugocc.viz.lettering import caption_in, font, shortened, text_width

LACKED = "Zürich, Straße, Łódź, café, Київ"


@pytest.fixture
def without_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """A system that has no other typeface."""
    monkeypatch.setattr(lettering, "_installed", lambda: ())


def test_names_that_the_own_typeface_lacks_are_written_with_another() -> None:
    if not lettering._installed():
        pytest.skip("no other typeface on this machine")
    own, wider = ImageFont.load_default(20), font(20, LACKED)
    assert bytes(own.getmask("ü")) == bytes(own.getmask("ł"))  # boxes
    assert len({bytes(wider.getmask(letter)) for letter in "üßŁźéиї"}) == 7
    assert text_width(LACKED, 20) == int(np.ceil(wider.getlength(LACKED)))
    assert font(20, "CAM_FRONT …").getname() == own.getname()


def test_a_tile_bears_such_a_name() -> None:
    if not lettering._installed():
        pytest.skip("no other typeface on this machine")
    tiles = []
    for name in ("kamera für hinten", "kamera fßr hinten"):
        canvas = Image.new("RGB", (300, 100))
        panel(canvas, np.zeros((100, 300, 3), np.uint8), 0, 0, name)
        tiles.append(np.array(canvas))
    assert (tiles[0] != tiles[1]).any()


def test_without_another_the_own_typeface_writes_what_it_can(without_others: None) -> None:
    assert font(20, LACKED).getname() == ImageFont.load_default(20).getname()
    assert text_width(LACKED, 20) > 0


def test_long_titles_are_cut() -> None:
    assert shortened("short", 14, 200) == "short"
    cut = shortened("a very long caption indeed", 14, 80)
    assert cut.startswith("a very")
    assert cut.endswith("…")
    assert text_width(cut, 14) <= 80


def test_names_become_smaller_before_they_are_cut_and_keep_their_ends() -> None:
    assert caption_in("CAM_FRONT_LEFT", 200, largest=14) == ("CAM_FRONT_LEFT", 14)
    whole, size = caption_in("CAM_FRONT_LEFT", text_width("CAM_FRONT_LEFT", 10), largest=14)
    assert (whole, size) == ("CAM_FRONT_LEFT", 10)
    cut = {caption_in(f"CAM_FRONT_{side}", 60, largest=14)[0] for side in ("LEFT", "RIGHT")}
    assert len(cut) == 2
    for name in cut:
        assert name.startswith("C")
        assert "…" in name
        assert text_width(name, 9) <= 60
    assert caption_in("CAM_FRONT_LEFT", 3, largest=14)[0] == "…"
