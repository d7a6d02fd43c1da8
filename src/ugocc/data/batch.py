"""What a model sees: tensors of several frames, whatever their rigs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any, Final

import torch
from torch import Tensor

from ugocc.labels import UNKNOWN


@dataclass
class Batch:
    """B samples with up to N cameras each; ``camera_mask`` says which cameras are real.

    Pixels are those of the network's images; the centre of the top-left pixel is (0, 0).
    """

    images: Tensor
    """(B, N, 3, H, W) float32 RGB in [0, 1], undistorted; the model normalises."""
    camera_mask: Tensor
    """(B, N) bool, false where a sample has fewer cameras than the batch."""
    intrinsics: Tensor
    """(B, N, 3, 3) float32 of the undistorted camera at recorded size, before the image affine."""
    image_affine: Tensor
    """(B, N, 3, 3) float32, recorded (undistorted) pixels to network pixels."""
    ego_T_camera: Tensor
    """(B, N, 4, 4) float32, camera axes to the key ego frame through each camera's own pose; no BEV augmentation."""
    bev_T_ego: Tensor
    """(B, 4, 4) float32, key ego frame to the (augmented) frame of the volume; identity without augmentation."""
    world_T_ego: Tensor
    """(B, 4, 4) float64 key pose."""
    depth: Tensor
    """(B, N, H, W) float32 metres along the optical axis from lidar, 0 where there is no return."""
    semantics_2d: Tensor
    """(B, N, H, W) uint8 ten classes, 255 unknown."""
    pixel_mask: Tensor
    """(B, N, H, W) bool, true where the pixel shows the world (not padding, not the own car)."""
    occupancy: Tensor
    """(B, X, Y, Z) uint8 ten classes, 255 unknown (all unknown for an unlabelled sample)."""
    camera_visible: Tensor
    """(B, X, Y, Z) bool, voxels some camera sees."""
    lidar_visible: Tensor
    """(B, X, Y, Z) bool, voxels the lidar sees."""
    fleet: Tensor
    """(B,) int64, 0 source, 1 target."""
    tokens: tuple[str, ...] = ()
    """Token of every sample."""

    @property
    def size(self) -> int:
        """Number of samples."""
        return self.images.shape[0]

    def pixel_intrinsics(self) -> Tensor:
        """(B, N, 3, 3) float32: network pixel = this x (camera point / depth)."""
        return exact_product(self.image_affine, self.intrinsics)

    def volume_T_camera(self) -> Tensor:
        """(B, N, 4, 4) float32: camera axes to the frame of the volume, BEV augmentation included."""
        return exact_product(self.bev_T_ego[:, None], self.ego_T_camera)

    def to(self, device: torch.device | str) -> Batch:
        """The same batch on another device, but for float64 on MPS, which has none: world poses stay where they are."""
        kind = torch.device(device).type
        stays, wait = torch.float64 if kind == "mps" else None, kind == "cpu"  # where it is read at once
        return self._each(lambda value: value if value.dtype == stays else value.to(device, non_blocking=not wait))

    def pick(self, sample: int) -> Batch:
        """One sample as a batch of its own."""
        picked = self._each(lambda value: value[sample : sample + 1])
        return replace(picked, tokens=self.tokens[sample : sample + 1])

    def pin_memory(self) -> Batch:
        """The same batch in page-locked memory."""
        return self._each(Tensor.pin_memory)

    def _each(self, change: Callable[[Tensor], Tensor]) -> Batch:
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        changed: dict[str, Any] = {k: change(v) for k, v in values.items() if isinstance(v, Tensor)}
        return replace(self, **changed)


PER_CAMERA: Final[dict[str, float]] = {
    "images": 0.0,
    "camera_mask": 0,
    "intrinsics": 0.0,
    "image_affine": 0.0,
    "ego_T_camera": 0.0,
    "depth": 0.0,
    "semantics_2d": UNKNOWN,
    "pixel_mask": 0,
}
"""Fields with a camera axis, and what fills them where a sample has fewer cameras."""


def collate(samples: list[Batch]) -> Batch:
    """Join samples of any camera counts into one batch.

    Missing cameras are padded with black images, ``camera_mask`` false, identity matrices.

    Args:
        samples: batches of one or more samples; image sizes and grids must agree.
    """
    most = max(s.images.shape[1] for s in samples)
    joined: dict[str, Tensor] = {}
    for f in fields(Batch):
        if f.name == "tokens":
            continue
        parts = [getattr(s, f.name) for s in samples]
        if f.name in PER_CAMERA:
            parts = [_pad_cameras(p, most, PER_CAMERA[f.name]) for p in parts]
        joined[f.name] = torch.cat(parts)
    for name in ("intrinsics", "image_affine", "ego_T_camera"):
        size = joined[name].shape[-1]
        joined[name][~joined["camera_mask"]] = torch.eye(size, dtype=joined[name].dtype)
    return Batch(**joined, tokens=sum((s.tokens for s in samples), ()))


def exact_product(a: Tensor, b: Tensor) -> Tensor:
    """Matrix product in the dtype of its factors: autocast would round poses and calibrations to three digits."""
    with torch.autocast(a.device.type, enabled=False):
        return a @ b


def _pad_cameras(value: Tensor, count: int, fill: float) -> Tensor:
    missing = count - value.shape[1]
    if not missing:
        return value
    return torch.cat([value, value.new_full((value.shape[0], missing, *value.shape[2:]), fill)], dim=1)
