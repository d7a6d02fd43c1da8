"""nuScenes v1.0 folders, with Occ3D labels, as frames."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from ugocc.data.arrays import as_labels, as_mask, read_npz
from ugocc.data.frame import Box, CameraView, Frame, LidarSweep, OccupancyLabel
from ugocc.data.images import read_bytes, read_image, read_png
from ugocc.data.nuscenes_cache import load_index
from ugocc.data.nuscenes_splits import scenes_of_split
from ugocc.data.nuscenes_tables import fields_of, table_rows
from ugocc.errors import DataError
from ugocc.geometry.grid import OCC3D_GRID
from ugocc.geometry.rigid import from_quaternion
from ugocc.labels import NUSCENES_CATEGORY, OCC3D_NUSCENES, OCCNERF_2D, UNKNOWN, Lookup

Row = dict[str, Any]

POINT_BYTES = 20
"""Bytes of a lidar point on disk: float32 x, y, z, intensity, ring."""
OCC3D_IDS = frozenset(range(18))
"""Ids of an Occ3D-nuScenes label; 17 is free."""


class NuScenesSource:
    """The key frames of one split, scene after scene in order of name, each in order of time.

    2D semantics come from ``<root>/semantics_2d/<channel>/<image stem>.png`` (OccNeRF vocabulary) where that exists,
    labels of lidar points from nuScenes-lidarseg where it is installed.
    """

    def __init__(
        self,
        root: Path,
        split: str = "train",
        version: str | None = None,
        occupancy: Path | None = None,
        fleet: str = "nuscenes",
    ) -> None:
        """Open a folder; its tables are read the first time only.

        Args:
            root: folder with ``samples`` and the folder of tables.
            split: train, val or test; see :func:`ugocc.data.nuscenes_splits.scenes_of_split`.
            version: folder of tables; by default the one that is there (of several, the one the official split is in).
            occupancy: folder of Occ3D labels, ``<scene>/<sample token>/labels.npz``; ``<root>/gts`` if that exists.
            fleet: name that the frames carry.

        Raises:
            DataError: tables missing or inconsistent, an empty split, no folder of labels where one was named.
        """
        self.root, self.split, self.fleet = Path(root), split, fleet
        self.version = version or _find_version(self.root, split)
        if occupancy is not None and not Path(occupancy).is_dir():
            raise DataError(occupancy, "occupancy", "no folder", "a folder of Occ3D labels")
        default = self.root / "gts"
        self.occupancy = Path(occupancy) if occupancy is not None else default if default.is_dir() else None
        index = load_index(self.root, self.version)
        scenes = index["scene"].unique().to_pylist()
        chosen = scenes_of_split(self.root, self.version, split, scenes)
        self._index: pa.Table = index.filter(pc.is_in(index["scene"], pa.array(chosen))).combine_chunks()
        self._lidarseg = _lidarseg_lookup(self.root / self.version)
        self._semantics_2d = (self.root / "semantics_2d").is_dir()

    def __len__(self) -> int:
        return self._index.num_rows

    def __getitem__(self, index: int) -> Frame:
        if not -len(self) <= index < len(self):
            raise IndexError(f"frame {index} of {len(self)}")
        (row,) = self._index.slice(index % len(self), 1).to_pylist()
        # Downloads without the sweeps between key frames are whole: nothing is trained on those.
        sweeps = tuple(self._lidar(s) for s in row["sweeps"] if (self.root / s["file"]).is_file())
        return Frame(
            fleet=self.fleet,
            scene=row["scene"],
            token=row["token"],
            timestamp_us=row["timestamp_us"],
            world_T_ego=_matrix(row["world_T_ego"]),
            cameras=tuple(self._camera(camera) for camera in row["cameras"]),
            lidar=self._lidar(row["lidar"][0]) if row["lidar"] else None,
            occupancy=partial(read_occupancy, self._label_file(row)) if self.occupancy else None,
            boxes=tuple(
                Box(b["label"], tuple(b["centre"]), tuple(b["size"]), b["yaw"], b["track"]) for b in row["boxes"]
            ),
            previous=row["previous"],
            next=row["next"],
            sweeps=sweeps,
        )

    def __iter__(self) -> Iterator[Frame]:
        return (self[i] for i in range(len(self)))

    @property
    def tokens(self) -> list[str]:
        """Sample token of every frame, in order."""
        return self._index["token"].to_pylist()

    def check(self) -> None:
        """Look at every file of the split without reading it; seconds for the whole of v1.0-trainval.

        Lidar sweeps between key frames may be missing: nothing is trained on them.

        Raises:
            DataError: files are missing, empty, or cut within a lidar point; names the first and counts the rest.
        """
        wrong: list[tuple[Path, str, str]] = []
        for file, field, unit in self._files():
            size = file.stat().st_size if file.is_file() else None
            if not size or size % unit:
                wrong.append((file, field, "no file" if size is None else f"{size} bytes"))
        if wrong:
            file, field, found = wrong[0]
            others = f" (and {len(wrong) - 1} other files are missing or broken)" if len(wrong) > 1 else ""
            raise DataError(file, field, found + others, "a file")

    def _files(self) -> Iterator[tuple[Path, str, int]]:
        """Every file that frames refer to, with its kind and the size of its smallest part in bytes."""
        columns = self._index.select(["scene", "token", "cameras", "lidar", "sweeps"])
        for batch in columns.to_batches(max_chunksize=256):
            for row in batch.to_pylist():
                yield from ((self.root / camera["file"], "image", 1) for camera in row["cameras"])
                between = [sweep for sweep in row["sweeps"] if (self.root / sweep["file"]).is_file()]
                for sweep in (*row["lidar"], *between):
                    yield self.root / sweep["file"], "lidar", POINT_BYTES
                    if sweep["labels"]:
                        yield self.root / sweep["labels"], "lidarseg", 1
                if self.occupancy:
                    yield self._label_file(row), "occupancy", 1

    def _label_file(self, row: Row) -> Path:
        assert self.occupancy is not None
        return self.occupancy / row["scene"] / row["token"] / "labels.npz"

    def _camera(self, row: Row) -> CameraView:
        path, size = self.root / row["file"], (row["width"], row["height"])
        labels = self.root / "semantics_2d" / row["name"] / f"{path.stem}.png"
        return CameraView(
            name=row["name"],
            image=partial(read_image, path, size),
            source=str(path),
            width=row["width"],
            height=row["height"],
            intrinsics=np.array(row["intrinsics"]).reshape(3, 3),
            distortion=np.zeros(5),  # nuScenes publishes rectified pictures
            ego_T_camera=_matrix(row["ego_T_sensor"]),
            world_T_ego=_matrix(row["world_T_ego"]),
            timestamp_us=row["timestamp_us"],
            semantics=partial(read_semantics, labels, size) if self._semantics_2d and labels.is_file() else None,
            shrinks=True,
        )

    def _lidar(self, row: Row) -> LidarSweep:
        path = self.root / row["file"]
        labels = None
        if row["labels"] and self._lidarseg is not None:
            labels = partial(read_lidarseg, self.root / row["labels"], path, self._lidarseg)
        return LidarSweep(
            points=partial(read_points, path),
            source=str(path),
            ego_T_lidar=_matrix(row["ego_T_sensor"]),
            world_T_ego=_matrix(row["world_T_ego"]),
            timestamp_us=row["timestamp_us"],
            labels=labels,
        )


def read_points(path: Path) -> NDArray[np.float32]:
    """Points of a ``.pcd.bin`` file: (M, 4) x, y, z in metres in the sensor's frame, intensity (0 to 255).

    Raises:
        DataError: no file, a size that is no whole number of points, or numbers that are not finite.
    """
    data = read_bytes(path, "lidar")
    if len(data) % POINT_BYTES:
        raise DataError(path, "lidar", f"{len(data)} bytes", f"a multiple of {POINT_BYTES} (five float32 per point)")
    points = np.frombuffer(data, dtype="<f4").reshape(-1, 5)[:, :4].copy()
    if not np.isfinite(points).all():
        raise DataError(path, "lidar", f"{int((~np.isfinite(points)).sum())} numbers not finite", "metres")
    return points


def read_lidarseg(path: Path, points: Path, lookup: Lookup) -> NDArray[np.uint8]:
    """Ten-class labels (M,) of the points in the file ``points``; ``lookup`` maps category indices.

    Raises:
        DataError: no file, or another number of labels than points.
    """
    raw = np.frombuffer(read_bytes(path, "lidarseg"), dtype=np.uint8)
    count = points.stat().st_size // POINT_BYTES if points.is_file() else 0
    if len(raw) != count:
        raise DataError(path, "lidarseg", f"{len(raw)} labels", f"{count}, the number of points in {points.name}")
    return lookup[raw]


def read_semantics(path: Path, size: tuple[int, int]) -> NDArray[np.uint8]:
    """Ten-class labels (height, width) from an 8-bit PNG in the OccNeRF vocabulary; ``size`` is (width, height).

    Raises:
        DataError: see :func:`ugocc.data.images.read_png`; 16-bit values.
    """
    raw = read_png(path, size)
    if raw.dtype != np.uint8:
        raise DataError(path, "semantics", f"{raw.dtype} values", "8-bit values")
    return OCCNERF_2D[raw]


def read_occupancy(path: Path) -> OccupancyLabel:
    """An Occ3D-nuScenes ``labels.npz`` in the ten classes.

    Raises:
        DataError: no file, a key missing, another shape than 200x200x16, or ids outside 0..17.
    """
    arrays = read_npz(path, ("semantics", "mask_lidar", "mask_camera"), OCC3D_GRID.shape)
    return OccupancyLabel(
        semantics=OCC3D_NUSCENES[as_labels(path, "semantics", arrays["semantics"], OCC3D_IDS)],
        camera_mask=as_mask(path, "mask_camera", arrays["mask_camera"]),
        lidar_mask=as_mask(path, "mask_lidar", arrays["mask_lidar"]),
    )


def _find_version(root: Path, split: str) -> str:
    found = sorted(file.parent.name for file in root.glob("v1.0-*/scene.json"))
    if not found:
        raise DataError(root, "version", "no folder v1.0-* with scene.json", "the tables of nuScenes v1.0")
    official_test = split == "test" and not (root / "splits.json").exists()
    preferred = "v1.0-test" if official_test else "v1.0-trainval"
    return preferred if preferred in found else found[0]


def _lidarseg_lookup(tables: Path) -> Lookup | None:
    """Table from lidarseg category index to class, or None without lidarseg."""
    if not (tables / "lidarseg.json").is_file():
        return None
    where = tables / "category.json"
    lookup = np.full(256, UNKNOWN, dtype=np.uint8)
    with fields_of(where):
        for row in table_rows(where):
            lookup[row["index"]] = NUSCENES_CATEGORY.get(row["name"], UNKNOWN)
    return lookup


def _matrix(pose: list[float]) -> NDArray[np.float64]:
    """(4, 4) from quaternion and translation; checked when the index was made."""
    return from_quaternion(pose[:4], pose[4:])
