from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from ugocc.data.batch import Batch
from ugocc.data.dataset import FrameDataset
from ugocc.data.source import open_fleet
from ugocc.data.transforms import AugmentSettings
from ugocc.geometry.camera import NEAR
from ugocc.geometry.grid import OCC3D_GRID, VoxelGrid
from ugocc.labels import FREE, UNKNOWN
from ugocc.losses.seen_labels import seen_labels
from ugocc.losses.semantics import SemanticLossSettings, downsample_labels
from ugocc.models.assemble import build_model, model_settings
from ugocc.training.source import source_recipe, supervised_losses

SIZE = (8, 22)  # of 64 x 176


@pytest.fixture(scope="module")
def labelled(tiny_fleets: Path) -> tuple[Batch, VoxelGrid]:
    inputs = model_settings("ugocc", "debug").input
    changes = AugmentSettings(bev_turn=20.0, bev_shift=2.0, bev_scale=0.1, bev_flip_y=1.0)
    data = FrameDataset(open_fleet(tiny_fleets / "six", "train"), inputs, changes)
    return data[0, 1], inputs.grid


def slow_labels(batch: Batch, size: tuple[int, int], grid: VoxelGrid) -> np.ndarray:
    """Cell by cell, and along each ray step by step."""
    volume, lower = batch.occupancy[0].numpy(), np.array(grid.lower)
    height, width = batch.images.shape[-2:]
    found = np.full((batch.images.shape[1], *size), UNKNOWN)
    poses, pixels = batch.volume_T_camera()[0].double().numpy(), batch.pixel_intrinsics()[0].double().numpy()

    def label(point: np.ndarray) -> int:
        cell = np.floor((point - lower) / grid.voxel_size).astype(int)
        return int(volume[tuple(cell)]) if ((cell >= 0) & (cell < volume.shape)).all() else FREE

    for camera, row, column in np.ndindex(found.shape):
        shown = batch.pixel_mask[0, camera].numpy()
        shown = shown.reshape(size[0], height // size[0], size[1], width // size[1])[row, :, column]
        u, v = (column + 0.5) * width / size[1] - 0.5, (row + 0.5) * height / size[0] - 0.5
        ray = poses[camera, :3, :3] @ np.linalg.inv(pixels[camera]) @ [u, v, 1]
        point, inside = poses[camera, :3, 3] + NEAR * ray, 0
        for _ in range(int(4 * np.linalg.norm(volume.shape)) + 1):
            higher = point + np.array([0, 0, grid.voxel_size / 2])
            inside = inside + 1 if FREE not in (label(point), label(higher)) else 0
            if inside == 3 and shown.all():
                found[camera, row, column] = label(point)
                break
            point = point + ray / np.linalg.norm(ray) * grid.voxel_size / 4
    return found


def test_cells_show_the_first_voxel_that_their_ray_meets(labelled: tuple[Batch, VoxelGrid]) -> None:
    batch, grid = labelled
    labels = seen_labels(batch, SIZE, grid)[0].numpy()
    slow = slow_labels(batch, SIZE, grid)
    assert (slow != UNKNOWN).mean() > 0.5
    assert len(np.unique(slow)) > 4
    assert (labels == slow).mean() > 0.995  # the rest is in another voxel in single precision
    labels = seen_labels(replace(batch, pixel_mask=torch.zeros_like(batch.pixel_mask)), SIZE, grid)
    assert (labels == UNKNOWN).all()
    nothing = torch.full_like(batch.occupancy, FREE)
    assert (seen_labels(replace(batch, occupancy=nothing), SIZE, grid) == UNKNOWN).all()


def test_what_is_seen_of_volumes_is_what_pictures_show(tiny_fleets: Path) -> None:
    inputs = replace(model_settings("ugocc", "debug").input, grid=OCC3D_GRID)
    agree = total = 0
    for fleet in ("six", "five"):
        data = FrameDataset(open_fleet(tiny_fleets / fleet, "train"), inputs)
        for index in range(3):
            batch = data[index]
            labels = seen_labels(batch, SIZE, inputs.grid)
            truth = downsample_labels(batch.semantics_2d, SIZE)
            both = (labels != UNKNOWN) & (truth != UNKNOWN)
            agree, total = agree + int((labels == truth)[both].sum()), total + int(both.sum())
    assert total > 500
    assert agree / total > 0.8


def test_samples_without_2d_labels_learn_what_is_seen_of_their_volumes(labelled: tuple[Batch, VoxelGrid]) -> None:
    batch, grid = labelled
    recipe = source_recipe("ugocc", "debug")
    model = build_model(recipe.model).eval()
    bare = replace(batch, semantics_2d=torch.full_like(batch.semantics_2d, UNKNOWN))

    def loss(of: Batch) -> float:
        with torch.no_grad():
            prediction = model(of)
        weights = (recipe.occupancy_loss, recipe.depth_loss, SemanticLossSettings())
        return float(supervised_losses(prediction, of, *weights, grid)["semantics"])

    with torch.no_grad():
        logits = model(bare).semantics_2d
    assert logits is not None
    size = (logits.shape[-2], logits.shape[-1])
    height, width = batch.images.shape[-2:]
    seen = seen_labels(bare, size, grid)
    spread = seen.repeat_interleave(height // size[0], -2).repeat_interleave(width // size[1], -1)
    assert loss(bare) == pytest.approx(loss(replace(bare, semantics_2d=spread)), rel=1e-5)
    assert loss(bare) != pytest.approx(loss(batch), rel=1e-3)
