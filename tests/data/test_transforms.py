from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from made_frames import GRID, LENS, camera, frame, marked_frame, same, some_label
from real_frames import ddad_frames, nuscenes_frames, record, waymo_frame
from scipy import ndimage

from ugocc.data.batch import Batch
from ugocc.data.frame import OccupancyLabel
from ugocc.data.occupancy import label_on_grid, own_grid
from ugocc.data.prepare import InputSettings, prepare
from ugocc.data.transforms import AugmentSettings, jitter_colour, make_sample
from ugocc.geometry.camera import project
from ugocc.geometry.grid import VoxelGrid
from ugocc.geometry.rigid import inverse, transform
from ugocc.labels import PEDESTRIAN, UNKNOWN

SMALL = InputSettings(264, 96, GRID)
STILL = AugmentSettings(scale=(0.0, 0.0), rotation_degrees=0.0, flip=0.0, bev_flip_x=0.0, bev_flip_y=0.0)
STRONG = AugmentSettings(scale=(-0.2, 0.3), rotation_degrees=15.0, crop=0.3, colour=0.3)
AUGMENTS = {
    "none": None,
    "scale": replace(STILL, scale=(-0.15, 0.2)),
    "rotation": replace(STILL, rotation_degrees=12.0),
    "flip": replace(STILL, flip=1.0),
    "crop": replace(STILL, crop=0.4),
    "bev x": replace(STILL, bev_flip_x=1.0),
    "bev y": replace(STILL, bev_flip_y=1.0),
    "bev turn": replace(STILL, bev_turn=30.0),
    "bev shift": replace(STILL, bev_shift=4.0, bev_flip_x=1.0),
    "bev scale": replace(STILL, bev_scale=0.3, bev_shift=1.0),
    "recipe": AugmentSettings(),
    "strong": STRONG,
}


