from __future__ import annotations

import itertools
import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

from ugocc.data.dataset import FrameDataset
from ugocc.data.source import open_fleet
from ugocc.devices import precision_of
from ugocc.errors import DataError
from ugocc.evaluation.evaluate import evaluate
from ugocc.models.assemble import build_model, model_settings
from ugocc.training.adapt_settings import AdaptRecipe
from ugocc.training.checkpoint import load_model, read_card, save_model
from ugocc.training.fit import learning_rate_factor, parameter_groups
from ugocc.training.settings import OptimSettings
from ugocc.training.source import SourceRecipe, parse_source_recipe, train_source
from ugocc.training.stages import parse_adapt_recipe
from ugocc.viz.report.curves import read_curves

RECIPES = sorted((Path(__file__).parents[2] / "recipes").glob("*-laptop.yaml"))
"""Recipes of all stages; one that names a target is an adaptation's. Those of the full size: test_recipes.py."""


def _recipe(fleets: Path, folder: Path, *words: str) -> SourceRecipe:
    return parse_source_recipe(
        [
            "--model.name=flashocc",
            "--model.size=debug",
            f"--source.root={fleets / 'six'}",
            f"--run.folder={folder}",
            "--run.accelerator=cpu",
            "--run.workers=0",
            "--run.cache=null",
            "--optim.steps=6",
            "--run.checkpoint_every=2",
            *words,
        ]
    )


