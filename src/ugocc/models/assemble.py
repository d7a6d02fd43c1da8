"""The named models, put together from their parts, in three sizes.

A model is added by a function that returns its settings and a line in :data:`MODELS`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

import torch
from torch import Tensor, nn

from ugocc.data.batch import Batch
from ugocc.data.prepare import InputSettings
from ugocc.errors import DataError
from ugocc.geometry.grid import OCC3D_GRID, VoxelGrid
from ugocc.models.bev_attention import BevAttention, BevAttentionSettings
from ugocc.models.bev_encoder import BevEncoder, BevEncoderSettings
from ugocc.models.bev_queries import BevQueries, BevQueriesSettings
from ugocc.models.camera_vector import camera_vector
from ugocc.models.cameras import Cameras, real_cameras
from ugocc.models.cross_view import CrossView
from ugocc.models.depth_net import (
    DepthBinSettings,
    DepthNet,
    DepthNetSettings,
    bin_centres,
    bin_depths,
    ground_code,
    solid_angle,
)
from ugocc.models.heads import HeightHead, HeightHeadSettings, VoxelHead, VoxelHeadSettings
from ugocc.models.image_encoder import ImageEncoder, ImageEncoderSettings
from ugocc.models.lift import Lift, LiftSettings
from ugocc.models.prediction import Prediction
from ugocc.models.recompute import recomputed
from ugocc.models.semantic_attention import SemanticAttention, SemanticAttentionSettings
from ugocc.models.settings import FlatBranchSettings, ModelSettings, VolumeBranchSettings
from ugocc.models.voxel_encoder import VoxelEncoder, VoxelEncoderSettings


class OccupancyModel(nn.Module):
    """Batch to prediction: image features; depth, context, attention among them and lift, or queries; encoder; head."""

    def __init__(self, settings: ModelSettings, pretrained: bool = False) -> None:
        super().__init__()
        _check_parts(settings)
        self.settings = settings
        grid, shape = settings.input.grid, volume_shape(settings)
        self.image_encoder = ImageEncoder(settings.image_encoder, pretrained)
        inputs, stride = self.image_encoder.channels, self.image_encoder.stride
        _check_image_size(settings.input, stride)
        self.cross_view = None if settings.cross_view is None else CrossView(inputs, stride, settings.cross_view)
        self.bev_queries: BevQueries | None = None
        self.depth_net: DepthNet | None = None
        self.semantic_attention: SemanticAttention | None = None
        self.lift: Lift | None = None
        self.bev_attention: BevAttention | None = None
        if settings.bev_queries is not None:
            self.bev_channels = settings.bev_queries.channels
            self.bev_queries = BevQueries(inputs, shape[:2], grid, settings.bev_queries)
        elif settings.depth_net is not None and settings.lift is not None:
            context = self.bev_channels = settings.depth_net.context_channels
            semantics, look_back = settings.semantic_attention, settings.bev_attention
            self.depth_net = DepthNet(inputs, settings.depth_net)
            self.semantic_attention = None if semantics is None else SemanticAttention(context, semantics)
            self.lift = Lift(settings.lift, grid)
            self.bev_attention = None if look_back is None else BevAttention(context, shape, grid, look_back)
        self.branch = _branch(settings, self.bev_channels)
        self.recompute = False
        """In training, compute the activations of image encoder and branch again instead of keeping them."""

    def _run(self, block: nn.Module, x: Tensor) -> Any:
        again = self.recompute and self.training and torch.is_grad_enabled()
        return recomputed(block, x) if again else block(x)

    def forward(self, batch: Batch) -> Prediction:
        """Predict every sample of a batch; its labels are not looked at."""
        cameras = real_cameras(batch)
        features = self._run(self.image_encoder, cameras.images)
        if self.cross_view is not None:
            features = self.cross_view(features, cameras)
        if self.bev_queries is None:
            return self._lifted(features, cameras)
        volume = self.bev_queries(features, cameras)
        return Prediction(self._run(self.branch, volume).float(), None, None, None, volume.mean(dim=4))

    def _lifted(self, features: Tensor, cameras: Cameras) -> Prediction:
        depth_net, lift = self.depth_net, self.lift
        assert depth_net is not None
        assert lift is not None
        settings, size = depth_net.settings, (features.shape[-2], features.shape[-1])
        ground = ground_code(cameras, settings, size) if settings.canonical else None
        context, depth_logits = depth_net(features, camera_vector(cameras, settings.canonical), ground)
        depth_logits = depth_logits.float()
        depth = depth_logits.softmax(dim=1)
        bins = bin_depths(cameras, settings)
        semantics = None
        if self.semantic_attention is not None:
            expected = (depth * bins[:, :, None, None]).sum(dim=1)
            context, semantics = self.semantic_attention(context, expected)
        seen = context * solid_angle(cameras, settings)[:, None, None, None] if settings.canonical else context
        volume = lift(seen, depth, lift.geometry(cameras, bins, size))
        if self.bev_attention is not None:
            volume = self.bev_attention(volume, context, depth, bins, cameras)
        spread_bins = bin_centres(settings.bins).to(bins).expand(*cameras.mask.shape, -1).clone()
        spread_bins[cameras.mask] = bins
        return Prediction(
            occupancy=self._run(self.branch, volume).float(),
            depth_logits=cameras.spread(depth_logits),
            bin_depths=spread_bins,
            semantics_2d=None if semantics is None else cameras.spread(semantics),
            bev=volume.mean(dim=4),
        )


class FlatBranch(nn.Module):
    """Volume (B, C, X', Y', 1) to logits (B, 10, X, Y, Z) through a bird's-eye view."""

    def __init__(self, inputs: int, heights: int, settings: FlatBranchSettings) -> None:
        super().__init__()
        encoder = settings.encoder
        self.encoder = nn.Identity() if encoder is None else BevEncoder(inputs, encoder)
        self.head = HeightHead(inputs if encoder is None else encoder.channels, heights, settings.head)

    def forward(self, volume: Tensor) -> Tensor:
        """See the class."""
        return self.head(self.encoder(volume.squeeze(4)))


