from __future__ import annotations

import numpy as np

from ugocc.data.town.occupancy import FREE_ID, camera_visible, cast, count_inside, mark_in_view, open_faces

SHAPE = (14, 12, 8)


def _volume(seed: int, share: float = 0.06) -> np.ndarray:
    rng = np.random.default_rng(seed)
    volume = np.full(SHAPE, FREE_ID, dtype=np.uint8)
    volume[rng.random(SHAPE) < share] = 4
    volume[6:8, 5:7, 3:5] = FREE_ID
    return volume


def _stepped(volume: np.ndarray, origin: np.ndarray, end: np.ndarray) -> set[tuple[int, int, int]]:
    """Voxels met by tiny steps from origin to end, up to and including the first solid one."""
    met: set[tuple[int, int, int]] = set()
    for t in np.linspace(0, 1, 20001):
        cell = tuple(int(c) for c in np.floor(origin + t * (end - origin)))
        if all(0 <= c < n for c, n in zip(cell, volume.shape, strict=True)):
            met.add(cell)
            if volume[cell] != FREE_ID:
                break
    return met


def test_a_cast_marks_the_voxels_that_small_steps_meet() -> None:
    rng = np.random.default_rng(0)
    volume, origin = _volume(0), np.array([7.1, 6.2, 4.3])
    for _ in range(40):
        end = rng.uniform((0, 0, 0), SHAPE)
        seen = np.zeros(SHAPE, dtype=np.bool_)
        cast(volume, seen, *origin, *end, FREE_ID)
        # Corners that a ray only touches may be missed by stepping, never the other way round.
        marked = {tuple(int(c) for c in cell) for cell in np.argwhere(seen)}
        stepped = _stepped(volume, origin, end)
        assert stepped <= marked
        assert len(marked - stepped) <= 1


def _everywhere() -> np.ndarray:
    """A camera that looks along +x from the middle of the volume, with a wide image."""
    focal, width, height = 20.0, 41, 41
    pixel = np.array([[focal, 0, 20.0], [0, focal, 20.0], [0, 0, 1.0]])
    camera_T_grid = np.array([[0, -1, 0, 6.2], [0, 0, -1, 4.3], [1, 0, 0, -7.1]])
    assert (width, height) == (41, 41)
    return pixel @ camera_T_grid


def test_a_wall_hides_what_is_behind_it() -> None:
    volume = np.full(SHAPE, FREE_ID, dtype=np.uint8)
    volume[10, :, :] = 4
    volume[12, 6, 4] = 7
    seen = np.zeros(SHAPE, dtype=np.bool_)
    faces = open_faces(volume, FREE_ID)
    camera_visible(volume, FREE_ID, faces, np.array([7.1, 6.2, 4.3]), _everywhere(), 41, 41, seen)
    assert seen[10, 6, 4]
    assert seen[8, 6, 4]
    assert not seen[11:].any()
    assert not seen[:6].any(), "behind the camera"


def test_visibility_is_that_of_rays_to_every_face() -> None:
    volume, origin, pixel_T_grid = _volume(3), np.array([7.1, 6.2, 4.3]), _everywhere()
    seen = np.zeros(SHAPE, dtype=np.bool_)
    camera_visible(volume, FREE_ID, open_faces(volume, FREE_ID), origin, pixel_T_grid, 41, 41, seen)
    expected = np.zeros(SHAPE, dtype=np.bool_)
    for cell in np.ndindex(SHAPE):
        for axis in range(3):
            for sign in (-1, 1):
                other = list(cell)
                other[axis] += sign
                border = not 0 <= other[axis] < SHAPE[axis]
                solid = volume[cell] != FREE_ID
                if not (border if not solid else border or volume[tuple(other)] == FREE_ID):
                    continue
                face = np.array(cell) + 0.5
                face[axis] += 0.5 * sign
                towards = (face[axis] - origin[axis]) * sign
                if (solid and towards >= 0) or (not solid and towards <= 0):
                    continue
                u, v, w = pixel_T_grid @ np.array([*face, 1.0])
                if w < 0.25 or not (-0.5 <= u / w <= 40.5 and -0.5 <= v / w <= 40.5):
                    continue
                face[axis] -= 1e-3 * sign if solid else 0.0
                cast(volume, expected, *origin, *face, FREE_ID)
    assert (seen == expected).all()
    assert 0.02 < seen.mean() < 0.9


def test_voxels_in_view_are_those_whose_centre_projects_into_the_image() -> None:
    pixel_T_grid = _everywhere()
    inside = np.zeros(SHAPE, dtype=np.bool_)
    mark_in_view(pixel_T_grid, 41, 41, inside)
    for cell in np.ndindex(SHAPE):
        u, v, w = pixel_T_grid @ np.array([*(np.array(cell) + 0.5), 1.0])
        assert inside[cell] == (w >= 0.1 and -0.5 <= u / w <= 40.5 and -0.5 <= v / w <= 40.5)


def test_points_are_counted_in_turned_boxes() -> None:
    yaw = np.deg2rad(30)
    box = np.array([[1.0, 2.0, 0.5, 2.0, 0.5, 0.5, np.cos(yaw), np.sin(yaw)]])
    along = np.array([np.cos(yaw), np.sin(yaw), 0.0])
    points = np.array([[1.0, 2.0, 0.5]]) + np.array([[0.0], [1.9], [2.1]]) * along
    assert count_inside(points, box).tolist() == [2]
