from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from ugocc.adaptation.teacher import (
    TeacherSettings,
    batch_statistics,
    decay_at,
    freeze,
    make_teacher,
    reestimate_batchnorm,
    remembering,
    update_teacher,
)
from ugocc.errors import DataError


class Small(nn.Module):
    """Norms of images, of volumes and of camera vectors, dropout, a constant buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.image = nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU())
        self.camera = nn.BatchNorm1d(5)
        self.volume = nn.BatchNorm3d(4)
        self.dropout = nn.Dropout(0.5)
        self.register_buffer("constant", torch.arange(3.0))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        camera = self.camera(torch.ones(2, 5) * x.mean())
        return self.volume(self.dropout(self.image(x))[:, :, None]).mean() + camera.mean()


def buffers(model: nn.Module) -> dict[str, torch.Tensor]:
    return {k: v.clone() for k, v in model.named_buffers()}


def test_decay_warms_up():
    settings = TeacherSettings(decay=0.99)
    values = [decay_at(step, settings) for step in range(2000)]
    assert values[0] == pytest.approx(0.1)
    assert values == sorted(values)
    assert values[-1] == 0.99
    assert decay_at(0, TeacherSettings(decay=0.99, warmup=0)) == 0.99


def test_of_the_start_is_left_what_is_asked_for():
    settings = remembering(TeacherSettings(start=0.3), 20)
    student = Small()
    teacher = make_teacher(student)
    with torch.no_grad():
        for value in teacher.parameters():
            value.fill_(1.0)
        for value in student.parameters():
            value.zero_()
    for step in range(20):
        update_teacher(teacher, student, step, settings)
    for value in teacher.parameters():
        torch.testing.assert_close(value, torch.full_like(value, 0.3))
    plain = TeacherSettings()
    assert remembering(plain, 20) == plain
    assert remembering(settings, 0) == settings
    with pytest.raises(DataError, match="share from 0"):
        TeacherSettings(start=1.0)


def test_teacher_is_a_frozen_copy():
    student = Small()
    teacher = make_teacher(student)
    assert not teacher.training
    assert not any(p.requires_grad for p in teacher.parameters())
    assert all(p.requires_grad for p in student.parameters())
    assert student.training
    with torch.no_grad():
        student.image[1].weight.add_(1)
    assert not torch.equal(student.image[1].weight, teacher.image[1].weight)


@pytest.mark.parametrize("policy", ["keep", "average", "copy"])
def test_update_by_hand(policy):
    torch.manual_seed(0)
    student = Small()
    teacher = make_teacher(student)
    for p in student.parameters():
        p.data.normal_()
    student(torch.randn(4, 3, 8, 8) * 3 + 1)  # moves the student's statistics
    before = {k: v.clone() for k, v in teacher.state_dict().items()}
    update_teacher(teacher, student, step=5, settings=TeacherSettings(statistics=policy))
    decay = 6 / 15
    own = ("image.0", "image.2", "volume")
    for name, value in teacher.state_dict().items():
        given = student.state_dict()[name]
        is_statistics = name.startswith(own) and ("running" in name or "num_batches" in name)
        if is_statistics and policy == "keep":
            expected = before[name]
        elif (is_statistics and policy == "copy") or not value.is_floating_point():
            expected = given
        else:
            expected = decay * before[name] + (1 - decay) * given
        torch.testing.assert_close(value, expected)
    assert not torch.equal(before["image.0.running_mean"], student.image[0].running_mean)


def test_many_updates_reach_the_student():
    student = nn.Linear(3, 2)
    teacher = make_teacher(student)
    student.weight.data.add_(1)
    for step in range(400):
        update_teacher(teacher, student, step, TeacherSettings(decay=0.95))
    torch.testing.assert_close(teacher.weight, student.weight, atol=1e-4, rtol=0)


def test_reestimated_statistics_are_those_of_all_images():
    torch.manual_seed(0)
    model = Small()
    model.dropout.train(False)
    batches = [torch.randn(n, 3, 6 + n, 9) * (1 + n) + n for n in (1, 2, 5)]
    state = {k: v.clone() for k, v in model.state_dict().items()}
    modes = [m.training for m in model.modules()]
    assert reestimate_batchnorm(model, batches) == 3
    assert [m.training for m in model.modules()] == modes
    pixels = torch.cat([b.transpose(0, 1).flatten(1) for b in batches], dim=1)
    torch.testing.assert_close(model.image[0].running_mean, pixels.mean(1))
    torch.testing.assert_close(model.image[0].running_var, pixels.var(1))
    changed = {k for k, v in model.state_dict().items() if not torch.equal(v, state[k])}
    assert changed == {f"{layer}.running_{s}" for layer in ("image.0", "image.2", "volume") for s in ("mean", "var")}


def test_reestimation_does_without_dropout_and_is_repeatable():
    torch.manual_seed(0)
    model = Small().train()
    batches = [torch.randn(2, 3, 8, 8) for _ in range(2)]
    reestimate_batchnorm(model, batches)
    first = buffers(model)
    reestimate_batchnorm(model, batches)
    for name, value in model.named_buffers():
        assert torch.equal(value, first[name]), name


def test_reestimation_normalises_deeper_layers_at_evaluation():
    torch.manual_seed(1)
    model = nn.Sequential(nn.Conv2d(1, 4, 1), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4))
    images = torch.randn(8, 1, 8, 8) * 5 + 20
    stale = model.eval()(images)
    reestimate_batchnorm(model, images.split(8))
    out = model.eval()(images)
    assert stale.mean((0, 2, 3)).abs().max() > 1
    torch.testing.assert_close(out.mean((0, 2, 3)), torch.zeros(4), atol=5e-3, rtol=0)
    torch.testing.assert_close(out.var((0, 2, 3)), torch.ones(4), atol=1e-2, rtol=0)


def test_nothing_to_reestimate_from():
    with pytest.raises(DataError, match="batches"):
        reestimate_batchnorm(Small(), [])


def test_modes_are_restored_after_a_failure():
    model = Small()
    with pytest.raises(RuntimeError):
        reestimate_batchnorm(model, [torch.randn(2, 7, 8, 8)])
    assert all(m.training for m in model.modules())
    assert model.image[0].momentum == 0.1
    assert not model.image[0]._forward_pre_hooks


def test_batch_statistics_normalise_and_leave_no_trace():
    torch.manual_seed(0)
    model = freeze(nn.Sequential(nn.BatchNorm2d(3), nn.Dropout(0.5)))
    reference = copy.deepcopy(model)
    x = torch.randn(4, 3, 8, 8) * 3 + 2
    with batch_statistics(model):
        out = model(x)
        assert not model[1].training
    torch.testing.assert_close(out.mean((0, 2, 3)), torch.zeros(3), atol=1e-5, rtol=0)
    for name, value in reference.state_dict().items():
        assert torch.equal(model.state_dict()[name], value), name
    assert torch.equal(model(x), reference(x))
