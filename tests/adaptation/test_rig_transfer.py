from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from ugocc.adaptation.completion import complete_depth
from ugocc.adaptation.rig import VirtualRig, turned
from ugocc.adaptation.rig_transfer import TransferredView, transfer
from ugocc.data.depth_map import lidar_points_in_camera, rasterise_depth
from ugocc.errors import DataError
from ugocc.geometry.camera import pixel_rays, project, resize_affine
from ugocc.geometry.rigid import BODY_T_OPTICAL, camera_to_key_ego, inverse, transform, yaw_matrix
from ugocc.labels import BUILDING, FREE, UNKNOWN, VEHICLE


class Pictures(NamedTuple):
    """True pictures of all cameras of a rig."""

    images: Tensor
    depth: Tensor
    semantics: Tensor


def shoot(town: Any, cameras: Any) -> Pictures:
    views = [
        town.view(k, pose, cameras.height, cameras.width)
        for k, pose in zip(cameras.intrinsics, cameras.ego_T_camera, strict=True)
    ]
    return Pictures(*(torch.from_numpy(np.stack(parts)) for parts in zip(*views, strict=True)))


def rig(cameras: Any) -> VirtualRig:
    return VirtualRig(cameras.intrinsics, cameras.ego_T_camera, cameras.height, cameras.width)


def move(pictures: Pictures, cameras: Any, new: VirtualRig, **changes: Any) -> TransferredView:
    given = {"images": pictures.images, "depth": pictures.depth, "confidence": None, "semantics": pictures.semantics}
    return transfer(intrinsics=cameras.intrinsics, ego_T_camera=cameras.ego_T_camera, rig=new, **(given | changes))


def psnr(a: Tensor, b: Tensor, where: Tensor) -> float:
    difference = (a - b).permute(0, 2, 3, 1)[where]
    return float(-10 * torch.log10((difference**2).mean().clamp(min=1e-12)))


def rel_error(depth: Tensor, truth: Tensor, where: Tensor) -> float:
    return float(((depth - truth).abs()[where] / truth[where]).mean())


def seen_by(cameras: Any, depth: NDArray[np.floating], new: VirtualRig) -> NDArray[np.bool_]:
    """(M, h, w) whether surfaces at ``depth`` in the new cameras lie in some source picture, occlusion aside."""
    out = np.zeros(depth.shape, bool)
    for i, (k, pose) in enumerate(zip(new.intrinsics, new.ego_T_camera, strict=True)):
        points = transform(pose, pixel_rays(new.width, new.height, k) * depth[i][..., None])
        for source_k, source_pose in zip(cameras.intrinsics, cameras.ego_T_camera, strict=True):
            pixels, _ = project(transform(inverse(source_pose), points), source_k)
            out[i] |= ((pixels >= 0) & (pixels <= (cameras.width - 1, cameras.height - 1))).all(axis=-1)
    return out


@pytest.fixture(scope="module")
def six(street: Any, six_cameras: Any) -> Pictures:
    return shoot(street, six_cameras)


@pytest.fixture(scope="module")
def five(street: Any, five_cameras: Any) -> Pictures:
    return shoot(street, five_cameras)


def test_the_same_rig_sees_the_same(six: Pictures, six_cameras: Any) -> None:
    seen = move(six, six_cameras, rig(six_cameras))
    assert seen.valid.float().mean() > 0.999
    # Overlapping cameras are blended, so not every pixel stays what it was to the last bit.
    assert psnr(seen.images, six.images, seen.valid) > 35
    surface = (six.depth > 0) & (seen.depth > 0)
    assert surface.sum() > 0.99 * (six.depth > 0).sum()
    assert rel_error(seen.depth, six.depth, surface & (six.depth < 60)) < 0.004
    assert (seen.semantics == six.semantics).float().mean() > 0.99
    one = transfer(
        six.images[:1], six.depth[:1], None, six_cameras.intrinsics[:1], six_cameras.ego_T_camera[:1],
        VirtualRig(six_cameras.intrinsics[:1], six_cameras.ego_T_camera[:1], 96, 176),
    )  # fmt: skip
    assert psnr(one.images, six.images[:1], one.valid) > 60