def volume_to_pixels(batch: Batch, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pixels (N, P, 2) and depth (N, P) of points (P, 3) of the volume's frame, by what the batch says alone."""
    volume_T_camera = batch.volume_T_camera()[0].double().numpy()
    camera_T_volume = np.linalg.inv(volume_T_camera)
    in_camera = points @ camera_T_volume[:, :3, :3].swapaxes(1, 2) + camera_T_volume[:, None, :3, 3]
    image = in_camera @ batch.pixel_intrinsics()[0].double().numpy().swapaxes(1, 2)
    return image[..., :2] / image[..., 2:], image[..., 2]


def ego_to_volume(batch: Batch, points: np.ndarray) -> np.ndarray:
    bev_T_ego = batch.bev_T_ego[0].double().numpy()
    return points @ bev_T_ego[:3, :3].T + bev_T_ego[:3, 3]


MARKS = np.array([(d, y * d, z) for d, z in ((6.0, -0.3), (9.0, 0.4)) for y in (-0.45, -0.2, 0.05, 0.3, 0.5)])


@pytest.mark.parametrize("lens", [np.zeros(5), LENS], ids=["ideal", "distorted"])
@pytest.mark.parametrize("augment", AUGMENTS.values(), ids=AUGMENTS.keys())
def test_image_depth_and_labels_follow_the_calibration(augment, lens):
    """A marked point is seen, labelled and measured within a pixel of where the batch's matrices project it."""
    cameras = (
        camera("tall", size=(400, 300), distortion=lens),
        camera("low", yaw=5.0, size=(400, 130), distortion=lens),
        camera("large", yaw=-8.0, size=(800, 560), distortion=lens),
    )
    prepared = prepare(marked_frame(MARKS, cameras, radius=3.0), SMALL)
    seen = 0
    for seed in range(4):
        batch = make_sample(prepared, SMALL, augment, np.random.default_rng(seed))
        pixels, depth = volume_to_pixels(batch, ego_to_volume(batch, MARKS))
        for n in range(3):
            brightness = batch.images[0, n].mean(0).numpy()
            spots, count = ndimage.label(brightness > 0.15)
            lit = np.array(ndimage.center_of_mass(brightness, spots, range(1, count + 1))).reshape(-1, 2)[:, ::-1]
            labelled = np.argwhere(batch.semantics_2d[0, n].numpy() == PEDESTRIAN)[:, ::-1]
            for (u, v), metres in zip(pixels[n], depth[n], strict=True):
                # Clear of the canvas border and of the picture's own border inside it.
                window = batch.pixel_mask[0, n, max(0, int(v) - 6) : int(v) + 8, max(0, int(u) - 6) : int(u) + 8]
                if not (7 < u < 256 and 7 < v < 88) or not window.all():
                    continue
                seen += 1
                assert np.hypot(*(lit - (u, v)).T).min() < 1.0
                near = labelled[np.hypot(*(labelled - (u, v)).T) < 5]
                assert np.hypot(*(near.mean(0) - (u, v))) < 1.0
                at = batch.depth[0, n].numpy()[int(np.rint(v)), int(np.rint(u))]
                near_depth = batch.depth[0, n].numpy()[int(v) - 1 : int(v) + 3, int(u) - 1 : int(u) + 3]
                assert at == pytest.approx(metres, abs=1e-3) or np.abs(near_depth - metres).min() < 1e-3
    assert seen > 20


def real_frames(real_data):
    return [nuscenes_frames(real_data)[0], waymo_frame(real_data), ddad_frames(real_data)[0]]


def camera_from_lidar(about: dict, camera: dict) -> np.ndarray:
    if "T_cam_lidar" in camera:
        return np.array(camera["T_cam_lidar"])
    return np.linalg.inv(np.array(camera["T_world_cam"])) @ np.array(about["lidar"]["T_world_lidar"])


@pytest.mark.parametrize("augment", [None, AugmentSettings(), STRONG], ids=["none", "recipe", "strong"])
def test_real_lidar_lands_on_the_right_pixels(real_data, augment):
    """Against matrices of frame.json that we did not compose, and a loop instead of our rasteriser."""
    for shown, folder in ((nuscenes_frames(real_data)[0], "nuscenes"), (ddad_frames(real_data)[0], "ddad")):
        about = record(real_data / folder / shown.token)
        points = shown.lidar.points()[:, :3].astype(np.float64)
        batch = make_sample(prepare(shown, SMALL), SMALL, augment, np.random.default_rng(5))
        for n, recorded in enumerate(about["cameras"]):
            matrix = camera_from_lidar(about, recorded)
            image = (points @ matrix[:3, :3].T + matrix[:3, 3]) @ np.array(recorded["K"], dtype=float).T
            image = image[(image[:, 2] >= 1) & (image[:, 2] <= 60)]
            u, v = (image[:, :2] / image[:, 2:]).T
            kept = (u >= -0.5) & (u < recorded["width"] - 0.5) & (v >= -0.5) & (v < recorded["height"] - 0.5)
            affine = batch.image_affine[0, n].double().numpy()
            network = np.column_stack([u, v, np.ones_like(u)])[kept] @ affine.T
            expected = np.full((96, 264), np.inf)
            for (column, row), metres in zip(np.floor(network[:, :2] + 0.5).astype(int), image[kept, 2], strict=True):
                if 0 <= row < 96 and 0 <= column < 264:
                    expected[row, column] = min(expected[row, column], metres)
            expected[~np.isfinite(expected) | ~batch.pixel_mask[0, n].numpy()] = 0
            found = batch.depth[0, n].numpy()
            assert (expected > 0).sum() > 300
            # Matrices in the file are rounded: a few points sit on the border between two pixels.
            differs = np.abs(found - expected) > 0.01
            assert differs.sum() <= 0.03 * (expected > 0).sum()


@pytest.mark.parametrize("augment", [None, STRONG], ids=["none", "strong"])
def test_voxel_to_pixel_to_voxel_on_every_rig(real_data, augment):
    rng = np.random.default_rng(0)
    for shown in real_frames(real_data):
        batch = make_sample(prepare(shown, SMALL, labelled=False), SMALL, augment, rng)
        cells = np.argwhere(rng.uniform(size=GRID.shape) < 0.2)
        centres = GRID.centres()[tuple(cells.T)]
        pixels, depth = volume_to_pixels(batch, centres)
        pixel_T_camera = batch.pixel_intrinsics()[0].double().numpy()
        volume_T_camera = batch.volume_T_camera()[0].double().numpy()
        seen = 0
        for n in range(len(shown.cameras)):
            on_image = (depth[n] > 0.5) & (pixels[n] >= -0.5).all(1) & (pixels[n] < (263.5, 95.5)).all(1)
            homogeneous = np.column_stack([pixels[n][on_image], np.ones(on_image.sum())])
            in_camera = homogeneous @ np.linalg.inv(pixel_T_camera[n]).T * depth[n][on_image, None]
            back, inside = GRID.index(in_camera @ volume_T_camera[n, :3, :3].T + volume_T_camera[n, :3, 3])
            assert inside.all()
            np.testing.assert_array_equal(back, cells[on_image])
            seen += on_image.sum()
        assert seen > 500


@pytest.mark.parametrize("grid", [GRID, VoxelGrid((-10.0, -20.0, -1.0), (100, 60, 16), 0.4)])
@pytest.mark.parametrize(("x", "y"), [(0.0, 0.0), (1.0, 0.0), (0.0, 1.0), (1.0, 1.0)])
def test_mirrored_labels_stay_where_bev_T_ego_puts_them(grid, x, y):
    sizes = InputSettings(264, 96, grid)
    prepared = prepare(frame((camera("a"),), occupancy=some_label()), sizes)
    batch = make_sample(prepared, sizes, replace(STILL, bev_flip_x=x, bev_flip_y=y), np.random.default_rng(0))
    cells, inside = grid.index(ego_to_volume(batch, grid.centres().reshape(-1, 3)))
    assert inside.all()
    arrays = (batch.occupancy, batch.camera_visible, batch.lidar_visible)
    recorded = label_on_grid(prepared.occupancy, own_grid(prepared.occupancy, grid), grid)
    for moved, own in zip(arrays, recorded, strict=True):
        np.testing.assert_array_equal(moved[0].numpy()[tuple(cells.T)], own.ravel())
    assert np.linalg.det(batch.bev_T_ego[0].numpy()) == (-1) ** (x + y)


@pytest.mark.parametrize("lower", [-20.0, -10.0, 0.0])
def test_a_mirrored_volume_is_turned_and_stretched_about_the_vehicle(lower):
    sizes = InputSettings(264, 96, VoxelGrid((lower, -20.0, -1.0), (100, 100, 16), 0.4))
    prepared = prepare(frame((camera("a"),)), sizes)
    mirrored = make_sample(prepared, sizes, replace(STILL, bev_flip_x=1.0), np.random.default_rng(0))
    augment = replace(STILL, bev_flip_x=1.0, bev_turn=40.0, bev_scale=0.2)
    for seed in range(3):
        batch = make_sample(prepared, sizes, augment, np.random.default_rng(seed))
        assert not torch.allclose(batch.bev_T_ego[0, :2, :2], mirrored.bev_T_ego[0, :2, :2], atol=0.01)
        torch.testing.assert_close(batch.bev_T_ego[0, :3, 3], mirrored.bev_T_ego[0, :3, 3])


@pytest.mark.parametrize("grid", [GRID, VoxelGrid((-10.0, -20.0, -1.0), (100, 60, 16), 0.4)])
def test_labels_of_a_moved_volume_are_those_of_the_nearest_voxels(grid):
    """Nearest in voxels of the label's own size, and joined to those of the grid only then."""
    sizes = InputSettings(264, 96, grid)
    prepared = prepare(frame((camera("a"),), occupancy=some_label()), sizes)
    fine = own_grid(prepared.occupancy, grid)
    assert fine.voxel_size == pytest.approx(0.4)
    augment = replace(STILL, bev_turn=40.0, bev_shift=5.0, bev_scale=0.2, bev_flip_y=0.5)
    for seed in range(4):
        batch = make_sample(prepared, sizes, augment, np.random.default_rng(seed))
        ego_T_bev = np.linalg.inv(batch.bev_T_ego[0].double().numpy())
        cells, inside = fine.index(fine.centres() @ ego_T_bev[:3, :3].T + ego_T_bev[:3, 3])
        assert 0.5 < inside.mean() < 1
        moved = OccupancyLabel(*(np.full(fine.shape, nothing) for nothing in (np.uint8(UNKNOWN), False, False)))
        for new, own in zip(moved, prepared.occupancy, strict=True):
            new[inside] = own[tuple(cells[inside].T)]
        found = (batch.occupancy, batch.camera_visible, batch.lidar_visible)
        for array, expected in zip(found, label_on_grid(moved, fine, grid), strict=True):
            assert (array[0].numpy() != expected).mean() < 2e-4  # bev_T_ego is float32: borders of voxels


def test_a_sample_holds_the_bottom_rows_untouched():
    picture = np.random.default_rng(0).integers(0, 256, (149, 264, 3), dtype=np.uint8)
    view = replace(camera("a", size=(264, 149)), image=partial(same, picture))
    prepared = prepare(frame((view,)), SMALL)
    for augment in (None, STILL):
        batch = make_sample(prepared, SMALL, augment, np.random.default_rng(0))
        expected = torch.from_numpy(picture[-96:].transpose(2, 0, 1) / np.float32(255))
        torch.testing.assert_close(batch.images[0, 0], expected, rtol=0, atol=1e-7)
        assert batch.pixel_mask.all()


def test_of_a_tall_picture_a_sample_holds_the_rows_around_the_horizon():
    picture = np.random.default_rng(0).integers(0, 256, (352, 264, 3), dtype=np.uint8)
    view = replace(camera("a", size=(264, 352)), image=partial(same, picture))
    moment = frame((view,))
    pose = moment.ego_T_camera(view)
    far = pose[:3, 3] + 1e6 * pose[:3, 2] * (1, 1, 0)  # at the height of the camera
    (_, horizon), _ = project(transform(inverse(pose), far), view.intrinsics)
    first = round(horizon) - 24
    assert 0 < first < 352 - 96
    for augment in (None, STILL):
        batch = make_sample(prepare(moment, SMALL), SMALL, augment, np.random.default_rng(0))
        expected = torch.from_numpy(picture[first : first + 96].transpose(2, 0, 1) / np.float32(255))
        torch.testing.assert_close(batch.images[0, 0], expected, rtol=0, atol=1e-7)
        assert batch.image_affine[0, 0, 1, 2] == -first


def test_a_low_picture_is_padded_on_top_and_masked():
    view = camera("a", size=(264, 60))
    view = replace(view, image=partial(same, np.full((60, 264, 3), 255, np.uint8)))
    view = replace(view, semantics=partial(same, np.full((60, 264), PEDESTRIAN, np.uint8)))
    batch = make_sample(prepare(frame((view,)), SMALL), SMALL)
    for shown, outside, world in (
        (batch.images[0, 0, 0], 0, 1),
        (batch.pixel_mask[0, 0], False, True),
        (batch.semantics_2d[0, 0], UNKNOWN, PEDESTRIAN),
    ):
        assert (shown[:36] == outside).all()
        assert (shown[36:] == world).all()


def test_exact_shift_and_resampling_agree():
    """The road without interpolation and the one with it give the same sample."""
    prepared = prepare(marked_frame(MARKS, (camera("a"), camera("b", 10.0, (400, 130), LENS))), SMALL)
    exact = make_sample(prepared, SMALL)
    almost = replace(STILL, rotation_degrees=1e-7)
    resampled = make_sample(prepared, SMALL, almost, np.random.default_rng(0))
    torch.testing.assert_close(resampled.images, exact.images, rtol=0, atol=2e-3)
    assert (resampled.semantics_2d != exact.semantics_2d).float().mean() < 1e-3
    assert (resampled.pixel_mask != exact.pixel_mask).float().mean() < 1e-3
    torch.testing.assert_close(resampled.image_affine, exact.image_affine, rtol=0, atol=1e-5)


def test_resampling_equals_a_slow_reference():
    rng = np.random.default_rng(2)
    picture = ndimage.gaussian_filter(rng.uniform(0, 255, (198, 264, 3)), (2, 2, 0)).astype(np.uint8)
    view = replace(camera("a", size=(264, 198)), image=partial(same, picture))
    prepared = prepare(frame((view,)), SMALL)
    batch = make_sample(prepared, SMALL, replace(STRONG, colour=0.0), rng)
    network_T_prepared = batch.image_affine[0, 0].double().numpy()  # recorded at the prepared size
    v, u = np.mgrid[:96, :264]
    source = np.stack([u, v, np.ones_like(u)], -1) @ np.linalg.inv(network_T_prepared).T
    inside = ((source[..., :2] > 0) & (source[..., :2] < (263, 197))).all(-1)
    for channel in range(3):
        plane = picture[..., channel].astype(float) / 255
        expected = ndimage.map_coordinates(plane, [source[..., 1], source[..., 0]], order=1)
        np.testing.assert_allclose(batch.images[0, 0, channel].numpy()[inside], expected[inside], atol=1e-3)


def test_own_car_has_no_depth_and_no_label():
    cameras = marked_frame(MARKS, (camera("a"),)).cameras
    own = np.ones((300, 400), bool)
    hidden = replace(cameras[0], own_car=partial(same, own))
    batch = make_sample(prepare(frame((hidden,), MARKS), SMALL), SMALL)
    assert not batch.pixel_mask.any()
    assert not batch.depth.any()
    assert (batch.semantics_2d == UNKNOWN).all()
    assert not batch.images.any()


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**31))
def test_draws_stay_within_the_settings(seed):
    prepared = prepare(frame((camera("a"), camera("b"))), SMALL)
    augment = AugmentSettings(crop=0.2)
    batch = make_sample(prepared, SMALL, augment, np.random.default_rng(seed))
    for camera_affine, view in zip(batch.image_affine[0].double().numpy(), prepared.cameras, strict=True):
        affine = camera_affine @ np.linalg.inv(view.prepared_T_recorded)
        scale = np.sqrt(abs(np.linalg.det(affine)))
        assert 0.94 - 1e-5 <= scale <= 1.11 + 1e-5
        turn = np.rad2deg(np.arctan2(affine[0, 1] * np.sign(np.linalg.det(affine)), affine[1, 1]))
        assert abs(turn) <= 5.4 + 1e-4
        # The middle of the network's image shows a part of the picture.
        middle = np.linalg.solve(affine, [131.5, 47.5, 1])
        assert 0 < middle[0] < 264
        assert 0 < middle[1] < 198


