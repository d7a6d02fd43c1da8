from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from ugocc.geometry.camera import flip_affine, pixel_rays, project, resize_affine, rotate_affine
from ugocc.geometry.rigid import inverse, transform, yaw_matrix
from ugocc.losses.photometric import (
    SPATIAL,
    SPATIO_TEMPORAL,
    TEMPORAL,
    PhotometricSettings,
    References,
    View,
    depth_at_pixels,
    halved,
    match_exposure,
    photometric_error,
    photometric_loss,
    reproject,
    sample_images,
    smoothness,
    ssim,
)

HEIGHT, WIDTH = 48, 80
K = np.array([[60.0, 0, 39.5], [0, 60.0, 23.5], [0, 0, 1]])
NORMAL, OFFSET = np.array([0.15, -0.1, 1.0]), 6.0  # the plane NORMAL . p = OFFSET in the target camera's axes
PLAIN = PhotometricSettings(smoothness=0.0)


def texture(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """(..., 3) soft stripes and blobs, well above the sampling limit of the pictures."""
    waves = [np.sin(2.3 * u + 0.4) * np.cos(1.9 * v), np.sin(1.1 * u - 2.1 * v + 1.0), np.cos(2.7 * v + 0.8 * u)]
    return np.clip(0.5 + 0.22 * np.stack(waves, -1) + 0.1 * np.sin(4.1 * (u + v))[..., None], 0, 1)


def plane_picture(target_T_camera: np.ndarray, k: np.ndarray = K) -> tuple[Tensor, Tensor]:
    """The textured plane seen by a camera: (3, H, W) float64 and its depth (H, W), analytically."""
    rays = pixel_rays(WIDTH, HEIGHT, k)
    turned = rays @ target_T_camera[:3, :3].T
    depth = (OFFSET - NORMAL @ target_T_camera[:3, 3]) / (turned @ NORMAL)
    points = target_T_camera[:3, 3] + depth[..., None] * turned
    return torch.from_numpy(texture(points[..., 0], points[..., 1])).movedim(-1, 0), torch.from_numpy(depth)


def moved(x: float = 0.0, y: float = 0.0, z: float = 0.0, yaw: float = 0.0) -> np.ndarray:
    """target_T_camera of a camera that moved (yaw about its own axis y)."""
    pose = np.eye(4)
    pose[:3, :3] = yaw_matrix(yaw)[:3, :3][np.ix_([1, 2, 0], [1, 2, 0])]
    pose[:3, 3] = x, y, z
    return pose


def references(poses: list[np.ndarray], kinds: list[int] | None = None, k: np.ndarray = K) -> References:
    """One target (M = 1) and a reference per pose."""
    count = len(poses)
    return References(
        torch.stack([plane_picture(p, k)[0] for p in poses])[None],
        torch.from_numpy(k).expand(1, count, 3, 3),
        torch.from_numpy(np.stack([inverse(p) for p in poses]))[None],
        torch.ones(1, count, HEIGHT, WIDTH, dtype=torch.bool),
        torch.tensor([kinds or [TEMPORAL] * count]),
    )


def scene(poses: list[np.ndarray], kinds: list[int] | None = None, k: np.ndarray = K):
    """target, references, true depth, intrinsics, mask."""
    image, depth = plane_picture(np.eye(4), k)
    every = torch.ones(1, HEIGHT, WIDTH, dtype=torch.bool)
    return image[None], references(poses, kinds, k), depth[None], torch.from_numpy(k)[None], every


SIDEWAYS = [moved(x=0.5), moved(x=-0.5, z=0.2)]


def test_pixels_of_the_reference_by_projection():
    poses = [moved(0.4, -0.1, 0.3, 0.1), moved(-0.2, 0.0, -0.5, -0.2)]
    depth = 3 + 4 * torch.rand(1, HEIGHT, WIDTH, dtype=torch.float64)
    found, ahead = reproject(depth, torch.from_numpy(K)[None], references(poses))
    for r, pose in enumerate(poses):
        points = pixel_rays(WIDTH, HEIGHT, K) * depth[0].numpy()[..., None]
        pixels, z = project(transform(inverse(pose), points), K)
        np.testing.assert_array_equal(ahead[0, r], z > 0.05)
        np.testing.assert_allclose(found[0, r], pixels, atol=1e-6)


def test_points_behind_the_reference_are_not_seen():
    depth = torch.ones(1, HEIGHT, WIDTH, dtype=torch.float64)
    _, ahead = reproject(depth, torch.from_numpy(K)[None], references([moved(z=2.0)]))
    assert not ahead.any()


def test_sampling_whole_pixels_and_between():
    images = torch.rand(2, 1, 3, 6, 7, dtype=torch.float64)
    v, u = torch.meshgrid(torch.arange(6.0), torch.arange(7.0), indexing="ij")
    pixels = torch.stack([u, v], -1).double().expand(2, 1, 6, 7, 2)
    every = torch.ones(2, 1, 6, 7, dtype=torch.bool)
    same, valid = sample_images(images, every, pixels)
    torch.testing.assert_close(same, images)
    assert valid.all()
    between, valid = sample_images(images, every, pixels + torch.tensor([0.25, 0.0]))
    torch.testing.assert_close(between[..., :-1], 0.75 * images[..., :-1] + 0.25 * images[..., 1:])
    assert valid[..., :-1].all()
    assert not valid[..., -1].any()  # to the right of the last centre
    masked = every.clone()
    masked[0, 0, 2, 3] = False
    _, valid = sample_images(images, masked, pixels + torch.tensor([0.25, 0.0]))
    assert (~valid[0, 0, :, :-1]).nonzero().tolist() == [[2, 2], [2, 3]]


def slow_ssim(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    pad = lambda x: np.pad(x, 1, mode="reflect")  # noqa: E731
    out = np.zeros_like(a)
    for v, u in np.ndindex(*a.shape):
        p, q = pad(a)[v : v + 3, u : u + 3], pad(b)[v : v + 3, u : u + 3]
        covariance = (p * q).mean() - p.mean() * q.mean()
        above = (2 * p.mean() * q.mean() + 1e-4) * (2 * covariance + 9e-4)
        out[v, u] = above / ((p.mean() ** 2 + q.mean() ** 2 + 1e-4) * (p.var() + q.var() + 9e-4))
    return out


def test_similarity_by_loops():
    random = np.random.default_rng(0)
    a, b = random.random((2, 3, 6, 7))
    fast = ssim(torch.from_numpy(a), torch.from_numpy(b))
    np.testing.assert_allclose(fast, np.stack([slow_ssim(x, y) for x, y in zip(a, b, strict=True)]), atol=1e-10)
    error = photometric_error(torch.from_numpy(a), torch.from_numpy(b), PhotometricSettings())
    by_hand = 0.85 * ((1 - fast) / 2).mean(0) + 0.15 * torch.from_numpy(np.abs(a - b)).mean(0)
    torch.testing.assert_close(error, by_hand)
    assert photometric_error(torch.from_numpy(a), torch.from_numpy(a), PLAIN).abs().max() < 1e-9


def test_true_depth_explains_the_pictures_and_others_do_not():
    target, refs, depth, k, mask = scene(SIDEWAYS)
    losses = {s: photometric_loss(target, refs, s * depth, k, mask, PLAIN).loss for s in (0.7, 0.9, 1.0, 1.1, 1.4)}
    assert losses[1.0] < 0.004
    assert min(losses[0.9], losses[1.1]) > 4 * losses[1.0]
    assert losses[0.7] > losses[0.9]
    assert losses[1.4] > losses[1.1]


@pytest.mark.parametrize(
    "affine",
    [
        flip_affine(WIDTH),
        rotate_affine(20.0, WIDTH, HEIGHT),
        resize_affine(1.2, 0.9),
        flip_affine(WIDTH) @ rotate_affine(-8.0, WIDTH, HEIGHT),
    ],
)
def test_turned_and_mirrored_pictures(affine):
    target, refs, depth, k, mask = scene(SIDEWAYS, k=affine @ K)
    right = photometric_loss(target, refs, depth, k, mask, PLAIN)
    assert right.loss < 0.004
    assert photometric_loss(target, refs, 1.2 * depth, k, mask, PLAIN).loss > 4 * right.loss


def test_descending_the_loss_recovers_the_plane():
    target, refs, depth, k, mask = scene([moved(x=0.4), moved(x=-0.4, y=0.1)])
    disparity = torch.full((1, 1, 6, 10), 1 / 7.5, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.Adam([disparity], lr=6e-3)
    settings = PhotometricSettings(smoothness=1e-3)

    def estimate() -> Tensor:
        return depth_at_pixels(1 / disparity[:, 0], (HEIGHT, WIDTH))

    def abs_rel() -> float:
        return ((estimate() - depth).abs() / depth)[:, 4:-4, 8:-8].mean().item()

    before = abs_rel()
    for _ in range(80):
        loss = photometric_loss(target, refs, estimate(), k, mask, settings).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert before > 0.2
    assert abs_rel() < 0.02


def test_half_the_size_is_the_picture_of_a_camera_of_half_the_size():
    target, refs, depth, k, mask = scene(SIDEWAYS)
    mask = mask.clone()
    mask[0, 10, 20] = False
    half = halved(View(target, refs, depth, k, mask))
    small_k = resize_affine(0.5, 0.5) @ K
    rays = pixel_rays(WIDTH // 2, HEIGHT // 2, small_k)
    torch.testing.assert_close(half.depth[0], torch.from_numpy(OFFSET / (rays @ NORMAL)))
    torch.testing.assert_close(half.intrinsics[0], torch.from_numpy(small_k))
    torch.testing.assert_close(half.references.intrinsics, half.intrinsics[:, None].expand(1, 2, 3, 3))
    torch.testing.assert_close(half.target[0, :, 3, 4], target[0, :, 6:8, 8:10].mean(dim=(1, 2)))
    torch.testing.assert_close(half.references.images[0, 1, :, 3, 4], refs.images[0, 1, :, 6:8, 8:10].mean(dim=(1, 2)))
    assert half.mask[0].logical_not().nonzero().tolist() == [[5, 10]]
    assert half.references.mask.shape == (1, 2, HEIGHT // 2, WIDTH // 2)
    assert half.references.ref_T_target is refs.ref_T_target


def test_the_loss_is_the_mean_over_sizes_and_the_rest_is_of_full_size():
    views = [View(*scene(SIDEWAYS))]
    views[0] = views[0]._replace(depth=1.1 * views[0].depth)
    for _ in range(2):
        views.append(halved(views[-1]))
    plain = [photometric_loss(*view, PLAIN) for view in views]
    found = photometric_loss(*views[0], PhotometricSettings(smoothness=0.0, scales=3))
    torch.testing.assert_close(found.loss, sum(p.loss for p in plain) / 3)
    assert torch.equal(found.error, plain[0].error)
    assert torch.equal(found.counted, plain[0].counted)


def test_odd_sizes_halve_without_the_last_row_and_column():
    target, refs, depth, k, mask = scene(SIDEWAYS)
    cut = References(
        refs.images[..., :47, :79], refs.intrinsics, refs.ref_T_target, refs.mask[..., :47, :79], refs.kind
    )
    odd = halved(View(target[..., :47, :79], cut, depth[..., :47, :79], k, mask[..., :47, :79]))
    even = halved(View(target, refs, depth, k, mask))
    assert torch.equal(odd.target, even.target[..., :23, :39])
    assert torch.equal(odd.depth, even.depth[..., :23, :39])
    assert odd.mask.shape == (1, 23, 39)
    assert odd.references.images.shape == (1, 2, 3, 23, 39)


def test_gradient_by_finite_differences():
    target, refs, depth, k, mask = scene(SIDEWAYS, kinds=[TEMPORAL, SPATIAL])
    rough = (depth * 1.07).requires_grad_()
    mask = torch.zeros_like(mask)
    mask[:, 8:-8, 16:-16] = True  # which pixels count must not change with the step
    settings = PhotometricSettings(smoothness=0.01, auto_mask=False)
    loss = photometric_loss(target, refs, rough, k, mask, settings).loss
    (gradient,) = torch.autograd.grad(loss, rough)
    generator = torch.Generator().manual_seed(0)
    for _ in range(5):
        direction = torch.randn(depth.shape, dtype=torch.float64, generator=generator)
        ends = [photometric_loss(target, refs, rough + e * direction, k, mask, settings).loss for e in (1e-6, -1e-6)]
        # Bilinear look-up and the minimum have kinks; few pixels cross one in so small a step.
        torch.testing.assert_close((ends[0] - ends[1]) / 2e-6, (gradient * direction).sum(), rtol=1e-3, atol=1e-8)


def exposed(refs: References, gain: float, offset: float) -> References:
    return References(gain * refs.images + offset, refs.intrinsics, refs.ref_T_target, refs.mask, refs.kind)


@pytest.mark.parametrize("kind", [SPATIAL, SPATIO_TEMPORAL])
@pytest.mark.parametrize(("gain", "offset"), [(0.7, 0.1), (1.25, -0.08)])
def test_exposure_hurts_only_without_matching(gain, offset, kind):
    poses = [moved(x=0.5)]
    target, refs, depth, k, mask = scene(poses, kinds=[kind])
    settings = PhotometricSettings(smoothness=0, auto_mask=False)
    plain = PhotometricSettings(smoothness=0, auto_mask=False, exposure_robust=False)
    other = exposed(refs, gain, offset)

    def loss(r: References, scale: float, how: PhotometricSettings) -> float:
        return photometric_loss(target, r, scale * depth, k, mask, how).loss.item()

    assert loss(other, 1.0, plain) > 4 * loss(refs, 1.0, plain)
    assert loss(other, 1.0, settings) == pytest.approx(loss(refs, 1.0, settings), abs=2e-3)
    for scale in (0.85, 0.95, 1.05, 1.2):  # the right depth still wins, clearly
        assert loss(other, scale, settings) > 2 * loss(other, 1.0, settings)


def test_exposure_of_the_same_camera_is_not_touched():
    """Temporal references are compared as they are, whatever the setting."""
    target, refs, depth, k, mask = scene([moved(x=0.5)], kinds=[TEMPORAL])
    dark = exposed(refs, 0.7, 0.1)
    with_matching = photometric_loss(target, dark, depth, k, mask, PhotometricSettings(auto_mask=False))
    without = photometric_loss(
        target, dark, depth, k, mask, PhotometricSettings(auto_mask=False, exposure_robust=False)
    )
    assert torch.equal(with_matching.loss, without.loss)


def test_matching_ignores_what_is_not_valid():
    image = torch.rand(1, 3, 12, 12, dtype=torch.float64)
    target = 0.6 * image + 0.2
    valid = torch.ones(1, 12, 12, dtype=torch.bool)
    valid[..., 8:] = False
    spoilt = torch.where(valid[:, None], image, 5.0)
    found = match_exposure(spoilt, target, valid, 5, 3.0)
    torch.testing.assert_close(found[..., :8], target[..., :8], atol=2e-3, rtol=0)


def test_the_best_reference_counts_and_invalid_ones_do_not():
    target, refs, depth, k, mask = scene([moved(x=0.5), moved(x=0.5)])
    spoilt = refs.images.clone()
    spoilt[:, 0] = torch.rand(spoilt[:, 0].shape)
    refs = References(spoilt, refs.intrinsics, refs.ref_T_target, refs.mask, refs.kind)
    found = photometric_loss(target, refs, depth, k, mask, PLAIN)
    assert found.loss < 0.005
    assert (found.best[found.counted] == 1).float().mean() > 0.99
    hidden = refs.mask.clone()
    hidden[:, 1] = False
    only_noise = References(refs.images, refs.intrinsics, refs.ref_T_target, hidden, refs.kind)
    found = photometric_loss(target, only_noise, depth, k, mask, PhotometricSettings(auto_mask=False))
    assert (found.best[found.counted] == 0).all()
    assert found.loss > 0.1


def test_out_of_view_and_own_car():
    target, refs, depth, k, mask = scene([moved(x=1.0)])
    settings = PhotometricSettings(auto_mask=False)
    pixels, _ = reproject(depth, k, refs)
    found = photometric_loss(target, refs, depth, k, mask, settings)
    inside = ((pixels[0, 0] >= 0) & (pixels[0, 0] <= torch.tensor([WIDTH - 1, HEIGHT - 1]))).all(-1)
    assert torch.equal(found.counted[0], inside)
    assert 0.5 < inside.float().mean() < 0.95
    car = mask.clone()
    car[:, 40:] = False
    found = photometric_loss(target, refs, depth, k, car, settings)
    assert not found.counted[:, 40:].any()
    in_reference = refs.mask.clone()
    in_reference[:, :, :, :30] = False  # the warped pixel must not be the other picture's car
    found = photometric_loss(
        target,
        References(refs.images, refs.intrinsics, refs.ref_T_target, in_reference, refs.kind),
        depth,
        k,
        mask,
        settings,
    )
    assert torch.equal(found.counted[0], inside & (pixels[0, 0, ..., 0] >= 30))


def test_static_pixels_are_left_out():
    """A patch that looks the same in every picture, such as the bonnet or a car driving along."""
    target, refs, depth, k, mask = scene(SIDEWAYS)
    patch = torch.rand(3, 12, 20, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    target[0, :, 30:42, 30:50] = patch
    refs.images[0, :, :, 30:42, 30:50] = patch
    inside = photometric_loss(target, refs, depth, k, mask, PLAIN).counted[0, 31:41, 31:49]
    assert inside.float().mean() < 0.05
    without = photometric_loss(target, refs, depth, k, mask, PhotometricSettings(auto_mask=False))
    assert without.counted[0, 31:41, 31:49].all()
    around = photometric_loss(target, refs, depth, k, mask, PLAIN).counted[0, :28, 10:-10]
    assert around.float().mean() > 0.85


def test_a_car_that_stands_still_learns_nothing():
    target, refs, depth, k, mask = scene([np.eye(4), np.eye(4)])
    rough = (1.3 * depth).float().requires_grad_()
    refs = References(refs.images.float(), refs.intrinsics.float(), refs.ref_T_target.float(), refs.mask, refs.kind)
    found = photometric_loss(target.float(), refs, rough, k.float(), mask, PLAIN)
    found.loss.backward()
    assert found.counted.sum() == 0
    assert found.loss.item() == 0
    assert rough.grad.abs().max() == 0


def test_no_reference_at_all_is_no_loss():
    target, refs, depth, k, mask = scene(SIDEWAYS)
    none = References(refs.images, refs.intrinsics, refs.ref_T_target, torch.zeros_like(refs.mask), refs.kind)
    depth = depth.requires_grad_()
    found = photometric_loss(target, none, depth, k, mask, PLAIN)
    found.loss.backward()
    assert found.loss.item() == 0
    assert torch.isfinite(depth.grad).all()


def test_spatial_references_are_not_used_for_standing_still():
    """Two cameras side by side may look alike without any warping; that says nothing about motion."""
    target, refs, depth, k, mask = scene([moved(x=0.0)], kinds=[SPATIAL])
    assert photometric_loss(target, refs, depth, k, mask, PLAIN).counted.float().mean() > 0.9


def test_smoothness_by_hand_and_at_edges():
    depth = torch.ones(1, 4, 6, dtype=torch.float64)
    image = torch.zeros(1, 3, 4, 6, dtype=torch.float64)
    every = torch.ones(1, 4, 6, dtype=torch.bool)
    assert smoothness(depth, image, every) == 0
    depth[..., 3:] = 2.0  # disparity 1 and 0.5, mean 0.75: a step of 2/3 in 4 of 20 differences
    assert smoothness(depth, image, every).item() == pytest.approx(4 * (2 / 3) / 20)
    edge = image.clone()
    edge[..., 3:] = 1.0
    assert smoothness(depth, edge, every).item() == pytest.approx(4 * (2 / 3) / 20 * np.exp(-1))
    masked = every.clone()
    masked[..., 3] = False
    assert smoothness(depth, image, masked) == 0
    torch.testing.assert_close(smoothness(3 * depth, image, every), smoothness(depth, image, every))


def test_depth_of_a_road_at_every_pixel_is_exact():
    """Disparity of a plane is linear in the pixels."""

    def plane(v: Tensor) -> Tensor:
        return 90.0 / (v - 10.0)

    cells = plane((torch.arange(6.0) + 0.5) * 8 - 0.5 + 20).view(1, 6, 1).expand(1, 6, 4)
    found = depth_at_pixels(cells, (48, 32))
    torch.testing.assert_close(found[0, 4:-4, 5], plane(torch.arange(48.0) + 20)[4:-4])


def test_similarity_with_many_pictures_at_once():
    a, b = torch.rand(2, 4, 3, 9, 8), torch.rand(2, 1, 3, 9, 8)
    torch.testing.assert_close(ssim(a, b), ssim(a, b.expand_as(a)))
    torch.testing.assert_close(ssim(a, b)[1, 2], ssim(a[1, 2], b[1, 0]))
