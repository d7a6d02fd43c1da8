from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from ugocc.adaptation.strong_view import (
    drop_cameras,
    misplace_cameras,
    recolour,
    refuse_labels,
    zoom,
    zoom_maps,
)
from ugocc.data.batch import Batch
from ugocc.errors import DataError
from ugocc.labels import UNKNOWN
from ugocc.models.assemble import model_settings
from ugocc.models.example import example_batch


def _batch(samples: int = 2, cameras: int = 3, height: int = 16, width: int = 24) -> Batch:
    generator = torch.Generator().manual_seed(0)
    k = torch.tensor([[30.0, 0, 11.0], [0, 28.0, 8.0], [0, 0, 1]])
    eye = torch.eye(4).expand(samples, cameras, 4, 4)
    grid = (samples, 4, 4, 2)
    return Batch(
        images=torch.rand(samples, cameras, 3, height, width, generator=generator),
        camera_mask=torch.ones(samples, cameras, dtype=torch.bool),
        intrinsics=k.expand(samples, cameras, 3, 3).clone(),
        image_affine=torch.tensor([[0.5, 0, 1.0], [0, 0.5, -2.0], [0, 0, 1]]).expand(samples, cameras, 3, 3).clone(),
        ego_T_camera=eye.clone(),
        bev_T_ego=torch.eye(4).expand(samples, 4, 4).clone(),
        world_T_ego=torch.eye(4, dtype=torch.float64).expand(samples, 4, 4).clone(),
        depth=torch.zeros(samples, cameras, height, width),
        semantics_2d=torch.full((samples, cameras, height, width), UNKNOWN, dtype=torch.uint8),
        pixel_mask=torch.ones(samples, cameras, height, width, dtype=torch.bool),
        occupancy=torch.full(grid, UNKNOWN, dtype=torch.uint8),
        camera_visible=torch.zeros(grid, dtype=torch.bool),
        lidar_visible=torch.zeros(grid, dtype=torch.bool),
        fleet=torch.ones(samples, dtype=torch.int64),
        tokens=("a", "b")[:samples],
    )


def test_some_cameras_go_and_one_always_stays() -> None:
    batch = _batch()
    batch.camera_mask[1, 2] = False
    rng = np.random.default_rng(0)
    kept = torch.stack([drop_cameras(batch, 0.5, rng).camera_mask for _ in range(200)])
    assert (kept.sum(dim=2) >= 1).all()
    assert not kept[:, 1, 2].any(), "a camera that does not exist cannot be kept"
    assert 0.4 < kept[:, 0].float().mean() < 0.75
    assert (drop_cameras(batch, 1.0, rng).camera_mask.sum(dim=1) == 1).all()
    assert torch.equal(drop_cameras(batch, 0.0, rng).camera_mask, batch.camera_mask)


@pytest.mark.parametrize("factor", [0.8, 1.0, 1.3])
def test_zoomed_pictures_and_calibration_agree(factor: float) -> None:
    """A smooth picture painted from pixel coordinates is looked up where the new calibration says it is."""
    batch = _batch()
    height, width = batch.images.shape[-2:]
    v, u = torch.meshgrid(torch.arange(height) / height, torch.arange(width) / width, indexing="ij")
    batch = replace(batch, images=torch.stack([u, v, u * 0.5]).expand_as(batch.images).clone())
    zoomed = zoom(batch, factor)
    ray = torch.tensor([0.33, 0.3, 1.0])
    before, after = (b.pixel_intrinsics()[0, 0] @ ray for b in (batch, zoomed))
    place = 2 * (after[:2] + 0.5) / torch.tensor([width, height]) - 1
    seen = F.grid_sample(zoomed.images[0, :1], place.view(1, 1, 1, 2), align_corners=False).flatten()
    expected = torch.tensor([before[0] / width, before[1] / height, before[0] / width * 0.5])
    torch.testing.assert_close(seen, expected, atol=2e-3, rtol=0)
    assert zoomed.pixel_mask.all() == (factor >= 1)


