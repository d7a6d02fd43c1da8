"""The real cameras of a batch, one row each, whatever their number per sample.

Everything that looks at images works on these rows, so a missing camera costs nothing and cannot disturb the
statistics of a batch-norm layer.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ugocc.data.batch import Batch


@dataclass
class Cameras:
    """M cameras, sample after sample in the order of the batch; fields as in :class:`ugocc.data.batch.Batch`."""

    mask: Tensor
    """(B, N) bool, the places in the batch that these cameras came from."""
    sample: Tensor
    """(M,) int64, the sample of each camera."""
    images: Tensor
    """(M, 3, H, W) float32 RGB in [0, 1]."""
    intrinsics: Tensor
    """(M, 3, 3) at recorded size."""
    image_affine: Tensor
    """(M, 3, 3) recorded pixels to network pixels."""
    pixel_intrinsics: Tensor
    """(M, 3, 3) network pixel = this x (camera point / depth)."""
    ego_T_camera: Tensor
    """(M, 4, 4) without BEV augmentation."""
    volume_T_camera: Tensor
    """(M, 4, 4) BEV augmentation included."""
    bev_T_ego: Tensor
    """(M, 4, 4) the BEV augmentation of each camera's sample."""

    @property
    def image_size(self) -> tuple[int, int]:
        """Rows and columns of the network's images."""
        return self.images.shape[-2], self.images.shape[-1]

    def spread(self, values: Tensor, fill: float = 0.0) -> Tensor:
        """(M, ...) values of the real cameras to (B, N, ...), ``fill`` where there is none."""
        out = values.new_full((*self.mask.shape, *values.shape[1:]), fill)
        out[self.mask] = values
        return out

    def focal_lengths(self) -> Tensor:
        """(M,) focal length in network pixels: the geometric mean of both axes, blind to flips and turns."""
        return torch.linalg.det(self.pixel_intrinsics[:, :2, :2]).abs().sqrt()

    def heights(self) -> Tensor:
        """(M,) height of the camera above the ground plane z = 0 of the ego frame, in metres."""
        return self.ego_T_camera[:, 2, 3]


def real_cameras(batch: Batch) -> Cameras:
    """Pick the cameras of a batch that exist."""
    mask = batch.camera_mask
    sample = torch.arange(batch.size, device=mask.device)[:, None].expand_as(mask)[mask]
    return Cameras(
        mask=mask,
        sample=sample,
        images=batch.images[mask],
        intrinsics=batch.intrinsics[mask],
        image_affine=batch.image_affine[mask],
        pixel_intrinsics=batch.pixel_intrinsics()[mask],
        ego_T_camera=batch.ego_T_camera[mask],
        volume_T_camera=batch.volume_T_camera()[mask],
        bev_T_ego=batch.bev_T_ego[sample],
    )
