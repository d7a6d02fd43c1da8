from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from ugocc.data.batch import collate
from ugocc.data.prepare import InputSettings
from ugocc.geometry.grid import VoxelGrid
from ugocc.geometry.rigid import yaw_matrix
from ugocc.models.cameras import Cameras, real_cameras
from ugocc.models.lift import Lift, LiftSettings, frustum_points, lift_geometry, splat

INPUT = InputSettings(width=64, height=32, grid=VoxelGrid((-8.0, -8.0, -1.0), (16, 16, 4), 1.0))
SIZE = (4, 8)


def one_camera(pose: np.ndarray, intrinsics: np.ndarray, rows: int = 1, columns: int = 1) -> Cameras:
    k, t = torch.from_numpy(intrinsics).float()[None], torch.from_numpy(pose).float()[None]
    return Cameras(
        mask=torch.ones(1, 1, dtype=torch.bool),
        sample=torch.zeros(1, dtype=torch.int64),
        images=torch.zeros(1, 3, rows, columns),
        intrinsics=k,
        image_affine=torch.eye(3)[None],
        pixel_intrinsics=k,
        ego_T_camera=t,
        volume_T_camera=t,
        bev_T_ego=torch.eye(4)[None],
    )


def slow_lift(context: Tensor, depth: Tensor, cameras: Cameras, bins: Tensor, grid: VoxelGrid, shape: tuple) -> Tensor:
    """Depth x context for every point, its cell by numpy's floor, then index_add."""
    cells = context.new_zeros(int(np.prod(shape)), context.shape[1])
    size = (np.array(grid.upper) - grid.lower) / shape[1:]
    height, width = cameras.image_size
    rows, columns = context.shape[-2:]
    for m in range(len(cameras.sample)):
        k = cameras.pixel_intrinsics[m].double().numpy()
        pose = cameras.volume_T_camera[m].double().numpy()
        for v in range(rows):
            for u in range(columns):
                pixel = [(u + 0.5) * width / columns - 0.5, (v + 0.5) * height / rows - 0.5, 1]
                ray = np.linalg.inv(k) @ pixel
                for d in range(bins.shape[1]):
                    point = pose[:3, :3] @ (ray * float(bins[m, d])) + pose[:3, 3]
                    cell = np.floor((point - grid.lower) / size)
                    if (cell < 0).any() or (cell >= shape[1:]).any():
                        continue
                    row = np.ravel_multi_index((int(cameras.sample[m]), *cell.astype(int)), shape)
                    cells = cells.index_add(0, torch.tensor([row]), (context[m, :, v, u] * depth[m, d, v, u])[None])
    return cells.view(*shape, -1).permute(0, 4, 1, 2, 3)


def test_equals_index_add_with_gradients(make_batch):
    batch = collate([make_batch(INPUT, cameras=2, seed=1), make_batch(INPUT, cameras=1, seed=2)])
    batch.bev_T_ego[1] = torch.from_numpy(yaw_matrix(0.3, (0.5, 0.0, 0.1))).float()
    cameras = real_cameras(batch)
    torch.manual_seed(0)
    context = torch.randn(3, 5, *SIZE, dtype=torch.float64, requires_grad=True)
    depth = torch.randn(3, 6, *SIZE, dtype=torch.float64).softmax(1).requires_grad_()
    bins = torch.linspace(0.7, 9.1, 6)[None] * torch.tensor([[1.0], [0.5], [1.7]])
    shape = (2, 16, 16, 4)
    wanted = torch.randn(2, 5, 16, 16, 4, dtype=torch.float64)
    fast = splat(context, depth, lift_geometry(cameras, bins, SIZE, INPUT.grid, shape))
    slow = slow_lift(context, depth, cameras, bins, INPUT.grid, shape)
    assert (fast != 0).any()
    torch.testing.assert_close(fast, slow, rtol=1e-9, atol=1e-9)
    gradients = torch.autograd.grad((fast * wanted).sum(), [context, depth])
    references = torch.autograd.grad((slow * wanted).sum(), [context, depth])
    for gradient, reference in zip(gradients, references, strict=True):
        torch.testing.assert_close(gradient, reference, rtol=1e-5, atol=1e-9)


