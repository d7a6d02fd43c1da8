"""Names of what the viewer holds: the tree of docs/viewer.md."""

from __future__ import annotations

from typing import Final

import rerun as rr

from ugocc.labels import CLASSES

WORLD: Final = "world"
EGO: Final = "world/ego"
CAR: Final = "world/ego/car"
LIDAR: Final = "world/ego/lidar"
BOXES: Final = "world/ego/boxes"
TRUTH: Final = "world/ego/occupancy/truth"
PREDICTION: Final = "world/ego/occupancy/prediction"
FRAMES: Final = "frames"

IMAGE, SEMANTICS, LIDAR_DEPTH, PREDICTED_DEPTH = "image", "semantics", "depth/lidar", "depth/prediction"
"""Below the path of a camera."""

TIME, FRAME = "time", "frame"
"""Timelines: the recording's own clock, and the number of the frame."""


def camera_path(name: str, below: str = "") -> str:
    """Path of a camera by its name on the rig, or of something below it."""
    path = f"{EGO}/camera/{rr.escape_entity_path_part(name)}"
    return f"{path}/{below}" if below else path


def class_path(volume: str, label: int) -> str:
    """Path of the voxels of one class of a volume, ``TRUTH`` or ``PREDICTION``."""
    return f"{volume}/{rr.escape_entity_path_part(CLASSES[label])}"