@pytest.mark.parametrize("way", ["six to five", "five to six"])
def test_another_rig_sees_what_it_would_have_seen(
    way: str, six: Pictures, five: Pictures, six_cameras: Any, five_cameras: Any
) -> None:
    forth = way == "six to five"
    given, cameras, truth, new = (
        (six, six_cameras, five, five_cameras) if forth else (five, five_cameras, six, six_cameras)
    )
    seen = move(given, cameras, rig(new))
    homography = move(given, cameras, rig(new), depth=torch.full_like(given.depth, 1e4), sky=given.depth < 0)
    assert seen.valid.float().mean() > (0.93 if forth else 0.45)  # five cameras do not look back
    both = seen.valid & homography.valid
    assert psnr(seen.images, truth.images, seen.valid) > 24
    assert psnr(seen.images, truth.images, both) > psnr(homography.images, truth.images, both) + 6
    surface = (seen.depth > 0) & (truth.depth > 0) & (truth.depth < 50)
    assert rel_error(seen.depth, truth.depth, surface) < 0.02
    labelled = seen.semantics != UNKNOWN
    assert labelled.sum() > 0.9 * seen.valid.sum()
    assert (seen.semantics == truth.semantics)[labelled].float().mean() > 0.97


def test_completed_lidar_serves_nearly_as_well_as_true_depth(
    street: Any, six: Pictures, five: Pictures, six_cameras: Any, five_cameras: Any
) -> None:
    points, completed = street.lidar(), []
    for image, k, pose in zip(six.images, six_cameras.intrinsics, six_cameras.ego_T_camera, strict=True):
        u, v, depth = lidar_points_in_camera(points, pose, k, 176, 96).T
        completed.append(complete_depth(image.numpy(), rasterise_depth(u, v, depth, 96, 176), k, pose))
    depth, confidence, sky = (torch.from_numpy(np.stack(parts)) for parts in zip(*completed, strict=True))
    seen = move(six, six_cameras, rig(five_cameras), depth=depth, confidence=confidence, sky=sky)
    true = move(six, six_cameras, rig(five_cameras))
    both = seen.valid & true.valid
    assert both.sum() > 0.97 * true.valid.sum()
    assert psnr(seen.images, five.images, both) > psnr(true.images, five.images, both) - 2


def test_ground_near_the_camera_has_no_holes(make_town: Any, six_cameras: Any) -> None:
    empty = make_town([])
    given = shoot(empty, six_cameras)
    lower = six_cameras.ego_T_camera.copy()
    lower[:, 2, 3] = 0.8  # nearer the ground, it is magnified twofold
    new = VirtualRig(six_cameras.intrinsics, lower, 96, 176)
    seen = move(given, six_cameras, new)
    truth = Pictures(*shoot(empty, six_cameras._replace(ego_T_camera=lower)))
    shown = torch.from_numpy(seen_by(six_cameras, truth.depth.numpy(), new)) & (truth.depth > 0)
    assert shown.float().mean() > 0.2
    assert seen.valid[shown].float().mean() > 0.9995
    assert rel_error(seen.depth, truth.depth, shown & (seen.depth > 0) & (truth.depth < 40)) < 0.01


def test_near_objects_hide_far_ones_and_do_not_bleed(make_town: Any) -> None:
    car = ((8.0, 0.0, 1.0), (2.0, 2.0, 2.0), VEHICLE)
    wall = ((30.0, 0.0, 8.0), (2.0, 60.0, 16.0), BUILDING)
    town = make_town([wall, car])
    pose = yaw_matrix(0, (0, 0, 1.5)) @ BODY_T_OPTICAL
    k = np.array([[120, 0, 87.5], [0, 120, 47.5], [0, 0, 1]])
    given = town.view(k, pose, 96, 176)
    aside = yaw_matrix(0, (0, 1.5, 1.5)) @ BODY_T_OPTICAL
    truth = town.view(k, aside, 96, 176)
    seen = transfer(
        torch.from_numpy(given.image)[None], torch.from_numpy(given.depth)[None], None, k[None], pose[None],
        VirtualRig(k[None], aside[None], 96, 176), torch.from_numpy(given.semantics)[None],
    )  # fmt: skip
    labels, known = seen.semantics[0].numpy(), seen.semantics[0].numpy() != UNKNOWN
    is_car = truth.semantics == VEHICLE
    assert (labels[is_car & known] == VEHICLE).mean() > 0.95
    assert (labels[~is_car & known] != VEHICLE).mean() > 0.998
    # The car covers what the wall shows there, and uncovers a strip of wall that nobody saw.
    assert np.median(seen.depth[0].numpy()[is_car & known]) < 9
    assert (~seen.valid[0].numpy()[:50]).sum() > 50
    assert known[is_car].mean() > 0.6, "the side that was not seen before is the only part missing"


