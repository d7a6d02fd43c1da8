"""The verb ``data check``: what it found in words, or as JSON for those who ask."""

from __future__ import annotations

from dataclasses import dataclass

from ugocc.data.commands import CheckSettings as WhatToCheck
from ugocc.data.commands import check_fleet
from ugocc.output import reporting


@dataclass(frozen=True)
class CheckSettings(WhatToCheck):
    """Verification of a fleet."""

    json: bool = False
    """Print JSON instead of a line."""


def check(settings: CheckSettings) -> None:
    """Read every file of a split once; the first bad one raises its error. What is strange in numbers is a warning."""
    with reporting(settings.json) as report:
        found = check_fleet(settings)
        verdict = "every file can be read" if found.warnings else "nothing wrong"
        cameras = " or ".join(map(str, found.cameras))
        line = f"{found.root} ({found.split}): {found.frames} frames, {cameras} cameras each, {verdict}"
        report(found._asdict(), "\n".join([*(f"warning: {w}" for w in found.warnings), line]))
