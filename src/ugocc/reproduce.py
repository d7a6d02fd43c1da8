"""Every model of the family, trained and scored by the same code on the same data: the comparison as one command."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final, Literal, NamedTuple

import torch

from ugocc.ablation import (
    AblationSettings,
    base_recipe,
    check_names,
    file_name,
    model_folder,
    result_file,
    run_variant,
)
from ugocc.bench.timing import measure
from ugocc.devices import default_device, multiplies_bfloat16
from ugocc.errors import DataError
from ugocc.gaps import gap_table, of_direction
from ugocc.models.assemble import build_model, model_settings
from ugocc.models.example import example_batch
from ugocc.output import reporting
from ugocc.provenance import check_provenance, code_digest, data_digest
from ugocc.results import Row, markdown_table, read_results, write_text
from ugocc.serving.report import KEYS, Story, reproduce_report, story_of
from ugocc.serving.tables import order
from ugocc.training.source import source_recipe, supervised_losses

BASELINES: Final = ("source-only", "strong source-only", "oracle")
"""What every model is trained as."""


@dataclass(frozen=True)
class ReproduceSettings:
    """The table of all models."""

    size: Literal["debug", "laptop", "full"] = "laptop"
    """Size of the networks."""
    fleets: Path = Path("data/embedded")
    """Folder of the fleets; every fleet of ``directions`` is a folder in it."""
    directions: tuple[str, ...] = ("six-five", "five-six")
    """Labelled and unlabelled fleet, joined by a hyphen."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Seeds of the trainings."""
    models: tuple[str, ...] = ("bevdet-occ", "flashocc", "bevformer-occ", "fb-occ", "ugocc")
    """Models; each is trained source-only, strong source-only and as oracle."""
    adapted: tuple[str, ...] = ("ugocc",)
    """Models that are adapted as well, with every seed."""
    adapted_once: tuple[str, ...] = ("flashocc",)
    """Models that are adapted as well, with the first seed: adaptation is a property of the method."""
    split: str = "test"
    """Scenes that are reported."""
    out: Path = Path("runs/reproduce")
    """Folder for runs, a folder for each model."""
    publish: Path = Path("results/family")
    """Folder that result files are copied to, to be committed: tables are made from them."""
    cache: Path = Path("data/cache")
    """Folder of prepared frames."""
    steps: tuple[int, int, int] | None = None
    """Steps of the three stages; by default the recipe's."""
    plan: bool = False
    """Say what is missing and how long it will take, and do nothing."""
    report: bool = True
    """Also write <out>/report.html: charts of all networks, and volumes of the adapted ones to turn in the browser."""
    json: bool = False
    """Print one JSON document instead of the tables; with ``plan``, what is missing."""


class Job(NamedTuple):
    """One row of the table."""

    model: str
    direction: str
    variant: str
    seed: int


def reproduce(settings: ReproduceSettings) -> list[Row]:
    """Say what is missing and how long that takes, train and score it, and write the table. Returns the rows.

    Raises:
        DataError: unknown names, or models or results in ``out`` or ``publish`` that other code or data made.
    """
    with reporting(settings.json) as report:
        everything = jobs(settings)
        for option in ("adapted", "adapted_once"):
            names = getattr(settings, option)
            # What is adapted by default may be left out of the models by a caller who names other ones.
            unknown = [] if names == getattr(ReproduceSettings, option) else set(names) - set(settings.models)
            for name in sorted(unknown):
                raise DataError("reproduce", option, name, f"names of models: {', '.join(settings.models)}")
        for model in settings.models:
            check_names(ablation(settings, model))
        data = {name: data_digest(settings.fleets / name) for name in fleets(settings)}
        for folder in (settings.out, settings.publish):
            check_provenance(folder, {code_digest("supervised"), code_digest("adapted")}, data)
        missing = [job for job in everything if not is_done(settings, job)]
        seconds = estimate(settings, missing)
        print(f"{len(everything)} results, {len(missing)} missing: about {clock(seconds)} on this machine", flush=True)
        if settings.plan:
            left = {"missing": [job._asdict() for job in missing], "seconds": round(seconds)}
            report({"results": len(everything), **left})
            return []
        rows = _make(settings, everything, missing)
        table = f"{gap_table({d: of_direction(rows, d) for d in settings.directions})}\n{markdown_table(rows)}"
        written = {"results": settings.publish, "table": settings.out / "table.md"}
        settings.out.mkdir(parents=True, exist_ok=True)
        write_text(written["table"], table)
        print(f"\n{table}\nresults: {settings.publish}")
        if settings.report:
            told = stories(settings, rows)
            written["report"] = reproduce_report(settings.out, settings.fleets, settings.split, rows, told)
            print(f"report: {written['report']}")
        report({"rows": rows, **written})
    return rows


def _make(settings: ReproduceSettings, everything: Sequence[Job], missing: Sequence[Job]) -> list[Row]:
    """Train and score what is missing; rows of all jobs, in the order of tables."""
    rows: list[Row] = []
    began = time.monotonic()
    for job in everything:
        if job in missing:
            left = estimate(settings, missing[missing.index(job) :])
            print(
                f"{job.variant} of {job.model}, {job.direction}, seed {job.seed}; about {clock(left)} left", flush=True
            )
        rows += result(settings, job)
    print(f"took {clock(time.monotonic() - began)}")
    return sorted(rows, key=order)


