"""The standing town: houses, trees, street furniture and parked vehicles around the way of one drive."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ugocc.data.synthetic import furniture, vehicles
from ugocc.data.synthetic.appearance import Climate
from ugocc.data.synthetic.layout import EXTENT, PARKING_STRIP, Side, TownStyle, sides
from ugocc.data.synthetic.primitives import COLUMNS, Parts, placed
from ugocc.data.synthetic.streets import CROSSWALK_WIDTH, Streets
from ugocc.data.synthetic.vehicles import Model
from ugocc.data.synthetic.vocabulary import Material
from ugocc.geometry.rigid import yaw_matrix

_SMALL_REACH: Final = 62.0
_TREE_REACH: Final = 95.0
_HOUSE_REACH: Final = 150.0
"""How far from the way small things, trees and houses are put."""


@dataclass(frozen=True)
class Thing:
    """An annotated object that stands still."""

    material: Material
    """Kind of the box."""
    world_T_box: NDArray[np.float64]
    """(4, 4) at the box's centre."""
    size: tuple[float, float, float]
    """Length, width, height, metres."""


@dataclass
class Town:
    """Collects what stands."""

    streets: Streets
    """The ground."""
    climate: Climate
    """Colours to choose from."""
    way: NDArray[np.float64]
    """(M, 2) points of the drive; things are only put near it."""
    pieces: list[Parts] = field(default_factory=list)
    """Parts of everything put so far."""
    things: list[Thing] = field(default_factory=list)
    """Annotated objects; a thing's position in the list is the OBJECT of its parts."""

    def parts(self) -> Parts:
        """(P, COLUMNS) all of it."""
        return np.concatenate(self.pieces) if self.pieces else np.zeros((0, COLUMNS))

    def near(self, place: tuple[float, float], reach: float) -> bool:
        """Whether a place is built up and within ``reach`` metres of the way."""
        inside = max(abs(place[0]), abs(place[1])) < EXTENT - 12.0
        return inside and float(((self.way - place) ** 2).sum(axis=1).min()) < reach * reach

    def put(self, what: Parts | Model, place: tuple[float, float], yaw: float, z: float) -> None:
        """Stand something at a place, its x axis turned to ``yaw``, its foot at height ``z``."""
        if isinstance(what, Model):
            self.pieces.append(placed(what.parts, *place, yaw, z, len(self.things)))
            centre, size = what.box
            world_T_box = yaw_matrix(yaw, (*place, z)) @ yaw_matrix(0.0, centre)
            self.things.append(Thing(what.material, world_T_box, (float(size[0]), float(size[1]), float(size[2]))))
        else:
            self.pieces.append(placed(what, *place, yaw, z))


def build_town(
    streets: Streets, style: TownStyle, climate: Climate, way: NDArray[np.float64], rng: np.random.Generator
) -> Town:
    """Furnish the surroundings of ``way`` (M, 2)."""
    town = Town(streets, climate, way)
    parks: dict[tuple[int, int], bool] = {}
    for number, side in enumerate(sides(streets)):
        park = parks.setdefault(side.block, bool(rng.random() < style.parks))
        middle = side.at(side.length / 2, 0.0)
        if not town.near(middle, _HOUSE_REACH + side.length / 2):
            continue
        (_grow_park if park else _line_with_houses)(town, side, style, number % 2 == 0, rng)
        if town.near(middle, _TREE_REACH + side.length / 2):
            _plant_street_trees(town, side, style, rng)
        if town.near(middle, _SMALL_REACH + side.length / 2):
            works = _put_works(town, side, style, rng)
            _park(town, side, style, works, rng)
            _line_kerb(town, side, style, rng)
            _light_crossing(town, side, rng)
    return town


