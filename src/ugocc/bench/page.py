"""Tables and a picture of what ``ugocc bench`` measured."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ugocc.viz.canvas import Picture
from ugocc.viz.charts import line_chart

BARS = {
    "adaptation step, voted": "source-only step, 2 samples",
    "adaptation step, own labels": "source-only step, 2 samples",
}
LOADED = "source-only step, 1 sample, bfloat16"
"""What a sample is loaded for."""


def bench_page(content: Mapping[str, Any]) -> str:
    """Markdown tables of a result file of ``ugocc bench``: milliseconds as median (a tenth less, a tenth more)."""
    ceilings = content["ceilings"]
    product, convolution, copy = (ceilings[k] / 1e9 for k in ("matrix_product", "convolution", "copy"))
    threads, machine = content["threads"], content["machine"]
    where = (
        f"{machine['system']}, {machine['processor']}, {machine['cores']} cores; {content['device']}, {threads} threads"
    )
    parts = [
        f"{where}. Ceilings, float32: {product:.0f} G multiply-adds/s (matrix product), {convolution:.0f} G "
        f"(convolution); copy {copy:.1f} GB/s.\n"
    ]
    if "networks" in content:
        parts.append(_table("network", ["forward", "x floor", "forward + backward", "x floor"], _networks(content)))
        parts += [_blocks(name, found) for name, found in content["networks"].items() if name.startswith("ugocc")]
    if "operators" in content:
        parts.append(_table("operators", ["ms"], ([name, _ms(t)] for name, t in content["operators"].items())))
    for size, found in content.get("scoring", {}).items():
        rows = _beside(found, found["prediction"])
        parts.append(_table(f"scoring of a frame, {size} size", ["ms", "beside its prediction"], rows))
    if "loading" in content:
        step = content["steps"]["timings"].get(LOADED) if "steps" in content else None
        rows = _beside(content["loading"], step)
        parts.append(_table("loading of a sample", ["ms", f"beside a {LOADED}"], rows))
    if "steps" in content:
        parts.append(
            _table("step", ["ms", "beside a source-only step of 2 samples"], _steps(content["steps"]["timings"]))
        )
        for name, found in content["steps"]["profiles"].items():
            shares = {**found["phases"], **{f"`{key}`": share for key, share in found["operators"].items()}}
            parts.append(_table(f"share of: {name}", ["%"], ([key, f"{100 * v:.1f}"] for key, v in shares.items())))
    if "growth" in content:
        growth = content["growth"]
        rows = [[_counted(p["count"], "camera"), _ms(p["timing"]), f"{p['memory_mib']:.0f}"] for p in growth["cameras"]]
        rows += [
            [_counted(p["count"], "sample"), _ms(p["timing"]), f"{p['memory_mib']:.0f}"] for p in growth["samples"]
        ]
        parts.append(_table("prediction with", ["ms", "memory, MiB"], rows))
        rates = growth["samples per second by loading processes"]
        if rates:
            parts.append(_table("loading processes", ["samples/s"], ([k, str(v)] for k, v in rates.items())))
    return "\n".join(parts)


def growth_chart(content: Mapping[str, Any]) -> Picture:
    """Milliseconds and memory of a prediction over the number of cameras, each relative to one camera's."""
    points = content["growth"]["cameras"]
    cameras = [float(p["count"]) for p in points]
    time = [p["timing"]["median"] / points[0]["timing"]["median"] for p in points]
    memory = [p["memory_mib"] / points[0]["memory_mib"] for p in points]
    curves = {"time": (cameras, time), "memory": (cameras, memory)}
    title = f"ugocc-{content['size']}: a prediction with more cameras"
    return line_chart(curves, title, "cameras", "times that of one camera", from_zero=True)


def _networks(content: Mapping[str, Any]) -> Iterable[list[str]]:
    for name, found in content["networks"].items():
        yield [name, *_both_ways(found, "whole network")]


def _blocks(name: str, found: Mapping[str, Any]) -> str:
    blocks = dict.fromkeys(key.split(", ")[0] for key in found if not key.startswith("whole"))
    head = ["forward", "x floor", "forward + backward", "x floor"]
    return _table(f"block of {name}", head, ([block, *_both_ways(found, block)] for block in blocks))


def _both_ways(found: Mapping[str, Any], what: str) -> list[str]:
    cells = []
    for way in ("forward", "forward and backward"):
        measured = found[f"{what}, {way}"]
        cells += [_ms(measured["timing"]), f"{measured['times_the_floor']:.1f}"]
    return cells


def _steps(steps: Mapping[str, Any]) -> Iterable[list[str]]:
    for name, timing in steps.items():
        what, _, precision = name.rpartition(", ")
        bar = steps.get(f"{BARS.get(what, '')}, {precision}")
        yield [name, _ms(timing), "" if bar is None else f"{timing['median'] / bar['median']:.2f}"]


def _beside(timings: Mapping[str, Any], bar: Mapping[str, Any] | None) -> Iterable[list[str]]:
    for name, timing in timings.items():
        yield [name, _ms(timing), "" if bar is None else f"{timing['median'] / bar['median']:.3f}"]


def _counted(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def _ms(timing: Mapping[str, Any]) -> str:
    digits = 0 if timing["median"] >= 100 else 1 if timing["median"] >= 1 else 3
    return f"{timing['median']:.{digits}f} ({timing['low']:.{digits}f}, {timing['high']:.{digits}f})"


def _table(first: str, head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [f"| {first} | " + " | ".join(head) + " |", "|---|" + "--:|" * len(head)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)]) + "\n"