class VolumeBranch(nn.Module):
    """Volume (B, C, X', Y', Z') to logits (B, 10, X, Y, Z) in three dimensions."""

    def __init__(self, inputs: int, shape: tuple[int, int, int], settings: VolumeBranchSettings) -> None:
        super().__init__()
        self.encoder = VoxelEncoder(inputs, settings.encoder)
        self.head = VoxelHead(settings.encoder.channels, len(settings.encoder.widths), shape, settings.head)

    def forward(self, volume: Tensor) -> Tensor:
        """See the class."""
        return self.head(self.encoder(volume))


def build_model(settings: ModelSettings, pretrained: bool = False) -> OccupancyModel:
    """The network of the settings.

    Args:
        settings: what to build.
        pretrained: fetch the backbone weights that the settings name, to start training from; without it nothing is
            ever downloaded, and weights are random until a checkpoint is loaded.

    Raises:
        DataError: settings that do not fit together, or weights that cannot be had.
    """
    return OccupancyModel(settings, pretrained)


def _check_image_size(images: InputSettings, stride: int) -> None:
    """Feature cells must tile the image, or their rays and their lidar returns would be those of other pixels."""
    if images.width % stride or images.height % stride:
        raise DataError(
            "model", "input", f"images of {images.width} x {images.height}", f"width and height divisible by {stride}"
        )


def _check_parts(settings: ModelSettings) -> None:
    """Raise DataError unless there is exactly one way from features to a volume, and one from there to classes."""
    lifts = settings.depth_net is not None and settings.lift is not None
    if lifts == (settings.bev_queries is not None) or (settings.depth_net is None) != (settings.lift is None):
        parts = [name for name in ("depth_net", "lift", "bev_queries") if getattr(settings, name) is not None]
        raise DataError("model", "parts", " and ".join(parts) or "none", "depth_net and lift, or bev_queries")
    for name in ("semantic_attention", "bev_attention"):
        if settings.bev_queries is not None and getattr(settings, name) is not None:
            raise DataError("model", name, "beside bev_queries", "null: there is no depth it could use")
    if (settings.flat is None) == (settings.volume is None):
        found = "both" if settings.flat is not None else "neither"
        raise DataError("model", "flat, volume", found, "exactly one of the two")
    shape, columns = volume_shape(settings), (*settings.input.grid.shape[:2], 1)
    if settings.flat is not None and shape != columns:
        raise DataError("model", "lift.shape", shape, f"{columns}, the columns of the output grid")
    if settings.volume is not None and settings.bev_queries is not None:
        raise DataError("model", "volume", "beside bev_queries", "flat: queries make a bird's-eye view")


