"""The report pages of the verbs that measure: what goes into each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ugocc.data.frame import FrameSource
from ugocc.data.source import open_fleet
from ugocc.gaps import gap_table, of_direction
from ugocc.results import Row
from ugocc.serving.predictor import Predictor
from ugocc.serving.report_scenes import Network, scene_of
from ugocc.serving.report_sections import (
    classes_section,
    confusion_section,
    curves_section,
    gap_section,
    networks_section,
    results_section,
)
from ugocc.serving.tables import PLOTTED
from ugocc.viz.report import figures
from ugocc.viz.report.page import Section, write_page
from ugocc.viz.report.scenes import AFTER, BAR, BEFORE, Scene

REPORT = "report.html"
"""Name of the page in the folder of a verb."""
KEYS = {BEFORE: "source-only", AFTER: "full", BAR: "oracle"}
"""Which variant is which in a story."""


@dataclass(frozen=True)
class Story:
    """A network from one fleet to another: before and after adaptation, and with the labels of the other."""

    source: str
    """Name of the fleet with labels."""
    target: str
    """Name of the other."""
    rows: dict[str, list[Row]]
    """Results under ``BEFORE``, ``AFTER`` and ``BAR``, on both fleets."""
    models: Mapping[str, Path]
    """Model folders, under the same keys."""

    @property
    def names(self) -> dict[str, str]:
        """What each network learned from."""
        return {
            BEFORE: f"labels of {self.source} alone",
            AFTER: f"adapted to {self.target}",
            BAR: f"labels of {self.target}",
        }

    def on(self, fleet: str, *keys: str) -> dict[str, list[Row]]:
        """Results on a fleet, by the names of the networks."""
        return {self.names[k]: [row for row in self.rows[k] if row.eval_fleet == fleet] for k in keys or KEYS}


def story_of(rows: Sequence[Row], model: str, source: str, target: str, models: Mapping[str, Path]) -> Story:
    """The rows of a table that belong to a network in one direction.

    Args:
        rows: any.
        model: name of the network in them.
        source: name of the fleet with labels.
        target: name of the other.
        models: model folders under ``BEFORE``, ``AFTER`` and ``BAR``.
    """
    fleets = {BEFORE: source, AFTER: source, BAR: target}
    own = [row for row in rows if row.model == model]
    found = {
        key: [row for row in own if (row.variant, row.train_fleet) == (variant, fleets[key])]
        for key, variant in KEYS.items()
    }
    return Story(source, target, found, models)


def demo_report(folder: Path, fleets: Path, split: str, rows: Sequence[Row], story: Story) -> Path:
    """The page of the demo, with a scene of both fleets.

    Args:
        folder: where it is written.
        fleets: folder of the fleets.
        split: what was scored.
        rows: all results.
        story: what they tell.
    """
    source, target = story.source, story.target
    title = f"From {source} to {target}"
    lead = (
        f"A network that learned from the labels of {source}, and the same network after it was adapted to plain "
        f"drives of {target}, which had none."
    )
    scenes = [_scene(story, fleets, split, fleet) for fleet in (target, source)]
    return write_page(folder / REPORT, title, lead, [results_section(rows), *_sections(story)], scenes)


def reproduce_report(folder: Path, fleets: Path, split: str, rows: Sequence[Row], stories: Mapping[str, Story]) -> Path:
    """The page of ``ugocc reproduce``: all networks, and every one that was adapted in detail.

    Args:
        folder: where it is written.
        fleets: folder of the fleets.
        split: what was scored.
        rows: all results.
        stories: of the adapted networks, by a name.
    """
    directions = dict.fromkeys(f"{story.source}-{story.target}" for story in stories.values())
    of = {d: of_direction(rows, d) for d in directions}
    sections = [results_section(rows)]
    if of:
        note = (
            "How much of the distance to the oracle every variant closes, on the fleet whose labels it never saw; "
            "in brackets, of how many seeds, where not of all."
        )
        sections.append(Section("Adaptation", figures.table(gap_table(of)), note))
    sections.append(networks_section(rows, PLOTTED, sorted({row.eval_fleet for row in rows})))
    scenes = []
    for name, story in stories.items():
        sections += [replace(section, title=f"{section.title}: {name}") for section in _sections(story)]
        scenes.append(replace(_scene(story, fleets, split, story.target, moments=6), name=f"{name}, on {story.target}"))
    lead = "Every network trained and scored by the same code on the same data."
    return write_page(folder / REPORT, "The family of models", lead, sections, scenes)


def test_report(
    folder: Path,
    rows: Sequence[Row],
    checkpoint: Path,
    scored: Predictor,
    before: Predictor | None,
    frames: FrameSource,
) -> Path:
    """The page of ``ugocc test``.

    Args:
        folder: where it is written.
        rows: results of the model, and of the one before adaptation if that was scored.
        checkpoint: model folder.
        scored: the network as it was scored.
        before: the one before adaptation, or None.
        frames: the fleet that was tested on.
    """
    networks = [Network(AFTER, described(scored.about), scored)]
    if before is not None:
        networks.insert(0, Network(BEFORE, described(before.about), before))
    row = rows[0]
    named = {row.variant: [row]} if len(rows) == 1 else {"before": [rows[1]], "after": [row]}
    sections = [
        results_section(rows),
        None
        if before is None or len(rows) == 1 or row.train_fleet == row.eval_fleet
        else gap_section(rows[1:], rows[:1], [], row.train_fleet, row.eval_fleet),
        classes_section({f"Classes on {row.eval_fleet} ({row.split})": named}),
        confusion_section(named, row.eval_fleet),
        curves_section({row.variant: checkpoint.parent}, checkpoint.parent),
    ]
    title = f"{row.model}, {row.variant}, on {row.eval_fleet}"
    lead = f"Scored on {row.frames} frames of the split {row.split}; trained on labels of {row.train_fleet}."
    return write_page(folder / REPORT, title, lead, there(sections), [scene_of(frames, networks)])


test_report.__test__ = False  # type: ignore[attr-defined]


def started_from(card: Mapping[str, Any]) -> Path | None:
    """Model folder from which a model's training started, where it is still there."""
    start = (card.get("recipe") or {}).get("start")
    return Path(start) if start and (Path(start) / "model.json").is_file() else None


