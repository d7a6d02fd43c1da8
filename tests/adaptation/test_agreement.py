from __future__ import annotations

import numpy as np
import pytest
import torch

from ugocc.adaptation.agreement import AgreementSettings, contradictions
from ugocc.adaptation.views import Evidence, EvidenceSettings, Views, evidence_of
from ugocc.adaptation.visibility import in_pictures
from ugocc.geometry.grid import VoxelGrid
from ugocc.geometry.rigid import BODY_T_OPTICAL, inverse, transform, yaw_matrix
from ugocc.labels import BUILDING, DRIVABLE, FREE, UNKNOWN, VEHICLE

GRID = VoxelGrid((0.0, -8.0, -1.0), (20, 20, 5), 0.8)
HEIGHT, WIDTH, ROWS, COLUMNS = 32, 64, 8, 16


@pytest.fixture
def views() -> Views:
    """Two cameras that look ahead from x = -2 m, side by side."""
    k = torch.tensor([[40.0, 0, 31.5], [0, 40.0, 15.5], [0, 0, 1]])
    poses = [yaw_matrix(0.0, (-2.0, y, 1.0)) @ BODY_T_OPTICAL for y in (0.1, 0.9)]
    return Views(
        torch.ones(1, 2, dtype=torch.bool),
        k.expand(1, 2, 3, 3),
        torch.from_numpy(np.stack(poses)).float()[None],
        torch.ones(1, 2, HEIGHT, WIDTH, dtype=torch.bool),
    )


def silent() -> Evidence:
    return Evidence(torch.full((1, 2, ROWS, COLUMNS), UNKNOWN, dtype=torch.uint8), torch.zeros(1, 2, ROWS, COLUMNS))


def one_voxel(views: Views, voxel: tuple[int, int, int], label: int):
    labels = torch.full((1, *GRID.shape), FREE, dtype=torch.uint8)
    labels[(0, *voxel)] = label
    candidates = torch.zeros(1, *GRID.shape, dtype=torch.bool)
    candidates[(0, *voxel)] = True
    return labels, in_pictures(views, GRID, candidates)


def verdict(views: Views, evidence: Evidence, voxel: tuple[int, int, int], label: int) -> list[bool]:
    labels, sightings = one_voxel(views, voxel, label)
    assert sightings.camera.tolist() == [0, 1]
    return contradictions(labels, sightings, views, evidence, GRID, AgreementSettings()).tolist()


VOXEL = (10, 10, 2)  # x = 8.4 m, 10.4 m from the cameras


def test_silence_contradicts_nothing(views):
    for label in (VEHICLE, FREE):
        assert verdict(views, silent(), VOXEL, label) == [False, False]


def test_another_class_contradicts(views):
    evidence = silent()
    evidence.labels[0, 0] = BUILDING
    assert verdict(views, evidence, VOXEL, VEHICLE) == [True, False]
    assert verdict(views, evidence, VOXEL, BUILDING) == [False, False]
    assert verdict(views, evidence, VOXEL, FREE) == [False, False]  # the building may stand behind
    evidence.labels[0, 1] = FREE  # sky
    assert verdict(views, evidence, VOXEL, BUILDING) == [False, True]


def test_one_agreeing_point_is_enough(views):
    """A voxel on the border of two classes is not contradicted by either."""
    evidence = silent()
    evidence.labels[0, 0] = BUILDING
    camera = transform(
        inverse(views.volume_T_camera[0, 0].double().numpy()), GRID.centres()[VOXEL] + np.array([0, 0.4, 0])
    )
    u = 40 * camera[0] / camera[2] + 31.5
    evidence.labels[0, 0, :, : int((u + 0.5) / 4) + 1] = VEHICLE
    assert verdict(views, evidence, VOXEL, VEHICLE) == [False, False]


@pytest.mark.parametrize(
    ("depth", "occupied", "free"),
    [
        (5.0, True, True),  # a surface before the voxel
        (9.0, False, True),  # within 15 % of 9 m: it may be this one
        (10.4, False, True),  # a surface in the voxel
        (11.3, False, False),
        (13.0, True, False),  # behind: what is here must be free
    ],
)
def test_depth_says_where_the_surface_is(views, depth, occupied, free):
    evidence = silent()
    evidence.depth[0, 0] = depth
    assert verdict(views, evidence, VOXEL, VEHICLE)[0] is occupied
    assert verdict(views, evidence, VOXEL, FREE)[0] is free
    assert verdict(views, evidence, VOXEL, FREE)[1] is False


