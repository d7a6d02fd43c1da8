from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest
import torch
from made_frames import GRID, camera, frame, marked_frame, some_label
from torch import Tensor

from ugocc.data.batch import Batch, collate
from ugocc.data.prepare import InputSettings, prepare
from ugocc.data.transforms import AugmentSettings, make_sample
from ugocc.labels import UNKNOWN

SMALL = InputSettings(132, 48, GRID)
POINTS = np.array([(9.0, y, z) for y in (-3.0, 0.3) for z in (-0.6, 0.6)])
PER_CAMERA = (
    "images",
    "camera_mask",
    "intrinsics",
    "image_affine",
    "ego_T_camera",
    "depth",
    "semantics_2d",
    "pixel_mask",
)


def sample(count: int, seed: int = 0, order: list[int] | None = None, augment: AugmentSettings | None = None) -> Batch:
    cameras = [camera(f"c{i}", yaw=360 / count * i, size=(400, 300 - 20 * i)) for i in range(count)]
    cameras = tuple(cameras[i] for i in order or range(count))
    shown = marked_frame(POINTS, cameras)
    return make_sample(prepare(shown, SMALL), SMALL, augment, np.random.default_rng(seed), fleet_id=count % 2)


def tensors(batch: Batch) -> dict[str, Tensor]:
    return {f.name: getattr(batch, f.name) for f in fields(batch) if f.name != "tokens"}


def test_samples_of_any_rig_make_one_batch():
    counts = (1, 5, 6, 8)
    samples = [sample(n, augment=AugmentSettings()) for n in counts]
    batch = collate(samples)
    assert batch.size == 4
    assert batch.images.shape == (4, 8, 3, 48, 132)
    assert batch.camera_mask.sum(1).tolist() == list(counts)
    assert batch.fleet.tolist() == [1, 1, 0, 0]
    assert batch.tokens == ("one",) * 4
    for i, n in enumerate(counts):
        for name, value in tensors(batch).items():
            own = getattr(samples[i], name)[0]
            torch.testing.assert_close(value[i, :n] if name in PER_CAMERA else value[i], own, rtol=0, atol=0)
            assert value.dtype == own.dtype


def test_missing_cameras_are_black_unlabelled_and_invertible():
    batch = collate([sample(1), sample(3)])
    missing = ~batch.camera_mask
    assert missing.sum() == 2
    assert batch.images[missing].abs().max() == 0
    assert batch.depth[missing].abs().max() == 0
    assert not batch.pixel_mask[missing].any()
    assert (batch.semantics_2d[missing] == UNKNOWN).all()
    torch.testing.assert_close(batch.pixel_intrinsics()[missing], torch.eye(3).expand(2, 3, 3))
    torch.testing.assert_close(batch.ego_T_camera[missing], torch.eye(4).expand(2, 4, 4))


def test_collating_batches_of_several_samples():
    first, second = collate([sample(2), sample(3)]), sample(5)
    joined, at_once = collate([first, second]), collate([sample(2), sample(3), sample(5)])
    for name, value in tensors(joined).items():
        torch.testing.assert_close(value, getattr(at_once, name), rtol=0, atol=0)


@pytest.mark.parametrize("count", [5, 6])
def test_shuffling_cameras_permutes_tensors_and_nothing_else(count):
    order = np.random.default_rng(0).permutation(count).tolist()
    plain, shuffled = sample(count), sample(count, order=order)
    for name, value in tensors(plain).items():
        expected = value[:, order] if name in PER_CAMERA else value
        torch.testing.assert_close(getattr(shuffled, name), expected, rtol=0, atol=0)


def test_products_of_matrices():
    batch = collate([sample(2, augment=AugmentSettings(bev_flip_x=1.0)), sample(2)])
    point = torch.tensor([1.0, 2, 3, 1])
    for b, n in np.ndindex(2, 2):
        chain = batch.bev_T_ego[b] @ (batch.ego_T_camera[b, n] @ point)
        torch.testing.assert_close(batch.volume_T_camera()[b, n] @ point, chain)
        pixel = batch.image_affine[b, n] @ (batch.intrinsics[b, n] @ point[:3])
        torch.testing.assert_close(batch.pixel_intrinsics()[b, n] @ point[:3], pixel)


def test_to_moves_every_tensor_and_keeps_the_tokens():
    batch = sample(2).to("meta")
    assert {value.device.type for value in tensors(batch).values()} == {"meta"}
    assert batch.tokens == ("one",)


def test_an_unlabelled_sample_is_unknown_everywhere():
    shown = prepare(frame((camera("a"),), POINTS, some_label()), SMALL, labelled=False)
    batch = make_sample(shown, SMALL)
    assert (batch.occupancy == UNKNOWN).all()
    assert (batch.semantics_2d == UNKNOWN).all()
    assert not batch.camera_visible.any()
    assert not batch.lidar_visible.any()
    assert not batch.depth.any()
