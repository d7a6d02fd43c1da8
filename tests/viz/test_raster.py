from __future__ import annotations

import numpy as np

from ugocc.viz.raster import fill_quads


def naive(corners: np.ndarray, width: int, height: int) -> np.ndarray:
    """Pixel by pixel: inside where the centre is on the same side of all four edges."""
    out = np.full((height, width), -1)
    for index, quad in enumerate(corners.astype(np.float64)):
        for row in range(height):
            for column in range(width):
                sides = [
                    (b[0] - a[0]) * (row - a[1]) - (b[1] - a[1]) * (column - a[0])
                    for a, b in zip(quad, np.roll(quad, -1, axis=0), strict=True)
                ]
                if min(sides) > 0 or max(sides) < 0:
                    out[row, column] = index
    return out


def test_equals_testing_every_pixel() -> None:
    rng = np.random.default_rng(0)
    for _ in range(5):
        # Convex quadrilaterals in both orientations, some over the border: turned and sheared squares.
        square = np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)], dtype=np.float64)
        shapes = rng.normal(size=(12, 2, 2)) * rng.uniform(1, 6, size=(12, 1, 1))
        corners = (square @ shapes + rng.uniform(-3, 27, size=(12, 1, 2))).astype(np.float32)
        assert np.array_equal(fill_quads(corners, 24, 20), naive(corners, 24, 20))


def test_neighbours_leave_neither_gap_nor_overlap() -> None:
    rng = np.random.default_rng(1)
    x, y = np.meshgrid(np.linspace(0, 20, 6), np.linspace(0, 20, 6))
    x[1:-1, 1:-1] += rng.uniform(-1.5, 1.5, (4, 4))
    y[1:-1, 1:-1] += rng.uniform(-1.5, 1.5, (4, 4))
    points = np.stack([x, y], axis=-1)
    ring = [points[:-1, :-1], points[:-1, 1:], points[1:, 1:], points[1:, :-1]]
    mesh = np.stack(ring, axis=2).reshape(-1, 4, 2).astype(np.float32)
    forth, back = fill_quads(mesh, 20, 20), fill_quads(mesh[::-1], 20, 20)
    assert (forth >= 0).all()
    assert np.array_equal(forth, len(mesh) - 1 - back)  # no pixel depends on the order


def test_later_ones_lie_on_top_and_nothing_is_nothing() -> None:
    square = np.array([[(1, 1), (5, 1), (5, 5), (1, 5)]], dtype=np.float32)
    picture = fill_quads(np.concatenate([square, square + 2]), 8, 8)
    assert picture[2, 2] == 0
    assert picture[4, 4] == 1
    assert picture[0, 0] == -1
    assert (fill_quads(np.zeros((0, 4, 2), np.float32), 4, 3) == -1).all()
    assert (fill_quads(square + 100, 4, 3) == -1).all()
