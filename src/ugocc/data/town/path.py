"""The way of the ego vehicle: along a lane, round a corner now and then, at a changing speed."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ugocc.data.town.layout import Town
from ugocc.data.town.tracer import Floats
from ugocc.geometry.rigid import yaw_matrix

RADIUS = {1: 9.0, -1: 6.0}
"""Metres of the curve of a left (1) and a right (-1) turn."""


def drive_poses(town: Town, rng: np.random.Generator, times: Floats) -> Callable[[float], Floats]:
    """World poses of a drive that starts near the middle of the town.

    Args:
        town: its streets.
        rng: random generator.
        times: (F,) key times in seconds, for the length of the drive.

    Returns:
        Function from a time in seconds to world_T_ego (4, 4).
    """
    middle = len(town.xs) // 2, len(town.ys) // 2
    along_x, way = bool(rng.random() < 0.5), int(rng.choice([-1, 1]))
    turn = int(rng.choice([-1, 0, 0, 1]))
    cross = float(town.xs[middle[0]] if along_x else town.ys[middle[1]])
    line = float(town.ys[middle[1]] if along_x else town.xs[middle[0]])
    speed, wave, phase = rng.uniform(3.6, 6.4), rng.uniform(0.0, 0.35), rng.uniform(0, 6.28)
    length = speed * (times[-1] + 2)
    before = rng.uniform(0.25, 0.75) * length

    def travelled(time: float) -> float:
        return float(speed * (time + wave * (np.sin(time * 0.7 + phase) - np.sin(phase)) / 0.7))

    # In a frame whose x axis is the first street in driving direction and whose origin is the crossing's middle.
    lane = town.lane
    radius = RADIUS.get(turn, 1.0)
    corner = turn * lane - radius if turn else 0.0

    def local(distance: float) -> tuple[float, float, float]:
        x = distance - before
        if not turn or x <= corner:
            return x, -lane, 0.0
        arc = (x - corner) / radius
        if arc <= np.pi / 2:
            return corner + radius * np.sin(arc), -lane + turn * radius * (1 - np.cos(arc)), turn * arc
        rest = (arc - np.pi / 2) * radius
        return corner + radius, -lane + turn * (radius + rest), turn * np.pi / 2

    heading = (0.0 if way > 0 else np.pi) if along_x else way * np.pi / 2
    base = yaw_matrix(heading, (cross, line, 0.0) if along_x else (line, cross, 0.0))

    def pose(time: float) -> Floats:
        x, y, yaw = local(travelled(time))
        return base @ yaw_matrix(yaw, (x, y, 0.0))

    return pose
