from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from made_frames import GRID, LENS, camera, frame, marked_frame, refuse, same, some_label
from real_frames import ddad_frames, nuscenes_frames, record, waymo_frame
from scipy import ndimage

from ugocc.data.prepare import InputSettings, prepare, without_labels
from ugocc.errors import DataError
from ugocc.geometry.camera import distort, project
from ugocc.geometry.rigid import inverse, transform, yaw_matrix
from ugocc.labels import PEDESTRIAN, UNKNOWN, VEHICLE

SMALL = InputSettings(264, 96, GRID)
FISHEYE = np.array([0.035, -0.012, 0.004, -0.0007])


def with_picture(view, picture, **maps):
    return replace(view, image=partial(same, picture), **{k: partial(same, v) for k, v in maps.items()})


def smooth_picture(width, height, seed=0):
    """Structure of no less than a dozen pixels, so that a reference by another filter agrees."""
    noise = np.random.default_rng(seed).uniform(0, 255, (height, width, 3))
    blurred = ndimage.gaussian_filter(noise, (6, 6, 0))
    low, high = blurred.min(), blurred.max()
    return ((blurred - low) / (high - low) * 255).astype(np.uint8)


def slow_undistort_and_resize(picture, view, width, height, samples=6):
    """Mean of samples x samples bilinear look-ups per final pixel, straight from the definition of the lens."""
    total = np.zeros((height, width, 3))
    inverse_k = np.linalg.inv(view.intrinsics)
    for dy, dx in np.ndindex(samples, samples):
        u, v = np.meshgrid(np.arange(width) + (dx + 0.5) / samples, np.arange(height) + (dy + 0.5) / samples)
        u, v = u * view.width / width - 0.5, v * view.height / height - 0.5
        rays = np.stack([u, v, np.ones_like(u)], -1) @ inverse_k.T
        pixels = distort(rays[..., :2], view.distortion) @ view.intrinsics[:2, :2].T + view.intrinsics[:2, 2]
        for channel in range(3):
            plane = picture[..., channel].astype(np.float64)
            total[..., channel] += ndimage.map_coordinates(plane, [pixels[..., 1], pixels[..., 0]], order=1)
    return total / samples**2


@pytest.mark.parametrize("lens", [np.zeros(5), LENS, FISHEYE], ids=["ideal", "distorted", "fisheye"])
@pytest.mark.parametrize("size", [(400, 300), (700, 320), (264, 149), (200, 90)])
def test_pictures_equal_a_slow_reference(lens, size):
    view = camera("front", size=size, distortion=lens)
    picture = smooth_picture(*size)
    made = prepare(frame((with_picture(view, picture),)), SMALL).cameras[0]
    height = round(size[1] * 264 / size[0])
    assert made.image.shape == (3, height, 264)
    expected = slow_undistort_and_resize(picture, view, 264, height)
    inner = np.s_[4:-4, 4:-4]
    visible = ndimage.binary_erosion(np.ones((height, 264)) if made.visible is None else made.visible, iterations=3)
    difference = np.abs(made.image.transpose(1, 2, 0) - expected)[inner][visible[inner]]
    assert difference.mean() < 1.0
    assert difference.max() < 6.0


@pytest.mark.parametrize("lens", [np.zeros(5), LENS], ids=["ideal", "distorted"])
def test_a_picture_that_was_read_smaller_is_the_same_picture(lens):
    size = (2112, 1184)
    picture = smooth_picture(*size)
    view = with_picture(camera("front", size=size, distortion=lens), picture)
    asked = []

    def smaller(least):
        asked.append(least)
        return picture.reshape(592, 2, 1056, 2, 3).mean(axis=(1, 3)).astype(np.uint8)

    whole, shrunk = (
        prepare(frame((one,)), SMALL).cameras[0] for one in (view, replace(view, image=smaller, shrinks=True))
    )
    assert asked == [(264, 148) if lens is not LENS else (528, 296)]
    inner = np.s_[:, 4:-4, 4:-4]
    difference = np.abs(whole.image.astype(float) - shrunk.image)[inner]
    assert difference.mean() < 1.5
    assert difference.max() < 6
    np.testing.assert_array_equal(whole.prepared_T_recorded, shrunk.prepared_T_recorded)


