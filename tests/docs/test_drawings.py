from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest
from PIL import Image

from ugocc.models.assemble import build_model, model_settings
from ugocc.training.checkpoint import save_model

ROOT = Path(__file__).resolve().parents[2]
MOST = 250_000  # bytes


def shown() -> set[str]:
    """Names of the drawings that pages show."""
    pages = "\n".join(page.read_text(encoding="utf-8") for page in (ROOT / "docs").glob("*.md"))
    return set(re.findall(r"\(images/(concept-[\w-]+\.png)\)", pages))


@pytest.fixture(scope="module")
def drawn(tiny_fleets: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("drawings")
    model = build_model(model_settings("ugocc", "debug"))
    checkpoint = save_model(folder / "model", model, {"train_fleet": "six"})
    draw_all = runpy.run_path(str(ROOT / "docs" / "drawings.py"))["draw_all"]
    return draw_all(tiny_fleets, folder / "images", checkpoint, 1, 1)


def test_the_program_draws_what_the_pages_show(drawn: list[Path]):
    assert {path.name for path in drawn} == shown()


def test_drawings_are_small_and_not_empty(drawn: list[Path]):
    for path in drawn:
        assert path.stat().st_size <= MOST
        with Image.open(path) as image:
            assert image.width > 1000
            assert len(image.getcolors(maxcolors=256) or []) > 10


def test_committed_drawings_are_those_shown_and_small():
    committed = list((ROOT / "docs" / "images").glob("concept-*.png"))
    assert {path.name for path in committed} == shown()
    assert all(path.stat().st_size <= MOST for path in committed)
