"""The verb ``data check``, with what it found as JSON for those who ask."""

from __future__ import annotations

from dataclasses import dataclass

from ugocc.data.commands import CheckSettings as WhatToCheck
from ugocc.data.commands import check_fleet
from ugocc.data.source import open_fleet
from ugocc.output import reporting


@dataclass(frozen=True)
class CheckSettings(WhatToCheck):
    """Verification of a fleet."""

    json: bool = False
    """Print JSON instead of a line."""


def check(settings: CheckSettings) -> None:
    """Read every image, sweep and label of a split once; the first bad one raises its error."""
    with reporting(settings.json) as report:
        check_fleet(settings)
        if settings.json:
            frames = open_fleet(settings.root, settings.split, settings.name)
            cameras = sorted({len(frame.cameras) for frame in frames})
            report(
                {"root": settings.root, "split": settings.split, "fleet": frames.fleet}
                | {"frames": len(frames), "cameras": cameras}
            )
