"""Prepared to Batch: crop and augmentation, in which image, calibration, depth and labels move together.

All that happens to a picture's geometry is one affine map of pixels, applied by one resampling.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ugocc.data.batch import Batch
from ugocc.data.depth_map import rasterise_depth
from ugocc.data.frame import OccupancyLabel
from ugocc.data.occupancy import coarsen, own_grid
from ugocc.data.prepare import InputSettings, Prepared, PreparedCamera
from ugocc.geometry.camera import crop_affine, first_row, flip_affine, horizon_row, resize_affine, rotate_affine
from ugocc.geometry.grid import VoxelGrid
from ugocc.geometry.rigid import Matrix
from ugocc.labels import UNKNOWN


@dataclass(frozen=True)
class AugmentSettings:
    """Random changes of a training sample. Each camera draws its own geometry."""

    scale: tuple[float, float] = (-0.06, 0.11)
    """Range of the scale jitter: images are resized by 1 plus a draw from it, then cropped at a random column."""
    rotation_degrees: float = 5.4
    """Largest rotation of an image about its centre, either way."""
    flip: float = 0.5
    """Probability of mirroring an image."""
    crop: float = 0.0
    """Largest random shift of the crop upwards from its usual rows, as a share of the network's rows."""
    colour: float = 0.0
    """Strength of the jitter of brightness, contrast, saturation, white balance and hue; 0 leaves colours alone."""
    bev_flip_x: float = 0.5
    """Probability of mirroring the volume front to back."""
    bev_flip_y: float = 0.5
    """Probability of mirroring the volume left to right."""
    bev_turn: float = 0.0
    """Largest turn of the volume about the vehicle in degrees, either way."""
    bev_shift: float = 0.0
    """Largest move of the volume over the ground in metres, along x and along y. A fleet's cars keep to their lanes: a
    network that always sees the kerb in the same voxels learns the voxels, and other roads are of another width."""
    bev_scale: float = 0.0
    """Largest stretch of the volume over the ground, either way: 0.1 draws a factor from 0.9 to 1.1. Roads are wider in
    one town than in another."""
    camera_drop: float = 0.0
    """Probability of losing each camera; one always stays."""


class _Views(NamedTuple):
    """What the cameras contribute to a batch; written camera by camera, so that nothing is copied together."""

    images: Tensor
    """(N, 3, H, W) float32 in [0, 1], black outside the picture."""
    inside: Tensor
    """(N, H, W) bool, pixels the prepared picture covers."""
    pixel_mask: Tensor
    """(N, H, W) bool, pixels that show the world."""
    semantics: Tensor
    """(N, H, W) uint8, 255 where unknown or not the world."""
    depth: Tensor
    """(N, H, W) float32 metres, 0 where there is no return or not the world."""

    @staticmethod
    def of(count: int, settings: InputSettings) -> _Views:
        """Views of so many cameras, not filled yet."""
        size = (count, settings.height, settings.width)
        return _Views(
            torch.empty(count, 3, *size[1:]),
            torch.empty(size, dtype=torch.bool),
            torch.empty(size, dtype=torch.bool),
            torch.empty(size, dtype=torch.uint8),
            torch.empty(size),
        )

    def blank(self) -> None:
        """Black pictures that show nothing of the world."""
        for part, nothing in zip(self[:4], (0, False, False, UNKNOWN), strict=True):
            part.fill_(nothing)


