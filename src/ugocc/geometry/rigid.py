"""Rigid transforms as 4x4 matrices in float64. ``a_T_b`` maps points of frame b to frame a."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ugocc.errors import DataError

Matrix = NDArray[np.float64]


def check_rigid(matrix: ArrayLike, where: object, field: str, tolerance: float = 1e-3) -> Matrix:
    """Return ``matrix`` as a (4, 4) float64 rigid transform, or say why it is none.

    Args:
        matrix: 4x4 candidate, translation in metres.
        where: file it came from, for the message.
        field: its name there.
        tolerance: largest deviation of R R^T from the identity (float32 and JSON round-off pass).

    Raises:
        DataError: wrong shape, not finite, not orthonormal, mirrored, or last row not 0 0 0 1.
    """
    array = np.asarray(matrix, dtype=np.float64)
    if array.shape != (4, 4):
        raise DataError(where, field, f"shape {array.shape}", "a 4x4 rigid transform")
    if not np.isfinite(array).all():
        raise DataError(where, field, "a value that is not finite", "a 4x4 rigid transform")
    if np.abs(array[3] - (0.0, 0.0, 0.0, 1.0)).max() > tolerance:
        raise DataError(where, field, f"last row {array[3].tolist()}", "last row 0 0 0 1")
    rotation = array[:3, :3]
    deviation = float(np.abs(rotation @ rotation.T - np.eye(3)).max())
    if deviation > tolerance or np.linalg.det(rotation) < 0:
        raise DataError(
            where,
            field,
            f"a non-rigid matrix (|R R^T - 1| = {deviation:.3g}, det R = {np.linalg.det(rotation):.3g})",
            "an orthonormal, right-handed rotation",
        )
    return array


def are_rigid(matrices: Matrix, tolerance: float = 1e-3) -> bool:
    """Whether all of (N, 4, 4) would pass :func:`check_rigid`, much faster than one by one."""
    if not np.isfinite(matrices).all():
        return False
    rotations = matrices[:, :3, :3]
    orthonormal = np.abs(rotations @ rotations.swapaxes(1, 2) - np.eye(3)) <= tolerance
    last = np.abs(matrices[:, 3] - (0.0, 0.0, 0.0, 1.0)) <= tolerance
    return bool(orthonormal.all() and last.all() and (np.linalg.det(rotations) >= 0).all())


def inverse(a_T_b: Matrix) -> Matrix:
    """b_T_a of rigid a_T_b, shapes (..., 4, 4)."""
    rotation = np.swapaxes(a_T_b[..., :3, :3], -1, -2)
    out = np.zeros_like(a_T_b)
    out[..., :3, :3] = rotation
    out[..., :3, 3] = -np.einsum("...ij,...j->...i", rotation, a_T_b[..., :3, 3])
    out[..., 3, 3] = 1.0
    return out


def from_rotation_translation(rotation: ArrayLike, translation: ArrayLike) -> Matrix:
    """(4, 4) from a 3x3 rotation and a translation of 3 metres."""
    out = np.eye(4)
    out[:3, :3] = rotation
    out[:3, 3] = translation
    return out


def from_quaternion(
    wxyz: ArrayLike, translation: ArrayLike, where: object = "quaternion", field: str = "rotation"
) -> Matrix:
    """(4, 4) from a quaternion in nuScenes' order (w, x, y, z), normalised here, and a translation in metres.

    Raises:
        DataError: not four finite numbers, or a norm further than 1 % from one.
    """
    q = np.asarray(wxyz, dtype=np.float64)
    norm = float(np.linalg.norm(q)) if q.shape == (4,) else float("nan")
    if not abs(norm - 1.0) <= 0.01:
        raise DataError(where, field, f"{q.tolist()} (norm {norm:.4g})", "a unit quaternion (w, x, y, z)")
    w, x, y, z = q / norm
    rotation = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ]
    return from_rotation_translation(rotation, translation)


def normalised(wxyz: Matrix) -> Matrix:
    """Quaternions (N, 4) of length one."""
    w, x, y, z = wxyz.T
    return wxyz / np.sqrt(x * x + y * y + z * z + w * w)[:, None]


def quaternion_product(a_Q_b: Matrix, b_Q_c: Matrix) -> Matrix:
    """a_Q_c, quaternions (N, 4) w, x, y, z."""
    (pw, px, py, pz), (qw, qx, qy, qz) = a_Q_b.T, b_Q_c.T
    return np.stack(
        [
            pw * qw - px * qx - py * qy - pz * qz,
            pw * qx + qw * px + (py * qz - pz * qy),
            pw * qy + qw * py + (pz * qx - px * qz),
            pw * qz + qw * pz + (px * qy - py * qx),
        ],
        axis=1,
    )


def rotation_matrices(wxyz: Matrix) -> Matrix:
    """(N, 3, 3) of unit quaternions (N, 4) w, x, y, z."""
    w, x, y, z = wxyz.T
    rows = [
        *(x * x - y * y - z * z + w * w, 2 * (x * y - z * w), 2 * (x * z + y * w)),
        *(2 * (x * y + z * w), -x * x + y * y - z * z + w * w, 2 * (y * z - x * w)),
        *(2 * (x * z - y * w), 2 * (y * z + x * w), -x * x - y * y + z * z + w * w),
    ]
    return np.stack(rows, axis=1).reshape(-1, 3, 3)


def to_quaternion(a_T_b: Matrix) -> NDArray[np.float64]:
    """Unit quaternion (w, x, y, z), w >= 0, of the rotation of a (4, 4) rigid transform."""
    r = a_T_b[:3, :3]
    # Eigenvector form (Bar-Itzhack 2000, "New method for extracting the quaternion from a rotation matrix").
    k = np.array(
        [
            [r[0, 0] - r[1, 1] - r[2, 2], 0, 0, 0],
            [r[1, 0] + r[0, 1], r[1, 1] - r[0, 0] - r[2, 2], 0, 0],
            [r[2, 0] + r[0, 2], r[2, 1] + r[1, 2], r[2, 2] - r[0, 0] - r[1, 1], 0],
            [r[2, 1] - r[1, 2], r[0, 2] - r[2, 0], r[1, 0] - r[0, 1], np.trace(r)],
        ]
    )
    x, y, z, w = np.linalg.eigh(k / 3.0)[1][:, -1]
    q = np.array([w, x, y, z])
    return -q if w < 0 else q


def yaw_of(a_T_b: Matrix) -> float:
    """Heading of b's x axis in a's horizontal plane, in radians, anticlockwise from a's x axis."""
    return float(np.arctan2(a_T_b[1, 0], a_T_b[0, 0]))


