from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from ugocc.adaptation.plausibility import PlausibilitySettings, plausibility
from ugocc.data.frame import Frame, OccupancyLabel
from ugocc.errors import DataError
from ugocc.evaluation.files import write_prediction
from ugocc.evaluation.score import score_folder
from ugocc.evaluation.volumes import PlausibleShares
from ugocc.geometry.grid import OCC3D_GRID, VoxelGrid
from ugocc.geometry.rigid import yaw_matrix
from ugocc.labels import DRIVABLE, FREE, OCC3D_NUSCENES, SIDEWALK, UNKNOWN, VEHICLE

GRID = VoxelGrid((-4.0, -4.0, -1.0), (20, 20, 12), 0.4)


class Frames:
    """A fleet in memory."""

    fleet = "toy"

    def __init__(self, labels: list[OccupancyLabel | None], grid: VoxelGrid = GRID) -> None:
        self._frames = [
            Frame("toy", "s", f"t{i}", i, yaw_matrix(0.0, (i, 0, 0)), (), None, self._reader(label), grid)
            for i, label in enumerate(labels)
        ]

    @staticmethod
    def _reader(label: OccupancyLabel | None) -> Callable[[], OccupancyLabel] | None:
        return None if label is None else lambda: label

    def __len__(self) -> int:
        return len(self._frames)

    def __getitem__(self, index: int) -> Frame:
        return self._frames[index]

    def __iter__(self) -> Iterator[Frame]:
        return iter(self._frames)

    @property
    def tokens(self) -> list[str]:
        return [f.token for f in self._frames]


def label(place: int) -> OccupancyLabel:
    semantics = np.full(GRID.shape, FREE, dtype=np.uint8)
    semantics[:, :, 1] = DRIVABLE
    semantics[place : place + 2, 4:6, 2:4] = VEHICLE
    mask = np.ones(GRID.shape, dtype=bool)
    mask[:, 15:] = False
    return OccupancyLabel(semantics, mask, mask)


LABELS = [label(12), label(14)]


def write(folder: Path, volumes: list[np.ndarray], grid: VoxelGrid = GRID) -> Path:
    for i, volume in enumerate(volumes):
        write_prediction(folder, f"t{i}", volume, grid)
    return folder


def test_truth_scores_a_hundred_and_masked_voxels_do_not_count(tmp_path: Path) -> None:
    volumes = [np.where(x.camera_mask, x.semantics, VEHICLE).astype(np.uint8) for x in LABELS]
    row = score_folder(write(tmp_path, volumes), Frames(LABELS), model="m", split="test")
    assert (row.miou, row.iou_occupied, row.frames, row.eval_fleet) == (100, 100, 2, "toy")
    assert (row.model, row.split) == ("m", "test")
    assert row.per_class["vehicle"] == 100
    assert row.per_class["pedestrian"] is None
    assert row.ray_iou["mean"] < 100  # RayIoU knows no mask: a wall that is not there

    row = score_folder(write(tmp_path, [x.semantics for x in LABELS]), Frames(LABELS))
    assert row.ray_iou == {"1": 100, "2": 100, "4": 100, "mean": 100}


def test_free_scores_nothing(tmp_path: Path) -> None:
    row = score_folder(write(tmp_path, [np.full(GRID.shape, FREE, np.uint8)] * 2), Frames(LABELS))
    assert (row.miou, row.iou_occupied, row.ray_iou["mean"]) == (0, 0, 0)


def test_one_confusion_over_all_frames(tmp_path: Path) -> None:
    volumes = [LABELS[0].semantics, np.where(LABELS[1].semantics == VEHICLE, FREE, LABELS[1].semantics)]
    row = score_folder(write(tmp_path, [v.astype(np.uint8) for v in volumes]), Frames(LABELS))
    assert row.per_class["vehicle"] == 50
    assert row.per_class["drivable surface"] == 100


def test_smaller_and_coarser_grids(tmp_path: Path) -> None:
    cut = VoxelGrid((-2.4, -2.4, -1.0), (12, 12, 12), 0.4)
    row = score_folder(write(tmp_path / "cut", [x.semantics[4:16, 4:16] for x in LABELS], cut), Frames(LABELS))
    assert row.miou == 100
    coarse = GRID.coarsened(2)
    volume = np.full(coarse.shape, FREE, dtype=np.uint8)
    volume[:, :, 0] = DRIVABLE
    ours = []
    for place in (6, 7):
        ours.append(volume.copy())
        ours[-1][place, 2, 1] = VEHICLE
    row = score_folder(write(tmp_path / "coarse", ours, coarse), Frames(LABELS))
    assert (row.miou, row.ray_iou["mean"]) == (100, 100)


def test_a_volume_that_does_not_hold_the_car_has_no_rays(tmp_path: Path) -> None:
    ahead = VoxelGrid((1.6, -2.4, -1.0), (6, 12, 12), 0.4)
    row = score_folder(write(tmp_path, [x.semantics[14:, 4:16] for x in LABELS], ahead), Frames(LABELS))
    assert row.miou == 100
    assert row.ray_iou == {}


def test_unknown_is_ignored(tmp_path: Path) -> None:
    semantics = LABELS[0].semantics.copy()
    semantics[semantics == FREE] = UNKNOWN
    volume = np.where(semantics == UNKNOWN, VEHICLE, semantics).astype(np.uint8)
    row = score_folder(write(tmp_path, [volume]), Frames([LABELS[0]._replace(semantics=semantics)]))
    assert row.miou == 100


