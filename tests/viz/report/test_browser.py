"""The page in a real browser: it opens without a network, draws volumes, and its controls change what is drawn."""

from __future__ import annotations

import io
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ugocc.geometry.grid import VoxelGrid
from ugocc.labels import BUILDING, DRIVABLE, FREE, PEDESTRIAN, UNKNOWN, VEHICLE
from ugocc.viz.report import figures
from ugocc.viz.report.page import Section, write_page
from ugocc.viz.report.scenes import AFTER, BEFORE, TRUTH, Moment, Scene, Shown

GRID = VoxelGrid((-8.0, -8.0, -1.0), (20, 20, 8), 0.8)
SHOWN = [Shown(BEFORE, "Before", "before it"), Shown(AFTER, "After", "after it"), Shown(TRUTH, "Truth", "the labels")]
BLUE = (45, 120, 220)


def street(car: int) -> np.ndarray:
    volume = np.full(GRID.shape, FREE, dtype=np.uint8)
    volume[:, 6:14, 0] = DRIVABLE
    volume[car : car + 3, 8:11, 1:4] = VEHICLE
    volume[:, 17:, :6] = BUILDING
    return volume


def scene(name: str, labelled: bool) -> Scene:
    moments = []
    for i in range(3):
        truth = street(4 + 4 * i)
        after, before = truth.copy(), street(4 + 4 * i)
        before[before == VEHICLE] = FREE
        after[2, 7, 1] = PEDESTRIAN
        truth[:3, :3] = UNKNOWN
        volumes = {BEFORE: before, AFTER: after} | ({TRUTH: truth} if labelled else {})
        images = [
            (c, np.full((90, 160, 3), 60 + 30 * i, np.uint8))
            for c in ("CAM_FRONT", "CAM_BACK", "CAM_FRONT_LEFT", "CAM_SIDE_LEFT", "CAM_FRONT_RIGHT")
        ]
        moments.append(Moment(f"moment {i}", images, volumes, truth != UNKNOWN if labelled else None))
    return Scene(name, GRID, SHOWN if labelled else SHOWN[:2], moments)


@pytest.fixture(scope="module")
def page_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "report.html"
    sections = [Section("Results", "<p>a table</p>"), Section("Classes", "<p>bars</p>")]
    return write_page(path, "A <title> & more", "lead", sections, [scene("one", True), scene("two </script>", False)])


@pytest.fixture(scope="module")
def browser() -> Iterator:
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if chromium is None:
        pytest.skip("no chromium on this machine")
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as play:
        options = ["--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
        started = play.chromium.launch(executable_path=chromium, args=options)
        yield started
        started.close()


@pytest.fixture
def page(browser, page_file: Path) -> Iterator:
    opened = browser.new_page(viewport={"width": 1200, "height": 1000})
    said: list[str] = []
    asked: list[str] = []
    opened.on("console", lambda message: said.append(f"{message.type}: {message.text}"))
    opened.on("pageerror", lambda error: said.append(f"error: {error}"))
    opened.on("request", lambda request: asked.append(request.url))
    opened.goto(page_file.as_uri())
    opened.locator("#cameras img").first.wait_for()
    yield opened
    assert [text for text in said if text.startswith("error")] == []
    assert [url for url in asked if not url.startswith("data:")] == [page_file.as_uri()]
    opened.close()


def drawn(page) -> tuple[np.ndarray, np.ndarray]:
    """RGB of both panes, once nothing waits to be drawn."""
    page.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(done, 60))))")
    picture = np.array(Image.open(io.BytesIO(page.locator(".stage").screenshot())).convert("RGB"))[80:-60]
    half = picture.shape[1] // 2
    return picture[:, : half - 10], picture[:, half + 10 :]


def area(picture: np.ndarray, colour: tuple[int, int, int]) -> int:
    """Pixels of a hue, however they are lit."""
    lit = picture.astype(float)
    unit = lit / np.linalg.norm(lit, axis=-1, keepdims=True).clip(1)
    return int((unit @ (np.array(colour) / np.linalg.norm(colour)) > 0.995).sum())


def test_volumes_are_drawn_and_differ(page) -> None:
    before, after = drawn(page)
    assert area(before, BLUE) == 0
    assert area(after, BLUE) > 300
    assert page.title() == "A <title> & more"


def test_a_class_is_switched_off_and_on(page) -> None:
    _, whole = drawn(page)
    page.click("[data-class='1']")
    _, without = drawn(page)
    assert area(whole, BLUE) > 300
    assert area(without, BLUE) == 0
    page.click("#none")
    assert np.abs(drawn(page)[1].astype(int) - whole).max() > 50
    page.click("#all")
    assert np.array_equal(drawn(page)[1], whole)