def yaw_matrix(yaw: float, translation: ArrayLike = (0.0, 0.0, 0.0)) -> Matrix:
    """(4, 4) turning by ``yaw`` radians about z, then moving by ``translation`` metres."""
    c, s = np.cos(yaw), np.sin(yaw)
    return from_rotation_translation([[c, -s, 0], [s, c, 0], [0, 0, 1]], translation)


def transform(a_T_b: Matrix, points: NDArray[np.floating]) -> Matrix:
    """Points (..., 3) of frame b in frame a, float64."""
    return np.asarray(points, dtype=np.float64) @ a_T_b[:3, :3].T + a_T_b[:3, 3]


def camera_to_key_ego(world_T_key: Matrix, world_T_ego_at_image: Matrix, ego_T_camera: Matrix) -> Matrix:
    """key_T_camera: the camera in the ego frame of the key timestamp (inverse(E_key) E_cam S_cam)."""
    return inverse(world_T_key) @ world_T_ego_at_image @ ego_T_camera


# The optical axes (x right, y down, z forward) in a body frame with x forward, y left, z up.
BODY_T_OPTICAL: Matrix = np.array(
    [[0.0, 0.0, 1.0, 0.0], [-1.0, 0.0, 0.0, 0.0], [0.0, -1.0, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0]]
)
