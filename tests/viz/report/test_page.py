from __future__ import annotations

import base64
import io
import json
import re
import zlib
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from torch.utils.tensorboard import SummaryWriter

from ugocc import extras
from ugocc.geometry.grid import VoxelGrid
from ugocc.labels import FREE, VEHICLE
from ugocc.viz.report import figures
from ugocc.viz.report.curves import in_a_row, read_curves
from ugocc.viz.report.page import Section, write_page
from ugocc.viz.report.scenes import AFTER, BAR, BEFORE, TRUTH, Moment, Scene, Shown, pack_scenes

GRID = VoxelGrid((-8.0, -8.0, -1.0), (20, 20, 8), 0.8)


def scene() -> Scene:
    rng = np.random.default_rng(0)
    volume = np.where(rng.uniform(size=GRID.shape) < 0.1, VEHICLE, FREE).astype(np.uint8)
    names = ("CAM_BACK_RIGHT", "CAM_FRONT_RIGHT", "CAM_FRONT_LEFT", "CAM_BACK_LEFT")
    images = [(name, np.full((300, 1000, 3), 90, np.uint8)) for name in names]
    moment = Moment("one", images, {AFTER: volume, TRUTH: volume[::-1].copy()}, volume == FREE)
    return Scene("a </script> b", GRID, [Shown(AFTER, "Prediction", "x"), Shown(TRUTH, "Truth", "y")], [moment])


def unpacked(text: str) -> np.ndarray:
    return np.frombuffer(zlib.decompress(base64.b64decode(text)), np.uint8).reshape(GRID.shape)


def test_scenes_come_out_as_they_went_in() -> None:
    packed = pack_scenes([scene()])
    assert "</" not in packed
    content = json.loads(packed)["scenes"][0]
    moment = content["moments"][0]
    for key, volume in scene().moments[0].volumes.items():
        assert np.array_equal(unpacked(moment["volumes"][key]), volume)
    assert np.array_equal(unpacked(moment["seen"]), scene().moments[0].seen)
    rows = [["CAM_FRONT_LEFT", "CAM_FRONT_RIGHT"], ["CAM_BACK_LEFT", "CAM_BACK_RIGHT"]]
    assert [[camera["name"] for camera in row] for row in moment["cameras"]] == rows
    assert all(len(camera["image"]) < 20_000 for row in moment["cameras"] for camera in row)
    with Image.open(io.BytesIO(base64.b64decode(moment["cameras"][0][0]["image"].partition(",")[2]))) as image:
        assert image.size == (720, 216)
    assert content["grid"] == {"lower": [-8.0, -8.0, -1.0], "shape": [20, 20, 8], "voxel_size": 0.8}


class Addresses(HTMLParser):
    """Collects whatever a page would load."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "data")]


def test_the_page_is_whole_in_itself(tmp_path: Path) -> None:
    bars = figures.bars({"a": [1.0, None]}, ["x", "y"], "bars")
    path = write_page(tmp_path / "new" / "report.html", "<b>", "lead & all", [Section("One", bars, "a < b")], [scene()])
    text = path.read_text(encoding="utf-8")
    addresses = Addresses()
    addresses.feed(text)
    assert addresses.found
    assert all(address.startswith("data:") for address in addresses.found)
    assert "default-src 'none'" in text
    assert "<title>&lt;b&gt;</title>" in text
    assert "a &lt; b" in text
    assert [p.name for p in path.parent.iterdir()] == ["report.html"]


def test_a_page_without_scenes_carries_no_viewer(tmp_path: Path) -> None:
    text = write_page(tmp_path / "report.html", "t", "l", [Section("One", "")]).read_text(encoding="utf-8")
    assert "<script" not in text
    assert len(text) < 20_000


def test_a_markdown_table_as_html() -> None:
    html = figures.table("| model | mIoU | vehicle |\n|---|--:|--:|\n| <a> | 1.0 | - |\n")
    assert re.findall(r"<td[^>]*>([^<]*)", html) == ["&lt;a&gt;", "1.0", "-"]
    assert html.count("swatch") == 1


def test_confusion_shows_shares_of_the_truth() -> None:
    counts = np.zeros((10, 10), int)
    counts[1, 1], counts[1, 9] = 3, 1
    cells = re.findall(r"<td[^>]*>([^<]*)</td>", figures.confusion(counts.tolist(), "t"))
    assert [cell for cell in cells if cell] == ["0", "75", "25", "4", *["0"] * 8]


@pytest.mark.parametrize(("before", "after", "bar"), [(10.0, 30.0, 40.0), (30.0, 20.0, None), (0.0, 0.0, 0.0)])
def test_the_gap_is_drawn_to_scale(before: float, after: float, bar: float | None) -> None:
    html = figures.gap_bar(before, after, bar, ("a", "b", "c"))
    found = re.findall(r'<b class=(\w+) style="left:([\d.]+)%', html)
    at = {kind: float(place) for kind, place in found}
    values = {kind: v for kind, v in ((BEFORE, before), (AFTER, after), (BAR, bar)) if v is not None}
    assert at.keys() == values.keys()
    assert len(found) == len(at)
    assert all(0 <= place <= 100 for place in at.values())
    if max(values.values()):
        assert np.allclose([at[kind] / at[BEFORE] for kind in values], [v / before for v in values.values()], atol=0.01)


def test_curves_of_a_resumed_run_are_joined(tmp_path: Path) -> None:
    for first, value in ((0, 1.0), (20, 2.0)):
        with SummaryWriter(str(tmp_path / "tensorboard"), filename_suffix=f".{first}") as writer:
            for step in range(first, first + 30, 10):
                writer.add_scalar("loss", value, step)
    curve = read_curves(tmp_path)["loss"]
    assert curve.steps == [0, 10, 20, 30, 40]
    assert curve.values == [1, 1, 2, 2, 2]
    assert list(in_a_row({"a": tmp_path, "none": tmp_path / "none"}, "loss")) == ["a"]


def test_curves_in_csv_follow_those_of_tensorboard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with SummaryWriter(str(tmp_path / "tensorboard")) as writer:
        writer.add_scalar("loss", 1.0, 0)
        writer.add_scalar("loss", 2.0, 10)
    for first in (10, 20):
        folder = tmp_path / "tensorboard" / f"from-{first:07d}"
        folder.mkdir()
        (folder / "metrics.csv").write_text(f"epoch,loss,lr,step\n0,{first}.5,,{first}\n,,0.1,{first + 1}\n")
    assert read_curves(tmp_path)["loss"] == ([0, 10, 20], [1.0, 10.5, 20.5])
    assert read_curves(tmp_path)["lr"] == ([11, 21], [0.1, 0.1])
    monkeypatch.setattr(extras, "_imports", lambda module: False)
    with pytest.warns(UserWarning, match=r"left out: .* needs tensorboard: pip install 'ugocc\[tensorboard\]'"):
        assert read_curves(tmp_path)["loss"].steps == [10, 20]
