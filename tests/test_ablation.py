from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from ugocc.ablation import AblationSettings, base_recipe, run_ablation, variant_recipe
from ugocc.errors import DataError
from ugocc.results import VARIANTS
from ugocc.serving.tables import rows_of
from ugocc.training.chain import source_alone, stage_one, stage_two
from ugocc.training.checkpoint import read_card
from ugocc.training.fit import learning_rate_factor


def _settings(fleets: Path, out: Path) -> AblationSettings:
    return AblationSettings(
        fleets=fleets,
        directions=("six-five",),
        variants=("full", "without depth", "oracle"),
        seeds=(3,),
        size="debug",
        split="val",
        out=out / "runs",
        publish=out / "published",
        cache=out / "cache",
        steps=(2, 1, 2),
    )


@pytest.fixture(scope="module")
def ablated(tiny_fleets: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("ablation")
    run_ablation(_settings(tiny_fleets, out))
    return out


def test_every_variant_is_scored_on_both_fleets(ablated: Path) -> None:
    rows = rows_of(ablated / "published")
    trained_on = {"full": "six", "without depth": "six", "oracle": "five"}
    assert {(r.variant, r.train_fleet, r.eval_fleet, r.seed, r.split) for r in rows} == {
        (variant, labels, fleet, 3, "val") for variant, labels in trained_on.items() for fleet in ("five", "six")
    }
    assert [r.variant for r in rows if r.eval_fleet == "five"] == ["full", "without depth", "oracle"], "order of tables"
    content = json.loads(next((ablated / "published").rglob("full-seed-3.json")).read_text())
    assert content["commit"]
    assert content["recipe"]["optim"]["steps"] == 2


def test_the_oracle_trains_as_long_as_all_stages_and_says_whose_labels_it_saw(ablated: Path) -> None:
    folder = ablated / "runs" / "six-five" / "seed-3"
    oracle = read_card(ablated / "runs" / "plain" / "five" / "seed-3" / "model")
    full = read_card(folder / "full" / "model")
    assert oracle["train_fleet"] == "five"
    assert oracle["steps"] == full["steps_with_earlier_stages"] == 2 + 1 + 2
    assert full["target_supervision"] == "none"


def test_common_stages_are_trained_once_and_finished_runs_are_reused(ablated: Path, tiny_fleets: Path) -> None:
    weights = sorted(ablated.rglob("model.safetensors"))
    assert len([w for w in weights if "stages" in str(w)]) == 2, "one first stage, one pretraining"
    before = [w.stat().st_mtime_ns for w in weights]
    results = sorted((ablated / "runs").rglob("val.json"))
    stamps = [r.stat().st_mtime_ns for r in results]
    run_ablation(_settings(tiny_fleets, ablated))
    assert [w.stat().st_mtime_ns for w in weights] == before
    assert [r.stat().st_mtime_ns for r in results] == stamps


def test_results_of_other_code_or_data_are_not_today_s(ablated: Path, tiny_fleets: Path, tmp_path: Path) -> None:
    settings = _settings(tiny_fleets, tmp_path)
    for field, wrong in (("code", "0" * 64), ("data", {"five": "0" * 64})):
        shutil.copytree(ablated / "runs", tmp_path / "runs", dirs_exist_ok=True)
        result = next((tmp_path / "runs").rglob("val.json"))
        result.write_text(json.dumps(json.loads(result.read_text()) | {field: wrong}))
        with pytest.raises(DataError, match=rf"val\.json: {field}.*found 000000000000"):
            run_ablation(settings)


def test_unknown_names_are_refused_before_anything_is_trained(tiny_fleets: Path, tmp_path: Path) -> None:
    settings = _settings(tiny_fleets, tmp_path)
    for wrong in ("six", "six-six", "six-seven"):
        with pytest.raises(DataError, match="SOURCE-TARGET"):
            run_ablation(replace(settings, directions=(wrong,)))
    with pytest.raises(DataError, match="without luck"):
        run_ablation(replace(settings, variants=("full", "without luck")))
    with pytest.raises(DataError, match=r"split: found no scene for .vall"):
        run_ablation(replace(settings, split="vall"))
    assert not (tmp_path / "runs").exists()


CHANGED = {
    "+ self-supervised depth": {"weights", "adversary"},
    "+ adversarial": {"weights"},
    "+ pseudo-labels": {"weights"},
    "full": set(),
    "without rig transfer": {"rig_transfer"},
    "without depth": {"earlier", "weights", "rendering"},
    "without semantics": {"model", "weights", "rendering"},
    "without adversarial": {"adversary"},
    "without pseudo-labels": {"weights"},
    "without voting": {"voting"},
    "without rendering": {"weights"},
    "pseudo-labels only": {"earlier", "rig_transfer", "weights", "adversary", "agreement", "voting"},
}


@pytest.mark.parametrize("variant", CHANGED)
def test_a_variant_changes_what_its_name_says_and_nothing_else(variant: str, tiny_fleets: Path, tmp_path: Path) -> None:
    full = base_recipe(_settings(tiny_fleets, tmp_path), "six-five", 0, tmp_path)
    changed = variant_recipe(full, variant)
    differ = {name for name in vars(full) if getattr(full, name) != getattr(changed, name)} - {"variant"}
    assert differ == CHANGED[variant]
    assert changed.variant == variant
    assert variant in VARIANTS


def test_source_only_baselines_have_as_many_steps_as_all_stages_and_are_annealed(
    tiny_fleets: Path, tmp_path: Path
) -> None:
    full = base_recipe(_settings(tiny_fleets, tmp_path), "six-five", 0, tmp_path)
    alone, first = source_alone(full, tmp_path), stage_one(full, tmp_path)
    assert (alone.optim.steps, alone.optim.final) == (2 + 1 + 2, 0.0)
    assert not alone.learns_from_target
    # The first stage of a chain ends at the rate where the next one begins.
    assert first.optim.steps == 2
    assert first.optim.lr * first.optim.final == pytest.approx(full.optim.lr)
    end = learning_rate_factor(10_000, replace(first.optim, warmup_steps=0, steps=10_000))
    assert end == pytest.approx(first.optim.final)


def test_every_stage_has_the_batch_size_of_the_recipe(tiny_fleets: Path, tmp_path: Path) -> None:
    full = base_recipe(_settings(tiny_fleets, tmp_path), "six-five", 0, tmp_path)
    full = replace(full, optim=replace(full.optim, batch_size=3))
    stages = (stage_one(full, tmp_path), stage_two(full, None, tmp_path), source_alone(full, tmp_path))
    assert [stage.optim.batch_size for stage in stages] == [3, 3, 3]


def test_left_out_means_left_out(tiny_fleets: Path, tmp_path: Path) -> None:
    full = base_recipe(_settings(tiny_fleets, tmp_path), "six-five", 0, tmp_path)
    assert variant_recipe(full, "without rig transfer").rig_transfer.share == 0
    assert variant_recipe(full, "without semantics").model.semantic_attention is None
    assert variant_recipe(full, "without adversarial").adversary.weight == 0
    assert variant_recipe(full, "without pseudo-labels").weights.pseudo_labels == 0
    assert variant_recipe(full, "without rendering").weights.rendering == 0
    steps = [variant_recipe(full, name) for name in ("+ self-supervised depth", "+ adversarial", "+ pseudo-labels")]
    assert all(s.weights.photometric_target and not s.weights.rendering and not s.weights.semantics for s in steps)
    assert [s.adversary.weight > 0 for s in steps] == [False, True, True]
    assert [s.weights.pseudo_labels > 0 for s in steps] == [False, False, True]
    depth = variant_recipe(full, "without depth")
    assert depth.weights.photometric_target == depth.weights.photometric_source == depth.rendering.depth_weight == 0
    only = variant_recipe(full, "pseudo-labels only")
    assert only.weights.pseudo_labels > 0
    assert only.weights.rendering == only.weights.semantics == only.weights.photometric_target == 0
