"""Screenshot of a report page, for the docs: python web/screenshot.py runs/demo/report.html docs/images/report.png."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright


def screenshot(page_file: Path, out: Path) -> None:
    """Take the page from its heading to below the volumes, in the middle of the first scene."""
    with sync_playwright() as play:
        browser = play.chromium.launch(
            executable_path=shutil.which("chromium"),
            args=["--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"],
        )
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.goto(page_file.resolve().as_uri())
        page.locator("#cameras img").first.wait_for()
        page.locator("#moment").fill(str(int(page.locator("#moment").get_attribute("max") or 0) // 2))
        page.wait_for_timeout(1000)
        end = page.locator("#viewer").bounding_box()
        assert end is not None
        page.screenshot(
            path=out, full_page=True, clip={"x": 0, "y": 0, "width": 1280, "height": end["y"] + end["height"] + 24}
        )
        browser.close()


if __name__ == "__main__":
    screenshot(Path(sys.argv[1]), Path(sys.argv[2]))
