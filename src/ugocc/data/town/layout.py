"""The layout of one scene: streets, blocks and what stands and moves on them, from a style and a random generator."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from ugocc.data.synthetic.vocabulary import Material
from ugocc.data.town import shapes
from ugocc.data.town.shapes import Thing
from ugocc.data.town.style import Style
from ugocc.data.town.tracer import Floats

EXTENT = 150.0
"""The town reaches from -EXTENT to EXTENT metres in x and y."""
PARKING = 2.4
"""Width of the parking lane in metres."""


@dataclass(frozen=True)
class Placed:
    """A thing at a place, standing or moving at a constant velocity."""

    thing: Thing
    """Its shape."""
    x: float
    """Metres at time 0."""
    y: float
    """Metres at time 0."""
    yaw: float
    """Radians."""
    speed: float = 0.0
    """Metres per second along its heading."""
    base: float = 0.0
    """Metres above the ground."""
    boxed: Material | None = None
    """What the annotation calls it; None for things without boxes."""

    def at(self, time: float) -> tuple[float, float]:
        """x, y in metres at a time in seconds."""
        return self.x + self.speed * time * np.cos(self.yaw), self.y + self.speed * time * np.sin(self.yaw)


@dataclass
class Town:
    """Streets and everything placed on and between them."""

    style: Style
    """Look and density."""
    xs: Floats
    """Centre lines of the streets along y."""
    ys: Floats
    """Centre lines of the streets along x."""
    fixed: list[Placed] = field(default_factory=list)
    """What never moves."""
    moving: list[Placed] = field(default_factory=list)
    """What moves."""

    @property
    def lane(self) -> float:
        """Distance of a driving lane's middle from the street's centre line."""
        return (self.style.street - PARKING) / 2


def lay_out(style: Style, rng: np.random.Generator) -> Town:
    """A town with everything that stands; traffic comes with :func:`add_traffic`."""
    town = Town(style, _streets(style, rng), _streets(style, rng))
    for i in range(len(town.xs) - 1):
        for j in range(len(town.ys) - 1):
            _fill_block(town, rng, (town.xs[i], town.xs[i + 1]), (town.ys[j], town.ys[j + 1]))
    return town


def add_traffic(town: Town, rng: np.random.Generator, ego: Floats, times: Floats) -> None:
    """Fill the streets with what moves, and clear the way of the ego vehicle.

    Args:
        town: is changed.
        rng: random generator.
        ego: (F, 2) ego positions at ``times``, metres.
        times: (F,) seconds.
    """
    style, centre = town.style, ego.mean(axis=0)

    def somewhere(spread: float) -> float:
        return float(rng.uniform(-spread, spread))

    def on_lane(make: Callable[[np.random.Generator], Thing], speed: float, off: float) -> Placed:
        along_x, way = rng.random() < 0.5, int(rng.choice([-1, 1]))
        if along_x:
            line = _nearest(town.ys, centre[1], rng)
            return Placed(make(rng), centre[0] + somewhere(70), line - way * off, 0.0 if way > 0 else np.pi, speed)
        line = _nearest(town.xs, centre[0], rng)
        return Placed(make(rng), line + way * off, centre[1] + somewhere(70), way * np.pi / 2, speed)

    drivers: list[Placed] = []
    for _ in range(style.moving):
        make, boxed = _vehicle(rng)
        drivers.append(_called(on_lane(make, rng.uniform(3, 9), town.lane), boxed))
    for _ in range(style.riders):
        placed = on_lane(lambda r: shapes.two_wheeler(r, rider=True), rng.uniform(2, 5), town.lane + 1.7)
        drivers.append(_called(placed, placed.thing[0].material))
    town.moving = [d for d in drivers if _clearance(d, ego, times) > 6.5]
    for _ in range(style.walkers):
        off = style.street + rng.uniform(0.5, 2.0)
        walker = on_lane(shapes.pedestrian, rng.uniform(0.6, 1.6), off if rng.random() < 0.85 else -off)
        walker = Placed(walker.thing, walker.x, walker.y, walker.yaw, walker.speed, 0.15, Material.PEDESTRIAN)
        if _clearance(walker, ego, times) > 2.0:
            town.moving.append(walker)
    town.fixed = [p for p in town.fixed if p.base > 0 or _low(p) or _clearance(p, ego, times) > 2.6]


def _streets(style: Style, rng: np.random.Generator) -> Floats:
    lines = [float(rng.uniform(-20, 20))]
    while lines[-1] < EXTENT:
        lines.append(lines[-1] + rng.uniform(*style.spacing))
    while lines[0] > -EXTENT:
        lines.insert(0, lines[0] - rng.uniform(*style.spacing))
    return np.array(lines)


def _fill_block(town: Town, rng: np.random.Generator, span_x: tuple[float, float], span_y: tuple[float, float]) -> None:
    """Pavement round a block, and along each side: buildings, trees, lamps, signs, furniture, parked vehicles."""
    style, half = town.style, town.style.street
    x0, x1, y0, y1 = span_x[0] + half, span_x[1] - half, span_y[0] + half, span_y[1] - half
    wide = rng.uniform(*style.pavement)
    cx, cy = (x0 + x1) / 2, (y0 + y1) / 2
    # Each side: middle of the kerb, length, heading along it, so that the block lies to the left.
    sides = [
        (cx, y0, x1 - x0, 0.0),
        (x1, cy, y1 - y0, np.pi / 2),
        (cx, y1, x1 - x0, np.pi),
        (x0, cy, y1 - y0, -np.pi / 2),
    ]
    for mx, my, length, yaw in sides:

        def put(
            thing: Thing, along: float, inward: float, turn: float = 0.0, base: float = 0.15,
            boxed: Material | None = None, side: tuple[float, float, float] = (mx, my, yaw),
        ) -> None:  # fmt: skip
            c, s = np.cos(side[2]), np.sin(side[2])
            x, y = side[0] + c * along - s * inward, side[1] + s * along + c * inward
            if max(abs(x), abs(y)) < EXTENT:
                town.fixed.append(Placed(thing, x, y, side[2] + turn, 0.0, base, boxed))

        put(shapes.slab(length, wide, style.paving), 0, wide / 2, base=0.0)
        _build(town, rng, length, wide, put)
        _furnish(town, rng, length, wide, put)
        _park(town, rng, length, put)


def _build(town: Town, rng: np.random.Generator, length: float, wide: float, put: Callable[..., None]) -> None:
    style = town.style
    along = -length / 2 + wide + 1.0
    while along < length / 2 - wide - 10:
        front = min(rng.uniform(8, 17), length / 2 - wide - along - 1)
        deep, back = rng.uniform(7, 10), rng.uniform(*style.setback)
        if rng.random() > style.gaps:
            paint = np.asarray(style.facades[rng.integers(len(style.facades))]) * rng.uniform(0.8, 1.15)
            height = 3.1 * rng.uniform(*style.storeys) + 0.6
            put(shapes.building(front, deep, height, paint), along + front / 2, wide + back + deep / 2, base=0.0)
        elif rng.random() < 0.7:
            for _ in range(3):
                where = along + rng.uniform(0, front)
                put(shapes.bush(rng, style.leaves), where, wide + rng.uniform(1.0, 5.0), rng.uniform(0, 3), 0.0)
        along += front + (rng.uniform(0.0, 0.4) if rng.random() < 0.6 else rng.uniform(2, 7))


def _furnish(town: Town, rng: np.random.Generator, length: float, wide: float, put: Callable[..., None]) -> None:
    style, end = town.style, length / 2 - 1.0
    for _ in range(rng.poisson(style.trees * length / 10)):
        inward = 0.7 if rng.random() < 0.6 else wide + rng.uniform(0.6, 2.0)
        put(shapes.tree(rng, style.leaves), rng.uniform(-end + 5, end - 5), inward, rng.uniform(0, 6))
    for along in np.arange(-end + 8, end - 4, 24.0):
        put(shapes.lamp(), along + rng.uniform(-2, 2), 0.45, -np.pi / 2)
    put(shapes.traffic_light(), end - 0.3, 0.5, np.pi)
    for _ in range(1 + rng.poisson(length / 40)):
        put(shapes.sign(rng), rng.uniform(-end, end), 0.45, np.pi + rng.normal(0, 0.3), boxed=Material.SIGN)
    for _ in range(rng.poisson(length / 28)):
        put(shapes.furniture(rng), rng.uniform(-end, end), rng.uniform(0.5, wide - 0.4), np.pi / 2)
    for _ in range(rng.poisson(length / 36)):
        parked = shapes.two_wheeler(rng, rider=False)
        put(parked, rng.uniform(-end, end), rng.uniform(0.5, wide - 0.7), rng.normal(0, 0.4), boxed=parked[0].material)
    for _ in range(rng.poisson(length / 40)):
        where = rng.uniform(-end, end)
        person = shapes.pedestrian(rng)
        put(person, where, rng.uniform(0.5, wide - 0.4), rng.uniform(0, 6), boxed=Material.PEDESTRIAN)


def _park(town: Town, rng: np.random.Generator, length: float, put: Callable[..., None]) -> None:
    style = town.style
    works = rng.uniform(-length / 2 + 12, length / 2 - 16) if rng.random() < style.works else None
    along = -length / 2 + 9
    while along < length / 2 - 9:
        if works is not None and abs(along - works) < 8:
            for step in np.arange(-6, 6, 1.7):
                put(shapes.cone(), works + step, -PARKING + 0.3, base=0.0, boxed=Material.CONE)
            put(shapes.barrier(), works + 6, -PARKING / 2, base=0.0, boxed=Material.BARRIER)
            put(shapes.barrier(), works - 6, -PARKING / 2, base=0.0, boxed=Material.BARRIER)
            along, works = works + 10, None
            continue
        if rng.random() < style.parked:
            if rng.random() < 0.12:
                bike = shapes.two_wheeler(rng, rider=False)
                put(bike, along, -0.8, np.pi / 2, 0.0, bike[0].material)
            else:
                make, boxed = _vehicle(rng, parked=True)
                put(make(rng), along, -1.15, 0.0 if rng.random() < 0.5 else np.pi, 0.0, boxed)
        along += 6.2


def _vehicle(rng: np.random.Generator, parked: bool = False) -> tuple[Callable[[np.random.Generator], Thing], Material]:
    draw = rng.random()
    if draw < 0.08 and not parked:
        return shapes.bus, Material.BUS
    if draw < 0.2:
        return shapes.truck, Material.TRUCK
    return shapes.car, Material.CAR


def _called(placed: Placed, boxed: Material) -> Placed:
    return Placed(placed.thing, placed.x, placed.y, placed.yaw, placed.speed, placed.base, boxed)


def _nearest(lines: Floats, to: float, rng: np.random.Generator) -> float:
    near = lines[np.argsort(np.abs(lines - to))]
    return float(near[0] if rng.random() < 0.65 else near[1])


def _low(placed: Placed) -> bool:
    return placed.thing[0].material == Material.SIDEWALK


def _clearance(placed: Placed, ego: Floats, times: Floats) -> float:
    """Smallest distance in metres between the thing's outline (as a disc) and the ego vehicle's centre line."""
    low, high = shapes.extent(placed.thing)
    reach = max(high[0], -low[0]) * 0.8 if placed.speed else min(high[0], high[1])
    places = np.array([placed.at(t) for t in times])
    if not placed.speed:
        return float(np.linalg.norm(ego - places[0], axis=1).min() - reach)
    return float(np.linalg.norm(ego - places, axis=1).min() - reach)
