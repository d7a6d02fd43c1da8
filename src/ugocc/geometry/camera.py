"""Pinhole cameras with Brown-Conrady distortion, and fisheye cameras.

Pixel convention everywhere: the **centre** of the top-left pixel is (u, v) = (0, 0), as in OpenCV and the
nuScenes calibration. Camera axes: x right, y down, z forward.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ugocc.errors import DataError

Array = NDArray[np.float64]

FISHEYE: Final = 4
"""Number of coefficients of a fisheye lens."""
NEAR: Final = 1.0
"""Metres along the optical axis before which rays meet nothing but the own car."""


def check_intrinsics(matrix: ArrayLike, where: object, field: str) -> Array:
    """Return ``matrix`` as (3, 3) float64 intrinsics in pixels, or say why it is none.

    Raises:
        DataError: wrong shape, not finite, singular, non-positive focal length, or last row not 0 0 1.
    """
    k = np.asarray(matrix, dtype=np.float64)
    if k.shape != (3, 3) or not np.isfinite(k).all():
        raise DataError(where, field, f"shape {k.shape}, values {k.tolist()}", "a finite 3x3 camera matrix")
    if k[0, 0] <= 0 or k[1, 1] <= 0 or np.linalg.det(k[:2, :2]) <= 0:
        raise DataError(
            where,
            field,
            f"focal lengths {k[0, 0]:g}, {k[1, 1]:g}",
            "focal lengths above zero (a singular matrix has none)",
        )
    if np.abs(k[2] - (0.0, 0.0, 1.0)).max() > 1e-9:
        raise DataError(where, field, f"last row {k[2].tolist()}", "last row 0 0 1")
    return k


def resize_affine(scale_x: float, scale_y: float) -> Array:
    """(3, 3) pixel map of resizing an image by ``scale``, centres of pixels at whole numbers."""
    return np.array([[scale_x, 0, 0.5 * (scale_x - 1)], [0, scale_y, 0.5 * (scale_y - 1)], [0, 0, 1.0]])


def crop_affine(left: float, top: float) -> Array:
    """(3, 3) pixel map of cropping so that pixel (left, top) becomes (0, 0)."""
    return np.array([[1.0, 0, -left], [0, 1.0, -top], [0, 0, 1.0]])


def horizon_row(intrinsics: Array, ego_T_camera: Array) -> float | None:
    """Row of the horizon straight ahead of a camera, in pixels of its picture, which may end before; None for a camera
    that looks more than 60 degrees up or down.

    Args:
        intrinsics: (3, 3) pixels.
        ego_T_camera: (4, 4) camera axes to the ego frame, whose z is up.
    """
    rotation = ego_T_camera[:3, :3]
    ahead = np.array([rotation[0, 2], rotation[1, 2], 0.0])
    level = float(np.linalg.norm(ahead))
    if level < 0.5:
        return None
    _, down, depth = rotation.T @ ahead
    return float(intrinsics[1, 1] * down / depth + intrinsics[1, 2])


def first_row(rows: int, shown: int, horizon: float | None) -> int:
    """First of the rows of a picture that a network is shown: those at the bottom, if they show the
    horizon.

    The bottom of a tall picture is nothing but road, or the own bonnet. Where less than a 32nd of what is shown would
    lie above the horizon, a quarter does, about as much as of a picture of nuScenes.

    Args:
        rows: of the picture.
        shown: rows that the network is shown.
        horizon: row of the horizon; None if there is none.

    Returns:
        Negative where the picture has fewer rows than are shown: it stays at the bottom.
    """
    bottom = rows - shown
    if bottom <= 0 or horizon is None or horizon - bottom >= shown / 32:
        return bottom
    return min(bottom, max(0, round(horizon - shown / 4)))


def flip_affine(width: int) -> Array:
    """(3, 3) pixel map of mirroring an image of ``width`` columns."""
    return np.array([[-1.0, 0, width - 1], [0, 1.0, 0], [0, 0, 1.0]])


def rotate_affine(degrees: float, width: int, height: int) -> Array:
    """(3, 3) pixel map of turning an image anticlockwise (as seen) about its centre, same canvas."""
    a = np.deg2rad(degrees)
    c, s = np.cos(a), np.sin(a)
    cx, cy = (width - 1) / 2, (height - 1) / 2
    return np.array([[c, s, cx - c * cx - s * cy], [-s, c, cy + s * cx - c * cy], [0, 0, 1.0]])


def distorts(coefficients: ArrayLike) -> bool:
    """Whether a lens differs from an ideal pinhole: a fisheye always does, whatever its coefficients."""
    c = np.asarray(coefficients)
    return c.size == FISHEYE or bool(np.any(c))


def distort(normalised: NDArray[np.floating], coefficients: ArrayLike) -> Array:
    """Where a lens shows what an ideal pinhole shows somewhere else.

    Five coefficients are those of Brown and Conrady, four those of a fisheye, whose picture of a ray lies at a distance
    from the middle that grows with the angle to the axis and not with its tangent (Kannala and Brandt 2006, IEEE TPAMI
    28-8, equation 6).

    Args:
        normalised: (..., 2) ideal image coordinates x/z, y/z.
        coefficients: (5,) k1, k2, p1, p2, k3 in OpenCV's order, or (4,) k1, k2, k3, k4 of its fisheye model.

    Returns:
        (..., 2) distorted normalised coordinates.
    """
    c = np.asarray(coefficients, dtype=np.float64)
    points = np.asarray(normalised, dtype=np.float64)
    if c.size == FISHEYE:
        radius = np.linalg.norm(points, axis=-1, keepdims=True)
        angle = np.arctan(radius)
        bent = angle * _even_polynomial(angle, c)
        return points * np.divide(bent, radius, out=np.ones_like(radius), where=radius > 0)
    k1, k2, p1, p2, k3 = c
    x, y = points[..., 0], points[..., 1]
    r2 = x * x + y * y
    radial = 1 + r2 * (k1 + r2 * (k2 + r2 * k3))
    xd = x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x * x)
    yd = y * radial + p1 * (r2 + 2 * y * y) + 2 * p2 * x * y
    return np.stack([xd, yd], axis=-1)


def undistort(distorted: NDArray[np.floating], coefficients: ArrayLike, iterations: int = 20) -> Array:
    """Inverse of :func:`distort`, (..., 2) to (..., 2): fixed points, or Newton's steps for a fisheye.

    What a fisheye shows at or beyond a right angle to its axis, no pinhole shows: NaN.
    """
    target = np.asarray(distorted, dtype=np.float64)
    c = np.asarray(coefficients, dtype=np.float64)
    if c.size == FISHEYE:
        bent = np.linalg.norm(target, axis=-1, keepdims=True)
        angle = bent.copy()
        for _ in range(iterations):
            slope = _even_polynomial(angle, c * (3, 5, 7, 9))
            angle -= (angle * _even_polynomial(angle, c) - bent) / slope
        radius = np.where(np.abs(angle) < np.pi / 2, np.tan(angle), np.nan)
        return target * np.divide(radius, bent, out=np.ones_like(bent), where=bent > 0)
    estimate = target.copy()
    for _ in range(iterations):
        estimate = estimate + target - distort(estimate, c)
    return estimate


def _even_polynomial(x: Array, coefficients: Array) -> Array:
    """1 + c1 x^2 + c2 x^4 + ..."""
    square, total = x * x, np.zeros_like(x)
    for c in coefficients[::-1]:
        total = square * (c + total)
    return 1 + total


def project(
    points: NDArray[np.floating], intrinsics: Array, distortion: ArrayLike | None = None
) -> tuple[Array, Array]:
    """Project points of the camera frame.

    Args:
        points: (..., 3) metres, camera axes.
        intrinsics: (3, 3) pixels.
        distortion: of :func:`distort`, or None for an ideal pinhole. Points outside the field the polynomial was
            fitted on (radius beyond which it folds back) come out as NaN pixels.

    Returns:
        pixels (..., 2) and depth along the optical axis (...,) in metres. Pixels of points at or behind the
        camera (depth <= 0) are NaN.
    """
    p = np.asarray(points, dtype=np.float64)
    depth = p[..., 2]
    safe = np.where(depth > 1e-6, depth, np.nan)
    normalised = p[..., :2] / safe[..., None]
    if distortion is not None and distorts(distortion):
        limit = distortion_limit(distortion)
        folded = np.linalg.norm(normalised, axis=-1) > limit
        normalised = np.where(folded[..., None], np.nan, distort(normalised, distortion))
    pixels = normalised @ intrinsics[:2, :2].T + intrinsics[:2, 2]
    return pixels, depth


def distortion_limit(coefficients: ArrayLike, largest: float = 10.0) -> float:
    """Normalised radius up to which radial distortion grows monotonically (beyond it, images fold over)."""
    c = np.asarray(coefficients, dtype=np.float64)
    if c.size == FISHEYE:
        angle = _first_turn([9 * c[3], 7 * c[2], 5 * c[1], 3 * c[0], 1.0])
        return min(float(np.tan(angle)), largest) if angle < np.pi / 2 else largest
    k1, k2, _, _, k3 = c
    # d/dr of r (1 + k1 r^2 + k2 r^4 + k3 r^6) as a polynomial in r^2.
    turn = _first_turn([7 * k3, 5 * k2, 3 * k1, 1.0])
    return turn if np.isfinite(turn) else largest


def _first_turn(slope: list[float]) -> float:
    """The lowest x above 0 at which a polynomial in x^2, highest power first, is zero; infinite if there is none."""
    roots = np.roots(slope)
    real = roots[np.isreal(roots)].real
    positive = real[real > 0]
    return float(np.sqrt(positive.min())) if positive.size else np.inf


def pixel_rays(width: int, height: int, intrinsics: Array) -> Array:
    """Directions (height, width, 3) with z = 1 through every pixel centre, camera axes."""
    u, v = np.meshgrid(np.arange(width, dtype=np.float64), np.arange(height, dtype=np.float64))
    homogeneous = np.stack([u, v, np.ones_like(u)], axis=-1)
    return homogeneous @ np.linalg.inv(intrinsics).T
