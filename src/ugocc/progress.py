"""Progress with time left, on stderr: a bar on a terminal, a line every few seconds elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator, Sized
from typing import TypeVar

from rich.progress import track

T = TypeVar("T")


def follow(items: Iterable[T], label: str, total: int | None = None, *, every: float = 15.0) -> Iterator[T]:
    """The items, while a bar or lines such as ``predict five: 12 of 40, 0:35 left`` say how far the loop is.

    Args:
        items: what is looped over.
        label: what is being done.
        total: how many items, where they cannot be counted.
        every: seconds between lines where there is no terminal.
    """
    count = len(items) if total is None and isinstance(items, Sized) else total
    if sys.stderr.isatty():
        yield from track(items, label, count)
        return
    lines = Lines(label, every)
    for done, item in enumerate(items, start=1):
        yield item
        if count is None:
            lines.tell(f"{done} done")
        else:
            lines.tell(f"{done} of {count}, ", done, count)


class Lines:
    """Prints ``label: text`` at most every ``every`` seconds, and the time left at the pace since the last line."""

    def __init__(self, label: str, every: float = 15.0) -> None:
        self.label, self.every = label, every
        self.begin()

    def begin(self) -> None:
        """Count from now on."""
        self._printed, self._done = time.monotonic(), 0

    def tell(self, text: str, done: int = 0, total: int = 0) -> None:
        """Print if the last line is old enough, or if everything is done; without a total no time is told."""
        now = time.monotonic()
        if now - self._printed < self.every and (done < total or not total):
            return
        # At the pace since the last line: what is done once, before a step, says nothing about the steps to come.
        left = (now - self._printed) / max(done - self._done, 1) * (total - done)
        known = f"{int(left // 60)}:{int(left % 60):02d} left" if done > 1 or total == 1 else "time left not known yet"
        self._printed, self._done = now, done
        print(f"{self.label}: {text}{known if total else ''}", file=sys.stderr, flush=True)
