"""The student's view of a target sample: the teacher's, made harder.

Geometry and colour are changed apart: photometric losses compare pictures of changed geometry in their true colours.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ugocc.data.batch import Batch, exact_product
from ugocc.data.transforms import jitter_colour
from ugocc.errors import DataError
from ugocc.labels import UNKNOWN


@dataclass(frozen=True)
class StrongViewSettings:
    """How much harder the student's view is."""

    colour: float = 0.3
    """Strength of the colour jitter, as in the augmentation of the source."""
    noise: float = 0.02
    """Largest standard deviation of noise added to the images, which are in [0, 1]."""
    camera_drop: float = 0.1
    """Probability of losing each camera; one always stays."""
    zoom: float = 0.1
    """Focal lengths are multiplied by a draw from 1 - zoom to 1 + zoom, the same for all cameras of a sample."""
    turn_degrees: float = 0.5
    """Standard deviation of an error in the yaw and pitch that each camera is believed to have."""
    shift: float = 0.02
    """Standard deviation in metres of an error in the place that each camera is believed to have."""


def drop_cameras(batch: Batch, probability: float, rng: np.random.Generator) -> Batch:
    """The batch without some of its cameras; every sample keeps one."""
    draws = torch.from_numpy(rng.uniform(size=batch.camera_mask.shape)).to(batch.camera_mask.device)
    draws = draws.masked_fill(~batch.camera_mask, -1.0)
    best = F.one_hot(draws.argmax(dim=1), draws.shape[1]).bool()
    return replace(batch, camera_mask=batch.camera_mask & ((draws >= probability) | best))


def zoom_affine(factor: float, height: int, width: int) -> Tensor:
    """(3, 3) map of pixels that magnifies by ``factor`` about the middle of the image."""
    u, v = (width - 1) / 2, (height - 1) / 2
    return torch.tensor([[factor, 0, u * (1 - factor)], [0, factor, v * (1 - factor)], [0, 0, 1]])


def zoom(batch: Batch, factor: float) -> Batch:
    """The batch with every picture magnified about its middle, calibration and masks with it; labels stay.

    What is outside the picture after shrinking is masked. Lidar depth and 2D labels do not come along: a batch of the
    target has none.
    """
    height, width = batch.images.shape[-2:]
    picture = zoom_maps(torch.ones_like(batch.pixel_mask), factor, fill=0)
    images = zoom_maps(batch.images, factor) * picture[:, :, None]
    inside = zoom_maps(batch.pixel_mask, factor, fill=0)
    affine = zoom_affine(factor, height, width).to(batch.image_affine)
    affine = exact_product(affine, batch.image_affine)
    return replace(batch, images=images, pixel_mask=inside, image_affine=affine)


def zoom_maps(maps: Tensor, factor: float, fill: float = 0.0) -> Tensor:
    """Maps (B, N, ..., h, w) that tile the image, magnified about the middle: floats bilinear, others nearest.

    Args:
        maps: (B, N, C, h, w) float or (B, N, h, w) bool, uint8 or float (nearest, for a depth of 0 means none).
        factor: magnification.
        fill: value of what is outside.
    """
    rows, columns = maps.shape[-2:]
    v = ((torch.arange(rows, device=maps.device) + 0.5) * 2 / rows - 1) / factor
    u = ((torch.arange(columns, device=maps.device) + 0.5) * 2 / columns - 1) / factor
    grid = torch.stack(torch.meshgrid(u, v, indexing="xy"), dim=-1)
    flat = maps.flatten(0, 1) if maps.ndim == 5 else maps.flatten(0, 1)[:, None]
    mode = "bilinear" if maps.ndim == 5 else "nearest"
    moved = F.grid_sample(
        flat.float(), grid.expand(len(flat), -1, -1, -1), mode=mode, padding_mode="border", align_corners=False
    ).view(maps.shape)
    if fill or maps.ndim == 4:
        outside = (u.abs() > 1)[None] | (v.abs() > 1)[:, None]
        moved = moved.masked_fill(outside, fill)
    return moved.to(maps.dtype) if maps.dtype != torch.bool else moved > 0.5


def misplace_cameras(batch: Batch, turn_degrees: float, shift: float, rng: np.random.Generator) -> Batch:
    """The batch with cameras believed to be a little elsewhere, as calibration errs; pictures stay."""
    count = batch.camera_mask.shape
    angles = np.deg2rad(turn_degrees) * rng.standard_normal((*count, 2))
    error = np.tile(np.eye(4), (*count, 1, 1))
    # To first order, turns about the camera's y (yaw) and x (pitch) axes.
    error[..., 0, 2], error[..., 2, 0] = angles[..., 0], -angles[..., 0]
    error[..., 1, 2], error[..., 2, 1] = -angles[..., 1], angles[..., 1]
    error[..., :3, 3] = shift * rng.standard_normal((*count, 3))
    rotation, _, right = np.linalg.svd(error[..., :3, :3])
    error[..., :3, :3] = rotation @ right
    pose = batch.ego_T_camera
    return replace(batch, ego_T_camera=(pose.double() @ torch.from_numpy(error).to(pose.device)).to(pose))


def recolour(batch: Batch, strength: float, noise: float, rng: np.random.Generator) -> Batch:
    """The batch with colours jittered, alike for the cameras of a sample, and noise added; padding stays black."""
    images = []
    for sample, shown in zip(batch.images, batch.pixel_mask, strict=True):
        jittered = jitter_colour(sample, strength, rng)
        if noise:
            generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
            grain = torch.randn(sample.shape, generator=generator).to(sample) * (noise * rng.uniform())
            jittered = (jittered + grain).clamp_(0, 1)
        # Padding is black; the own car, which is not shown either, has a colour and keeps one.
        images.append(jittered * (shown | (sample > 0).any(dim=1))[:, None])
    return replace(batch, images=torch.stack(images))


def refuse_labels(batch: Batch) -> Batch:
    """The batch, if nothing in it is a label or a lidar return: the last guard before a target sample is learned from.

    Raises:
        DataError: it holds occupancy labels or lidar depth. 2D maps may be there: those of an outside network are.
    """
    found = [
        name
        for name, there in (
            ("occupancy", (batch.occupancy != UNKNOWN).any()),
            ("depth", (batch.depth > 0).any()),
        )
        if there
    ]
    if found:
        raise DataError(", ".join(batch.tokens), ", ".join(found), "labels", "a target without labels (labelled=False)")
    return batch
