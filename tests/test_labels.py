from __future__ import annotations

import numpy as np
import pytest

from ugocc import labels
from ugocc.labels import CLASSES

# The label spaces, written out by name so that a slipped index in the package's tuples is caught.
NUSCENES = {
    "others": 6, "barrier": 6, "bicycle": 8, "bus": 1, "car": 1, "construction vehicle": 1, "motorcycle": 8,
    "pedestrian": 2, "traffic cone": 7, "trailer": 1, "truck": 1, "driveable surface": 0, "other flat": 4,
    "sidewalk": 5, "terrain": 4, "manmade": 3, "vegetation": 4, "free": 9,
}  # fmt: skip
WAYMO = {
    "general object": 6, "vehicle": 1, "pedestrian": 2, "sign": 7, "cyclist": 8, "traffic light": 7, "pole": 6,
    "construction cone": 6, "bicycle": 8, "motorcycle": 8, "building": 3, "vegetation": 4, "tree trunk": 4, "road": 0,
    "walkable": 5,
}  # fmt: skip
WAYMO_PANOPTIC = (255, 255, 1, 1, 1, 1, 8, 8, 1, 2, 8, 8, 6, 6, 7, 6, 7, 7, 7, 3, 0, 0, 0, 5, 4, 9, 5, 6, 6)
OCCNERF = (255, 1, 0, 1, 1, 4, 4, 5, 8, 6, 2, 3, 8, 1, 1, 7, 9)


def test_tables_say_what_the_method_says() -> None:
    assert labels.OCC3D_NUSCENES[:18].tolist() == list(NUSCENES.values())
    assert labels.OCC3D_WAYMO[:15].tolist() == list(WAYMO.values())
    assert labels.OCC3D_WAYMO[23] == 9
    assert labels.WAYMO_2D[:29].tolist() == list(WAYMO_PANOPTIC)
    assert labels.OCCNERF_2D[:17].tolist() == list(OCCNERF)


@pytest.mark.parametrize(
    "name", ["OCC3D_NUSCENES", "OCC3D_WAYMO", "OCCNERF_2D", "WAYMO_2D", "NUSCENES_LIDARSEG_16", "CITYSCAPES_TRAIN"]
)
def test_unknown_survives_every_look_up_and_nothing_wraps(name: str) -> None:
    table = getattr(labels, name)
    assert table.shape == (256,)
    assert table.dtype == np.uint8
    assert table[255] == 255
    assert set(np.unique(table)) <= {*range(10), 255}


def test_lidarseg_and_occ3d_agree_where_they_share_classes() -> None:
    assert (labels.NUSCENES_LIDARSEG_16[1:17] == labels.OCC3D_NUSCENES[1:17]).all()


def test_totals_survive_the_look_up_of_the_real_occ3d_label(real_data) -> None:  # type: ignore[no-untyped-def]
    file = next((real_data / "occ3d").glob("*/labels.npz"))
    raw = np.load(file)["semantics"]
    mapped = labels.OCC3D_NUSCENES[raw]
    ids = ([11], [3, 4, 5, 9, 10], [7], [15], [12, 14, 16], [13], [0, 1], [8], [2, 6], [17])
    for target, of in enumerate(ids):
        assert (mapped == target).sum() == np.isin(raw, of).sum()
    assert not (mapped == 255).any()


def test_ten_classes_ten_colours_ten_counts() -> None:
    assert len(CLASSES) == len(labels.PALETTE) == len(labels.OCC3D_NUSCENES_COUNTS) == 10
    assert len({tuple(c) for c in labels.PALETTE.tolist()}) == 10


def test_counts_belong_to_the_classes_by_name() -> None:
    published = {
        "drivable surface": 175883646, "vehicle": 28374731, "pedestrian": 2074468, "building": 105975596,
        "vegetation": 182111448, "sidewalk": 51393615, "others": 2841174, "traffic object": 413451,
        "two-wheeler": 341413, "free": 1892500630,
    }  # fmt: skip
    assert dict(zip(CLASSES, labels.OCC3D_NUSCENES_COUNTS.astype(int).tolist(), strict=True)) == published