def _line_with_houses(town: Town, side: Side, style: TownStyle, full: bool, rng: np.random.Generator) -> None:
    """Row of houses behind the pavement; sides that are not ``full`` leave the corners to their neighbours."""
    edge = 0.15 + town.streets.verge + town.streets.pavement
    kerb = town.streets.kerb
    deepest = 12.0
    margin = edge + rng.uniform(*style.setback) if full else edge + deepest + style.setback[1] + 1.5
    along = margin
    gabled_side = rng.random() < style.gabled
    while True:
        width = rng.uniform(*style.frontage)
        if along + width > side.length - margin:
            break
        setback, deep = rng.uniform(*style.setback), rng.uniform(8.0, deepest)
        height = 3.1 * rng.integers(style.storeys[0], style.storeys[1] + 1) + rng.uniform(0.3, 1.0)
        middle = along + width / 2
        place = side.at(middle, edge + setback)
        if town.near(place, _HOUSE_REACH):
            gabled = gabled_side and height < 11.0
            town.put(
                furniture.house(width, deep, height, gabled, town.climate, rng),
                place,
                side.yaw + np.pi / 2,
                kerb - 0.05,
            )
        if setback > 1.8 and town.near(place, _SMALL_REACH):
            _grow_garden(town, side, middle, width, edge, setback, rng)
        gap = rng.uniform(*style.gap)
        if gap > 2.5 and town.near(place, _TREE_REACH):
            tree = furniture.tree(town.climate, rng, street=False)
            town.put(tree, side.at(along + width + gap / 2, edge + setback + rng.uniform(2.0, 6.0)), 0.0, kerb)
        along += width + gap


def _grow_garden(
    town: Town, side: Side, middle: float, width: float, edge: float, setback: float, rng: np.random.Generator
) -> None:
    kerb = town.streets.kerb
    border = rng.random()
    if border < 0.7:
        # The gate stays open in the middle.
        for sign in (-1, 1):
            length = width / 2 - 1.2
            place = side.at(middle + sign * (0.6 + width / 4), edge + 0.5)
            along = furniture.hedge(length, town.climate, rng) if border < 0.35 else furniture.fence(length, rng)
            town.put(along, place, side.yaw, kerb)
    for _ in range(int(rng.integers(1, 4))):
        place = side.at(middle + rng.uniform(-0.45, 0.45) * width, edge + rng.uniform(1.2, max(setback - 0.6, 1.3)))
        town.put(furniture.bush(town.climate, rng), place, rng.uniform(0, 6.0), kerb)


def _grow_park(town: Town, side: Side, style: TownStyle, full: bool, rng: np.random.Generator) -> None:
    edge = 0.15 + town.streets.verge + town.streets.pavement
    for along in np.arange(edge + 2.0, side.length - edge - 2.0, 4.5):
        place = side.at(along + rng.uniform(-2, 2), edge + rng.uniform(1.5, 16.0))
        if town.near(place, _TREE_REACH):
            grown = rng.random() < 0.6
            tree = furniture.tree(town.climate, rng, street=False) if grown else furniture.bush(town.climate, rng)
            town.put(tree, place, rng.uniform(0, 6.0), town.streets.kerb)
        bench = side.at(along, edge + 0.8)
        if rng.random() < 0.2 and town.near(bench, _SMALL_REACH):
            town.put(furniture.clutter(rng), bench, side.yaw + np.pi / 2, town.streets.kerb)


def _plant_street_trees(town: Town, side: Side, style: TownStyle, rng: np.random.Generator) -> None:
    if rng.random() < 0.25:
        return
    deep = 0.15 + town.streets.verge / 2 if town.streets.verge > 0 else 0.9
    along = town.streets.corner + CROSSWALK_WIDTH + rng.uniform(3.0, 6.0)
    while along < side.length - town.streets.corner - CROSSWALK_WIDTH - 3.0:
        place = side.at(along, deep)
        if town.near(place, _TREE_REACH):
            town.put(
                furniture.tree(town.climate, rng, street=True), place, rng.uniform(0, 6.0), town.streets.kerb - 0.02
            )
        along += rng.uniform(*style.tree_step)


def _put_works(town: Town, side: Side, style: TownStyle, rng: np.random.Generator) -> tuple[float, float]:
    """A building site with cones and barriers, at the kerb; returns the stretch it takes."""
    if rng.random() >= style.works or side.length < 40.0:
        return 0.0, 0.0
    begin = rng.uniform(10.0, side.length - 24.0)
    length = rng.uniform(7.0, 13.0)
    strip = side.has_parking
    z = 0.0 if strip else town.streets.kerb
    deep = -PARKING_STRIP + 0.35 if strip else 0.35
    for along in np.arange(begin, begin + length, rng.uniform(1.4, 2.2)):
        place = side.at(along, deep + rng.uniform(-0.08, 0.08))
        if town.near(place, _SMALL_REACH):
            town.put(furniture.cone(rng), place, rng.uniform(0, 3.0), z)
    for end in (begin - 0.3, begin + length):
        place = side.at(end, -PARKING_STRIP / 2 if strip else 1.4)
        if town.near(place, _SMALL_REACH):
            town.put(furniture.barrier(rng), place, side.yaw, z)
    for along in np.arange(begin + 1.5, begin + length - 1.0, 2.4):
        if rng.random() < 0.7:
            place = side.at(along, -0.5 if strip else 1.9)
            if town.near(place, _SMALL_REACH):
                town.put(furniture.barrier(rng), place, side.yaw + np.pi / 2, z)
    return begin - 2.0, begin + length + 2.0