def make_sample(
    prepared: Prepared,
    settings: InputSettings,
    augment: AugmentSettings | None = None,
    rng: np.random.Generator | None = None,
    fleet_id: int = 0,
) -> Batch:
    """A batch of one sample.

    Args:
        prepared: what :func:`ugocc.data.prepare.prepare` made with the same ``settings``.
        settings: sizes and grid.
        augment: random changes; None takes the rows of :func:`ugocc.geometry.camera.first_row` as they are.
        rng: source of the random changes.
        fleet_id: 0 source, 1 target.

    Raises:
        ValueError: ``augment`` without ``rng``.
    """
    if augment is not None and rng is None:
        raise ValueError("augmentation needs a random generator")
    cameras = prepared.cameras
    affines = [_network_T_prepared(camera, settings, augment, rng) for camera in cameras]
    views = _Views.of(len(cameras), settings)
    for i, (camera, affine) in enumerate(zip(cameras, affines, strict=True)):
        _fill_view(_Views(*(values[i] for values in views)), camera, affine)
    images = views.images
    bev_T_ego = np.eye(4)
    camera_mask = torch.ones(len(cameras), dtype=torch.bool)
    if augment is not None and rng is not None:
        if augment.colour:
            images = jitter_colour(images, augment.colour, rng).mul_(views.inside[:, None])
        bev_T_ego = _moved_volume(settings.grid, augment, rng)
        camera_mask = _surviving_cameras(len(cameras), augment.camera_drop, rng)
    image_affines = [a @ c.prepared_T_recorded for a, c in zip(affines, cameras, strict=True)]
    for lost in torch.nonzero(~camera_mask)[:, 0]:
        images[lost] = 0
        views.depth[lost], views.semantics[lost], views.pixel_mask[lost] = 0, UNKNOWN, False
    label = _label(prepared.occupancy, settings.grid, bev_T_ego)
    return Batch(
        images=images[None],
        camera_mask=camera_mask[None],
        intrinsics=_float32([c.intrinsics for c in cameras]),
        image_affine=_float32(image_affines),
        ego_T_camera=_float32([c.ego_T_camera for c in cameras]),
        bev_T_ego=_float32(bev_T_ego),
        world_T_ego=torch.from_numpy(np.array(prepared.world_T_ego, dtype=np.float64))[None],
        depth=views.depth[None],
        semantics_2d=views.semantics[None],
        pixel_mask=views.pixel_mask[None],
        occupancy=torch.from_numpy(label.semantics)[None],
        camera_visible=torch.from_numpy(label.camera_mask)[None],
        lidar_visible=torch.from_numpy(label.lidar_mask)[None],
        fleet=torch.tensor([fleet_id]),
        tokens=(prepared.token,),
    )


def jitter_colour(images: Tensor, strength: float, rng: np.random.Generator) -> Tensor:
    """Random brightness, contrast, saturation, white balance and hue, the same for all images.

    All of them are one affine map of RGB: a fleet's cameras share their look, and one product is fast.

    Args:
        images: (N, 3, H, W) in [0, 1].
        strength: factors are drawn from 1 +- strength (white balance: half of it), hue turns by up to 45 degrees
            times strength.
        rng: source of randomness.

    Returns:
        (N, 3, H, W) in [0, 1], a new tensor.
    """
    brightness, contrast, saturation = rng.uniform(1 - strength, 1 + strength, 3)
    balance = np.diag(rng.uniform(1 - strength / 2, 1 + strength / 2, 3))
    hue = np.deg2rad(45 * strength) * rng.uniform(-1, 1)
    # Hue turns the plane of the two colour differences of YIQ (the NTSC colour space), saturation scales it.
    yiq = np.array([[0.299, 0.587, 0.114], [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]])
    c, s = saturation * np.cos(hue), saturation * np.sin(hue)
    chroma = np.linalg.inv(yiq) @ np.array([[1, 0, 0], [0, c, -s], [0, s, c]]) @ yiq
    matrix = torch.from_numpy(brightness * contrast * balance @ chroma).to(images.dtype)
    grey = brightness * (1 - contrast) * float(images.mean())
    with torch.autocast(images.device.type, enabled=False):
        return torch.einsum("ij,njhw->nihw", matrix.to(images.device), images).add_(grey).clamp_(0, 1)


