"""A hand-made street that is ray-traced exactly: ground at z = 0, boxes, sky; one picture or lidar sweep at a time."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray

from ugocc.geometry.camera import pixel_rays
from ugocc.geometry.rigid import BODY_T_OPTICAL, yaw_matrix
from ugocc.labels import BUILDING, DRIVABLE, FREE, VEHICLE

Array = NDArray[np.floating]


class View(NamedTuple):
    image: NDArray[np.float32]
    """(3, H, W) RGB in [0, 1]."""
    depth: NDArray[np.float32]
    """(H, W) metres along the optical axis, 0 for sky."""
    semantics: NDArray[np.uint8]
    """(H, W) ten classes."""


class BoxTown:
    """Boxes (centre, size, class) on the ground z = 0 of the ego frame, with a soft texture fixed to the surfaces."""

    def __init__(self, boxes: list[tuple[tuple[float, float, float], tuple[float, float, float], int]]) -> None:
        centre = np.array([b[0] for b in boxes]).reshape(-1, 3)
        size = np.array([b[1] for b in boxes]).reshape(-1, 3)
        self.low, self.high = centre - size / 2, centre + size / 2
        self.label = np.array([b[2] for b in boxes], dtype=np.uint8)

    def cast(self, origin: Array, rays: Array) -> tuple[Array, NDArray[np.int64]]:
        """Distance in units of ``rays`` (R, 3) (inf: sky) and what was hit (-2 sky, -1 ground, box index)."""
        with np.errstate(divide="ignore", invalid="ignore"):
            ground = np.where(rays[:, 2] < 0, -origin[2] / rays[:, 2], np.inf)
            best, hit = ground, np.where(np.isfinite(ground), -1, -2)
            for i, (low, high) in enumerate(zip(self.low, self.high, strict=True)):
                a, b = (low - origin) / rays, (high - origin) / rays
                near, far = np.minimum(a, b).max(axis=1), np.maximum(a, b).min(axis=1)
                nearer = (near < far) & (near > 0) & (near < best)
                best, hit = np.where(nearer, near, best), np.where(nearer, i, hit)
        return best, hit

    def colour(self, points: Array, hit: NDArray[np.int64]) -> Array:
        """(R, 3) RGB: one hue per object, waves of 0.9 to 2 m length fixed in space."""
        hue = np.array([(0.55, 0.7, 0.95), (0.42, 0.42, 0.44), (0.75, 0.3, 0.25), (0.3, 0.6, 0.3), (0.25, 0.35, 0.75)])
        base = hue[np.where(hit < 0, hit + 2, 2 + hit % 3)]
        x, y, z = np.where((hit == -2)[:, None], 0.0, points).T
        wave = np.sin(3.1 * x + 0.4) * np.sin(3.7 * y + 1.1) + 0.6 * np.sin(7.0 * (x + y)) * np.sin(5.0 * z + 0.7 * x)
        return np.clip(base + 0.13 * wave[:, None], 0, 1)

    def view(self, intrinsics: Array, ego_T_camera: Array, height: int, width: int) -> View:
        """One picture."""
        directions = pixel_rays(width, height, np.asarray(intrinsics)).reshape(-1, 3)
        rotation, origin = np.asarray(ego_T_camera)[:3, :3], np.asarray(ego_T_camera)[:3, 3]
        rays = directions @ rotation.T
        depth, hit = self.cast(origin, rays)
        known = np.isfinite(depth)
        points = origin + np.where(known, depth, 0)[:, None] * rays
        colour = self.colour(points, hit)
        classes = np.append(self.label, [FREE, DRIVABLE]).astype(np.uint8)
        return View(
            colour.T.reshape(3, height, width).astype(np.float32),
            np.where(known, depth, 0).reshape(height, width).astype(np.float32),
            classes[hit].reshape(height, width),
        )

    def lidar(self, beams: int = 32, columns: int = 1080, height: float = 1.84) -> Array:
        """(P, 3) returns within 60 m of a spinning lidar on the roof, ego frame; elevations -30 to 10 degrees."""
        elevation, azimuth = np.meshgrid(
            np.deg2rad(np.linspace(10, -30, beams)), np.linspace(-np.pi, np.pi, columns, endpoint=False), indexing="ij"
        )
        cosine = np.cos(elevation)
        rays = np.stack([cosine * np.cos(azimuth), cosine * np.sin(azimuth), np.sin(elevation)], -1).reshape(-1, 3)
        origin = np.array([0.95, 0.0, height])
        distance, _ = self.cast(origin, rays)
        returned = distance < 60
        return origin + distance[returned, None] * rays[returned]


class Cameras(NamedTuple):
    intrinsics: NDArray[np.float64]
    """(N, 3, 3) pixels."""
    ego_T_camera: NDArray[np.float64]
    """(N, 4, 4)."""
    height: int
    width: int


def ring(
    yaws: list[float], field_of_view: float, camera_height: float, height: int, width: int, reach: float = 1.2
) -> Cameras:
    """Cameras looking outwards (yaws and horizontal field of view in degrees), ``reach`` metres from a centre."""
    focal = width / 2 / np.tan(np.deg2rad(field_of_view) / 2)
    k = np.array([[focal, 0, (width - 1) / 2], [0, focal, 0.55 * height], [0, 0, 1]])
    poses = []
    for yaw in np.deg2rad(yaws):
        where = (1.0 + reach * np.cos(yaw), reach * np.sin(yaw) * 0.5, camera_height)
        poses.append(yaw_matrix(float(yaw), where) @ BODY_T_OPTICAL)
    return Cameras(np.repeat(k[None], len(yaws), 0), np.stack(poses), height, width)


@pytest.fixture(scope="session")
def street() -> BoxTown:
    """A street: houses left, right, ahead and behind, five cars and a post."""
    boxes = [((x, side * 14.0, 4.0), (14.0, 6.0, 8.0), BUILDING) for x in (-24.0, -6.0, 12.0, 30.0) for side in (-1, 1)]
    boxes += [((48.0, 0.0, 5.0), (4.0, 30.0, 10.0), BUILDING), ((-42.0, 0.0, 5.0), (4.0, 30.0, 10.0), BUILDING)]
    cars = [(12.0, 3.5), (9.0, -5.0), (22.0, -2.5), (-11.0, 3.0), (-16.0, -4.0)]
    boxes += [((x, y, 0.8), (4.5, 1.9, 1.6), VEHICLE) for x, y in cars]
    boxes += [((7.5, 5.5, 1.5), (0.3, 0.3, 3.0), BUILDING)]
    return BoxTown(boxes)


@pytest.fixture(scope="session")
def make_town() -> type[BoxTown]:
    """To build another scene from boxes."""
    return BoxTown


@pytest.fixture(scope="session")
def six_cameras() -> Cameras:
    """Six cameras 1.5 m up, 70 degrees wide but for the rear one (110)."""
    most = ring([0, -55, -110, 110, 55], 65, 1.5, 96, 176)
    rear = ring([180], 110, 1.5, 96, 176)
    return Cameras(
        np.concatenate([most.intrinsics, rear.intrinsics]),
        np.concatenate([most.ego_T_camera, rear.ego_T_camera]),
        96,
        176,
    )


@pytest.fixture(scope="session")
def five_cameras() -> Cameras:
    """Five cameras 2.1 m up, 50 degrees wide, looking ahead and to the sides."""
    return ring([0, 45, -45, 90, -90], 50, 2.1, 96, 176)
