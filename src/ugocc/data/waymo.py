"""The Waymo Open Dataset (v2 Parquet release) as frames, with Occ3D-Waymo labels where there are any.

::

    <root>/{training,validation,testing}/<component>/<segment>.parquet
    <root>/occ3d/{training,validation,testing}/SSS/FFF_04.npz

Required components: ``camera_image``, ``camera_calibration``, ``vehicle_pose``. Used where present: ``lidar`` with
``lidar_calibration`` and ``lidar_pose``, ``lidar_box``, ``camera_segmentation``. SSS is the position of the segment in
the list of ``segments.txt`` beside the SSS folders (one name a line), or in sorted order without that file; FFF counts
the frames of a segment from 0.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ugocc.data.arrays import as_labels, as_mask, read_npz
from ugocc.data.frame import CameraView, Frame, LidarSweep, OccupancyLabel
from ugocc.data.images import decode_image, decode_png
from ugocc.data.parquet_rows import read_row
from ugocc.data.waymo_folder import REQUIRED, SPLITS
from ugocc.data.waymo_lidar import read_points
from ugocc.data.waymo_segment import (
    CAMERAS,
    DIVISOR,
    IMAGE,
    PANOPTIC,
    Place,
    Segment,
    component_file,
    read_segment,
    read_timestamps,
)
from ugocc.errors import DataError
from ugocc.geometry.grid import OCC3D_GRID
from ugocc.labels import OCC3D_WAYMO, UNKNOWN, WAYMO_2D

_LISTING = "segments.txt"
_OCC3D_IDS = frozenset(np.flatnonzero(OCC3D_WAYMO != UNKNOWN).tolist()) | {UNKNOWN}


class WaymoSource:
    """Frames of one split, segment after segment, in time order.

    Nothing but timestamps is read at first. The tables of a segment are read when one of its frames is asked for, and
    pictures, points and labels when the frame's callables are called.

    Args:
        root: folder that holds ``training``, ``validation``, ``testing``.
        split: ``train``, ``val`` or ``test``.
        occupancy: folder of the Occ3D-Waymo labels; ``<root>/occ3d`` if None. Frames without a file have no label.
        fleet: name the frames carry.
        every: keep every so many frames of each segment, from the first; neighbours are the kept ones. The dataset
            has ten frames a second; 5 is customary.
        infov: restrict the camera mask of the labels to voxels whose centre falls into an image.
        second_return: also read the second echo of the lidar's pulses.

    Raises:
        DataError: unknown split, no segments, or a segment without a required component.
    """

    def __init__(
        self,
        root: Path,
        split: str = "train",
        occupancy: Path | None = None,
        fleet: str = "waymo",
        every: int = 1,
        infov: bool = False,
        second_return: bool = False,
    ) -> None:
        if split not in SPLITS:
            raise DataError(root, "split", split, f"one of {', '.join(SPLITS)}")
        if every < 1:
            raise DataError(root, "every", every, "a whole number from 1")
        self.fleet, self._infov, self._second_return = fleet, infov, second_return
        self._folder = Path(root) / SPLITS[split]
        self._segments = _segment_names(self._folder)
        self._occ3d = (occupancy or Path(root) / "occ3d") / SPLITS[split]
        self._labels = _label_folders(self._occ3d, self._segments)
        self._disorder = _disorder(self._occ3d, self._segments)
        self._frames: list[tuple[str, int, int]] = []  # segment, frame number in it, timestamp
        for name in self._segments:
            times = read_timestamps(self._folder, name)
            self._frames += [(name, number, times[number]) for number in range(0, len(times), every)]
        self._tokens = [_token(name, time) for name, _, time in self._frames]

    def __len__(self) -> int:
        return len(self._frames)

    def __iter__(self) -> Iterator[Frame]:
        return (self[index] for index in range(len(self)))

    @property
    def tokens(self) -> list[str]:
        """Token of every frame, in order: segment and timestamp."""
        return list(self._tokens)

    def __getitem__(self, index: int) -> Frame:
        """The frame at a position.

        Raises:
            IndexError: no such position.
            DataError: its segment cannot be used.
        """
        position = range(len(self))[index]
        name, number, time = self._frames[position]
        segment = read_segment(self._folder, name)
        images = segment.images.get(time, {})
        if not images:
            raise DataError(
                segment.file("camera_image"), "key.frame_timestamp_micros", f"no row of {time}", "a picture"
            )
        return Frame(
            fleet=self.fleet,
            scene=name,
            token=self._tokens[position],
            timestamp_us=time,
            world_T_ego=segment.poses[time],
            cameras=tuple(_camera_view(segment, time, camera) for camera in images),
            lidar=_sweep(segment, time, self._second_return),
            occupancy=self._occupancy(name, number),
            boxes=segment.boxes.at(time) if segment.boxes else (),
            previous=self._neighbour(position, -1),
            next=self._neighbour(position, 1),
        )

    def _occupancy(self, segment: str, number: int) -> Callable[[], OccupancyLabel] | None:
        if self._disorder:
            return partial(_refuse_order, str(self._occ3d / _LISTING), self._disorder)
        label = self._labels.get(segment, Path()) / f"{number:03d}_04.npz"
        return partial(read_occupancy, label, self._infov) if label.is_file() else None

    def _neighbour(self, position: int, step: int) -> str | None:
        other = position + step
        same_scene = 0 <= other < len(self) and self._frames[other][0] == self._frames[position][0]
        return self._tokens[other] if same_scene else None

    def check(self) -> None:
        """Read the tables of every segment and build every frame; pictures, points and labels are not decoded.

        Raises:
            DataError: the first thing that cannot be used.
        """
        for _ in self:
            pass


def read_occupancy(path: Path, infov: bool = False) -> OccupancyLabel:
    """One Occ3D-Waymo label in the ten classes.

    Args:
        path: ``FFF_04.npz``.
        infov: restrict the camera mask to voxels whose centre falls into an image.

    Raises:
        DataError: missing keys, another shape, ids that Occ3D-Waymo does not have, or masks that are none.
    """
    keys = ("voxel_label", "origin_voxel_state", "final_voxel_state", *(("infov",) if infov else ()))
    stored = read_npz(path, keys, OCC3D_GRID.shape)
    semantics = OCC3D_WAYMO[as_labels(path, "voxel_label", stored["voxel_label"], _OCC3D_IDS)]
    lidar, camera, *fov = (as_mask(path, key, stored[key]) for key in keys[1:])
    return OccupancyLabel(semantics, camera & fov[0] if fov else camera, lidar)


def _segment_names(folder: Path) -> list[str]:
    present = {component: {p.stem for p in (folder / component).glob("*.parquet")} for component in REQUIRED}
    names = sorted(set().union(*present.values()))
    if not names:
        raise DataError(folder, "split", "no segments", f"{', '.join(REQUIRED)}, each with <segment>.parquet files")
    for name in names:
        for component in REQUIRED:
            if name not in present[component]:
                where = component_file(folder, component, name)
                raise DataError(where, component, "nothing there", f"a file for every segment of {folder}")
    return names


def _label_folders(folder: Path, segments: list[str]) -> dict[str, Path]:
    """Folder of the labels of every segment."""
    listing = folder / _LISTING
    if not listing.is_file():
        return {name: folder / f"{i:03d}" for i, name in enumerate(segments)}
    try:
        lines = listing.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise DataError(listing, "encoding", str(error), "UTF-8") from None
    names = [line.strip() for line in lines if line.strip()]
    for twice in (name for i, name in enumerate(names) if name in names[:i]):
        raise DataError(listing, "segments", f"{twice} twice", "each segment once: its place says where its labels are")
    absent = [name for name in segments if name not in names]
    if absent and len(absent) == len(segments):
        raise DataError(listing, "segments", f"none of this split, such as {absent[0]}", "segment names, one a line")
    return {name: folder / f"{i:03d}" for i, name in enumerate(names)}


def _disorder(folder: Path, segments: list[str]) -> str:
    """Why it cannot be told which folder of labels belongs to which segment; empty if it can."""
    if (folder / _LISTING).is_file() or not folder.is_dir():
        return ""
    folders = sum(path.name.isdigit() for path in folder.iterdir())
    return f"no file, and {folders} folders of labels for {len(segments)} segments" if folders > len(segments) else ""


def _refuse_order(listing: str, found: str) -> OccupancyLabel:
    expected = "the names of all segments of the split, one a line, in the order of the folders"
    raise DataError(listing, "segments", found, expected)


def _token(segment: str, time: int) -> str:
    return re.sub(r"[^A-Za-z0-9._-]", "_", f"{segment}_{time}")


def _camera_view(segment: Segment, time: int, camera: int) -> CameraView:
    row, calibration = segment.images[time][camera], segment.calibration[camera]
    size = (calibration.width, calibration.height)
    labels = segment.segmentation.get((time, camera))
    return CameraView(
        name=CAMERAS[camera],
        image=partial(_read_image, segment.file("camera_image"), row.place, size),
        source=_where(segment.file("camera_image"), row.place),
        width=calibration.width,
        height=calibration.height,
        intrinsics=calibration.intrinsics,
        distortion=calibration.distortion,
        ego_T_camera=calibration.ego_T_camera,
        world_T_ego=row.world_T_ego,
        timestamp_us=row.timestamp_us,
        semantics=None
        if labels is None
        else partial(_read_semantics, segment.file("camera_segmentation"), labels, size),
        shrinks=True,
    )


def _sweep(segment: Segment, time: int, second_return: bool) -> LidarSweep | None:
    lasers = segment.lasers.get(time)
    if not lasers:
        return None
    lidar, pose = segment.file("lidar"), segment.poses[time]
    return LidarSweep(
        points=partial(read_points, lidar, segment.file("lidar_pose"), lasers, pose, second_return),
        source=f"{lidar} at {time}",
        ego_T_lidar=np.eye(4),
        world_T_ego=pose,
        timestamp_us=time,
    )


def _where(path: Path, place: Place) -> str:
    return f"{path}, row group {place[0]}, row {place[1]}"


def _bytes(path: Path, place: Place, columns: tuple[str, ...]) -> tuple[bytes, ...]:
    row = read_row(path, place, columns)
    for column in columns:
        if not row[column].is_valid:
            raise DataError(_where(path, place), column, "nothing", "a value")
    return tuple(row[column].as_py() for column in columns)


def _read_image(
    path: Path, place: Place, size: tuple[int, int], least: tuple[int, int] | None = None
) -> NDArray[np.uint8]:
    (data,) = _bytes(path, place, (IMAGE,))
    return decode_image(data, _where(path, place), size, least)


def _read_semantics(path: Path, place: Place, size: tuple[int, int]) -> NDArray[np.uint8]:
    """Panoptic labels (class * divisor + instance) to the ten classes."""
    data, divisor = _bytes(path, place, (PANOPTIC, DIVISOR))
    if not isinstance(divisor, int) or divisor < 1:
        raise DataError(_where(path, place), DIVISOR, divisor, "a whole number from 1")
    classes = decode_png(data, _where(path, place), size).astype(np.int64) // divisor
    return WAYMO_2D[np.minimum(classes, UNKNOWN)]