def _network_T_prepared(
    camera: PreparedCamera, settings: InputSettings, augment: AugmentSettings | None, rng: np.random.Generator | None
) -> Matrix:
    """(3, 3) map from pixels of the prepared picture to those of the network's image."""
    height, width = camera.image.shape[1:]
    horizon = horizon_row(camera.prepared_T_recorded @ camera.intrinsics, camera.ego_T_camera)
    first = first_row(height, settings.height, horizon)
    if augment is None or rng is None:
        return crop_affine(0, first)
    scale = 1 + rng.uniform(*augment.scale)
    spare = width * scale - settings.width
    left = rng.uniform(min(spare, 0), max(spare, 0))
    top = (first + settings.height) * scale - settings.height - settings.height * augment.crop * rng.uniform()
    affine = crop_affine(left, top) @ resize_affine(scale, scale)
    if rng.uniform() < augment.flip:
        affine = flip_affine(settings.width) @ affine
    turn = augment.rotation_degrees * rng.uniform(-1, 1)
    return rotate_affine(turn, settings.width, settings.height) @ affine if turn else affine


def _fill_view(view: _Views, camera: PreparedCamera, network_T_prepared: Matrix) -> None:
    """Write what one camera contributes into its part of the batch."""
    height, width = view.depth.shape
    shift = np.round(network_T_prepared[:2, 2]).astype(int)
    if np.array_equal(network_T_prepared, crop_affine(-shift[0], -shift[1])):
        _shift(view, camera, int(shift[0]), int(shift[1]))
    else:
        _resample(view, camera, network_T_prepared)
    if camera.semantics is None:
        view.semantics.fill_(UNKNOWN)
    else:
        view.semantics.masked_fill_(~view.pixel_mask, UNKNOWN)
    points = camera.lidar[:, :2] @ network_T_prepared[:2, :2].T + network_T_prepared[:2, 2]
    depth = rasterise_depth(points[:, 0], points[:, 1], camera.lidar[:, 2], height, width)
    np.multiply(depth, view.pixel_mask.numpy(), out=view.depth.numpy())


def _shift(view: _Views, camera: PreparedCamera, right: int, down: int) -> None:
    """A picture moved by whole pixels: nothing is interpolated."""
    height, width = camera.image.shape[1:]
    rows = slice(max(0, down), max(0, min(view.depth.shape[0], height + down)))
    columns = slice(max(0, right), max(0, min(view.depth.shape[1], width + right)))
    from_rows = slice(rows.start - down, rows.stop - down)
    from_columns = slice(columns.start - right, columns.stop - right)
    if (rows.stop - rows.start, columns.stop - columns.start) != view.depth.shape:
        view.blank()
    pixels = torch.from_numpy(camera.image)[:, from_rows, from_columns]
    torch.mul(pixels, 1 / 255, out=view.images[:, rows, columns])
    view.inside[rows, columns] = True
    view.pixel_mask[rows, columns] = True
    if camera.visible is not None:
        view.pixel_mask[rows, columns] = torch.from_numpy(camera.visible)[from_rows, from_columns]
    if camera.semantics is not None:
        view.semantics[rows, columns] = torch.from_numpy(camera.semantics)[from_rows, from_columns]


def _resample(view: _Views, camera: PreparedCamera, network_T_prepared: Matrix) -> None:
    """A picture (bilinear) and its labels (nearest) under an affine map."""
    height, width = camera.image.shape[1:]
    (a, b, c), (d, e, f) = np.linalg.inv(network_T_prepared)[:2].tolist()
    rows, columns = view.depth.shape
    # numpy compares and joins masks several times faster than torch.
    row, column = np.arange(rows, dtype=np.float32)[:, None], np.arange(columns, dtype=np.float32)
    u, v = a * column + (b * row + c), d * column + (e * row + f)
    grid = np.empty((rows, columns, 2), dtype=np.float32)
    np.subtract((2 * u + 1) / width, 1, out=grid[..., 0])
    np.subtract((2 * v + 1) / height, 1, out=grid[..., 1])
    image = torch.from_numpy(np.multiply(camera.image, np.float32(1 / 255), dtype=np.float32))[None]
    image = F.grid_sample(image, torch.from_numpy(grid)[None], padding_mode="border", align_corners=False)[0]
    inside = (u >= -0.5) & (u < width - 0.5) & (v >= -0.5) & (v < height - 0.5)
    np.multiply(image.numpy(), inside.astype(np.float32), out=view.images.numpy())
    view.inside.numpy()[:] = view.pixel_mask.numpy()[:] = inside
    if camera.visible is not None or camera.semantics is not None:
        nearest_row = np.floor(v + 0.5).astype(np.int64).clip(0, height - 1)
        nearest = nearest_row * width + np.floor(u + 0.5).astype(np.int64).clip(0, width - 1)
        if camera.visible is not None:
            view.pixel_mask.numpy()[:] &= camera.visible.take(nearest)
        if camera.semantics is not None:
            camera.semantics.take(nearest, out=view.semantics.numpy())