def test_draws_reach_both_ends():
    prepared = prepare(frame((camera("a", size=(400, 225)),)), SMALL)
    scales, mirrored, spare_left = [], [], []
    for seed in range(80):
        batch = make_sample(prepared, SMALL, AugmentSettings(rotation_degrees=0.0), np.random.default_rng(seed))
        affine = batch.image_affine[0, 0].double().numpy() @ np.linalg.inv(prepared.cameras[0].prepared_T_recorded)
        scales.append(abs(affine[0, 0]))
        mirrored.append((affine[0, 0] < 0, *(batch.bev_T_ego[0].diagonal()[:2] < 0).tolist()))
        edges = affine[0, 0] * np.array([-0.5, 263.5]) + affine[0, 2]
        spare = 264 * scales[-1] - 264
        spare_left.append((-0.5 - edges.min()) / spare)
        bottom = affine[1] @ [0, prepared.cameras[0].image.shape[1] - 0.5, 1]
        assert bottom == pytest.approx(95.5, abs=1e-3)  # without jitter of the crop the bottom row stays
    assert min(scales) < 0.96
    assert max(scales) > 1.09
    assert len(set(mirrored)) == 8
    # The crop (or the padding of a shrunk picture) falls anywhere between left and right.
    assert -0.01 < min(spare_left) < 0.1
    assert 0.9 < max(spare_left) < 1.01
    assert np.mean(np.abs(np.array(spare_left) - 0.5) < 0.3) > 0.3


