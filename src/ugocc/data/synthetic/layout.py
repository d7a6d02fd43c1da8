"""Street plans: how far streets lie apart, how wide they are, what lines them; and the sides of blocks as frames."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np

from ugocc.data.synthetic.streets import Streets

Range = tuple[float, float]

EXTENT: Final = 190.0
"""Half the edge of the square of town that is built."""
PARKING_STRIP: Final = 2.3
"""Width of the strip of parked cars, metres."""


@dataclass(frozen=True)
class TownStyle:
    """Ranges (uniform) and shares from which a fleet's towns are drawn; metres."""

    block: Range
    """Kerb to kerb across a block."""
    lane: Range
    """Width of a lane."""
    wide: float
    """Share of streets with two lanes per direction."""
    parking: float
    """Share of streets with parking strips."""
    pavement: Range
    """Width of pavements."""
    verge: Range
    """Width of the grass between kerb and pavement, 0 for none."""
    setback: Range
    """Pavement to facade."""
    storeys: tuple[int, int]
    """Fewest and most storeys."""
    gabled: float
    """Share of houses with gable roofs."""
    frontage: Range
    """Width of a house."""
    gap: Range
    """Between neighbouring houses."""
    parks: float
    """Share of blocks without houses."""
    paved_lots: float
    """Share of blocks with paved yards."""
    parked: float
    """Share of parking places in use."""
    tree_step: Range
    """Between street trees."""
    vehicles: int
    """Moving vehicles tried per scene."""
    big: float
    """Share of trucks and buses among them."""
    riders: int
    """Moving two-wheelers tried per scene."""
    people: Range
    """Metres of pavement per pedestrian."""
    kerbside: tuple[float, float, float, float, float, float]
    """Weights of what stands at the kerb: nothing, sign, bicycle, motorcycle, bollards, clutter."""
    works: float
    """Building sites (cones and barriers) per side of a block."""


STYLES: Final[dict[str, TownStyle]] = {
    "six": TownStyle(
        block=(52.0, 82.0),
        lane=(3.3, 3.6),
        wide=0.35,
        parking=0.75,
        pavement=(3.2, 4.6),
        verge=(0.0, 0.0),
        setback=(0.2, 2.0),
        storeys=(2, 6),
        gabled=0.15,
        frontage=(10.0, 20.0),
        gap=(0.0, 3.0),
        parks=0.15,
        paved_lots=0.35,
        parked=0.6,
        tree_step=(8.0, 15.0),
        vehicles=34,
        big=0.28,
        riders=22,
        people=(4.0, 9.0),
        kerbside=(0.30, 0.22, 0.14, 0.10, 0.10, 0.14),
        works=0.55,
    ),
    "five": TownStyle(
        block=(44.0, 70.0),
        lane=(3.0, 3.4),
        wide=0.2,
        parking=0.85,
        pavement=(1.9, 2.7),
        verge=(1.0, 1.8),
        setback=(2.0, 5.5),
        storeys=(1, 3),
        gabled=0.55,
        frontage=(8.0, 14.0),
        gap=(1.0, 4.5),
        parks=0.12,
        paved_lots=0.2,
        parked=0.7,
        tree_step=(7.0, 13.0),
        vehicles=28,
        big=0.2,
        riders=20,
        people=(5.0, 11.0),
        kerbside=(0.32, 0.24, 0.13, 0.08, 0.06, 0.17),
        works=0.5,
    ),
}
"""Town of each embedded fleet."""


@dataclass(frozen=True)
class Side:
    """One side of a block, along its kerb in the direction in which the adjacent lane drives (block on the right)."""

    origin: tuple[float, float]
    """Where the straight kerbs of the block's corner would meet, metres."""
    yaw: float
    """Driving direction, radians."""
    length: float
    """Corner to corner, metres."""
    block: tuple[int, int]
    """Which block."""
    across: float
    """Width of the street along it, kerb to kerb, metres."""
    has_parking: bool
    """Whether cars park along it."""

    def at(self, along: float, deep: float) -> tuple[float, float]:
        """Place ``along`` metres from the origin and ``deep`` metres behind the kerb (negative: on the street)."""
        c, s = np.cos(self.yaw), np.sin(self.yaw)
        return float(self.origin[0] + along * c + deep * s), float(self.origin[1] + along * s - deep * c)


def plan_streets(style: TownStyle, rng: np.random.Generator) -> Streets:
    """Draw a street plan that covers the town and a margin around it."""
    lane = float(rng.uniform(*style.lane))

    def family() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        centres: list[float] = []
        halves: list[float] = []
        lanes: list[int] = []
        kerb = -EXTENT - rng.uniform(0.0, 60.0)
        while kerb < EXTENT + 10.0:
            lanes.append(2 if rng.random() < style.wide else 1)
            parked = rng.random() < style.parking
            halves.append(lanes[-1] * lane + (PARKING_STRIP if parked else 0.4))
            centres.append(kerb + halves[-1])
            kerb = centres[-1] + halves[-1] + rng.uniform(*style.block)
        return np.array(centres), np.array(halves), np.array(lanes, dtype=np.int64)

    xs, x_half, x_lanes = family()
    ys, y_half, y_lanes = family()
    return Streets(
        xs=xs,
        x_half=x_half,
        x_lanes=x_lanes,
        ys=ys,
        y_half=y_half,
        y_lanes=y_lanes,
        lane=lane,
        corner=float(rng.uniform(3.5, 5.0)),
        kerb=float(rng.uniform(0.11, 0.16)),
        verge=float(rng.uniform(*style.verge)),
        pavement=float(rng.uniform(*style.pavement)),
        paved_lots=style.paved_lots,
    )


def sides(streets: Streets) -> Iterator[Side]:
    """All sides of all blocks, clockwise around each block."""
    strip = 0.5 * PARKING_STRIP
    x_parking = streets.x_half - streets.x_lanes * streets.lane > strip
    y_parking = streets.y_half - streets.y_lanes * streets.lane > strip
    for i in range(len(streets.xs) - 1):
        x0, x1 = streets.xs[i] + streets.x_half[i], streets.xs[i + 1] - streets.x_half[i + 1]
        for j in range(len(streets.ys) - 1):
            y0, y1 = streets.ys[j] + streets.y_half[j], streets.ys[j + 1] - streets.y_half[j + 1]
            wide, deep, block = x1 - x0, y1 - y0, (i, j)
            yield Side((x0, y0), np.pi / 2, deep, block, 2 * streets.x_half[i], bool(x_parking[i]))
            yield Side((x0, y1), 0.0, wide, block, 2 * streets.y_half[j + 1], bool(y_parking[j + 1]))
            yield Side((x1, y1), -np.pi / 2, deep, block, 2 * streets.x_half[i + 1], bool(x_parking[i + 1]))
            yield Side((x1, y0), np.pi, wide, block, 2 * streets.y_half[j], bool(y_parking[j]))