def test_what_another_source_sees_before_a_surface_is_not_painted_on_it(make_town: Any) -> None:
    town = make_town([((30.0, 0.0, 8.0), (2.0, 60.0, 16.0), BUILDING), ((6.0, 1.5, 1.0), (0.5, 0.5, 2.0), VEHICLE)])
    k = np.array([[120, 0, 87.5], [0, 120, 47.5], [0, 0, 1]])
    poses = np.stack([yaw_matrix(0, (0, y, 1.5)) @ BODY_T_OPTICAL for y in (0.0, 1.5)])
    views = [town.view(k, pose, 96, 176) for pose in poses]
    views[1] = views[1]._replace(image=np.where(views[1].semantics == VEHICLE, 1.0, views[1].image).astype(np.float32))
    images, depth, labels = (torch.from_numpy(np.stack(part)) for part in zip(*views, strict=True))
    new = VirtualRig(k[None], poses[:1], 96, 176)
    seen = transfer(images, depth, None, np.stack([k, k]), poses, new, labels)
    wall = torch.from_numpy((views[0].semantics == BUILDING) & (views[0].depth > 25))[None]
    assert seen.images.permute(0, 2, 3, 1)[wall & seen.valid].max() < 0.95


def test_magnified_surfaces_are_whole(make_town: Any) -> None:
    town = make_town([((20.0, 0.0, 8.0), (2.0, 60.0, 16.0), BUILDING)])
    k = np.array([[80, 0, 63.5], [0, 80, 47.5], [0, 0, 1]])
    pose = yaw_matrix(0, (0, 0, 1.5)) @ BODY_T_OPTICAL
    near = np.diag([2.5, 2.5, 1]) @ (k - [[0, 0, 40], [0, 0, 30], [0, 0, 0]])
    given, ahead = town.view(k, pose, 96, 128), VirtualRig(near[None], pose[None], 90, 120)
    images, depth = torch.from_numpy(given.image)[None], torch.from_numpy(given.depth)[None]
    seen = transfer(images, depth, None, k[None], pose[None], ahead)
    truth = torch.from_numpy(town.view(near, pose, 90, 120).depth)[None]
    assert seen.valid.all()
    assert (seen.depth > 0).float().mean() > 0.999
    assert rel_error(seen.depth, truth, seen.depth > 0) < 0.005


def test_sky_goes_by_direction() -> None:
    v, u = torch.meshgrid(torch.arange(60.0), torch.arange(90.0), indexing="ij")
    image = torch.stack([u / 90, v / 60, 0.5 + 0 * u])[None]
    k = np.array([[80, 0, 44.5], [0, 80, 29.5], [0, 0, 1]])
    pose = yaw_matrix(0, (0, 0, 1.5)) @ BODY_T_OPTICAL
    away = yaw_matrix(np.deg2rad(10), (5, 3, 4)) @ BODY_T_OPTICAL  # five metres off, ten degrees to the left
    nothing = torch.zeros(1, 60, 90)
    seen = transfer(image, nothing, None, k[None], pose[None], VirtualRig(k[None], away[None], 60, 90))
    # 10 degrees to the left of the new middle is ... the old picture's column at -10 degrees of the new axis.
    middle = seen.images[0, :, 29, 44]
    assert seen.valid[0, 29, 44]
    expected = (44.5 - 80 * np.tan(np.deg2rad(10))) / 90
    assert abs(float(middle[0]) - expected) < 0.01
    assert abs(float(middle[1]) - 29 / 60) < 0.01
    assert not seen.valid[0, :, :5].any(), "beyond the old picture nothing is known"
    assert not seen.depth.any()
    shaded = transfer(
        image, nothing, None, k[None], pose[None], VirtualRig(k[None], away[None], 60, 90),
        torch.full((1, 60, 90), FREE, dtype=torch.uint8),
    )  # fmt: skip
    labelled = shaded.semantics != UNKNOWN
    assert labelled.sum() > 0.95 * shaded.valid.sum()
    assert (shaded.semantics[labelled] == FREE).all()


