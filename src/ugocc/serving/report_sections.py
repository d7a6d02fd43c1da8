"""Sections of the report page, made of result rows and run folders."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean

import numpy as np

from ugocc.gaps import gap_closed
from ugocc.labels import CLASSES
from ugocc.results import Row, cell, markdown_table
from ugocc.serving.tables import class_means
from ugocc.viz.report import figures
from ugocc.viz.report.curves import in_a_row
from ugocc.viz.report.page import Section

Groups = Mapping[str, Sequence[Row]]
"""Rows of several seeds by what the page calls their network."""


def results_section(rows: Sequence[Row]) -> Section:
    """The result table."""
    note = (
        "IoU in percent of the voxels that cameras see. mIoU is the mean over the nine classes that are not free space."
    )
    return Section("Results", figures.table(markdown_table(rows)), note)


def gap_section(before: Sequence[Row], after: Sequence[Row], bar: Sequence[Row], source: str, target: str) -> Section:
    """The distance between the fleets before and after adaptation, and how much of the way to the bar was gone.

    Args:
        before: rows of the network that knows the source alone, on both fleets.
        after: rows of the adapted one.
        bar: rows of the one that had the target's labels; may be empty.
        source: name of the fleet with labels.
        target: name of the other.
    """
    names = ("before", "after", f"with labels of {target}")
    scores = [_miou(rows, target) for rows in (before, after, bar)]
    at_home = [_miou(before, source), _miou(after, source), None]  # the bar is a stranger on the source
    known = any(score is not None for score in at_home)
    lines = [f"| mIoU | on {cell(source)} | on {cell(target)} | gap |", "|---|--:|--:|--:|"]
    if not known:
        lines = [f"| mIoU | on {cell(target)} |", "|---|--:|"]
    for name, home, score in zip(names, at_home, scores, strict=True):
        if score is not None:
            gap = None if home is None else home - score
            cells = [_number(home), _number(score), _number(gap)] if known else [_number(score)]
            lines.append(f"| {cell(name)} | " + " | ".join(cells) + " |")
    low, high, most = scores
    drawn, note = "", f"mIoU on {target}, no label of which was learned from."
    if known:
        note = f"The gap is mIoU on {source}, whose labels were learned from, less that on {target}, which had none."
    if low is not None and high is not None:
        drawn = figures.gap_bar(low, high, most, names)
        share = None if most is None else gap_closed(high, low, most)
        if share is not None:
            note += f" Adaptation went {share:.0f} % of the way from before to a network with labels of {target}."
    return Section("The gap between the fleets, before and after", drawn + figures.table("\n".join(lines)), note)


def classes_section(charts: Mapping[str, Groups]) -> Section:
    """A bar chart of the classes for every entry, by its title."""
    drawn = []
    for title, groups in charts.items():
        bars = {name: class_means(rows) for name, rows in groups.items() if rows}
        if bars:
            drawn.append(figures.bars(bars, ["mean", *CLASSES[:9]], title))
    return Section("Classes", "".join(drawn))


def networks_section(rows: Sequence[Row], variants: Sequence[str], fleets: Sequence[str]) -> Section:
    """mIoU of every network of a family on every fleet as a target: its labels are known to the oracle alone."""
    names = list(dict.fromkeys(row.model for row in rows))
    asked = [row for row in rows if (row.variant == "oracle") == (row.train_fleet == row.eval_fleet)]
    drawn = []
    for fleet in fleets:
        scores = {
            v: [_miou([r for r in asked if (r.model, r.variant) == (n, v)], fleet) for n in names] for v in variants
        }
        known = {v: values for v, values in scores.items() if any(value is not None for value in values)}
        if known:
            title = f"mIoU on {fleet}, without its labels but for the oracle"
            drawn.append(figures.bars(known, names, title, "mIoU, %"))
    return Section("Networks", "".join(drawn))


def confusion_section(groups: Groups, fleet: str) -> Section | None:
    """A matrix per network, of all seeds together; None for rows of a time before confusions were kept."""
    drawn = []
    for name, rows in groups.items():
        counts = [np.array(row.confusion) for row in rows if row.confusion]
        if counts:
            drawn.append(figures.confusion(np.sum(counts, axis=0).tolist(), name))
    if not drawn:
        return None
    note = (
        "Percent of the voxels of a true class (rows) by the class they were taken for (columns), in what cameras see."
    )
    return Section(f"What is taken for what on {fleet}", f"<div class=pair>{''.join(drawn)}</div>", note)


def curves_section(runs: Mapping[str, Path], last: Path | None = None) -> Section | None:
    """Curves of training from the run folders; None where there are none.

    Args:
        runs: folders by the name of the stage, in their order.
        last: the run whose losses are drawn one by one, if it is an adaptation.
    """
    loss = in_a_row(runs, "loss")
    drawn = [figures.curves(loss, "Loss", "sum of all terms")] if loss else []
    rate = in_a_row(runs, "domain_accuracy")
    if rate:
        drawn.append(figures.curves(rate, "A classifier telling the fleets apart", "share it gets right"))
    if last is not None:
        drawn += [
            figures.curves(terms, title, "weighted loss")
            for title, names in _TERMS.items()
            if (terms := {n.replace("_", " "): c for n in names for c in in_a_row({n: last}, f"loss/{n}").values()})
        ]
    return Section("Training", f"<div class=pair>{''.join(drawn)}</div>") if drawn else None


_TERMS = {
    "What the source's labels teach": ("cross_entropy", "semantic_scale", "geometric_scale", "lovasz", "depth"),
    "What the target's images teach": (
        "pseudo_labels",
        "render_semantics",
        "render_depth",
        "target_semantics",
        "photometric_target",
    ),
}


def _miou(rows: Sequence[Row], fleet: str) -> float | None:
    found = [row.miou for row in rows if row.eval_fleet == fleet]
    return fmean(found) if found else None


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"
