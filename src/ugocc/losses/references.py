"""Which pictures the photometric loss compares: other times, neighbouring cameras, both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from ugocc.data.batch import Batch
from ugocc.losses.photometric import (
    SPATIAL,
    SPATIO_TEMPORAL,
    TEMPORAL,
    Photometric,
    PhotometricSettings,
    References,
    depth_at_pixels,
    photometric_loss,
)


@dataclass(frozen=True)
class ReferenceSettings:
    """Kinds of references."""

    temporal: bool = True
    """The same camera at other times."""
    spatial: bool = True
    """Neighbouring cameras at the same time, where they overlap."""
    spatio_temporal: bool = False
    """Neighbouring cameras at other times."""
    neighbours: int = 2
    """Neighbouring cameras per camera."""
    overlap: float = 0.05
    """Least share of the picture that a neighbour sees too."""


class OtherTime(NamedTuple):
    """The same samples at another time."""

    batch: Batch
    """As many samples, with the cameras in the same order; own-car masks and poses of that time."""
    exists: Tensor
    """(B,) bool, false where there is no such frame (then the sample in ``batch`` may be any)."""


def references_of(batch: Batch, others: Sequence[OtherTime], settings: ReferenceSettings) -> References | None:
    """References of every real camera of a batch, M of them, sample after sample.

    Args:
        batch: the targets.
        others: other times, such as the previous and the next frame.
        settings: which kinds.

    Returns:
        References, or None if the settings and ``others`` leave none at all.
    """
    samples, cameras = batch.camera_mask.shape
    sample = torch.arange(samples, device=batch.images.device)[:, None].expand(samples, cameras)
    itself = torch.arange(cameras, device=batch.images.device).expand(samples, cameras)
    everywhere = torch.ones_like(batch.camera_mask)
    made: list[References] = []
    if settings.temporal:
        made += [
            _take(batch, time.batch, sample, itself, time.exists[:, None] & everywhere, TEMPORAL) for time in others
        ]
    if settings.spatial or settings.spatio_temporal:
        share = shared_view(batch)
        best, camera = share.topk(min(settings.neighbours, cameras), dim=2)
        overlapping = (best > 0) & (best >= settings.overlap)  # a camera shares nothing with itself
        for other, overlaps in zip(camera.unbind(2), overlapping.unbind(2), strict=True):
            if settings.spatial:
                made.append(_take(batch, batch, sample, other, overlaps, SPATIAL))
            if settings.spatio_temporal:
                made += [
                    _take(batch, time.batch, sample, other, overlaps & time.exists[:, None], SPATIO_TEMPORAL)
                    for time in others
                ]
    if not made:
        return None
    return References(
        *(
            torch.stack([getattr(m, name) for m in made], dim=1)
            for name in ("images", "intrinsics", "ref_T_target", "mask", "kind")
        )
    )


def prediction_photometric_loss(
    depth: Tensor, batch: Batch, references: References, settings: PhotometricSettings
) -> Photometric:
    """Photometric loss of predicted depth (B, N, h, w), brought to the pixels of the images.

    Args:
        depth: metres along the optical axis, cells tile the image; see ``Prediction.expected_depth``.
        batch: the targets.
        references: see :func:`references_of`.
        settings: of the loss.
    """
    mask = batch.camera_mask
    pixels = depth_at_pixels(depth[mask], (batch.images.shape[-2], batch.images.shape[-1]))
    return photometric_loss(
        batch.images[mask], references, pixels, batch.pixel_intrinsics()[mask], batch.pixel_mask[mask], settings
    )


@torch.no_grad()
def shared_view(batch: Batch) -> Tensor:
    """(B, N, N) share of camera n's picture that camera m sees too, at distances of a street; 0 for itself.

    A coarse lattice of pixels is tried at 4, 8, 16 and 32 metres.
    """
    height, width = batch.images.shape[-2:]
    device = batch.images.device
    v, u = torch.meshgrid(
        (torch.arange(8, device=device) + 0.5) * (height / 8) - 0.5,
        (torch.arange(16, device=device) + 0.5) * (width / 16) - 0.5,
        indexing="ij",
    )
    pixels = torch.stack([u, v, torch.ones_like(u)], dim=-1).view(-1, 3)
    intrinsics = batch.pixel_intrinsics()
    rays = pixels @ torch.linalg.inv(intrinsics).mT
    points = (rays[:, :, None] * torch.tensor([4.0, 8.0, 16.0, 32.0], device=device)[:, None, None]).flatten(2, 3)
    pose = batch.ego_T_camera
    in_ego = points @ pose[..., :3, :3].mT + pose[..., None, :3, 3]
    in_other = (in_ego[:, :, None] - pose[:, None, :, None, :3, 3]) @ pose[:, None, :, :3, :3]
    projected = in_other @ intrinsics[:, None].mT
    distance = projected[..., 2].clamp(min=0.1)
    u, v = projected[..., 0] / distance, projected[..., 1] / distance
    inside = (in_other[..., 2] > 0.1) & (u >= 0) & (u <= width - 1) & (v >= 0) & (v <= height - 1)
    both = batch.camera_mask[:, :, None] & batch.camera_mask[:, None]
    other = ~torch.eye(both.shape[1], dtype=torch.bool, device=device)
    return inside.float().mean(dim=-1) * (both & other)


def _take(batch: Batch, source: Batch, sample: Tensor, camera: Tensor, exists: Tensor, kind: int) -> References:
    """One reference, camera ``camera`` (B, N) of ``source``, of every real camera of the batch: (M, ...) each."""
    real = batch.camera_mask
    place = (sample[real], camera[real])
    there = exists[real] & source.camera_mask[place]
    # Positions in the world are kilometres; only differences fit float32.
    world_T_target = batch.world_T_ego[:, None] @ batch.ego_T_camera.double()
    world_T_source = source.world_T_ego[:, None] @ source.ego_T_camera.double()
    ref_T_target = torch.linalg.inv(world_T_source[place]) @ world_T_target[real]
    return References(
        images=source.images[place],
        intrinsics=source.pixel_intrinsics()[place],
        ref_T_target=torch.where(there[:, None, None], ref_T_target, torch.eye(4).to(ref_T_target)).float(),
        mask=source.pixel_mask[place] & there[:, None, None],
        kind=torch.full_like(place[0], kind),
    )
