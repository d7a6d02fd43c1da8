"""All pieces around a real (tiny) network: one step of adaptation on a batch of two rigs."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from ugocc.adaptation.pseudo_labels import PseudoLabelSettings, pseudo_labels, selection_report
from ugocc.adaptation.rendering import RenderSettings, draw_rays, render_loss
from ugocc.adaptation.reversal import AdversarySettings, DomainClassifier, domain_loss
from ugocc.adaptation.selection import SelectionSettings, pseudo_label_loss
from ugocc.adaptation.teacher import TeacherSettings, make_teacher, reestimate_batchnorm, update_teacher
from ugocc.adaptation.views import Evidence, EvidenceSettings, evidence_of, views_of
from ugocc.data.batch import Batch, collate
from ugocc.geometry.rigid import BODY_T_OPTICAL, yaw_matrix
from ugocc.losses.photometric import PhotometricSettings
from ugocc.losses.references import OtherTime, ReferenceSettings, prediction_photometric_loss, references_of
from ugocc.losses.semantics import SemanticLossSettings, semantic_loss
from ugocc.models.assemble import OccupancyModel, build_model, model_settings

SETTINGS = model_settings("flashocc", "debug")
GRID = SETTINGS.input.grid


def make_sample(cameras: int, fleet: int, forward: float = 0.0, seed: int = 0) -> Batch:
    """One sample of a ring of cameras with smooth random pictures."""
    random = torch.Generator().manual_seed(seed)
    height, width = SETTINGS.input.height, SETTINGS.input.width
    yaws = 2 * np.pi * np.arange(cameras) / cameras
    poses = np.stack([yaw_matrix(yaw, (np.cos(yaw), np.sin(yaw), 1.5 + 0.3 * fleet)) @ BODY_T_OPTICAL for yaw in yaws])
    k = torch.tensor([[80.0 + 20 * fleet, 0, (width - 1) / 2], [0, 80.0, (height - 1) / 2], [0, 0, 1]])
    coarse = torch.rand(cameras, 3, height // 8, width // 8, generator=random)
    images = torch.nn.functional.interpolate(coarse, size=(height, width), mode="bilinear")
    voxels = (1, *GRID.shape)
    return Batch(
        images=images[None],
        camera_mask=torch.ones(1, cameras, dtype=torch.bool),
        intrinsics=k.expand(1, cameras, 3, 3).clone(),
        image_affine=torch.eye(3).expand(1, cameras, 3, 3).clone(),
        ego_T_camera=torch.from_numpy(poses).float()[None],
        bev_T_ego=torch.eye(4)[None],
        world_T_ego=torch.from_numpy(yaw_matrix(0.1, (500.0 + forward, 20.0, 0.0)))[None],
        depth=torch.zeros(1, cameras, height, width),
        semantics_2d=torch.randint(0, 10, (1, cameras, height, width), generator=random).to(torch.uint8),
        pixel_mask=torch.ones(1, cameras, height, width, dtype=torch.bool),
        occupancy=torch.randint(0, 10, voxels, generator=random).to(torch.uint8),
        camera_visible=torch.ones(voxels, dtype=torch.bool),
        lidar_visible=torch.ones(voxels, dtype=torch.bool),
        fleet=torch.tensor([fleet]),
        tokens=(f"{fleet}-{seed}",),
    )


@pytest.fixture(scope="module")
def batch() -> Batch:
    return collate([make_sample(6, 0, seed=1), make_sample(5, 1, seed=2)])


@pytest.fixture
def model() -> OccupancyModel:
    torch.manual_seed(0)
    return build_model(SETTINGS).train()


def reaches(model: OccupancyModel, loss: Tensor) -> set[str]:
    """Parts of the network that a loss moves."""
    model.zero_grad()
    loss.backward()
    moved = {n.split(".")[0] for n, p in model.named_parameters() if p.grad is not None and p.grad.abs().max() > 0}
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)
    return moved


def test_pseudo_labels_reach_the_whole_network(model, batch):
    prediction = model(batch)
    settings = PseudoLabelSettings(SelectionSettings(adapt="share", floor=0.0, spatial_floor=0.0))
    # A random network believes in few classes; give its teacher opinions.
    opinions = 6 * torch.randn(prediction.occupancy.shape, generator=torch.Generator().manual_seed(0))
    found = pseudo_labels(opinions, views_of(batch), None, GRID, settings)
    assert (found.weights > 0).flatten(1).any(dim=1).all()
    report = selection_report(found.labels, found.weights, batch.occupancy, batch.camera_visible)
    assert 0 < report.coverage < 1
    loss = pseudo_label_loss(prediction.occupancy, found.labels, found.weights)
    assert loss > 0
    assert {"image_encoder", "depth_net", "branch"} <= reaches(model, loss)


@pytest.mark.parametrize("term", ["render_semantics", "render_depth"])
def test_rendering_reaches_the_whole_network(model, batch, term):
    prediction = model(batch)
    shape = prediction.depth_logits[:, :, 0].shape
    random = torch.Generator().manual_seed(0)
    evidence = Evidence(
        torch.randint(0, 9, shape, generator=random).to(torch.uint8), 3 + 15 * torch.rand(shape, generator=random)
    )
    rays, targets = draw_rays(views_of(batch), evidence, 16, random)
    assert (targets.depth[1, 5 * 16 :] == 0).all()  # the sixth camera of the five-camera rig
    terms = render_loss(prediction.occupancy, rays, targets, GRID, RenderSettings(depth_slack=0.0))
    assert terms[term] > 0
    assert {"image_encoder", "depth_net", "branch"} <= reaches(model, terms[term])


def test_the_adversary_reaches_the_lifted_features(model, batch):
    prediction = model(batch)
    classifier = DomainClassifier(prediction.bev.shape[1], AdversarySettings())
    moved = reaches(model, domain_loss(classifier, prediction.bev, batch.fleet, 1.0).loss)
    assert {"image_encoder", "depth_net"} <= moved
    assert "branch" not in moved


def test_photometry_reaches_the_depth_net(model, batch):
    others = [
        OtherTime(
            collate([make_sample(6, 0, step, seed=1), make_sample(5, 1, step, seed=2)]), torch.tensor([True, True])
        )
        for step in (-0.5, 0.5)
    ]
    references = references_of(batch, others, ReferenceSettings())
    prediction = model(batch)
    depth = prediction.expected_depth()
    found = prediction_photometric_loss(depth, batch, references, PhotometricSettings(auto_mask=False))
    assert found.counted.shape[0] == 11
    moved = reaches(model, found.loss)
    assert {"image_encoder", "depth_net"} <= moved
    assert "branch" not in moved


def test_semantics_and_evidence_of_a_prediction(model, batch):
    prediction = model(batch)
    cells = prediction.depth_logits.shape[-2:]
    logits = torch.randn(*batch.camera_mask.shape, 10, *cells, requires_grad=True)
    semantic_loss(logits, batch.semantics_2d, SemanticLossSettings()).backward()
    assert (logits.grad[1, 5] == 0).all()  # padding is unknown
    assert (logits.grad[1, 4] != 0).any()
    found = evidence_of(logits, prediction.depth_logits, prediction.bin_depths, EvidenceSettings())
    assert found.depth.shape == found.labels.shape == (2, 6, *cells)
    assert not found.depth.requires_grad


def test_a_teacher_lives_through_steps(model, batch):
    teacher = make_teacher(model)
    target = make_sample(5, 1, seed=3)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-2)
    for step in range(2):
        prediction = model(batch)
        loss = prediction.occupancy.square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        update_teacher(teacher, model, step, TeacherSettings())
    before = teacher(target).occupancy
    camera_norm = teacher.depth_net.camera_norm.running_mean.clone()
    reestimate_batchnorm(teacher, [target])
    after = teacher(target).occupancy
    assert not torch.allclose(before, after)
    assert torch.equal(teacher.depth_net.camera_norm.running_mean, camera_norm)
    assert torch.equal(teacher(target).occupancy, after)  # evaluating twice is the same
    assert not after.requires_grad
