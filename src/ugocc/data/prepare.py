"""Frame to Prepared: everything read, undistorted and resized once, small enough to keep.

What augmentation changes (crop, rotation, flips) comes later, in :mod:`ugocc.data.transforms`.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any, Final

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from ugocc.data.depth_map import lidar_points_in_camera
from ugocc.data.frame import CameraView, Frame, OccupancyLabel
from ugocc.data.occupancy import cut
from ugocc.data.teacher_maps import TeacherMap
from ugocc.errors import DataError
from ugocc.geometry.camera import distort, distortion_limit, distorts, first_row, horizon_row, pixel_rays, resize_affine
from ugocc.geometry.grid import OCC3D_GRID, VoxelGrid
from ugocc.geometry.rigid import Matrix, transform
from ugocc.labels import UNKNOWN

_FOLDED: Final = -1e6
"""Where pixels come from, in pixels, beyond the angle at which a lens model folds back: nowhere."""


@dataclass(frozen=True)
class InputSettings:
    """What a network is fed."""

    width: int = 704
    """Columns of the network's images; pictures are scaled to this width, keeping their aspect."""
    height: int = 256
    """Rows of the network's images: the bottom rows of scaled pictures, or higher ones where those show only road."""
    grid: VoxelGrid = field(default_factory=lambda: OCC3D_GRID)
    """Grid of the predicted volume, a part of the labels' grid or a coarser one."""
    min_lidar_depth: float = 1.0
    """Nearest lidar return used as depth, in metres along the optical axis."""
    max_lidar_depth: float = 60.0
    """Farthest lidar return used as depth, in metres along the optical axis."""


@dataclass(frozen=True)
class PreparedCamera:
    """One camera's picture, an ideal pinhole at the network's scale, all rows kept."""

    name: str
    """Name on the rig."""
    image: NDArray[np.uint8]
    """(3, h, w) RGB; w is the network's width, h keeps the aspect."""
    semantics: NDArray[np.uint8] | None
    """(h, w) ten classes, 255 unknown; None without 2D labels."""
    visible: NDArray[np.bool_] | None
    """(h, w) true where the world shows: not the own car, not outside the recorded picture. None: everywhere."""
    lidar: NDArray[np.float32]
    """(M, 3) u, v in pixels of ``image`` and depth in metres along the optical axis."""
    intrinsics: Matrix
    """(3, 3) float64 of the undistorted picture at recorded size."""
    prepared_T_recorded: Matrix
    """(3, 3) float64, pixels of the undistorted recorded picture to pixels of ``image``."""
    ego_T_camera: Matrix
    """(4, 4) float64, camera axes to the key ego frame through the camera's own pose."""


@dataclass(frozen=True)
class Prepared:
    """One frame at the network's scale, before augmentation."""

    token: str
    """Token of the frame."""
    world_T_ego: Matrix
    """(4, 4) float64 key pose."""
    cameras: tuple[PreparedCamera, ...]
    """All cameras, in the rig's order."""
    occupancy: OccupancyLabel | None
    """Label in the box of the model's grid, in voxels of the label's own size; None without one."""


def without_labels(frame: Frame) -> Frame:
    """The frame as an unlabelled car records it: no occupancy, lidar, 2D labels or boxes to be read by mistake.

    Maps that a 2D network made of the pictures stay: no human labelled anything for them.
    """
    cameras = tuple(c if isinstance(c.semantics, TeacherMap) else replace(c, semantics=None) for c in frame.cameras)
    return replace(frame, cameras=cameras, lidar=None, sweeps=(), occupancy=None, boxes=())


def prepare(frame: Frame, settings: InputSettings, labelled: bool = True) -> Prepared:
    """Read a frame and bring it to the network's scale.

    Pictures are undistorted to the ideal pinhole of the same intrinsics and resized in one go, antialiased; where they
    show the own car they take the mean colour of the rest; 2D labels take the nearest pixel; lidar becomes points on
    the pictures; occupancy is cut to the box of ``settings.grid``.

    Args:
        frame: what a reader yields.
        settings: sizes and grid.
        labelled: false never touches labels or lidar, as if the frame had none.

    Raises:
        DataError: no cameras, or contents whose size contradicts the calibration.
    """
    frame = frame if labelled else without_labels(frame)
    if not frame.cameras:
        raise DataError(frame.token, "cameras", "none", "at least one camera")
    points = None
    if frame.lidar is not None:
        points = transform(frame.ego_T_lidar(frame.lidar), frame.lidar.points()[:, :3])
    occupancy = None
    if frame.occupancy is not None:
        occupancy, _ = cut(frame.occupancy(), frame.occupancy_grid, settings.grid, frame.token)
    cameras = tuple(_prepare_camera(frame, camera, points, settings) for camera in frame.cameras)
    return Prepared(frame.token, frame.world_T_ego, cameras, occupancy)


