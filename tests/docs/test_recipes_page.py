from __future__ import annotations

import runpy
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_the_page_lists_the_recipes_that_there_are():
    program = runpy.run_path(str(ROOT / "docs" / "recipes.py"))
    page = (ROOT / "docs" / "recipes.md").read_text(encoding="utf-8")
    assert f"<!-- recipes -->\n{program['table']()}<!-- /recipes -->" in page, "run python docs/recipes.py"


def test_every_recipe_begins_with_a_line_that_says_what_it_is():
    for path in sorted((ROOT / "recipes").glob("*.yaml")):
        first = path.read_text(encoding="utf-8").splitlines()[0]
        assert first.startswith("# "), path.name
        assert first.rstrip().endswith("."), path.name
