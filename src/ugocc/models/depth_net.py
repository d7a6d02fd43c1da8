"""Camera-aware depth net (BEVDepth, Li et al. 2023): image features to a depth distribution and what is lifted."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ugocc.models.blocks import ResidualBlock, conv_norm_relu
from ugocc.models.camera_vector import CAMERA_NUMBERS
from ugocc.models.cameras import Cameras


@dataclass(frozen=True)
class DepthBinSettings:
    """Bins along the optical axis."""

    nearest: float = 1.0
    """Lower edge of the first bin in metres."""
    farthest: float = 42.0
    """Upper edge of the last bin in metres."""
    count: int = 82
    """Number of bins."""
    spacing: Literal["uniform", "log"] = "uniform"
    """Bins of equal width, or of equal ratio."""


@dataclass(frozen=True)
class DepthNetSettings:
    """Depth and context from image features and a camera's calibration."""

    channels: int = 512
    """Width of the net."""
    context_channels: int = 80
    """Channels of the context, which is what is lifted."""
    blocks: int = 3
    """Residual blocks of the depth branch."""
    aspp_rates: tuple[int, ...] = (1, 6, 12, 18)
    """Dilations of the pyramid pooling, beside a global branch; empty for none."""
    bins: DepthBinSettings = DepthBinSettings()
    """Depth bins; with canonical geometry, those of the reference camera."""
    camera_noise: float = 0.05
    """In training every number of the camera vector is multiplied by 1 + camera_noise * normal."""
    canonical: bool = False
    """Predict depth for a reference camera, rescaled by each camera's calibration; tell the net at which canonical
    depth the ray of every feature meets the ground; and lift every feature with the solid angle it covers."""
    reference_focal: float = 0.79
    """Focal length of the reference camera in image widths (nuScenes' front camera: 1266 pixels of 1600)."""
    reference_height: float = 1.5
    """Height of the reference camera above the ground in metres."""
    height_power: float = 0.0
    """The canonical scale holds the camera's height to this power. 1 is right for the ground and wrong for all that is
    known by its size; 0 is right for sizes, and the height is left to the code of the ground."""
    scale_range: tuple[float, float] = (0.4, 2.5)
    """Canonical scales are clamped to this range, so that a strange calibration cannot collapse or explode the bins."""


GROUND_NUMBERS: Final = 13
"""What every feature cell is told about the ground behind it, see :func:`ground_code`."""


class DepthNet(nn.Module):
    """Features (M, inputs, h, w) and camera vectors (M, 27) to context (M, C, h, w) and depth logits (M, D, h, w).

    With canonical geometry it also takes the code of the ground, (M, GROUND_NUMBERS, h, w): a network that sees one
    rig learns which row of the picture is how far away, and on another rig the horizon is in another row.
    """

    def __init__(self, inputs: int, settings: DepthNetSettings) -> None:
        super().__init__()
        width = settings.channels
        self.settings = settings
        self.reduce = conv_norm_relu(inputs + (GROUND_NUMBERS if settings.canonical else 0), width)
        self.camera_norm = CameraNorm(CAMERA_NUMBERS)
        self.context_gate = CameraGate(CAMERA_NUMBERS, width)
        self.depth_gate = CameraGate(CAMERA_NUMBERS, width)
        self.context = nn.Conv2d(width, settings.context_channels, 1)
        self.depth = nn.Sequential(*(ResidualBlock(width, width) for _ in range(settings.blocks)))
        if settings.aspp_rates:
            self.depth.append(PyramidPooling(width, settings.aspp_rates))
        self.depth.append(nn.Conv2d(width, settings.bins.count, 1))

    def forward(self, features: Tensor, vector: Tensor, ground: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """See the class."""
        if ground is not None:
            features = torch.cat([features, ground.to(features.dtype)], dim=1)
        if self.training and self.settings.camera_noise > 0:
            vector = vector * (1 + self.settings.camera_noise * torch.randn_like(vector))
        camera = self.camera_norm(vector)
        x = self.reduce(features)
        return self.context(self.context_gate(x, camera)), self.depth(self.depth_gate(x, camera))


class CameraNorm(nn.BatchNorm1d):
    """Batch norm of camera vectors (M, numbers), without scale and shift (a linear layer follows).

    A single camera has no statistics of its own, so it is normalised by the running ones in training too. Values are
    clamped to eight standard deviations: a number that never varied on the training rig must not swamp the gates when
    it does on another.
    """

    def __init__(self, numbers: int) -> None:
        super().__init__(numbers, affine=False)

    def forward(self, input: Tensor) -> Tensor:
        """See the class."""
        if self.training and input.shape[0] < 2:
            normal = F.batch_norm(input, self.running_mean, self.running_var, training=False, eps=self.eps)
        else:
            normal = super().forward(input)
        return normal.clamp(-8, 8)


class CameraGate(nn.Module):
    """Squeeze-excite gate driven by the camera (M, numbers): weights the channels of (M, C, h, w)."""

    def __init__(self, numbers: int, channels: int) -> None:
        super().__init__()
        self.embed = nn.Sequential(nn.Linear(numbers, channels), nn.ReLU(inplace=True), nn.Linear(channels, channels))
        # The two 1x1 convolutions of squeeze-excite on a 1x1 map, which is what a linear layer is.
        self.excite = nn.Sequential(nn.Linear(channels, channels), nn.ReLU(inplace=True), nn.Linear(channels, channels))

    def forward(self, features: Tensor, camera: Tensor) -> Tensor:
        """See the class."""
        return features * self.excite(self.embed(camera)).sigmoid()[:, :, None, None]


class PyramidPooling(nn.Module):
    """Atrous spatial pyramid pooling (Chen et al. 2017): dilated branches and a global one, joined.

    The global branch has no batch norm, for it has one value per camera and a batch may hold a single camera.
    """

    def __init__(self, channels: int, rates: tuple[int, ...]) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            conv_norm_relu(channels, channels, 1 if rate == 1 else 3, dilation=rate) for rate in rates
        )
        self.everywhere = nn.Conv2d(channels, channels, 1)
        self.join = conv_norm_relu(channels * (len(rates) + 1), channels, 1)
        self.dropout = nn.Dropout(0.5)

    def forward(self, x: Tensor) -> Tensor:
        """(M, C, h, w) to the same shape."""
        overall = F.relu(self.everywhere(x.mean(dim=(2, 3), keepdim=True))).expand_as(x)
        return self.dropout(self.join(torch.cat([*(branch(x) for branch in self.branches), overall], dim=1)))