def test_a_flip_is_the_mirror_image():
    view = marked_frame(MARKS, (camera("a"),)).cameras[0]
    view = replace(view, image=partial(same, np.random.default_rng(0).integers(0, 256, (300, 400, 3), dtype=np.uint8)))
    prepared = prepare(frame((view,), MARKS), SMALL)
    plain = make_sample(prepared, SMALL)
    flipped = make_sample(prepared, SMALL, AUGMENTS["flip"], np.random.default_rng(0))
    torch.testing.assert_close(flipped.images, plain.images.flip(-1), rtol=0, atol=1e-3)
    assert torch.equal(flipped.semantics_2d, plain.semantics_2d.flip(-1))
    assert torch.equal(flipped.depth, plain.depth.flip(-1))


def test_outside_a_turned_picture_is_black_and_unknown():
    view = replace(camera("a"), image=partial(same, np.full((300, 400, 3), 255, np.uint8)))
    view = replace(view, semantics=partial(same, np.full((300, 400), PEDESTRIAN, np.uint8)))
    turned = replace(STRONG, colour=0.0)
    batch = make_sample(prepare(frame((view,)), SMALL), SMALL, turned, np.random.default_rng(3))
    outside = ~batch.pixel_mask[0, 0]
    assert 200 < outside.sum() < 96 * 264 / 2
    assert not batch.images[0, 0, :, outside].any()
    assert (batch.images[0, 0, :, ~outside] > 0.1).all()
    assert (batch.semantics_2d[0, 0][outside] == UNKNOWN).all()
    assert (batch.semantics_2d[0, 0][~outside] == PEDESTRIAN).all()


