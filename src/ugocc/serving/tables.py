"""The verb ``table``: the tables of README and docs, made from the committed result files and nothing else."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from ugocc.errors import DataError
from ugocc.gaps import gap_table
from ugocc.results import VARIANTS, Row, markdown_table, read_results, replace_block, write_text


@dataclass(frozen=True)
class TableSettings:
    """Tables from result files."""

    results: Path = Path("results")
    """Folder with result files, one folder each."""
    pages: tuple[Path, ...] = (Path("README.md"), Path("docs/results.md"))
    """Pages with ``<!-- results:NAME -->`` ... ``<!-- /results:NAME -->`` blocks; NAME is a folder of ``results``
    whose result files, at any depth, become one table. A block ``gaps:NAME`` says how much of the distance to the
    oracle every variant closes; the folders in NAME are directions, SOURCE-TARGET."""


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
            folders = sorted(folder for folder in (settings.results / name).iterdir() if folder.is_dir())
            block = gap_table({folder.name: rows_of(folder) for folder in folders})
            text = replace_block(text, f"gaps:{name}", block)
        write_text(page, text)
        print(f"tables: {page}")


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
