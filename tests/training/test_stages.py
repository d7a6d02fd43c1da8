from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from ugocc.adaptation.rerender import RerenderSettings
from ugocc.adaptation.rig import rig_of_frame
from ugocc.adaptation.teacher import decay_at
from ugocc.adaptation.transferred import RigTransferSettings, TransferredDataset, check_room
from ugocc.adaptation.views import Evidence
from ugocc.adaptation.voted import read_free
from ugocc.data.batch import Batch
from ugocc.data.dataset import FrameDataset
from ugocc.data.depth_maps import depth_files
from ugocc.data.frame import Frame, FrameSource
from ugocc.data.source import open_fleet
from ugocc.data.synthetic.build import RenderSettings
from ugocc.data.transforms import AugmentSettings
from ugocc.demo import DemoSettings, run_demo
from ugocc.errors import DataError
from ugocc.labels import UNKNOWN
from ugocc.models.assemble import build_model, model_settings
from ugocc.models.depth_net import CameraNorm
from ugocc.training import adapt
from ugocc.training.adapt_settings import AdaptRecipe
from ugocc.training.chain import adapt as adapt_chain
from ugocc.training.chain import source_alone, stage_one, stage_two
from ugocc.training.checkpoint import load_model, read_card, save_model
from ugocc.training.moments import MomentDataset, Pair, PairDataset, join_pairs
from ugocc.training.stages import (
    adapt_recipe,
    best_candidate,
    candidate_steps,
    parse_adapt_recipe,
    pretrain_recipe,
    train_adapt,
)
from ugocc.training.statistics import estimate_statistics, spaced

NAME = "flashocc"


def _recipe(fleets: Path, folder: Path, *words: str) -> AdaptRecipe:
    return parse_adapt_recipe(
        [
            f"--model.name={NAME}",
            "--model.size=debug",
            f"--source.root={fleets / 'six'}",
            f"--target.root={fleets / 'five'}",
            f"--run.folder={folder}",
            "--run.accelerator=cpu",
            "--run.precision=32-true",
            "--run.workers=0",
            f"--run.cache={folder.parent / 'cache'}",
            "--optim.steps=4",
            "--run.checkpoint_every=2",
            "--choice.candidates=2",
            "--choice.frames=2",
            "--earlier.source_steps=2",
            "--earlier.pretrain_steps=2",
            "--voting.rounds=2",
            *words,
        ]
    )


