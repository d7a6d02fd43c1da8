"""The main job on the embedded fleets: the problem this project exists to solve and what adaptation does about it.

A network is trained with the labels of *six* alone, as ``ugocc fit`` does, and adapted to plain drives of *five*, as
``ugocc adapt --start`` does; for the bar, a third one is trained with the labels of *five*, for as many steps as the
two together. They are evaluated on held-out scenes and filmed side by side, the third one on *five* alone. Every step
reuses what an earlier run of the same settings left, so the demo may be interrupted and repeated.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import Final, Literal

from ugocc.config import plain
from ugocc.data.dataset import FrameDataset
from ugocc.data.frame import Frame, FrameSource
from ugocc.data.occupancy import label_on_grid
from ugocc.data.source import open_fleet
from ugocc.data.synthetic.build import RenderSettings, render_fleets
from ugocc.errors import DataError, check_least
from ugocc.evaluation.evaluate import evaluate
from ugocc.labels import UNKNOWN
from ugocc.output import reporting
from ugocc.progress import follow
from ugocc.provenance import data_digest
from ugocc.results import Row, markdown_table, read_results, write_results, write_text
from ugocc.serving.predictor import Predictor
from ugocc.serving.report import demo_report, story_of
from ugocc.serving.tables import order
from ugocc.training.adapt_settings import AdaptRecipe
from ugocc.training.checkpoint import load_model, read_card
from ugocc.training.progress import progress_callback
from ugocc.training.settings import FleetSettings, RunSettings
from ugocc.training.source import SourceRecipe, source_recipe, train_source
from ugocc.training.stages import adapt_recipe, check_adapts, train_adapt
from ugocc.viz.canvas import Picture, write_picture
from ugocc.viz.film import check_film, write_film
from ugocc.viz.pictures import SEEN, comparison_picture
from ugocc.viz.report.scenes import AFTER, BAR, BEFORE

SOURCE: Final = "six"
TARGET: Final = "five"


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
    steps: tuple[int, int] = (700, 150)
    """Steps of training on the source and of adaptation; the oracle takes as many as both."""
    scenes: int = 1
    """Test scenes of each fleet that are filmed."""
    report: bool = True
    """Also write report.html: the table, charts, and volumes to turn in the browser."""
    json: bool = False
    """Print one JSON document instead of the table."""

    def __post_init__(self) -> None:
        check_least("demo", 1, "a number of scenes", scenes=self.scenes)


def run_demo(settings: DemoSettings) -> list[Row]:
    """Render, train, adapt, evaluate, picture. Returns the rows of the table.

    Raises:
        DataError: a network that cannot be adapted, or a package that is missing, before anything is rendered.
    """
    with reporting(settings.json) as report:
        rows, written, text = _demonstrate(settings)
        report({"rows": rows, "files": written}, text)
    return rows


def _demonstrate(settings: DemoSettings) -> tuple[list[Row], list[Path], str]:
    """Everything: the rows, the files that were written, and what to say at the end."""
    name = f"{settings.model}-{settings.size}"
    recipe = adapt_recipe(settings.model, settings.size)
    check_adapts(recipe, recipe.model)
    check_film(settings.out / f"{SOURCE}.mp4")
    _say(1, "the embedded fleets", settings.fleets.root)
    render_fleets(settings.fleets)
    _check_same_fleets(settings)
    _say(2, f"train {name} on the labels of {SOURCE}", settings.out / "source-only")
    before = train_source(labelled_recipe(settings, SOURCE, "source-only", settings.steps[0]))
    rows = [_evaluate(before, settings, fleet) for fleet in (SOURCE, TARGET)]
    _say(3, f"adapt it to plain drives of {TARGET}", settings.out / "full")
    after = train_adapt(unlabelled_recipe(settings, before))
    rows += [_evaluate(after, settings, fleet) for fleet in (SOURCE, TARGET)]
    _say(4, f"for the bar, train {name} on the labels of {TARGET}", settings.out / "oracle")
    bar = train_source(labelled_recipe(settings, TARGET, "oracle", sum(settings.steps)))
    rows.append(_evaluate(bar, settings, TARGET))
    rows.sort(key=order)
    write_results(settings.out / "results.json", rows, plain(settings))
    table = markdown_table(rows)
    write_text(settings.out / "table.md", table)
    _say(5, "pictures and films", settings.out)
    models = {f"labels of {SOURCE} alone": before, f"adapted to {TARGET}": after}
    on = {SOURCE: models, TARGET: models | {f"labels of {TARGET}": bar}}  # the bar is a stranger on the source
    shown = [path for fleet in on for path in _film(on[fleet], settings, fleet)]
    if settings.report:
        folders = {BEFORE: before, AFTER: after, BAR: bar}
        story = story_of(rows, name, SOURCE, TARGET, folders)
        shown.insert(0, demo_report(settings.out, settings.fleets.root, "test", rows, story))
    low, high, most = (_miou(rows, variant) for variant in ("source-only", "full", "oracle"))
    written = [settings.out / "table.md", settings.out / "results.json", *shown]
    text = (
        f"\n{table}\n"
        f"mIoU on {TARGET}: {low:.1f} with the labels of {SOURCE} alone, {high:.1f} adapted without its own, "
        f"{most:.1f} with the labels of {TARGET}.\n\n"
    )
    return rows, written, text + "\n".join(f"  {path}" for path in written)


def _check_same_fleets(settings: DemoSettings) -> None:
    """Remember what the fleets of a demo are, and refuse to go on with models of others.

    Raises:
        DataError: the folder holds models that were trained on fleets of other settings.
    """
    stamp = settings.out / ".fleets.sha256"
    now = " ".join(data_digest(settings.fleets.root / fleet) for fleet in (SOURCE, TARGET))
    if stamp.is_file() and stamp.read_text(encoding="utf-8") != now:
        expected = "the fleets that are there now (another --out, or delete this folder)"
        raise DataError(settings.out, "fleets", "models trained on fleets of other settings", expected)
    settings.out.mkdir(parents=True, exist_ok=True)
    write_text(stamp, now)


def _say(step: int, what: str, where: Path) -> None:
    print(f"[{step}/5] {what} ({where})", flush=True)


def labelled_recipe(settings: DemoSettings, fleet: str, variant: str, steps: int) -> SourceRecipe:
    """The defaults of ``ugocc fit``, with depth for any camera."""
    recipe = source_recipe(settings.model, settings.size)
    network, depth = recipe.model, recipe.model.depth_net
    if depth is not None:
        network = replace(network, depth_net=replace(depth, canonical=True))
    return replace(
        recipe,
        variant=variant,
        model=network,
        source=FleetSettings(settings.fleets.root / fleet),
        optim=replace(recipe.optim, steps=steps),
        run=RunSettings(settings.out / variant, seed=settings.seed, cache=settings.cache),
    )


def unlabelled_recipe(settings: DemoSettings, start: Path) -> AdaptRecipe:
    """The defaults of ``ugocc adapt --start``, made short: a rate that lets a few hundred steps learn another rig, the
    last teacher as the result, no photometric losses, for which every target frame would be read three times, one
    re-rendered sample a step, without pictures of earlier frames for a source that looks all around, and pseudo-labels
    of single frames, for which the drives need not be predicted first."""
    recipe = adapt_recipe(settings.model, settings.size)
    alone = replace(recipe.rig_transfer.rerender, look_back=())
    return replace(
        recipe,
        start=start,
        source=FleetSettings(settings.fleets.root / SOURCE),
        target=FleetSettings(settings.fleets.root / TARGET),
        rig_transfer=replace(recipe.rig_transfer, samples=1, rerender=alone),
        voting=replace(recipe.voting, rounds=0),
        weights=replace(recipe.weights, photometric_target=0.0),
        choice=replace(recipe.choice, candidates=1),
        optim=replace(recipe.optim, steps=settings.steps[1], lr=1e-3),
        run=RunSettings(settings.out / "full", seed=settings.seed, cache=settings.cache),
    )


def _evaluate(model: Path, settings: DemoSettings, fleet: str) -> Row:
    path = model.parent / f"test-{fleet}" / "results.json"
    made_of = f"{read_card(model)['weights_sha256']} {data_digest(settings.fleets.root / fleet)}"
    stamp = path.with_name("made-of.sha256")
    if path.is_file() and stamp.is_file() and stamp.read_text(encoding="utf-8") == made_of:
        return read_results(path)[0]
    network, about = load_model(model, fleet)
    frames = open_fleet(settings.fleets.root / fleet, "test", fleet)
    data = FrameDataset(frames, network.settings.input, cache=settings.cache)
    row = evaluate(network, data, about, split="test", callbacks=[progress_callback(f"evaluate on {fleet}")])
    write_results(path, [row])
    write_text(stamp, made_of)
    return row


def _miou(rows: list[Row], variant: str) -> float:
    return next(row.miou for row in rows if (row.variant, row.eval_fleet) == (variant, TARGET))


def _film(models: dict[str, Path], settings: DemoSettings, fleet: str) -> list[Path]:
    made_of = "".join(read_card(model)["weights_sha256"] for model in models.values())
    made_of += f"{data_digest(settings.fleets.root / fleet)} {settings.scenes}"
    picture, film = settings.out / f"{fleet}.png", settings.out / f"{fleet}.mp4"
    stamp = settings.out / f".{fleet}-{sha256(made_of.encode()).hexdigest()[:12]}"
    if stamp.is_file() and picture.is_file() and film.is_file():
        return [picture, film]
    frames = filmed(open_fleet(settings.fleets.root / fleet, "test", fleet), settings.scenes)
    pages = follow(side_by_side(models, fleet, frames), f"film {fleet}", len(frames))
    write_film(_one_written(pages, len(frames) // 2, picture), film, fps=4)
    write_text(stamp, "")
    return [picture, film]


def _one_written(pages: Iterable[Picture], number: int, path: Path) -> Iterator[Picture]:
    """The pages of a film; one of them is written as a picture on its way."""
    for i, page in enumerate(pages):
        if i == number:
            write_picture(path, page)
        yield page


def filmed(frames: FrameSource, scenes: int) -> list[Frame]:
    """The labelled frames of the first scenes."""
    shown = list(islice(dict.fromkeys(frame.scene for frame in frames), scenes))
    return [frame for frame in frames if frame.scene in shown and frame.occupancy is not None]


def side_by_side(models: Mapping[str, Path], fleet: str, frames: Iterable[Frame]) -> Iterator[Picture]:
    """Cameras, every network's volume and the truth.

    Args:
        models: model folders by the caption of their volumes.
        fleet: name of the fleet, whose statistics the networks take.
        frames: what is shown; others than labelled ones are left out.

    Yields:
        (rows, columns, 3) RGB.
    """
    predictors = {name: Predictor.from_pretrained(model, fleet=fleet) for name, model in models.items()}
    for frame in frames:
        if frame.occupancy is None:
            continue
        predicted = {name: predictor(frame) for name, predictor in predictors.items()}
        grid = next(iter(predicted.values())).grid
        label = label_on_grid(frame.occupancy(), frame.occupancy_grid, grid)
        volumes = [(name, volume.classes) for name, volume in predicted.items()]
        yield comparison_picture(
            [*volumes, ("truth", label.semantics)],
            grid,
            title=f"{fleet}  {frame.scene}",
            note=SEEN,
            images=[(camera.name, camera.image()) for camera in frame.cameras],
            mask=label.camera_mask & (label.semantics != UNKNOWN),
            column=400,
        )
