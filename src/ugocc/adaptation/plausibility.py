"""Could a predicted volume be a street? Physical checks that need no labels."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ugocc.extras import later
from ugocc.geometry.grid import VoxelGrid
from ugocc.labels import DRIVABLE, FREE, MOVABLE, SIDEWALK, VEGETATION, VEHICLE

ndimage = later("scipy.ndimage", "adapt")

Labels = NDArray[np.uint8]
Mask = NDArray[np.bool_]

FLAT: Final = (DRIVABLE, SIDEWALK)
"""Classes that are nothing but ground."""
GROUND: Final = (*FLAT, VEGETATION)
"""Classes the ground can have; vegetation includes grass and bare earth."""


@dataclass(frozen=True)
class PlausibilitySettings:
    """What is physically plausible. Bounds of sizes are those of cars to articulated buses."""

    near: float = 10.0
    """Metres around the car within which there should be ground everywhere."""
    slack: int = 1
    """Voxels by which the lowest voxel of a vehicle may be above or below the ground beside it."""
    shortest: float = 2.0
    """Least length of a vehicle in metres, unless it reaches out of what the cameras see."""
    longest: float = 25.0
    """Greatest length or width of a vehicle in metres; larger ones are several run together, or a house."""
    tallest: float = 5.0
    """Greatest height of a vehicle in metres."""


class Plausibility(NamedTuple):
    """Shares from 0 to 1 of what is plausible, higher is better; NaN where there is nothing to check."""

    grounded: float
    """Columns with vehicles whose lowest vehicle voxel is level with the nearest road or sidewalk."""
    near_ground: float
    """Columns near the car, without movers, that hold ground."""
    vehicle_size: float
    """Connected vehicles that have the size of one."""


def plausibility(labels: Labels, within: Mask, grid: VoxelGrid, settings: PlausibilitySettings) -> Plausibility:
    """Check predicted volumes, all frames together.

    Args:
        labels: (F, X, Y, Z) classes of F frames.
        within: (F, X, Y, Z) bool, voxels in the cameras' pictures; what lies elsewhere is not judged.
        grid: of the volumes.
        settings: bounds.
    """
    frames = [checks(volume, mask, grid, settings) for volume, mask in zip(labels, within, strict=True)]
    return Plausibility(*(_share(np.concatenate(check)) for check in zip(*frames, strict=True)))


def checks(labels: Labels, within: Mask, grid: VoxelGrid, settings: PlausibilitySettings) -> tuple[Mask, Mask, Mask]:
    """What there is to check in one volume (X, Y, Z), and whether it holds: (K,) for each field of Plausibility."""
    shown = np.where(within, labels, np.uint8(FREE))
    return (
        _grounded(shown, settings.slack),
        _near(labels, within, grid, settings.near),
        plausible_vehicles(shown, within, grid, settings),
    )


def plausible_vehicles(labels: Labels, within: Mask, grid: VoxelGrid, settings: PlausibilitySettings) -> Mask:
    """(K,) whether each of the K connected vehicles (26 neighbours) of a volume (X, Y, Z) has a plausible size."""
    parts, count = ndimage.label(labels == VEHICLE, structure=np.ones((3, 3, 3)))
    # A vehicle beside what no camera sees may be the visible end of a longer one.
    beyond = np.pad(~within, ((1, 1), (1, 1), (0, 0)), constant_values=True)
    hidden = ndimage.binary_dilation(beyond, np.ones((3, 3, 3)))[1:-1, 1:-1]
    plausible = np.zeros(count, dtype=bool)
    for place, box in enumerate(ndimage.find_objects(parts)):
        x, y, z = ((side.stop - side.start) * grid.voxel_size for side in box)
        cut = bool((hidden[box] & (parts[box] == place + 1)).any())
        # Things are up to one voxel smaller than the voxels they touch.
        bounded = max(x, y) - grid.voxel_size < settings.longest and z - grid.voxel_size < settings.tallest
        plausible[place] = bounded and (cut or max(x, y) >= settings.shortest)
    return plausible


def _grounded(labels: Labels, slack: int) -> Mask:
    """(K,) for each of the K columns with vehicles of a volume: is its lowest vehicle voxel level with the ground?"""
    vehicle, flat = labels == VEHICLE, np.isin(labels, FLAT)
    column, paved = vehicle.any(axis=2), flat.any(axis=2)
    if not paved.any():
        return np.zeros(int(column.sum()), dtype=bool)
    nearest = ndimage.distance_transform_edt(~paved, return_distances=False, return_indices=True)
    ground = flat.argmax(axis=2)[tuple(nearest)]
    above = np.asarray(vehicle.argmax(axis=2) - ground)
    return np.abs(above[column]) <= slack


def _near(labels: Labels, within: Mask, grid: VoxelGrid, reach: float) -> Mask:
    """(K,) for each of the K columns near the car whose foot cameras see and no mover stands in: does it hold ground?

    The foot is the voxel at height 0: the ego frame stands on the ground, so the ground near the car is about there.
    """
    near = np.linalg.norm(grid.centres()[:, :, 0, :2], axis=-1) <= reach
    foot = min(max(int(-grid.lower[2] // grid.voxel_size), 0), grid.shape[2] - 1)
    asked = near & within[:, :, foot] & ~np.isin(labels, MOVABLE).any(axis=2)
    ground: Mask = np.isin(labels, GROUND)
    return np.asarray(ground.any(axis=2))[asked]


def _share(holds: Mask) -> float:
    return float(holds.mean()) if holds.size else math.nan
