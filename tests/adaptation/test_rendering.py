from __future__ import annotations

import numpy as np
import pytest
import torch

from ugocc.adaptation.rendering import (
    Rays,
    RenderSettings,
    Targets,
    draw_rays,
    pixel_rays,
    render,
    render_loss,
    sample_volume,
    seen_labels,
)
from ugocc.adaptation.views import Evidence, Views, cell_pixels
from ugocc.errors import DataError
from ugocc.geometry.camera import pixel_rays as pixel_rays_numpy
from ugocc.geometry.camera import resize_affine
from ugocc.geometry.grid import VoxelGrid
from ugocc.geometry.rigid import BODY_T_OPTICAL, yaw_matrix
from ugocc.labels import BUILDING, DRIVABLE, FREE, UNKNOWN, VEHICLE

GRID = VoxelGrid((-8.0, -8.0, -1.0), (40, 40, 12), 0.4)
SMALL = VoxelGrid((-1.2, -1.6, -0.8), (6, 8, 4), 0.4)


def random_volume(seed: int, grid: VoxelGrid, samples: int = 1, dtype=torch.float64) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 2 * torch.randn(samples, 10, *grid.shape, generator=generator, dtype=dtype)


def hard(labels: np.ndarray) -> torch.Tensor:
    """(1, 10, X, Y, Z) one-hot probabilities."""
    return torch.nn.functional.one_hot(torch.from_numpy(labels).long(), 10).permute(3, 0, 1, 2)[None].float()


def looking(yaws: list[float], height: float = 1.5, focal: float = 60.0, rows: int = 64, columns: int = 128) -> Views:
    k = torch.tensor([[focal, 0, (columns - 1) / 2], [0, focal, (rows - 1) / 2], [0, 0, 1]])
    poses = np.stack([yaw_matrix(np.deg2rad(yaw), (0.03, 0.02, height)) @ BODY_T_OPTICAL for yaw in yaws])
    n = len(yaws)
    return Views(
        torch.ones(1, n, dtype=torch.bool),
        k.expand(1, n, 3, 3),
        torch.from_numpy(poses).float()[None],
        torch.ones(1, n, rows, columns, dtype=torch.bool),
    )


def test_value_at_a_centre_is_that_voxels():
    volume = random_volume(0, SMALL)
    points = torch.from_numpy(SMALL.centres())[None]
    torch.testing.assert_close(sample_volume(volume, points, SMALL), volume)


def test_a_linear_field_is_reproduced_between_centres():
    """No half-voxel shift, no swapped axes: the field a x + b y + c z + d comes back exactly."""
    centres = torch.from_numpy(SMALL.centres())
    volume = (2 * centres[..., 0] - 3 * centres[..., 1] + 5 * centres[..., 2] + 1)[None, None]
    low = torch.tensor(SMALL.lower, dtype=torch.float64) + 0.2
    high = torch.tensor(SMALL.upper, dtype=torch.float64) - 0.2
    points = low + torch.rand(1, 200, 3, generator=torch.Generator().manual_seed(0)).double() * (high - low)
    expected = 2 * points[..., 0] - 3 * points[..., 1] + 5 * points[..., 2] + 1
    torch.testing.assert_close(sample_volume(volume, points, SMALL)[:, 0], expected)


def slow_sample(volume: np.ndarray, point: np.ndarray, grid: VoxelGrid) -> np.ndarray:
    """(C,) trilinear value by eight neighbours."""
    place = (point - grid.lower) / grid.voxel_size - 0.5
    base = np.floor(place).astype(int)
    out = np.zeros(len(volume))
    for corner in np.ndindex(2, 2, 2):
        weight = np.prod([f if c else 1 - f for f, c in zip(place - base, corner, strict=True)])
        x, y, z = (int(np.clip(b + c, 0, n - 1)) for b, c, n in zip(base, corner, grid.shape, strict=True))
        out += weight * volume[:, x, y, z]
    return out


