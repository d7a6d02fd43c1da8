"""Label spaces and look-up tables: every dataset's ids to the ten shared classes.

A look-up is a 256-entry uint8 table whose default is 255 (unknown, ignored everywhere), so that 255 survives it.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

Lookup = NDArray[np.uint8]

CLASSES: Final = (
    "drivable surface",
    "vehicle",
    "pedestrian",
    "building",
    "vegetation",
    "sidewalk",
    "others",
    "traffic object",
    "two-wheeler",
    "free",
)
"""The ten classes, in the order of their ids."""

NUM_CLASSES: Final = len(CLASSES)
DRIVABLE, VEHICLE, PEDESTRIAN, BUILDING, VEGETATION, SIDEWALK, OTHERS, TRAFFIC_OBJECT, TWO_WHEELER, FREE = range(10)
MOVABLE: Final = (VEHICLE, PEDESTRIAN, TWO_WHEELER)
"""Classes whose things may be elsewhere a moment later."""
UNKNOWN: Final = 255

PALETTE: Final = np.array(
    [
        (120, 110, 130),
        (45, 120, 220),
        (230, 60, 60),
        (205, 170, 125),
        (70, 150, 70),
        (215, 130, 205),
        (130, 130, 60),
        (250, 170, 30),
        (0, 190, 200),
        (235, 240, 245),
    ],
    dtype=np.uint8,
)
"""(10, 3) RGB colour of every class in pictures."""


def lookup(ids: dict[int, int]) -> Lookup:
    """(256,) table from raw id to class; ids that are not named map to 255."""
    table = np.full(256, UNKNOWN, dtype=np.uint8)
    for raw, target in ids.items():
        table[raw] = target
    return table


OCC3D_NUSCENES: Final = lookup(dict(enumerate((6, 6, 8, 1, 1, 1, 8, 2, 7, 1, 1, 0, 4, 5, 4, 3, 4, 9))))
"""Occ3D-nuScenes 0..17 (others, barrier, bicycle, bus, car, construction vehicle, motorcycle, pedestrian, traffic
cone, trailer, truck, driveable surface, other flat, sidewalk, terrain, manmade, vegetation, free)."""

OCC3D_WAYMO: Final = lookup(dict(enumerate((6, 1, 2, 7, 8, 7, 6, 6, 8, 8, 3, 4, 4, 0, 5))) | {23: 9})
"""Occ3D-Waymo 0..14 and 23 (general object, vehicle, pedestrian, sign, cyclist, traffic light, pole, construction
cone, bicycle, motorcycle, building, vegetation, tree trunk, road, walkable, free)."""

OCCNERF_2D: Final = lookup(dict(zip(range(1, 17), (1, 0, 1, 1, 4, 4, 5, 8, 6, 2, 3, 8, 1, 1, 7, 9), strict=True)))
"""2D maps of nuScenes images in the OccNeRF vocabulary (1 sedan ... 16 sky); -1, stored as 255, is uncertain."""

WAYMO_2D: Final = lookup(
    dict(
        zip(
            range(2, 29),
            (1, 1, 1, 1, 8, 8, 1, 2, 8, 8, 6, 6, 7, 6, 7, 7, 7, 3, 0, 0, 0, 5, 4, 9, 5, 6, 6),
            strict=True,
        )
    )
)
"""Waymo's 29 panoptic camera classes; 0 (undefined) and 1 (ego vehicle) are unknown."""

NUSCENES_LIDARSEG_16: Final = lookup(dict(enumerate((6, 8, 1, 1, 1, 8, 2, 7, 1, 1, 0, 4, 5, 4, 3, 4), start=1)))
"""Lidar point labels of the nuScenes challenge, 1 barrier ... 16 vegetation; 0 (noise) is unknown."""

CITYSCAPES_TRAIN: Final = lookup(dict(enumerate((0, 5, 3, 3, 6, 6, 7, 7, 4, 4, 9, 2, 8, 1, 1, 1, 1, 8, 8))))
"""Cityscapes train ids: road, sidewalk, building, wall, fence, pole, traffic light, traffic sign, vegetation,
terrain, sky, person, rider, car, truck, bus, train, motorcycle, bicycle."""

# The 32 categories of nuScenes-lidarseg in the order of category.json's `index`, as ten classes: the official
# merge to 16 challenge classes (dataset documentation, "lidarseg challenge") followed by NUSCENES_LIDARSEG_16.
NUSCENES_CATEGORY: Final[dict[str, int]] = {
    "noise": UNKNOWN,
    "animal": UNKNOWN,
    "human.pedestrian.adult": PEDESTRIAN,
    "human.pedestrian.child": PEDESTRIAN,
    "human.pedestrian.construction_worker": PEDESTRIAN,
    "human.pedestrian.personal_mobility": UNKNOWN,
    "human.pedestrian.police_officer": PEDESTRIAN,
    "human.pedestrian.stroller": UNKNOWN,
    "human.pedestrian.wheelchair": UNKNOWN,
    "movable_object.barrier": OTHERS,
    "movable_object.debris": UNKNOWN,
    "movable_object.pushable_pullable": UNKNOWN,
    "movable_object.trafficcone": TRAFFIC_OBJECT,
    "static_object.bicycle_rack": UNKNOWN,
    "vehicle.bicycle": TWO_WHEELER,
    "vehicle.bus.bendy": VEHICLE,
    "vehicle.bus.rigid": VEHICLE,
    "vehicle.car": VEHICLE,
    "vehicle.construction": VEHICLE,
    "vehicle.emergency.ambulance": UNKNOWN,
    "vehicle.emergency.police": UNKNOWN,
    "vehicle.motorcycle": TWO_WHEELER,
    "vehicle.trailer": VEHICLE,
    "vehicle.truck": VEHICLE,
    "flat.driveable_surface": DRIVABLE,
    "flat.other": VEGETATION,
    "flat.sidewalk": SIDEWALK,
    "flat.terrain": VEGETATION,
    "static.manmade": BUILDING,
    "static.other": UNKNOWN,
    "static.vegetation": VEGETATION,
    "vehicle.ego": UNKNOWN,
}
"""nuScenes category names to the ten classes (255 where the lidarseg challenge ignores a category)."""

OCC3D_NUSCENES_COUNTS: Final = np.array(
    [175883646, 28374731, 2074468, 105975596, 182111448, 51393615, 2841174, 413451, 341413, 1892500630],
    dtype=np.float64,
)
"""Ten-class voxel counts of Occ3D-nuScenes, for class weights."""
