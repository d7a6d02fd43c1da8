"""The report pages of the verbs that measure: what goes into each."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ugocc.data.frame import FrameSource
from ugocc.data.source import open_fleet
from ugocc.results import Row
from ugocc.serving.report_scenes import Network, scene_of
from ugocc.serving.report_sections import (
    classes_section,
    confusion_section,
    curves_section,
    gap_section,
    results_section,
)
from ugocc.training.checkpoint import read_card
from ugocc.viz.report.page import Section, write_page
from ugocc.viz.report.scenes import AFTER, BAR, BEFORE

REPORT = "report.html"
"""Name of the page in the folder of a verb."""


def demo_report(
    folder: Path, fleets: Path, rows: Sequence[Row], source: str, target: str, models: dict[str, Path]
) -> Path:
    """The page of the demo.

    Args:
        folder: the demo's; the page is written there.
        fleets: folder of both fleets.
        rows: all results.
        source: name of the fleet with labels.
        target: name of the other.
        models: model folders under ``before``, ``after`` and ``bar``.
    """
    before, after, bar = (
        [row for row in rows if row.variant == variant] for variant in ("source-only", "full", "oracle")
    )
    named = {f"labels of {source} alone": before, f"adapted to {target}": after, f"labels of {target}": bar}
    networks = [
        Network(key, name, models[key]) for key, name in zip((BEFORE, AFTER, BAR), named, strict=True) if key in models
    ]
    on = {f: {name: [r for r in group if r.eval_fleet == f] for name, group in named.items()} for f in (source, target)}
    sections = [
        results_section(rows),
        gap_section(before, after, bar, source, target),
        classes_section({f"Classes on {fleet}": on[fleet] for fleet in (target, source)}),
        confusion_section({name: on[target][name] for name in list(named)[:2]}, target),
        curves_section({n.caption: n.folder.parent for n in networks}, models[AFTER].parent),
    ]
    scenes = [
        # The bar is a stranger on the source.
        scene_of(open_fleet(fleets / fleet, "test", fleet), networks if fleet == target else networks[:2])
        for fleet in (target, source)
    ]
    lead = (
        f"A network that learned from the labels of {source}, and the same network after it was adapted to plain "
        f"drives of {target}, which had none."
    )
    return write_page(folder / REPORT, f"From {source} to {target}", lead, _there(sections), scenes)


def test_report(
    folder: Path, rows: Sequence[Row], checkpoint: Path, before: Path | None, frames: FrameSource, device: str | None
) -> Path:
    """The page of ``ugocc test``.

    Args:
        folder: where it is written.
        rows: results of the model, and of the one before adaptation if that was scored.
        checkpoint: model folder.
        before: model folder of the one before adaptation, or None.
        frames: the fleet that was tested on.
        device: torch device.
    """
    networks = [Network(AFTER, described(checkpoint), checkpoint)]
    if before is not None:
        networks.insert(0, Network(BEFORE, described(before), before))
    row = rows[0]
    named = dict(zip(("before", "after"), ([rows[-1]], [row]), strict=True)) if len(rows) > 1 else {row.variant: [row]}
    title = f"{row.model}, {row.variant}, on {row.eval_fleet}"
    sections = [
        results_section(rows),
        classes_section({f"Classes on {row.eval_fleet} ({row.split})": named}),
        confusion_section(named, row.eval_fleet),
        curves_section({row.variant: checkpoint.parent}, checkpoint.parent),
    ]
    lead = f"Scored on {row.frames} frames of the split {row.split}; trained on labels of {row.train_fleet}."
    return write_page(folder / REPORT, title, lead, _there(sections), [scene_of(frames, networks, device=device)])


def started_from(checkpoint: Path) -> Path | None:
    """Model folder from which a model's training started, where it is still there."""
    start = (read_card(checkpoint).get("recipe") or {}).get("start")
    return Path(start) if start and (Path(start) / "model.json").is_file() else None


def described(checkpoint: Path) -> str:
    """What a model learned from, in a few words."""
    card = read_card(checkpoint)
    learned = f"{card.get('variant', 'unknown')}, labels of {card.get('train_fleet', 'unknown')}"
    return f"{learned}, drives of {card['target_fleet']}" if card.get("target_fleet") else learned


def _there(sections: Sequence[Section | None]) -> list[Section]:
    return [section for section in sections if section is not None]