@pytest.fixture(scope="module")
def adapted(tiny_fleets: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return adapt_chain(_recipe(tiny_fleets, tmp_path_factory.mktemp("runs") / "whole"))


def test_one_command_runs_all_three_stages(adapted: Path) -> None:
    run = adapted.parent.parent
    cards = [read_card(run / stage / "model") for stage in ("source-only", "pretrained", "adapted")]
    assert [card["variant"] for card in cards] == ["rig-transfer source-only", "pretrained", "full"]
    assert [card["target_supervision"] for card in cards] == ["none"] * 3
    assert [card["labels_of"] for card in cards] == [["six"]] * 3
    assert cards[2]["steps_with_earlier_stages"] == 2 + 2 + 4
    assert (cards[2]["train_fleet"], cards[2]["target_fleet"]) == ("six", "five")


def test_what_is_switched_off_is_off_in_every_stage(tiny_fleets: Path, tmp_path: Path) -> None:
    recipe = _recipe(tiny_fleets, tmp_path, "--depth_loss.weight=0", "--semantic_loss.weight=0", "--strong_view.zoom=0")
    for stage in (stage_one(recipe, tmp_path), stage_two(recipe, None, tmp_path)):
        assert (stage.depth_loss, stage.semantic_loss) == (recipe.depth_loss, recipe.semantic_loss)
    assert stage.strong_view == recipe.strong_view
    for weight in (0.0, 0.5):
        alone = replace(recipe, weights=replace(recipe.weights, photometric_target=weight))
        assert stage_two(alone, None, tmp_path).weights.photometric_target == weight


@pytest.mark.parametrize(("size", "usual"), [("full", 3e-5), ("laptop", 5e-4)])
def test_pretraining_in_the_chain_has_its_own_rate_and_follows_that_of_the_adaptation(size: str, usual: float) -> None:
    recipe = adapt_recipe("ugocc", size)
    assert stage_two(recipe, None, Path("run")).optim.lr == usual == pretrain_recipe("ugocc", size).optim.lr
    slower = replace(recipe, optim=replace(recipe.optim, lr=recipe.optim.lr / 2))
    assert stage_two(slower, None, Path("run")).optim.lr == usual / 2


def test_several_pairs_a_step_and_several_re_rendered_samples_of_each(tiny_fleets: Path, tmp_path: Path) -> None:
    words = ("--optim.batch_size=2", "--earlier.source_steps=0", "--earlier.pretrain_steps=1", "--optim.steps=1")
    words += ("--weights.photometric_source=1.0", "--rig_transfer.samples=2", "--choice.candidates=1")
    assert read_card(adapt_chain(_recipe(tiny_fleets, tmp_path / "run", *words)))["variant"] == "full"


def test_every_stage_goes_on_with_other_rigs(adapted: Path) -> None:
    run = adapted.parent.parent
    recipes = [read_card(run / stage / "model")["recipe"] for stage in ("source-only", "pretrained", "adapted")]
    assert [r["rig_transfer"]["share"] for r in recipes] == [1.0, 1.0, 1.0]
    assert [r["augment"] for r in recipes[1:]] == [recipes[0]["augment"]] * 2


def test_the_drives_of_the_target_vote_before_the_first_step_and_half_way(adapted: Path, tiny_fleets: Path) -> None:
    votes = sorted((adapted.parent / "voted").iterdir())
    assert [int(vote.name) for vote in votes] == [0, 2]
    tokens = open_fleet(tiny_fleets / "five", "train", "five").tokens
    least = read_card(adapted)["recipe"]["voting"]["free"]
    for vote in votes:
        assert {file.stem for file in vote.glob("*.npz")} == set(tokens)
        assert least <= read_free(vote) <= 1


def test_each_fleet_has_its_own_statistics(adapted: Path) -> None:
    on_target, _ = load_model(adapted)
    on_five, _ = load_model(adapted, "five")
    on_six, _ = load_model(adapted, "six")
    states = [m.state_dict() for m in (on_target, on_five, on_six)]
    assert all(torch.equal(states[0][k], states[1][k]) for k in states[0])
    differ = {k for k in states[0] if not torch.equal(states[0][k], states[2][k])}
    assert differ
    assert all(k.endswith(("running_mean", "running_var")) for k in differ)


def test_camera_vectors_keep_the_statistics_of_both_rigs(adapted: Path) -> None:
    run = adapted.parent.parent
    states = [load_file(run / stage / "model" / "model.safetensors") for stage in ("source-only", "adapted")]
    for name in ("depth_net.camera_norm.running_mean", "depth_net.camera_norm.running_var"):
        assert torch.equal(states[0][name], states[1][name])
    mean, variance = (states[0][f"depth_net.camera_norm.running_{kind}"] for kind in ("mean", "var"))
    assert not torch.equal(mean, torch.zeros_like(mean))
    # Numbers 15 + 3 and 15 + 2 * 4 + 3 are how far ahead and how high the camera is, in camera heights.
    ahead, height = 15 + 3, 15 + 2 * 4 + 3
    assert abs(float(mean[height]) - 1) < 0.05
    assert variance[ahead] > 0.01


def test_a_stopped_adaptation_goes_on_as_if_it_had_not_stopped(
    adapted: Path, tiny_fleets: Path, tmp_path: Path
) -> None:
    start = adapted.parent.parent / "pretrained" / "model"
    recipe = _recipe(tiny_fleets, tmp_path / "stopped", f"--start={start}")

    class Stop(Exception):
        pass

    step = adapt.Adaptation.training_step

    def interrupted(self, pair, batch_idx):  # type: ignore[no-untyped-def]
        if self.global_step == 3:
            raise Stop
        return step(self, pair, batch_idx)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(adapt.Adaptation, "training_step", interrupted)
        with pytest.raises(Stop):
            train_adapt(recipe)
    assert not (tmp_path / "stopped" / "model").exists()
    resumed, whole = (load_file(folder / "model.safetensors") for folder in (train_adapt(recipe), adapted))
    for name, value in whole.items():
        assert torch.equal(value, resumed[name]), name


def test_what_a_start_was_loaded_as_is_trained(adapted: Path, tiny_fleets: Path, tmp_path: Path) -> None:
    """A model comes from its folder in evaluation mode, and Lightning leaves modules in the mode they come in."""
    start = adapted.parent.parent / "pretrained" / "model"
    recipe = _recipe(tiny_fleets, tmp_path / "run", f"--start={start}", "--optim.steps=1")
    step, modes = adapt.Adaptation.training_step, []

    def watched(self, pair, batch_idx):  # type: ignore[no-untyped-def]
        cameras = [m for m in self.model.modules() if isinstance(m, CameraNorm)]
        learning = [m for m in self.model.modules() if m not in cameras]
        modes.append((all(m.training for m in learning), any(m.training for m in cameras), self.teacher.training))
        return step(self, pair, batch_idx)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(adapt.Adaptation, "training_step", watched)
        train_adapt(recipe)
    assert modes == [(True, False, False)]


def test_labels_of_the_target_cannot_change_the_result(tiny_fleets: Path, tmp_path: Path) -> None:
    """Whatever the target's files say of occupancy, lidar and semantics, no byte of it reaches a step."""
    seen: list[Batch] = []
    step = adapt.Adaptation.training_step

    def watched(self, pair, batch_idx):  # type: ignore[no-untyped-def]
        seen.extend([pair.target.now, *(o.batch for o in pair.target.others)])
        return step(self, pair, batch_idx)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(adapt.Adaptation, "training_step", watched)
        train_adapt(_recipe(tiny_fleets, tmp_path / "run", "--earlier.source_steps=0", "--optim.steps=2"))
    labelled = FrameDataset(
        open_fleet(tiny_fleets / "five", "train"), load_model(tmp_path / "run/model")[0].settings.input
    )
    assert (labelled[0].occupancy != UNKNOWN).any(), "the fleet does have labels to be kept out"
    assert len(seen) >= 4
    for batch in seen:
        assert (batch.occupancy == UNKNOWN).all()
        assert (batch.semantics_2d == UNKNOWN).all()
        assert not batch.depth.any()
        assert not batch.camera_visible.any()
        assert not batch.lidar_visible.any()
        assert (batch.fleet == 1).all()  # or the adversary would have one fleet alone


def test_the_seed_decides_everything_from_the_first_weight_on(tiny_fleets: Path, tmp_path: Path) -> None:
    words = ("--earlier.source_steps=0", "--optim.steps=1", "--choice.candidates=1")
    torch.rand(3)  # what ran before must not matter
    first = train_adapt(_recipe(tiny_fleets, tmp_path / "a", *words))
    torch.rand(5)
    again = train_adapt(_recipe(tiny_fleets, tmp_path / "b", *words))
    other = train_adapt(_recipe(tiny_fleets, tmp_path / "c", *words, "--run.seed=1"))
    a, b, c = (load_file(folder / "model.safetensors") for folder in (first, again, other))
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert not torch.equal(a["image_encoder.smooth.weight"], c["image_encoder.smooth.weight"])


def test_a_start_that_knows_the_targets_labels_is_refused(adapted: Path, tiny_fleets: Path, tmp_path: Path) -> None:
    model, _ = load_model(adapted)
    oracle = save_model(tmp_path / "oracle", model, {"train_fleet": "five", "target_supervision": "none"})
    with pytest.raises(DataError, match="no labels of five"):
        train_adapt(_recipe(tiny_fleets, tmp_path / "run", f"--start={oracle}"))
    # However many adaptations ago it was.
    card = {"train_fleet": "six", "labels_of": ["five", "six"], "target_fleet": "van", "target_supervision": "none"}
    later = save_model(tmp_path / "later", model, card)
    with pytest.raises(DataError, match=r"labels_of: found five, six, expected no labels of five"):
        train_adapt(_recipe(tiny_fleets, tmp_path / "run", f"--start={later}"))
    assert not (tmp_path / "run").exists()
    # A folder may be called what it likes.
    card = {"train_fleet": "six", "target_fleet": "van", "target_supervision": "2D maps of /maps/2d_labels"}
    named = save_model(tmp_path / "named", model, card)
    assert train_adapt(_recipe(tiny_fleets, tmp_path / "other", f"--start={named}", "--optim.steps=0"))


def test_a_fleet_goes_by_its_name_and_not_by_its_folders(adapted: Path, tiny_fleets: Path, tmp_path: Path) -> None:
    hidden = tmp_path / "vans"
    hidden.symlink_to(tiny_fleets / "six", target_is_directory=True)
    words = (f"--start={adapted}", f"--target.root={hidden}", "--source.name=other")
    with pytest.raises(DataError, match="no labels of six"):
        train_adapt(_recipe(tiny_fleets, tmp_path / "run", *words))
    assert not (tmp_path / "run").exists()


def test_only_a_start_made_for_the_target_stays_in_the_teacher(
    adapted: Path, tiny_fleets: Path, tmp_path: Path
) -> None:
    words = ("--optim.steps=2", "--choice.candidates=1", "--voting.rounds=0", "--teacher.start=0.25")
    decays = []

    def noted(teacher, student, step, settings):  # type: ignore[no-untyped-def]
        decays.append(decay_at(step, settings))

    model, about = load_model(adapted)
    other = save_model(tmp_path / "other", model, {"train_fleet": "six", "target_fleet": "seven"})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(adapt, "update_teacher", noted)
        train_adapt(_recipe(tiny_fleets, tmp_path / "kept", f"--start={adapted}", *words))
        train_adapt(_recipe(tiny_fleets, tmp_path / "left", f"--start={other}", *words))
    assert about["target_fleet"] == "five"
    assert decays == pytest.approx([0.5, 0.5, 1 / 10, 2 / 11])


def test_a_mistyped_folder_can_be_corrected(tiny_fleets: Path, tmp_path: Path) -> None:
    words = ("--earlier.source_steps=0", "--optim.steps=0")
    for wrong in ("--target.root=typo", "--source.root=typo", "--target.split=val2"):
        with pytest.raises(DataError):
            train_adapt(_recipe(tiny_fleets, tmp_path / "run", *words, wrong))
        assert not (tmp_path / "run" / "recipe.yaml").exists()
    train_adapt(_recipe(tiny_fleets, tmp_path / "run", *words))


def test_a_fleet_is_not_adapted_to_itself(tiny_fleets: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="another name"):
        train_adapt(_recipe(tiny_fleets, tmp_path / "run", f"--target.root={tiny_fleets / 'six'}"))


def test_without_steps_only_the_statistics_change(adapted: Path, tiny_fleets: Path, tmp_path: Path) -> None:
    start = adapted.parent.parent / "source-only" / "model"
    folder = train_adapt(
        _recipe(tiny_fleets, tmp_path / "run", f"--start={start}", "--optim.steps=0", "--target.split=val")
    )
    before, after = load_file(start / "model.safetensors"), load_file(folder / "model.safetensors")
    changed = {k for k in before if not torch.equal(before[k], after[k])}
    assert changed
    assert all("running_" in k for k in changed)


def test_pretraining_teaches_depth_and_not_occupancy(tiny_fleets: Path, tmp_path: Path) -> None:
    recipe = parse_adapt_recipe([f"--model.name={NAME}", "--model.size=debug"], pretrain_recipe)
    loss = recipe.occupancy_loss
    assert not any((loss.focal, loss.cross_entropy, loss.lovasz, loss.semantic_scale, loss.geometric_scale))
    assert recipe.weights.photometric_source
    assert recipe.weights.photometric_target
    assert recipe.depth_loss.weight
    assert not recipe.weights.pseudo_labels
    assert not recipe.adversary.weight
    kept = pretrain_recipe(NAME, "debug", started=True)
    assert kept == replace(recipe, occupancy_loss=adapt_recipe(NAME, "debug").occupancy_loss)
    assert kept.occupancy_loss.cross_entropy


def test_a_start_decides_the_defaults_as_name_and_size_do(adapted: Path) -> None:
    words = [f"--start={adapted}"]
    assert parse_adapt_recipe(words) == replace(adapt_recipe(NAME, "debug"), start=adapted)
    assert parse_adapt_recipe([*words, "--model.size=full"]).optim == adapt_recipe(NAME, "full").optim


def test_full_size_adapts_what_is_before_the_lift_slowly() -> None:
    recipe = adapt_recipe("ugocc", "full")
    assert recipe.optim.trunk == 0.1
    assert stage_one(recipe, Path("run")).optim.trunk == 1.0 == stage_two(recipe, None, Path("run")).optim.trunk
    assert adapt_recipe("ugocc", "laptop").optim.trunk == 1.0


def test_the_teacher_says_nothing_of_pixels_that_do_not_show_the_world(tiny_fleets: Path, tmp_path: Path) -> None:
    recipe = _recipe(tiny_fleets, tmp_path)
    task = adapt.Adaptation(build_model(recipe.model), recipe)
    frames = open_fleet(tiny_fleets / "five", "train", "five")
    target = FrameDataset(frames, recipe.model.input, fleet_id=1, labelled=False)[0]
    assert target.pixel_mask.all()
    rows, columns = (size // 8 for size in target.images.shape[-2:])
    labels = torch.zeros(*target.camera_mask.shape, rows, columns, dtype=torch.uint8)
    evidence = Evidence(labels, torch.zeros(labels.shape))
    assert not task._teacher_pixels(target, evidence, 1.0).any()
    shown = target.pixel_mask.clone()
    shown[:, 0, -3:] = False  # a bonnet
    masked = task._teacher_pixels(replace(target, pixel_mask=shown), evidence, 1.0)
    assert (masked[:, 0, -1] == UNKNOWN).all()
    assert not masked[:, 0, :-1].any()
    assert not masked[:, 1:].any()


def test_every_ingredient_is_among_the_losses(adapted: Path, tiny_fleets: Path, tmp_path: Path) -> None:
    """That each reaches the student: test_adapt_step.py."""
    terms: list[set[str]] = []
    check = adapt.check_finite

    def noted(losses, tokens):  # type: ignore[no-untyped-def]
        terms.append(set(losses))
        return check(losses, tokens)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(adapt, "check_finite", noted)
        words = ("--optim.steps=2", "--weights.photometric_source=1", "--weights.rise=0")
        train_adapt(_recipe(tiny_fleets, tmp_path / "run", f"--start={adapted}", *words))
    expected = {"depth", "pseudo_labels", "render_depth", "photometric_source", "photometric_target", "adversary"}
    assert expected <= set.union(*terms)


def test_fleets_that_look_at_nothing_in_common_are_not_told_apart(
    adapted: Path, tiny_fleets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check, common = adapt.check_finite, adapt.common_ground
    terms: list[set[str]] = []

    def noted(losses, tokens):  # type: ignore[no-untyped-def]
        terms.append(set(losses))
        return check(losses, tokens)

    monkeypatch.setattr(adapt, "check_finite", noted)
    monkeypatch.setattr(adapt, "common_ground", lambda *given: torch.zeros_like(common(*given)))
    train_adapt(_recipe(tiny_fleets, tmp_path / "run", f"--start={adapted}", "--optim.steps=2"))
    assert terms
    assert not any("adversary" in losses for losses in terms)


def test_statistics_are_estimated_where_the_model_is(tiny_fleets: Path) -> None:
    class Model(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.empty(1, device="meta"))

        def forward(self, batch: Batch) -> None:
            seen.append(batch.images.device.type)

    seen: list[str] = []
    data = FrameDataset(open_fleet(tiny_fleets / "five", "train"), model_settings(NAME, "debug").input, labelled=False)
    estimate_statistics(Model(), data, 2)  # type: ignore[arg-type]
    assert seen == ["meta", "meta"]


def test_candidates_and_frames_are_evenly_spaced() -> None:
    assert candidate_steps(10, 5) == [2, 4, 6, 8, 10]
    assert candidate_steps(3, 5) == [1, 2, 3]
    assert candidate_steps(0, 3) == []
    assert spaced(10, 3) == [1, 5, 8]
    assert spaced(3, 100) == [0, 1, 2]


def test_the_last_candidate_unless_clearly_beaten() -> None:
    assert best_candidate([0.5, 0.505, 0.5], margin=0.01) == 2
    assert best_candidate([0.5, 0.52, 0.5], margin=0.01) == 1
    assert best_candidate([0.5, 0.505, 0.5], margin=0.0) == 1
    assert best_candidate([0.3], margin=0.01) == 0


def test_a_re_rendered_sample_beside_the_recorded_one(tiny_fleets: Path, tmp_path: Path) -> None:
    recipe = _recipe(tiny_fleets, tmp_path / "run")
    inputs = recipe.model.input
    source = FrameDataset(open_fleet(tiny_fleets / "six", "train", "six"), inputs)
    target = FrameDataset(open_fleet(tiny_fleets / "five", "train", "five"), inputs, fleet_id=1, labelled=False)
    rigs = [rig_of_frame(target.frame(0), inputs.height, inputs.width)]
    other = MomentDataset(target, ())

    def sources(settings: RigTransferSettings) -> list[list[int]]:
        pairs = PairDataset(TransferredDataset(source, rigs, settings), other, MomentDataset(source, ()))
        joined = join_pairs([pairs[(0, visit), (0, 0)] for visit in range(4)])
        return [[len(sample[sample.nonzero()[:, 0]]) for sample in m.now.camera_mask] for m in joined.sources]

    assert sources(RigTransferSettings(share=1.0, beside=True)) == [[6] * 4, [5] * 4]
    assert sources(RigTransferSettings(share=1.0)) == [[5] * 4]
    assert sources(RigTransferSettings(share=0.0, beside=True)) == [[6] * 4]
    (mixed,) = sources(RigTransferSettings(share=0.5))
    assert set(mixed) == {5, 6}
    recorded, transferred = sources(RigTransferSettings(share=0.5, beside=True))
    assert len(recorded) == 4
    assert len(transferred) == mixed.count(5)
    assert sources(RigTransferSettings(share=1.0, beside=True, samples=2)) == [[6] * 4, [5] * 8]


def test_several_re_rendered_samples_of_a_visit_are_different_ones(tiny_fleets: Path, tmp_path: Path) -> None:
    inputs = _recipe(tiny_fleets, tmp_path / "run").model.input
    turning = AugmentSettings(bev_turn=20.0)
    source = FrameDataset(open_fleet(tiny_fleets / "six", "train", "six"), inputs, turning, cache=tmp_path / "cache")
    rigs = [rig_of_frame(open_fleet(tiny_fleets / "five", "train", "five")[0], inputs.height, inputs.width)]
    data = TransferredDataset(source, rigs, RigTransferSettings(share=1.0, beside=True, samples=2))
    chosen = [data.chosen_versions((0, visit)) for visit in range(20)]
    assert {number for numbers in chosen for number in numbers} == {0, 1, 2}
    assert all(len(set(numbers)) == 2 for numbers in chosen)
    both = data[0, 3]
    first, second = both.pick(0), both.pick(1)
    assert not torch.equal(first.bev_T_ego, second.bev_T_ego)
    assert list(data.fill([(0, 3)], 0)) == [0]
    assert len([file for file in (tmp_path / "cache").rglob("*.safetensors") if file.parent.name == "transferred"]) == 2
    with pytest.raises(DataError, match=r"samples.*1 to 3, the versions"):
        RigTransferSettings(samples=4)


def test_processes_share_what_is_to_be_re_rendered(tiny_fleets: Path) -> None:
    inputs = model_settings(NAME, "debug").input
    frames = open_fleet(tiny_fleets / "six", "train", "six")
    rigs = [rig_of_frame(open_fleet(tiny_fleets / "five", "train", "five")[0], inputs.height, inputs.width)]
    data = TransferredDataset(FrameDataset(frames, inputs), rigs, RigTransferSettings(share=1.0))
    visits = [(index, 0) for index in (2, 0, 1)]
    shares = [list(data.fill(visits, 0, (part, 2))) for part in range(2)]
    assert [*shares[0], *shares[1]] == list(data.fill(visits, 0)) == [0, 1, 2]
    assert all(shares)


def test_room_is_wanted_for_what_all_processes_re_render(
    tiny_fleets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs = model_settings(NAME, "debug").input
    frames = open_fleet(tiny_fleets / "six", "train", "six")
    rigs = [rig_of_frame(open_fleet(tiny_fleets / "five", "train", "five")[0], inputs.height, inputs.width)]
    source = FrameDataset(frames, inputs, cache=tmp_path / "cache")
    data = TransferredDataset(source, rigs, RigTransferSettings(share=1.0))
    wanted = []
    monkeypatch.setattr("ugocc.adaptation.transferred.check_room", lambda folder, missing: wanted.append(missing))
    visits = [(index, 0) for index in range(3)]
    for part in range(2):
        data.fill(visits, 0, (part, 2))
    assert wanted == [2, 2]  # the first is made to know how large they are
    # What other trainings have put there does not count as made.
    for number in range(9):
        (tmp_path / "cache" / f"{number}.safetensors").write_bytes(b"x")
        (next((tmp_path / "cache").glob("*/transferred")) / f"{number}.safetensors").write_bytes(b"x")
    data.fill(visits, 0)
    assert wanted[2:] == [2]
    list(data.fill(visits, 0))
    data.fill(visits, 0)
    assert wanted[3:] == [2, 0]


def test_frames_without_lidar_are_not_re_rendered(tiny_fleets: Path, tmp_path: Path) -> None:
    inputs = _recipe(tiny_fleets, tmp_path / "run").model.input
    frames = open_fleet(tiny_fleets / "six", "train", "six")
    rigs = [rig_of_frame(open_fleet(tiny_fleets / "five", "train", "five")[0], inputs.height, inputs.width)]
    settings = RigTransferSettings(share=1.0)
    some = FrameDataset(_Blind(frames, {0}), inputs)
    data = TransferredDataset(some, rigs, settings)
    assert [bool(data.chosen_versions((index, 0))) for index in (0, 1)] == [False, True]
    assert torch.equal(data[0, 0].images, some[0, 0].images)
    with pytest.raises(DataError, match=r"lidar: found none in any frame.*rig_transfer\.share 0"):
        TransferredDataset(FrameDataset(_Blind(frames, set(range(len(frames)))), inputs), rigs, settings)


class _Blind:
    """Frames of which some have no lidar."""

    def __init__(self, frames: FrameSource, blind: set[int]) -> None:
        self.fleet, self.tokens, self._frames, self._blind = frames.fleet, frames.tokens, frames, blind

    def __len__(self) -> int:
        return len(self._frames)

    def __iter__(self) -> Iterator[Frame]:
        return (self[index] for index in range(len(self)))

    def __getitem__(self, index: int) -> Frame:
        frame = self._frames[index]
        return replace(frame, lidar=None) if index in self._blind else frame


def test_re_rendered_frames_that_the_disk_has_no_room_for_are_not_begun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(4):
        (tmp_path / f"{number}.safetensors").write_bytes(b"x" * 2**20)
    free = 10 * 2**20
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=free))
    check_room(tmp_path, 10)
    with pytest.raises(DataError, match=r"run.cache.*0\.0 GiB free.*GiB for 11 re-rendered frames.*null keeps none"):
        check_room(tmp_path, 11)


def test_recorded_samples_have_changes_of_their_own_beside_re_rendered_ones(
    tiny_fleets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = _recipe(tiny_fleets, tmp_path / "run", "--optim.steps=1", "--earlier.source_steps=0")
    beside = replace(recipe.rig_transfer, share=1.0, beside=True)
    still = AugmentSettings(bev_flip_x=0.0, bev_flip_y=0.0)
    moved = replace(recipe, augment=replace(still, bev_turn=20.0))
    seen: list[Pair] = []
    step = adapt.Adaptation.training_step
    monkeypatch.setattr(adapt.Adaptation, "training_step", lambda *a: (seen.append(a[1]), step(*a))[1])
    for number, (recorded, rig_transfer) in enumerate(
        [(None, beside), (still, beside), (still, replace(beside, share=0.0))]
    ):
        run = replace(recipe.run, folder=tmp_path / str(number))
        train_adapt(replace(moved, recorded=recorded, rig_transfer=rig_transfer, run=run))
    stay = [[torch.equal(moments.now.bev_T_ego[0], torch.eye(4)) for moments in pair.sources] for pair in seen]
    assert stay == [[False, False], [True, False], [False]]


def test_volumes_of_re_rendered_samples_are_mirrored_and_those_of_recorded_ones_are_not(
    tiny_fleets: Path, tmp_path: Path
) -> None:
    inputs = _recipe(tiny_fleets, tmp_path / "run").model.input
    still = AugmentSettings(scale=(0.0, 0.0), rotation_degrees=0.0, flip=0.0, bev_flip_x=0.0, bev_flip_y=0.0)
    source = FrameDataset(open_fleet(tiny_fleets / "six", "train", "six"), inputs, still)
    rigs = [rig_of_frame(open_fleet(tiny_fleets / "five", "train", "five")[0], inputs.height, inputs.width)]

    def signs(data: TransferredDataset | FrameDataset) -> set[tuple[float, ...]]:
        return {tuple(data[0, visit].bev_T_ego[0].diagonal()[:2].tolist()) for visit in range(12)}

    settings = RigTransferSettings(share=1.0, target=1, turned=0, random=0)
    assert signs(TransferredDataset(source, rigs, settings)) == {(1, 1)}
    every_way = {(1, 1), (1, -1), (-1, 1), (-1, -1)}
    assert signs(TransferredDataset(source, rigs, replace(settings, bev_flip=0.5))) == every_way
    assert signs(source) == {(1, 1)}


def test_a_network_without_depth_is_refused_before_anything_is_trained(tiny_fleets: Path, tmp_path: Path) -> None:
    recipe = _recipe(tiny_fleets, tmp_path / "run", "--model.name=bevformer-occ")
    with pytest.raises(DataError, match=r"bevformer-occ.*predicts depth.*flashocc"):
        adapt_chain(recipe)
    assert not (tmp_path / "run").exists()
    settings = DemoSettings(tmp_path / "demo", RenderSettings(tmp_path / "fleets"), model="bevformer-occ")
    with pytest.raises(DataError, match="predicts depth"):
        run_demo(settings)
    assert not (tmp_path / "fleets").exists()


def test_the_strong_baseline_of_a_network_without_depth(tiny_fleets: Path, tmp_path: Path) -> None:
    recipe = _recipe(tiny_fleets, tmp_path / "run", "--model.name=bevformer-occ", "--rig_transfer.share=0")
    model = train_adapt(source_alone(recipe, tmp_path / "strong"))
    assert read_card(model)["variant"] == "strong source-only"


def test_frames_look_back_by_metres_driven(tiny_fleets: Path, tmp_path: Path) -> None:
    inputs = _recipe(tiny_fleets, tmp_path / "run").model.input
    frames = open_fleet(tiny_fleets / "five", "train", "five")
    source = FrameDataset(frames, inputs, cache=tmp_path / "cache")
    rigs = [rig_of_frame(open_fleet(tiny_fleets / "six", "train", "six")[0], inputs.height, inputs.width)]
    places = [frame.world_T_ego[:2, 3] for frame in frames]
    last = max(i for i in range(len(frames)) if frames[i].previous is not None)
    step = float(np.linalg.norm(places[last] - places[last - 1]))
    settings = RigTransferSettings(turned=0, random=0, rerender=RerenderSettings(look_back=(0.5 * step, 1e6)))
    data = TransferredDataset(source, rigs, settings)
    assert data.look_back(last) == [last - 1]  # nobody drove that far
    first = next(i for i in range(len(frames)) if frames[i].previous is None)
    assert data.look_back(first) == []
    filled = data.versions(last, [0])[0]
    alone_settings = replace(settings, rerender=RerenderSettings(look_back=()))
    alone = TransferredDataset(source, rigs, alone_settings).versions(last, [0])[0]
    shown = [np.mean([camera.visible.mean() for camera in p.cameras]) for p in (alone, filled)]
    assert shown[1] > shown[0] + 0.05
    kept = TransferredDataset(source, rigs, settings).versions(last, [0])[0]
    for a, b in zip(filled.cameras, kept.cameras, strict=True):
        assert (a.image == b.image).all()


def test_frames_are_re_rendered_from_dense_depth_where_it_is_given(tiny_fleets: Path, tmp_path: Path) -> None:
    inputs = _recipe(tiny_fleets, tmp_path / "run").model.input
    frames = open_fleet(tiny_fleets / "six", "train", "six")
    source = FrameDataset(frames, inputs, cache=tmp_path / "cache")
    rigs = [rig_of_frame(open_fleet(tiny_fleets / "five", "train", "five")[0], inputs.height, inputs.width)]
    maps = tmp_path / "depth"
    with pytest.raises(DataError, match="depth map of every picture of six"):
        TransferredDataset(source, rigs, RigTransferSettings(depth_maps=maps))
    for frame in frames:
        for camera, path in zip(frame.cameras, depth_files(maps, frame), strict=True):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.symlink_to(tiny_fleets / "six" / "depth" / camera.name / f"{Path(camera.source).stem}.png")
    completed = TransferredDataset(source, rigs, RigTransferSettings()).versions(0, [0])[0]
    dense = TransferredDataset(source, rigs, RigTransferSettings(depth_maps=maps)).versions(0, [0])[0]
    differences = [(a.image != b.image).mean() for a, b in zip(completed.cameras, dense.cameras, strict=True)]
    assert 0 < max(differences) < 1
    for a, b in zip(completed.cameras, dense.cameras, strict=True):
        assert (a.ego_T_camera == b.ego_T_camera).all()
