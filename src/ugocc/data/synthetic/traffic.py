"""Everything that moves: the drive itself, vehicles, riders and people, each as a track over time.

Tracks are sampled every 50 ms and interpolated. Who would come too close to the drive or to another is not let in, so
that no camera ever looks into a truck.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ugocc.data.synthetic import furniture, vehicles
from ugocc.data.synthetic.appearance import Climate
from ugocc.data.synthetic.layout import TownStyle, sides
from ugocc.data.synthetic.primitives import COLUMNS, COS, OBJECT, SIN, Parts, X, Y, Z
from ugocc.data.synthetic.route import Route, lane_start, plan_route
from ugocc.data.synthetic.streets import CROSSWALK_WIDTH, Streets
from ugocc.data.synthetic.vehicles import Model

Track = NDArray[np.float64]
"""(T, 3) x, y, yaw at the times of :func:`track_times`."""

_TICK: Final = 0.05
_LEAD: Final = 0.2
"""Tracks begin this many seconds before the first frame, for cameras that trigger early."""
_EGO_BOX: Final = (-3.0, 7.0, 1.75)
"""Room kept free around the drive: behind, ahead and to each side of the rear axle, metres."""


def track_times(duration: float) -> NDArray[np.float64]:
    """(T,) seconds at which tracks are sampled, for a drive of ``duration`` seconds."""
    return np.arange(-_LEAD, duration + _LEAD + _TICK, _TICK)


@dataclass(frozen=True)
class Mover:
    """A thing that moves along a track."""

    model: Model
    """What it looks like."""
    track: Track
    """Where it is."""
    z: float = 0.0
    """Height of the ground it moves on."""


def pose_at(track: Track, time: float) -> NDArray[np.float64]:
    """(..., 3) x, y, yaw of tracks (..., T, 3) at ``time`` seconds."""
    at = (time + _LEAD) / _TICK
    k = min(max(int(at), 0), track.shape[-2] - 2)
    share = at - k
    return np.asarray((1 - share) * track[..., k, :] + share * track[..., k + 1, :])


@dataclass(frozen=True)
class Crowd:
    """All movers of a scene, their parts side by side."""

    movers: tuple[Mover, ...]
    """In the order of their identities."""
    first_object: int
    """OBJECT of the first mover."""

    def parts_at(self, time: float) -> Parts:
        """(P, COLUMNS) where everything is at ``time`` seconds."""
        if not self.movers:
            return np.zeros((0, COLUMNS))
        poses = pose_at(np.stack([mover.track for mover in self.movers]), time)
        owner = np.repeat(np.arange(len(self.movers)), [len(mover.model.parts) for mover in self.movers])
        local = np.concatenate([mover.model.parts for mover in self.movers])
        x, y, yaw = poses[owner].T
        c, s = np.cos(yaw), np.sin(yaw)
        out = local.copy()
        out[:, X] = x + c * local[:, X] - s * local[:, Y]
        out[:, Y] = y + s * local[:, X] + c * local[:, Y]
        out[:, Z] += np.array([mover.z for mover in self.movers])[owner]
        out[:, COS] = c * local[:, COS] - s * local[:, SIN]
        out[:, SIN] = s * local[:, COS] + c * local[:, SIN]
        out[:, OBJECT] = self.first_object + owner
        return out


def plan_drive(
    streets: Streets, times: NDArray[np.float64], rng: np.random.Generator
) -> tuple[Route, Track, NDArray[np.float64]]:
    """The way of the camera car near the middle of the town, its track and its distance along the way (T,)."""
    along_y = bool(rng.random() < 0.5)
    centres, lanes = (streets.xs, streets.x_lanes) if along_y else (streets.ys, streets.y_lanes)
    index = int(np.argmin(np.abs(centres + rng.uniform(-25, 25))))
    heading = int(rng.choice((-1, 1)))
    lane = int(rng.integers(lanes[index]))
    cruise = rng.uniform(3.5, 7.5)
    begin = rng.uniform(0.3, 2.0) if rng.random() < 0.2 else cruise
    # A stretch behind the start and beyond the end is for those who follow and lead.
    behind = 45.0
    reach = cruise * times[-1]
    start = -heading * (behind + rng.uniform(0.2, 0.8) * reach)
    point, direction = lane_start(streets, along_y, index, heading, lane, start)
    straight = plan_route(streets, point, direction, behind, 0.0, rng)
    onward = plan_route(streets, straight.points[-1], direction, reach + 70.0, 0.45, rng)
    route = Route(
        np.concatenate([straight.points[:-1], onward.points]), np.concatenate([straight.yaw[:-1], onward.yaw])
    )
    along = route.progress(times - times[0], cruise, behind)
    if begin < cruise:
        # Setting off: the same way, begun slowly.
        gone = times - times[0]
        along = behind + np.minimum(begin * gone + 0.4 * gone**2, along - behind)
    return route, route.pose(along), along


def draw_crowd(
    streets: Streets,
    style: TownStyle,
    climate: Climate,
    times: NDArray[np.float64],
    drive: tuple[Route, Track, NDArray[np.float64]],
    rng: np.random.Generator,
) -> list[Mover]:
    """Vehicles, riders and people around a drive."""
    route, ego, along = drive
    movers: list[Mover] = []
    for mover in _convoy(route, along, climate, style, rng):
        _admit(movers, mover, ego)
    for number in range(style.vehicles + style.riders):
        rider = number >= style.vehicles
        if rider:
            maker = vehicles.bicycle if rng.random() < 0.6 else vehicles.motorcycle
            model = maker(climate, rng, rider=True)
        else:
            model = _any_vehicle(climate, style, rng)
        _admit(movers, Mover(model, _lane_track(streets, ego, times, rider, rng)), ego)
    for mover in _people(streets, style, climate, times, ego, rng):
        _admit(movers, mover, ego)
    return movers


def _any_vehicle(climate: Climate, style: TownStyle, rng: np.random.Generator) -> Model:
    if rng.random() < style.big:
        return (vehicles.truck if rng.random() < 0.55 else vehicles.bus)(climate, rng)
    return (vehicles.car if rng.random() < 0.8 else vehicles.van)(climate, rng)


def _convoy(
    route: Route, along: NDArray[np.float64], climate: Climate, style: TownStyle, rng: np.random.Generator
) -> list[Mover]:
    """Those who drive ahead of and behind the camera car, on its own way; riders keep to the right."""
    movers = []
    for gap, likely in ((rng.uniform(13, 26), 0.6), (rng.uniform(32, 44), 0.5), (-rng.uniform(11, 20), 0.6)):
        if rng.random() < likely:
            movers.append(Mover(_any_vehicle(climate, style, rng), route.pose(along + gap)))
    for gap, likely in ((rng.uniform(8, 22), 0.45), (-rng.uniform(8, 15), 0.35)):
        if rng.random() < likely:
            model = (
                vehicles.bicycle(climate, rng, True) if rng.random() < 0.6 else vehicles.motorcycle(climate, rng, True)
            )
            track = route.pose(along + gap)
            aside = rng.uniform(0.6, 1.1)
            track[:, 0] += aside * np.sin(track[:, 2])
            track[:, 1] -= aside * np.cos(track[:, 2])
            movers.append(Mover(model, track))
    return movers


def _lane_track(
    streets: Streets, ego: Track, times: NDArray[np.float64], rider: bool, rng: np.random.Generator
) -> Track:
    """Along some lane near the drive, at some speed; every fifth stands."""
    along_y = bool(rng.random() < 0.5)
    centres, lanes = (streets.xs, streets.x_lanes) if along_y else (streets.ys, streets.y_lanes)
    middle = ego[int(rng.integers(len(ego)))]
    across, forward = (middle[0], middle[1]) if along_y else (middle[1], middle[0])
    near = np.argsort(np.abs(centres - across))[:2]
    index = int(near[0] if rng.random() < 0.7 else near[-1])
    heading = int(rng.choice((-1, 1)))
    lane = int(lanes[index]) - 1 if rider else int(rng.integers(lanes[index]))
    speed = rng.uniform(2.5, 5.0) if rider else rng.uniform(3.0, 9.0)
    if rng.random() < 0.2:
        speed = 0.0
    spread = 25.0 if rider else 45.0
    start = forward + rng.uniform(-spread, spread) - heading * speed * times[-1] / 2
    point, direction = lane_start(streets, along_y, index, heading, lane, start)
    if rider:
        right = np.array([direction[1], -direction[0]])
        point = point + rng.uniform(0.5, 1.1) * right
    route = plan_route(streets, point, direction, max(speed * (times[-1] - times[0]) + 5.0, 5.0), 0.0, rng)
    return route.pose((times - times[0]) * speed)


def _people(
    streets: Streets,
    style: TownStyle,
    climate: Climate,
    times: NDArray[np.float64],
    ego: Track,
    rng: np.random.Generator,
) -> list[Mover]:
    """People on pavements near the drive, and some on crosswalks."""
    movers = []
    inner = 0.15 + streets.verge
    span = times[-1] - times[0]
    for side in sides(streets):
        c, s = np.cos(side.yaw), np.sin(side.yaw)
        apart = ((ego[:, 0] - side.origin[0]) * c + (ego[:, 1] - side.origin[1]) * s).clip(0, side.length)
        foot = np.stack([side.origin[0] + apart * c, side.origin[1] + apart * s], axis=1)
        if np.hypot(*(foot - ego[:, :2]).T).min() > 35.0:
            continue
        along = rng.uniform(0.0, style.people[1])
        while along < side.length:
            walking = bool(rng.random() < 0.75)
            speed = rng.uniform(0.8, 1.6) * rng.choice((-1, 1)) if walking else 0.0
            at = along + speed * (times - times[0])
            at = np.clip(at, streets.corner, side.length - streets.corner) if walking else at
            deep = inner + rng.uniform(1.1 if streets.verge == 0 else 0.4, streets.pavement - 0.35)
            turned = side.yaw if speed > 0 else side.yaw + np.pi
            yaw = turned if walking else rng.uniform(-3.0, 3.0)
            track = np.column_stack([*_on_side(side.origin, c, s, at, np.full_like(at, deep)), np.full_like(at, yaw)])
            if streets.corner < along < side.length - streets.corner:
                movers.append(Mover(furniture.pedestrian(climate, rng, walking), track, streets.kerb))
            along += rng.uniform(*style.people)
        if rng.random() < 0.5:
            # Across the street on the crosswalk at the side's end, towards the middle and on.
            speed = rng.uniform(0.9, 1.5)
            at = side.length - streets.corner - 0.3 - rng.uniform(0.4, CROSSWALK_WIDTH - 0.4)
            deep = -rng.uniform(0.3, 3.0) - speed * (times - times[0]) + rng.uniform(0, 0.5) * span
            deep = np.clip(deep, 0.3 - side.across, -0.3)
            track = np.column_stack(
                [
                    *_on_side(side.origin, c, s, np.full_like(deep, at), deep),
                    np.full_like(deep, side.yaw + np.pi / 2),
                ]
            )
            movers.append(Mover(furniture.pedestrian(climate, rng, True), track))
    return movers


def _on_side(
    origin: tuple[float, float], c: float, s: float, along: NDArray[np.float64], deep: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    return origin[0] + along * c + deep * s, origin[1] + along * s - deep * c


def _admit(movers: list[Mover], mover: Mover, ego: Track) -> None:
    """Add ``mover`` unless it comes too close to the drive or to somebody already there."""
    if not keeps_clear(ego, mover):
        return
    mine = _discs(mover)
    for other in movers:
        theirs = _discs(other)
        reach = mine[1] + theirs[1] + 0.25
        # Coarse first: a few moments and the middles only.
        rough = np.hypot(*(mover.track[::5, :2] - other.track[::5, :2]).T).min()
        if rough > 16.0:
            continue
        gap = mine[0][::2, :, None, :] - theirs[0][::2, None, :, :]
        if (gap[..., 0] ** 2 + gap[..., 1] ** 2).min() < reach * reach:
            return
    movers.append(mover)


def keeps_clear(ego: Track, mover: Mover) -> bool:
    """Whether a mover stays out of the room around the drive at all times."""
    centres, radius = _discs(mover)
    offset = centres - ego[:, None, :2]
    c, s = np.cos(ego[:, 2])[:, None], np.sin(ego[:, 2])[:, None]
    ahead, left = c * offset[..., 0] + s * offset[..., 1], c * offset[..., 1] - s * offset[..., 0]
    behind, front, wide = _EGO_BOX
    hit = (ahead > behind - radius) & (ahead < front + radius) & (np.abs(left) < wide + radius)
    return not bool(hit.any())


def _discs(mover: Mover) -> tuple[NDArray[np.float64], float]:
    """Discs (T, D, 2) along a mover's length that cover it, and their radius."""
    centre, size = mover.model.box
    radius = 0.5 * float(size[1]) + 0.05
    count = max(1, int(np.ceil(size[0] / (2 * radius))))
    along = centre[0] + (np.arange(count) + 0.5 - count / 2) * float(size[0]) / count
    c, s = np.cos(mover.track[:, 2]), np.sin(mover.track[:, 2])
    x = mover.track[:, 0, None] + along * c[:, None]
    y = mover.track[:, 1, None] + along * s[:, None]
    return np.stack([x, y], axis=-1), radius