def test_dropped_cameras_are_black_and_one_always_stays():
    prepared = prepare(marked_frame(MARKS, tuple(camera(str(i)) for i in range(4))), SMALL)
    kept = []
    for seed in range(30):
        augment = replace(STILL, camera_drop=0.5 if seed else 1.0, colour=0.5)
        batch = make_sample(prepared, SMALL, augment, np.random.default_rng(seed))
        gone = ~batch.camera_mask
        assert not batch.images[gone].any()
        assert not batch.depth[gone].any()
        assert not batch.pixel_mask[gone].any()
        assert (batch.semantics_2d[gone] == UNKNOWN).all()
        assert batch.depth[batch.camera_mask].flatten(1).any(1).all()
        kept.append(int(batch.camera_mask.sum()))
    assert kept[0] == 1
    assert min(kept) >= 1
    assert 1.5 < np.mean(kept[1:]) < 2.6


def test_augmentation_needs_a_generator_and_follows_it():
    prepared = prepare(marked_frame(MARKS, (camera("a"),)), SMALL)
    with pytest.raises(ValueError, match="random generator"):
        make_sample(prepared, SMALL, AugmentSettings())
    first, again, other = (make_sample(prepared, SMALL, STRONG, np.random.default_rng(s)) for s in (1, 1, 2))
    assert torch.equal(first.images, again.images)
    assert not torch.equal(first.images, other.images)


