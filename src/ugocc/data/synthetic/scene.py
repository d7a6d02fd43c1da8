"""Drives through the procedural town: everything one moment of an embedded fleet consists of.

    drive = open_drive("six", "scene-0001", seed=1)
    frame = drive.render(0)

A drive is determined by (fleet, name, seed, settings); a frame by its drive and index, in any order and process.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ugocc.data.synthetic.appearance import CLIMATES, Look, draw_look
from ugocc.data.synthetic.layout import EXTENT, STYLES, plan_streets
from ugocc.data.synthetic.lidar import count_inside, sweep, sweep_points
from ugocc.data.synthetic.occupancy import voxelise
from ugocc.data.synthetic.picture import Pinhole, World, develop, sample_offsets, take_picture
from ugocc.data.synthetic.rendered import RenderedBox, RenderedCamera, RenderedFrame, RenderedLidar
from ugocc.data.synthetic.rigs import RIGS, CameraMount, Rig, mounted
from ugocc.data.synthetic.town import Town, build_town
from ugocc.data.synthetic.tracer import sort_into_cells
from ugocc.data.synthetic.traffic import Crowd, Track, draw_crowd, plan_drive, pose_at, track_times
from ugocc.data.synthetic.visibility import camera_visibility, lidar_visibility
from ugocc.errors import DataError
from ugocc.geometry.grid import OCC3D_GRID
from ugocc.geometry.rigid import inverse, transform, yaw_matrix

FLEETS: Final = tuple(RIGS)
"""Names of the embedded fleets."""

_BOX_REACH: Final = 80.0
_EPOCH_US: Final = 1_600_000_000_000_000


@dataclass(frozen=True)
class DriveSettings:
    """How drives are recorded."""

    frames: int = 20
    """Frames per scene."""
    rate_hz: float = 2.0
    """Frames per second."""
    width: int = 264
    """Columns of the pictures; rows follow from each camera's proportions."""
    samples: int = 4
    """Rays per pixel at edges and contrasts; 1 renders single rays."""
    lidar_columns: int = 1080
    """Azimuths of the lidar's range image."""

    def __post_init__(self) -> None:
        for name in ("frames", "rate_hz", "width", "samples", "lidar_columns"):
            if not getattr(self, name) > 0:
                raise DataError("DriveSettings", name, getattr(self, name), "a number above zero")


