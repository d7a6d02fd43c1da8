"""What the viewer is told once: names and colours of classes, axes, the own car, and which view stands where."""

from __future__ import annotations

from collections.abc import Sequence

import rerun as rr
import rerun.blueprint as rrb

from ugocc.labels import CLASSES, PALETTE, UNKNOWN
from ugocc.viz.car import BOXES
from ugocc.viz.viewer import paths

PICTURES_PER_SECOND = 4.0
"""When the viewer plays the frames."""


def log_once(recording: rr.RecordingStream) -> None:
    """Log what does not change over time."""
    classes = [
        rr.AnnotationInfo(id=i, label=name, color=[*colour.tolist(), 255])
        for i, (name, colour) in enumerate(zip(CLASSES, PALETTE, strict=True))
    ]
    unknown = rr.AnnotationInfo(id=UNKNOWN, label="unknown", color=(0, 0, 0, 0))
    recording.log(
        paths.WORLD, rr.AnnotationContext([*classes, unknown]), rr.ViewCoordinates.RIGHT_HAND_Z_UP, static=True
    )
    recording.log(paths.EGO, rr.ViewCoordinates.FLU, static=True)
    lower, upper, colours = zip(*BOXES, strict=True)
    sizes = [[high - low for low, high in zip(*corners, strict=True)] for corners in zip(lower, upper, strict=True)]
    solid = rr.components.FillMode.Solid
    recording.log(paths.CAR, rr.Boxes3D(mins=lower, sizes=sizes, colors=colours, fill_mode=solid), static=True)


def layout(cameras: Sequence[str], volumes: Sequence[str], entities: Sequence[str]) -> rrb.Blueprint:
    """A 3D view of every volume beside the pictures of the cameras.

    Args:
        cameras: names on the rig, in its order.
        volumes: ``TRUTH``, ``PREDICTION``, both or none.
        entities: paths that a frame has.
    """
    titles = {paths.TRUTH: "Truth", paths.PREDICTION: "Prediction"}
    scenes = [_scene(titles[path], cameras, [other for other in titles if other != path]) for path in volumes]
    tabs = [_pictures("Cameras", cameras, (paths.IMAGE, paths.SEMANTICS), (paths.BOXES, paths.LIDAR))]
    for name, below in (("Lidar depth", paths.LIDAR_DEPTH), ("Predicted depth", paths.PREDICTED_DEPTH)):
        if any(paths.camera_path(camera, below) in entities for camera in cameras):
            tabs.append(_pictures(name, cameras, (below,)))
    return rrb.Blueprint(
        rrb.Horizontal(
            rrb.Vertical(*(scenes or [_scene("Scene", cameras)])),
            rrb.Tabs(*tabs, rrb.TextLogView(name="Frames", origin=paths.FRAMES)),
        ),
        rrb.SelectionPanel(state="collapsed"),
        rrb.TimePanel(timeline=paths.FRAME, fps=PICTURES_PER_SECOND),
    )


def _scene(name: str, cameras: Sequence[str], without: Sequence[str] = ()) -> rrb.Spatial3DView:
    """Everything in 3D, seen from behind the car, but some entities and the depth images, which would be points."""
    depth = [paths.camera_path(camera, "depth") for camera in cameras]
    eye = rrb.EyeControls3D(position=(-24.0, 0.0, 16.0), look_target=(6.0, 0.0, 0.0), eye_up=(0.0, 0.0, 1.0))
    return rrb.Spatial3DView(
        name=name,
        origin=paths.EGO,
        contents=[f"+ /{paths.WORLD}/**", *(f"- /{path}/**" for path in (*without, *depth))],
        eye_controls=eye,
    )


def _pictures(name: str, cameras: Sequence[str], below: Sequence[str], over: Sequence[str] = ()) -> rrb.Grid:
    """The cameras side by side, with entities of the ego frame drawn over them."""
    views = [
        rrb.Spatial2DView(
            name=camera,
            origin=paths.camera_path(camera),
            contents=[*(f"+ /{paths.camera_path(camera, part)}" for part in below), *(f"+ /{path}" for path in over)],
        )
        for camera in cameras
    ]
    return rrb.Grid(*views, name=name)
