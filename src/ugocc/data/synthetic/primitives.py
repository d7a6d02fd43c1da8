"""Parts: the solids everything in the town is made of, as rows of one float64 table.

A part is a box, an ellipsoid or an upright round column, turned about the vertical. It may lean (its x shifts with
height: ``shear``) and a box or column may narrow towards its top (``taper``), which is enough for windscreens, gable
roofs, cones and leaning riders. In the part's own axes, with h = z + HZ (height above its bottom):

    box        |x - shear h| + TX h <= HX,   |y| + TY h <= HY,   |z| <= HZ
    ellipsoid  ((x - shear h) / HX)^2 + (y / HY)^2 + (z / HZ)^2 <= 1
    column     hypot(x - shear h, y) + TX h <= HX,   |z| <= HZ
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ugocc.data.synthetic.vocabulary import Material

Parts = NDArray[np.float64]

# Columns of a part's row.
KIND, MATERIAL, TEXTURE, OBJECT = 0, 1, 2, 3
X, Y, Z, COS, SIN = 4, 5, 6, 7, 8
HX, HY, HZ, TX, TY, SHEAR = 9, 10, 11, 12, 13, 14
RED, GREEN, BLUE, SEED, RADIUS = 15, 16, 17, 18, 19
COLUMNS: Final = 20

BOX, ELLIPSOID, COLUMN = 0, 1, 2

NO_OBJECT: Final = -1
"""OBJECT of parts without an annotated identity."""


class Texture(IntEnum):
    """Procedural surfaces; see texture.py."""

    PLAIN = 0
    FACADE = 1
    ROOF = 2
    CAR_BODY = 3
    CABIN = 4
    BUS_BODY = 5
    CARGO = 6
    LEAVES = 7
    BARK = 8
    SIGN = 9
    SIGNAL = 10
    CONE = 11
    STRIPES = 12
    CONCRETE = 13
    SLATS = 14
    WHEEL = 15
    HEDGE = 16


Colour = Sequence[float] | NDArray[np.float64]


def part(
    kind: int,
    material: Material,
    centre: tuple[float, float, float],
    half: tuple[float, float, float],
    colour: Colour,
    texture: Texture = Texture.PLAIN,
    *,
    taper: tuple[float, float] = (0.0, 0.0),
    shear: float = 0.0,
    seed: float = 0.0,
    yaw: float = 0.0,
) -> Parts:
    """One row.

    Args:
        kind: BOX, ELLIPSOID or COLUMN.
        material: what it is.
        centre: metres, in the frame of the object it belongs to.
        half: half sizes along its own axes; a column uses the first as its radius.
        colour: linear RGB reflectance in [0, 1].
        texture: procedural surface.
        taper: how much each side moves inwards per metre of height, along x and y.
        shear: shift of x per metre of height.
        seed: number in [0, 1) that varies the texture.
        yaw: radians about the vertical, within the object.
    """
    row = np.zeros(COLUMNS)
    row[[KIND, MATERIAL, TEXTURE, OBJECT]] = kind, material, texture, NO_OBJECT
    row[[X, Y, Z, COS, SIN]] = *centre, np.cos(yaw), np.sin(yaw)
    row[[HX, HY, HZ]] = half if kind != COLUMN else (half[0], half[0], half[2])
    row[[TX, TY, SHEAR, SEED]] = *taper, shear, seed
    row[[RED, GREEN, BLUE]] = colour
    # The sheared middle sits at shear * HZ; half the lean and the half sizes bound the solid around its centre.
    reach = row[HX] + abs(shear) * 2 * row[HZ]
    row[RADIUS] = np.hypot(np.hypot(reach, row[HY]), row[HZ]) if kind != ELLIPSOID or shear else max(half)
    return row


def placed(parts: Parts, x: float, y: float, yaw: float, z: float = 0.0, object_id: int = NO_OBJECT) -> Parts:
    """Copy of ``parts`` (P, COLUMNS), given in an object's frame, at a place of the town; optionally with an identity."""
    c, s = np.cos(yaw), np.sin(yaw)
    out = parts.copy()
    out[:, X] = x + c * parts[:, X] - s * parts[:, Y]
    out[:, Y] = y + s * parts[:, X] + c * parts[:, Y]
    out[:, Z] = z + parts[:, Z]
    out[:, COS] = c * parts[:, COS] - s * parts[:, SIN]
    out[:, SIN] = s * parts[:, COS] + c * parts[:, SIN]
    if object_id != NO_OBJECT:
        out[:, OBJECT] = object_id
    return out


def bounds(parts: Parts) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Smallest and largest corner (3,) of the upright box around ``parts``, in the frame they are given in."""
    lean = 2 * parts[:, SHEAR] * parts[:, HZ]
    low, high = np.minimum(lean, 0) - parts[:, HX], np.maximum(lean, 0) + parts[:, HX]
    middle, half = (low + high) / 2, (high - low) / 2
    c, s = parts[:, COS], parts[:, SIN]
    centre = parts[:, [X, Y, Z]] + np.stack([c * middle, s * middle, 0 * c], axis=1)
    reach = np.stack(
        [np.abs(c) * half + np.abs(s) * parts[:, HY], np.abs(s) * half + np.abs(c) * parts[:, HY], parts[:, HZ]], axis=1
    )
    return (centre - reach).min(axis=0), (centre + reach).max(axis=0)
