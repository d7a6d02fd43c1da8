from __future__ import annotations

import numpy as np

from ugocc.data.town.tracer import BOX, CYLINDER, ELLIPSOID, PRIMITIVE, World, build_world, ground_material, trace

FAR = 100.0


def _random_world(rng: np.random.Generator, count: int) -> tuple[np.ndarray, World]:
    primitives = np.zeros(count, dtype=PRIMITIVE)
    primitives["kind"] = rng.integers(0, 3, count)
    primitives["material"] = np.arange(count)
    primitives["centre"] = rng.uniform((-18, -18, 0.5), (18, 18, 5), (count, 3))
    primitives["half"] = rng.uniform(0.2, 2.5, (count, 3))
    yaw = rng.uniform(0, 2 * np.pi, count)
    primitives["cos"], primitives["sin"] = np.cos(yaw), np.sin(yaw)
    return primitives, build_world(primitives, np.array([-40.0, -40.0]), 20, np.zeros(0), np.zeros(0), 5.0)


def _marched(primitives: np.ndarray, origin: np.ndarray, direction: np.ndarray, step: float) -> tuple[float, int]:
    """Walk along the ray in small steps until a point lies inside something (no shared code with the tracer)."""
    t = np.arange(step, FAR, step)
    points = origin + t[:, None] * direction
    first, found = FAR, -2
    below = np.flatnonzero(points[:, 2] < 0)
    if below.size:
        first, found = t[below[0]], -1
    for p, row in enumerate(primitives):
        x, y, z = (points - row["centre"]).T
        u = (row["cos"] * x + row["sin"] * y) / row["half"][0]
        v = (row["cos"] * y - row["sin"] * x) / row["half"][1]
        w = z / row["half"][2]
        inside = {
            BOX: (abs(u) <= 1) & (abs(v) <= 1) & (abs(w) <= 1),
            ELLIPSOID: u * u + v * v + w * w <= 1,
            CYLINDER: (u * u + v * v <= 1) & (abs(w) <= 1),
        }[int(row["kind"])]
        hits = np.flatnonzero(inside)
        if hits.size and t[hits[0]] < first:
            first, found = t[hits[0]], p
    return first, found


def test_the_first_hit_is_the_one_that_marching_finds() -> None:
    rng = np.random.default_rng(0)
    primitives, world = _random_world(rng, 24)
    stamps, normal, step = np.full(24, -1, np.int64), np.zeros(3), 4e-3
    kinds = set()
    for stamp in range(120):
        # Primitives have backs that are not hit, so rays start outside everything.
        origin = np.array([rng.uniform(-30, 30), 35.0, rng.uniform(1, 8)])
        towards = rng.uniform((-18, -18, -2), (18, 18, 5)) - origin
        direction = towards / np.linalg.norm(towards)
        t, found = trace(world, stamps, stamp, origin, direction, FAR, normal)
        expected, who = _marched(primitives, origin, direction, step)
        # A graze shorter than the step is invisible to marching.
        if found != who:
            assert t < expected
            continue
        kinds.add(found if found < 0 else int(primitives["kind"][found]))
        if found != -2:
            assert abs(t - expected) <= 2 * step
            assert abs(np.linalg.norm(normal) - 1) < 1e-6
            assert normal @ direction < 1e-6
    assert kinds == {-2, -1, BOX, ELLIPSOID, CYLINDER}


def test_nothing_shadows_a_ray_to_the_sky() -> None:
    primitives, world = _random_world(np.random.default_rng(1), 6)
    above = np.array([0.0, 0.0, 30.0])
    t, found = trace(world, np.full(6, -1, np.int64), 0, above, np.array([0.1, 0.2, 1.0]), FAR, np.zeros(3))
    assert (t, found) == (FAR, -2)
    assert len(primitives) == 6


def test_streets_are_roads_with_markings_between_terrain() -> None:
    xs, ys = np.array([0.0]), np.array([50.0])
    assert ground_material(30.0, 0.0, xs, ys, 6.0) == 3
    assert ground_material(3.0, 0.0, xs, ys, 6.0) == 0
    assert ground_material(30.0, 52.0, xs, ys, 6.0) == 0
    assert ground_material(2.0, 50.0, xs, ys, 6.0) == 0
    across = {ground_material(x, 41.5, xs, ys, 6.0) for x in np.arange(-5.5, 5.5, 0.1)}
    assert across == {0, 1}, "a crosswalk has stripes"
    along = {ground_material(0.0, y, xs, ys, 6.0) for y in np.arange(-30, 30, 0.3)}
    assert along == {0, 1}, "the centre line is dashed"