def test_a_picture_shrunk_by_another_factor_is_an_error():
    view = replace(
        camera("front", size=(1320, 800)), image=lambda least: np.zeros((266, 440, 3), np.uint8), shrinks=True
    )
    with pytest.raises(DataError, match=r"\(266, 440, 3\) uint8, expected \(800, 1320, 3\)"):
        prepare(frame((view,)), SMALL)


@pytest.mark.parametrize("lens", [np.zeros(5), LENS], ids=["ideal", "distorted"])
def test_shrinking_does_not_alias(lens):
    """A chequerboard finer than the final pixels becomes grey, not a new pattern."""
    view = camera("front", size=(1320, 800), distortion=lens)
    board = np.indices((800, 1320)).sum(0) % 2 * 255
    picture = np.repeat(board[..., None], 3, axis=2).astype(np.uint8)
    made = prepare(frame((with_picture(view, picture),)), SMALL).cameras[0]
    inner = made.image[:, 30:-30, 40:-40].astype(float)
    assert abs(inner.mean() - 127.5) < 2
    assert inner.std() < 6


def test_a_picture_of_the_right_size_is_left_as_it_is():
    picture = np.random.default_rng(0).integers(0, 256, (149, 264, 3), dtype=np.uint8)
    made = prepare(frame((with_picture(camera("front", size=(264, 149)), picture),)), SMALL).cameras[0]
    np.testing.assert_array_equal(made.image, picture.transpose(2, 0, 1))


@pytest.mark.parametrize("lens", [np.zeros(5), LENS], ids=["ideal", "distorted"])
def test_labels_take_the_nearest_recorded_pixel(lens):
    size = (400, 300)
    view = camera("front", distortion=lens)
    labels = np.random.default_rng(1).integers(0, 10, (300, 400), dtype=np.uint8)
    own = np.zeros((300, 400), bool)
    own[250:, 100:300] = True
    made = prepare(
        frame((with_picture(view, np.zeros((300, 400, 3), np.uint8), semantics=labels, own_car=own),)), SMALL
    )
    found = made.cameras[0]
    inverse_k = np.linalg.inv(view.intrinsics)
    wrong = 0
    for row, column in np.random.default_rng(2).integers(0, (198, 264), (300, 2)):
        ideal = ((column + 0.5) * size[0] / 264 - 0.5, (row + 0.5) * size[1] / 198 - 0.5)
        u, v = distort((inverse_k @ [*ideal, 1])[:2], lens) @ view.intrinsics[:2, :2].T + view.intrinsics[:2, 2]
        inside = -0.5 <= u < size[0] - 0.5 and -0.5 <= v < size[1] - 0.5
        at = (int(np.floor(v + 0.5)), int(np.floor(u + 0.5)))
        shows_world = inside and not own[at]
        expected = labels[at] if shows_world else UNKNOWN
        wrong += found.semantics[row, column] != expected or found.visible[row, column] != shows_world
    assert wrong <= 1  # one point in 300 may sit on the border of two pixels


def test_outside_the_recorded_picture_is_black_and_masked():
    """A pincushion lens shows less than the ideal picture holds: its corners have no pixels."""
    pincushion = np.array([0.3, 0.0, 0.0, 0.0, 0.0])
    view = with_picture(camera("front", distortion=pincushion), np.full((300, 400, 3), 200, np.uint8))
    made = prepare(frame((view,)), SMALL).cameras[0]
    assert not made.visible[0, 0]
    assert made.visible[99, 132]
    assert (made.image[:, ~made.visible] == 0).all()
    assert (made.image[:, made.visible] == 200).all()


def test_a_lens_that_folds_back_shows_nothing_beyond_the_fold():
    barrel = np.array([-0.9, 0.0, 0.0, 0.0, 0.0])  # grows to radius 0.61, then comes back
    made = prepare(
        frame((with_picture(camera("front", distortion=barrel), np.full((300, 400, 3), 200, np.uint8)),)), SMALL
    )
    rays = (np.array([[0.0, 0, 1], [132, 95, 1]]) * (400 / 264, 300 / 198, 1)) @ np.linalg.inv(camera("x").intrinsics).T
    assert np.linalg.norm(rays[0, :2]) > 0.61 > np.linalg.norm(rays[1, :2])
    assert not made.cameras[0].visible[0, 0]
    assert made.cameras[0].visible[95, 132]


