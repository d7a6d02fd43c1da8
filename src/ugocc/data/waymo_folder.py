"""Names in a folder of the Waymo Open Dataset v2."""

from __future__ import annotations

from typing import Final

SPLITS: Final = {"train": "training", "val": "validation", "test": "testing"}
"""Names of the splits here and on disk."""
REQUIRED: Final = ("camera_image", "camera_calibration", "vehicle_pose")
"""Components without which there is no frame."""