def slow_render(volume: np.ndarray, origin: np.ndarray, ray: np.ndarray, grid: VoxelGrid, settings: RenderSettings):
    """Classes, depth and hit, one sample after another; w_i P_i / (1 - P_free) as it is defined."""
    with np.errstate(divide="ignore"):
        a, b = (np.array(grid.lower) - origin) / ray, (np.array(grid.upper) - origin) / ray
    enters, leaves = max(np.minimum(a, b).max(), settings.near), np.maximum(a, b).min()
    classes, depth, hit, passed = np.zeros(9), 0.0, 0.0, 1.0
    at, step = enters, settings.step / np.linalg.norm(ray)
    while at + step / 2 < leaves:
        d = at + step / 2
        p = slow_sample(volume, origin + d * ray, grid)
        alpha = 1 - p[FREE]
        w = alpha * passed
        classes += w * p[:9] / p[:9].sum()
        depth, hit, passed = depth + w * d, hit + w, passed * (1 - alpha)
        at += step
    return classes, depth, hit, max(leaves, 0.0) if leaves > enters else 0.0


def test_rendering_by_loops():
    random = np.random.default_rng(0)
    probabilities = random_volume(1, SMALL, samples=2).softmax(1)
    origin = torch.from_numpy(random.uniform(-0.5, 0.5, (2, 25, 3)))
    origin[:, 20:] += torch.tensor([5.0, 0, 0], dtype=torch.float64)  # outside, some looking away
    direction = torch.from_numpy(random.normal(size=(2, 25, 3)))
    settings = RenderSettings(step=0.15, near=0.1)
    found = render(probabilities, Rays(origin, direction), SMALL, settings)
    for b, r in np.ndindex(2, 25):
        classes, depth, hit, leaves = slow_render(
            probabilities[b].numpy(), origin[b, r].numpy(), direction[b, r].numpy(), SMALL, settings
        )
        np.testing.assert_allclose(found.semantics[b, r], classes, atol=1e-6)
        assert found.depth[b, r].item() == pytest.approx(depth, abs=1e-6)
        assert found.hit[b, r].item() == pytest.approx(hit, abs=1e-6)
        assert found.leaves[b, r].item() == pytest.approx(leaves, abs=1e-6)
    torch.testing.assert_close(found.semantics.sum(-1), found.hit)
    assert (found.hit[:, :20] > 0.9).any()
    assert (found.hit == 0).any()


def test_rays_are_those_of_geometry():
    views = looking([30.0])
    pixels = torch.tensor([[0.0, 0.0], [127.0, 63.0], [40.0, 11.0]])[None, None]
    rays = pixel_rays(views, pixels)
    camera = pixel_rays_numpy(128, 64, views.intrinsics[0, 0].double().numpy())
    pose = views.volume_T_camera[0, 0].double().numpy()
    for (u, v), ray in zip(pixels[0, 0].int().tolist(), rays.direction[0], strict=True):
        np.testing.assert_allclose(ray, pose[:3, :3] @ camera[v, u], atol=1e-5)
    np.testing.assert_allclose(rays.origin[0, 0], pose[:3, 3], atol=1e-6)


def street() -> np.ndarray:
    """Ground up to z = -0.2, walls ahead (x from 6) and to the left (y from 5.2), a car from x = 3.2."""
    labels = np.full(GRID.shape, FREE)
    labels[:, :, :2] = DRIVABLE
    labels[35:] = BUILDING
    labels[:, 33:] = BUILDING
    labels[28:32, 18:22, 2:5] = VEHICLE
    return labels


def first_surface(labels: np.ndarray, origin: np.ndarray, ray: np.ndarray, grid: VoxelGrid) -> tuple[float, int, int]:
    """Depth of the first face of an occupied voxel on the ray, the axis of that face, and the class; -1 for none."""
    start, ray_in_cells = (origin - grid.lower) / grid.voxel_size, ray / grid.voxel_size
    crossings = []
    for axis in range(3):
        planes = np.arange(grid.shape[axis] + 1)
        crossings += [(t, axis) for t in (planes - start[axis]) / ray_in_cells[axis] if t > 0]
    for t, axis in sorted(crossings):
        cell = np.floor(start + (t + 1e-6) * ray_in_cells).astype(int)
        if (cell >= 0).all() and (cell < grid.shape).all() and labels[tuple(cell)] != FREE:
            return t, axis, int(labels[tuple(cell)])
    return 0.0, -1, FREE


