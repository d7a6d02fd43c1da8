"""What adaptation is judged by: how much of the distance from a baseline to the oracle it closes, and by what of it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from statistics import fmean, pstdev

from ugocc.errors import DataError
from ugocc.results import VARIANTS, Row, cell

PLAIN, STRONG, ORACLE = "source-only", "strong source-only", "oracle"
"""Two baselines and the bar."""

FULL = "full"
"""The method with all it has."""

MAIN = (PLAIN, STRONG, "rig-transfer source-only", FULL, ORACLE)
"""Variants of the table of gaps; the others say what an ingredient is worth."""

Scores = dict[tuple[str, str], dict[int, float]]
"""mIoU by seed, by variant and the fleet that is scored."""


def gap_closed(score: float, baseline: float, bar: float) -> float | None:
    """Percent of the way from ``baseline`` to ``bar``; None if there is no way to go."""
    return 100 * (score - baseline) / (bar - baseline) if bar > baseline else None


def of_direction(rows: Iterable[Row], direction: str) -> list[Row]:
    """The rows of a direction ``SOURCE-TARGET``: networks that learned from labels of the source, oracles of the
    target, scored on either. Of two directions between the same fleets each has its own."""
    source, target = direction.split("-")
    labels = {ORACLE: target}
    fits = [row for row in rows if row.train_fleet == labels.get(row.variant, source)]
    return [row for row in fits if row.eval_fleet in (source, target)]


def gap_table(directions: Mapping[str, Iterable[Row]]) -> str:
    """A Markdown table with one line per direction, model and main variant.

    mIoU is the mean over all seeds of the variant. A share of a gap, and a difference, is that of the means over the
    seeds which all that it compares have in common; where these are fewer, their number stands in brackets. A column
    without its baseline or bar shows a dash.

    Args:
        directions: rows by the name of their direction, ``SOURCE-TARGET``.

    Raises:
        DataError: a name that is no direction.
    """
    columns = ["mIoU, target", "of plain gap", "of strong gap", "mIoU, source", "against source-only"]
    lines = _head(columns)
    for names, source, target, scores in _networks(directions):
        for variant in MAIN:
            at = {fleet: scores.get((variant, fleet), {}) for fleet in (source, target)}
            if not at[target]:
                continue
            plain, strong, bar = (scores.get((name, target), {}) for name in (PLAIN, STRONG, ORACLE))
            cells = [_spread(at[target].values()), _share(at[target], plain, bar), _share(at[target], strong, bar)]
            cells += _at_home(at[source], scores.get((PLAIN, source), {}))
            lines.append(_line(names, variant, at[target], cells))
    return "\n".join(lines) + "\n"


def ingredient_table(directions: Mapping[str, Iterable[Row]]) -> str:
    """A Markdown table of what the full method loses without an ingredient: every seed against the same seed.

    A line takes the seeds that the variant and the full method have in common where they have any; differences are
    the mean over these seeds, with their standard deviation.

    Args:
        directions: rows by the name of their direction, ``SOURCE-TARGET``.

    Raises:
        DataError: a name that is no direction.
    """
    lines = _head(["mIoU, target", "against full", "mIoU, source", "against full"])
    for names, source, target, scores in _networks(directions):
        for variant in VARIANTS:
            at_target = scores.get((variant, target), {})
            if variant in (PLAIN, STRONG, ORACLE, FULL) or not at_target:
                continue
            seeds = _shared(at_target, scores.get((FULL, target), {})) or sorted(at_target)
            cells = []
            for fleet in (target, source):
                of_full = scores.get((FULL, fleet), {})
                cells += _against(scores.get((variant, fleet), {}), of_full, seeds)
            lines.append(_line(names, variant, seeds, cells))
    return "\n".join(lines) + "\n"


def _networks(directions: Mapping[str, Iterable[Row]]) -> Iterator[tuple[tuple[str, str, str], str, str, Scores]]:
    """Of every direction, model and split: these three as a table names them, source, target, and all scores."""
    for direction, rows in directions.items():
        fleets = direction.split("-")
        if len(fleets) != 2:
            raise DataError("results", "direction", direction, "a folder named SOURCE-TARGET")
        found: dict[tuple[str, str], Scores] = {}
        for row in rows:
            of_network = found.setdefault((row.model, row.split), {})
            of_network.setdefault((row.variant, row.eval_fleet), {})[row.seed] = row.miou
        for model, split in sorted(found):
            yield (direction.replace("-", " to "), model, split), fleets[0], fleets[1], found[model, split]


def _head(columns: Sequence[str]) -> list[str]:
    head = ["direction", "model", "variant", "split", "seeds", *columns]
    return ["| " + " | ".join(head) + " |", "|" + "---|" * 4 + "--:|" * (len(head) - 4)]


def _line(names: tuple[str, str, str], variant: str, seeds: Collection[int], cells: Sequence[str]) -> str:
    direction, model, split = names
    return "| " + " | ".join([*map(cell, (direction, model, variant, split)), str(len(seeds)), *cells]) + " |"


def _shared(*scores: Mapping[int, float]) -> list[int]:
    return sorted(set(scores[0]).intersection(*scores[1:]))


def _share(score: Mapping[int, float], baseline: Mapping[int, float], bar: Mapping[int, float]) -> str:
    seeds = _shared(score, baseline, bar)
    if not seeds:
        return "-"
    share = gap_closed(*(fmean(values[seed] for seed in seeds) for values in (score, baseline, bar)))
    return "-" if share is None else f"{share:.0f} %" + _fewer(seeds, score)


def _at_home(score: Mapping[int, float], plain: Mapping[int, float]) -> list[str]:
    seeds = _shared(score, plain)
    difference = f"{fmean(score[s] - plain[s] for s in seeds):+z.1f}" + _fewer(seeds, score) if seeds else "-"
    return [_spread(score.values()) if score else "-", difference]


def _fewer(seeds: Sequence[int], score: Mapping[int, float]) -> str:
    return f" ({len(seeds)})" if len(seeds) < len(score) else ""


def _against(score: Mapping[int, float], other: Mapping[int, float], seeds: Sequence[int]) -> list[str]:
    if not score:
        return ["-", "-"]
    values = _spread([score[seed] for seed in seeds])
    if not all(seed in other for seed in seeds):
        return [values, "-"]
    return [values, _spread([score[seed] - other[seed] for seed in seeds], "+z.1f")]


def _spread(values: Collection[float], form: str = ".1f") -> str:
    return f"{fmean(values):{form}}" + (f" ± {pstdev(values):.1f}" if len(values) > 1 else "")
