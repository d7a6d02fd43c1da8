"""The verb ``doctor``: is everything there that the other verbs need?"""

from __future__ import annotations

import os
import platform
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Final, Literal

import torch
from rich.console import Console
from rich.markup import escape

from ugocc import __version__
from ugocc.data.source import open_fleet
from ugocc.devices import precision_of
from ugocc.errors import DataError, MissingPackage
from ugocc.extras import EXTRAS, require
from ugocc.output import reporting
from ugocc.pretrained import shipped

ROOM: Final = 10
"""Gigabytes free below which a cache of prepared frames soon does not fit."""


@dataclass(frozen=True)
class DoctorSettings:
    """A check of the installation."""

    root: tuple[Path, ...] = ()
    """Folders of fleets to look into, beside those of data/embedded."""
    json: bool = False
    """Print JSON instead of lines."""


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    what: str
    """Its name."""
    state: Literal["ok", "note", "problem"]
    """ok; something that only some verbs miss; or something that stops work."""
    text: str
    """What was found."""


def examine(settings: DoctorSettings) -> list[Finding]:
    """Look at everything, print it. Returns the findings.

    Raises:
        DataError: there is a problem; all findings have been printed by then.
    """
    with reporting(settings.json) as report:
        found = [*_installation(), *_devices(), *_disk(), *_fleets(settings)]
        report(found)
    if not settings.json:
        marks = {"ok": "[green]ok     [/]", "note": "[yellow]note   [/]", "problem": "[red]problem[/]"}
        console = Console(soft_wrap=True)
        for finding in found:
            console.print(f"{marks[finding.state]} {escape(finding.what)}: ", end="")
            console.print(finding.text, markup=False, highlight=False)
    problems = [finding.what for finding in found if finding.state == "problem"]
    if problems:
        raise DataError("doctor", ", ".join(problems), f"{len(problems)} problems", "none; see the list")
    return found


def _installation() -> Iterator[Finding]:
    yield Finding("ugocc", "ok", f"{__version__}, Python {platform.python_version()}, {platform.platform()}")
    for requirement in requires("ugocc") or []:
        if "extra ==" in requirement:
            continue
        name = requirement.split(">")[0].split("[")[0].strip()
        try:
            yield Finding(name, "ok", version(name))
        except PackageNotFoundError:
            yield Finding(name, "problem", f"not installed; {requirement} is needed")
    for extra, (modules, purpose) in EXTRAS.items():
        try:
            require(purpose, extra)
        except MissingPackage as error:
            yield Finding(f"extra {extra}", "note", str(error))
        else:
            yield Finding(f"extra {extra}", "ok", f"{purpose}: {', '.join(modules)}")
    yield Finding("models of the package", "ok" if shipped() else "note", ", ".join(shipped()) or "none")


def _devices() -> Iterator[Finding]:
    there = {"cpu": True, "cuda": torch.cuda.is_available()}
    if sys.platform == "darwin":
        there["mps"] = torch.backends.mps.is_available()
    for name, is_there in there.items():
        if not is_there:
            yield Finding(name, "note", "not on this machine")
            continue
        try:
            right = bool(torch.ones(64, 64, device=name).mm(torch.ones(64, 64, device=name)).eq(64).all())
        except RuntimeError as error:
            yield Finding(name, "problem", f"a matrix product failed: {str(error).splitlines()[0]}")
            continue
        what = (
            torch.cuda.get_device_name() if name == "cuda" else f"{torch.get_num_threads()} of {os.cpu_count()} threads"
        )
        what += f"; trains in {precision_of('auto', name)}"
        yield Finding(name, "ok" if right else "problem", what if right else "a matrix product came out wrong")


def _disk() -> Iterator[Finding]:
    for folder in (Path("data"), Path("runs")):
        place = folder if folder.is_dir() else Path()
        free = shutil.disk_usage(place).free / 1e9
        yield Finding(f"room for {folder}", "ok" if free > ROOM else "note", f"{free:.0f} GB free")
        if not os.access(place, os.W_OK):
            yield Finding(f"{folder}", "problem", f"{place.resolve()} cannot be written to")


def _fleets(settings: DoctorSettings) -> Iterator[Finding]:
    embedded = [path for path in sorted(Path("data/embedded").glob("*")) if path.is_dir()]
    for root in [*embedded, *settings.root]:
        counts, errors = {}, []
        for split in ("train", "val", "test"):
            try:
                counts[split] = len(open_fleet(root, split))
            except DataError as error:
                errors.append(str(error))
        if counts:
            yield Finding(str(root), "ok", ", ".join(f"{split} {count} frames" for split, count in counts.items()))
        else:
            yield Finding(str(root), "problem", errors[0])
