"""What the site adds to the pages: files of the repository that pages link to, and pages that the menu forgot."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parent.parent
OUTSIDE = re.compile(r"(?<!!)\[([^\]]*)\]\(\.\./([^)#\s]+)\)")
"""A link to something of the repository that is no page: recipes, result files, notebooks, scripts."""


def on_config(config: Any) -> Any:
    """Pages that the menu does not name come last, under More."""
    named = set(_leaves(config.nav)) | {"changelog.md"}
    forgotten = sorted(path.name for path in (ROOT / "docs").glob("*.md") if path.name not in named)
    if forgotten:
        config.nav.append({"More": forgotten})
    return config


def on_files(files: Files, config: Any) -> Files:
    """Add the changelog as a page, and every file that a page links to outside docs/."""
    files.append(File.generated(config, "changelog.md", abs_src_path=str(ROOT / "CHANGELOG.md")))
    linked = {match[2] for page in files.documentation_pages() for match in OUTSIDE.finditer(page.content_string)}
    for path in sorted(linked):
        if (ROOT / path).is_file():
            files.append(File.generated(config, f"files/{path}", abs_src_path=str(ROOT / path)))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Links outside docs/ lead to the added files; a folder has no page, so that its name alone stays."""

    def inside(match: re.Match[str]) -> str:
        words, path = match[1], match[2]
        return words if (ROOT / path).is_dir() else f"[{words}](files/{path})"

    return OUTSIDE.sub(inside, markdown)


def _leaves(nav: Any) -> list[str]:
    if isinstance(nav, str):
        return [nav]
    return [leaf for part in (nav.values() if isinstance(nav, dict) else nav) for leaf in _leaves(part)]