def test_marked_points_are_found_where_an_ideal_camera_sees_them():
    points = np.array([(9.0, y, z) for y in (-3.0, 0.3, 3.6) for z in (-0.6, 1.6, 3.2)])
    views = (
        camera("a", distortion=LENS),
        camera("b", yaw=8.0),
        camera("c", yaw=-5.0, size=(900, 700), distortion=LENS),
    )
    shown = marked_frame(points, views, radius=4.0)
    made = prepare(shown, SMALL)
    for view, prepared in zip(shown.cameras, made.cameras, strict=True):
        in_camera = transform(inverse(shown.ego_T_camera(view)), points)
        ideal, depth = project(in_camera, prepared.prepared_T_recorded @ prepared.intrinsics)
        spots, count = ndimage.label(prepared.image[0] > 60)
        centres = np.array(ndimage.center_of_mass(prepared.image[0], spots, range(1, count + 1)))[:, ::-1]
        assert count == len(points)
        for pixel in ideal:
            assert np.linalg.norm(centres - pixel, axis=1).min() < 0.35
            assert prepared.semantics[tuple(np.rint(pixel[::-1]).astype(int))] == PEDESTRIAN
        order = [np.linalg.norm(prepared.lidar[:, :2] - pixel, axis=1).argmin() for pixel in ideal]
        np.testing.assert_allclose(prepared.lidar[order], np.column_stack([ideal, depth]), atol=1e-3)


def test_labels_are_cut_to_the_box_of_the_model_in_their_own_voxels():
    made = prepare(frame((camera("a"),), occupancy=some_label()), SMALL).occupancy
    assert made.semantics.shape == (128, 128, 16)
    np.testing.assert_array_equal(made.semantics, some_label().semantics[36:-36, 36:-36])
    assert prepare(frame((camera("a"),)), SMALL).occupancy is None


def unreadable(plain):
    """The frame, whose every label bursts when it is read."""
    cameras = tuple(replace(view, semantics=partial(refuse, "a 2D label")) for view in plain.cameras)
    lidar = replace(plain.lidar, points=partial(refuse, "lidar"), labels=partial(refuse, "a lidar label"))
    return replace(plain, cameras=cameras, lidar=lidar, sweeps=(lidar,), occupancy=partial(refuse, "occupancy"))


def test_an_unlabelled_frame_is_prepared_without_touching_labels():
    shown = unreadable(frame((camera("a"), camera("b", 90.0)), np.ones((5, 3)), some_label()))
    with pytest.raises(AssertionError, match="was read"):
        prepare(shown, SMALL)
    made = prepare(shown, SMALL, labelled=False)
    assert made.occupancy is None
    assert all(view.semantics is None and len(view.lidar) == 0 for view in made.cameras)
    bare = without_labels(shown)
    assert (bare.lidar, bare.sweeps, bare.occupancy, bare.boxes) == (None, (), None, ())


def test_the_own_car_has_the_mean_colour_of_the_rest():
    """The networks see no mask: what is not to speak of the street must not be there to see."""
    picture = np.full((300, 400, 3), 200, np.uint8)
    picture[250:, 100:300] = 30, 60, 90
    own = np.zeros((300, 400), bool)
    own[250:, 100:300] = True
    for lens in (np.zeros(5), LENS):
        made = prepare(frame((with_picture(camera("front", distortion=lens), picture, own_car=own),)), SMALL).cameras[0]
        inner = ndimage.binary_erosion(made.visible, iterations=3)  # its border is mixed when pictures are resized
        assert (made.image[:, inner] == 200).all()
        mean = made.image[:, made.visible].mean(axis=1).astype(np.uint8)[:, None]
        assert mean.min() > 190
        covered = made.image[:, ~made.visible] == mean
        assert covered.all()
        assert covered.size > 6000


def test_pixels_beside_the_fold_of_a_lens_do_not_show_the_border():
    folds = np.array([-0.3, 0, 0, 0, 0.0])
    picture = np.full((900, 1200, 3), 200, np.uint8)
    picture[:30], picture[:, :30] = 0, 0
    view = camera("front", size=(1200, 900), distortion=folds)
    focal = np.diag([400.0, 400.0, 1.0])
    focal[:2, 2] = 599.5, 449.5
    made = prepare(frame((with_picture(replace(view, intrinsics=focal), picture),)), InputSettings()).cameras[0]
    assert 0.2 < made.visible.mean() < 0.95
    assert (made.image[:, made.visible] == 200).all()
    assert not made.image[:, ~made.visible].any()


