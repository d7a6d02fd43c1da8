"""One frame as what the rerun viewer draws: a path for every entity, and its contents."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final

import numpy as np
import rerun as rr
from numpy.typing import NDArray

from ugocc.data.depth_map import rasterise_depth
from ugocc.data.frame import CameraView, Frame
from ugocc.data.occupancy import label_on_grid
from ugocc.data.prepare import InputSettings, PreparedCamera, first_shown_row, prepare, prepared_size
from ugocc.geometry.grid import VoxelGrid
from ugocc.geometry.rigid import Matrix, transform
from ugocc.labels import FREE, PALETTE
from ugocc.viz.fleet import ViewSettings
from ugocc.viz.overlay import depth_colours
from ugocc.viz.viewer import paths

JPEG_QUALITY: Final = 90
POINT_RADIUS: Final = 1.0
"""Points of the screen, so that near lidar returns do not cover the pictures they are drawn over."""
PLANE_DISTANCE: Final = 1.0
"""Metres from a camera to its picture in the 3D view."""
FARTHEST: Final = 60.0
"""Metres at the end of the colours of depth."""
CENTRE_OF_PIXEL: Final = np.array([[1.0, 0, 0.5], [0, 1.0, 0.5], [0, 0, 1.0]])
"""From pixels whose centre is a whole number to the viewer's, whose corner is."""

Entities = dict[str, tuple[Any, ...]]
"""Contents (archetypes) of every path."""


@dataclass(frozen=True)
class Predicted:
    """What a network says about one frame."""

    classes: NDArray[np.uint8]
    """(X, Y, Z) class of every voxel."""
    grid: VoxelGrid
    """Where the voxels are, key ego frame."""
    depth: NDArray[np.float32] | None = None
    """(N, h, w) depth of the feature cells of every camera in metres along the optical axis, if known."""
    input: InputSettings | None = None
    """What the network was fed: the cells of ``depth`` cover its images."""


def entities_of(frame: Frame, settings: ViewSettings, origin: Matrix, predicted: Predicted | None = None) -> Entities:
    """What is known about a frame.

    Pictures, 2D labels and depth are those of ideal pinholes, no wider than ``settings.width``. Lidar, boxes and voxels
    are in metres of the key ego frame, cameras stand in it where they were at their own moments.

    Args:
        frame: what a reader yields.
        settings: what to show of it.
        origin: (3,) metres, where the world begins. The viewer computes in float32, in which maps of large
            coordinates are coarse.
        predicted: what a network says about it.
    """
    world_T_ego = frame.world_T_ego
    entities: Entities = {
        paths.FRAMES: (rr.TextLog(f"{frame.scene}  {frame.token}"),),
        paths.EGO: (rr.Transform3D(translation=world_T_ego[:3, 3] - origin, mat3x3=world_T_ego[:3, :3]),),
    }
    if frame.lidar is not None and settings.lidar:
        points = frame.lidar.points()
        entities[paths.LIDAR] = (_lidar(transform(frame.ego_T_lidar(frame.lidar), points[:, :3])),)
        frame = replace(frame, lidar=replace(frame.lidar, points=partial(_same, points)))  # read once
    if frame.boxes and settings.boxes:
        entities[paths.BOXES] = (_boxes(frame),)
    for i, (view, camera) in enumerate(zip(frame.cameras, _prepared(frame, settings), strict=True)):
        for below, contents in _camera(view, camera, settings, predicted, i):
            entities[paths.camera_path(view.name, below)] = contents
    return entities | _volumes(frame, settings, predicted)


def exposed_voxels(volume: NDArray[np.uint8], mask: NDArray[np.bool_] | None = None) -> NDArray[np.int64]:
    """(n, 3) indices of occupied voxels with a side that borders on no other one.

    Args:
        volume: (X, Y, Z) classes; free (9) and unknown (255) are not occupied.
        mask: (X, Y, Z) voxels that count; None for all.
    """
    solid = volume < FREE if mask is None else (volume < FREE) & mask
    around = np.pad(solid, 1)
    hidden = solid.copy()
    for axis in range(3):
        for start in (0, 2):
            neighbour = [slice(1, -1)] * 3
            neighbour[axis] = slice(start, start + solid.shape[axis])
            hidden &= around[tuple(neighbour)]
    return np.argwhere(solid & ~hidden)


def depth_on_picture(
    cells: NDArray[np.float32], view: CameraView, ego_T_camera: Matrix, network: InputSettings, width: int, height: int
) -> NDArray[np.float32]:
    """(height, width) metres: depth of a network's cells on a picture of the same camera at another scale.

    Args:
        cells: (h, w) metres; they cover the network's image, some rows of the scaled picture.
        view: the camera.
        ego_T_camera: (4, 4) its pose.
        network: size of the network's image.
        width: columns of the picture.
        height: rows of the picture; 0 metres in those that the network does not see.
    """
    scaled = prepared_size(view, network)[1]
    row = (np.arange(height) + 0.5) * scaled / height - first_shown_row(view, ego_T_camera, network)
    row = np.floor(row * cells.shape[0] / network.height).astype(np.int64)
    column = np.floor((np.arange(width) + 0.5) * cells.shape[1] / width).astype(np.int64)
    inside = (row >= 0) & (row < cells.shape[0])
    depth = cells[row.clip(0, cells.shape[0] - 1)][:, column]
    return np.where(inside[:, None], depth, np.float32(0))


