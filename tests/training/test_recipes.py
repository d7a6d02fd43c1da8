"""The full-size recipes: every one is read, and run for two steps of every stage on real frames."""

from __future__ import annotations

import json
import runpy
from pathlib import Path
from typing import Any

import pytest

from ugocc.cli import main
from ugocc.serving.recipe_tables import recipe_table, step_table
from ugocc.training.adapt_settings import AdaptRecipe

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = runpy.run_path(str(ROOT / "benchmarks" / "recipes.py"))
RECIPES: dict[str, tuple[str, ...]] = PROGRAM["RECIPES"]

SUPERVISED = {"focal", "semantic_scale", "geometric_scale", "lovasz"}
UNLABELLED = {"pseudo_labels", "render_semantics", "render_depth", "target_semantics", "adversary"}


@pytest.fixture(scope="module")
def real_fleets(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return PROGRAM["real_fleets"](real_data, tmp_path_factory.mktemp("fleets"))


@pytest.fixture(scope="module")
def fleets(request: pytest.FixtureRequest) -> dict[str, Path]:
    """The real frames, or where there are none the embedded fleets, which are files of the same formats."""
    try:
        return request.getfixturevalue("real_fleets")
    except pytest.skip.Exception:
        tiny = request.getfixturevalue("tiny_fleets")
        return {"nuscenes": tiny / "six", "waymo": tiny / "five"}


def test_every_network_has_a_recipe_on_both_fleets_and_every_file_is_in_one() -> None:
    for network in ("bevdet-occ", "flashocc", "bevformer-occ", "fb-occ", "ugocc"):
        for fleet in ("nuscenes", "waymo"):
            assert f"{fleet}-{network}" in RECIPES
    used = {file for files in RECIPES.values() for file in files}
    assert used == {path.stem for path in (ROOT / "recipes").glob("*-full.yaml")}


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_is_valid(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = [word for file in RECIPES[name] for word in ("--config", str(ROOT / "recipes" / f"{file}.yaml"))]
    with pytest.raises(SystemExit) as leave:
        main(["adapt" if "-to-" in name else "fit", *words, "--print_config"])
    assert leave.value.code == 0
    assert "occupancy_loss:" in capsys.readouterr().out
    recipe = PROGRAM["parse"](name)
    images, grid = recipe.model.input, recipe.model.input.grid
    assert name.endswith(recipe.model.name)
    assert (images.height, images.width, grid.shape, grid.voxel_size) == (256, 704, (200, 200, 16), 0.4)
    assert recipe.model.image_encoder.backbone == "resnet50"
    assert recipe.occupancy_loss.voxels == "camera"
    fleets = [recipe.source, *([recipe.target] if isinstance(recipe, AdaptRecipe) else [])]
    assert [fleet.root.name for fleet in fleets] == [part.split("-")[0] for part in name.split("-to-")]
    assert {fleet.split for fleet in fleets} == {"train"}  # neither val nor test is ever trained on
    assert all(fleet.every == (5 if fleet.root.name == "waymo" else 1) for fleet in fleets)


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_runs_with_a_small_network(name: str, fleets: dict[str, Path], tmp_path: Path) -> None:
    row = PROGRAM["run_recipe"](name, fleets, tmp_path / "run", small=True)
    stages = {stage["stage"]: stage for stage in row["stages"]}
    assert list(stages) == (["source-only", "pretrained", "adapted"] if "-to-" in name else ["source-only"])
    assert row["finite"]
    for stage in stages.values():
        assert len(stage["losses"]) == 2
        assert set(stage["losses"][0]) >= SUPERVISED | (set() if "bevformer" in name else {"depth"})
        assert min(stage["multiply_adds"]) > 0
        assert min(stage["live_bytes"]) > 4 * row["parameters"]  # gradients alone are that
    if "-to-" in name:
        assert set(stages["pretrained"]["losses"][1]) >= {"photometric_source", "photometric_target"}
        assert set(stages["adapted"]["losses"][1]) >= UNLABELLED
        assert row["cache"].keys() == {"prepared", "re-rendered"}


def test_a_recipe_runs_at_full_size(real_fleets: dict[str, Path], tmp_path: Path) -> None:
    row = PROGRAM["run_recipe"]("nuscenes-flashocc", real_fleets, tmp_path / "run")
    (stage,) = row["stages"]
    assert row["finite"]
    assert (row["size"], row["images"], stage["planned_steps"]) == ("full", [256, 704], 168_780)
    listed = json.loads((ROOT / "results/models/models.json").read_text(encoding="utf-8"))["models"]
    (known,) = (model for model in listed if (model["model"], model["size"]) == ("flashocc", "full"))
    assert row["parameters"] == known["parameters"]
    # Backward costs twice what forward does, but nothing is handed back to the pictures.
    assert 2.9 < stage["multiply_adds"][1] / known["multiply_adds"] < 3


def test_the_committed_table_has_the_steps_of_the_recipes_as_they_are() -> None:
    for row in json.loads((ROOT / "results/recipes/benchmark.json").read_text(encoding="utf-8"))["recipes"]:
        assert PROGRAM["planned_anew"](row) == row, "python benchmarks/recipes.py --data DIR --only"


def test_what_a_recipe_takes_is_arithmetic_and_stands_in_the_tables(tmp_path: Path) -> None:
    stage = {"stage": "adapted", "planned_steps": 1000, "batch_size": 2, "teacher": True}
    stage |= {"multiply_adds": [2e12, 4e12], "live_bytes": [9e9, 7e9], "cpu_seconds": [9.0, 8.0]}
    stage |= {"losses": [{"focal": 1.0}, {"focal": 0.9, "depth": 2.0}]}
    row: dict[str, Any] = {"recipe": "nuscenes-to-waymo-ugocc", "files": ["a-full"], "parameters": 10**9}
    row |= {"devices": 4, "stages": [stage], "versions": 3, "rerender_seconds": 1.0, "finite": True}
    row |= {"backbone": "resnet50", "resident_bytes": 2**32, "cache": {"prepared": 1e6, "re-rendered": 2e6}}
    row["estimate"] = about = PROGRAM["estimate"](row)
    assert about["samples"] == [8000]
    assert about["steps"] == {"1": [4000], "8": [500]}
    assert about["hours"]["1"] == pytest.approx(2 * 8000 * 3e12 / (0.2 * 312e12) / 3600, abs=0.01)
    assert about["hours"]["8"] == pytest.approx(about["hours"]["1"] / 7.2, abs=0.01)
    assert about["bytes_per_gpu"] == 20e9 + 2 * (7e9 - 4e9)
    assert about["cache_bytes"] == (28_130 + 31_600) * 1e6 + 3 * 28_130 * 2e6
    assert about["rerender_core_hours"] == pytest.approx(3 * 28_130 / 3600, abs=0.1)
    PROGRAM["write_rows"](tmp_path / "benchmark.json", [row])
    table = recipe_table(tmp_path)
    assert "20% of the 312 TFLOP/s that an NVIDIA A100 has" in table
    assert "| 2 | 4,000 | 500 | 0.02 E | 0.2 | 0.0 | 24 GiB | 213 GiB | 23 core hours |" in table
    assert "| adapted | resnet50 | 1000.00 M | 2 | 4000 G | 8 s | 4.0 GiB | depth, focal | yes |" in step_table(
        tmp_path
    )