def _prepare_camera(frame: Frame, view: CameraView, points: Matrix | None, settings: InputSettings) -> PreparedCamera:
    width, height = prepared_size(view, settings)
    affine = resize_affine(width / view.width, height / view.height)
    ego_T_camera = frame.ego_T_camera(view)
    lidar = np.zeros((0, 3), dtype=np.float32)
    if points is not None:
        near, far = settings.min_lidar_depth, settings.max_lidar_depth
        lidar = lidar_points_in_camera(points, ego_T_camera, affine @ view.intrinsics, width, height, near, far)
    recorded = _lens_of(view, (width, height))
    if recorded is None:
        image = _resize(_read_image(view, (width, height)), width, height)
    else:
        image = _undistort_and_resize(_read_image(view, (2 * width, 2 * height)), recorded, (view.width, view.height))
    semantics, visible, own_car = _read_maps(view, (width, height), recorded)
    pixels = image.numpy()
    return PreparedCamera(
        name=view.name,
        image=pixels if own_car is None else _covered(pixels, own_car, visible),
        semantics=semantics,
        visible=None if visible.all() else visible,
        lidar=lidar,
        intrinsics=view.intrinsics,
        prepared_T_recorded=affine,
        ego_T_camera=ego_T_camera,
    )


def prepared_size(view: CameraView, settings: InputSettings) -> tuple[int, int]:
    """Columns and rows of a camera's prepared picture."""
    return settings.width, max(1, round(view.height * settings.width / view.width))


def first_shown_row(view: CameraView, ego_T_camera: Matrix, settings: InputSettings) -> int:
    """First row of a camera's prepared picture that the network is shown; see
    :func:`ugocc.geometry.camera.first_row`."""
    width, height = prepared_size(view, settings)
    scaled = resize_affine(width / view.width, height / view.height) @ view.intrinsics
    return first_row(height, settings.height, horizon_row(scaled, ego_T_camera))


