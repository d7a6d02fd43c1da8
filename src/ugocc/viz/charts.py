"""Charts as pictures: bars per class, and curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from ugocc.viz.canvas import INK, MUTED, PAPER, RULE, Colour, Picture
from ugocc.viz.lettering import font, text_width

SERIES: tuple[Colour, ...] = (
    (45, 120, 220),
    (242, 140, 40),
    (30, 160, 130),
    (215, 70, 95),
    (130, 100, 200),
    (120, 130, 145),
)
"""Colours of models and curves, in order."""
_SMOOTH = 2  # charts are drawn this much larger and reduced


def bar_chart(
    models: Mapping[str, Sequence[float | None]],
    groups: Sequence[str],
    title: str = "",
    unit: str = "IoU, %",
    size: tuple[int, int] = (1200, 480),
    fine: bool = False,
) -> Picture:
    """Bars side by side: one group per class, one colour per model.

    Args:
        models: per model one value for each group, from 0 up; None or NaN leaves a gap.
        groups: names under the groups.
        title: above the chart.
        unit: what the values are.
        size: columns and rows.
        fine: twice the columns and rows, for pages that screens of any resolution show.

    Returns:
        (rows, columns, 3) RGB.
    """
    values = np.array([[np.nan if v is None else v for v in row] for row in models.values()], dtype=np.float64)
    highest = float(np.nanmax(values)) if np.isfinite(values).any() else 1.0
    axes = _Axes(size, title, list(models), (0.0, float(len(groups))), (0.0, max(highest, 1e-9)), unit)
    bar = 0.78 / max(len(models), 1)
    label_size = 12 if bar * axes.per_x > 22 else 0
    for g, name in enumerate(groups):
        axes.text(axes.x(g + 0.5), axes.bottom + 18, name, 13, INK, "mm", room=axes.per_x - 6)
        for m, value in enumerate(values[:, g]):
            if not np.isfinite(value):
                continue
            left = axes.x(g + 0.11 + m * bar)
            right = left + max(bar * axes.per_x - 2, 1)
            axes.bar(left, right, axes.y(value), SERIES[m % len(SERIES)])
            if label_size:
                axes.text((left + right) / 2, axes.y(value) - 8, f"{value:.0f}", label_size, MUTED, "mm")
    return axes.picture(fine)


def line_chart(
    curves: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    title: str = "",
    x_label: str = "step",
    y_label: str = "mIoU, %",
    size: tuple[int, int] = (900, 480),
    from_zero: bool = False,
    fine: bool = False,
) -> Picture:
    """Curves over a common axis.

    Args:
        curves: per curve its x and y values; points that are not finite interrupt it.
        title: above the chart.
        x_label: below the axis.
        y_label: what the values are.
        size: columns and rows.
        from_zero: let the vertical axis begin at zero.
        fine: as in :func:`bar_chart`.

    Returns:
        (rows, columns, 3) RGB.
    """
    points = {name: np.array([x, y], dtype=np.float64).reshape(2, -1).T for name, (x, y) in curves.items()}
    every = np.concatenate([p[np.isfinite(p).all(axis=1)] for p in points.values()] or [np.zeros((0, 2))])
    (left, low), (right, high) = (every.min(axis=0), every.max(axis=0)) if len(every) else ((0.0, 0.0), (1.0, 1.0))
    axes = _Axes(size, title, list(curves), (left, right), (0.0 if from_zero else low, high), y_label)
    for tick in ticks(left, right, 8):
        axes.text(axes.x(tick), axes.bottom + 16, _number(tick), 13, MUTED, "mm")
    axes.text((axes.left + axes.right) / 2, axes.bottom + 40, x_label, 14, MUTED, "mm")
    for i, path in enumerate(points.values()):
        axes.curve(path, SERIES[i % len(SERIES)])
    return axes.picture(fine)


def ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Round numbers (1, 2 or 5 times a power of ten apart) from ``low`` to ``high``, at most ``most``."""
    span = high - low
    if not span > 0:
        return [low]
    step = 10.0 ** np.floor(np.log10(span / most))
    step *= next(f for f in (1, 2, 5, 10, 20) if span / (f * step) <= most - 1)
    first = int(np.ceil(low / step - 1e-9))
    return [i * step for i in range(first, int(np.floor(high / step + 1e-9)) + 1)]