def test_colour_jitter():
    images = torch.rand(2, 3, 8, 9, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(jitter_colour(images, 0.0, np.random.default_rng(0)), images, rtol=0, atol=1e-5)
    before = images.clone()
    changed = jitter_colour(images, 0.4, np.random.default_rng(0))
    assert torch.equal(images, before)
    assert changed.min() >= 0
    assert changed.max() <= 1
    assert (changed - images).abs().mean() > 0.02
    # The same map for every pixel: equal colours stay equal.
    flat = images[:1, :, :1, :1].expand(2, 3, 8, 9)
    assert jitter_colour(flat, 0.4, np.random.default_rng(1)).flatten(2).std(dim=(0, 2)).max() < 1e-6


def test_black_padding_stays_black_under_colour_jitter():
    low = replace(camera("a", size=(264, 60)), image=partial(same, np.full((60, 264, 3), 128, np.uint8)))
    prepared = prepare(frame((low,)), SMALL)
    for seed in range(5):
        batch = make_sample(prepared, SMALL, replace(STILL, colour=0.5), np.random.default_rng(seed))
        assert not batch.images[0, 0, :, :36].any()


def test_matrices_are_composed_before_they_are_cast():
    """Far from the world's origin a float32 chain of poses would be off by centimetres."""
    views = (replace(camera("a"), world_T_ego=_far(camera("a").world_T_ego)),)
    far = replace(frame(views), world_T_ego=_far(frame(views).world_T_ego))
    batch = make_sample(prepare(far, SMALL), SMALL)
    near = make_sample(prepare(frame((camera("a"),)), SMALL), SMALL)
    torch.testing.assert_close(batch.ego_T_camera, near.ego_T_camera, rtol=0, atol=1e-6)
    assert batch.world_T_ego.dtype == torch.float64


def _far(pose: np.ndarray) -> np.ndarray:
    moved = pose.copy()
    moved[:3, 3] += (250_000.0, -420_000.0, 0.0)
    return moved


def test_a_volume_is_stretched_over_the_ground_and_keeps_its_heights():
    prepared = prepare(frame((camera("a"),)), SMALL)
    augment = replace(STILL, bev_scale=0.2)
    drawn = [make_sample(prepared, SMALL, augment, np.random.default_rng(seed)).bev_T_ego[0] for seed in range(30)]
    factors = torch.stack([matrix[0, 0] for matrix in drawn])
    assert 0.8 <= factors.min() < 0.9
    assert 1.1 < factors.max() <= 1.2
    for matrix, factor in zip(drawn, factors, strict=True):
        torch.testing.assert_close(matrix, torch.diag(torch.tensor([factor, factor, 1.0, 1.0])))