def volume_shape(settings: ModelSettings) -> tuple[int, int, int]:
    """Cells of the volume that features are brought to: of the lift, or one query on every column of the grid."""
    x, y, _ = settings.input.grid.shape
    return (x, y, 1) if settings.lift is None else settings.lift.shape


def _branch(settings: ModelSettings, inputs: int) -> FlatBranch | VolumeBranch:
    grid = settings.input.grid
    if settings.volume is not None:
        return VolumeBranch(inputs, grid.shape, settings.volume)
    assert settings.flat is not None
    return FlatBranch(inputs, grid.shape[2], settings.flat)


def bevdet_occ(size: str) -> ModelSettings:
    """BEVDet-Occ: a lifted volume, three-dimensional encoder and head."""
    if size == "full":
        lift = LiftSettings((100, 100, 8))
        branch = VolumeBranchSettings()
    elif size == "laptop":
        lift = LiftSettings((64, 64, 4))
        branch = VolumeBranchSettings(
            VoxelEncoderSettings(widths=(24, 48, 96), strides=(1, 2, 2), blocks=1, channels=48), VoxelHeadSettings(24)
        )
    else:
        lift = LiftSettings((16, 16, 2))
        branch = VolumeBranchSettings(
            VoxelEncoderSettings(widths=(8, 16), strides=(1, 2), blocks=1, channels=16), VoxelHeadSettings(8)
        )
    return _lifted("bevdet-occ", size, lift, volume=branch)


def flashocc(size: str) -> ModelSettings:
    """FlashOcc: a lifted bird's-eye view, two-dimensional encoder, channel-to-height head."""
    x, y, _ = _input(size).grid.shape
    if size == "full":
        branch = FlatBranchSettings()
    elif size == "laptop":
        branch = FlatBranchSettings(
            BevEncoderSettings(widths=(48, 96, 128), blocks=1, channels=64), HeightHeadSettings(64, 128)
        )
    else:
        branch = FlatBranchSettings(
            BevEncoderSettings(widths=(16, 32), blocks=1, channels=16), HeightHeadSettings(16, 32)
        )
    return _lifted("flashocc", size, LiftSettings((x, y, 1)), flat=branch)


def fb_occ(size: str) -> ModelSettings:
    """FB-OCC: BEVDet-Occ whose lifted volume looks back at the images."""
    return replace(bevdet_occ(size), name="fb-occ", bev_attention=_bev_attention(size))


def ugocc(size: str) -> ModelSettings:
    """UGOCC: FB-OCC made to adapt."""
    return _with_attention("ugocc", fb_occ(size))


def ugocc_2d(size: str) -> ModelSettings:
    """The fast variant of UGOCC: a bird's-eye view in place of a volume."""
    return _with_attention("ugocc-2d", flashocc(size))


def bevformer_occ(size: str) -> ModelSettings:
    """BEVFormer-Occ: queries on the ground plan that look at the images, without depth, and a channel-to-height head.

    The memory of earlier frames is left out, as in every model here.
    """
    images, _ = _image_side(size)
    if size == "full":
        queries, head = BevQueriesSettings(), HeightHeadSettings()
    elif size == "laptop":
        queries = BevQueriesSettings(96, 4, BevAttentionSettings(ffn_ratio=2, query_stride=2))
        head = HeightHeadSettings(96, 128)
    else:
        queries = BevQueriesSettings(16, 2, BevAttentionSettings(heads=2, ffn_ratio=2))
        head = HeightHeadSettings(16, 32)
    flat = FlatBranchSettings(encoder=None, head=head)
    return ModelSettings("bevformer-occ", size, _input(size), images, None, None, queries, flat)


