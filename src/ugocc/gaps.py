"""What adaptation is judged by: how much of the distance from a baseline to the oracle it closes, and by what of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean, pstdev

from ugocc.errors import DataError
from ugocc.results import VARIANTS, Row

PLAIN, STRONG, ORACLE = "source-only", "strong source-only", "oracle"
"""Two baselines and the bar."""

FULL = "full"
"""The method with all it has."""

MAIN = (PLAIN, STRONG, "rig-transfer source-only", FULL, ORACLE)
"""Variants of the table of gaps; the others say what an ingredient is worth."""

Scores = dict[tuple[str, str, str, str], dict[int, float]]
"""mIoU by seed, by (model, split, variant, fleet that is scored)."""


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
    head = ["direction", "model", "variant", "split", "seeds", "mIoU, target", "of plain gap", "of strong gap"]
    head += ["mIoU, source", "against source-only"]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * 4 + "--:|" * (len(head) - 4)]
    for direction, rows in directions.items():
        source, target = _fleets(direction)
        scores = _scores(rows)
        for model, split in sorted({key[:2] for key in scores}):
            for variant in MAIN:
                at = {fleet: scores.get((model, split, variant, fleet), {}) for fleet in (source, target)}
                if not at[target]:
                    continue
                bars = {name: scores.get((model, split, name, target), {}) for name in (PLAIN, STRONG, ORACLE)}
                seeds = _common(at[target], *(b for b in bars.values() if b))
                plain_at_home = scores.get((model, split, PLAIN, source), {})
                cells = [direction.replace("-", " to "), model, variant, split, str(len(seeds))]
                cells += [_spread([at[target][s] for s in seeds])]
                cells += [_share(at[target], bars[name], bars[ORACLE], seeds) for name in (PLAIN, STRONG)]
                cells += _against(at[source], plain_at_home, _common(at[source], plain_at_home) or list(at[source]))
                lines.append("| " + " | ".join(cells) + " |")
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
    head = ["direction", "model", "variant", "split", "seeds", "mIoU, target", "against full", "mIoU, source"]
    head += ["against full"]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * 4 + "--:|" * (len(head) - 4)]
    for direction, rows in directions.items():
        source, target = _fleets(direction)
        scores = _scores(rows)
        for model, split in sorted({key[:2] for key in scores}):
            for variant in VARIANTS:
                at_target = scores.get((model, split, variant, target), {})
                if variant in (PLAIN, STRONG, ORACLE, FULL) or not at_target:
                    continue
                seeds = _common(at_target, scores.get((model, split, FULL, target), {}))
                cells = [direction.replace("-", " to "), model, variant, split, str(len(seeds))]
                for fleet in (target, source):
                    of_fleet = scores.get((model, split, variant, fleet), {})
                    cells += _against(of_fleet, scores.get((model, split, FULL, fleet), {}), seeds, spread=True)
                lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _fleets(direction: str) -> tuple[str, str]:
    names = direction.split("-")
    if len(names) != 2:
        raise DataError("results", "direction", direction, "a folder named SOURCE-TARGET")
    return names[0], names[1]


def _scores(rows: Iterable[Row]) -> Scores:
    scores: Scores = {}
    for row in rows:
        scores.setdefault((row.model, row.split, row.variant, row.eval_fleet), {})[row.seed] = row.miou
    return scores


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
    return [values, _spread(differences, "+.1f") if spread else f"{fmean(differences):+.1f}"]


def _spread(values: Sequence[float], form: str = ".1f") -> str:
    return f"{fmean(values):{form}}" + (f" ± {pstdev(values):.1f}" if len(values) > 1 else "")
