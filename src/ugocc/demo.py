"""The main job on the embedded fleets: the problem this project exists to solve and what adaptation does about it.

Three networks of one kind, all of as many steps: one trained with the labels of *six* alone, one adapted from these
labels to plain drives of *five*, and, for the bar, one trained with the labels of *five*. They are evaluated on
held-out scenes of both fleets and filmed side by side. Every step reuses what an earlier run of the same settings left,
so the demo may be interrupted and repeated.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ugocc.ablation import AblationSettings, run_variant, train_variant
from ugocc.config import plain
from ugocc.data.occupancy import label_on_grid
from ugocc.data.source import open_fleet
from ugocc.data.synthetic.build import RenderSettings, render_fleets
from ugocc.labels import UNKNOWN
from ugocc.results import Row, markdown_table, write_results, write_text
from ugocc.serving.predictor import Predictor
from ugocc.serving.tables import order
from ugocc.training.checkpoint import read_card
from ugocc.viz.film import write_film
from ugocc.viz.pictures import comparison_picture

SOURCE: Final = "six"
TARGET: Final = "five"
CAPTIONS: Final = {
    "source-only": "labels of six alone",
    "full": "adapted to five, none of its labels",
    "oracle": "labels of five, for the bar",
}
"""The variants, in the order in which they are trained and shown."""


@dataclass(frozen=True)
class DemoSettings:
    """The demo."""

    out: Path = Path("runs/demo")
    """Folder for models, results, pictures and films."""
    fleets: RenderSettings = field(default_factory=RenderSettings)
    """The embedded fleets, rendered if they are missing."""
    cache: Path = Path("data/cache")
    """Folder of prepared frames."""
    model: str = "flashocc"
    """Name of the network; the default is the quickest."""
    size: Literal["debug", "laptop"] = "laptop"
    """Size of the network; debug only shows that everything runs."""
    seed: int = 0
    """Seed of the training."""
    steps: tuple[int, int, int] = (1200, 0, 300)
    """Steps of source-only training, pretraining and adaptation; the other two networks take as many as all three."""
    scenes: int = 1
    """Test scenes of each fleet that are filmed."""


def run_demo(settings: DemoSettings) -> list[Row]:
    """Render, train, evaluate, picture. Returns the rows of the table."""
    stages = len(CAPTIONS) + 2
    _say(1, stages, "the embedded fleets", settings.fleets.root)
    render_fleets(settings.fleets)
    direction, runs = f"{SOURCE}-{TARGET}", _runs(settings)
    models, rows = {}, []
    for number, (variant, caption) in enumerate(CAPTIONS.items(), start=2):
        _say(number, stages, f"{settings.model}-{settings.size}, {caption}", settings.out)
        models[caption] = train_variant(runs, direction, variant, settings.seed)
        rows += run_variant(runs, direction, variant, settings.seed)
    rows.sort(key=order)
    write_results(settings.out / "results.json", rows, plain(settings))
    table = markdown_table(rows)
    write_text(settings.out / "table.md", table)
    _say(stages, stages, "pictures and films", settings.out)
    shown = [path for fleet in (SOURCE, TARGET) for path in _film(models, settings, fleet)]
    print(f"\n{table}")
    before, after, bar = (_miou(rows, variant) for variant in CAPTIONS)
    print(
        f"mIoU on {TARGET}: {before:.1f} with the labels of {SOURCE} alone, {after:.1f} adapted without labels of "
        f"{TARGET}, {bar:.1f} with them: {100 * (after - before) / max(bar - before, 1e-9):.0f} % of the gap closed.\n"
    )
    for path in [settings.out / "table.md", settings.out / "results.json", *shown]:
        print(f"  {path}")
    return rows


def _say(step: int, steps: int, what: str, where: Path) -> None:
    print(f"[{step}/{steps}] {what} ({where})", flush=True)


def _runs(settings: DemoSettings) -> AblationSettings:
    """The demo's networks are three variants of the ablation, at its own length."""
    return AblationSettings(
        fleets=settings.fleets.root,
        directions=(f"{SOURCE}-{TARGET}",),
        variants=tuple(CAPTIONS),
        seeds=(settings.seed,),
        model=settings.model,
        size=settings.size,
        out=settings.out,
        cache=settings.cache,
        steps=settings.steps,
    )


def _miou(rows: list[Row], variant: str) -> float:
    return next(row.miou for row in rows if (row.variant, row.eval_fleet) == (variant, TARGET))


def _film(models: dict[str, Path], settings: DemoSettings, fleet: str) -> list[Path]:
    weights = "".join(read_card(model)["weights_sha256"] for model in models.values())
    picture, film = settings.out / f"{fleet}.png", settings.out / f"{fleet}.mp4"
    stamp = settings.out / f".{fleet}-{sha256(weights.encode()).hexdigest()[:12]}"
    if stamp.is_file() and picture.is_file() and film.is_file():
        return [picture, film]
    pictures = list(_side_by_side(models, settings, fleet))
    Image.fromarray(pictures[len(pictures) // 2]).save(picture)
    write_film(pictures, film, fps=4)
    write_text(stamp, "")
    return [picture, film]


def _side_by_side(models: dict[str, Path], settings: DemoSettings, fleet: str) -> Iterator[NDArray[np.uint8]]:
    """Cameras, every network's volume and the truth, of every frame of the filmed scenes."""
    predictors = {name: Predictor.from_pretrained(model, fleet=fleet) for name, model in models.items()}
    frames = open_fleet(settings.fleets.root / fleet, "test", fleet)
    scenes = list(islice(dict.fromkeys(frame.scene for frame in frames), settings.scenes))
    for frame in frames:
        if frame.scene not in scenes or frame.occupancy is None:
            continue
        predicted = {name: predictor(frame) for name, predictor in predictors.items()}
        grid = next(iter(predicted.values())).grid
        label = label_on_grid(frame.occupancy(), frame.occupancy_grid, grid)
        volumes = [(name, volume.classes) for name, volume in predicted.items()]
        yield comparison_picture(
            [*volumes, ("truth", label.semantics)],
            grid,
            title=f"{fleet}  {frame.scene}",
            images=[(camera.name, camera.image()) for camera in frame.cameras],
            mask=label.camera_mask & (label.semantics != UNKNOWN),
            column=400,
        )