def bin_centres(settings: DepthBinSettings) -> Tensor:
    """(D,) float32 centres of the bins in metres, increasing."""
    if settings.spacing == "log":
        ratio = settings.farthest / settings.nearest
        edges = settings.nearest * ratio ** (torch.arange(settings.count + 1, dtype=torch.float64) / settings.count)
    else:
        edges = torch.linspace(settings.nearest, settings.farthest, settings.count + 1, dtype=torch.float64)
    return ((edges[1:] + edges[:-1]) / 2).float()


def canonical_scale(cameras: Cameras, settings: DepthNetSettings) -> Tensor:
    """(M,) factor from canonical to metric depth: (f / f_ref) (h / h_ref)^p.

    An object of a given size fills pixels in proportion to f / depth. A point of the ground seen ``v - c_y`` rows below
    the horizon is at depth f h / (v - c_y). So the same picture means a depth in proportion to the focal length f, and
    for the ground (p = 1) also to the height h of the camera.
    """
    height = cameras.heights().clamp(min=0.1) / settings.reference_height
    scale = relative_focal(cameras, settings) * height**settings.height_power
    return scale.clamp(*settings.scale_range)


def relative_focal(cameras: Cameras, settings: DepthNetSettings) -> Tensor:
    """(M,) focal length in those of the reference camera."""
    return cameras.focal_lengths() / (settings.reference_focal * cameras.image_size[1])


def solid_angle(cameras: Cameras, settings: DepthNetSettings) -> Tensor:
    """(M,) solid angle of a feature cell on the optical axis, in those of the reference camera: (f_ref / f)^2.

    A surface fills cells in proportion to f^2, and the lift sums over them. Weighted by this, what is lifted of a
    surface is the same through a wide lens, in few cells, as through a long one, in many.
    """
    return relative_focal(cameras, settings).clamp(*settings.scale_range) ** -2


def ground_code(cameras: Cameras, settings: DepthNetSettings, size: tuple[int, int]) -> Tensor:
    """(M, GROUND_NUMBERS, h, w) where, in canonical depth, the ray of every feature cell meets the plane z = 0.

    The first number is ten times the inverse depth, negative above the horizon; the others are bumps along the
    logarithm of the depth, all 0 above the horizon, from which a convolution reads a depth bin directly.

    Args:
        cameras: M cameras.
        settings: reference camera and clamp of the scale.
        size: rows h and columns w of the features.
    """
    rows, columns = size
    height, width = cameras.image_size
    with torch.autocast(cameras.images.device.type, enabled=False):
        k = cameras.pixel_intrinsics.float()
        v = (torch.arange(rows, device=k.device) + 0.5) * (height / rows) - 0.5
        u = (torch.arange(columns, device=k.device) + 0.5) * (width / columns) - 0.5
        pixels = torch.stack(
            [u.repeat(rows), v.repeat_interleave(columns), torch.ones(rows * columns, device=k.device)]
        )
        falling = -(cameras.ego_T_camera[:, 2:3, :3].float() @ torch.linalg.inv(k) @ pixels).view(-1, 1, rows, columns)
    scale = canonical_scale(cameras, settings) / cameras.heights().clamp(min=0.1)
    inverse = falling * scale[:, None, None, None]
    depth = torch.log(1 / inverse.clamp(min=1e-3))
    centres = torch.linspace(math.log(2.0), math.log(60.0), GROUND_NUMBERS - 1, device=k.device)[:, None, None]
    bumps = torch.exp(-(((depth - centres) / (centres[1] - centres[0])) ** 2)) * (inverse > 1e-3)
    return torch.cat([10 * inverse, bumps], dim=1)


def bin_depths(cameras: Cameras, settings: DepthNetSettings) -> Tensor:
    """(M, D) centre of every bin of every camera in metres."""
    centres = bin_centres(settings.bins).to(cameras.images.device)
    if not settings.canonical:
        return centres.expand(len(cameras.sample), -1)
    return centres * canonical_scale(cameras, settings)[:, None]


def depth_bins(depth: Tensor, bin_depths: Tensor) -> tuple[Tensor, Tensor]:
    """The bin of each depth: borders are half-way between centres, the outer bins are symmetric about theirs.

    Args:
        depth: (..., h, w) metres.
        bin_depths: (..., D) increasing centres in metres.

    Returns:
        (..., h, w) int64 bin and bool whether the depth lies in any bin.
    """
    middle = (bin_depths[..., 1:] + bin_depths[..., :-1]) / 2
    first = 2 * bin_depths[..., :1] - middle[..., :1]
    last = 2 * bin_depths[..., -1:] - middle[..., -1:]
    borders = torch.cat([first, middle, last], dim=-1).contiguous()
    index = torch.searchsorted(borders, depth.flatten(-2).contiguous(), right=True).view(depth.shape) - 1
    inside = (index >= 0) & (index < bin_depths.shape[-1])
    return index.clamp(0, bin_depths.shape[-1] - 1), inside
