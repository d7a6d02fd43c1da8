"""What a surface of the town can be, and how each dataset's files name it.

The traffic-object class means the same on both embedded fleets: signs, lights and cones are written with the one id
of each format that maps to it, although real nuScenes files keep signs and lights in "manmade". Likewise poles are
"others" on both.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray


class Material(IntEnum):
    """Kinds of surface; the ids live in memory only, never in a file."""

    ROAD = 0
    LANE_MARKING = 1
    SIDEWALK = 2
    TERRAIN = 3
    BUILDING = 4
    FOLIAGE = 5
    TRUNK = 6
    CAR = 7
    TRUCK = 8
    BUS = 9
    PEDESTRIAN = 10
    BICYCLE = 11
    MOTORCYCLE = 12
    SIGN = 13
    TRAFFIC_LIGHT = 14
    CONE = 15
    POLE = 16
    BARRIER = 17
    OTHER = 18
    SKY = 19
    """No surface: a ray that leaves the town."""


class Names(NamedTuple):
    """How the files of both datasets name a material."""

    occ3d_nuscenes: int
    occnerf_2d: int
    nuscenes_category: str
    occ3d_waymo: int
    waymo_2d: int
    waymo_box: int
    """Type of a Waymo 3D box: 1 vehicle, 2 pedestrian, 3 sign, 4 cyclist; 0 where the material has no boxes."""


NAMES: Final[dict[Material, Names]] = {
    Material.ROAD: Names(11, 2, "flat.driveable_surface", 13, 20, 0),
    Material.LANE_MARKING: Names(11, 2, "flat.driveable_surface", 13, 21, 0),
    Material.SIDEWALK: Names(13, 7, "flat.sidewalk", 14, 23, 0),
    Material.TERRAIN: Names(14, 5, "flat.terrain", 11, 24, 0),
    Material.BUILDING: Names(15, 11, "static.manmade", 10, 19, 0),
    Material.FOLIAGE: Names(16, 6, "static.vegetation", 11, 24, 0),
    Material.TRUNK: Names(16, 6, "static.vegetation", 12, 24, 0),
    Material.CAR: Names(4, 1, "vehicle.car", 1, 2, 1),
    Material.TRUCK: Names(10, 4, "vehicle.truck", 1, 3, 1),
    Material.BUS: Names(3, 3, "vehicle.bus.rigid", 1, 4, 1),
    Material.PEDESTRIAN: Names(7, 10, "human.pedestrian.adult", 2, 9, 2),
    Material.BICYCLE: Names(2, 8, "vehicle.bicycle", 4, 10, 4),
    Material.MOTORCYCLE: Names(6, 12, "vehicle.motorcycle", 9, 11, 4),
    Material.SIGN: Names(8, 15, "movable_object.trafficcone", 3, 17, 3),
    Material.TRAFFIC_LIGHT: Names(8, 15, "movable_object.trafficcone", 5, 18, 0),
    Material.CONE: Names(8, 15, "movable_object.trafficcone", 5, 14, 0),
    Material.POLE: Names(0, 9, "movable_object.barrier", 6, 15, 0),
    Material.BARRIER: Names(1, 9, "movable_object.barrier", 0, 28, 0),
    Material.OTHER: Names(0, 9, "movable_object.barrier", 0, 28, 0),
    Material.SKY: Names(17, 16, "noise", 23, 25, 0),
}


def file_ids(field: str) -> NDArray[np.uint8]:
    """(256,) table from material to the integer id that ``field`` of :class:`Names` gives it; 255 elsewhere."""
    table = np.full(256, 255, dtype=np.uint8)
    for material, names in NAMES.items():
        table[material] = getattr(names, field)
    return table