@pytest.mark.parametrize("step", [0.4, 0.2, 0.1])
def test_a_ground_truth_volume_renders_to_its_own_depth(step):
    """Within half a voxel, measured across the surface: a slanted ray comes as close to it but earlier."""
    labels, views = street(), looking([0.0, 90.0, 20.0])
    pixels = cell_pixels((16, 32), (64, 128), views.intrinsics).expand(1, 3, -1, -1)
    rays = pixel_rays(views, pixels)
    found = render(hard(labels), rays, GRID, RenderSettings(step=step))
    across, along, right, total = [], [], 0, 0
    for r in range(rays.origin.shape[1]):
        origin, ray = rays.origin[0, r].double().numpy(), rays.direction[0, r].double().numpy()
        depth, axis, label = first_surface(labels, origin, ray, GRID)
        if axis < 0:
            assert found.hit[0, r] < 0.6  # past everything: only edges are grazed
            continue
        if found.hit[0, r] < 0.99:
            continue
        error = found.expected_depth()[0, r].item() - depth
        across.append(abs(error * ray[axis]))
        along.append(abs(error))
        right += int(found.semantics[0, r].argmax()) == label
        total += 1
    assert total > 600
    assert np.mean(np.array(across) <= GRID.voxel_size / 2 + 1e-6) > 0.95  # edges of the car are rounded
    assert np.median(along) < GRID.voxel_size / 2
    assert right / total > 0.97


def test_a_wall_is_met_where_it_stands():
    """Straight rays on walls at many distances: the error of depth has no bias of half a voxel."""
    errors = []
    for wall in range(5, 36):
        labels = np.full(GRID.shape, FREE)
        labels[wall:] = BUILDING
        rays = Rays(torch.tensor([[[-7.83, 0.1, 0.3]]]), torch.tensor([[[1.0, 0.0, 0.0]]]))
        found = render(hard(labels), rays, GRID, RenderSettings(near=0.2, step=0.1))
        errors.append(found.depth.item() - (wall * 0.4 - 8.0 + 7.83))
    assert np.abs(errors).max() < GRID.voxel_size / 2
    assert np.ptp(errors) < 0.06


def test_air_is_passed_and_edges_of_the_grid_hold():
    labels = np.full(GRID.shape, FREE)
    rays = pixel_rays(looking([0.0]), cell_pixels((8, 8), (64, 128), torch.zeros(1)).expand(1, 1, -1, -1))
    found = render(hard(labels), rays, GRID, RenderSettings())
    assert found.hit.max() < 1e-5
    torch.testing.assert_close(found.expected_depth(), found.leaves)
    outside = Rays(torch.tensor([[[20.0, 0.0, 0.0]]]), torch.tensor([[[1.0, 0.1, 0.0]]]))
    found = render(hard(street()), outside, GRID, RenderSettings())
    assert found.hit.item() == found.depth.item() == found.leaves.item() == 0


def targets_for(rays: Rays, label: int, depth: float) -> Targets:
    shape = rays.origin.shape[:2]
    return Targets(torch.full(shape, label, dtype=torch.uint8), torch.full(shape, depth))


def some_rays(count: int = 40) -> Rays:
    random = torch.Generator().manual_seed(3)
    direction = torch.randn(1, count, 3, generator=random, dtype=torch.float64)
    return Rays(torch.zeros(1, count, 3, dtype=torch.float64), direction / direction.norm(dim=-1, keepdim=True))


