"""What adaptation is judged by: how much of the distance from a baseline to the oracle it closes, and by what of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from statistics import fmean, pstdev

from ugocc.errors import DataError
from ugocc.results import VARIANTS, Row

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


def gap_table(directions: Mapping[str, Iterable[Row]]) -> str:
    """A Markdown table with one line per direction, model and main variant.

    A line takes the seeds that the variant, both baselines and the oracle have in common where they have any, and
    shares of gaps are those of the means over these seeds. A column without its baseline or bar shows a dash.

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
            bars = {name: scores.get((name, target), {}) for name in (PLAIN, STRONG, ORACLE)}
            seeds = _common(at[target], *(b for b in bars.values() if b))
            cells = [_spread([at[target][s] for s in seeds])]
            cells += [_share(at[target], bars[name], bars[ORACLE], seeds) for name in (PLAIN, STRONG)]
            plain_at_home = scores.get((PLAIN, source), {})
            cells += _against(at[source], plain_at_home, _common(at[source], plain_at_home))
            lines.append(_line(names, variant, seeds, cells))
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
            seeds = _common(at_target, scores.get((FULL, target), {}))
            cells = []
            for fleet in (target, source):
                of_full = scores.get((FULL, fleet), {})
                cells += _against(scores.get((variant, fleet), {}), of_full, seeds, spread=True)
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


def _line(names: tuple[str, str, str], variant: str, seeds: Sequence[int], cells: Sequence[str]) -> str:
    direction, model, split = names
    return "| " + " | ".join([direction, model, variant, split, str(len(seeds)), *cells]) + " |"


def _common(first: Mapping[int, float], *others: Mapping[int, float]) -> list[int]:
    shared = [seed for seed in sorted(first) if all(seed in other for other in others)]
    return shared or sorted(first)


def _share(
    score: Mapping[int, float], baseline: Mapping[int, float], bar: Mapping[int, float], seeds: Sequence[int]
) -> str:
    if not all(seed in baseline and seed in bar for seed in seeds):
        return "-"
    share = gap_closed(*(fmean(values[seed] for seed in seeds) for values in (score, baseline, bar)))
    return "-" if share is None else f"{share:.0f} %"


def _against(
    score: Mapping[int, float], other: Mapping[int, float], seeds: Sequence[int], spread: bool = False
) -> list[str]:
    if not score:
        return ["-", "-"]
    values = _spread([score[seed] for seed in seeds])
    if not all(seed in other for seed in seeds):
        return [values, "-"]
    differences = [score[seed] - other[seed] for seed in seeds]
    return [values, _spread(differences, "+z.1f") if spread else f"{fmean(differences):+z.1f}"]


def _spread(values: Sequence[float], form: str = ".1f") -> str:
    return f"{fmean(values):{form}}" + (f" ± {pstdev(values):.1f}" if len(values) > 1 else "")
