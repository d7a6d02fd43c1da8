"""What one step of adaptation is made of: who sees what, what counts, and what reaches the student."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from ugocc.adaptation.views import views_of
from ugocc.adaptation.visibility import voxels_in_pictures
from ugocc.data.batch import Batch
from ugocc.errors import DataError
from ugocc.labels import UNKNOWN
from ugocc.losses.references import OtherTime
from ugocc.models.assemble import build_model
from ugocc.models.example import example_batch, unlabelled
from ugocc.training import adapt, fit, stages, votes
from ugocc.training.adapt_settings import ChoiceSettings
from ugocc.training.checkpoint import load_tensors, save_weights
from ugocc.training.moments import Moments, Pair
from ugocc.training.stages import KeepCandidates, adapt_recipe
from ugocc.training.votes import VoteAgain


@pytest.fixture
def task(monkeypatch: pytest.MonkeyPatch) -> adapt.Adaptation:
    torch.manual_seed(0)
    recipe = adapt_recipe("ugocc", "debug")
    recipe = replace(recipe, weights=replace(recipe.weights, rise=0.0, photometric_source=0.0, photometric_target=0.0))
    made = adapt.Adaptation(build_model(recipe.model), recipe).train()
    made.log = made.log_dict = lambda *_, **__: None
    shape = (1, 10, *recipe.model.input.grid.shape)
    made.voted = Path("voted")
    votes_ = torch.randn(shape, generator=torch.Generator().manual_seed(0)).softmax(1)
    monkeypatch.setattr(adapt, "read_voted", lambda *_: votes_)
    monkeypatch.setattr(adapt, "reversal_strength", lambda *_: 1.0)
    return made


@pytest.fixture
def pair(task: adapt.Adaptation) -> Pair:
    inputs = task.model.settings.input
    return Pair((Moments(example_batch(inputs, 3), ()),), Moments(unlabelled(example_batch(inputs, 4, seed=1)), ()))


def test_a_labelled_target_is_refused_by_the_step_itself(task: adapt.Adaptation, pair: Pair) -> None:
    labelled = example_batch(task.model.settings.input, 4, seed=1)
    for name in ("occupancy", "depth"):
        wrong = replace(pair.target.now, **{name: getattr(labelled, name)})
        with pytest.raises(DataError, match=name):
            task.training_step(Pair(pair.sources, Moments(wrong, ())), 0)
        before = OtherTime(wrong, torch.tensor([True]))
        with pytest.raises(DataError, match=name):
            task.training_step(Pair(pair.sources, pair.target._replace(others=(before,))), 0)


@pytest.mark.parametrize("term", ["adversary", "pseudo_labels", "target_semantics", "render_semantics", "render_depth"])
def test_every_term_alone_reaches_the_student(
    task: adapt.Adaptation, pair: Pair, term: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    evidence = adapt.evidence_of
    everything = replace(task.recipe.evidence, semantic_confidence=0.0, depth_confidence=0.0)
    monkeypatch.setattr(adapt, "evidence_of", lambda s, d, b, _: evidence(s, d, b, everything))
    task.recipe = replace(task.recipe, rendering=replace(task.recipe.rendering, depth_slack=0.0, least_hit=0.0))
    monkeypatch.setattr(adapt, "check_finite", lambda terms, tokens: terms[term])
    task.training_step(pair, 0).backward()
    assert any(p.grad is not None and p.grad.any() for p in task.model.depth_net.parameters())
    assert not any(p.grad is not None for p in task.teacher.parameters())


def test_the_teacher_sees_the_clean_sample_and_the_student_a_harder_one(
    task: adapt.Adaptation, pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, list[Batch]] = {"teacher": [], "model": []}
    for name, batches in seen.items():
        getattr(task, name).register_forward_pre_hook(lambda _, given, to=batches: to.append(given[0]))
    monkeypatch.setattr(
        adapt, "drop_cameras", lambda b, *_: replace(b, camera_mask=b.camera_mask & (torch.arange(4) < 3))
    )
    task.training_step(pair, 0)
    (taught,), student = seen["teacher"], seen["model"][-1]
    for name in ("images", "camera_mask", "image_affine", "ego_T_camera"):
        assert torch.equal(getattr(taught, name), getattr(pair.target.now, name)), name
        assert not torch.equal(getattr(student, name), getattr(pair.target.now, name)), name


def test_what_only_a_dropped_camera_saw_is_not_asked(
    task: adapt.Adaptation, pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dropped(batch: Batch, *_: object) -> Batch:
        return replace(batch, camera_mask=batch.camera_mask & (torch.arange(4) < 1))

    asked = []
    loss = adapt.voted_loss
    monkeypatch.setattr(adapt, "drop_cameras", dropped)
    monkeypatch.setattr(adapt, "voted_loss", lambda o, v, w: (asked.append(w), loss(o, v, w))[1])
    task.recipe = replace(task.recipe, strong_view=replace(task.recipe.strong_view, zoom=0.0))
    task.training_step(pair, 0)
    seen = voxels_in_pictures(views_of(dropped(pair.target.now)), task.model.settings.input.grid)
    assert torch.equal(asked[0] > 0, seen)
    assert seen.any()
    assert not seen.all()


def test_the_teacher_is_what_is_kept(task: adapt.Adaptation, tmp_path: Path) -> None:
    with torch.no_grad():
        next(task.model.parameters()).add_(1)
    trainer = SimpleNamespace(global_step=2, max_steps=4, is_global_zero=True)
    KeepCandidates(tmp_path, 2).on_train_batch_end(trainer, task, None, None, 0)
    kept = load_tensors(tmp_path / "0000002.safetensors")
    assert all(torch.equal(kept[k], v) for k, v in task.teacher.state_dict().items())


@pytest.mark.parametrize(("scores", "best"), [((0.9, 0.5), 0), ((0.5, 0.9), 1), ((0.505, 0.5), 1)])
def test_the_chosen_candidate_is_the_model(
    scores: tuple[float, float], best: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = [torch.nn.Linear(1, 1) for _ in scores]
    for number, each in enumerate(models):
        save_weights(tmp_path / "candidates" / f"{number + 1:07d}.safetensors", each)
    asked: list[str] = []
    found = iter(scores)

    def score(*_: object) -> SimpleNamespace:
        asked.append("score")
        return SimpleNamespace(combined=next(found), numbers=dict)

    monkeypatch.setattr(stages, "estimate_statistics", lambda *_: asked.append("statistics"))
    monkeypatch.setattr(stages, "label_free_scores", score)
    recipe = SimpleNamespace(run=SimpleNamespace(folder=tmp_path), choice=ChoiceSettings(margin=0.01))
    model = torch.nn.Linear(1, 1)
    report = stages.choose(model, recipe, [0, 1])  # type: ignore[arg-type]
    assert asked == ["statistics", "score"] * 2
    assert report["step"] == best + 1
    assert torch.equal(model.weight, models[best].weight)


def test_a_run_that_goes_on_between_two_votes_reads_the_last_one(tmp_path: Path) -> None:
    votes.write_free(_made(tmp_path / "0000000"), 0.5)
    again = VoteAgain(tmp_path, None, votes.VotingSettings(rounds=1), None, 1)  # type: ignore[arg-type]
    task = SimpleNamespace(voted=None, free=1.0)
    trainer = SimpleNamespace(
        global_step=3, max_steps=4, strategy=SimpleNamespace(barrier=lambda: None), is_global_zero=True, global_rank=0
    )
    again.on_train_batch_start(trainer, task, None, 0)  # type: ignore[arg-type]
    assert (task.voted, task.free) == (tmp_path / "0000000", 0.5)


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def test_gradients_are_clipped_as_the_recipe_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Stop(Exception):
        pass

    def trainer(**given: object) -> None:
        told.update(given)
        raise Stop

    told: dict[str, object] = {}
    monkeypatch.setattr(fit, "Trainer", trainer)
    run = fit.RunSettings(tmp_path, accelerator="cpu").settled()
    with pytest.raises(Stop):
        fit.fit(None, None, None, fit.OptimSettings(steps=7, clip_norm=1.25), run, "")  # type: ignore[arg-type]
    assert (told["gradient_clip_val"], told["max_steps"]) == (1.25, 7)


def test_the_teacher_follows_the_student_and_not_the_other_way_round(
    task: adapt.Adaptation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adapt.LightningModule, "optimizer_step", lambda *_, **__: None)
    student, teacher = (next(network.parameters()) for network in (task.model, task.teacher))
    with torch.no_grad():
        student.add_(1)
    before = student.clone(), teacher.clone()
    task.optimizer_step()
    assert torch.equal(student, before[0])
    assert not torch.equal(teacher, before[1])


def test_losses_of_recorded_and_re_rendered_samples_are_averaged(
    task: adapt.Adaptation, pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[dict[str, torch.Tensor]] = []
    of_each = iter([2.0, 4.0])
    monkeypatch.setattr(task, "_source_losses", lambda *_: {"focal": torch.tensor(next(of_each))})
    monkeypatch.setattr(adapt, "check_finite", lambda terms, _: (found.append(terms), terms["focal"])[1])
    task.training_step(Pair(pair.sources * 2, pair.target), 0)
    assert float(found[0]["focal"]) == 3.0


def test_what_is_seen_of_voted_volumes_labels_the_pictures_where_it_is_sure(
    task: adapt.Adaptation, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = torch.tensor([[[[1, 2, UNKNOWN, UNKNOWN]]]], dtype=torch.uint8)
    seen = torch.tensor([[[[3, UNKNOWN, 4, UNKNOWN]]]], dtype=torch.uint8)
    monkeypatch.setattr(adapt, "seen_labels", lambda *_: seen)
    found = task._with_voted_labels(adapt.Evidence(own, torch.zeros(1, 1, 1, 4)), None, None)  # type: ignore[arg-type]
    assert found.labels.flatten().tolist() == [3, 2, 4, UNKNOWN]