@pytest.mark.parametrize("term", ["render_semantics", "render_depth", "render_sky"])
def test_gradient_reaches_the_logits_from_each_term(term):
    logits = random_volume(0, SMALL).requires_grad_()
    settings = RenderSettings(near=0.1, sky_weight=1.0, depth_slack=0.0)
    rays = some_rays()
    label = {"render_semantics": VEHICLE, "render_depth": UNKNOWN, "render_sky": FREE}[term]
    depth = 0.4 if term == "render_depth" else 0.0
    terms = render_loss(logits, rays, targets_for(rays, label, depth), SMALL, settings)
    others = [v.item() for k, v in terms.items() if k != term]
    assert others == [0.0, 0.0]
    terms[term].backward()
    assert logits.grad[:, FREE].abs().max() > 0  # where the ray stops
    assert logits.grad[:, :FREE].abs().max() > 0


@pytest.mark.parametrize("label_depth", [(VEHICLE, 0.4), (FREE, 0.0)])
def test_gradient_by_finite_differences(label_depth):
    tiny = VoxelGrid((-0.6, -0.6, -0.3), (3, 3, 2), 0.4)
    logits = random_volume(2, tiny).requires_grad_()
    rays = some_rays(6)
    targets = targets_for(rays, *label_depth)
    settings = RenderSettings(near=0.05, step=0.2, sky_weight=0.5, depth_slack=0.1)

    def loss(x: torch.Tensor) -> torch.Tensor:
        return torch.stack(list(render_loss(x, rays, targets, tiny, settings).values())).sum()

    assert loss(logits) > 0
    assert torch.autograd.gradcheck(loss, logits)


def test_descending_the_loss_moves_surface_and_class():
    """From a vague volume to a wall of the right class at the right place."""
    grid = VoxelGrid((0.0, -1.2, -1.2), (20, 6, 6), 0.4)
    logits = torch.zeros(1, 10, *grid.shape)
    logits[:, FREE] = 5.0
    logits.requires_grad_()
    v, u = torch.meshgrid(torch.linspace(-0.12, 0.12, 9), torch.linspace(-0.12, 0.12, 9), indexing="ij")
    direction = torch.stack([torch.ones_like(u), u, v], -1).view(1, -1, 3)
    rays = Rays(torch.zeros_like(direction), direction)
    targets = targets_for(rays, BUILDING, 5.0)
    settings = RenderSettings(near=0.4)
    optimizer = torch.optim.Adam([logits], lr=0.3)
    for _ in range(120):
        loss = torch.stack(list(render_loss(logits, rays, targets, grid, settings).values())).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    found = render(logits.detach().softmax(1), rays, grid, settings)
    assert (found.expected_depth() - 5.0).abs().mean() < 0.2
    assert (found.semantics.argmax(-1) == BUILDING).float().mean() > 0.95
    assert found.hit.mean() > 0.9


def test_masks():
    """Sky, unknown pixels, rays whose surface is beyond the volume and empty rays give nothing."""
    logits = random_volume(4, SMALL)
    rays = some_rays()
    settings = RenderSettings(near=0.1)
    for label, depth in ((UNKNOWN, 0.0), (FREE, 0.0), (FREE, 0.5), (VEHICLE, 50.0)):
        terms = render_loss(logits, rays, targets_for(rays, label, depth), SMALL, settings)
        assert [v.item() for v in terms.values()] == [0.0, 0.0], (label, depth)
    air = torch.zeros_like(logits)
    air[:, FREE] = 12.0
    assert render_loss(air, rays, targets_for(rays, VEHICLE, 0.0), SMALL, settings)["render_semantics"] == 0
    nothing = Rays(torch.zeros(1, 0, 3), torch.zeros(1, 0, 3))
    empty = Targets(torch.zeros(1, 0, dtype=torch.uint8), torch.zeros(1, 0))
    assert sum(render_loss(logits.float(), nothing, empty, SMALL, settings).values()) == 0


def test_terms_of_weight_zero_are_left_out():
    rays = some_rays()
    settings = RenderSettings(semantic_weight=0.0, depth_weight=2.0, depth_slack=0.0, near=0.1)
    terms = render_loss(random_volume(4, SMALL), rays, targets_for(rays, VEHICLE, 0.4), SMALL, settings)
    plain_settings = RenderSettings(near=0.1, depth_slack=0.0)
    plain = render_loss(random_volume(4, SMALL), rays, targets_for(rays, VEHICLE, 0.4), SMALL, plain_settings)
    assert plain["render_depth"] > 0
    assert list(terms) == ["render_depth"]
    torch.testing.assert_close(terms["render_depth"], 2 * plain["render_depth"])


