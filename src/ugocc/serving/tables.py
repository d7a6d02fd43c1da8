"""The verb ``table``: the tables of README and docs, made from the committed result files and nothing else."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Final

from ugocc.errors import DataError
from ugocc.extras import EXTRAS
from ugocc.gaps import gap_table, ingredient_table
from ugocc.labels import CLASSES
from ugocc.output import reporting
from ugocc.results import VARIANTS, Row, cell, markdown_table, read_results, replace_block, write_text
from ugocc.serving.models import MODEL_COLUMNS, model_cells
from ugocc.serving.recipe_tables import recipe_table, step_table
from ugocc.viz.canvas import write_picture
from ugocc.viz.charts import bar_chart


@dataclass(frozen=True)
class TableSettings:
    """Tables from result files."""

    results: Path = Path("results")
    """Folder with result files, one folder each."""
    pages: tuple[Path, ...] = (
        Path("README.md"),
        Path("docs/results.md"),
        Path("docs/models.md"),
        Path("docs/full-size.md"),
        Path("docs/install.md"),
    )
    """Pages with ``<!-- results:NAME -->`` ... ``<!-- /results:NAME -->`` blocks; NAME is a folder of ``results``
    whose result files, at any depth, become one table. A block ``gaps:NAME`` says how much of the distance to the
    oracle a method closes, ``ingredients:NAME`` what it loses without each of its parts, ``plots:NAME`` draws the
    classes, and ``rings:NAME`` says how good it is near and far; the folders in NAME are directions, SOURCE-TARGET.
    ``checkpoints:NAME`` lists every checkpoint by what it is, scores and costs, ``models:NAME`` the networks and what
    they cost, ``recipes:NAME`` and ``steps:NAME`` what the full-size recipes would take and what was run of them,
    ``sizes:NAME`` what parts of an installation weigh, ``precisions:NAME`` in which precision runs were trained."""
    images: Path = Path("docs/images")
    """Folder for the pictures of ``plots`` blocks."""
    json: bool = False
    """Print one JSON document, which names the pages, instead of lines."""


def write_tables(settings: TableSettings) -> None:
    """Rewrite every block of every page.

    Raises:
        DataError: a page asks for results that are not there.
    """
    with reporting(settings.json) as report:
        for page in settings.pages:
            _write_tables(settings, page)
            print(f"tables: {page}")
        report({"pages": settings.pages})


def _write_tables(settings: TableSettings, page: Path) -> None:
    if not page.is_file():
        raise DataError(page, "pages", "no such file", "a Markdown page with blocks to fill")
    text = page.read_text(encoding="utf-8")
    for name in re.findall(r"<!-- results:(\S+) -->", text):
        text = replace_block(text, f"results:{name}", markdown_table(listed_rows(settings.results / name)))
    for name in re.findall(r"<!-- gaps:(\S+) -->", text):
        block = gap_table({folder.name: rows_of(folder) for folder in _directions(settings.results / name)})
        text = replace_block(text, f"gaps:{name}", block)
    for name in re.findall(r"<!-- ingredients:(\S+) -->", text):
        block = ingredient_table({folder.name: rows_of(folder) for folder in _directions(settings.results / name)})
        text = replace_block(text, f"ingredients:{name}", block)
    for name in re.findall(r"<!-- plots:(\S+) -->", text):
        text = replace_block(text, f"plots:{name}", plots_of(settings, name, page))
    for name in re.findall(r"<!-- rings:(\S+) -->", text):
        text = replace_block(text, f"rings:{name}", ring_table(listed_rows(settings.results / name)))
    for name in re.findall(r"<!-- checkpoints:(\S+) -->", text):
        text = replace_block(text, f"checkpoints:{name}", checkpoint_table(listed_rows(settings.results / name)))
    for name in re.findall(r"<!-- models:(\S+) -->", text):
        text = replace_block(text, f"models:{name}", model_table(settings.results / name))
    for name in re.findall(r"<!-- recipes:(\S+) -->", text):
        text = replace_block(text, f"recipes:{name}", recipe_table(settings.results / name))
    for name in re.findall(r"<!-- steps:(\S+) -->", text):
        text = replace_block(text, f"steps:{name}", step_table(settings.results / name))
    for name in re.findall(r"<!-- sizes:(\S+) -->", text):
        text = replace_block(text, f"sizes:{name}", size_table(settings.results / name / "benchmark.json"))
    for name in re.findall(r"<!-- precisions:(\S+) -->", text):
        text = replace_block(text, f"precisions:{name}", precision_text(settings.results / name))
    write_text(page, text)


def precision_text(folder: Path) -> str:
    """A sentence about the precision that the runs of a folder were trained in; the rarer ones are named.

    Raises:
        DataError: no result file says it.
    """
    runs: dict[str, list[str]] = {}
    for file in sorted(folder.rglob("*.json")):
        recipe = json.loads(file.read_text(encoding="utf-8")).get("recipe", {})
        if "run" in recipe:
            runs.setdefault(recipe["run"]["precision"], []).append(file.relative_to(folder).with_suffix("").as_posix())
    if not runs:
        raise DataError(folder, "recipe.run.precision", "in no file", "result files of trained networks")
    most, *others = sorted(runs, key=lambda precision: -len(runs[precision]))
    rest = "".join(f", but in {precision}: {', '.join(runs[precision])}" for precision in others)
    return f"Runs were trained in {most}{rest}.\n"


def ring_table(rows: Sequence[Row]) -> str:
    """A Markdown table of mIoU by distance, of what no camera sees, and of plausibility: means over seeds."""
    rings = list(dict.fromkeys(ring for row in rows for ring in row.by_distance))
    shares = list(dict.fromkeys(name for row in rows for name in row.plausibility))
    head = ["model", "variant", "trained on", "evaluated on", "split", "seeds", *(f"{ring} m" for ring in rings)]
    head += ["hidden: mIoU", "hidden: occupied IoU", *(name.replace("_", " ") for name in shares)]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * 5 + "--:|" * (len(head) - 5)]
    groups: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        if row.by_distance:
            what = (row.model, row.variant, row.train_fleet, row.eval_fleet, row.split)
            groups.setdefault(what, []).append(row)
    for key, group in groups.items():
        numbers = [_mean_of([row.by_distance.get(ring) for row in group]) for ring in rings]
        numbers += [_mean_of([row.hidden.get(name) for row in group]) for name in ("miou", "iou_occupied")]
        numbers += [_mean_of([row.plausibility.get(name) for row in group], digits=3) for name in shares]
        lines.append("| " + " | ".join([*map(cell, key), str(len(group)), *numbers]) + " |")
    return "\n".join(lines) + "\n"


CHECKPOINT_COLUMNS: Final = (
    "configuration",
    "seed",
    "backbone",
    "input",
    "evaluated on",
    "mask",
    "mIoU",
    "RayIoU",
    "latency",
    "on",
    "memory",
    "training",
    "checkpoint",
)


def checkpoint_table(rows: Sequence[Row]) -> str:
    """A Markdown table in the form of this field's model zoos: one line per checkpoint and fleet, no means.

    Rows that were evaluated before checkpoints were recorded are left out.
    """
    lines = ["| " + " | ".join(CHECKPOINT_COLUMNS) + " |", "|---|--:|" + "---|" * 4 + "--:|" * 3 + "---|--:|--:|---|"]
    for row in rows:
        if row.weights_sha256:
            cells = [
                f"{row.model} {row.variant}, {row.train_fleet}",
                str(row.seed),
                row.backbone,
                " x ".join(str(n) for n in row.images),
                f"{row.eval_fleet} {row.split}",
                row.mask,
                f"{row.miou:.1f}",
                _mean_of([row.ray_iou.get("mean")]),
                f"{row.latency_ms:.0f} ms",
                row.hardware,
                f"{row.memory_mib:.0f} MiB",
                f"{row.steps} steps, {row.train_seconds / 60:.0f} min",
                f"`{row.weights_sha256[:12]}`",
            ]
            lines.append("| " + " | ".join(map(cell, cells)) + " |")
    return "\n".join(lines) + "\n"


def _mean_of(values: Sequence[float | None], digits: int = 1) -> str:
    found = [value for value in values if value is not None]
    return f"{fmean(found):.{digits}f}" if found else "-"


def model_table(folder: Path) -> str:
    """A Markdown table of the networks in the files that ``ugocc models --out`` wrote.

    Raises:
        DataError: there are none.
    """
    files = sorted(folder.glob("*.json"))
    rows = [row for file in files for row in json.loads(file.read_text(encoding="utf-8"))["models"]]
    if not rows:
        raise DataError(folder, "models", "none", "a file that ugocc models --out wrote")
    lines = ["| " + " | ".join(MODEL_COLUMNS) + " |", "|" + "---|" * 6 + "--:|" * 3]
    return "\n".join([*lines, *("| " + " | ".join(model_cells(row)) + " |" for row in rows)]) + "\n"


def size_table(file: Path) -> str:
    """A Markdown table of what an installation and its extras weigh, from the file of benchmarks/install_size.py.

    Raises:
        DataError: no such file.
    """
    if not file.is_file():
        raise DataError(file, "sizes", "no such file", "what benchmarks/install_size.py writes")
    content = json.loads(file.read_text(encoding="utf-8"))
    parts = {"the core": content["core"], **{f"`{name}`": part for name, part in content["extras"].items()}}
    purposes = {f"`{name}`": extra.purpose for name, extra in EXTRAS.items()}
    purposes |= {"the core": "everything else, on one's own fleet", "`all`": "all of these"}
    lines = ["| part | for | adds, MB | most of it |", "|---|---|--:|---|"]
    for name, part in parts.items():
        heaviest = list(part["packages"].items())[:3]
        most = ", ".join(f"{package} {about['mb']:.0f}" for package, about in heaviest)
        lines.append(f"| {name} | {purposes[name]} | {part['mb']:.0f} | {most} |")
    return "\n".join(lines) + "\n"


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


def listed_rows(folder: Path) -> list[Row]:
    """The rows of a folder without those of oracles away from home: the other direction's source-only, said twice.

    Raises:
        DataError: there are none.
    """
    return [row for row in rows_of(folder) if row.variant != "oracle" or row.eval_fleet == row.train_fleet]


def order(row: Row) -> tuple[str, bool, int, str]:
    """Where a row belongs: by the fleet it is scored on, strangers before those trained there, baseline before bar."""
    place = VARIANTS.index(row.variant) if row.variant in VARIANTS else len(VARIANTS)
    return (row.eval_fleet, row.eval_fleet == row.train_fleet and row.variant != "oracle", place, row.model)
