"""One drive of an embedded fleet: the same bytes for the same fleet, name, seed and settings, in any process."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ugocc.data.synthetic.rendered import RenderedBox, RenderedCamera, RenderedFrame, RenderedLidar
from ugocc.data.synthetic.vocabulary import Material
from ugocc.data.town import occupancy, shading
from ugocc.data.town.layout import EXTENT, Placed, Town, add_traffic, lay_out
from ugocc.data.town.path import drive_poses
from ugocc.data.town.rigs import RIGS, CameraSpec
from ugocc.data.town.shapes import extent, place
from ugocc.data.town.style import STYLES, Style
from ugocc.data.town.tracer import CELL, Floats, World, build_world
from ugocc.errors import DataError
from ugocc.geometry.grid import OCC3D_GRID
from ugocc.geometry.rigid import inverse, transform, yaw_matrix, yaw_of

FLEETS = tuple(RIGS)
"""Names of the embedded fleets."""
REACH = 100.0
"""Things farther than this from the vehicle are not rendered, metres."""
BOXES = 80.0
"""Things nearer than this are annotated with a box, metres."""
EPOCH_US = 1_700_000_000_000_000
"""Timestamp of the first frame of every drive."""


@dataclass(frozen=True)
class DriveSettings:
    """How a drive is recorded."""

    frames: int = 20
    """Key frames of a drive."""
    rate_hz: float = 2.0
    """Key frames per second."""
    width: int = 264
    """Columns of every picture; calibration and rows follow."""


@dataclass(frozen=True)
class Drive:
    """A drive through a town of its own."""

    fleet: str
    """six or five."""
    name: str
    """Name of the scene."""
    seed: int
    """Decides everything."""
    settings: DriveSettings
    """Length, rate and size."""
    town: Town
    """What stands and moves."""
    standing: NDArray[np.void]
    """Primitives of everything that stands; their track is the place in ``town.fixed``."""
    poses: Floats
    """(frames, 4, 4) world_T_ego at the key times."""
    light: Floats
    """Sun, sky and haze; see :mod:`ugocc.data.town.shading`."""
    exposure: float
    """Gain of the cameras."""

    def render(self, index: int) -> RenderedFrame:
        """Frame ``index`` of the drive with all its truth."""
        return _render(self, index)


def open_drive(fleet: str, name: str, seed: int, settings: DriveSettings | None = None) -> Drive:
    """Lay out the town of a drive and send the vehicle through it; nothing is rendered yet.

    Raises:
        DataError: no such fleet.
    """
    if fleet not in STYLES:
        raise DataError("embedded fleets", "fleet", fleet, f"one of {', '.join(STYLES)}")
    settings = settings or DriveSettings()
    rng = np.random.default_rng((seed, zlib.crc32(f"{fleet}/{name}".encode())))
    style = STYLES[fleet]
    times = np.arange(settings.frames) / settings.rate_hz
    town = lay_out(style, rng)
    pose = drive_poses(town, rng, times)
    poses = np.stack([pose(t) for t in times])
    # Clearance is kept between key frames too, and a little beyond the end.
    fine = np.arange(-1.0, times[-1] + 1.5, 0.25)
    ahead = np.stack([(pose(t) @ np.array([1.4, 0, 0, 1.0]))[:2] for t in fine])
    add_traffic(town, rng, ahead, fine)
    light, exposure = _light(style, rng)
    standing = np.concatenate([place(p.thing, p.x, p.y, p.yaw, i, p.base) for i, p in enumerate(town.fixed)])
    return Drive(fleet, name, seed, settings, town, standing, poses, light, exposure)


def _light(style: Style, rng: np.random.Generator) -> tuple[Floats, float]:
    height, azimuth = np.deg2rad(rng.uniform(*style.sun_height)), rng.uniform(0, 2 * np.pi)
    flat = np.cos(height)
    sun = (flat * np.cos(azimuth), flat * np.sin(azimuth), np.sin(height))
    overcast = rng.uniform(0.0, 0.6) if rng.random() < 0.4 else 0.0
    tint = rng.normal(1.0, 0.03, 3)
    direct = np.asarray(style.sun) * (1 - 0.75 * overcast) * tint
    sky = np.asarray(style.sky) * (1 + 0.4 * overcast) * tint
    zenith = np.asarray(style.zenith) * (1 - 0.6 * overcast) + 0.6 * overcast * np.asarray(style.haze)
    haze = np.asarray(style.haze) * tint
    values = [*sun, *direct, *sky, *haze, *zenith, rng.uniform(*style.density), float(rng.integers(1 << 20))]
    return np.array(values), float(rng.uniform(0.85, 1.15) * (1 + 0.15 * overcast))


def _render(drive: Drive, index: int) -> RenderedFrame:
    if not 0 <= index < drive.settings.frames:
        raise IndexError(f"frame {index} of a drive of {drive.settings.frames}")
    rig, time = RIGS[drive.fleet], index / drive.settings.rate_hz
    world_T_ego = drive.poses[index]
    stamp = EPOCH_US + round(time * 1e6)
    primitives, things = _primitives(drive, world_T_ego[:2, 3], time)
    low = np.full(2, -EXTENT - 30.0)
    cells = int(2 * (EXTENT + 30.0) / CELL)
    world = build_world(primitives, low, cells, drive.town.xs, drive.town.ys, drive.town.style.street)
    rng = np.random.default_rng((drive.seed, index, zlib.crc32(f"{drive.fleet}/{drive.name}".encode())))
    cameras = tuple(_camera(spec, drive, world, world_T_ego, stamp, rng) for spec in rig.cameras)

    world_T_lidar = world_T_ego @ rig.ego_T_lidar()
    inclinations = np.deg2rad(rig.inclinations)
    ranges, incidence, materials = shading.render_lidar(
        world, np.ascontiguousarray(world_T_lidar[:3, :3]), world_T_lidar[:3, 3].copy(), inclinations,
        rig.lidar_columns, rig.lidar_range,
    )  # fmt: skip
    hit = ranges > 0
    ranges = np.where(hit, ranges + rng.normal(0, 0.01, ranges.shape), 0).astype(np.float32)
    intensity = np.where(hit, np.clip(0.15 + 0.6 * incidence + rng.normal(0, 0.04, ranges.shape), 0, 1), 0)
    lidar = RenderedLidar(ranges, intensity.astype(np.float32), materials, inclinations, rig.ego_T_lidar(), stamp)
    volume = _volume(world, world_T_ego)
    camera_mask, in_view = _camera_mask(volume, cameras)
    points = lidar_points(lidar)
    return RenderedFrame(
        scene=drive.name,
        index=index,
        timestamp_us=stamp,
        world_T_ego=world_T_ego,
        cameras=cameras,
        lidar=lidar,
        boxes=_boxes(things, time, transform(world_T_lidar, points)),
        occupancy=volume,
        camera_mask=camera_mask,
        lidar_mask=_lidar_mask(volume, lidar, points),
        in_view=in_view,
    )


def lidar_points(lidar: RenderedLidar) -> Floats:
    """(M, 3) returns in the sensor frame in metres, row by row."""
    columns = lidar.ranges.shape[1]
    azimuth = np.pi - (np.arange(columns) + 0.5) * 2 * np.pi / columns
    up = lidar.inclinations[:, None]
    directions = np.stack(
        np.broadcast_arrays(np.cos(up) * np.cos(azimuth), np.cos(up) * np.sin(azimuth), np.sin(up)), axis=-1
    )
    return (directions * lidar.ranges[..., None])[lidar.ranges > 0].astype(np.float64)


def _primitives(drive: Drive, around: Floats, time: float) -> tuple[NDArray[np.void], list[tuple[int, Placed]]]:
    """Primitives near the vehicle, and the annotated things near it with their track numbers."""
    town, standing = drive.town, drive.standing
    reach = REACH + standing["half"][:, :2].max(axis=1)
    near = (np.abs(standing["centre"][:, :2] - around) <= reach[:, None]).all(axis=1)
    parts = [standing[near]]
    for track, placed in enumerate(town.moving, start=len(town.fixed)):
        x, y = placed.at(time)
        if max(abs(x - around[0]), abs(y - around[1])) <= REACH:
            parts.append(place(placed.thing, x, y, placed.yaw, track, placed.base))
    boxed = [(i, p) for i, p in enumerate([*town.fixed, *town.moving]) if p.boxed is not None]
    return np.concatenate(parts), [(i, p) for i, p in boxed if np.hypot(*(p.at(time) - around)) <= BOXES]


def _camera(
    spec: CameraSpec, drive: Drive, world: World, world_T_ego: Floats, stamp: int, rng: np.random.Generator
) -> RenderedCamera:
    style = drive.town.style
    width, height = spec.size_at(drive.settings.width)
    intrinsics, ego_T_camera = spec.intrinsics(drive.settings.width), spec.ego_T_camera()
    world_T_camera = world_T_ego @ ego_T_camera
    world_T_pixel = world_T_camera[:3, :3] @ np.linalg.inv(intrinsics)
    ground = np.array([style.asphalt, (0.80, 0.80, 0.78), style.paving, style.grass])
    linear, depth, materials = shading.render_image(
        world, ground, drive.light, np.ascontiguousarray(world_T_pixel), world_T_camera[:3, 3].copy(), width, height
    )
    exposed = linear * (np.asarray(style.balance) * drive.exposure * 0.62)
    # A soft shoulder instead of clipping, then the camera's curve and its noise.
    curved = (exposed / (1 + 0.22 * exposed)) ** (1 / style.gamma)
    noisy = curved + rng.normal(0, style.noise, curved.shape)
    image = (np.clip(noisy, 0, 1) * 255 + 0.5).astype(np.uint8)
    return RenderedCamera(spec.name, image, depth, materials, intrinsics, ego_T_camera, world_T_ego, stamp)


def _volume(world: World, world_T_ego: Floats) -> NDArray[np.uint8]:
    """(200, 200, 16) material ids on the Occ3D grid, SKY = free."""
    grid = OCC3D_GRID
    volume = np.full(grid.shape, Material.SKY, dtype=np.uint8)
    middles = transform(world_T_ego, grid.centres()[:, :, 0])
    ground = _ground(middles[..., 0], middles[..., 1], world.xs, world.ys, world.half)
    yaw = yaw_of(world_T_ego)
    tx, ty, tz = world_T_ego[:3, 3]
    occupancy.voxelise(
        world, ground, occupancy.PRIORITY, np.cos(yaw), np.sin(yaw), tx, ty, tz, np.array(grid.lower),
        grid.voxel_size, volume,
    )  # fmt: skip
    return volume


def _ground(x: Floats, y: Floats, xs: Floats, ys: Floats, half: float) -> NDArray[np.uint8]:
    in_x = (np.abs(x[..., None] - xs) <= half).any(-1)
    in_y = (np.abs(y[..., None] - ys) <= half).any(-1)
    return np.where(in_x | in_y, Material.ROAD, Material.TERRAIN).astype(np.uint8)


def _camera_mask(
    volume: NDArray[np.uint8], cameras: tuple[RenderedCamera, ...]
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    grid = OCC3D_GRID
    seen, in_view = np.zeros(grid.shape, dtype=np.bool_), np.zeros(grid.shape, dtype=np.bool_)
    faces = occupancy.open_faces(volume, occupancy.FREE_ID)
    ego_T_voxel = np.diag([grid.voxel_size] * 3 + [1.0])
    ego_T_voxel[:3, 3] = grid.lower
    for camera in cameras:
        height, width = camera.depth.shape
        voxel_T_camera = inverse(camera.ego_T_camera) @ ego_T_voxel
        pixel_T_grid = camera.intrinsics @ voxel_T_camera[:3]
        origin = (camera.ego_T_camera[:3, 3] - grid.lower) / grid.voxel_size
        occupancy.camera_visible(volume, occupancy.FREE_ID, faces, origin, pixel_T_grid, width, height, seen)
        occupancy.mark_in_view(pixel_T_grid, width, height, in_view)
    return seen, in_view


def _lidar_mask(volume: NDArray[np.uint8], lidar: RenderedLidar, points: Floats) -> NDArray[np.bool_]:
    seen = np.zeros(OCC3D_GRID.shape, dtype=np.bool_)
    ends = (transform(lidar.ego_T_lidar, points) - OCC3D_GRID.lower) / OCC3D_GRID.voxel_size
    origin = (lidar.ego_T_lidar[:3, 3] - OCC3D_GRID.lower) / OCC3D_GRID.voxel_size
    occupancy.lidar_visible(volume, occupancy.FREE_ID, origin, ends, seen)
    return seen


def _boxes(things: list[tuple[int, Placed]], time: float, returns: Floats) -> tuple[RenderedBox, ...]:
    boxes = []
    for track, placed in things:
        low, high = (np.array(corner) for corner in extent(placed.thing))
        world_T_box = yaw_matrix(placed.yaw, (*placed.at(time), placed.base)) @ yaw_matrix(0.0, (low + high) / 2)
        length, width, height = (float(v) for v in high - low)
        velocity = (float(placed.speed * np.cos(placed.yaw)), float(placed.speed * np.sin(placed.yaw)))
        assert placed.boxed is not None
        boxes.append(RenderedBox(placed.boxed, track, world_T_box, (length, width, height), velocity, 0))
    # Two centimetres more on each side, for the noise of the ranges.
    rows = [
        (*b.world_T_box[:3, 3], *(np.array(b.size) / 2 + 0.02), b.world_T_box[0, 0], b.world_T_box[1, 0]) for b in boxes
    ]
    counts = occupancy.count_inside(returns, np.array(rows).reshape(-1, 8))
    return tuple(replace(box, lidar_points=int(count)) for box, count in zip(boxes, counts, strict=True))
