"""The verb ``view``: pictures of the frames of a fleet as its files hold them, before anything is learned."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from PIL import Image

from ugocc.data.frame import CameraView, Frame
from ugocc.data.source import open_fleet
from ugocc.errors import check_least
from ugocc.geometry.camera import project
from ugocc.geometry.rigid import Matrix, inverse, transform
from ugocc.output import check_writable
from ugocc.progress import follow
from ugocc.viz.canvas import Picture, write_picture
from ugocc.viz.film import check_film, film_name, of_one_size, write_film
from ugocc.viz.overlay import draw_boxes, draw_points, draw_semantics
from ugocc.viz.pictures import SEEN, frame_picture


@dataclass(frozen=True)
class ViewSettings:
    """Pictures of a fleet."""

    root: Path = Path("data/embedded/six")
    """Folder of the fleet: nuScenes, Waymo v2 or own-fleet layout."""
    split: str = "train"
    """Scenes to show."""
    name: str | None = None
    """Name of the fleet in titles, and the one whose batch-norm statistics a checkpoint uses if it has any; by default
    the folder's."""
    every: int = 1
    """Take every n-th frame."""
    limit: int = 8
    """Show only the first frames; 0 shows all."""
    out: Path = Path("runs/view")
    """Folder for <token>.png."""
    lidar: bool = True
    """Draw lidar points, warm near and cold far."""
    boxes: bool = True
    """Draw annotated objects."""
    semantics: bool = False
    """Lay 2D labels over the images."""
    masked: bool = False
    """Hide the voxels of the label that no camera sees."""
    film: str = "none"
    """Film of the pictures: mp4 (needs the extra film), gif, webp (both thinned beyond 200 pictures), or none."""
    rerun: str | None = None
    """Show the frames over time in the rerun viewer (needs the extra rerun) instead of drawing pictures: live opens it,
    a file .rrd is written for later, an address such as rerun+http://127.0.0.1:9876/proxy is a viewer that runs."""
    predictions: Path | None = None
    """Folder of <token>.npz that ``ugocc predict`` wrote (its volumes/), for the rerun viewer."""
    checkpoint: Path | None = None
    """Model that predicts volumes and depth for the rerun viewer, named as for ``ugocc predict``."""
    device: str | None = None
    """Of the checkpoint: cpu, cuda or mps; by default cuda where there is one, else cpu."""
    statistics: int = 32
    """Frames of the recordings that the checkpoint's batch-norm statistics are taken of where it has none of a fleet of
    this name, as ``ugocc predict`` does; 0 keeps those it came with."""
    width: int = 704
    """Columns of the pictures in the rerun viewer; wider ones are scaled down."""

    def __post_init__(self) -> None:
        check_least("view", 0, "a number of frames, or 0 for all", limit=self.limit)
        check_least("view", 0, "a number of frames, or 0 for none", statistics=self.statistics)
        check_least("view", 1, "a number of pixels", width=self.width)


def view_fleet(settings: ViewSettings) -> None:
    """Write one picture per frame, and a film if asked."""
    if settings.film != "none":
        check_film(settings.out / f"film.{settings.film}")
    check_writable(settings.out)
    frames = open_fleet(settings.root, settings.split, settings.name, settings.every)
    count = min(settings.limit or len(frames), len(frames))
    pictures = []
    for frame in follow(islice(iter(frames), count), f"view {frames.fleet}", total=count):
        pictures.append(write_picture(settings.out / f"{frame.token}.png", picture_of_frame(frame, settings)))
    if settings.film != "none" and pictures:
        name = f"{film_name(frames.fleet)}-{settings.split}.{settings.film}"
        write_film(of_one_size(_read(pictures)), settings.out / name)
    print(f"{count} of {len(frames)} frames of {frames.fleet} ({settings.split}): {settings.out}")


def picture_of_frame(frame: Frame, settings: ViewSettings) -> Picture:
    """(rows, columns, 3) RGB: the cameras with what is known about them, and the occupancy label if there is one."""
    points = _ego_points(frame) if settings.lidar else None
    images = [(camera.name, _camera_picture(frame, camera, points, settings)) for camera in frame.cameras]
    volumes, mask = [], None
    if frame.occupancy is not None:
        label = frame.occupancy()
        volumes = [("label", label.semantics)]
        mask = label.camera_mask if settings.masked else None
    note = SEEN if mask is not None else ""
    title = f"{frame.fleet}  {frame.scene}"
    return frame_picture(images, volumes, frame.occupancy_grid, title, note, mask)


def _camera_picture(frame: Frame, camera: CameraView, points: Matrix | None, settings: ViewSettings) -> Picture:
    picture = camera.image()
    ego_T_camera = frame.ego_T_camera(camera)
    if settings.semantics and camera.semantics is not None:
        picture = draw_semantics(camera.semantics(), picture)
    if points is not None:
        pixels, depth = project(transform(inverse(ego_T_camera), points), camera.intrinsics, camera.distortion)
        picture = draw_points(picture, pixels, depth)
    if settings.boxes:
        picture = draw_boxes(picture, frame.boxes, ego_T_camera, camera.intrinsics, camera.distortion)
    return picture


def _ego_points(frame: Frame) -> Matrix | None:
    """(n, 3) points of the key sweep in the key ego frame."""
    if frame.lidar is None:
        return None
    return transform(frame.ego_T_lidar(frame.lidar), frame.lidar.points()[:, :3])


def _read(paths: list[Path]) -> Iterator[Picture]:
    for path in paths:
        with Image.open(path) as image:
            yield np.array(image)
