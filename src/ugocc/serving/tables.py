"""The verb ``table``: the tables of README and docs, made from the committed result files and nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ugocc.results import markdown_table, read_results, replace_block, write_text


@dataclass(frozen=True)
class TableSettings:
    """Tables from result files."""

    results: Path = Path("results")
    """Folder with result files, one folder each."""
    pages: tuple[Path, ...] = (Path("README.md"), Path("docs/results.md"))
    """Pages with ``<!-- results:NAME -->`` ... ``<!-- /results:NAME -->`` blocks, NAME a folder of ``results``."""


def write_tables(settings: TableSettings) -> None:
    """Rewrite every block of every page."""
    for page in settings.pages:
        text = page.read_text(encoding="utf-8")
        for file in sorted(settings.results.glob("*/results.json")):
            block = f"results:{file.parent.name}"
            if f"<!-- {block} -->" in text:
                text = replace_block(text, block, markdown_table(read_results(file)))
        write_text(page, text)
        print(f"tables: {page}")
