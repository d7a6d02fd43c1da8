"""The verb ``table``: the tables of README and docs, made from the committed result files and nothing else."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Final

from ugocc.errors import DataError
from ugocc.gaps import gap_table
from ugocc.labels import CLASSES
from ugocc.results import VARIANTS, Row, markdown_table, read_results, replace_block, write_text
from ugocc.viz.canvas import write_picture
from ugocc.viz.charts import bar_chart


@dataclass(frozen=True)
class TableSettings:
    """Tables from result files."""

    results: Path = Path("results")
    """Folder with result files, one folder each."""
    pages: tuple[Path, ...] = (Path("README.md"), Path("docs/results.md"))
    """Pages with ``<!-- results:NAME -->`` ... ``<!-- /results:NAME -->`` blocks; NAME is a folder of ``results``
    whose result files, at any depth, become one table. A block ``gaps:NAME`` says how much of the distance to the
    oracle every variant closes, and ``plots:NAME`` draws the classes; the folders in NAME are directions,
    SOURCE-TARGET."""
    images: Path = Path("docs/images")
    """Folder for the pictures of ``plots`` blocks."""


def write_tables(settings: TableSettings) -> None:
    """Rewrite every block of every page.

    Raises:
        DataError: a page asks for results that are not there.
    """
    for page in settings.pages:
        text = page.read_text(encoding="utf-8")
        for name in re.findall(r"<!-- results:(\S+) -->", text):
            text = replace_block(text, f"results:{name}", markdown_table(rows_of(settings.results / name)))
        for name in re.findall(r"<!-- gaps:(\S+) -->", text):
            block = gap_table({folder.name: rows_of(folder) for folder in _directions(settings.results / name)})
            text = replace_block(text, f"gaps:{name}", block)
        for name in re.findall(r"<!-- plots:(\S+) -->", text):
            text = replace_block(text, f"plots:{name}", plots_of(settings, name, page))
        write_text(page, text)
        print(f"tables: {page}")


PLOTTED: Final = ("source-only", "strong source-only", "full", "oracle")
"""Variants whose classes are drawn: where one starts, the result and the bar."""


def plots_of(settings: TableSettings, name: str, page: Path) -> str:
    """A bar chart per direction and model, of its classes on the target, means over seeds; the page's links to them."""
    lines = []
    for direction in _directions(settings.results / name):
        target = direction.name.rpartition("-")[2]
        rows = [row for row in rows_of(direction) if row.eval_fleet == target and row.variant in PLOTTED]
        for model in sorted({row.model for row in rows}):
            bars = {v: class_means([r for r in rows if (r.model, r.variant) == (model, v)]) for v in PLOTTED}
            title = f"{model}, {direction.name.replace('-', ' to ')}: classes on {target}"
            picture = bar_chart({v: means for v, means in bars.items() if means}, ["mean", *CLASSES[:9]], title)
            path = write_picture(settings.images / f"{name}-{direction.name}-{model}.png", picture)
            lines.append(f"![{title}]({Path(os.path.relpath(path, page.parent)).as_posix()})\n")
    return "\n".join(lines)


def _directions(folder: Path) -> list[Path]:
    return sorted(inner for inner in folder.iterdir() if inner.is_dir())


def class_means(rows: Sequence[Row]) -> list[float | None]:
    """Mean over rows of mIoU and of each class's IoU; empty without rows, None for a class that never occurs."""
    if not rows:
        return []
    means: list[float | None] = [fmean(row.miou for row in rows)]
    for name in CLASSES[:9]:
        known = [value for row in rows if (value := row.per_class.get(name)) is not None]
        means.append(fmean(known) if known else None)
    return means


def rows_of(folder: Path) -> list[Row]:
    """Rows of all result files of a folder, in the order of tables.

    Raises:
        DataError: there are none.
    """
    rows = [row for file in sorted(folder.rglob("*.json")) for row in read_results(file)]
    if not rows:
        raise DataError(folder, "results", "no rows", "result files of a command that measures")
    return sorted(rows, key=order)


def order(row: Row) -> tuple[str, bool, int, str]:
    """Where a row belongs: by the fleet it is scored on, strangers before those trained there, baseline before bar."""
    place = VARIANTS.index(row.variant) if row.variant in VARIANTS else len(VARIANTS)
    return (row.eval_fleet, row.eval_fleet == row.train_fleet and row.variant != "oracle", place, row.model)
