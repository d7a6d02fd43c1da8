"""The page itself: a template filled with sections, the viewer's script and its scenes, and nothing from elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template

from ugocc import __version__
from ugocc.results import write_text
from ugocc.viz.report.scenes import Scene, pack_scenes


@dataclass(frozen=True)
class Section:
    """One part of the page."""

    title: str
    """Its heading."""
    body: str
    """HTML (``ugocc.viz.report.figures``)."""
    note: str = ""
    """How to read it, plain text."""


def write_page(path: Path, title: str, lead: str, sections: Sequence[Section], scenes: Sequence[Scene] = ()) -> Path:
    """Write the page; the file is either the old one or the whole new one.

    Args:
        path: file.
        title: heading of the page.
        lead: one plain sentence below it.
        sections: in their order; the first comes before the volumes.
        scenes: for the viewer; none leaves it out.

    Returns:
        ``path``.
    """
    viewer = ""
    if scenes:
        viewer = Template(_part("viewer.html")).substitute(scenes=pack_scenes(scenes), script=_part("viewer.js"))
    html = Template(_part("page.html")).substitute(
        title=escape(title),
        lead=escape(lead),
        style=_part("page.css"),
        first="".join(_section(section) for section in sections[:1]),
        viewer=viewer,
        rest="".join(_section(section) for section in sections[1:]),
        version=escape(__version__),
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, html)
    return path


def _section(section: Section) -> str:
    note = f"<p class=note>{escape(section.note)}</p>" if section.note else ""
    return f"<section><h2>{escape(section.title)}</h2>{note}{section.body}</section>\n"


def _part(name: str) -> str:
    return files("ugocc.viz.report").joinpath(name).read_text(encoding="utf-8")
