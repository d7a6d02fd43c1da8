"""What the depth net is told about a camera: 27 numbers."""

from __future__ import annotations

import torch
from torch import Tensor

from ugocc.models.cameras import Cameras

CAMERA_NUMBERS = 27
"""fx, fy, cx, cy (4); image affine 2x2 and shift (6); BEV augmentation 2x2 and z scale (5); camera-to-ego 3x4 (12)."""


def camera_vector(cameras: Cameras, canonical: bool = False) -> Tensor:
    """(M, 27) float32 description of every camera.

    The plain vector holds the numbers as calibrated. The canonical one is blind to what canonical geometry has already
    divided out, so that a gate driven by it cannot learn to undo the division: lengths in the image are relative to
    the focal length or, for the principal point, offsets from the centre in image sizes (the field of view would give
    the focal length away); the affine keeps its turn and mirror but loses scale and shift. And it is blind to where on
    the car a camera sits and which way it heads, for that says nothing about how far away things are, and a gate that
    has seen only front cameras at work would be driven by numbers it does not know by a rear one: the pose keeps pitch
    and roll; its heading is taken out, its position and the BEV augmentation are constants.
    """
    affine = cameras.image_affine
    pose = cameras.ego_T_camera[:, :3]
    if canonical:
        focal = cameras.focal_lengths()
        rows, columns = cameras.image_size
        k = cameras.pixel_intrinsics
        # After a turn by the affine the axes of the sensor mix: the columns' lengths are still those axes' focals.
        lens = torch.stack(
            [
                k[:, :2, 0].norm(dim=1) / focal,
                k[:, :2, 1].norm(dim=1) / focal,
                (k[:, 0, 2] - (columns - 1) / 2) / columns,
                (k[:, 1, 2] - (rows - 1) / 2) / rows,
            ],
            dim=1,
        )
        linear = affine[:, :2, :2] / torch.linalg.det(affine[:, :2, :2]).abs().sqrt()[:, None, None]
        shift = torch.zeros_like(affine[:, :2, 2])
        place = pose.new_tensor([0.0, 0.0, 1.0]).expand(len(pose), 3)
        pose = torch.cat([without_heading(pose[:, :, :3]), place[:, :, None]], dim=2)
        turn = torch.eye(3, device=pose.device).expand(len(pose), 3, 3)
    else:
        k = cameras.intrinsics
        lens = torch.stack([k[:, 0, 0], k[:, 1, 1], k[:, 0, 2], k[:, 1, 2]], dim=1)
        linear, shift = affine[:, :2, :2], affine[:, :2, 2]
        turn = cameras.bev_T_ego[:, :3, :3]
    bev = torch.cat([turn[:, :2, :2].flatten(1), turn[:, 2, 2, None]], dim=1)
    return torch.cat([lens, linear.flatten(1), shift, bev, pose.flatten(1)], dim=1)


def without_heading(ego_R_camera: Tensor) -> Tensor:
    """Rotations (M, 3, 3), camera axes to the ego frame, turned about z until the optical axis heads along x.

    Pitch and roll are left. An axis that is vertical has no heading, and is left as it is.
    """
    forward = ego_R_camera[:, :2, 2]
    length = forward.norm(dim=1)
    cosine, sine = (forward / length.clamp(min=1e-6)[:, None]).unbind(dim=1)
    cosine, sine = torch.where(length > 1e-6, cosine, 1.0), torch.where(length > 1e-6, sine, 0.0)
    x, y, z = ego_R_camera.unbind(dim=1)
    return torch.stack([cosine[:, None] * x + sine[:, None] * y, cosine[:, None] * y - sine[:, None] * x, z], dim=1)