def test_without_depth_and_sky_nothing_is_valid(six: Pictures, six_cameras: Any, five_cameras: Any) -> None:
    none = torch.zeros_like(six.depth)
    seen = move(six, six_cameras, rig(five_cameras), depth=none, sky=none.bool())
    assert not seen.valid.any()
    assert (seen.semantics == UNKNOWN).all()
    for values in (seen.images, seen.depth, seen.confidence):
        assert torch.isfinite(values).all()
        assert not values.any()


def test_hidden_pixels_and_doubtful_depth(six: Pictures, six_cameras: Any) -> None:
    shown = torch.ones_like(six.depth, dtype=torch.bool)
    shown[:, 60:80, 40:90] = False
    black = torch.where(shown[:, None], six.images, torch.zeros(()))
    seen = move(six._replace(images=black), six_cameras, rig(six_cameras), pixel_mask=shown)
    inner = torch.zeros_like(shown)
    inner[:, 66:74, 50:80] = True
    overlap = seen.valid & inner
    assert overlap.float().sum() < 0.5 * inner.sum(), "only other cameras can show what is hidden"
    assert psnr(seen.images, six.images, seen.valid & shown) > 35, "nothing black is blended in"
    grey = torch.where(shown[:, None], torch.full_like(six.images, 0.7), torch.zeros(()))
    aside = move(six._replace(images=grey), six_cameras, turned(rig(six_cameras), 0.05), pixel_mask=shown)
    torch.testing.assert_close(aside.images, torch.full_like(grey, 0.7))
    doubtful = move(six, six_cameras, rig(six_cameras), confidence=torch.full_like(six.depth, 0.25))
    assert doubtful.confidence.max() < 0.26
    assert torch.equal(doubtful.valid, move(six, six_cameras, rig(six_cameras)).valid)


def test_there_and_back_again(six: Pictures, six_cameras: Any, five_cameras: Any) -> None:
    there = move(six, six_cameras, rig(five_cameras))
    back = transfer(
        there.images, there.depth, there.confidence, five_cameras.intrinsics, five_cameras.ego_T_camera,
        rig(six_cameras), there.semantics, pixel_mask=there.valid,
    )  # fmt: skip
    front = torch.zeros_like(back.valid)
    front[:3] = True  # the front cameras look where both rigs do
    both = back.valid & front
    assert both[:3].float().mean() > 0.55
    assert psnr(back.images, six.images, both) > 23
    surface = both & (back.depth > 0) & (six.depth > 0) & (six.depth < 50)
    assert rel_error(back.depth, six.depth, surface) < 0.03


def test_it_is_a_function_of_its_input_and_the_order_of_cameras_does_not_matter(
    six: Pictures, six_cameras: Any, five_cameras: Any
) -> None:
    before = [value.clone() for value in six]
    first, second = (move(six, six_cameras, rig(five_cameras)) for _ in range(2))
    for a, b in zip(first, second, strict=True):
        assert torch.equal(a, b)
    for value, kept in zip(six, before, strict=True):
        assert torch.equal(value, kept)
    order = [3, 1, 5, 0, 2, 4]
    shuffled = transfer(
        six.images[order], six.depth[order], None, six_cameras.intrinsics[order], six_cameras.ego_T_camera[order],
        rig(five_cameras), six.semantics[order],
    )  # fmt: skip
    assert (shuffled.valid == first.valid).float().mean() > 0.9999
    assert psnr(shuffled.images, first.images, first.valid & shuffled.valid) > 50


