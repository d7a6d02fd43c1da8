"""The tree of settings of a whole model; each part's settings live beside the part."""

from __future__ import annotations

from dataclasses import dataclass, field

from ugocc.data.prepare import InputSettings
from ugocc.models.bev_attention import BevAttentionSettings
from ugocc.models.bev_encoder import BevEncoderSettings
from ugocc.models.bev_queries import BevQueriesSettings
from ugocc.models.cross_view import CrossViewSettings
from ugocc.models.depth_net import DepthNetSettings
from ugocc.models.heads import HeightHeadSettings, VoxelHeadSettings
from ugocc.models.image_encoder import ImageEncoderSettings
from ugocc.models.lift import LiftSettings
from ugocc.models.semantic_attention import SemanticAttentionSettings
from ugocc.models.voxel_encoder import VoxelEncoderSettings


@dataclass(frozen=True)
class FlatBranchSettings:
    """Encoder and head in two dimensions."""

    encoder: BevEncoderSettings | None = field(default_factory=BevEncoderSettings)
    """Encoder over the bird's-eye view; None leaves it to the queries that made it."""
    head: HeightHeadSettings = field(default_factory=HeightHeadSettings)
    """Channel-to-height head."""


@dataclass(frozen=True)
class VolumeBranchSettings:
    """Encoder and head in three dimensions."""

    encoder: VoxelEncoderSettings = field(default_factory=VoxelEncoderSettings)
    """Encoder over the volume."""
    head: VoxelHeadSettings = field(default_factory=VoxelHeadSettings)
    """Head that mixes the encoder's levels."""


@dataclass(frozen=True)
class ModelSettings:
    """A whole model. Parts that are None are not built."""

    name: str = "flashocc"
    """Name of the model family."""
    size: str = "full"
    """debug (seconds, for tests), laptop (minutes on two cores) or full (the published shapes)."""
    input: InputSettings = field(default_factory=InputSettings)
    """Images and output grid."""
    image_encoder: ImageEncoderSettings = field(default_factory=ImageEncoderSettings)
    """Images to features."""
    depth_net: DepthNetSettings | None = field(default_factory=DepthNetSettings)
    """Features to depth and context."""
    lift: LiftSettings | None = field(default_factory=LiftSettings)
    """Context to volume."""
    bev_queries: BevQueriesSettings | None = None
    """Features to a bird's-eye view in place of ``depth_net`` and ``lift``."""
    flat: FlatBranchSettings | None = None
    """Two-dimensional encoder and head; either this or ``volume``."""
    volume: VolumeBranchSettings | None = None
    """Three-dimensional encoder and head; either this or ``flat``."""
    semantic_attention: SemanticAttentionSettings | None = None
    """Refines the context before it is lifted, and predicts 2D semantics."""
    bev_attention: BevAttentionSettings | None = None
    """Refines the lifted volume by looking back at the images."""
    cross_view: CrossViewSettings | None = None
    """Lets the cameras of a sample look at each other's features before depth is predicted."""