def test_points_on_borders_and_below_zero_are_floored():
    # The camera looks along x of the volume from (-2, 0.5, 0.5): depth d is x = d - 2.
    pose = np.array([[0, 0, 1.0, -2], [-1, 0, 0, 0.5], [0, -1, 0, 0.5], [0, 0, 0, 1]])
    cameras = one_camera(pose, np.eye(3))
    bins = torch.tensor([[1.0, 1.5, 2.0, 2.5, 3.0, 5.0, 5.5, 6.0]])
    #          x         -1   -.5   0    .5   1    3    3.5  4
    grid = VoxelGrid((0.0, 0.0, 0.0), (4, 1, 1), 1.0)
    depth = torch.tensor([1.0, 2, 4, 8, 16, 32, 64, 128]).view(1, 8, 1, 1)
    volume = splat(torch.ones(1, 1, 1, 1), depth, lift_geometry(cameras, bins, (1, 1), grid, (1, 4, 1, 1)))
    # -0.5 truncated would fall into cell 0; 0 and 1 belong to the cell above the border; 4 is outside.
    assert volume.flatten().tolist() == [4 + 8, 16, 0, 32 + 64]


def test_empty_cells_are_zero_and_all_points_outside_is_allowed():
    pose = np.array([[0, 0, 1.0, 100], [-1, 0, 0, 0.5], [0, -1, 0, 0.5], [0, 0, 0, 1]])
    geometry = lift_geometry(one_camera(pose, np.eye(3)), torch.tensor([[1.0]]), (1, 1), INPUT.grid, (1, 16, 16, 4))
    context = torch.ones(1, 2, 1, 1, requires_grad=True)
    volume = splat(context, torch.ones(1, 1, 1, 1), geometry)
    assert volume.shape == (1, 2, 16, 16, 4)
    assert not volume.any()
    volume.sum().backward()
    assert not context.grad.any()


def test_ray_goes_through_the_middle_of_a_feature_cell():
    # Four pixels, two features: feature 0 covers pixels 0 and 1, whose centres have their middle at 0.5.
    pose = np.eye(4)
    x, y, z = frustum_points(one_camera(pose, np.eye(3), rows=2, columns=4), torch.tensor([[2.0]]), (1, 2))
    assert x.flatten().tolist() == [1.0, 5.0]
    assert y.flatten().tolist() == [1.0, 1.0]
    assert z.flatten().tolist() == [2.0, 2.0]


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**31 - 1))
def test_mass_is_kept(seed):
    """Context 1 everywhere: the volume holds exactly the probability of the points inside."""
    random = np.random.default_rng(seed)
    pose = yaw_matrix(random.uniform(-3, 3), random.uniform(-4, 4, 3)) @ np.array(
        [[0, 0, 1.0, 0], [-1, 0, 0, 0], [0, -1, 0, 0], [0, 0, 0, 1]]
    )
    cameras = one_camera(pose, np.array([[30.0, 0, 32], [0, 30, 16], [0, 0, 1]]), 32, 64)
    bins = torch.linspace(0.5, 12, 10)[None]
    depth = torch.rand(1, 10, *SIZE)
    x, y, z = frustum_points(cameras, bins, SIZE)
    _, inside = INPUT.grid.index(torch.stack([x, y, z], -1).numpy())
    geometry = lift_geometry(cameras, bins, SIZE, INPUT.grid, (1, 16, 16, 4))
    total = splat(torch.ones(1, 1, *SIZE), depth, geometry).sum()
    torch.testing.assert_close(total, depth.view(1, 10, -1)[torch.from_numpy(inside)].sum())


def test_geometry_of_a_fixed_rig_is_remembered_only_in_evaluation(make_batch):
    lift = Lift(LiftSettings((16, 16, 4)), INPUT.grid)
    cameras = real_cameras(make_batch(INPUT, cameras=2))
    bins = torch.linspace(1, 9, 5).expand(2, -1)
    lift.train()
    assert lift.geometry(cameras, bins, SIZE) is not lift.geometry(cameras, bins, SIZE)
    lift.eval()
    first = lift.geometry(cameras, bins, SIZE)
    assert lift.geometry(cameras, bins, SIZE) is first
    moved = cameras.volume_T_camera.clone()
    moved[0, 0, 3] += 1e-3
    assert lift.geometry(replace(cameras, volume_T_camera=moved), bins, SIZE) is not first
    assert lift.geometry(cameras, bins * 1.01, SIZE) is not first
    for i in range(3 * Lift.CACHED):
        lift.geometry(cameras, bins * (2 + i), SIZE)
    assert len(lift._cache) == Lift.CACHED
    assert lift.geometry(cameras, bins, SIZE) is not first