def test_drawn_rays_are_usable_cells_with_their_own_targets():
    views = looking([0.0, 90.0])
    views.visible[0, 1, :32] = False
    views.visible[0, 0, 0, 0] = False
    labels = torch.full((1, 2, 8, 16), UNKNOWN, dtype=torch.uint8)
    labels[0, 0, 2:4] = BUILDING
    depth = torch.zeros(1, 2, 8, 16)
    depth[0, :, 0] = 7.0 + torch.arange(16)
    depth[0, 1, 7] = 5.0 + torch.arange(16)
    rays, targets = draw_rays(views, Evidence(labels, depth), 30, torch.Generator().manual_seed(0))
    assert rays.origin.shape == (1, 60, 3)
    known = (targets.labels != UNKNOWN) | (targets.depth > 0)
    assert known[0, :30].all()  # 47 usable cells
    assert known[0, 30:].sum() == 16  # the upper half shows the own car
    k = resize_affine(1 / 8, 1 / 8) @ views.intrinsics[0, 0].double().numpy()  # intrinsics of the map
    for r in range(60):
        if not known[0, r]:
            continue
        n = r // 30
        pose = views.volume_T_camera[0, n].double().numpy()
        x, y, z = pose[:3, :3].T @ rays.direction[0, r].double().numpy()
        assert z == pytest.approx(1.0, abs=1e-5)
        column, row = k[0, 0] * x + k[0, 2], k[1, 1] * y + k[1, 2]
        assert abs(column - round(column)) < 1e-3  # through the middle of a cell
        assert labels[0, n, round(row), round(column)] == targets.labels[0, r]
        assert depth[0, n, round(row), round(column)] == targets.depth[0, r]
    again, _ = draw_rays(views, Evidence(labels, depth), 30, torch.Generator().manual_seed(0))
    assert torch.equal(again.direction, rays.direction)
    other, _ = draw_rays(views, Evidence(labels, depth), 30, torch.Generator().manual_seed(1))
    assert not torch.equal(other.direction, rays.direction)


def test_more_rays_than_cells():
    views = looking([0.0])
    evidence = Evidence(torch.full((1, 1, 2, 4), BUILDING, dtype=torch.uint8), torch.zeros(1, 1, 2, 4))
    rays, targets = draw_rays(views, evidence, 100)
    assert rays.origin.shape == (1, 8, 3)
    assert (targets.labels == BUILDING).all()


def test_half_precision_logits_are_rendered_in_float32():
    rays = some_rays()
    rays = Rays(rays.origin.float(), rays.direction.float())
    logits = random_volume(4, SMALL, dtype=torch.float32).bfloat16().requires_grad_()
    loss = render_loss(logits, rays, targets_for(rays, VEHICLE, 0.4), SMALL, RenderSettings(near=0.1))
    assert all(v.dtype == torch.float32 for v in loss.values())
    sum(loss.values()).backward()
    assert torch.isfinite(logits.grad).all()


@pytest.mark.parametrize("step", [0.0, 0.5])
def test_steps_that_skip_voxels_are_refused(step):
    with pytest.raises(DataError, match="step"):
        RenderSettings(step=step)


@pytest.mark.parametrize("slack", [0.0, 1.0])
def test_slack_forgives_what_a_voxel_explains(slack):
    """A perfect volume of the road, against the depth of the real surface in the middle of its top voxel."""
    labels = np.full(GRID.shape, FREE)
    labels[:, :, :3] = DRIVABLE  # top face at z = 0.2, the surface at 0
    elevation = torch.deg2rad(torch.linspace(-60, -14, 40))
    direction = torch.stack([elevation.cos(), 0.1 * elevation.cos(), elevation.sin()], -1)[None]
    rays = Rays(torch.tensor([0.0, 0.0, 1.5]).expand(1, 40, 3), direction)
    targets = Targets(torch.full((1, 40), DRIVABLE, dtype=torch.uint8), -1.5 / direction[..., 2])
    settings = RenderSettings(depth_slack=slack, step=0.2)
    logits = (hard(labels) + 1e-4).log()
    loss = render_loss(logits, rays, targets, GRID, settings)["render_depth"].item()
    raised = torch.roll(logits, 3, dims=4)
    raised[:, :, :, :, :3] = logits[:, :, :, :, :3]
    assert render_loss(raised, rays, targets, GRID, settings)["render_depth"] > loss + 0.15
    if slack:
        assert loss < 1e-3
    else:
        assert loss > 0.1