def _same(points: NDArray[np.float32]) -> NDArray[np.float32]:
    return points


def _prepared(frame: Frame, settings: ViewSettings) -> tuple[PreparedCamera, ...]:
    """The cameras as ideal pinholes, with what is to be shown of them."""
    cameras = frame.cameras if settings.semantics else tuple(replace(c, semantics=None) for c in frame.cameras)
    width = min(settings.width, max((camera.width for camera in cameras), default=settings.width))
    shown = replace(frame, cameras=cameras, occupancy=None, lidar=frame.lidar if settings.lidar else None)
    return prepare(shown, InputSettings(width=width, max_lidar_depth=FARTHEST)).cameras


def _camera(
    view: CameraView, camera: PreparedCamera, settings: ViewSettings, predicted: Predicted | None, index: int
) -> Iterator[tuple[str, tuple[Any, ...]]]:
    height, width = camera.image.shape[1:]
    ego_T_camera = camera.ego_T_camera
    yield (
        "",
        (
            rr.Transform3D(translation=ego_T_camera[:3, 3], mat3x3=ego_T_camera[:3, :3]),
            rr.Pinhole(
                image_from_camera=CENTRE_OF_PIXEL @ camera.prepared_T_recorded @ camera.intrinsics,
                resolution=(width, height),
                camera_xyz=rr.ViewCoordinates.RDF,
                image_plane_distance=PLANE_DISTANCE,
            ),
        ),
    )
    image = np.ascontiguousarray(camera.image.transpose(1, 2, 0))
    yield paths.IMAGE, (rr.Image(image).compress(jpeg_quality=JPEG_QUALITY),)
    if camera.semantics is not None:
        yield paths.SEMANTICS, (rr.SegmentationImage(camera.semantics, opacity=0.5),)
    if len(camera.lidar):
        u, v, depth = camera.lidar.T
        yield paths.LIDAR_DEPTH, (_depth(rasterise_depth(u, v, depth, height, width)),)
    if predicted is not None and predicted.depth is not None and predicted.input is not None:
        cells = predicted.depth[index]
        depth = depth_on_picture(cells, view, ego_T_camera, predicted.input, width, height)
        yield paths.PREDICTED_DEPTH, (_depth(depth),)


def _depth(metres: NDArray[np.float32]) -> rr.DepthImage:
    return rr.DepthImage(metres, meter=1.0, depth_range=(0.0, FARTHEST))


def _lidar(points: Matrix) -> rr.Points3D:
    colours = depth_colours(np.linalg.norm(points, axis=1))
    return rr.Points3D(points.astype(np.float32), colors=colours, radii=rr.Radius.ui_points(POINT_RADIUS))


def _boxes(frame: Frame) -> rr.Boxes3D:
    half_yaw = np.array([box.yaw for box in frame.boxes]) / 2
    zero = np.zeros_like(half_yaw)
    white = np.full((256, 3), 255, dtype=np.uint8)
    white[: len(PALETTE)] = PALETTE
    labels = np.array([box.label for box in frame.boxes])
    return rr.Boxes3D(
        centers=[box.centre for box in frame.boxes],
        sizes=[box.size for box in frame.boxes],
        quaternions=np.stack([zero, zero, np.sin(half_yaw), np.cos(half_yaw)], axis=1),
        class_ids=labels,
        colors=white[labels],
        show_labels=False,
    )


def _volumes(frame: Frame, settings: ViewSettings, predicted: Predicted | None) -> Entities:
    """Truth and prediction, on the grid of the prediction if there is one, as they are scored."""
    volumes: Entities = {}
    grid, mask = frame.occupancy_grid, None
    if predicted is not None:
        grid = predicted.grid
    if frame.occupancy is not None:
        label = label_on_grid(frame.occupancy(), frame.occupancy_grid, grid, frame.token)
        mask = label.camera_mask if settings.masked else None
        volumes |= _voxels(paths.TRUTH, label.semantics, grid, mask)
    if predicted is not None:
        volumes |= _voxels(paths.PREDICTION, predicted.classes, grid, mask)
    return volumes


def _voxels(path: str, volume: NDArray[np.uint8], grid: VoxelGrid, mask: NDArray[np.bool_] | None) -> Entities:
    """The exposed voxels, class by class: each can be hidden, and the viewer draws no more than 60 000 boxes of one."""
    cells = exposed_voxels(volume, mask)
    classes = volume[tuple(cells.T)]
    voxels: Entities = {}
    for label in np.unique(classes):
        centres = np.array(grid.lower) + (cells[classes == label] + 0.5) * grid.voxel_size
        voxels[paths.class_path(path, label)] = (
            rr.Boxes3D(
                centers=centres.astype(np.float32),
                half_sizes=np.full(centres.shape, grid.voxel_size / 2, dtype=np.float32),
                class_ids=np.full(len(centres), label),
                fill_mode=rr.components.FillMode.Solid,
                show_labels=False,
            ),
        )
    return voxels