MODELS: Final[dict[str, Callable[[str], ModelSettings]]] = {
    "bevdet-occ": bevdet_occ,
    "flashocc": flashocc,
    "bevformer-occ": bevformer_occ,
    "fb-occ": fb_occ,
    "ugocc": ugocc,
    "ugocc-2d": ugocc_2d,
}
"""Name of every model family and the settings of each size of it."""

SIZES: Final = ("debug", "laptop", "full")
"""Seconds, for tests; minutes on two cores; the published shapes."""


def model_settings(name: str, size: str) -> ModelSettings:
    """Settings of a named model.

    Raises:
        DataError: no such model or size.
    """
    if name not in MODELS:
        raise DataError("model", "name", name, f"one of {', '.join(MODELS)}")
    if size not in SIZES:
        raise DataError("model", "size", size, f"one of {', '.join(SIZES)}")
    return MODELS[name](size)


def _input(size: str) -> InputSettings:
    if size == "full":
        return InputSettings(width=704, height=256, grid=OCC3D_GRID)
    if size == "laptop":
        return InputSettings(width=264, height=96, grid=VoxelGrid((-25.6, -25.6, -1.0), (64, 64, 8), 0.8))
    return InputSettings(width=176, height=64, grid=VoxelGrid((-25.6, -25.6, -1.0), (32, 32, 4), 1.6))


def _lifted(
    name: str,
    size: str,
    lift: LiftSettings,
    flat: FlatBranchSettings | None = None,
    volume: VolumeBranchSettings | None = None,
) -> ModelSettings:
    """A model that lifts; as published these know neither camera noise nor canonical depth."""
    images, depth = _image_side(size)
    return ModelSettings(name, size, _input(size), images, depth, lift, None, flat, volume)


def adaptable(settings: ModelSettings) -> ModelSettings:
    """The same network, if it has depth, with depth for any camera: canonical, and trained on noisy calibrations.

    At full size the bins go on, as fine, to 65 m of the reference camera: a wide one's end sooner by its scale.
    """
    if settings.depth_net is None:
        return settings
    bins = DepthBinSettings(1.0, 65.0, 128) if settings.size == "full" else settings.depth_net.bins
    return replace(settings, depth_net=replace(settings.depth_net, camera_noise=0.05, canonical=True, bins=bins))


def _with_attention(name: str, base: ModelSettings) -> ModelSettings:
    """A model with what transfers between fleets: both attentions, and depth for any camera."""
    width = {"full": 128, "laptop": 48, "debug": 8}[base.size]
    return replace(
        adaptable(base),
        name=name,
        semantic_attention=SemanticAttentionSettings(channels=width),
        bev_attention=base.bev_attention or _bev_attention(base.size, query_stride=2),
    )


def _bev_attention(size: str, query_stride: int = 1) -> BevAttentionSettings:
    return BevAttentionSettings(heads=2 if size == "debug" else 8, query_stride=query_stride)


def _image_side(size: str) -> tuple[ImageEncoderSettings, DepthNetSettings]:
    if size == "full":
        return ImageEncoderSettings("resnet50", (3, 4), 256, pretrained=True), DepthNetSettings(camera_noise=0.0)
    if size == "laptop":
        encoder = ImageEncoderSettings(
            "resnet18", (2, 3, 4), 64, pretrained=False, widths=(32, 64, 96, 128), stem_width=16
        )
        bins = DepthBinSettings(1.0, 45.0, 44)
        return encoder, DepthNetSettings(96, 48, blocks=2, aspp_rates=(), bins=bins, camera_noise=0.0)
    encoder = ImageEncoderSettings("resnet10t", (2, 3), 16, pretrained=False, widths=(8, 16, 24, 32), stem_width=8)
    return encoder, DepthNetSettings(16, 8, 1, (), DepthBinSettings(1.0, 45.0, 11), camera_noise=0.0)
