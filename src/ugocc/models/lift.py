"""From image to volume: every pixel's context, weighted by its depth distribution, summed into cells.

Depth x context is never built. Pixels are the rows of an embedding table, cells of the volume are its bags, depth
probabilities are the weights of the entries of a bag (``embedding_bag``). Backward, the gradient of a pixel's context
is a bag of cells, and that of a probability is the product of one cell's gradient and one pixel's context: a matrix
product of which only the points inside are asked for.
"""

from __future__ import annotations

import hashlib
import math
import warnings
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from ugocc.geometry.grid import VoxelGrid
from ugocc.models.cameras import Cameras


@dataclass(frozen=True)
class LiftSettings:
    """The volume that image features are lifted to; it covers the box of the output grid."""

    shape: tuple[int, int, int] = (100, 100, 8)
    """Cells along x, y, z; one cell in z makes it a bird's-eye view."""


@dataclass(frozen=True)
class PointsInside:
    """The K frustum points that fall into the volume, in some order. A point is one depth bin of one pixel of one
    camera."""

    bags: Tensor
    """(bags + 1,) int64: the points of bag i are ``bags[i]`` up to ``bags[i + 1]``."""
    rows: Tensor
    """(K,) int64 what each point adds to its bag."""
    depths: Tensor
    """(K,) int64 place (camera, bin, v, u) in the flattened depth probabilities."""


@dataclass(frozen=True)
class LiftGeometry:
    """Which frustum points fall into which cell: the same points in two orders."""

    by_cell: PointsInside
    """Bags are cells (b, x, y, z), rows are pixels (camera, v, u)."""
    by_pixel: PointsInside
    """Bags are pixels, rows are cells."""
    shape: tuple[int, int, int, int]
    """B, X, Y, Z."""


class Lift(nn.Module):
    """Context (M, C, h, w) and depth probabilities (M, D, h, w) of real cameras to a volume (B, C, X, Y, Z)."""

    CACHED = 8

    def __init__(self, settings: LiftSettings, grid: VoxelGrid) -> None:
        super().__init__()
        self.settings = settings
        self.grid = grid
        self._cache: OrderedDict[bytes, LiftGeometry] = OrderedDict()

    def forward(self, context: Tensor, depth: Tensor, geometry: LiftGeometry) -> Tensor:
        """See the class; sums are taken in float32 under autocast too."""
        return splat(context, depth, geometry)

    def geometry(self, cameras: Cameras, bin_depths: Tensor, feature_size: tuple[int, int]) -> LiftGeometry:
        """Geometry for these cameras; in evaluation, remembered for the last few rigs seen."""
        shape = (cameras.mask.shape[0], *self.settings.shape)
        if self.training:
            return lift_geometry(cameras, bin_depths, feature_size, self.grid, shape)
        key = _digest(cameras, bin_depths, feature_size, shape)
        found = self._cache.pop(key, None)
        if found is None:
            # What is remembered may later be part of a graph that is differentiated, which inference tensors may not.
            with torch.inference_mode(False):
                found = lift_geometry(cameras, bin_depths, feature_size, self.grid, shape)
        self._cache[key] = found
        while len(self._cache) > self.CACHED:
            self._cache.popitem(last=False)
        return found


def splat(context: Tensor, depth: Tensor, geometry: LiftGeometry) -> Tensor:
    """Sum context (M, C, h, w) x depth (M, D, h, w) into cells: (B, C, X, Y, Z), channels last in memory."""
    if context.dtype != torch.float64:  # float64 is for checks of gradients
        context, depth = context.float(), depth.float()
    rows = context.permute(0, 2, 3, 1).reshape(-1, context.shape[1])
    with torch.autocast(context.device.type, enabled=False):
        if context.device.type == "mps":  # which has no sparse matrices
            cells = _bags(geometry.by_cell, rows, depth)
        else:
            cells = _Splat.apply(rows, depth, geometry)
    return cells.view(*geometry.shape, -1).permute(0, 4, 1, 2, 3)


def _bags(points: PointsInside, rows: Tensor, depth: Tensor) -> Tensor:
    return F.embedding_bag(
        points.rows,
        rows,
        points.bags,
        mode="sum",
        per_sample_weights=depth.reshape(-1)[points.depths],
        include_last_offset=True,
    )


