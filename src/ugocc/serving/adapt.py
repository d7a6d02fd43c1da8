"""The verb ``adapt``: all stages, and a page about what they changed, for which no label of the target is read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import numpy as np

from ugocc.adaptation.label_free import LabelFreeScores, label_free_scores
from ugocc.data.dataset import FrameDataset
from ugocc.data.source import open_fleet
from ugocc.devices import device_like
from ugocc.labels import CLASSES, FREE
from ugocc.serving.predictor import Predictor
from ugocc.serving.report import REPORT, described, there
from ugocc.serving.report_scenes import Network, scene_of
from ugocc.serving.report_sections import curves_section
from ugocc.training.adapt_settings import AdaptRecipe
from ugocc.training.chain import adapt
from ugocc.training.checkpoint import load_model, read_card
from ugocc.training.fit import is_first
from ugocc.training.settings import FleetSettings
from ugocc.training.statistics import spaced
from ugocc.viz.report import figures
from ugocc.viz.report.curves import Curve
from ugocc.viz.report.page import Section, write_page
from ugocc.viz.report.scenes import AFTER, BEFORE, Scene

FRAMES: Final = 8
"""Frames of each fleet that label-free scores are taken of."""
_PARTS: Final = ("agreement", "render_depth", "render_semantics", "certainty", "temporal", "plausibility")


def adapt_fleet(recipe: AdaptRecipe) -> Path:
    """Adapt, write ``report.html`` unless ``run.report`` is off, and return the folder of the model."""
    model = adapt(recipe)
    if recipe.run.report and is_first():
        print(f"report: {adapt_report(recipe, model)}")
    return model


def adapt_report(recipe: AdaptRecipe, model: Path) -> Path:
    """The page of ``ugocc adapt``, in the run folder. The target's labels, should it have any, are not read."""
    folder, card = recipe.run.folder, read_card(model)
    before = recipe.start or folder / "source-only" / "model"
    models = {BEFORE: before, AFTER: model} if (before / "model.json").is_file() else {AFTER: model}
    source, target = card["train_fleet"], card["target_fleet"]
    device = device_like(recipe.run.accelerator)
    scenes = [_scene(models, fleet, device, fleet == recipe.source) for fleet in (recipe.target, recipe.source)]
    stages = {"source-only": folder / "source-only", "pretrained": folder / "pretrained", "adapted": folder / "adapted"}
    sections = [
        Section("Run", figures.table(_facts(card))),
        _gap_section(recipe, models, source, target, device),
        _choice_section(card),
        _shares_section(scenes[0], target),
        curves_section(stages, folder / "adapted"),
    ]
    lead = f"A network that learned from the labels of {source}, adapted to drives of {target} that carry none."
    return write_page(folder / REPORT, f"Adapted from {source} to {target}", lead, there(sections), scenes)


def _scene(models: Mapping[str, Path], fleet: FleetSettings, device: str, labelled: bool) -> Scene:
    frames = open_fleet(fleet.root, fleet.split, fleet.name, fleet.every)
    opened = {key: Predictor.from_pretrained(path, device, frames.fleet) for key, path in models.items()}
    networks = [Network(key, described(predictor.about), predictor) for key, predictor in opened.items()]
    return scene_of(frames, networks, labelled=labelled)


def _facts(card: dict[str, object]) -> str:
    facts = {
        "model": "{name}-{size}".format(**card["model"]),  # type: ignore[arg-type]
        "variant": card["variant"],
        "labels of": card["train_fleet"],
        "drives of": card["target_fleet"],
        "supervision on the target": card["target_supervision"],
        "steps": card["steps_with_earlier_stages"],
        "minutes": f"{float(str(card['train_seconds'])) / 60:.0f}",
        "seed": card["seed"],
        "weights": str(card["weights_sha256"])[:12],
    }
    return "\n".join(
        "| " + " | ".join(map(str, cells)) + " |" for cells in (facts, ["---"] * len(facts), facts.values())
    )


def _gap_section(recipe: AdaptRecipe, models: Mapping[str, Path], source: str, target: str, device: str) -> Section:
    """Label-free scores on both fleets: what the gap looks like to those who have no labels."""
    scores = {
        (key, name): _score(path, name, fleet, recipe.run.cache, device)
        for key, path in models.items()
        for name, fleet in ((source, recipe.source), (target, recipe.target))
    }
    lines = [f"| label-free score, % | on {source} | on {target} | gap |", "|---|--:|--:|--:|"]
    for key in models:
        at_home, abroad = (100 * scores[key, name].combined for name in (source, target))
        lines.append(f"| {key} | {at_home:.1f} | {abroad:.1f} | {at_home - abroad:.1f} |")
    parts = [f"| on {target} | {' | '.join(p.replace('_', ' ') for p in _PARTS)} |", "|---|" + "--:|" * len(_PARTS)]
    for key in models:
        values = (100 * getattr(scores[key, target], part) for part in _PARTS)
        parts.append(f"| {key} | " + " | ".join(f"{v:.1f}" if np.isfinite(v) else "-" for v in values) + " |")
    note = (
        f"Agreement with itself, geometry, time and plausibility on {FRAMES} frames of each fleet. No proof of "
        f"quality: ugocc test measures that, on frames of {target} with labels, where there are any."
    )
    body = figures.table("\n".join(lines)) + "<br>" + figures.table("\n".join(parts))
    return Section("The gap between the fleets, without labels", body, note)


def _score(model: Path, name: str, fleet: FleetSettings, cache: Path | None, device: str) -> LabelFreeScores:
    network, _ = load_model(model, name)
    frames = open_fleet(fleet.root, fleet.split, fleet.name, fleet.every)
    data = FrameDataset(frames, network.settings.input, cache=cache, labelled=False)
    return label_free_scores(network.to(device), data, spaced(len(data), FRAMES))


def _choice_section(card: dict[str, object]) -> Section | None:
    choice = card["choice"]
    assert isinstance(choice, dict)
    candidates = choice.get("candidates") or []
    if not candidates:
        return None
    steps = [candidate["step"] for candidate in candidates]
    lines = {
        name.replace("_", " "): Curve(steps, [np.nan if c.get(name) is None else 100 * c[name] for c in candidates])
        for name in ("combined", "agreement", "plausibility")
    }
    note = f"Teachers kept during adaptation, scored without labels; that of step {choice['step']} was taken."
    return Section("Choice of the checkpoint", figures.curves(lines, "Label-free scores", "%"), note)


def _shares_section(scene: Scene, target: str) -> Section:
    """How much of what is predicted belongs to each class: a class that vanishes shows here."""
    shares = {}
    for volume in scene.shown:
        classes = np.concatenate([m.volumes[volume.key][m.seen] for m in scene.moments if m.seen is not None])
        counts = np.bincount(classes, minlength=FREE + 1)[:FREE]
        shares[volume.name] = (100 * counts / max(counts.sum(), 1)).tolist()
    title = f"Share of occupied voxels in the pictures, {target}"
    return Section("Classes", figures.bars(shares, CLASSES[:FREE], title, "share, %"))