def _read_image(view: CameraView, enough: tuple[int, int]) -> Tensor:
    """(3, H, W) uint8 as recorded, or smaller where no fewer columns and rows than ``enough`` can be read faster."""
    pixels = view.image(enough) if view.shrinks else view.image()
    expected = (view.height, view.width, 3)
    shrunk = view.shrinks and pixels.shape in [(view.height // n, view.width // n, 3) for n in (2, 4, 8)]
    if (pixels.shape != expected and not shrunk) or pixels.dtype != np.uint8:
        raise DataError(view.source, "image", f"{pixels.shape} {pixels.dtype}", f"{expected} uint8")
    return torch.from_numpy(np.require(pixels, requirements="W").transpose(2, 0, 1))


def _resize(image: Tensor, width: int, height: int) -> Tensor:
    """(3, H, W) uint8 to (3, height, width) uint8, antialiased when it shrinks."""
    if image.shape[1:] == (height, width):
        return image.contiguous()
    resized = F.interpolate(image[None], (height, width), mode="bilinear", align_corners=False, antialias=True)
    return resized[0].contiguous()


def _undistort_and_resize(image: Tensor, recorded: NDArray[np.float32], recorded_size: tuple[int, int]) -> Tensor:
    """(3, H, W) uint8 as recorded, or a shrunk form of it, to (3, h, w) uint8 ideal.

    The picture is shrunk to twice the final size, where every final pixel averages 2 x 2 bilinear samples: as sharp
    as sampling the recorded picture directly, and several times faster.

    Args:
        image: recorded picture.
        recorded: (h + 2, w + 2, 2) of :func:`_recorded_pixels`.
        recorded_size: columns and rows of the recorded picture.
    """
    width = recorded.shape[1] - 2
    size = torch.tensor(recorded_size)
    between = image
    if image.shape[2] > 2 * width:
        between = _resize(image, 2 * width, round(image.shape[1] * 2 * width / image.shape[2]))
    # The lens bends slowly: positions of the four samples are interpolated between pixel centres.
    centres = torch.from_numpy(recorded).permute(2, 0, 1)[None]
    samples = F.interpolate(centres, scale_factor=2.0, mode="bilinear", align_corners=False)[0, :, 2:-2, 2:-2]
    grid = (2 * samples.permute(1, 2, 0) + 1) / size - 1
    fine = F.grid_sample(between[None].float(), grid[None], padding_mode="border", align_corners=False)
    ideal = F.avg_pool2d(fine, 2)[0].add_(0.5).to(torch.uint8)
    return ideal * torch.from_numpy(_inside(recorded, size.tolist()))


def _read_maps(
    view: CameraView, size: tuple[int, int], recorded: NDArray[np.float32] | None
) -> tuple[NDArray[np.uint8] | None, NDArray[np.bool_], NDArray[np.bool_] | None]:
    """2D labels, the mask of pixels that show the world, and that of the own car, all (h, w), by the nearest recorded
    pixel."""
    row, column, visible = _nearest_pixels(view, size, recorded)
    own_car = None
    if view.own_car is not None:
        own_car = visible & (_checked(view, "own_car", view.own_car())[row, column] != 0)
        visible = visible & ~own_car
    if view.semantics is None:
        return None, visible, own_car
    semantics = _checked(view, "semantics", view.semantics())[row, column]
    return np.where(visible, semantics, np.uint8(UNKNOWN)), visible, own_car


def _covered(image: NDArray[np.uint8], own_car: NDArray[np.bool_], visible: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """(3, h, w) with the own car in the mean colour of what shows the world, as re-rendered pictures have it where
    nothing is seen: networks take black for a thing."""
    mean = image[:, visible].mean(axis=1) if visible.any() else np.zeros(3)
    return np.where(own_car, mean.astype(np.uint8)[:, None, None], image)


def at_prepared_size(view: CameraView, values: NDArray[Any], settings: InputSettings) -> NDArray[Any]:
    """A recorded map (height, width) of a camera at the size (h, w) of its prepared picture, 0 outside the recorded
    one, each pixel that of the nearest recorded pixel."""
    size = prepared_size(view, settings)
    row, column, visible = _nearest_pixels(view, size, _lens_of(view, size))
    return np.where(visible, values[row, column], values.dtype.type(0))


def _nearest_pixels(
    view: CameraView, size: tuple[int, int], recorded: NDArray[np.float32] | None
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
    """Row and column of the nearest recorded pixel, that broadcast to (h, w), and (h, w) whether there is one."""
    width, height = size
    if recorded is None:
        column, row = (np.arange(width) * 2 + 1) * view.width // (2 * width), np.arange(height) * 2 + 1
        return (row * view.height // (2 * height))[:, None], column, np.ones((height, width), dtype=bool)
    nearest = np.floor(recorded[1:-1, 1:-1] + 0.5).astype(np.int64)
    column, row = nearest[..., 0].clip(0, view.width - 1), nearest[..., 1].clip(0, view.height - 1)
    return row, column, _inside(recorded, [view.width, view.height])


def _checked(view: CameraView, name: str, values: NDArray[Any]) -> NDArray[Any]:
    expected = (view.height, view.width)
    if values.shape != expected:
        raise DataError(view.source, name, f"shape {values.shape}", f"shape {expected}")
    return values


def _inside(recorded: NDArray[np.float32], size: list[int]) -> NDArray[np.bool_]:
    """(h, w) which ideal pixels the recorded picture of ``size`` (columns, rows) covers, with all that they average."""
    inner = recorded[1:-1, 1:-1]
    inside = ((inner >= -0.5) & (inner < np.asarray(size) - 0.5)).all(axis=-1)
    # Samples between a pixel and one where the lens folds back would lie anywhere.
    known = recorded[..., 0] > _FOLDED
    known = known[:-2] & known[1:-1] & known[2:]
    return np.asarray(inside & known[:, :-2] & known[:, 1:-1] & known[:, 2:])


def _lens_of(view: CameraView, size: tuple[int, int]) -> NDArray[np.float32] | None:
    """:func:`_recorded_pixels` of a camera whose lens distorts, None of an ideal one."""
    if not distorts(view.distortion):
        return None
    lens = tuple(np.asarray(a, dtype=np.float64).tobytes() for a in (view.intrinsics, view.distortion))
    return _recorded_pixels(lens, (view.width, view.height), size)


@lru_cache(maxsize=16)
def _recorded_pixels(
    lens: tuple[bytes, ...], recorded_size: tuple[int, int], size: tuple[int, int]
) -> NDArray[np.float32]:
    """Where in the recorded (distorted) picture each pixel of the ideal, resized one comes from.

    Args:
        lens: bytes of the float64 (3, 3) intrinsics at recorded size and of the distortion coefficients.
        recorded_size: columns and rows of the recorded picture.
        size: columns w and rows h of the ideal one.

    Returns:
        (h + 2, w + 2, 2) float32 recorded u and v, with a border of one pixel on every side; far outside the picture
        where the distortion folds back.
    """
    intrinsics, coefficients = np.frombuffer(lens[0]).reshape(3, 3), np.frombuffer(lens[1])
    affine = resize_affine(size[0] / recorded_size[0], size[1] / recorded_size[1])
    affine[:2, 2] += 1  # the border
    rays = pixel_rays(size[0] + 2, size[1] + 2, affine @ intrinsics)[..., :2]
    recorded = distort(rays, coefficients) @ intrinsics[:2, :2].T + intrinsics[:2, 2]
    recorded[np.linalg.norm(rays, axis=-1) > distortion_limit(coefficients)] = _FOLDED
    return recorded.astype(np.float32)
