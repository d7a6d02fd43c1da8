"""Self-supervised depth: pictures of other times and cameras, warped through the depth, must look like this one.

Photometric error, per-pixel minimum and auto-mask as in Monodepth2 (Godard et al. 2019), references from other cameras
as in FSM (Guizilini et al. 2022). Metric scale comes from the known poses.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

TEMPORAL: Final = 0
"""A reference of the same camera at another time."""
SPATIAL: Final = 1
"""A reference of another camera at the same time."""
SPATIO_TEMPORAL: Final = 2
"""A reference of another camera at another time."""


@dataclass(frozen=True)
class PhotometricSettings:
    """Photometric loss."""

    weight: float = 1.0
    """Weight of the loss, smoothness included."""
    ssim_share: float = 0.85
    """Share of structural similarity in the error; the rest is the absolute difference."""
    smoothness: float = 1e-3
    """Weight of edge-aware smoothness of the disparity."""
    auto_mask: bool = True
    """Leave out pixels that look the same without any warping: standing still, or moving along."""
    exposure_robust: bool = True
    """Match brightness and contrast in a window before comparing with pictures of another camera."""
    window: int = 7
    """Edge of that window in pixels, odd."""
    gain_limit: float = 3.0
    """Contrast is changed by at most this factor."""
    scales: int = 1
    """Sizes of the pictures that the error is a mean over, each half the one before. At full size the error points to
    the true depth only from a pixel or two away; small pictures point to it from farther."""


@dataclass(frozen=True)
class References:
    """R pictures to compare each of M target pictures with."""

    images: Tensor
    """(M, R, 3, H, W) in [0, 1]."""
    intrinsics: Tensor
    """(M, R, 3, 3) of network pixels."""
    ref_T_target: Tensor
    """(M, R, 4, 4) camera axes of the target to those of the reference."""
    mask: Tensor
    """(M, R, H, W) bool, pixels that show the world; all false for a reference that does not exist."""
    kind: Tensor
    """(M, R) int64, TEMPORAL, SPATIAL or SPATIO_TEMPORAL."""


class Photometric(NamedTuple):
    """The loss and what it is made of."""

    loss: Tensor
    """Scalar; 0 with gradient 0 where no pixel counts."""
    error: Tensor
    """(M, H, W) least error over the references, without gradient; 0 where the pixel does not count."""
    counted: Tensor
    """(M, H, W) bool, pixels that count."""
    best: Tensor
    """(M, H, W) int64, the reference of the least error."""


def photometric_loss(
    target: Tensor,
    references: References,
    depth: Tensor,
    intrinsics: Tensor,
    mask: Tensor,
    settings: PhotometricSettings,
) -> Photometric:
    """Least photometric error over the references, mean over the pixels that count and over sizes, plus smoothness.

    Args:
        target: (M, 3, H, W) in [0, 1].
        references: R other pictures of each.
        depth: (M, H, W) metres along the optical axis, above 0, differentiable.
        intrinsics: (M, 3, 3) of the targets' pixels; may hold an image affine (turned, mirrored).
        mask: (M, H, W) bool, pixels of the targets that show the world (not the own car).
        settings: weights and masks.

    Returns:
        The loss; error, counted and best at full size.
    """
    views = View(target, references, depth, intrinsics, mask)
    mean, error, counted, best = _mean_error(views, settings)
    total = mean
    for _ in range(1, settings.scales):
        views = halved(views)
        total = total + _mean_error(views, settings)[0]
    loss = total / max(1, settings.scales) + settings.smoothness * smoothness(depth, target, mask)
    seen = torch.where(counted, error.detach(), 0)
    return Photometric(settings.weight * loss, seen, counted, best)


class View(NamedTuple):
    """What is compared at one size, as in :func:`photometric_loss`."""

    target: Tensor
    """(M, 3, H, W)."""
    references: References
    """R of each."""
    depth: Tensor
    """(M, H, W)."""
    intrinsics: Tensor
    """(M, 3, 3)."""
    mask: Tensor
    """(M, H, W) bool."""


def halved(view: View) -> View:
    """The same at half the size: pictures and disparity averaged over 2 x 2 pixels, all four of which must count.

    An odd last row or column is left out.
    """
    references = view.references
    # The pixel (u, v) of the half picture is centred on (2 u + 1/2, 2 v + 1/2).
    half = view.intrinsics.new_tensor([[0.5, 0, -0.25], [0, 0.5, -0.25], [0, 0, 1]])
    with torch.autocast(view.depth.device.type, enabled=False):
        intrinsics, others = half @ view.intrinsics, half.to(references.intrinsics) @ references.intrinsics
    smaller = replace(
        references,
        images=F.avg_pool2d(references.images.flatten(0, 1), 2).unflatten(0, references.images.shape[:2]),
        intrinsics=others,
        mask=_all_four(references.mask),
    )
    disparity = F.avg_pool2d(1 / view.depth, 2)
    return View(F.avg_pool2d(view.target, 2), smaller, 1 / disparity, intrinsics, _all_four(view.mask))


def _all_four(mask: Tensor) -> Tensor:
    """(..., H, W) bool to (..., H // 2, W // 2): all of 2 x 2."""
    rows, columns = mask.shape[-2] // 2, mask.shape[-1] // 2
    even = mask[..., : 2 * rows, : 2 * columns]
    return even.unflatten(-1, (columns, 2)).unflatten(-3, (rows, 2)).all(dim=-1).all(dim=-2)


def _mean_error(view: View, settings: PhotometricSettings) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Mean error at one size; error (M, H, W), whether it counts, and the reference it is of."""
    target, references, depth, intrinsics, mask = view
    pixels, ahead = reproject(depth, intrinsics, references)
    warped, valid = sample_images(references.images, references.mask, pixels)
    valid = valid & ahead & mask[:, None]
    if settings.exposure_robust:
        pair = ((references.kind != TEMPORAL) & valid.any(dim=-1).any(dim=-1)).nonzero(as_tuple=True)
        aligned = match_exposure(warped[pair], target[pair[0]], valid[pair], settings.window, settings.gain_limit)
        warped = warped.index_put(pair, aligned)
    error, best = photometric_error(warped, target[:, None], settings).masked_fill(~valid, torch.inf).min(dim=1)
    counted = valid.any(dim=1)
    if settings.auto_mask:
        counted = counted & (error < _unwarped_error(target, references, settings))
    mean = torch.where(counted, error, 0).sum() / counted.sum().clamp(min=1)
    return mean, error, counted, best


def reproject(depth: Tensor, intrinsics: Tensor, references: References) -> tuple[Tensor, Tensor]:
    """Where the pixels of the targets are in the references.

    Args:
        depth: (M, H, W) metres.
        intrinsics: (M, 3, 3).
        references: cameras and poses.

    Returns:
        pixels (M, R, H, W, 2) and whether they lie before the reference's camera (M, R, H, W).
    """
    height, width = depth.shape[-2:]
    v, u = torch.meshgrid(
        torch.arange(height, dtype=depth.dtype, device=depth.device),
        torch.arange(width, dtype=depth.dtype, device=depth.device),
        indexing="ij",
    )
    homogeneous = torch.stack([u, v, torch.ones_like(u)]).view(1, 1, 3, -1)
    with torch.autocast(depth.device.type, enabled=False):
        turn = references.intrinsics @ references.ref_T_target[..., :3, :3] @ torch.linalg.inv(intrinsics)[:, None]
        move = references.intrinsics @ references.ref_T_target[..., :3, 3:]
        points = depth.flatten(1)[:, None, None] * (turn.to(depth) @ homogeneous) + move.to(depth)
    distance = points[:, :, 2]
    pixels = points[:, :, :2] / distance.clamp(min=0.05)[:, :, None]
    shape = (*points.shape[:2], height, width)
    return pixels.mT.reshape(*shape, 2), (distance > 0.05).view(shape)


def sample_images(images: Tensor, mask: Tensor, pixels: Tensor) -> tuple[Tensor, Tensor]:
    """Bilinear look-up.

    Args:
        images: (M, R, 3, H, W).
        mask: (M, R, H, W) bool.
        pixels: (M, R, H, W, 2) u, v with the centre of the top-left pixel at (0, 0).

    Returns:
        (M, R, 3, H, W) and bool (M, R, H, W): the pixel is between the outermost pixel centres and all four pixels it
        is interpolated from are in the mask.
    """
    height, width = images.shape[-2:]
    last = torch.tensor([width - 1, height - 1], dtype=pixels.dtype, device=pixels.device)
    # align_corners=True puts -1 and 1 on the centres of the outermost pixels.
    place = (2 * pixels / last - 1).flatten(0, 1)
    values = F.grid_sample(images.flatten(0, 1).to(place), place, padding_mode="border", align_corners=True)
    seen = mask.flatten(0, 1)[:, None].to(place)
    shown = F.grid_sample(seen, place.detach(), padding_mode="border", align_corners=True)
    inside = ((pixels >= 0) & (pixels <= last)).all(dim=-1)
    return values.view(images.shape), inside & (shown.view(mask.shape) > 0.999)


def photometric_error(image: Tensor, target: Tensor, settings: PhotometricSettings) -> Tensor:
    """(..., H, W) share of 1 - SSIM (halved, to be in [0, 1]) and of the absolute difference, mean over colours."""
    difference = (image - target).abs().mean(dim=-3)
    dissimilar = ((1 - ssim(image, target)) / 2).clamp(0, 1).mean(dim=-3)
    return settings.ssim_share * dissimilar + (1 - settings.ssim_share) * difference


def ssim(a: Tensor, b: Tensor) -> Tensor:
    """Structural similarity (Wang et al. 2004) in 3x3 windows, (..., C, H, W), borders mirrored; shapes broadcast."""

    def mean(values: Tensor) -> Tensor:
        padded = F.pad(values.flatten(0, -3)[:, None], (1, 1, 1, 1), mode="reflect")
        return _window_mean(padded, 3).view(values.shape)

    mean_a, mean_b = mean(a), mean(b)
    both, square_a, square_b = mean_a * mean_b, mean_a**2, mean_b**2
    variance_a, variance_b, covariance = mean(a * a) - square_a, mean(b * b) - square_b, mean(a * b) - both
    c1, c2 = 0.01**2, 0.03**2
    above = (2 * both + c1) * (2 * covariance + c2)
    return above / ((square_a + square_b + c1) * (variance_a + variance_b + c2))


def match_exposure(image: Tensor, target: Tensor, valid: Tensor, window: int, gain_limit: float) -> Tensor:
    """The image with brightness and contrast of every window made those of the target.

    Two cameras see the same wall with different gain, vignetting and haze, all of which are nearly a factor and an
    offset within a few pixels. What is left to compare is structure.

    Args:
        image: (P, 3, H, W).
        target: (P, 3, H, W).
        valid: (P, H, W) bool, pixels that statistics are taken of.
        window: odd edge in pixels.
        gain_limit: largest change of contrast.
    """
    weight = valid[:, None].to(image)
    border = (window // 2,) * 4
    total = _window_mean(F.pad(weight, border), window).clamp(min=1e-6)

    def mean(values: Tensor) -> Tensor:
        return _window_mean(F.pad(weight * values, border), window) / total

    mean_image, mean_target = mean(image), mean(target)
    variance_image = (mean(image * image) - mean_image**2).clamp(min=0)
    variance_target = (mean(target * target) - mean_target**2).clamp(min=0)
    # The noise of a picture (a deviation of about 0.01) is no structure to be blown up.
    gain = ((variance_target + 1e-4) / (variance_image + 1e-4)).sqrt().clamp(1 / gain_limit, gain_limit)
    return mean_target + gain * (image - mean_image)


def smoothness(depth: Tensor, image: Tensor, mask: Tensor) -> Tensor:
    """Edge-aware smoothness: differences of disparity over its mean, less where the picture has an edge.

    Args:
        depth: (M, H, W) metres.
        image: (M, 3, H, W).
        mask: (M, H, W) bool, pixels between which differences count.

    Returns:
        Scalar.
    """
    disparity = 1 / depth
    disparity = disparity / disparity.mean(dim=(-2, -1), keepdim=True)
    total = disparity.new_zeros(())
    for axis in (-2, -1):
        size = depth.shape[axis] - 1
        step = disparity.narrow(axis, 1, size) - disparity.narrow(axis, 0, size)
        edge = (image.narrow(axis, 1, size) - image.narrow(axis, 0, size)).abs().mean(dim=1)
        counts = mask.narrow(axis, 1, size) & mask.narrow(axis, 0, size)
        total = total + (step.abs() * torch.exp(-edge) * counts).sum() / counts.sum().clamp(min=1)
    return total


def depth_at_pixels(depth: Tensor, size: tuple[int, int]) -> Tensor:
    """Depth of feature cells (M, h, w) at every pixel (M, H, W).

    Interpolated as disparity, which is linear in the pixels of a plane such as the road.
    """
    return 1 / F.interpolate(1 / depth[:, None], size=size, mode="bilinear", align_corners=False).squeeze(1)


@torch.no_grad()
def _unwarped_error(target: Tensor, references: References, settings: PhotometricSettings) -> Tensor:
    """(M, H, W) least error of the references as they are, inf where there is none of the same camera.

    Lowered a little, so that pixels that warping does not move either are left out in spite of rounding.
    """
    temporal = references.kind == TEMPORAL
    some = temporal.any(dim=0)
    if not some.any():
        return torch.full_like(target[:, 0], torch.inf)
    error = photometric_error(references.images[:, some], target[:, None], settings)
    comparable = references.mask[:, some] & temporal[:, some, None, None]
    return error.masked_fill(~comparable, torch.inf).amin(dim=1) - 1e-5


def _window_mean(values: Tensor, window: int) -> Tensor:
    """Mean over windows of (..., H, W), without padding.

    Sums of shifted slices: several times faster on a CPU, and faster to differentiate, than pooling.
    """
    for axis in (-2, -1):
        size = values.shape[axis] - window + 1
        parts = [values.narrow(axis, i, size) for i in range(window)]
        values = sum(parts[1:], parts[0])
    return values / window**2
