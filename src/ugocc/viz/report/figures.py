"""The page's tables and charts as HTML."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from html import escape

import numpy as np

from ugocc.labels import CLASSES, PALETTE
from ugocc.viz.canvas import Picture
from ugocc.viz.charts import bar_chart, line_chart
from ugocc.viz.report.curves import Curve
from ugocc.viz.report.scenes import AFTER, BAR, BEFORE, png


def table(markdown: str) -> str:
    """A Markdown table as an HTML one; columns named after a class get its colour."""
    rows_of_text = [re.split(r"(?<!\\)\|", line.strip()[1:-1]) for line in markdown.strip().splitlines()]
    lines = [[cell.strip().replace("\\|", "|") for cell in cells] for cells in rows_of_text]
    head, marks, body = lines[0], lines[1], lines[2:]
    right = [mark.endswith(":") for mark in marks]
    names = (
        f"<th{' class=right' if r else ''}>{_swatch(name)}{escape(name)}</th>"
        for name, r in zip(head, right, strict=True)
    )
    rows = [f"<tr>{''.join(names)}</tr>"]
    for line in body:
        cells = (f"<td{' class=number' if r else ''}>{escape(cell)}</td>" for cell, r in zip(line, right, strict=True))
        rows.append(f"<tr>{''.join(cells)}</tr>")
    return f"<div class=scroll><table>{''.join(rows)}</table></div>"


def bars(models: Mapping[str, Sequence[float | None]], groups: Sequence[str], title: str, unit: str = "IoU, %") -> str:
    """One group of bars per class or network, one colour per model."""
    return _image(bar_chart(models, groups, title, unit, fine=True), title)


def curves(lines: Mapping[str, Curve], title: str, unit: str) -> str:
    """Quantities over the steps of training."""
    points = {name: (curve.steps, curve.values) for name, curve in lines.items()}
    size = (588, 380) if len(lines) <= 3 else (1200, 380)  # room for the names
    return _image(line_chart(points, title, y_label=unit, size=size, fine=True), title)


def confusion(matrix: Sequence[Sequence[int]], title: str) -> str:
    """A table of shares of every true class by predicted class, the darker the more; rows without voxels stay empty."""
    counts = np.array(matrix, dtype=np.float64)
    total = counts.sum(axis=1, keepdims=True)
    shares = np.divide(100 * counts, total, out=np.zeros_like(counts), where=total > 0)
    head = "".join(f"<th class=turned><span>{escape(name)}</span></th>" for name in CLASSES)
    rows = [f"<tr><th>truth \\ predicted</th>{head}<th>voxels</th></tr>"]
    for i, name in enumerate(CLASSES):
        cells = "".join(_cell(shares[i, j], i == j) if total[i, 0] else "<td></td>" for j in range(len(CLASSES)))
        rows.append(f"<tr><th>{_swatch(name)}{escape(name)}</th>{cells}<td class=number>{int(total[i, 0]):,}</td></tr>")
    return f"<figure><figcaption>{escape(title)}</figcaption><table class=confusion>{''.join(rows)}</table></figure>"


def gap_bar(before: float, after: float, bar: float | None, names: tuple[str, str, str]) -> str:
    """A scale of mIoU with the way from before adaptation to the bar and how much of it adaptation went.

    Every mark has its label in a row of its own, towards the middle of the scale, so that no two of them meet however
    close the scores are and however narrow the page is; the outermost mark of each half has the lowest row.

    Args:
        before: percent.
        after: percent.
        bar: percent, of a network that had the labels, if there is one.
        names: of the three.
    """
    most = max(before, after, bar or 0.0, 1e-9) * 1.08
    low, high = sorted((before, after))
    known = [
        (kind, value, name)
        for kind, value, name in zip((BEFORE, AFTER, BAR), (before, after, bar), names, strict=True)
        if value is not None
    ]
    marks = ""
    for row, (kind, value, name) in enumerate(sorted(known, key=lambda mark: abs(2 * mark[1] - most))):
        side = "back" if 2 * value > most else "on"
        label = f"<span class={side}><em>{value:.1f}</em> {escape(name)}</span>"
        marks += f'<b class={kind} style="left:{100 * value / most:.2f}%;--row:{row}">{label}</b>'
    way = f'<i style="left:{100 * low / most:.2f}%;width:{100 * (high - low) / most:.2f}%"></i>'
    whole = f'<u style="left:{100 * before / most:.2f}%;width:{100 * max((bar or 0) - before, 0) / most:.2f}%"></u>'
    return f"<div class=gap>{whole}{way}{marks}</div>"


def _cell(share: float, diagonal: bool) -> str:
    strength = (share / 100) ** 0.6
    colour = f"rgb({255 - 215 * strength:.0f} {255 - 125 * strength:.0f} {255 - 75 * strength:.0f})"
    ink = ";color:#fff" if strength > 0.6 else ""
    text = f"{share:.0f}" if share >= 0.5 else ("·" if share > 0 else "")
    return f'<td{" class=hit" if diagonal else ""} style="background:{colour}{ink}">{text}</td>'


def _swatch(name: str) -> str:
    if name not in CLASSES[:9]:
        return ""
    red, green, blue = PALETTE[CLASSES.index(name)]
    return f'<i class=swatch style="background:rgb({red} {green} {blue})"></i>'


def _image(picture: Picture, title: str) -> str:
    rows, columns = picture.shape[:2]
    return f'<img src="{png(picture)}" width={columns // 2} height={rows // 2} alt="{escape(title)}">'
