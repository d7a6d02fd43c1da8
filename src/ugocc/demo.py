"""The main job on the embedded fleets: the problem this project exists to solve, shown from files to pictures.

A model is trained with the labels of *six* alone and evaluated on held-out scenes of both fleets. Every step reuses
what an earlier run of the same settings left, so the demo may be interrupted and repeated.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from PIL import Image

from ugocc.config import plain
from ugocc.data.dataset import FrameDataset
from ugocc.data.source import open_fleet
from ugocc.data.synthetic.build import RenderSettings, render_fleets
from ugocc.evaluation.evaluate import evaluate
from ugocc.results import Row, markdown_table, read_results, write_results, write_text
from ugocc.serving.predict import picture_of
from ugocc.serving.predictor import Predictor
from ugocc.training.checkpoint import load_model, read_card
from ugocc.training.progress import progress_callback
from ugocc.training.settings import FleetSettings, RunSettings
from ugocc.training.source import SourceRecipe, source_recipe, train_source
from ugocc.viz.film import write_film


@dataclass(frozen=True)
class DemoSettings:
    """The demo."""

    out: Path = Path("runs/demo")
    """Folder for models, results, pictures and films."""
    fleets: RenderSettings = field(default_factory=RenderSettings)
    """The embedded fleets, rendered if they are missing."""
    cache: Path = Path("data/cache")
    """Folder of prepared frames."""
    size: Literal["debug", "laptop"] = "laptop"
    """Size of the model; debug only shows that everything runs."""
    seed: int = 0
    """Seed of the training."""
    steps: int = 0
    """Optimisation steps; 0 takes the recipe's."""
    scenes: int = 1
    """Test scenes of each fleet that are filmed."""


def run_demo(settings: DemoSettings) -> list[Row]:
    """Render, train, evaluate, picture. Returns the rows of the table."""
    _say(1, "the embedded fleets", settings.fleets.root)
    render_fleets(settings.fleets)
    recipe = _recipe(settings)
    _say(2, f"train {recipe.model.name}-{recipe.model.size} on the labels of six", recipe.run.folder)
    model = train_source(recipe)
    _say(3, "evaluate on held-out test scenes of both fleets", settings.out)
    rows = [_evaluate(model, settings, fleet) for fleet in ("six", "five")]
    write_results(settings.out / "results.json", rows, plain(recipe))
    table = markdown_table(rows)
    write_text(settings.out / "table.md", table)
    _say(4, "pictures and films", settings.out)
    shown = [path for fleet in ("six", "five") for path in _film(model, settings, fleet)]
    print(f"\n{table}")
    gap = rows[0].miou - rows[1].miou
    print(f"The same network, {gap:.1f} points of mIoU worse on a car it was not trained on.\n")
    for path in [settings.out / "table.md", settings.out / "results.json", *shown]:
        print(f"  {path}")
    return rows


def _say(step: int, what: str, where: Path) -> None:
    print(f"[{step}/4] {what} ({where})", flush=True)


def _recipe(settings: DemoSettings) -> SourceRecipe:
    """The defaults of ``ugocc fit``, which recipes/six-flashocc-laptop.yaml spells out."""
    folder = settings.out / "source-only"
    recipe = source_recipe("flashocc", settings.size)
    return replace(
        recipe,
        source=FleetSettings(settings.fleets.root / "six"),
        optim=replace(recipe.optim, steps=settings.steps or recipe.optim.steps),
        run=RunSettings(folder, seed=settings.seed, cache=settings.cache),
    )


def _evaluate(model: Path, settings: DemoSettings, fleet: str) -> Row:
    path = model.parent / f"test-{fleet}" / "results.json"
    weights = read_card(model)["weights_sha256"]
    stamp = path.with_name("weights.sha256")
    if path.is_file() and stamp.is_file() and stamp.read_text(encoding="utf-8") == weights:
        return read_results(path)[0]
    network, about = load_model(model)
    frames = open_fleet(settings.fleets.root / fleet, "test", fleet)
    data = FrameDataset(frames, network.settings.input, cache=settings.cache)
    row = evaluate(network, data, about, split="test", callbacks=[progress_callback(f"evaluate on {fleet}")])
    write_results(path, [row])
    write_text(stamp, weights)
    return row


def _film(model: Path, settings: DemoSettings, fleet: str) -> list[Path]:
    weights = read_card(model)["weights_sha256"][:12]
    picture, film = settings.out / f"{fleet}.png", settings.out / f"{fleet}.mp4"
    stamp = settings.out / f".{fleet}-{weights}"
    if stamp.is_file() and picture.is_file() and film.is_file():
        return [picture, film]
    predictor = Predictor.from_pretrained(model)
    frames = open_fleet(settings.fleets.root / fleet, "test", fleet)
    scenes = list(dict.fromkeys(frame.scene for frame in frames))[: settings.scenes]
    chosen = [frame for frame in frames if frame.scene in scenes]
    pictures = [picture_of(frame, predictor(frame)) for frame in chosen]
    Image.fromarray(pictures[len(pictures) // 2]).save(picture)
    write_film(pictures, film, fps=4)
    write_text(stamp, "")
    return [picture, film]