class _Splat(torch.autograd.Function):
    """``_bags`` by cell with a backward that is as lean as its forward."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, depth: Tensor, geometry: LiftGeometry) -> Tensor:
        ctx.save_for_backward(rows, depth)
        ctx.points = geometry.by_pixel
        return _bags(geometry.by_cell, rows, depth)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, cells: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        (rows, depth), points = ctx.saved_tensors, ctx.points
        cells = cells.contiguous()
        to_rows = _bags(points, cells, depth) if ctx.needs_input_grad[0] else None
        to_depth = None
        if ctx.needs_input_grad[1]:
            products = _chosen_products(points, rows, cells)
            to_depth = torch.zeros_like(depth).view(-1).index_copy_(0, points.depths, products).view_as(depth)
        return to_rows, to_depth, None


def _chosen_products(points: PointsInside, a: Tensor, b: Tensor) -> Tensor:
    """(K,) inner products of row ``bag`` of ``a`` and row ``points.rows`` of ``b``."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Sparse CSR tensor support")
        zeros = a.new_zeros(len(points.rows))
        size = (len(a), len(b))
        chosen = torch.sparse_csr_tensor(points.bags, points.rows, zeros, size, check_invariants=False)
        return torch.sparse.sampled_addmm(chosen, a, b.t(), beta=0.0).values()


@torch.no_grad()
def lift_geometry(
    cameras: Cameras,
    bin_depths: Tensor,
    feature_size: tuple[int, int],
    grid: VoxelGrid,
    shape: tuple[int, int, int, int],
) -> LiftGeometry:
    """Sort the frustum points of all cameras into cells.

    Args:
        cameras: M real cameras.
        bin_depths: (M, D) metres along the optical axis.
        feature_size: rows and columns of the image features.
        grid: its box is what the volume covers.
        shape: (B, X, Y, Z) of the volume.
    """
    axes = frustum_points(cameras, bin_depths, feature_size)
    inside = torch.ones_like(axes[0], dtype=torch.bool)
    cell = cameras.sample[:, None, None].to(axes[0].dtype)
    for values, low, high, count in zip(axes, grid.lower, grid.upper, shape[1:], strict=True):
        # floor, not a cast to int: a cast would fold (-1, 0) into cell 0.
        index = torch.floor((values - low) / ((high - low) / count))
        inside &= (index >= 0) & (index < count)
        cell = cell * count + index
    bins, pixels_per_camera = inside.shape[1:]
    # From here on pixel after pixel, each with its bins from near to far.
    kept = inside.transpose(1, 2).reshape(-1).nonzero().squeeze(1)
    cells = cell.transpose(1, 2).reshape(-1)[kept].long()
    pixels, bin_ = kept.div(bins, rounding_mode="floor"), kept % bins
    camera = pixels.div(pixels_per_camera, rounding_mode="floor")
    depths = (camera * bins + bin_) * pixels_per_camera + pixels % pixels_per_camera
    by_pixel = PointsInside(_borders(pixels, len(inside) * pixels_per_camera), cells, depths)
    cells, order = torch.sort(cells, stable=True)
    by_cell = PointsInside(_borders(cells, math.prod(shape)), pixels[order], depths[order])
    return LiftGeometry(by_cell, by_pixel, shape)


def _borders(sorted_: Tensor, count: int) -> Tensor:
    return torch.searchsorted(sorted_, torch.arange(count + 1, device=sorted_.device))


def frustum_points(
    cameras: Cameras, bin_depths: Tensor, feature_size: tuple[int, int]
) -> tuple[Tensor, Tensor, Tensor]:
    """x, y and z, each (M, D, h * w) metres in the volume's frame, of every bin centre on the ray of every feature.

    The ray goes through the middle of the pixels that a feature covers (pixel centres are whole numbers).
    """
    # MPS has no float64; elsewhere it keeps points on a border on their side of it.
    precise = torch.float32 if bin_depths.device.type == "mps" else torch.float64
    rows, columns = feature_size
    height, width = cameras.image_size
    device = bin_depths.device
    v = (torch.arange(rows, dtype=precise, device=device) + 0.5) * (height / rows) - 0.5
    u = (torch.arange(columns, dtype=precise, device=device) + 0.5) * (width / columns) - 0.5
    pixels = torch.stack([u.repeat(rows), v.repeat_interleave(columns), torch.ones_like(v).repeat(columns)])
    volume_T_camera = cameras.volume_T_camera.to(precise)
    rays = volume_T_camera[:, :3, :3] @ torch.linalg.inv(cameras.pixel_intrinsics.to(precise)) @ pixels
    depths = bin_depths.to(precise)[:, :, None]
    x, y, z = (depths * rays[:, i, None] + volume_T_camera[:, i, 3, None, None] for i in range(3))
    return x, y, z


def _digest(
    cameras: Cameras, bin_depths: Tensor, feature_size: tuple[int, int], shape: tuple[int, int, int, int]
) -> bytes:
    digest = hashlib.blake2b(repr((cameras.image_size, feature_size, shape, str(bin_depths.device))).encode())
    for tensor in (cameras.sample, cameras.pixel_intrinsics, cameras.volume_T_camera, bin_depths):
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.digest()