@dataclass
class _Axes:
    """A page with title, names of the series, horizontal rules and a vertical scale."""

    size: tuple[int, int]
    title: str
    names: Sequence[str]
    x_range: tuple[float, float]
    y_range: tuple[float, float]
    unit: str

    def __post_init__(self) -> None:
        self.image = Image.new("RGB", (self.size[0] * _SMOOTH, self.size[1] * _SMOOTH), PAPER)
        self.draw = ImageDraw.Draw(self.image)
        low, high = self.y_range
        if not high > low:
            low, high = low - 0.5, high + 0.5
        marks = ticks(low, high)
        step = marks[1] - marks[0] if len(marks) > 1 else high - low
        # The scale ends on round numbers, with room for what is written above the highest value.
        self.low = step * float(np.floor(low / step + 1e-9))
        self.high = step * float(np.ceil(high / step - 1e-9))
        marks = [self.low + i * step for i in range(round((self.high - self.low) / step) + 1)]
        self.left = 28.0 + max(text_width(_number(m), 13) for m in marks) + 10
        self.right = self.size[0] - 28.0
        self.bottom = self.size[1] - 62.0
        self.top = 24.0 + (34 if self.title else 0) + 30 + 14
        span = self.x_range[1] - self.x_range[0]
        self.per_x = (self.right - self.left) / (span if span > 0 else 1.0)
        for mark in marks:
            at = self.y(mark)
            self._line([(self.left, at), (self.right, at)], RULE if mark != marks[0] else MUTED, 1)
            self.text(self.left - 10, at, _number(mark), 13, MUTED, "rm")
        self._head()

    def _head(self) -> None:
        if self.title:
            self.text(28, 36, self.title, 21, INK, "lm", room=self.size[0] - 56)
        at = self.top - 28
        self.text(28, at, self.unit, 14, MUTED, "lm")
        right = self.right
        for i, name in reversed(list(enumerate(self.names))):
            right -= text_width(name, 14)
            self.text(right, at, name, 14, INK, "lm")
            self.bar(right - 20, right - 8, at - 6, SERIES[i % len(SERIES)], at + 6)
            right -= 20 + 18

    def x(self, value: float) -> float:
        """Column of a value."""
        return self.left + (value - self.x_range[0]) * self.per_x

    def y(self, value: float) -> float:
        """Row of a value."""
        return self.bottom - (value - self.low) / (self.high - self.low) * (self.bottom - self.top)

    def text(
        self, x: float, y: float, text: str, size: int, colour: Colour, anchor: str, room: float | None = None
    ) -> None:
        """Write one line, smaller where it is wider than ``room``."""
        while room is not None and size > 8 and text_width(text, size) > room:
            size -= 1
        self.draw.text((x * _SMOOTH, y * _SMOOTH), text, colour, font(size * _SMOOTH, text), anchor=anchor)

    def bar(self, left: float, right: float, top: float, colour: Colour, bottom: float | None = None) -> None:
        """A filled bar with soft upper corners."""
        floor = self.bottom if bottom is None else bottom
        box = [v * _SMOOTH for v in (left, min(top, floor), right, floor)]
        # Corners need a row of pixels of their own.
        radius = max(0.0, min(3.0 * _SMOOTH, (box[2] - box[0]) / 2 - 1, (box[3] - box[1]) / 2 - 1))
        self.draw.rounded_rectangle(
            box, radius, fill=colour, corners=(True, True, bottom is not None, bottom is not None)
        )

    def curve(self, path: np.ndarray[tuple[int, ...], np.dtype[np.float64]], colour: Colour) -> None:
        """A line through the points (n, 2), with gaps where they are not finite, and a dot at a lone point."""
        good = np.asarray(np.isfinite(path).all(axis=1))
        runs = np.split(np.arange(len(path)), np.flatnonzero(np.diff(good)) + 1) if len(path) else []
        for run in runs:
            if not good[run[0]]:
                continue
            points = [(self.x(path[i, 0]), self.y(path[i, 1])) for i in run]
            if len(points) > 1:
                self._line(points, colour, 2.5)
            x, y = points[-1]
            self.draw.ellipse([v * _SMOOTH for v in (x - 3.5, y - 3.5, x + 3.5, y + 3.5)], fill=colour)

    def picture(self, fine: bool = False) -> Picture:
        """The finished chart; ``fine`` as it was drawn."""
        return np.array(self.image if fine else self.image.reduce(_SMOOTH))

    def _line(self, points: Sequence[tuple[float, float]], colour: Colour, width: float) -> None:
        scaled = [(x * _SMOOTH, y * _SMOOTH) for x, y in points]
        self.draw.line(scaled, fill=colour, width=round(width * _SMOOTH), joint="curve")


def _number(value: float) -> str:
    if value and abs(value) >= 10_000:
        return f"{value / 1000:g}k"
    return f"{round(value, 10):g}"
