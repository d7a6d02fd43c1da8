"""How much of the distance between a baseline and the oracle a method closes: what adaptation is judged by."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean, pstdev

from ugocc.errors import DataError
from ugocc.results import VARIANTS, Row

PLAIN, STRONG, ORACLE = "source-only", "strong source-only", "oracle"
"""Two baselines and the bar."""


def gap_closed(score: float, baseline: float, bar: float) -> float | None:
    """Percent of the way from ``baseline`` to ``bar``; None if there is no way to go."""
    return 100 * (score - baseline) / (bar - baseline) if bar > baseline else None


def gap_table(directions: Mapping[str, Iterable[Row]]) -> str:
    """A Markdown table with one line per direction, model and variant.

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
        names = direction.split("-")
        if len(names) != 2:
            raise DataError("results", "direction", direction, "a folder named SOURCE-TARGET")
        source, target = names
        scores: dict[tuple[str, str, str, str], dict[int, float]] = {}
        for row in rows:
            scores.setdefault((row.model, row.split, row.variant, row.eval_fleet), {})[row.seed] = row.miou
        for model, split in sorted({key[:2] for key in scores}):
            for variant in VARIANTS:
                at = {fleet: scores.get((model, split, variant, fleet), {}) for fleet in names}
                if not at[target]:
                    continue
                bars = {name: scores.get((model, split, name, target), {}) for name in (PLAIN, STRONG, ORACLE)}
                seeds = _common(at[target], *(b for b in bars.values() if b))
                plain_at_home = scores.get((model, split, PLAIN, source), {})
                cells = [direction.replace("-", " to "), model, variant, split, str(len(seeds))]
                cells += [_spread([at[target][s] for s in seeds])]
                cells += [_share(at[target], bars[name], bars[ORACLE], seeds) for name in (PLAIN, STRONG)]
                cells += _at_home(at[source], plain_at_home, _common(at[source], plain_at_home) or list(at[source]))
                lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


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


def _at_home(score: Mapping[int, float], plain: Mapping[int, float], seeds: Sequence[int]) -> list[str]:
    if not score:
        return ["-", "-"]
    values = [score[seed] for seed in seeds]
    known = all(seed in plain for seed in seeds)
    return [_spread(values), f"{fmean(score[s] - plain[s] for s in seeds):+.1f}" if known else "-"]


def _spread(values: Sequence[float]) -> str:
    return f"{fmean(values):.1f}" + (f" ± {pstdev(values):.1f}" if len(values) > 1 else "")
