from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ugocc import demo
from ugocc.data.frame import Frame
from ugocc.data.synthetic.build import RenderSettings
from ugocc.data.town.scene import DriveSettings
from ugocc.demo import DemoSettings, run_demo, side_by_side
from ugocc.errors import DataError
from ugocc.viz.pictures import SEEN, comparison_picture


def test_the_demo_goes_from_files_to_films_and_reuses_what_exists(
    tiny_fleets: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    drive = DriveSettings(frames=3, width=176)
    fleets = RenderSettings(root=tiny_fleets, train=1, val=1, test=1, drive=drive, processes=1)
    settings = DemoSettings(out=tmp_path, fleets=fleets, cache=tmp_path / "cache", size="debug", steps=(2, 2))
    shown_on: dict[str, list[str]] = {}

    def noted(models: Mapping[str, Path], fleet: str, frames: list[Frame]) -> Iterator[np.ndarray]:
        shown_on[fleet] = list(models)
        return side_by_side(models, fleet, frames)

    notes = []

    def compared(*volumes: object, note: str, **about: object) -> np.ndarray:
        notes.append(note)
        return comparison_picture(*volumes, note=note, **about)

    monkeypatch.setattr(demo, "side_by_side", noted)
    monkeypatch.setattr(demo, "comparison_picture", compared)
    rows = run_demo(settings)
    two = ["labels of six alone", "adapted to five"]
    assert set(notes) == {SEEN}
    assert shown_on == {"six": two, "five": [*two, "labels of five"]}
    assert {(r.variant, r.train_fleet, r.eval_fleet, r.split) for r in rows} == {
        *((variant, "six", fleet, "test") for variant in ("source-only", "full") for fleet in ("six", "five")),
        ("oracle", "five", "five", "test"),
    }
    assert len(json.loads((tmp_path / "results.json").read_text())["rows"]) == 5
    shown = capsys.readouterr().out
    written = [tmp_path / name for name in ("table.md", "results.json", "six.png", "five.png", "six.mp4", "five.mp4")]
    written.append(tmp_path / "report.html")
    for path in written:
        assert path.stat().st_size > 0
        assert str(path) in shown
    before = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*.safetensors")} | {
        p: p.stat().st_mtime_ns for p in tmp_path.glob("*.mp4")
    }
    assert run_demo(settings) == rows
    assert {p: p.stat().st_mtime_ns for p in before} == before
    # Models of other fleets under the same names are not taken for those of these.
    other = replace(fleets, root=tmp_path / "fleets", drive=replace(drive, frames=2), test=1)
    with pytest.raises(DataError, match="models trained on fleets of other settings"):
        run_demo(replace(settings, fleets=other))


def test_a_film_is_written_page_by_page_and_its_middle_is_the_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = most = 0

    class Page(np.ndarray):
        def __del__(self) -> None:
            nonlocal held
            held -= 1

    def pages(*_: object) -> Iterator[np.ndarray]:
        nonlocal held, most
        for i in range(9):
            held += 1
            most = max(most, held)
            yield np.full((32, 48, 3), 20 * i, np.uint8).view(Page)

    monkeypatch.setattr(demo, "side_by_side", pages)
    monkeypatch.setattr(demo, "open_fleet", lambda *_: None)
    monkeypatch.setattr(demo, "filmed", lambda *_: [None] * 9)
    monkeypatch.setattr(demo, "data_digest", lambda _: "")
    picture, film = demo._film({}, DemoSettings(out=tmp_path), "six")
    assert film.stat().st_size > 0
    assert most < 5
    with Image.open(picture) as middle:
        assert np.array(middle).max() == 80


def test_a_demo_without_scenes_is_refused_before_anything_is_trained() -> None:
    with pytest.raises(DataError, match="demo: scenes: found 0, expected a number of scenes"):
        DemoSettings(scenes=0)