def test_maps_are_magnified_about_the_middle_without_mixing_labels() -> None:
    labels = torch.arange(36, dtype=torch.uint8).view(1, 1, 6, 6)
    doubled = zoom_maps(labels, 2.0, fill=UNKNOWN)
    # Cell (r, c) of a map twice as large shows cell floor((r - 2.5) / 2 + 3) of the old one.
    slow = torch.tensor(
        [[int(((r - 2.5) / 2 + 3) // 1) * 6 + int(((c - 2.5) / 2 + 3) // 1) for c in range(6)] for r in range(6)]
    )
    assert torch.equal(doubled[0, 0].long(), slow)
    shrunk = zoom_maps(labels, 0.5, fill=UNKNOWN)
    assert (shrunk[0, 0, 0] == UNKNOWN).all()
    assert (shrunk[0, 0, 2:4, 2:4] != UNKNOWN).all()


def test_misplaced_cameras_are_rigid_and_near() -> None:
    batch = _batch()
    moved = misplace_cameras(batch, 0.5, 0.02, np.random.default_rng(0)).ego_T_camera
    rotation = moved[..., :3, :3]
    torch.testing.assert_close(rotation @ rotation.mT, torch.eye(3).expand_as(rotation), atol=1e-5, rtol=0)
    assert 0 < (moved[..., :3, 3].norm(dim=-1)).max() < 0.12
    assert 0 < torch.rad2deg((rotation - torch.eye(3)).abs().amax()) < 2.5
    still = misplace_cameras(batch, 0.0, 0.0, np.random.default_rng(0))
    torch.testing.assert_close(still.ego_T_camera, batch.ego_T_camera)


def test_colours_change_alike_within_a_sample_and_padding_stays_black() -> None:
    batch = _batch()
    batch = replace(batch, images=batch.images[:, :1].expand_as(batch.images).clone())
    batch.images[:, :, :, :4] = 0
    batch.images[:, :, :, 4:8] = 0.5  # the own car, as it is prepared
    batch.pixel_mask[:, :, :8] = False
    changed = recolour(batch, 0.3, 0.02, np.random.default_rng(0)).images
    assert (changed[:, :, :, :4] == 0).all()
    assert (zoom(batch, 0.8).images[:, :, :, 0] == 0).all()
    assert (changed[:, :, :, 4:8] > 0.1).all()
    changed = recolour(batch, 0.3, 0.0, np.random.default_rng(0)).images
    assert torch.equal(changed[0, 1], changed[0, 2])
    assert not torch.equal(changed[0, 1], batch.images[0, 1])
    assert not torch.equal(changed[0, 1], changed[1, 1])
    again = recolour(batch, 0.3, 0.02, np.random.default_rng(5)).images
    assert torch.equal(again, recolour(batch, 0.3, 0.02, np.random.default_rng(5)).images)


@pytest.mark.parametrize("name", ["occupancy", "depth"])
def test_labels_of_the_target_are_refused(name: str) -> None:
    batch = _batch()
    assert refuse_labels(batch) is batch
    value = getattr(batch, name).clone()
    value.view(-1)[3] = 1
    with pytest.raises(DataError, match=name):
        refuse_labels(replace(batch, **{name: value}))


def test_a_misplaced_camera_errs_about_itself() -> None:
    """Turned about its own axes, not about the vehicle's: its place stays, and yaw and pitch do not become roll."""
    batch = example_batch(model_settings("flashocc", "debug").input, cameras=4)
    turned = misplace_cameras(batch, 2.0, 0.0, np.random.default_rng(0)).ego_T_camera
    torch.testing.assert_close(turned[..., :3, 3], batch.ego_T_camera[..., :3, 3])
    error = torch.linalg.inv(batch.ego_T_camera[..., :3, :3]) @ turned[..., :3, :3]
    roll = error[..., 0, 1].abs()  # about the optical axis
    assert roll.max() < 0.2 * error[..., :2, 2].abs().max()
