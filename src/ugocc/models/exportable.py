"""A network as a graph of standard operators: pictures of one rig in, logits out.

What depends on calibrations alone (which frustum point falls into which cell, what each pillar looks like in each
camera, what the depth net is told) is worked out beforehand in plain PyTorch, and is given to the graph as tensors: as
constants, or as inputs beside the pictures. The graph itself is the network's own modules.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import torch
from torch import Tensor, nn

from ugocc.data.batch import Batch
from ugocc.errors import DataError
from ugocc.models.assemble import OccupancyModel
from ugocc.models.bev_attention import BevAttention, ImageAttention, probability_at
from ugocc.models.bev_queries import QueryLayer
from ugocc.models.blocks import resize
from ugocc.models.camera_vector import camera_vector
from ugocc.models.cameras import real_cameras
from ugocc.models.depth_net import bin_depths, depth_bins, ground_code, solid_angle
from ugocc.models.lift import lift_geometry
from ugocc.models.lift_tables import LARGEST, LiftTables, lift_by_tables, lift_tables, points_of
from ugocc.models.pillars import Sight, look, pack

Rig = Mapping[str, Tensor]
"""All that a network is told of one rig of N cameras, by name, see :func:`rig_tensors`."""

BUCKETS: Final = LARGEST + 1


@torch.no_grad()
def rig_tensors(model: OccupancyModel, batch: Batch, buckets: int | None = BUCKETS) -> dict[str, Tensor]:
    """What a network needs to know of the calibrations of a batch of one sample, in float32 and int64.

    Args:
        model: the network.
        batch: one sample without missing cameras.
        buckets: tables of the lift; fewer than the default suffice for one rig (None: as many as it needs), but graphs
            that shall serve any rig need all.

    Raises:
        DataError: several samples, missing cameras, or a network with an ingredient that is not exported.
    """
    if batch.size != 1 or not bool(batch.camera_mask.all()):
        found = f"{batch.size} samples, {int(batch.camera_mask.sum())} cameras"
        raise DataError("rig", "batch", found, "one sample with all of its cameras")
    check_exportable(model)
    cameras = real_cameras(batch)
    size = feature_size(model)
    rig: dict[str, Tensor] = {}
    bins = None
    if model.depth_net is not None and model.lift is not None:
        settings = model.depth_net.settings
        rig["vector"] = camera_vector(cameras, settings.canonical)
        bins = rig["bins"] = bin_depths(cameras, settings).clone()
        if settings.canonical:
            rig["ground"] = ground_code(cameras, settings, size)
            rig["angle"] = solid_angle(cameras, settings)
        geometry = lift_geometry(cameras, bins, size, model.lift.grid, (1, *model.lift.settings.shape))
        tables = lift_tables(geometry, points_of(len(cameras.sample), bins.shape[1], size), buckets)
        rig["cells"] = tables.place
        for k, (pixels, depths) in enumerate(zip(tables.pixels, tables.depths, strict=True)):
            rig[f"pixels_{k}"], rig[f"depths_{k}"] = pixels, depths
    looking = model.bev_attention or model.bev_queries
    if looking is not None:
        rig |= _sight(look(cameras, looking.anchors), cameras.sample, bins)
    return {name: value.float() if value.is_floating_point() else value for name, value in rig.items()}


def _sight(sight: Sight, sample: Tensor, bins: Tensor | None) -> dict[str, Tensor]:
    packed = pack(sight, sample, 1)
    likely = packed.visible.float()
    rig = {"owner": packed.owner, "places": packed.places}
    if bins is not None:
        rig["bin"], inside = depth_bins(packed.distances, bins)
        likely = likely * inside
    ends = torch.cat([packed.starts[1:], packed.starts.new_tensor([len(packed.entries)])])
    counts = ends - packed.starts
    # Two columns at least: exporters take sizes of 0 and 1 for constants.
    slot = torch.arange(max(2, int(counts.max())))
    real = slot < counts[:, None]
    nothing = packed.owner.numel()
    table = torch.full(real.shape, nothing)
    entry = (packed.starts[:, None] + slot)[real]
    table[real] = packed.entries[entry]
    return rig | {"likely": likely, "pairs": table, "share": 1 / counts.clamp(min=1).float()}


class ExportableNetwork(nn.Module):
    """Images (B, N, 3, H, W) of one rig, and all that :func:`rig_tensors` tells of it, to logits.

    Returns (B, 10, X, Y, Z) occupancy logits and, of networks with depth, (B, N, D, h, w) depth logits.

    Args:
        model: the network; its modules are shared, not copied.
        rig: constants to bake in; None expects them beside the images.
    """

    def __init__(self, model: OccupancyModel, rig: Rig | None = None) -> None:
        super().__init__()
        check_exportable(model)
        self.model = model
        self.baked = rig is not None
        self.names = tuple(rig or ())
        for name, value in (rig or {}).items():
            self.register_buffer(f"rig_{name}", value, persistent=False)

    def forward(self, images: Tensor, rig: dict[str, Tensor] | None = None) -> tuple[Tensor, ...]:
        """See the class."""
        told = {name: getattr(self, f"rig_{name}") for name in self.names} if rig is None else rig
        model, samples = self.model, images.shape[0]
        features = model.image_encoder(images.flatten(0, 1))
        if model.bev_queries is not None:
            return (model.branch(_queries(model, features, told, samples)).float(),)
        depth_net, lift = model.depth_net, model.lift
        assert depth_net is not None
        assert lift is not None
        ground = told.get("ground")
        context, depth_logits = depth_net(
            features, _per_sample(told["vector"], samples), None if ground is None else _per_sample(ground, samples)
        )
        depth_logits = depth_logits.float()
        depth = depth_logits.softmax(dim=1)
        if model.semantic_attention is not None:
            bins = _per_sample(told["bins"], samples)
            context, _ = model.semantic_attention(context, (depth * bins[:, :, None, None]).sum(dim=1))
        seen = context
        if "angle" in told:
            seen = context * _per_sample(told["angle"], samples)[:, None, None, None]
        cameras = images.shape[1]
        buckets = range(sum(name.startswith("pixels_") for name in told))
        pixels, depths = [told[f"pixels_{k}"] for k in buckets], [told[f"depths_{k}"] for k in buckets]
        volume = lift_by_tables(
            seen.unflatten(0, (samples, cameras)),
            depth.unflatten(0, (samples, cameras)),
            LiftTables(pixels, depths, told["cells"]),
            lift.settings.shape,
        )
        if model.bev_attention is not None:
            volume = _look_back(model.bev_attention, volume, context, depth, told)
        return model.branch(volume).float(), depth_logits.unflatten(0, (samples, cameras))


def _look_back(layer: BevAttention, volume: Tensor, context: Tensor, depth: Tensor, rig: Rig) -> Tensor:
    """:meth:`BevAttention.forward` with sight known beforehand."""
    query, position = layer.queries(volume)
    query = layer.norms[0](query + layer.among_queries(query, position))
    query = layer.norms[1](query + _from_images(layer.to_images, query + position, context, depth, rig))
    query = layer.norms[2](query + layer.within(query))
    found = query.transpose(1, 2).unflatten(2, layer.shape)
    return volume + resize(found, (volume.shape[2], volume.shape[3]))[..., None]


def _queries(model: OccupancyModel, features: Tensor, rig: Rig, samples: int) -> Tensor:
    """:meth:`BevQueries.forward` with sight known beforehand."""
    queries = model.bev_queries
    assert queries is not None
    context = queries.project(features)
    position = (queries.rows + queries.columns).flatten(0, 1)
    query = queries.embedding.expand(samples, -1, -1)
    for layer in queries.layers:
        assert isinstance(layer, QueryLayer)
        query = layer.norms[0](query + layer.among_queries(query, position))
        query = layer.norms[1](query + _from_images(layer.to_images, query + position, context, None, rig))
        query = layer.norms[2](query + layer.within(query))
    bev = query.transpose(1, 2).unflatten(2, queries.shape)
    return resize(bev, queries.full_shape)[..., None]


def _from_images(layer: ImageAttention, query: Tensor, context: Tensor, depth: Tensor | None, rig: Rig) -> Tensor:
    """:meth:`ImageAttention.forward` of samples that share a rig: the same pairs in each."""
    samples, queries, channels = query.shape
    places, likely = _per_sample(rig["places"], samples), _per_sample(rig["likely"], samples)
    if depth is not None:
        likely = likely * probability_at(depth, places, _per_sample(rig["bin"], samples))
    first = queries * torch.arange(samples, device=query.device)
    owner = (first[:, None, None] + rig["owner"]).flatten(0, 1)
    found = layer.samples(query, context, likely, places, owner).reshape(samples, -1, channels)
    found = torch.cat([found, found.new_zeros(samples, 1, channels)], dim=1)
    table = rig["pairs"]
    chosen = found.index_select(1, table.reshape(-1)).reshape(samples, table.shape[0], table.shape[1], channels)
    return layer.result(chosen.sum(dim=2) * rig["share"][:, None])


def _per_sample(values: Tensor, samples: int) -> Tensor:
    """(N, ...) of one rig to (B N, ...) of samples that share it."""
    return values.expand(samples, *values.shape).flatten(0, 1)


def feature_size(model: OccupancyModel) -> tuple[int, int]:
    """Rows and columns of the image features."""
    inputs, stride = model.settings.input, model.image_encoder.stride
    return inputs.height // stride, inputs.width // stride


def output_shapes(model: OccupancyModel, cameras: int) -> dict[str, tuple[int, ...]]:
    """Names and shapes of what the graph returns for one sample."""
    shapes: dict[str, tuple[int, ...]] = {"occupancy": (1, 10, *model.settings.input.grid.shape)}
    if model.depth_net is not None:
        shapes["depth"] = (1, cameras, model.depth_net.settings.bins.count, *feature_size(model))
    return shapes


def check_exportable(model: OccupancyModel) -> None:
    """Raise DataError of an ingredient that is not exported."""
    if model.cross_view is not None:
        raise DataError("export", "cross_view", "a transformer over cameras", "a network without it")