def _moved_volume(grid: VoxelGrid, augment: AugmentSettings, rng: np.random.Generator) -> Matrix:
    """bev_T_ego of randomly mirroring the volume about the middle of its box, then turning and stretching it about the
    vehicle, and moving it."""
    bev_T_ego = np.eye(4)
    for axis, probability in enumerate((augment.bev_flip_x, augment.bev_flip_y)):
        if rng.uniform() < probability:
            bev_T_ego[axis, axis] = -1
            bev_T_ego[axis, 3] = grid.lower[axis] + grid.upper[axis]
    if augment.bev_turn or augment.bev_shift or augment.bev_scale:
        turn = np.deg2rad(augment.bev_turn) * rng.uniform(-1, 1)
        stretch = 1 + augment.bev_scale * rng.uniform(-1, 1)
        moved_T_bev = np.eye(4)
        moved_T_bev[:2, :2] = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]) * stretch
        vehicle = bev_T_ego[:2, 3].round(9)
        moved_T_bev[:2, 3] = augment.bev_shift * rng.uniform(-1, 1, 2) + vehicle - moved_T_bev[:2, :2] @ vehicle
        bev_T_ego = moved_T_bev @ bev_T_ego
    return bev_T_ego


def _surviving_cameras(count: int, drop: float, rng: np.random.Generator) -> Tensor:
    """(count,) bool; one camera always stays."""
    draws = rng.uniform(size=count)
    kept = draws >= drop
    kept[draws.argmax()] = True
    return torch.from_numpy(kept)


def _label(label: OccupancyLabel | None, grid: VoxelGrid, bev_T_ego: Matrix) -> OccupancyLabel:
    """The label of a moved volume, unknown and unseen where the recorded volume ends.

    Voxels of the label's own size take the nearest one. Then they are joined to those of the grid, for how much a class
    grows by that depends on where the voxels lie.
    """
    if label is None:
        unseen = np.zeros(grid.shape, dtype=bool)
        return OccupancyLabel(np.full(grid.shape, UNKNOWN, dtype=np.uint8), unseen, unseen.copy())
    ego_T_bev = np.linalg.inv(bev_T_ego)
    fine = own_grid(label, grid)
    floor = VoxelGrid(fine.lower, (*fine.shape[:2], 1), fine.voxel_size)
    columns = floor.centres()[:, :, 0] @ ego_T_bev[:3, :3].T + ego_T_bev[:3, 3]
    cells, inside = fine.index(columns)
    beyond = fine.shape[0] * fine.shape[1]
    column = np.where(inside, cells[..., 0] * fine.shape[1] + cells[..., 1], beyond)
    # Copies also without a move: a batch may outlive the mapped cache file and be written to.
    moved = OccupancyLabel(
        *(
            np.concatenate([values.reshape(beyond, -1), np.full((1, fine.shape[2]), nothing, values.dtype)]).take(
                column, axis=0
            )
            for values, nothing in zip(label, (UNKNOWN, False, False), strict=True)
        )
    )
    factor = fine.shape[0] // grid.shape[0]
    return moved if factor == 1 else coarsen(moved, factor)


def _float32(matrices: Matrix | list[Matrix]) -> Tensor:
    return torch.from_numpy(np.array(matrices, dtype=np.float32))[None]
