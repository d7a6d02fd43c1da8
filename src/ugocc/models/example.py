"""A batch to try networks with: noise seen by a ring of cameras."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from ugocc.data.batch import Batch
from ugocc.data.prepare import InputSettings
from ugocc.geometry.rigid import BODY_T_OPTICAL, yaw_matrix
from ugocc.labels import UNKNOWN


def example_batch(settings: InputSettings, cameras: int = 6, samples: int = 1, seed: int = 0) -> Batch:
    """Noise images of recordings of 1600 x 900, random labels and sparse depth; every camera has its own lens.

    Args:
        settings: image size and grid.
        cameras: cameras of each sample, all around the car.
        samples: samples of the batch.
        seed: of the noise.
    """
    random = torch.Generator().manual_seed(seed)
    width, height, shape = settings.width, settings.height, settings.grid.shape
    images = (samples, cameras)
    yaws = 2 * np.pi * np.arange(cameras) / cameras
    poses = [yaw_matrix(yaw, (np.cos(yaw), np.sin(yaw), 1.5 + 0.05 * i)) for i, yaw in enumerate(yaws)]
    intrinsics = torch.eye(3).repeat(*images, 1, 1)
    intrinsics[..., 0, 0] = intrinsics[..., 1, 1] = 1266.0 - 80 * torch.arange(cameras)
    intrinsics[..., 0, 2], intrinsics[..., 1, 2] = 800.0, 450.0
    affine = torch.eye(3).repeat(*images, 1, 1)
    affine[..., 0, 0] = affine[..., 1, 1] = width / 1600
    affine[..., 1, 2] = height - 900 * width / 1600
    depth = 1 + 30 * torch.rand(*images, height, width, generator=random)
    voxels = (samples, *shape)
    return Batch(
        images=torch.rand(*images, 3, height, width, generator=random),
        camera_mask=torch.ones(images, dtype=torch.bool),
        intrinsics=intrinsics,
        image_affine=affine,
        ego_T_camera=torch.from_numpy(np.stack(poses) @ BODY_T_OPTICAL).float().repeat(samples, 1, 1, 1),
        bev_T_ego=torch.eye(4).repeat(samples, 1, 1),
        world_T_ego=torch.eye(4, dtype=torch.float64).repeat(samples, 1, 1),
        depth=depth * (torch.rand(*images, height, width, generator=random) < 0.05),
        semantics_2d=torch.full((*images, height, width), 255, dtype=torch.uint8),
        pixel_mask=torch.ones(*images, height, width, dtype=torch.bool),
        occupancy=torch.randint(0, 10, voxels, generator=random).to(torch.uint8),
        camera_visible=torch.rand(voxels, generator=random) < 0.5,
        lidar_visible=torch.rand(voxels, generator=random) < 0.3,
        fleet=torch.zeros(samples, dtype=torch.int64),
        tokens=tuple(f"sample-{seed}-{i}" for i in range(samples)),
    )


def unlabelled(batch: Batch) -> Batch:
    """A batch as it would come of a target: without occupancy and lidar depth."""
    return replace(
        batch,
        occupancy=torch.full_like(batch.occupancy, UNKNOWN),
        depth=torch.zeros_like(batch.depth),
        fleet=torch.ones_like(batch.fleet),
    )