def test_the_slider_goes_through_the_moments(page) -> None:
    _, first = drawn(page)
    image = page.locator("#cameras img").first.get_attribute("src")
    page.locator("#moment").fill("2")
    page.locator("#name", has_text="moment 2").wait_for()
    _, last = drawn(page)
    assert not np.array_equal(first, last)
    assert page.locator("#cameras img").first.get_attribute("src") != image
    assert page.locator("#count").text_content() == "3 / 3"


def test_dragging_turns_both_views(page) -> None:
    before = drawn(page)
    box = page.locator("#volumes").bounding_box()
    x, y = box["x"] + box["width"] / 4, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 120, y + 10, steps=4)
    page.mouse.up()
    for then, now in zip(before, drawn(page)):
        assert not np.array_equal(then, now)


def test_a_voxel_says_what_it_is(page) -> None:
    page.click("#above")
    _, after = drawn(page)
    lit = after.astype(float) / np.linalg.norm(after, axis=-1, keepdims=True).clip(1)
    rows, columns = np.nonzero(lit @ (np.array(BLUE) / np.linalg.norm(BLUE)) > 0.995)
    box = page.locator(".stage").bounding_box()
    left = box["x"] + round(box["width"]) - after.shape[1]
    page.mouse.move(left + float(np.median(columns)), box["y"] + 80 + float(np.median(rows)))
    said = page.locator("#tip").inner_text().split("\n")
    assert said == ["Before: free", "After: vehicle", "Truth: vehicle"]
    page.mouse.move(5, 5)
    assert not page.locator("#tip").is_visible()


def test_errors_have_their_own_colours(page) -> None:
    right = page.locator(".pane").nth(1)
    right.locator("[data-layer='errors-before']").click()
    assert right.locator(".legend span").all_text_contents() == ["right", "wrong class", "missed", "invented"]
    assert area(drawn(page)[1], (60, 110, 220)) > 300  # the car that was missed
    right.locator("[data-layer='change']").click()
    assert area(drawn(page)[1], (40, 160, 90)) > 300  # and is repaired
    right.locator("[data-layer='truth']").click()
    assert right.locator(".caption").text_content() == "the labels"


def test_a_scene_without_labels_shows_changes(page) -> None:
    page.select_option("#scene", label="two </script>")
    names = page.locator(".pane").first.locator(".choices button").all_text_contents()
    assert names == ["Before", "After", "Change"]
    assert not page.locator("#seen").is_visible()
    page.locator(".pane").first.locator("[data-layer='change']").click()
    assert area(drawn(page)[0], (40, 160, 90)) > 300


def test_cameras_stand_in_the_rows_of_the_rig(page) -> None:
    rows = page.locator("#cameras > div")
    names = [rows.nth(i).locator("figcaption").all_text_contents() for i in range(rows.count())]
    assert names == [["CAM_FRONT_LEFT", "CAM_FRONT", "CAM_FRONT_RIGHT"], ["CAM_SIDE_LEFT", "CAM_BACK"]]
    places = page.locator("#cameras figure").evaluate_all("all => all.map(one => one.getBoundingClientRect().toJSON())")
    assert max(place["bottom"] for place in places[:3]) < min(place["top"] for place in places[3:])
    assert len({round(place["width"]) for place in places}) == 1


def test_an_image_is_enlarged(page) -> None:
    page.locator("#cameras figure").first.click()
    assert page.locator("#large").is_visible()
    page.locator("#large").click()
    assert not page.locator("#large").is_visible()


@pytest.mark.parametrize("width", [360, 1280])
@pytest.mark.parametrize("scores", [(18.6, 47.6, 48.4), (48.4, 47.9, 48.1), (25.0, 26.0, 27.0), (1.0, 1.5, None)])
def test_labels_of_the_gap_never_meet(browser, tmp_path: Path, width: int, scores: tuple[float, float, float]) -> None:
    bar = figures.gap_bar(*scores, ("before", "after", "with labels of five"))
    opened = browser.new_page(viewport={"width": width, "height": 600})
    opened.goto(write_page(tmp_path / "page.html", "t", "l", [Section("The gap", bar)]).as_uri())
    boxes = [label.bounding_box() for label in opened.locator(".gap span").all()]
    below = opened.locator("footer").bounding_box()
    opened.close()
    assert len(boxes) == sum(score is not None for score in scores)
    for i, box in enumerate(boxes):
        assert 0 <= box["x"] < box["x"] + box["width"] <= width
        assert box["y"] + box["height"] <= below["y"]
        for other in boxes[:i]:
            assert box["y"] >= other["y"] + other["height"] or other["y"] >= box["y"] + box["height"]
