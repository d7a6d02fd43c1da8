from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ugocc import extras
from ugocc.errors import DataError, MissingPackage
from ugocc.labels import BUILDING, FREE, PALETTE, TRAFFIC_OBJECT
from ugocc.viz import film
from ugocc.viz.film import film_name, of_one_size, thinned, write_film
from ugocc.viz.overlay import legend

COLOURS = [(220, 40, 40), (40, 200, 60), (50, 60, 220), (230, 220, 40), (20, 20, 20)]


def pictures(rows: int = 33, columns: int = 47) -> list[np.ndarray]:
    return [np.full((rows, columns, 3), c, dtype=np.uint8) for c in COLOURS]


@pytest.mark.parametrize("suffix", [".gif", ".webp"])
def test_every_picture_comes_back(tmp_path: Path, suffix: str) -> None:
    path = write_film(iter(pictures()), tmp_path / f"film{suffix}", fps=4)
    with Image.open(path) as found:
        assert found.n_frames == 5
        assert found.size == (47, 33)
        for number, colour in enumerate(COLOURS):
            found.seek(number)
            found.load()
            assert found.info["duration"] == 250
            assert np.abs(np.array(found.convert("RGB")).astype(int) - colour).max() < 24
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_a_gif_keeps_the_colours_of_the_legend_and_of_a_single_pixel(tmp_path: Path) -> None:
    page = np.random.default_rng(0).integers(0, 256, (300, 700, 3)).astype(np.uint8)
    key = legend(700)
    page[: len(key)] = key
    page[200, 300], page[200, 302] = PALETTE[TRAFFIC_OBJECT], PALETTE[BUILDING]
    path = write_film([page, page[:, ::-1]], tmp_path / "film.gif")
    with Image.open(path) as shown:
        found = np.array(shown.convert("RGB"))
    for colour in PALETTE[:FREE]:
        swatch = (key == colour).all(-1)
        assert swatch.sum() > 100
        assert (found[: len(key)][swatch] == colour).all()
    assert (found[200, [300, 302]] == PALETTE[[TRAFFIC_OBJECT, BUILDING]]).all()


@pytest.mark.parametrize("suffix", [".gif", ".webp"])
def test_a_long_film_is_thinned_evenly_and_lasts_as_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], suffix: str
) -> None:
    monkeypatch.setattr(film, "thinned", partial(thinned, most=4))
    greys = (np.full((33, 47, 3), 12 * i, dtype=np.uint8) for i in range(18))
    path = write_film(greys, tmp_path / f"film{suffix}", fps=10)
    with Image.open(path) as found:
        shown = []
        for number in range(found.n_frames):
            found.seek(number)
            found.load()
            assert found.info["duration"] == 800
            shown.append(round(np.array(found.convert("L")).mean() / 12))
    assert shown == [0, 8, 16]
    assert capsys.readouterr().out == (
        f"long {suffix} film keeps one picture in 8, shown 8 times as long: all would have to fit into memory; "
        ".mp4 (extra film) keeps every one\n"
    )


@pytest.mark.parametrize("count", [1, 4, 5, 8, 9, 100])
def test_few_images_are_ever_held(count: int) -> None:
    class Held:
        now = most = 0

        def __init__(self, picture: np.ndarray) -> None:
            self.number = int(picture)
            Held.now += 1
            Held.most = max(Held.most, Held.now)

        def __del__(self) -> None:
            Held.now -= 1

    images, every = thinned((np.array(i) for i in range(count)), Held, most=4)
    assert [image.number for image in images] == list(range(0, count, every))
    assert 2 * len(images) > min(count, 4)
    assert Held.most <= 5


def test_mp4_comes_back(tmp_path: Path) -> None:
    iio = pytest.importorskip("imageio.v3")
    pytest.importorskip("av")
    path = write_film(pictures(), tmp_path / "film.mp4", fps=5)
    found = iio.imread(path, plugin="pyav")
    assert found.shape == (5, 34, 48, 3)  # even, as the format asks
    assert iio.immeta(path, plugin="pyav")["fps"] == pytest.approx(5)
    for picture, colour in zip(found, COLOURS, strict=True):
        assert np.abs(picture[:33, :47].astype(int) - colour).max() < 40
    assert [p.name for p in tmp_path.iterdir()] == ["film.mp4"]


def test_mp4_without_its_packages_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extras, "_imports", lambda module: module != "av")
    with pytest.raises(MissingPackage, match=r"film\.mp4 needs av: pip install 'ugocc\[film\]'$"):
        write_film(pictures(), tmp_path / "film.mp4")


def test_unusable_input_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no pictures"):
        write_film([], tmp_path / "film.gif")
    with pytest.raises(DataError, match=r"extension \.avi"):
        write_film(pictures(), tmp_path / "film.avi")
    old = write_film(pictures(), tmp_path / "film.gif").read_bytes()
    with pytest.raises(DataError, match="picture 1"):
        write_film([pictures()[0], pictures(20)[0]], tmp_path / "film.gif")
    assert [p.name for p in tmp_path.iterdir()] == ["film.gif"]
    assert (tmp_path / "film.gif").read_bytes() == old


def test_pictures_of_other_sizes_stand_on_the_page_of_the_first() -> None:
    first, wide, small = pictures(40, 60)[0], pictures(40, 120)[1], pictures(20, 30)[2]
    pages = list(of_one_size([first, wide, small, first]))
    assert [page.shape for page in pages] == [first.shape] * 4
    assert np.array_equal(pages[0], first)
    assert np.array_equal(pages[3], first)
    assert (pages[1][10:30] == COLOURS[1]).all()  # half as large, with a strip above and below
    assert (pages[1][:10] == COLOURS[0]).all()
    assert (pages[1][30:] == COLOURS[0]).all()
    assert (pages[2][10:30, 15:45] == COLOURS[2]).all()
    assert (pages[2][:, :15] == COLOURS[0]).all()


def test_a_scene_is_no_path() -> None:
    assert film_name("monday 1") == "monday 1"
    assert film_name("/data/monday") == "_data_monday"
    assert film_name(r"..\C:x") == ".._C_x"
