"""What a training step costs: on the source alone, and adapting to a fleet without labels."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import torch
from lightning import LightningModule

from ugocc.adaptation.teacher import update_teacher
from ugocc.adaptation.voted import write_voted
from ugocc.bench.profile import StepProfile, profile_step
from ugocc.bench.timing import Timing, measure
from ugocc.data.batch import Batch
from ugocc.data.prepare import InputSettings
from ugocc.devices import multiplies_bfloat16
from ugocc.losses.references import OtherTime
from ugocc.models.assemble import build_model
from ugocc.models.example import example_batch, unlabelled
from ugocc.training.adapt import Adaptation
from ugocc.training.adapt_settings import AdaptRecipe
from ugocc.training.fit import optimiser
from ugocc.training.moments import Moments, Pair
from ugocc.training.source import SourceRecipe, SourceTraining, source_recipe
from ugocc.training.stages import adapt_recipe

PROFILED: Final = ("source-only step, 2 samples", "adaptation step, voted")


@dataclass(frozen=True)
class StepCosts:
    """What training steps cost."""

    timings: dict[str, Timing]
    """Milliseconds of each."""
    profiles: dict[str, StepProfile]
    """Where the time of some of them goes."""


def measure_steps(name: str, size: str, device: torch.device, runs: int, seconds: float) -> StepCosts:
    """A source-only step on one and on two samples, and an adaptation step on one of each fleet.

    Whole steps: forward, losses, backward, optimiser, and the teacher that follows. ``voted`` learns from volumes that
    were voted on beforehand, as the recipe does, ``own labels`` from the teacher's selected volumes of the moment.
    In bfloat16 too where the device has arithmetic for it; those of the last precision are profiled.
    """
    precisions: dict[str, torch.dtype | None] = {"float32": None}
    if multiplies_bfloat16(device.type):
        precisions["bfloat16"] = torch.bfloat16
    recipe = adapt_recipe(name, size)
    source = replace(source_recipe(name, size), model=recipe.model)
    inputs = recipe.model.input
    with tempfile.TemporaryDirectory() as folder, quiet():
        works: dict[str, Callable[[], object]] = {}
        for precision, dtype in precisions.items():
            for samples in (1, 2):
                batch = example_batch(inputs, samples=samples).to(device)
                step = source_step(source, batch, device, dtype)
                works[f"source-only step, {samples} sample{'s' if samples > 1 else ''}, {precision}"] = step
            pair = example_pair(inputs, device)
            voted = Path(folder)
            write_voted(voted, pair.target.now.tokens[0], torch.rand(10, *inputs.grid.shape).softmax(0))
            works[f"adaptation step, voted, {precision}"] = adaptation_step(recipe, pair, device, dtype, voted)
            works[f"adaptation step, own labels, {precision}"] = adaptation_step(recipe, pair, device, dtype, None)
        timings = measure(works, device, runs=runs, seconds=seconds)
        profiled = [f"{what}, {[*precisions][-1]}" for what in PROFILED]
        return StepCosts(timings, {what: profile_step(works[what], device) for what in profiled})


def source_step(
    recipe: SourceRecipe, batch: Batch, device: torch.device, dtype: torch.dtype | None
) -> Callable[[], None]:
    """A step of stage 1 on one batch."""
    torch.manual_seed(0)
    task = SourceTraining(recipe).to(device).train()
    return _step(task, batch, recipe.optim, device, dtype, lambda: None)


def adaptation_step(
    recipe: AdaptRecipe, pair: Pair, device: torch.device, dtype: torch.dtype | None, voted: Path | None
) -> Callable[[], None]:
    """A step of stage 3 on one pair."""
    torch.manual_seed(0)
    task = Adaptation(build_model(recipe.model), recipe).to(device).train()
    task.voted = voted

    def follow() -> None:
        update_teacher(task.teacher, task.model, 0, recipe.teacher)

    return _step(task, pair, recipe.optim, device, dtype, follow)


def example_pair(inputs: InputSettings, device: torch.device) -> Pair:
    """A sample of six cameras of each fleet, that of the target with the frames before and after."""
    now, before, after = (unlabelled(example_batch(inputs, seed=seed)) for seed in (1, 2, 3))
    others = tuple(OtherTime(batch.to(device), torch.tensor([True], device=device)) for batch in (before, after))
    return Pair((Moments(example_batch(inputs).to(device), ()),), Moments(now.to(device), others))


def _step(
    task: LightningModule,
    batch: Any,
    optim: Any,
    device: torch.device,
    dtype: torch.dtype | None,
    after: Callable[[], None],
) -> Callable[[], None]:
    adam = optimiser(task, optim)["optimizer"]

    def work() -> None:
        with torch.autocast(device.type, dtype or torch.bfloat16, enabled=dtype is not None):
            loss: Any = task.training_step(batch, 0)
        adam.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(task.parameters(), optim.clip_norm)
        adam.step()
        after()

    return work


@contextmanager
def quiet() -> Iterator[None]:
    """Without what Lightning says of a task that no trainer runs."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*self.log.*")
        yield