def test_real_voxels_reproduce_real_lidar(real_data):
    """Official SemanticKITTI voxels (0.2 m) rendered along the beams that made them."""
    folder = real_data / "semantickitti" / "08"
    occupied = np.unpackbits(np.fromfile(folder / "voxels" / "000000.bin", np.uint8)).reshape(256, 256, 32)
    occupied = occupied[:128, 64:192]
    grid = VoxelGrid((0.0, -12.8, -2.2), (128, 128, 32), 0.2)
    points = np.fromfile(folder / "velodyne" / "000000.bin", np.float32).reshape(-1, 4)[:, :3]
    _, inside = grid.index(points)
    distance = np.linalg.norm(points, axis=1)
    points = points[inside & (distance > 3)][::31]
    distance = np.linalg.norm(points, axis=1)
    rays = Rays(torch.zeros(1, len(points), 3), torch.from_numpy(points / distance[:, None])[None])
    targets = Targets(torch.full((1, len(points)), UNKNOWN, dtype=torch.uint8), torch.from_numpy(distance)[None])

    def volume(up: int) -> torch.Tensor:
        return hard(np.where(np.roll(occupied, up, axis=2) > 0, DRIVABLE, FREE))

    road = points[:, 2] < -1.4
    found = render(volume(0), rays, grid, RenderSettings(step=0.2)).expected_depth()[0].numpy()
    height_error = np.abs((found - distance) * points[:, 2] / distance)[road]
    assert road.sum() > 500
    assert np.median(height_error) < grid.voxel_size / 2
    assert (height_error < grid.voxel_size).mean() > 0.85
    losses = {
        up: render_loss((volume(up) + 1e-4).log(), rays, targets, grid, RenderSettings(step=0.2))["render_depth"]
        for up in (-3, 0, 3)
    }
    assert losses[0] < 0.05
    assert min(losses[-3], losses[3]) > 2 * losses[0]


def test_labels_that_cameras_should_see_are_those_of_single_rays():
    views = looking([0.0, 120.0], rows=32, columns=64)
    views.visible[0, 1, :, :8] = False
    volume = random_volume(3, GRID, dtype=torch.float32)
    volume[:, FREE] += 6
    probabilities = volume.softmax(dim=1)
    settings = RenderSettings()
    found = seen_labels(probabilities, views, (4, 8), GRID, settings, 0.3)
    assert found.shape == (1, 2, 4, 8)
    pixels = cell_pixels((4, 8), (32, 64), views.intrinsics)
    for camera in range(2):
        for place, pixel in enumerate(pixels):
            at = torch.zeros(1, 2, 1, 2)
            at[0, camera, 0] = pixel
            seen = render(probabilities, pixel_rays(views, at), GRID, settings).semantics[0, camera]
            shown = not (camera == 1 and place % 8 == 0)
            expected = int(seen.argmax()) if shown and float(seen.max()) >= 0.3 else UNKNOWN
            assert int(found[0, camera, place // 8, place % 8]) == expected
    assert 5 < int((found != UNKNOWN).sum()) < 55


def test_a_wall_is_seen_and_what_is_open_is_not():
    labels = np.full(GRID.shape, FREE)
    labels[30:32, :20] = BUILDING  # to the right of a camera that looks ahead
    found = seen_labels(hard(labels), looking([0.0]), (8, 16), GRID, RenderSettings(), 0.5)[0, 0]
    assert int(found[4, 12]) == BUILDING
    assert int(found[4, 2]) == UNKNOWN
