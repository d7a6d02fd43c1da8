"""Ways along lanes, with turns at crossings, and how fast they are driven."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ugocc.data.synthetic.streets import Streets

_STEP: Final = 0.1
_RIGHT_RADIUS, _LEFT_RADIUS = 6.5, 9.5
_GENTLE: Final = 1.6
"""Largest acceleration along the way, m/s^2."""


@dataclass(frozen=True)
class Route:
    """A way, sampled every 0.1 m."""

    points: NDArray[np.float64]
    """(M, 2) metres."""
    yaw: NDArray[np.float64]
    """(M,) heading in radians, without jumps."""

    @property
    def length(self) -> float:
        """Metres."""
        return (len(self.yaw) - 1) * _STEP

    def pose(self, along: NDArray[np.float64]) -> NDArray[np.float64]:
        """(..., 3) x, y, yaw at distances (...) in metres from the beginning, held at both ends."""
        at = np.arange(len(self.yaw)) * _STEP
        columns = (self.points[:, 0], self.points[:, 1], self.yaw)
        return np.stack([np.interp(along, at, values) for values in columns], axis=-1)

    def speeds(self, cruise: float) -> NDArray[np.float64]:
        """(M,) speed in m/s at every sample: at most ``cruise``, slow in turns, gentle in between."""
        curvature = np.abs(np.gradient(self.yaw, _STEP))
        limit = np.minimum(cruise, np.sqrt(2.0 / np.maximum(curvature, 1e-6)))
        for order in (range(1, len(limit)), range(len(limit) - 2, -1, -1)):
            back = 1 if order.step < 0 else -1
            for k in order:
                limit[k] = min(limit[k], np.sqrt(limit[k + back] ** 2 + 2 * _GENTLE * _STEP))
        return np.asarray(limit)

    def progress(self, times: NDArray[np.float64], cruise: float, offset: float) -> NDArray[np.float64]:
        """Distance from the route's beginning at ``times`` (T,) in seconds, ``offset`` metres in at time 0."""
        speed = self.speeds(cruise)
        when = np.concatenate([[0.0], np.cumsum(2 * _STEP / (speed[1:] + speed[:-1]))])
        at = np.arange(len(self.yaw)) * _STEP
        when -= np.interp(offset, at, when)
        return np.asarray(np.interp(times, when, at))


def lane_start(
    streets: Streets, along_y: bool, index: int, heading: int, lane: int, position: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Point and direction (2,) on a lane: street family, street, +1 or -1, lane from the middle, coordinate."""
    offset = (lane + 0.5) * streets.lane
    if along_y:
        return np.array([streets.xs[index] + heading * offset, position]), np.array([0.0, float(heading)])
    return np.array([position, streets.ys[index] - heading * offset]), np.array([float(heading), 0.0])


def plan_route(
    streets: Streets,
    point: NDArray[np.float64],
    direction: NDArray[np.float64],
    length: float,
    turn: float,
    rng: np.random.Generator,
) -> Route:
    """Drive ``length`` metres from a point on a lane, turning at each crossing with probability ``turn``."""
    pieces: list[NDArray[np.float64]] = []
    yaw = float(np.arctan2(direction[1], direction[0]))
    travelled = 0.0
    while travelled < length:
        along_y = abs(direction[1]) > 0.5
        centres, halves, lanes = (
            (streets.ys, streets.y_half, streets.y_lanes) if along_y else (streets.xs, streets.x_half, streets.x_lanes)
        )
        heading = direction[1] if along_y else direction[0]
        here = point[1] if along_y else point[0]
        ahead = (centres - here) * heading
        ahead[ahead < halves + 4.0] = np.inf
        k = int(np.argmin(ahead))
        side = 0 if not np.isfinite(ahead[k]) or rng.random() >= turn else int(rng.choice((-1, 1)))
        if side == 0:
            reach = min(float(ahead[k]), length - travelled + 1.0)
            pieces.append(_straight(point, direction, yaw, reach))
            point, travelled = point + reach * direction, travelled + reach
            continue
        radius = _RIGHT_RADIUS if side < 0 else _LEFT_RADIUS
        onward = side * np.array([-direction[1], direction[0]])
        lane = int(lanes[k]) - 1 if side < 0 else 0
        # The new lane lies right of the middle of the new street, seen in the new direction.
        right = np.array([onward[1], -onward[0]]) * (lane + 0.5) * streets.lane
        reach = float(ahead[k]) + float(right @ direction) - radius
        reach = max(reach, 0.0)
        pieces.append(_straight(point, direction, yaw, reach))
        point = point + reach * direction
        pieces.append(_arc(point, direction, yaw, radius, side))
        point, yaw = point + radius * (direction + onward), yaw + side * np.pi / 2
        direction = onward
        travelled += reach + radius * np.pi / 2
    samples = np.concatenate(pieces)
    step = np.hypot(*np.diff(samples[:, :2], axis=0).T)
    keep = np.concatenate([[True], step > 1e-9])
    samples = samples[keep]
    at = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(samples[:, :2], axis=0).T))])
    even = np.arange(0.0, at[-1], _STEP)
    x, y, turned = (np.interp(even, at, samples[:, c]) for c in range(3))
    return Route(np.stack([x, y], axis=-1), turned)


def _straight(
    point: NDArray[np.float64], direction: NDArray[np.float64], yaw: float, length: float
) -> NDArray[np.float64]:
    at = np.array([0.0, length])
    return np.column_stack([point + at[:, None] * direction, np.full(2, yaw)])


def _arc(
    point: NDArray[np.float64], direction: NDArray[np.float64], yaw: float, radius: float, side: int
) -> NDArray[np.float64]:
    angle = np.linspace(0.0, np.pi / 2, 200)
    onward = side * np.array([-direction[1], direction[0]])
    offset = radius * (np.sin(angle)[:, None] * direction + (1 - np.cos(angle))[:, None] * onward)
    return np.column_stack([point + offset, yaw + side * angle])
