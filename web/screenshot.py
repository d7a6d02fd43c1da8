"""Screenshot of a report page, for the docs.

python web/screenshot.py runs/demo/report.html docs/images/report.png after truth
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright


def screenshot(page_file: Path, out: Path, left: str, right: str, part: str = "#viewer") -> None:
    """Take the volumes in the middle of the first scene.

    Args:
        page_file: the page.
        out: picture.
        left: layer of the left view, such as before or errors-after.
        right: that of the right view.
        part: selector of the part that is taken, such as .stage for the views alone.
    """
    with sync_playwright() as play:
        browser = play.chromium.launch(
            executable_path=shutil.which("chromium"),
            args=["--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"],
        )
        page = browser.new_page(viewport={"width": 1280, "height": 1200})
        page.goto(page_file.resolve().as_uri())
        page.locator("#cameras img").first.wait_for()
        page.locator("#moment").fill(str(int(page.locator("#moment").get_attribute("max") or 0) // 2))
        for pane, layer in enumerate((left, right)):
            page.locator(".pane").nth(pane).locator(f"[data-layer='{layer}']").click()
        page.wait_for_timeout(1000)
        box = page.locator(part).bounding_box()
        assert box is not None
        place = {"x": 0, "y": box["y"], "width": 1280, "height": box["height"]}
        page.screenshot(path=out, full_page=True, clip=place)
        browser.close()


if __name__ == "__main__":
    screenshot(Path(sys.argv[1]), Path(sys.argv[2]), *sys.argv[3:6])