@dataclass(frozen=True)
class Drive:
    """One scene. Made by :func:`open_drive`."""

    fleet: str
    """Name of the fleet."""
    name: str
    """Name of the scene."""
    settings: DriveSettings
    """How it is recorded."""
    key: tuple[int, int, int]
    """Seeds every random draw of this drive."""
    rig: Rig
    """Cameras and lidar as mounted on this car."""
    look: Look
    """Light and colours."""
    gains: tuple[float, ...]
    """Exposure of each camera relative to the scene's."""
    start_us: int
    """Key time of frame 0."""
    town: Town
    """What stands."""
    crowd: Crowd
    """What moves."""
    ego: Track
    """The camera car's track."""

    def __len__(self) -> int:
        return self.settings.frames

    @cached_property
    def _standing(self) -> NDArray[np.float64]:
        return self.town.parts()

    def seconds(self, index: int) -> float:
        """Key time of a frame, seconds after the first."""
        return index / self.settings.rate_hz

    def timestamp_us(self, seconds: float) -> int:
        """Microseconds of a moment of the drive."""
        return self.start_us + round(seconds * 1e6)

    def world_T_ego(self, seconds: float) -> NDArray[np.float64]:
        """(4, 4) pose of the car, on the ground under its rear axle."""
        x, y, yaw = pose_at(self.ego, seconds)
        return yaw_matrix(float(yaw), (x, y, 0.0))

    def world_at(self, seconds: float) -> World:
        """The town at one moment."""
        parts = np.concatenate([self._standing, self.crowd.parts_at(seconds)])
        return World(parts, sort_into_cells(parts, EXTENT), self.town.streets)

    def render(self, index: int) -> RenderedFrame:
        """Everything about frame ``index``."""
        if not 0 <= index < len(self):
            raise IndexError(f"frame {index} of a drive with {len(self)} frames")
        key_time = self.seconds(index)
        world_T_key = self.world_T_ego(key_time)
        cameras = tuple(self._picture(index, n) for n in range(len(self.rig.cameras)))
        world = self.world_at(key_time)
        lidar = self._sweep(index, world)
        points = transform(lidar.ego_T_lidar, sweep_points(lidar.ranges, lidar.inclinations))
        volume = voxelise(world.parts, world.streets, pose_at(self.ego, key_time), OCC3D_GRID)
        camera_mask, in_view = camera_visibility(
            volume,
            OCC3D_GRID,
            [camera.intrinsics for camera in cameras],
            [inverse(world_T_key) @ camera.world_T_ego @ camera.ego_T_camera for camera in cameras],
            [(camera.image.shape[0], camera.image.shape[1]) for camera in cameras],
        )
        return RenderedFrame(
            scene=self.name,
            index=index,
            timestamp_us=self.timestamp_us(key_time),
            world_T_ego=world_T_key,
            cameras=cameras,
            lidar=lidar,
            boxes=self._boxes(key_time, transform(world_T_key, points)),
            occupancy=volume,
            camera_mask=camera_mask,
            lidar_mask=lidar_visibility(volume, OCC3D_GRID, lidar.ego_T_lidar[:3, 3], points),
            in_view=in_view,
        )

    def _rng(self, index: int, sensor: int) -> np.random.Generator:
        return np.random.default_rng((*self.key, 1, index, sensor))

    def _picture(self, index: int, number: int) -> RenderedCamera:
        mount: CameraMount = self.rig.cameras[number]
        seconds = self.seconds(index) + mount.trigger_ms / 1000.0
        rows, columns = mount.picture_size(self.settings.width)
        intrinsics, ego_T_camera = mount.intrinsics(self.settings.width), mount.ego_T_camera()
        world_T_ego = self.world_T_ego(seconds)
        world_T_camera = world_T_ego @ ego_T_camera
        pinhole = Pinhole(
            np.ascontiguousarray(world_T_camera[:3, :3]),
            np.ascontiguousarray(world_T_camera[:3, 3]),
            float(intrinsics[0, 0]),
            float(intrinsics[1, 1]),
            float(intrinsics[0, 2]),
            float(intrinsics[1, 2]),
        )
        offsets = sample_offsets(self.settings.samples)
        light, depth, materials = take_picture(pinhole, rows, columns, self.world_at(seconds), self.look, offsets)
        image = develop(light, self.look, self.gains[number], CLIMATES[self.fleet].noise, self._rng(index, number))
        return RenderedCamera(
            name=mount.name,
            image=image,
            depth=depth,
            materials=materials,
            intrinsics=intrinsics,
            ego_T_camera=ego_T_camera,
            world_T_ego=world_T_ego,
            timestamp_us=self.timestamp_us(seconds),
        )

    def _sweep(self, index: int, world: World) -> RenderedLidar:
        mount = self.rig.lidar
        seconds = self.seconds(index)
        inclinations, ego_T_lidar = mount.beam_inclinations(), mount.ego_T_lidar()
        ranges, intensity, materials = sweep(
            self.world_T_ego(seconds) @ ego_T_lidar,
            inclinations,
            self.settings.lidar_columns,
            mount.reach,
            world,
            self._rng(index, len(self.rig.cameras)),
        )
        return RenderedLidar(
            ranges=ranges,
            intensity=intensity,
            materials=materials,
            inclinations=inclinations,
            ego_T_lidar=ego_T_lidar,
            timestamp_us=self.timestamp_us(seconds),
        )

    def _boxes(self, seconds: float, points: NDArray[np.float64]) -> tuple[RenderedBox, ...]:
        """Annotated objects near the car; ``points`` (M, 3) are this sweep's returns in the world."""
        found = [
            (thing.material, number, thing.world_T_box, thing.size, (0.0, 0.0))
            for number, thing in enumerate(self.town.things)
        ]
        for number, mover in enumerate(self.crowd.movers, start=self.crowd.first_object):
            x, y, yaw = pose_at(mover.track, seconds)
            centre, size = mover.model.box
            world_T_box = yaw_matrix(float(yaw), (x, y, mover.z)) @ yaw_matrix(0.0, centre)
            before, after = pose_at(mover.track, seconds - 0.1), pose_at(mover.track, seconds + 0.1)
            velocity = (after - before)[:2] / 0.2
            length, width, height = size
            found.append(
                (
                    mover.model.material,
                    number,
                    world_T_box,
                    (float(length), float(width), float(height)),
                    (float(velocity[0]), float(velocity[1])),
                )
            )
        here = pose_at(self.ego, seconds)[:2]
        near = [row for row in found if np.hypot(*(row[2][:2, 3] - here)) < _BOX_REACH]
        if not near:
            return ()
        counts = count_inside(
            points, np.stack([inverse(row[2]) for row in near]), np.array([row[3] for row in near]) / 2
        )
        return tuple(RenderedBox(*row, lidar_points=int(n)) for row, n in zip(near, counts, strict=True))


def open_drive(fleet: str, name: str, seed: int, settings: DriveSettings | None = None) -> Drive:
    """Lay out one scene.

    Args:
        fleet: one of :data:`FLEETS`.
        name: name of the scene; different names are different towns.
        seed: of the whole fleet, 0 or more.
        settings: how it is recorded.

    Raises:
        DataError: no such fleet.
    """
    settings = settings or DriveSettings()
    if fleet not in RIGS:
        raise DataError("open_drive", "fleet", fleet, f"one of {', '.join(FLEETS)}")
    style, climate = STYLES[fleet], CLIMATES[fleet]
    key = (seed, FLEETS.index(fleet), zlib.crc32(name.encode()))
    rng = np.random.default_rng((*key, 0))
    rig = mounted(RIGS[fleet], rng)
    look = draw_look(climate, rng)
    gains = tuple(float(g) for g in rng.uniform(0.95, 1.05, len(rig.cameras)))
    start_us = _EPOCH_US + int(rng.integers(0, 10**14))
    streets = plan_streets(style, rng)
    times = track_times((settings.frames - 1) / settings.rate_hz)
    drive = plan_drive(streets, times, rng)
    town = build_town(streets, style, climate, drive[1][::10, :2], rng)
    movers = draw_crowd(streets, style, climate, times, drive, rng)
    return Drive(
        fleet=fleet,
        name=name,
        settings=settings,
        key=key,
        rig=rig,
        look=look,
        gains=gains,
        start_us=start_us,
        town=town,
        crowd=Crowd(tuple(movers), len(town.things)),
        ego=drive[1],
    )
