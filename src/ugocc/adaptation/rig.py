"""Rigs that source frames are re-rendered for: the target's, jittered ones, turned ones."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ugocc.data.batch import Batch
from ugocc.data.frame import Frame
from ugocc.errors import DataError
from ugocc.geometry.camera import crop_affine, first_row, horizon_row, resize_affine
from ugocc.geometry.rigid import yaw_matrix

Matrices = NDArray[np.float64]


@dataclass(frozen=True)
class VirtualRig:
    """M pinhole cameras of one image size on a vehicle."""

    intrinsics: Matrices
    """(M, 3, 3) pixels of images of ``height`` x ``width``, centre of the top-left pixel at (0, 0)."""
    ego_T_camera: Matrices
    """(M, 4, 4) camera axes (x right, y down, z forward) to the key ego frame."""
    height: int
    """Rows."""
    width: int
    """Columns."""

    def __post_init__(self) -> None:
        count = len(self.intrinsics)
        if self.intrinsics.shape != (count, 3, 3) or self.ego_T_camera.shape != (count, 4, 4) or not count:
            found = f"shapes {self.intrinsics.shape} and {self.ego_T_camera.shape}"
            raise DataError("VirtualRig", "intrinsics, ego_T_camera", found, "(M, 3, 3) and (M, 4, 4), M at least 1")

    def __len__(self) -> int:
        return len(self.intrinsics)


@dataclass(frozen=True)
class RandomRigSettings:
    """Ranges that random rigs are drawn from, about a given rig."""

    focal: tuple[float, float] = (0.8, 1.25)
    """Factor on the focal length, one draw (uniform in its logarithm) for the rig."""
    lift: tuple[float, float] = (-0.3, 0.7)
    """Metres the cameras are raised by, one draw for the rig."""
    shift: float = 0.3
    """Largest move of each camera along x and along y, in metres."""
    move: float = 1.5
    """Largest move of the rig as a whole along x and along y, in metres. A fleet keeps to the middle of its lanes; seen
    from elsewhere in the road, kerbs and walls are in other places of the pictures."""
    yaw_degrees: float = 8.0
    """Largest turn of each camera about the vertical through it, either way."""
    pitch_degrees: float = 2.0
    """Largest tilt of each camera up or down."""
    turn: float = 0.5
    """Probability of turning the whole rig by any angle (see :func:`turned`)."""


def rig_of(batch: Batch, sample: int = 0) -> VirtualRig:
    """The cameras of one sample of a batch, as its network images see."""
    real = batch.camera_mask[sample].cpu()
    pixel = batch.image_affine[sample].double() @ batch.intrinsics[sample].double()
    return VirtualRig(
        pixel.cpu()[real].numpy(),
        batch.ego_T_camera[sample].double().cpu()[real].numpy(),
        batch.images.shape[-2],
        batch.images.shape[-1],
    )


def rig_of_frame(frame: Frame, height: int, width: int) -> VirtualRig:
    """The undistorted cameras of a frame at a network's size: scaled to ``width``, ``height`` rows of them.

    Reads nothing but the calibration.
    """
    intrinsics, poses = [], []
    for view in frame.cameras:
        rows = max(1, round(view.height * width / view.width))
        resized = resize_affine(width / view.width, rows / view.height)
        scaled, pose = resized @ view.intrinsics, frame.ego_T_camera(view)
        intrinsics.append(crop_affine(0, first_row(rows, height, horizon_row(scaled, pose))) @ scaled)
        poses.append(pose)
    if not intrinsics:
        raise DataError(frame.token, "cameras", "none", "at least one camera")
    return VirtualRig(np.stack(intrinsics), np.stack(poses), height, width)


def turned(rig: VirtualRig, yaw: float) -> VirtualRig:
    """The rig turned by ``yaw`` radians (anticlockwise from above) about the vertical through its middle.

    The ego frame stays where it is, so labels stay valid: what was to the left of the vehicle still is.
    """
    middle = np.append(rig.ego_T_camera[:, :2, 3].mean(axis=0), 0.0)
    turn = yaw_matrix(0.0, middle) @ yaw_matrix(yaw) @ yaw_matrix(0.0, -middle)
    return replace(rig, ego_T_camera=turn @ rig.ego_T_camera)


def random_rig(rig: VirtualRig, rng: np.random.Generator, settings: RandomRigSettings | None = None) -> VirtualRig:
    """A rig near ``rig``: other focal length, height, places, directions.

    Focal lengths change about the principal point.
    """
    s = settings or RandomRigSettings()
    factor = float(np.exp(rng.uniform(np.log(s.focal[0]), np.log(s.focal[1]))))
    move_x, move_y, lift = *rng.uniform(-s.move, s.move, 2), rng.uniform(*s.lift)
    intrinsics, poses = rig.intrinsics.copy(), rig.ego_T_camera.copy()
    intrinsics[:, :2, :2] *= factor
    for pose in poses:
        yaw = np.deg2rad(rng.uniform(-s.yaw_degrees, s.yaw_degrees))
        pitch = np.deg2rad(rng.uniform(-s.pitch_degrees, s.pitch_degrees))
        # Tilting turns about the camera's own x axis, turning about the vertical.
        tilt = np.array([[1, 0, 0], [0, np.cos(pitch), -np.sin(pitch)], [0, np.sin(pitch), np.cos(pitch)]])
        pose[:3, :3] = yaw_matrix(yaw)[:3, :3] @ pose[:3, :3] @ tilt
        shift_x, shift_y = rng.uniform(-s.shift, s.shift, 2)
        pose[:3, 3] += (move_x + shift_x, move_y + shift_y, lift)
    jittered = replace(rig, intrinsics=intrinsics, ego_T_camera=poses)
    return turned(jittered, rng.uniform(-np.pi, np.pi)) if rng.random() < s.turn else jittered
