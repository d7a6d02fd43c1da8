"""No recipe is dead: each trains two steps at its full size, on real frames."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from ugocc.training.adapt_settings import AdaptRecipe
from ugocc.training.chain import adapt
from ugocc.training.checkpoint import read_card
from ugocc.training.source import parse_source_recipe, train_source
from ugocc.training.stages import parse_adapt_recipe

FULL = sorted((Path(__file__).parents[2] / "recipes").glob("*-full.yaml"))
"""Recipes of published shapes; the laptop's are run by the demo, the ablation and the benchmarks."""


@pytest.fixture(scope="module")
def fleets(
    real_data: Path, real_nuscenes_root: Path, real_waymo_root: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    """A real frame of each fleet with an occupancy label: a real one of another place, for the files are not there."""
    root = tmp_path_factory.mktemp("recipes")
    nuscenes = Path(shutil.copytree(real_nuscenes_root, root / "nuscenes"))
    waymo = Path(shutil.copytree(real_waymo_root, root / "waymo"))
    label = next((real_data / "occ3d").rglob("labels.npz"))
    from ugocc.data.source import open_fleet

    for frame in open_fleet(nuscenes, "train"):
        place = nuscenes / "gts" / frame.scene / frame.token / "labels.npz"
        place.parent.mkdir(parents=True)
        shutil.copy(label, place)
    with np.load(label) as file:
        voxels = np.where(file["semantics"] == 17, 23, 13).astype(np.uint8)
        mask = file["mask_camera"]
    place = waymo / "occ3d" / "training" / "000" / "000_04.npz"
    place.parent.mkdir(parents=True)
    np.savez(place, voxel_label=voxels, origin_voxel_state=mask, final_voxel_state=mask, infov=mask)
    return {"nuscenes": nuscenes, "waymo": waymo}


@pytest.mark.parametrize("recipe", FULL, ids=lambda path: path.stem)
def test_a_full_size_recipe_trains_two_steps(recipe: Path, fleets: dict[str, Path], tmp_path: Path) -> None:
    words = ["--optim.steps=2", "--optim.batch_size=1", f"--run.folder={tmp_path / 'run'}", "--run.cache=null"]
    words += ["--run.accelerator=cpu", "--run.devices=1", "--run.workers=0", "--run.precision=32-true"]
    words += ["--model.image_encoder.pretrained=false"]  # random weights: nothing is downloaded
    source, target = (recipe.stem.split("-")[place] for place in (0, 2))
    words += [f"--source.root={fleets[source]}", "--source.every=1"]
    if target in fleets:
        words += [f"--target.root={fleets[target]}", "--target.every=1"]
        words += ["--earlier.source_steps=1", "--earlier.pretrain_steps=1", "--choice.candidates=1"]
        parsed = parse_adapt_recipe(["--config", str(recipe), *words])
        assert isinstance(parsed, AdaptRecipe)
        card = read_card(adapt(parsed))
        assert card["steps_with_earlier_stages"] == 4
    else:
        card = read_card(train_source(parse_source_recipe(["--config", str(recipe), *words])))
    assert card["steps"] == 2
    assert card["model"]["size"] == "full"
    assert card["model"]["input"]["grid"]["shape"] == [200, 200, 16]
