"""Waymo's range images as points of the vehicle frame.

A range image has one row per beam, the highest beam first, and one column per azimuth, from behind the sensor
clockwise (seen from above) all the way round. Conventions follow the dataset's own code (waymo-open-dataset,
``utils/range_image_utils.py`` and ``v2/perception/utils/lidar_utils.py``, Apache-2.0).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import ArrayLike, NDArray

from ugocc.data.parquet_rows import read_row
from ugocc.errors import DataError
from ugocc.geometry.rigid import Matrix, inverse, transform, yaw_of

Points = NDArray[np.float32]

LIDAR = "[LiDARComponent].range_image_return{}.{}"
"""Columns of the ``lidar`` component: return 1 or 2, and ``values`` or ``shape``."""
LIDAR_POSE = "[LiDARPoseComponent].range_image_return1.{}"
"""Columns of the ``lidar_pose`` component."""


@dataclass(frozen=True)
class Laser:
    """Where one laser's range image of one frame lies, and how to unroll it."""

    name: int
    """Waymo's id: 1 top, 2 front, 3 side left, 4 side right, 5 rear."""
    place: tuple[int, int]
    """Row group and row in the ``lidar`` file."""
    pose_place: tuple[int, int] | None
    """Row group and row in the ``lidar_pose`` file, for a laser whose pixels have their own vehicle pose."""
    inclinations: tuple[float, ...]
    """Radians above the horizon, ascending as stored: one per row, or the smallest and the largest."""
    vehicle_T_lidar: Matrix
    """(4, 4) extrinsic."""


def read_points(
    lidar: Path, lidar_pose: Path, lasers: tuple[Laser, ...], world_T_vehicle: Matrix, second_return: bool
) -> Points:
    """All lasers of one frame as one cloud.

    Args:
        lidar: ``lidar`` file of the segment.
        lidar_pose: ``lidar_pose`` file of the segment; only opened for lasers that have a place in it.
        lasers: what to read.
        world_T_vehicle: (4, 4) pose of the frame, metres.
        second_return: also the second echo of every pulse.

    Returns:
        (M, 4) x, y, z in metres of the vehicle frame at the frame's pose, and intensity.

    Raises:
        DataError: missing or damaged rows, or shapes that do not fit.
    """
    clouds = []
    for laser in lasers:
        poses = None
        if laser.pose_place is not None:
            poses = _read_image(lidar_pose, laser.pose_place, LIDAR_POSE, 6, optional=False)
        for echo in (1, 2) if second_return else (1,):
            image = _read_image(lidar, laser.place, LIDAR.format(echo, "{}"), 4, optional=echo == 2)
            if image is None:
                continue
            rows = row_inclinations(laser.inclinations, len(image), f"{lidar}, laser {laser.name}")
            if poses is not None and poses.shape[:2] != image.shape[:2]:
                raise DataError(lidar_pose, "shape", poses.shape, f"the {image.shape[:2]} pixels of the range image")
            clouds.append(range_image_to_points(image, rows, laser.vehicle_T_lidar, poses, world_T_vehicle))
    return np.concatenate(clouds) if clouds else np.zeros((0, 4), np.float32)


def row_inclinations(stored: ArrayLike, height: int, where: object) -> NDArray[np.float64]:
    """Inclination of every row of a range image, the highest first.

    Args:
        stored: ascending radians, one per row; or two numbers, the bounds of ``height`` equal intervals whose
            centres are the beams.
        height: rows of the range image.
        where: file and laser, for messages.

    Raises:
        DataError: another number of inclinations, or not ascending.
    """
    values = np.asarray(stored, dtype=np.float64)
    if len(values) == 2 and height != 2:
        low, high = values
        values = low + (np.arange(height) + 0.5) / height * (high - low)
    if values.shape != (height,) or not (np.diff(values) > 0).all():
        found = f"{len(values)} inclinations" if values.shape != (height,) else "values that do not ascend"
        raise DataError(where, "beam_inclination", found, f"{height} ascending radians, one per row")
    return values[::-1]