def described(card: Mapping[str, Any]) -> str:
    """What a model learned from, in a few words."""
    learned = f"{card.get('variant', 'unknown')}, labels of {card.get('train_fleet', 'unknown')}"
    return f"{learned}, drives of {card['target_fleet']}" if card.get("target_fleet") else learned


def there(sections: Sequence[Section | None]) -> list[Section]:
    """Sections without those for which there was nothing to show."""
    return [section for section in sections if section is not None]


def _sections(story: Story) -> list[Section]:
    source, target = story.source, story.target
    runs = {story.names[key]: model.parent for key, model in story.models.items()}
    return there(
        [
            gap_section(story.rows[BEFORE], story.rows[AFTER], story.rows[BAR], source, target),
            classes_section({f"Classes on {target}": story.on(target), f"Classes on {source}": story.on(source)}),
            confusion_section(story.on(target, BEFORE, AFTER), target),
            curves_section(runs, story.models[AFTER].parent),
        ]
    )


def _scene(story: Story, fleets: Path, split: str, fleet: str, moments: int = 10) -> Scene:
    keys = KEYS if fleet == story.target else (BEFORE, AFTER)  # the bar is a stranger on the source
    opened = {key: Predictor.from_pretrained(story.models[key], fleet=fleet) for key in keys}
    networks = [Network(key, story.names[key], predictor) for key, predictor in opened.items()]
    return scene_of(open_fleet(fleets / fleet, split, fleet), networks, moments)