def save(path: Path, **arrays: np.ndarray) -> None:
    with path.open("wb") as file:
        np.savez(file, **arrays)


GOOD = LABELS[1].semantics


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"pred": GOOD.astype(np.int64)}, "int64"),
        ({"pred": GOOD[0]}, r"shape \(20, 12\)"),
        ({"pred": GOOD}, "without lower"),
        ({"prediction": GOOD}, "the key pred"),
        ({"pred": np.full_like(GOOD, 17)}, "value 17"),
        ({"pred": GOOD[:10], "lower": np.array(GRID.lower), "voxel_size": np.array(0.4)}, "grid of the first file"),
        ({"pred": np.array([{}], dtype=object)}, "unreadable"),
        ({"pred": GOOD, "lower": np.array(GRID.lower)}, "both lower and voxel_size"),
        ({"pred": GOOD, "lower": np.zeros(2), "voxel_size": np.array(0.4)}, r"shape \(3,\)"),
        ({"pred": GOOD, "lower": np.zeros(3), "voxel_size": np.array(0.0)}, "above zero"),
        ({"pred": GOOD, "lower": np.full(3, np.nan), "voxel_size": np.array(0.4)}, "finite"),
    ],
)
def test_unusable_files_are_named(tmp_path: Path, arrays: dict[str, np.ndarray], message: str) -> None:
    write(tmp_path, [LABELS[0].semantics])
    with pytest.raises(DataError, match=r"t1\.npz.*no such file"):
        score_folder(tmp_path, Frames(LABELS))
    save(tmp_path / "t1.npz", **arrays)
    with pytest.raises(DataError, match=message) as error:
        score_folder(tmp_path, Frames(LABELS))
    assert "t1.npz" in str(error.value)


def test_bare_array_is_no_prediction(tmp_path: Path) -> None:
    with (tmp_path / "t0.npz").open("wb") as file:
        np.save(file, GOOD)
    with pytest.raises(DataError, match="unreadable"):
        score_folder(tmp_path, Frames([LABELS[0]]))


def test_grid_that_does_not_fit_the_label(tmp_path: Path) -> None:
    write(tmp_path, [LABELS[0].semantics], VoxelGrid((-3.9, -4.0, -1.0), GRID.shape, 0.4))
    with pytest.raises(DataError, match=r"t0\.npz"):
        score_folder(tmp_path, Frames([LABELS[0]]))


def test_frames_without_label_and_no_frames(tmp_path: Path) -> None:
    write(tmp_path, [LABELS[0].semantics] * 2)
    with pytest.raises(DataError, match="no label"):
        score_folder(tmp_path, Frames([LABELS[0], None]))
    with pytest.raises(DataError, match="at least one"):
        score_folder(tmp_path, Frames([]))


def test_real_label_from_its_file(tmp_path: Path, real_data: Path) -> None:
    (path,) = (real_data / "occ3d").glob("*/labels.npz")
    with np.load(path) as file:
        truth = OccupancyLabel(
            OCC3D_NUSCENES[file["semantics"]], file["mask_camera"].astype(bool), file["mask_lidar"].astype(bool)
        )
    frames = Frames([truth], OCC3D_GRID)
    save(tmp_path / "t0.npz", pred=truth.semantics)  # without a grid: Occ3D's
    row = score_folder(tmp_path, frames)
    assert (row.miou, row.iou_occupied, row.ray_iou["mean"]) == (100, 100, 100)
    small = VoxelGrid((-25.6, -25.6, -1.0), (64, 64, 8), 0.8)
    write(tmp_path, [np.full(small.shape, FREE, np.uint8)], small)
    assert score_folder(tmp_path, frames).miou == 0


def test_a_row_says_how_good_it_is_near_and_far_and_where_no_camera_sees(tmp_path: Path) -> None:
    """Far voxels are wrong, near ones right; behind the mask everything is right."""
    wide = VoxelGrid((-16.0, -16.0, -1.0), (40, 40, 5), 0.8)
    semantics = np.full(wide.shape, FREE, dtype=np.uint8)
    semantics[:, :, 1] = DRIVABLE
    mask = np.ones(wide.shape, dtype=bool)
    mask[:, :8] = False
    truth = OccupancyLabel(semantics, mask, mask)
    far = np.linalg.norm(wide.centres()[..., :2], axis=-1) >= 10
    volume = np.where(far & mask, FREE, semantics).astype(np.uint8)
    row = score_folder(write(tmp_path, [volume], wide), Frames([truth], wide))
    assert row.by_distance == {"0-10": 100, "10-20": 0, "20-30": 0, "30-40": None}
    assert row.hidden == {"miou": 100, "iou_occupied": 100}
    assert row.plausibility == {"grounded": None, "near_ground": 1.0, "vehicle_size": None}


def test_plausible_shares_are_of_all_frames_together() -> None:
    random = np.random.default_rng(0)
    volumes = random.choice([DRIVABLE, VEHICLE, FREE, SIDEWALK], size=(4, *GRID.shape), p=[0.2, 0.05, 0.7, 0.05])
    masks = random.random((4, *GRID.shape)) < 0.8
    metric = PlausibleShares(GRID)
    for part in (slice(0, 1), slice(1, 4)):
        metric.update(torch.from_numpy(volumes[part]), torch.from_numpy(masks[part]))
    found = metric.compute()
    assert found == pytest.approx(plausibility(volumes.astype(np.uint8), masks, GRID, PlausibilitySettings()))
    assert 0 < found.vehicle_size < 1