def range_image_to_points(
    image: NDArray[np.floating],
    inclinations: NDArray[np.float64],
    vehicle_T_lidar: Matrix,
    pixel_poses: NDArray[np.floating] | None = None,
    world_T_vehicle: Matrix | None = None,
) -> Points:
    """Unroll one range image.

    Column c of W looks at azimuth ``pi - (c + 0.5) * 2 pi / W`` in a frame that shares the vehicle's heading, so
    the yaw of the extrinsic is taken off before the extrinsic is applied.

    Args:
        image: (H, W, 4) range in metres (0 or less where nothing returned), intensity, elongation, no-label zone.
        inclinations: (H,) radians above the horizon of every row.
        vehicle_T_lidar: (4, 4) extrinsic.
        pixel_poses: (H, W, 6) roll, pitch, yaw, x, y, z of world_T_vehicle at every pixel's own time (a yaw, then a
            pitch, then a roll), or None where the range image is already motion-compensated.
        world_T_vehicle: (4, 4) pose of the frame; needed with ``pixel_poses``.

    Returns:
        (M, 4) float32 x, y, z of the vehicle frame at the frame's pose, and intensity; row by row.
    """
    width = image.shape[1]
    valid = image[..., 0] > 0
    rows, columns = np.nonzero(valid)
    azimuth = np.pi - (columns + 0.5) * (2 * np.pi / width) - yaw_of(vehicle_T_lidar)
    inclination = inclinations[rows]
    reach = image[..., 0][valid].astype(np.float64)
    flat = reach * np.cos(inclination)
    local = np.stack([flat * np.cos(azimuth), flat * np.sin(azimuth), reach * np.sin(inclination)], axis=-1)
    points = transform(vehicle_T_lidar, local)
    if pixel_poses is not None:
        if world_T_vehicle is None:
            raise ValueError("pixel_poses need world_T_vehicle")
        pose = pixel_poses[valid].astype(np.float64)
        points = np.einsum("nij,nj->ni", _rotations(pose[:, :3]), points) + pose[:, 3:]
        points = transform(inverse(world_T_vehicle), points)
    return np.concatenate([points, image[..., 1][valid][:, None]], axis=1).astype(np.float32)


def _rotations(angles: NDArray[np.float64]) -> NDArray[np.float64]:
    """(N, 3) roll, pitch, yaw to (N, 3, 3) Rz(yaw) Ry(pitch) Rx(roll)."""
    (cr, cp, cy), (sr, sp, sy) = np.cos(angles).T, np.sin(angles).T
    entries = [
        *(cy * cp, cy * sp * sr - sy * cr, cy * sp * cr + sy * sr),
        *(sy * cp, sy * sp * sr + cy * cr, sy * sp * cr - cy * sr),
        *(-sp, cp * sr, cp * cr),
    ]
    return np.stack(entries, axis=-1).reshape(-1, 3, 3)


def _read_image(
    path: Path, place: tuple[int, int], column: str, channels: int, optional: bool
) -> NDArray[np.float32] | None:
    names = (column.format("values"), column.format("shape"))
    row = read_row(path, place, names)
    values, shape = row[names[0]], row[names[1]]
    where = f"{path}, row group {place[0]}, row {place[1]}"
    if not values.is_valid or not shape.is_valid:
        if optional:
            return None
        raise DataError(where, names[0], "nothing", "a range image")
    size = tuple(shape.as_py())
    flat = values.values.to_numpy(zero_copy_only=False)
    if (
        len(size) != 3
        or size[2] != channels
        or flat.size != np.prod(size)
        or not pa.types.is_floating(values.type.value_type)
    ):
        raise DataError(where, names[0], f"{flat.size} numbers of shape {size}", f"(rows, columns, {channels}) floats")
    return flat.reshape(size).astype(np.float32, copy=False)