@pytest.fixture(scope="module")
def trained(tiny_fleets: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train_source(_recipe(tiny_fleets, tmp_path_factory.mktemp("runs") / "whole"))


def test_a_stopped_run_goes_on_as_if_it_had_not_stopped(trained: Path, tiny_fleets: Path, tmp_path: Path) -> None:
    from ugocc.training import source

    recipe = _recipe(tiny_fleets, tmp_path / "stopped")

    class Stop(Exception):
        pass

    step = source.SourceTraining.training_step

    def interrupted(self, batch, batch_idx):  # type: ignore[no-untyped-def]
        if self.global_step == 5:
            raise Stop
        return step(self, batch, batch_idx)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(source.SourceTraining, "training_step", interrupted)
        with pytest.raises(Stop):
            train_source(recipe)
    assert not (tmp_path / "stopped" / "model").exists()
    last = tmp_path / "stopped" / "checkpoints" / "last.ckpt"
    kept = torch.load(last, weights_only=True)
    kept["callbacks"]["Stopwatch"]["seconds"] += 1000
    torch.save(kept, last)
    resumed = load_file(train_source(recipe) / "model.safetensors")
    whole = load_file(trained / "model.safetensors")
    assert resumed.keys() == whole.keys()
    for name, value in whole.items():
        assert torch.equal(value, resumed[name]), name
    assert read_card(tmp_path / "stopped" / "model")["train_seconds"] > 1000


def test_curves_without_tensorboard_are_csv_and_go_on(
    trained: Path, tiny_fleets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ugocc.training import fit, source

    recipe = _recipe(tiny_fleets, tmp_path / "run", "--run.log_every=1")
    step = source.SourceTraining.training_step

    def interrupted(self, batch, batch_idx):  # type: ignore[no-untyped-def]
        if self.global_step == 5:
            raise KeyError("the power")
        return step(self, batch, batch_idx)

    monkeypatch.setattr(fit, "installed", lambda module: module != "tensorboard")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(source.SourceTraining, "training_step", interrupted)
        with pytest.raises(KeyError, match="power"):
            train_source(recipe)
    train_source(recipe)
    folder = tmp_path / "run" / "tensorboard"
    assert [path.name for path in sorted(folder.iterdir())] == ["from-0000000", "from-0000004"]
    curves = read_curves(tmp_path / "run")
    assert curves["loss"].steps == [0, 1, 2, 3, 4, 5]
    assert all(math.isfinite(value) for value in curves["loss"].values)
    assert {"loss/depth", "lr-AdamW/pg1"} <= set(curves)
    weights = load_file(tmp_path / "run" / "model" / "model.safetensors")
    assert all(torch.equal(weights[k], v) for k, v in load_file(trained / "model.safetensors").items())


def test_a_finished_run_is_not_trained_again_and_another_recipe_is_refused(trained: Path, tiny_fleets: Path) -> None:
    before = (trained / "model.safetensors").stat().st_mtime_ns
    assert train_source(_recipe(tiny_fleets, trained.parent)) == trained
    assert (trained / "model.safetensors").stat().st_mtime_ns == before
    with pytest.raises(DataError, match=r"optim\.lr"):
        train_source(_recipe(tiny_fleets, trained.parent, "--optim.lr=0.5"))


def test_the_card_says_what_the_model_is_and_where_it_comes_from(trained: Path) -> None:
    card = read_card(trained)
    assert (card["train_fleet"], card["variant"], card["steps"]) == ("six", "source-only", 6)
    assert card["target_supervision"] == "none"
    assert card["recipe"]["optim"]["steps"] == 6
    assert card["recipe"]["run"]["precision"] == precision_of("auto", "cpu")
    assert card["classes"][9] == "free"
    model, _ = load_model(trained)
    assert model.settings.size == "debug"
    assert not model.training


def test_broken_model_folders_are_named(trained: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no model\.json"):
        load_model(tmp_path)
    model, card = load_model(trained)
    folder = save_model(tmp_path / "copy", model, {})
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(DataError, match="complete safetensors"):
        load_model(folder)
    changed = json.loads((trained / "model.json").read_text())
    changed["model"]["lift"]["shap"] = [1, 1, 1]
    (folder / "model.json").write_text(json.dumps(changed))
    with pytest.raises(DataError, match=r"lift\.shap"):
        load_model(folder)
    assert card["weights_sha256"]


def test_evaluating_twice_gives_the_same_row(trained: Path, tiny_fleets: Path, tmp_path: Path) -> None:
    model, about = load_model(trained)
    data = FrameDataset(open_fleet(tiny_fleets / "five", "test"), model.settings.input)
    rows = [
        evaluate(model, data, about, split="test", workers=0, accelerator="cpu", predictions=tmp_path / str(i))
        for i in range(2)
    ]
    assert replace(rows[0], seconds=0, latency_ms=0) == replace(rows[1], seconds=0, latency_ms=0)
    assert rows[0].weights_sha256 == about["weights_sha256"]
    assert rows[0].latency_ms > 0
    assert rows[0].memory_mib > 0.1
    assert rows[0].images == [5, model.settings.input.height, model.settings.input.width]
    assert rows[0].steps == about["steps"] > 0
    assert (rows[0].train_fleet, rows[0].eval_fleet, rows[0].frames) == ("six", "five", 3)
    assert rows[0].ray_iou.keys() == {"1", "2", "4", "mean"}
    assert rows[0].depth["abs_rel"] > 0
    assert len(list((tmp_path / "0").glob("*.npz"))) == 3


def test_unlabelled_frames_cannot_be_evaluated(trained: Path, tiny_fleets: Path) -> None:
    model, about = load_model(trained)
    data = FrameDataset(open_fleet(tiny_fleets / "five", "test"), model.settings.input, labelled=False)
    with pytest.raises(DataError, match="no label"):
        evaluate(model, data, about, split="test", workers=0, accelerator="cpu")


def test_unusable_data_fails_before_training_starts(tiny_fleets: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nowhere"):
        train_source(_recipe(tiny_fleets, tmp_path / "a", "--source.split=nowhere"))
    with pytest.raises(DataError, match="no such folder"):
        train_source(_recipe(tiny_fleets, tmp_path / "b", f"--source.root={tmp_path / 'none'}"))


def test_the_schedule_warms_up_and_decays() -> None:
    cosine = OptimSettings(steps=1000, warmup_steps=100, decay="cosine")
    factors = [learning_rate_factor(step, cosine) for step in range(1001)]
    assert factors[0] == pytest.approx(0.01)
    assert max(factors) == factors[100] == pytest.approx(1.0)
    assert all(a >= b for a, b in itertools.pairwise(factors[100:]))
    assert factors[1000] == pytest.approx(0.0)
    assert factors[550] == pytest.approx(0.5 * (1 + math.cos(math.pi * 0.5)))
    stepped = replace(cosine, decay="step")
    assert learning_rate_factor(799, stepped) == 1.0
    assert learning_rate_factor(800, stepped) == 0.1


def test_only_matrices_decay() -> None:
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4))
    decayed, free = parameter_groups(model, OptimSettings(weight_decay=0.1))
    assert (decayed["weight_decay"], free["weight_decay"]) == (0.1, 0.0)
    assert [tuple(p.shape) for p in decayed["params"]] == [(4, 3)]
    assert len(free["params"]) == 3


def test_what_comes_before_the_lift_may_learn_more_slowly() -> None:
    model = build_model(model_settings("flashocc", "debug"))
    groups = parameter_groups(model, OptimSettings(lr=0.5, trunk=0.1, weight_decay=0.2))
    rates = [(round(group["lr"], 9), group["weight_decay"]) for group in groups]
    assert rates == [(0.05, 0.2), (0.05, 0.0), (0.5, 0.2), (0.5, 0.0)]
    before = {id(p) for module in (model.image_encoder, model.depth_net) for p in module.parameters()}
    of = [{id(p) for p in group["params"]} for group in groups]
    assert of[0] | of[1] == before
    assert sum(map(len, of)) == len({id(p) for p in model.parameters()})


@pytest.mark.parametrize("path", RECIPES, ids=lambda p: p.stem)
def test_every_recipe_is_valid(path: Path) -> None:
    tree = yaml.safe_load(path.read_text())
    parse = parse_adapt_recipe if "target" in tree else parse_source_recipe
    recipe = parse(["--config", str(path)])
    assert (recipe.model.name, recipe.model.size) == (tree["model"]["name"], tree["model"]["size"])
    assert recipe.model.input.width == 264
    assert recipe.optim.steps == tree["optim"]["steps"]
    fleets = [recipe.source, *([recipe.target] if isinstance(recipe, AdaptRecipe) else [])]
    assert {fleet.split for fleet in fleets} == {"train"}  # neither val nor test is ever trained on
