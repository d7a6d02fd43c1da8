"""The lift as gathers of fixed shape: what standard operators of exported graphs do well.

Cells are sorted into buckets by how many frustum points they hold, rounded up to a power of two; the points of the
cells of a bucket are a table, padded with a point of no weight. Every bucket is a gather and a sum along the table,
and one more gather puts the sums where they belong. Nothing is scattered: scattered additions are slow in exported
graphs, and some runtimes race in them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ugocc.errors import DataError
from ugocc.models.lift import LiftGeometry

LARGEST = 12
"""Cells of up to 2^12 points."""


@dataclass(frozen=True)
class LiftTables:
    """The frustum points of one rig, by cell; cells of buckets follow each other, after a cell that is always empty."""

    pixels: list[Tensor]
    """Per bucket k (n_k, 2^k) int64 row of each point's context among the rig's pixels (camera, v, u)."""
    depths: list[Tensor]
    """Per bucket k (n_k, 2^k) int64 place of its probability among (camera, bin, v, u), or one behind the last."""
    place: Tensor
    """(X * Y * Z,) int64 row of each cell."""


def lift_tables(geometry: LiftGeometry, points: int, buckets: int | None = None) -> LiftTables:
    """Tables of a geometry of one sample.

    Args:
        geometry: of :func:`ugocc.models.lift.lift_geometry`.
        points: cameras x bins x rows x columns, how many frustum points there are.
        buckets: how many there shall be; by default as many as this rig needs.

    Raises:
        DataError: a cell with more points than the largest bucket holds.
    """
    by_cell = geometry.by_cell
    counts = by_cell.bags.diff()
    most = int(counts.max()) if len(counts) else 0
    needed = max(most - 1, 0).bit_length() + 1
    if needed > (buckets or LARGEST + 1):
        raise DataError("rig", "points of a cell", most, f"at most {2 ** ((buckets or LARGEST + 1) - 1)}")
    bucket = torch.where(counts > 0, torch.ceil(torch.log2(counts.clamp(min=1).double())).long(), -1)
    place, first = torch.zeros_like(counts), 1
    pixels, depths = [], []
    for k in range(buckets or needed):
        cells = (bucket == k).nonzero().squeeze(1)
        # Never fewer than two rows: exporters take sizes of 0 and 1 for constants.
        rows = max(len(cells), 2)
        slot = torch.arange(2**k)
        entry = by_cell.bags[cells][:, None] + slot
        real = torch.zeros(rows, 2**k, dtype=torch.bool)
        real[: len(cells)] = slot < counts[cells][:, None]
        entry = torch.cat([entry, entry.new_zeros(rows - len(cells), 2**k)]).masked_fill(~real, 0)
        found = len(by_cell.rows) > 0
        pixels.append(by_cell.rows[entry].masked_fill(~real, 0) if found else torch.zeros_like(entry))
        depths.append(by_cell.depths[entry].masked_fill(~real, points) if found else torch.full_like(entry, points))
        place[cells] = first + torch.arange(len(cells))
        first += rows
    return LiftTables(pixels, depths, place)


def lift_by_tables(context: Tensor, depth: Tensor, tables: LiftTables, shape: tuple[int, int, int]) -> Tensor:
    """Sum context x depth into cells, for samples that share one rig.

    Args:
        context: (B, N, C, h, w).
        depth: (B, N, D, h, w) probabilities.
        tables: of the rig of N cameras.
        shape: X, Y, Z.

    Returns:
        (B, C, X, Y, Z), what :func:`ugocc.models.lift.splat` makes of it.
    """
    samples, channels = context.shape[0], context.shape[2]
    rows = context.permute(0, 1, 3, 4, 2).reshape(samples, -1, channels)
    weights = torch.cat([depth.reshape(samples, -1), depth.new_zeros(samples, 1)], dim=1)
    sums = [rows.new_zeros(samples, 1, channels)]
    for pixels, depths in zip(tables.pixels, tables.depths, strict=True):
        size = pixels.shape
        found = rows.index_select(1, pixels.reshape(-1)).reshape(samples, size[0], size[1], channels)
        share = weights.index_select(1, depths.reshape(-1)).reshape(samples, size[0], 1, size[1])
        sums.append((share @ found).squeeze(2) if size[1] > 1 else share.squeeze(2) * found.squeeze(2))
    cells = torch.cat(sums, dim=1).index_select(1, tables.place)
    return cells.reshape(samples, *shape, channels).permute(0, 4, 1, 2, 3)


def points_of(cameras: int, bins: int, size: tuple[int, int]) -> int:
    """How many frustum points a rig has."""
    return math.prod((cameras, bins, *size))
