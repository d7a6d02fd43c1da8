"""The ground: two families of straight streets with kerbs, pavements and lots between them, as formulas.

The carriageway lies at z = 0, everything else one kerb higher. Corners of blocks are rounded. All questions about the
ground (what is here, where does a ray meet it) are answered from the few numbers of :class:`Streets` by numba code.
"""

from __future__ import annotations

from math import inf, sqrt
from typing import Final, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from ugocc.data.synthetic.intersect import MISS, hash3
from ugocc.data.synthetic.vocabulary import Material

_ROAD, _MARKING = int(Material.ROAD), int(Material.LANE_MARKING)
_SIDEWALK, _TERRAIN = int(Material.SIDEWALK), int(Material.TERRAIN)

CROSSWALK_WIDTH: Final = 3.2
"""Metres along the street."""


class Streets(NamedTuple):
    """Street plan; metres. A street along y is named by its x, one along x by its y."""

    xs: NDArray[np.float64]
    """Centre lines of the streets along y, ascending."""
    x_half: NDArray[np.float64]
    """Half of their carriageway, kerb to middle."""
    x_lanes: NDArray[np.int64]
    """Lanes per direction."""
    ys: NDArray[np.float64]
    """Centre lines of the streets along x, ascending."""
    y_half: NDArray[np.float64]
    """Half of their carriageway."""
    y_lanes: NDArray[np.int64]
    """Lanes per direction."""
    lane: float
    """Width of a lane."""
    corner: float
    """Radius of the kerb at crossings."""
    kerb: float
    """Height of the pavement above the carriageway."""
    verge: float
    """Width of the grass strip along the kerb; 0 for none."""
    pavement: float
    """Width of the pavement."""
    paved_lots: float
    """Share of blocks whose lots are paved instead of grown with grass."""


@njit(cache=True)
def _nearest(position: float, centres: NDArray[np.float64], halves: NDArray[np.float64]) -> tuple[float, int]:
    """Distance to the carriageway of the nearest street of one family (negative on it), and that street."""
    best, index = inf, 0
    for i in range(centres.shape[0]):
        d = abs(position - centres[i]) - halves[i]
        if d < best:
            best, index = d, i
    return best, index


@njit(cache=True)
def kerb_distance(x: float, y: float, streets: Streets) -> float:
    """Metres to the nearest kerb: negative on the carriageway, positive inside blocks."""
    dx, _ = _nearest(x, streets.xs, streets.x_half)
    dy, _ = _nearest(y, streets.ys, streets.y_half)
    r = streets.corner
    if dx > 0.0 and dy > 0.0 and dx < r and dy < r:
        return r - sqrt((r - dx) ** 2 + (r - dy) ** 2)
    return min(dx, dy)


@njit(cache=True)
def _marking(u: float, along: float, half: float, lanes: int, streets: Streets, centre: float) -> bool:
    """Whether paint lies here: ``u`` metres off the centre line, ``along`` metres from the crossing's edge.

    ``u`` is positive where traffic drives towards the crossing; ``centre`` is the coordinate along the street.
    """
    begin = streets.corner + 0.3
    if along < begin:
        return False
    if along < begin + CROSSWALK_WIDTH:
        return (u + 100.0) % 1.1 < 0.55 and abs(u) < half - 0.3
    lane_edge = lanes * streets.lane
    if along < begin + CROSSWALK_WIDTH + 1.0:
        return False
    if along < begin + CROSSWALK_WIDTH + 1.45:
        return u > 0.1 and u < lane_edge
    if abs(u) < 0.22:
        return abs(u) > 0.07
    if abs(abs(u) - lane_edge) < 0.07:
        return half - lane_edge > 0.5
    for k in range(1, lanes):
        if abs(abs(u) - k * streets.lane) < 0.07:
            return centre % 7.5 < 3.0
    return False


@njit(cache=True)
def ground_material(x: float, y: float, streets: Streets) -> int:
    """Material of the ground at a place of the town."""
    dx, i = _nearest(x, streets.xs, streets.x_half)
    dy, j = _nearest(y, streets.ys, streets.y_half)
    d = kerb_distance(x, y, streets)
    if d < 0.0:
        painted = False
        if dx < 0.0 and dy > 0.0:
            u = x - streets.xs[i]
            towards = 1.0 if y < streets.ys[j] else -1.0
            painted = _marking(u * towards, dy, streets.x_half[i], streets.x_lanes[i], streets, y + 1000.0)
        elif dy < 0.0 and dx > 0.0:
            u = y - streets.ys[j]
            towards = -1.0 if x < streets.xs[i] else 1.0
            painted = _marking(u * towards, dx, streets.y_half[j], streets.y_lanes[j], streets, x + 1000.0)
        return _MARKING if painted else _ROAD
    corner = max(dx, dy) < streets.corner + CROSSWALK_WIDTH + 1.0
    verge = 0.15 + streets.verge if streets.verge > 0.0 and not corner else 0.0
    if d < 0.15:
        return _SIDEWALK
    if d < verge:
        return _TERRAIN
    if d < 0.15 + streets.verge + streets.pavement:
        return _SIDEWALK
    block = hash3(i + int(x > streets.xs[i]), j + int(y > streets.ys[j]), 5)
    return _SIDEWALK if block < streets.paved_lots else _TERRAIN


@njit(cache=True)
def hit_ground(ox: float, oy: float, oz: float, dx: float, dy: float, dz: float, streets: Streets) -> float:
    """Distance at which a ray from above meets carriageway, kerb face or raised ground; MISS if it never does."""
    if dz >= 0.0:
        return MISS
    upper, lower = (streets.kerb - oz) / dz, -oz / dz
    if upper > 0.0 and kerb_distance(ox + upper * dx, oy + upper * dy, streets) >= 0.0:
        return upper
    if kerb_distance(ox + lower * dx, oy + lower * dy, streets) < 0.0:
        return lower
    upper = max(upper, 0.0)
    for _ in range(12):
        middle = 0.5 * (upper + lower)
        if kerb_distance(ox + middle * dx, oy + middle * dy, streets) < 0.0:
            upper = middle
        else:
            lower = middle
    return lower