@settings(max_examples=6, deadline=None)
@given(count=st.integers(1, 12), seed=st.integers(0, 1000))
def test_any_number_of_cameras(make_town: Any, count: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    town = make_town([((10.0, 4.0, 1.0), (4.0, 2.0, 2.0), VEHICLE), ((-12.0, 0.0, 3.0), (2.0, 20.0, 6.0), BUILDING)])
    k = np.array([[40, 0, 31.5], [0, 40, 17.5], [0, 0, 1]])
    poses = np.stack([
        yaw_matrix(yaw, (*rng.uniform(-1, 2, 2), rng.uniform(1, 2.5))) @ BODY_T_OPTICAL
        for yaw in rng.uniform(-np.pi, np.pi, count)
    ])  # fmt: skip
    views = [town.view(k, pose, 36, 64) for pose in poses]
    images, depth, labels = (torch.from_numpy(np.stack(parts)) for parts in zip(*views, strict=True))
    new = turned(VirtualRig(np.stack([k] * 3), poses[rng.integers(0, count, 3)], 30, 50), 0.3)
    seen = transfer(images, depth, None, np.stack([k] * count), poses, new, labels)
    assert seen.images.shape == (3, 3, 30, 50)
    assert all(torch.isfinite(v.float()).all() for v in seen)
    assert seen.images.min() >= 0
    assert seen.images.max() <= 1
    assert not (seen.depth > 0)[~seen.valid].any()
    assert seen.valid.any()


def test_shapes_are_checked(six: Pictures, six_cameras: Any) -> None:
    with pytest.raises(DataError, match="depth"):
        move(six, six_cameras, rig(six_cameras), depth=six.depth[:-1])
    with pytest.raises(DataError, match="semantics"):
        move(six, six_cameras, rig(six_cameras), semantics=six.semantics[:, 1:])


def test_a_real_frame_predicts_the_picture_taken_farther_on(real_data: Path) -> None:
    """The front picture of a third rig, re-rendered 1.3 m ahead from completed lidar, against the one taken there."""
    folder = real_data / "ddad"
    first, second = (json.loads((folder / f"scene_02_f{i}" / "frame.json").read_text()) for i in (0, 1))
    with np.load(folder / "scene_02_f0" / first["lidar"]["npz"]) as archive:
        points = transform(np.array(first["lidar"]["T_ego_lidar"]), archive[archive.files[0]][:, :3])
    images, ks, poses = [], [], []
    for i, frame in enumerate((first, second)):
        camera = frame["cameras"][0]
        picture = Image.open(folder / f"scene_02_f{i}" / camera["image"]).resize((200, 126), Image.Resampling.BILINEAR)
        images.append(torch.from_numpy(np.asarray(picture, dtype=np.float32).transpose(2, 0, 1) / 255)[None])
        ks.append((resize_affine(200 / 1936, 126 / 1216) @ np.array(camera["K"]))[None])
        moved = (np.array(m) for m in (first["T_world_ego"], camera["T_world_ego"], camera["T_ego_cam"]))
        poses.append(camera_to_key_ego(*moved)[None])
    u, v, depth = lidar_points_in_camera(points, poses[0][0], ks[0][0], 200, 126).T
    sparse = rasterise_depth(u, v, depth, 126, 200)
    completed = complete_depth(images[0][0].numpy(), sparse, ks[0][0], poses[0][0])
    dense, confidence, sky = (torch.from_numpy(part)[None] for part in completed)
    ahead = VirtualRig(ks[1], poses[1], 126, 200)
    seen = transfer(images[0], dense, confidence, ks[0], poses[0], ahead, sky=sky)
    turned_only = transfer(images[0], torch.full_like(dense, 1e4), None, ks[0], poses[0], ahead, sky=sky & False)
    both = seen.valid & turned_only.valid
    both[:, :60] = False  # leaves
    assert both[:, 60:].float().mean() > 0.8
    assert psnr(seen.images, images[1], both) > psnr(turned_only.images, images[1], both) + 1