def stories(settings: ReproduceSettings, rows: Sequence[Row]) -> dict[str, Story]:
    """What the report tells of every network that was adapted, by name and direction; models of the first seed.

    Published results come without models, so those that were not trained here are left out.
    """
    told = {}
    seed = settings.seeds[0]
    for job in jobs(settings):
        if job.variant == "full" and job.seed == seed:
            source, target = job.direction.split("-")
            how = ablation(settings, job.model)
            models = {key: model_folder(how, job.direction, variant, seed) for key, variant in KEYS.items()}
            if not all((model / "model.json").is_file() for model in models.values()):
                continue
            name = f"{job.model}-{settings.size}"
            told[f"{name}, {source} to {target}"] = story_of(rows, name, source, target, models)
    return told


def jobs(settings: ReproduceSettings) -> list[Job]:
    """All rows, seed by seed, so that there is a whole table after the first seed."""
    found = []
    for seed in settings.seeds:
        for direction in settings.directions:
            for model in settings.models:
                once = model in settings.adapted_once and seed == settings.seeds[0]
                variants = (*BASELINES, "full") if model in settings.adapted or once else BASELINES
                found += [Job(model, direction, variant, seed) for variant in variants]
    return found


def fleets(settings: ReproduceSettings) -> list[str]:
    """Names of the fleets of all directions."""
    return sorted({name for direction in settings.directions for name in direction.split("-")})


def ablation(settings: ReproduceSettings, model: str) -> AblationSettings:
    """How the rows of a model are trained: by the ablation's code."""
    return AblationSettings(
        fleets=settings.fleets,
        directions=settings.directions,
        variants=(*BASELINES, "full"),
        seeds=settings.seeds,
        model=model,
        size=settings.size,
        split=settings.split,
        out=settings.out / model,
        cache=settings.cache,
        steps=settings.steps,
    )


def is_done(settings: ReproduceSettings, job: Job) -> bool:
    """Whether the result of a job is there, made here or published before.

    Raises:
        DataError: one is there under this name, of another size, split or number of steps.
    """
    made = result_file(ablation(settings, job.model), job.direction, job.variant, job.seed)
    there = [path for path in (made, published(settings, job)) if path.is_file()]
    for path in there:
        check_rows(settings, job, path)
    return bool(there)


def check_rows(settings: ReproduceSettings, job: Job, path: Path) -> None:
    """Refuse a result that was made with other settings than it would be made with now.

    Raises:
        DataError: naming the first that differs.
    """
    recipe = base_recipe(ablation(settings, job.model), job.direction, job.seed, settings.out)
    steps = recipe.earlier.source_steps + recipe.earlier.pretrain_steps + recipe.optim.steps
    expected = {"model": f"{job.model}-{settings.size}", "split": settings.split, "steps": steps, "seed": job.seed}
    for row in read_results(path):
        for key, value in expected.items():
            if getattr(row, key) != value:
                raise DataError(path, key, getattr(row, key), f"{value} (or other folders: --out and --publish)")


def result(settings: ReproduceSettings, job: Job) -> list[Row]:
    """The rows of a job: what is published of it, or else what training and scoring it gives, published then."""
    path = published(settings, job)
    if not path.is_file():
        run_variant(ablation(settings, job.model), job.direction, job.variant, job.seed)
        publish(settings, job)
    return read_results(path)


def published(settings: ReproduceSettings, job: Job) -> Path:
    """File that is committed for a job."""
    return settings.publish / job.direction / f"{job.model}-{file_name(job.variant)}-seed-{job.seed}.json"


def publish(settings: ReproduceSettings, job: Job) -> None:
    """Copy the result of a job."""
    done = result_file(ablation(settings, job.model), job.direction, job.variant, job.seed)
    path = published(settings, job)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, done.read_text(encoding="utf-8"))


def estimate(settings: ReproduceSettings, missing: Sequence[Job]) -> float:
    """Seconds that jobs will take about, from a timed training step of every network on this machine.

    Runs that several rows share are counted once.
    """
    total, counted = 0.0, set()
    for job in missing:
        run = shared_run(job)
        if run in counted:
            continue
        counted.add(run)
        step = step_seconds(job.model, settings.size)
        full = base_recipe(ablation(settings, job.model), job.direction, job.seed, settings.out)
        first, second, third = full.earlier.source_steps, full.earlier.pretrain_steps, full.optim.steps
        # In samples: of the source, recorded and re-rendered, the target's, and a teacher that is not differentiated.
        source = 1 + full.rig_transfer.samples
        adapted = source * first + (source + 1) * second + (source + 1.4) * third
        total += step * (adapted if job.variant == "full" else first + second + third)
    return total


def shared_run(job: Job) -> tuple[str, str, str, int]:
    """What is trained for a row: plain training on a fleet serves two directions."""
    source, target = job.direction.split("-")
    plain = {"source-only": source, "oracle": target}
    return (
        job.model,
        plain.get(job.variant, job.direction),
        "plain" if job.variant in plain else job.variant,
        job.seed,
    )


@cache
def step_seconds(name: str, size: str) -> float:
    """Seconds of one supervised training step of a network on the device it would train on: the quickest of a few,
    since other work on the machine only adds to them."""
    print(f"timing a step of {name}, {size} size", flush=True)
    recipe = source_recipe(name, size)
    device = torch.device(default_device())
    model = build_model(model_settings(name, size)).to(device).train()
    batch = example_batch(model.settings.input).to(device)
    weights = (recipe.occupancy_loss, recipe.depth_loss, recipe.semantic_loss)

    def step() -> None:
        with torch.autocast(device.type, torch.bfloat16, enabled=multiplies_bfloat16(device.type)):
            prediction = model(batch)
        losses = supervised_losses(prediction, batch, *weights, model.settings.input.grid)
        torch.stack(list(losses.values())).sum().backward()

    return measure({"step": step}, device, runs=5, warm=1)["step"].low / 1000


def clock(seconds: float) -> str:
    """1 h 05 min."""
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60:02d} min"