def test_contents_that_contradict_the_calibration_are_refused():
    small = np.zeros((10, 20, 3), np.uint8)
    with pytest.raises(DataError, match=r"front.jpg: image: found \(10, 20, 3\)"):
        prepare(frame((with_picture(camera("front"), small),)), SMALL)
    with pytest.raises(DataError, match=r"front.jpg: semantics: found shape \(10, 20\)"):
        prepare(frame((replace(camera("front"), semantics=partial(same, small[..., 0])),)), SMALL)
    with pytest.raises(DataError, match="own_car"):
        prepare(frame((replace(camera("front"), own_car=partial(same, small[..., 0])),)), SMALL)
    with pytest.raises(DataError, match="cameras"):
        prepare(frame(()), SMALL)


def test_real_rigs_keep_their_aspect(real_data):
    heights = {"nuscenes": {396}, "waymo": {469, 325}, "ddad": {442}}
    for shown in (nuscenes_frames(real_data)[0], waymo_frame(real_data), ddad_frames(real_data)[0]):
        made = prepare(shown, InputSettings(), labelled=False)
        assert {view.image.shape for view in made.cameras} == {(3, h, 704) for h in heights[shown.fleet]}
        for view, prepared in zip(shown.cameras, made.cameras, strict=True):
            corner = prepared.prepared_T_recorded @ [view.width - 0.5, view.height - 0.5, 1]
            np.testing.assert_allclose(corner[:2], (703.5, prepared.image.shape[1] - 0.5), atol=1e-9)


def test_undistorted_waymo_labels_agree_with_projected_boxes(real_data):
    """Human labels of the recorded pictures, undistorted here, against 3D boxes seen by an ideal pinhole."""
    shown = waymo_frame(real_data)
    boxes = [b for b in record(real_data / "waymo" / shown.token)["boxes_3d"] if b["num_lidar_pts"] >= 100]
    made = prepare(shown, InputSettings())
    wanted = {"vehicle": VEHICLE, "pedestrian": PEDESTRIAN}
    agree = total = 0
    for view, prepared in zip(shown.cameras, made.cameras, strict=True):
        for box in boxes:
            if box["name"] not in wanted:
                continue
            corners = np.array([(x, y, z) for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)]) * 0.5
            ego_T_box = yaw_matrix(box["yaw_ego"], box["center_ego"])
            in_camera = transform(inverse(shown.ego_T_camera(view)) @ ego_T_box, corners * box["size_lwh"])
            pixels, depth = project(in_camera, prepared.prepared_T_recorded @ prepared.intrinsics)
            if depth.min() < 1 or depth.max() > 40:
                continue
            low, high = pixels.min(0), pixels.max(0)
            shape = prepared.semantics.shape
            if (low < 0).any() or (high >= shape[::-1]).any() or (high - low).min() < 12:
                continue
            # The middle of a box shows its object, unless something stands in front: most do not.
            third = (high - low) / 3
            (left, top), (right, bottom) = np.rint([low + third, high - third]).astype(int)
            middle = prepared.semantics[top:bottom, left:right]
            agree += (middle == wanted[box["name"]]).mean() > 0.5
            total += 1
    assert total >= 10
    assert agree / total >= 0.9


def test_a_real_distorted_picture_equals_a_slow_reference(real_data):
    shown = waymo_frame(real_data)
    view = max(shown.cameras, key=lambda v: abs(v.distortion[0]))
    made = prepare(replace(shown, cameras=(view,)), InputSettings(), labelled=False).cameras[0]
    height, width = made.image.shape[1:]
    expected = slow_undistort_and_resize(view.image(), view, width, height, samples=3)
    ideal = replace(view, distortion=np.zeros(5))
    with_lens = prepare(replace(shown, cameras=(ideal,)), InputSettings(), labelled=False).cameras[0]
    border = np.s_[40:-40, 10:60]  # where the lens bends most
    error = np.abs(made.image.transpose(1, 2, 0) - expected)[border].mean()
    assert error < 2.5
    assert np.abs(with_lens.image.transpose(1, 2, 0) - expected)[border].mean() > 2 * error