def test_geometry_remembered_in_inference_mode_can_be_differentiated_through(make_batch):
    lift = Lift(LiftSettings((16, 16, 4)), INPUT.grid).eval()
    batch = make_batch(INPUT, cameras=2)
    bins = torch.linspace(1, 9, 5).expand(2, -1)
    with torch.inference_mode():
        lift.geometry(real_cameras(batch), bins * 1, SIZE)
    context = torch.ones(2, 3, *SIZE, requires_grad=True)
    lift(context, torch.rand(2, 5, *SIZE), lift.geometry(real_cameras(batch), bins, SIZE)).sum().backward()
    assert context.grad.any()


def test_sums_are_float32_under_autocast(make_batch):
    lift = Lift(LiftSettings((16, 16, 4)), INPUT.grid)
    cameras = real_cameras(make_batch(INPUT, cameras=1))
    bins = torch.linspace(1, 9, 5)[None]
    context, depth = torch.randn(1, 3, *SIZE), torch.rand(1, 5, *SIZE)
    with torch.autocast("cpu", torch.bfloat16):
        low = lift(context, depth, lift.geometry(cameras, bins, SIZE))
    exact = lift(context, depth, lift.geometry(cameras, bins, SIZE))
    assert low.dtype == torch.float32
    assert torch.equal(low, exact)


def test_gradients_of_float32_are_those_of_float64(make_batch):
    cameras = real_cameras(make_batch(INPUT, cameras=2, seed=3))
    bins = torch.linspace(0.7, 9.1, 40)[None].expand(2, -1)  # several bins of a pixel fall into one cell
    geometry = lift_geometry(cameras, bins, SIZE, INPUT.grid, (1, 16, 16, 4))
    torch.manual_seed(1)
    context, depth = torch.randn(2, 80, *SIZE), torch.randn(2, 40, *SIZE).softmax(1)
    wanted = torch.randn(1, 80, 16, 16, 4)

    def gradients(dtype: torch.dtype) -> tuple[Tensor, ...]:
        leaves = [t.to(dtype).requires_grad_() for t in (context, depth)]
        return torch.autograd.grad((splat(*leaves, geometry) * wanted.to(dtype)).sum(), leaves)

    for single, double in zip(gradients(torch.float32), gradients(torch.float64), strict=True):
        assert double.abs().max() > 1
        torch.testing.assert_close(single.double(), double, rtol=1e-5, atol=1e-5)
    for once, again in zip(gradients(torch.float32), gradients(torch.float32), strict=True):
        assert torch.equal(once, again)


def test_the_two_orders_of_a_geometry_hold_the_same_points(make_batch):
    cameras = real_cameras(make_batch(INPUT, cameras=2, seed=4))
    geometry = lift_geometry(cameras, torch.linspace(1, 9, 7).expand(2, -1), SIZE, INPUT.grid, (1, 16, 16, 4))

    def triples(bags: Tensor, rows: Tensor, depths: Tensor) -> list[tuple[int, int, int]]:
        bag = torch.repeat_interleave(torch.arange(len(bags) - 1), bags.diff())
        return list(zip(bag.tolist(), rows.tolist(), depths.tolist(), strict=True))

    by_cell = triples(geometry.by_cell.bags, geometry.by_cell.rows, geometry.by_cell.depths)
    by_pixel = triples(geometry.by_pixel.bags, geometry.by_pixel.rows, geometry.by_pixel.depths)
    assert by_cell
    assert sorted(by_cell) == sorted((cell, pixel, depth) for pixel, cell, depth in by_pixel)
    # Place (camera, bin, v, u) of a depth probability belongs to pixel (camera, v, u).
    assert all(d // (7 * 32) * 32 + d % 32 == p for p, _, d in by_pixel)
