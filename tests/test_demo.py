from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from ugocc.data.synthetic.build import RenderSettings
from ugocc.data.town.scene import DriveSettings
from ugocc.demo import DemoSettings, run_demo
from ugocc.errors import DataError


def test_the_demo_goes_from_files_to_films_and_reuses_what_exists(
    tiny_fleets: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    drive = DriveSettings(frames=3, width=176)
    fleets = RenderSettings(root=tiny_fleets, train=1, val=1, test=1, drive=drive, processes=1)
    settings = DemoSettings(out=tmp_path, fleets=fleets, cache=tmp_path / "cache", size="debug", steps=(2, 2))
    rows = run_demo(settings)
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