def test_pixels_of_the_own_car_say_nothing(views):
    evidence = silent()
    evidence.labels[0] = BUILDING
    evidence.depth[0] = 4.0
    hidden = Views(views.mask, views.intrinsics, views.volume_T_camera, torch.zeros_like(views.visible))
    labels, sightings = one_voxel(views, VOXEL, VEHICLE)
    assert contradictions(labels, sightings, views, evidence, GRID, AgreementSettings()).all()
    assert not contradictions(labels, sightings, hidden, evidence, GRID, AgreementSettings()).any()


def slow(label: int, voxel: np.ndarray, camera: int, views: Views, evidence: Evidence) -> bool:
    offsets = [np.zeros(3), *np.eye(3), *-np.eye(3)]
    known, same, measured, near = [], [], [], []
    blocked = False
    for i, offset in enumerate(offsets):
        point = GRID.lower + (voxel + 0.5) * GRID.voxel_size + 0.4 * offset
        x, y, z = transform(inverse(views.volume_T_camera[0, camera].double().numpy()), point)
        if z < 0.01:
            continue
        column, row = (40 * x / z + 31.5 + 0.5) // 4, (40 * y / z + 15.5 + 0.5) // 4
        if not (0 <= column < COLUMNS and 0 <= row < ROWS):
            continue
        place = (0, camera, int(row), int(column))
        if evidence.labels[place] != UNKNOWN:
            known.append(True)
            same.append(evidence.labels[place] == label)
        d = evidence.depth[place].item()
        if d > 0:
            measured.append(True)
            near.append(abs(d - z) <= max(0.15 * d, 0.8))
            blocked |= i == 0 and d < z + 0.4
    if label == FREE:
        return bool(blocked)
    return (bool(known) and not any(same)) or (bool(measured) and not any(near))


def test_random_evidence_by_loops(views):
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 2, (1, *GRID.shape), generator=generator) * FREE
    evidence = Evidence(
        torch.tensor([DRIVABLE, BUILDING, UNKNOWN])[torch.randint(0, 3, (1, 2, ROWS, COLUMNS), generator=generator)].to(
            torch.uint8
        ),
        torch.rand(1, 2, ROWS, COLUMNS, generator=generator) * 25 - 8,
    )
    evidence = Evidence(evidence.labels, evidence.depth.clamp(min=0))
    found = in_pictures(views, GRID, torch.rand(1, *GRID.shape, generator=generator) < 0.4)
    fast = contradictions(labels.to(torch.uint8), found, views, evidence, GRID, AgreementSettings())
    wrong = 0
    for n, v, value in zip(found.camera, found.voxel, fast, strict=True):
        voxel = np.array(np.unravel_index(v, GRID.shape))
        wrong += slow(int(labels[(0, *voxel)]), voxel, int(n), views, evidence) != bool(value)
    assert len(fast) > 200
    assert 0.2 < fast.float().mean() < 0.9
    assert wrong <= 0.01 * len(fast)


def test_evidence_is_what_the_teacher_is_sure_of():
    bins = torch.arange(1.0, 11.0).expand(1, 1, 10)
    depth_logits = torch.zeros(1, 1, 10, 1, 3)
    depth_logits[0, 0, 4, 0, 0] = 20.0  # sure: 5 m
    depth_logits[0, 0, 0, 0, 1] = depth_logits[0, 0, 9, 0, 1] = 20.0  # 1 m or 10 m: the mean is neither
    semantics = torch.zeros(1, 1, 10, 1, 3)
    semantics[0, 0, VEHICLE, 0, 0] = 20.0
    semantics[0, 0, BUILDING, 0, 1] = 1.0
    found = evidence_of(semantics, depth_logits, bins, EvidenceSettings())
    assert found.labels.flatten().tolist() == [VEHICLE, UNKNOWN, UNKNOWN]
    torch.testing.assert_close(found.depth.flatten(), torch.tensor([5.0, 0.0, 0.0]))
    without = evidence_of(None, depth_logits, bins, EvidenceSettings())
    assert (without.labels == UNKNOWN).all()


def test_semantics_and_depth_have_thresholds_of_their_own() -> None:
    classes = torch.full((1, 1, 10, 1, 1), 0.3 / 9)
    classes[0, 0, 3] = 0.7
    depth = torch.tensor([0.7, 0.3]).view(1, 1, 2, 1, 1)  # of 10 and 12.5 m: only the first is near the mean
    bins = torch.tensor([[[10.0, 12.5]]])
    for of_classes, of_depth in ((0.8, 0.6), (0.6, 0.8)):
        found = evidence_of(classes.log(), depth.log(), bins, EvidenceSettings(of_classes, of_depth))
        assert (int(found.labels), float(found.depth) > 0) == ((255, True) if of_classes > 0.7 else (3, False))
