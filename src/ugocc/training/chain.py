"""All three stages in a row: from the labels of one fleet and plain drives of another to an adapted model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from ugocc.training.adapt_settings import AdaptRecipe
from ugocc.training.source import source_recipe
from ugocc.training.stages import adapt_recipe, check_adapts, pretrain_recipe, source_stage, train_adapt


def adapt(recipe: AdaptRecipe) -> Path:
    """The adapted model; the stages before are run first unless the recipe names a start.

    Stages write to ``<run>/source-only``, ``<run>/pretrained`` and ``<run>/adapted``; finished ones are reused and an
    interrupted one goes on.

    Returns:
        Folder of the model.
    """
    folder = recipe.run.folder
    return adapt_after(replace(recipe, run=replace(recipe.run, folder=folder / "adapted")), folder)


def adapt_after(recipe: AdaptRecipe, stages: Path) -> Path:
    """Adaptation in the run folder of the recipe, after earlier stages in ``stages``, which other runs may share."""
    start = recipe.start
    if start is None:
        check_adapts(recipe, recipe.model)
    if start is None and recipe.earlier.source_steps:
        start = train_adapt(stage_one(recipe, stages / "source-only"))
    if recipe.start is None and recipe.earlier.pretrain_steps:
        start = train_adapt(stage_two(recipe, start, stages / "pretrained"))
    return train_adapt(replace(recipe, start=start))


def stage_one(recipe: AdaptRecipe, folder: Path) -> AdaptRecipe:
    """Training on the source's labels alone, some of its frames re-rendered for the target's rig.

    Of the target it knows the calibration, and at the end the statistics of its images. Its learning rate falls to
    where that of the adaptation begins: a model that was annealed to the end would have to be shaken up again.
    """
    optim = source_recipe(recipe.model.name, recipe.model.size).optim
    final = min(recipe.optim.lr / optim.lr, 1.0) if optim.decay == "cosine" else 0.0
    return replace(
        source_stage(recipe),
        optim=replace(optim, steps=recipe.earlier.source_steps, final=final, batch_size=recipe.optim.batch_size),
        run=replace(recipe.run, folder=folder),
    )


def source_alone(recipe: AdaptRecipe, folder: Path) -> AdaptRecipe:
    """The first stage on its own, annealed to the end and as long as all stages together: what adaptation must beat.

    Without rig transfer it is the strong baseline.
    """
    steps = recipe.earlier.source_steps + recipe.earlier.pretrain_steps + recipe.optim.steps
    first = stage_one(recipe, folder)
    return replace(first, optim=replace(first.optim, steps=steps, final=0.0))


def stage_two(recipe: AdaptRecipe, start: Path | None, folder: Path) -> AdaptRecipe:
    """Pretraining between the two, on the same fleets; what was learned of the source's volumes is kept in mind."""
    stage = pretrain_recipe(recipe.model.name, recipe.model.size)
    usual = adapt_recipe(recipe.model.name, recipe.model.size).optim.lr
    return replace(
        stage,
        start=start,
        model=recipe.model,
        source=recipe.source,
        target=recipe.target,
        occupancy_loss=stage.occupancy_loss if start is None else recipe.occupancy_loss,
        depth_loss=recipe.depth_loss,
        semantic_loss=recipe.semantic_loss,
        strong_view=recipe.strong_view,
        augment=recipe.augment,
        recorded=recipe.recorded,
        rig_transfer=recipe.rig_transfer,
        photometric=recipe.photometric,
        references=recipe.references,
        weights=replace(stage.weights, photometric_target=recipe.weights.photometric_target),
        optim=replace(
            stage.optim,
            steps=recipe.earlier.pretrain_steps,
            batch_size=recipe.optim.batch_size,
            lr=stage.optim.lr * (recipe.optim.lr / usual),  # a rate that is changed is that of both stages
            final=1.0,
        ),
        run=replace(recipe.run, folder=folder),
    )