def _park(town: Town, side: Side, style: TownStyle, works: tuple[float, float], rng: np.random.Generator) -> None:
    if not side.has_parking:
        return
    clear = town.streets.corner + CROSSWALK_WIDTH + 3.0
    along = clear + rng.uniform(0.0, 2.0)
    while along < side.length - clear:
        if rng.random() > style.parked:
            along += 3.0
            continue
        kind = rng.random()
        if kind < 0.09:
            for k in range(int(rng.integers(2, 4))):
                place = side.at(along + 0.5 + 0.95 * k, -0.95)
                if town.near(place, _SMALL_REACH) and not works[0] < along < works[1]:
                    bike = vehicles.motorcycle(town.climate, rng, rider=False)
                    town.put(bike, place, side.yaw + np.pi / 2 + rng.uniform(0.1, 0.3), 0.0)
            along += 3.6
            continue
        maker = vehicles.car if kind < 0.82 else vehicles.van if kind < 0.95 else vehicles.truck
        model = maker(town.climate, rng)
        length = float(model.box[1][0])
        place = side.at(along + length / 2, -1.12)
        free = along + length < works[0] or along > works[1]
        if free and along + length < side.length - clear and town.near(place, _SMALL_REACH + 25.0):
            town.put(model, place, side.yaw + rng.normal(0.0, 0.015), 0.0)
        along += length + rng.uniform(0.7, 1.6)


def _line_kerb(town: Town, side: Side, style: TownStyle, rng: np.random.Generator) -> None:
    """Signs, lamps, parked bicycles and the rest between kerb and the path of people."""
    z = town.streets.kerb
    along = town.streets.corner + 1.5
    lamp = along + rng.uniform(4.0, 14.0)
    while along < side.length - town.streets.corner - 1.5:
        place = side.at(along, 0.55)
        if along > lamp:
            if town.near(place, _SMALL_REACH):
                town.put(furniture.lamp_post(rng), place, side.yaw, z)
            lamp, along = along + rng.uniform(20.0, 28.0), along + 1.6
            continue
        choice = int(rng.choice(6, p=style.kerbside))
        crossing = min(along, side.length - along) < town.streets.corner + CROSSWALK_WIDTH + 1.0
        if choice in (0, 2, 3, 5) and (choice == 0 or crossing) or not town.near(place, _SMALL_REACH):
            along += rng.uniform(2.0, 3.5)
            continue
        if choice == 1:
            plate, pole = furniture.sign(rng)
            town.put(pole, place, side.yaw + np.pi, z)
            town.put(plate, place, side.yaw + np.pi + rng.normal(0.0, 0.1), z)
        elif choice in (2, 3):
            across = side.yaw + (0.0 if rng.random() < 0.5 else np.pi / 2 + 0.2)
            maker = vehicles.bicycle if choice == 2 else vehicles.motorcycle
            for k in range(int(rng.integers(1, 4))):
                step = 1.9 if across == side.yaw else 0.8
                town.put(maker(town.climate, rng, rider=False), side.at(along + step * k, 0.7), across, z)
                along += step / 2
        elif choice == 4:
            for k in range(4):
                town.put(furniture.bollard(), side.at(along + 0.9 * k, 0.4), side.yaw, z)
            along += 3.0
        else:
            town.put(furniture.clutter(rng), side.at(along, 0.75), side.yaw + np.pi / 2, z)
        along += rng.uniform(2.4, 4.0)
    bay = side.at(side.length * 0.6, 2.0 + town.streets.verge)
    if town.streets.pavement > 2.5 and rng.random() < 0.25 and town.near(bay, _SMALL_REACH):
        town.put(furniture.shelter(rng), bay, side.yaw + np.pi / 2, z)


def _light_crossing(town: Town, side: Side, rng: np.random.Generator) -> None:
    """A traffic light where the side's lane reaches the crossing, and sometimes one on the left."""
    place = side.at(side.length - town.streets.corner - 0.2, 0.45)
    if not town.near(place, _SMALL_REACH + 15.0) or rng.random() < 0.2:
        return
    arm = rng.uniform(3.0, 5.0) if rng.random() < 0.4 else 0.0
    town.put(furniture.signal(arm, rng), place, side.yaw + np.pi, town.streets.kerb)
