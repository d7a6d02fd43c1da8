"""Pictures of one rig re-rendered as another rig's cameras would see them, through depth.

For every new camera: (1) all source pixels are thrown into it as small surface patches and the nearest ones give
its depth; (2) every new pixel looks its place up in the source pictures that saw the same surface, and blends their
colours; (3) pixels without depth look up the sky by direction; (4) narrow gaps take the colour of the farther side,
for what a foreground uncovers is background. The rest is marked invalid.

Colours are looked up backwards, so they are as sharp as one bilinear sampling; only depth is thrown forwards. With
pixel p (homogeneous) and inverse depth q of a source camera, the new pixel is  h = A p + q b  with
A = K' R inv(K) and b = K' t, its depth h_z / q: linear in p and q, so patches between pixels cost one multiplication.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from ugocc.adaptation.rig import Matrices, VirtualRig
from ugocc.errors import DataError
from ugocc.geometry.rigid import inverse
from ugocc.labels import FREE, UNKNOWN


@dataclass(frozen=True)
class TransferSettings:
    """How pictures are re-rendered."""

    oversampling: int = 2
    """Patches per source pixel along each axis; more are needed if new cameras magnify more than twofold."""
    outline: float = 0.12
    """Relative bend of inverse depth between neighbouring pixels that counts as the edge of an object."""
    depth_tolerance: float = 0.04
    """Relative difference of inverse depth up to which a source pixel shows the same surface."""
    depth_slack: float = 0.002
    """The same in 1/m, for the rounding of far ground to whole pixels."""
    feather: float = 0.1
    """Share of a source picture's width over which its weight falls towards its border."""
    least_confidence: float = 0.0
    """Source depth less confident than this is not used. For pictures doubtful depth is better than none."""
    fill: int = 3
    """Width in pixels of the gaps that are filled from their neighbours."""


class TransferredView(NamedTuple):
    """What M new cameras see."""

    images: Tensor
    """(M, 3, h, w) float32 RGB in [0, 1]; the mean colour of what is valid where nothing is."""
    valid: Tensor
    """(M, h, w) bool, pixels that show the world (surfaces, sky, filled gaps)."""
    depth: Tensor
    """(M, h, w) float32 metres along the optical axis, 0 for sky, in filled gaps and where invalid."""
    confidence: Tensor
    """(M, h, w) float32 in [0, 1] of the depth; 0 where there is none."""
    semantics: Tensor
    """(M, h, w) uint8 ten classes, 255 unknown, in filled gaps and where invalid."""


class _Source(NamedTuple):
    """Source pictures, ready to be thrown and looked up."""

    images: Tensor
    """(N, 3, H, W)."""
    inverse_depth: Tensor
    """(N, sH, sW) of patches, 0 where there is none."""
    patch_confidence: Tensor
    """(N, sH, sW)."""
    sky: Tensor
    """(N, H, W) bool."""
    semantics: Tensor
    """(N, H, W) uint8."""
    oversampling: int
    """s."""


@torch.no_grad()
def transfer(
    images: Tensor,
    depth: Tensor,
    confidence: Tensor | None,
    intrinsics: Tensor | Matrices,
    ego_T_camera: Tensor | Matrices,
    rig: VirtualRig,
    semantics: Tensor | None = None,
    sky: Tensor | None = None,
    pixel_mask: Tensor | None = None,
    settings: TransferSettings | None = None,
) -> TransferredView:
    """Re-render N source pictures for the M cameras of ``rig``. Deterministic on the CPU.

    Args:
        images: (N, 3, H, W) RGB in [0, 1].
        depth: (N, H, W) dense depth in metres along the optical axis, 0 where there is none.
        confidence: (N, H, W) of the depth in [0, 1]; None for certain.
        intrinsics: (N, 3, 3) pixels of ``images``.
        ego_T_camera: (N, 4, 4) camera axes to the ego frame that the rig is in, too.
        rig: the new cameras.
        semantics: (N, H, W) uint8 ten classes, 255 unknown; they go along with the colours.
        sky: (N, H, W) bool, pixels at infinity. None: those labelled free, or all without depth if there are no
            ``semantics``.
        pixel_mask: (N, H, W) bool, pixels that show the world; None for all.
        settings: see :class:`TransferSettings`.

    Raises:
        DataError: shapes that do not belong together.
    """
    s = settings or TransferSettings()
    count, _, height, width = images.shape
    optional = {"confidence": confidence, "semantics": semantics, "sky": sky, "pixel_mask": pixel_mask}
    for name, value in {"depth": depth, **optional}.items():
        if value is not None and value.shape != (count, height, width):
            raise DataError(
                "transfer", name, f"shape {tuple(value.shape)}", f"{(count, height, width)} like the images"
            )
    shown = torch.ones_like(depth, dtype=torch.bool) if pixel_mask is None else pixel_mask
    if sky is None:
        sky = depth <= 0 if semantics is None else semantics == FREE
    if semantics is None:
        semantics = torch.full(depth.shape, UNKNOWN, dtype=torch.uint8, device=depth.device)
    certain = torch.ones_like(depth) if confidence is None else confidence
    usable = shown & ~sky & (depth > 0) & (certain >= s.least_confidence)
    q = torch.where(usable, 1 / depth.clamp(min=1e-3), 0.0)
    patches = _patches(q, s)
    enlarged = certain.repeat_interleave(s.oversampling, -2).repeat_interleave(s.oversampling, -1)
    source = _Source(_spread_colours(images, shown), patches, enlarged, sky & shown, semantics, s.oversampling)

    k, pose = _matrices(intrinsics), _matrices(ego_T_camera)
    views = []
    for new_k, new_pose in zip(rig.intrinsics, rig.ego_T_camera, strict=True):
        new_T_source = inverse(new_pose) @ pose
        onto_new = new_k @ new_T_source[:, :3, :3] @ np.linalg.inv(k), (new_k @ new_T_source[:, :3, 3:])[..., 0]
        source_T_new = inverse(new_T_source)
        onto_source = k @ source_T_new[:, :3, :3] @ np.linalg.inv(new_k), (k @ source_T_new[:, :3, 3:])[..., 0]
        new_q, sure = _throw(source, *onto_new, rig.height, rig.width, s)
        views.append(_paint(source, *onto_source, new_q, sure, s))
    return TransferredView(*(torch.stack(parts) for parts in zip(*views, strict=True)))


def _matrices(values: Tensor | Matrices) -> Matrices:
    array = values.detach().cpu().numpy() if isinstance(values, Tensor) else values
    return np.asarray(array, dtype=np.float64)


def _spread_colours(images: Tensor, shown: Tensor) -> Tensor:
    """Images whose hidden pixels have their neighbours' mean colour: bilinear samples at the border need one more."""
    if bool(shown.all()):
        return images
    weight = shown[:, None].to(images)
    around = F.avg_pool2d(images * weight, 3, 1, 1) / F.avg_pool2d(weight, 3, 1, 1).clamp(min=1e-6)
    return torch.where(shown[:, None], images, around)


def _patches(q: Tensor, s: TransferSettings) -> Tensor:
    """(N, H, W) inverse depth to (N, sH, sW): planes continued between pixels, objects cut at their outlines."""
    nearest = q.repeat_interleave(s.oversampling, -2).repeat_interleave(s.oversampling, -1)
    smooth = F.interpolate(q[:, None], scale_factor=s.oversampling, mode="bilinear", align_corners=False)[:, 0]
    # Inverse depth of a plane is linear in the picture: at an outline it bends.
    padded = F.pad(q[:, None], (1, 1, 1, 1), mode="replicate")[:, 0]
    across = (padded[:, 1:-1, 2:] + padded[:, 1:-1, :-2] - 2 * q).abs()
    down = (padded[:, 2:, 1:-1] + padded[:, :-2, 1:-1] - 2 * q).abs()
    flat = (torch.maximum(across, down) < s.outline * q).repeat_interleave(s.oversampling, -2)
    return torch.where(flat.repeat_interleave(s.oversampling, -1), smooth, nearest)


def _project(a: NDArray[np.float64], b: NDArray[np.float64], u: Tensor, v: Tensor, q: Tensor) -> tuple[Tensor, ...]:
    """Homogeneous pixel h = a (u, v, 1) + b q, one tensor per component; u, v broadcast to the shape of q."""
    return tuple(
        torch.add(v * float(a[i, 1]) + (u * float(a[i, 0]) + float(a[i, 2])), q, alpha=float(b[i])) for i in range(3)
    )


def _throw(
    source: _Source, a: NDArray[np.float64], b: NDArray[np.float64], height: int, width: int, s: TransferSettings
) -> tuple[Tensor, Tensor]:
    """Inverse depth (height, width) in a new camera, 0 where nothing falls, and its confidence."""
    fine, per_pixel = source.inverse_depth, source.oversampling
    rows, columns = fine.shape[1:]
    u = (torch.arange(columns, device=fine.device, dtype=torch.float32) + 0.5) / per_pixel - 0.5
    v = ((torch.arange(rows, device=fine.device, dtype=torch.float32) + 0.5) / per_pixel - 0.5)[:, None]
    places, values, sureness = [], [], []
    for i in range(len(fine)):
        if not _may_overlap(fine[i], u, v, a[i], b[i], height, width):
            continue
        x, y, z = _project(a[i], b[i], u, v, fine[i])
        column, row = (x / z).add_(0.5).floor_(), (y / z).add_(0.5).floor_()
        inside = (fine[i] > 0) & (z > 1e-6) & (column >= 0) & (column < width) & (row >= 0) & (row < height)
        places.append((row[inside] * width + column[inside]).long())
        values.append(fine[i][inside] / z[inside])
        sureness.append(source.patch_confidence[i][inside])
    nothing = torch.zeros(height * width, device=fine.device)
    if not places:
        return nothing.view(height, width), nothing.view(height, width)
    place, q, sure = torch.cat(places), torch.cat(values), torch.cat(sureness)
    nearest = nothing.scatter_reduce(0, place, q, "amax")
    # The pixel's centre lies amid the patches of the nearest surface: their mean is its depth. `nearest` lies at the
    # pixel's near border, hence twice the slack.
    front = q >= nearest[place] * (1 - s.depth_tolerance) - 2 * s.depth_slack
    place, q, sure = place[front], q[front], sure[front]
    hits = torch.bincount(place, minlength=height * width).clamp(min=1)
    means = [torch.bincount(place, values, minlength=height * width).float() / hits for values in (q, sure)]
    return means[0].view(height, width), means[1].view(height, width)


def _may_overlap(
    q: Tensor, u: Tensor, v: Tensor, a: NDArray[np.float64], b: NDArray[np.float64], height: int, width: int
) -> bool:
    """Whether any of a few patches, or of the sky beyond them, comes near the new picture."""
    step = max(1, min(q.shape) // 16)
    u, v, q = u[::step], v[::step], q[::step, ::step]
    for depth in (q, torch.zeros_like(q)):
        x, y, z = _project(a, b, u, v, depth)
        margin = 0.1 * width
        near = (x > -margin * z) & (x < (width + margin) * z) & (y > -margin * z) & (y < (height + margin) * z)
        if bool((near & (z > 1e-6)).any()):
            return True
    return False


def _paint(
    source: _Source, a: NDArray[np.float64], b: NDArray[np.float64], new_q: Tensor, sure: Tensor, s: TransferSettings
) -> tuple[Tensor, ...]:
    """The fields of :class:`TransferredView` for one camera, from its inverse depth (h, w), 0 where there is none."""
    height, width = new_q.shape
    # A hole of one or two pixels lies on the surface around it, if that is what the sources see there.
    closed = -F.max_pool2d(-F.max_pool2d(new_q[None], 3, 1, 1), 3, 1, 1)[0]
    q = torch.where(new_q > 0, new_q, closed).flatten()
    seen = _look_up(source, a, b, torch.arange(len(q), device=q.device), q, width, s)
    missed = torch.nonzero((seen.weight == 0) & (new_q.flatten() == 0))[:, 0]
    q[missed] = 0
    sky = _look_up(source, a, b, missed, q[missed], width, s)
    for all_pixels, missed_pixels in zip(seen, sky, strict=True):
        all_pixels[missed] = missed_pixels
    valid = seen.weight > 0
    colour = seen.colour / seen.weight.clamp(min=1e-9)[:, None]

    taken, filled = _fill_gaps(valid.view(height, width), q.view(height, width), s.fill)
    mean = colour[valid].mean(dim=0) if bool(valid.any()) else torch.zeros(3, device=q.device)
    colour = torch.where(filled[:, None], colour[taken], mean)
    surface = valid & (q > 0)
    shape = (height, width)
    return (
        colour.T.reshape(3, *shape),
        filled.view(shape),
        torch.where(surface, 1 / q.clamp(min=1e-6), 0.0).view(shape),
        torch.where(surface, sure.flatten(), 0.0).view(shape),
        seen.label.view(shape),  # unknown where nothing is seen
    )


class _Seen(NamedTuple):
    """What the sources show at P new pixels."""

    colour: Tensor
    """(P, 3) sum of weight x colour."""
    weight: Tensor
    """(P,) sum of weights, 0 where no source sees the surface."""
    label: Tensor
    """(P,) uint8 of the source of most weight."""


def _look_up(
    source: _Source,
    a: NDArray[np.float64],
    b: NDArray[np.float64],
    pixels: Tensor,
    q: Tensor,
    new_width: int,
    s: TransferSettings,
) -> _Seen:
    """Colours of new pixels (P,) (flat places) at inverse depth (P,) in the sources; at 0 only sky answers."""
    u = (pixels % new_width).float()
    v = torch.div(pixels, new_width, rounding_mode="floor").float()
    colour, weight, best = q.new_zeros(len(q), 3), torch.zeros_like(q), torch.zeros_like(q)
    label = torch.full(q.shape, UNKNOWN, dtype=torch.uint8, device=q.device)
    height, width = source.sky.shape[1:]
    for i in range(len(source.images)):
        hx, hy, hz = _project(a[i], b[i], u, v, q)
        x, y = hx / hz, hy / hz
        inside = (hz > 1e-6) & (x > -0.5) & (x < width - 0.5) & (y > -0.5) & (y < height - 0.5)
        chosen = torch.nonzero(inside)[:, 0]
        if not len(chosen):
            continue
        x, y, expected = x[chosen], y[chosen], (q / hz)[chosen]
        column, row = (x + 0.5).long(), (y + 0.5).long()
        fine = source.inverse_depth[i][
            ((y + 0.5) * source.oversampling).long(), ((x + 0.5) * source.oversampling).long()
        ]
        tolerance = s.depth_tolerance * expected + s.depth_slack
        agreement = torch.exp(-(((fine - expected) / tolerance) ** 2)) * ((fine - expected).abs() < 2 * tolerance)
        is_sky = source.sky[i][row, column]
        answers = torch.where(expected > 0, agreement * (fine > 0), is_sky.float())
        border = torch.minimum(torch.minimum(x, width - 1 - x), torch.minimum(y, height - 1 - y)) + 0.5
        part = answers * (border / (s.feather * width)).clamp(0.02, 1)
        grid = torch.stack([(2 * x + 1) / width - 1, (2 * y + 1) / height - 1], dim=-1)[None, None]
        sampled = F.grid_sample(source.images[i][None], grid, padding_mode="border", align_corners=False)[0, :, 0].T
        colour[chosen] += part[:, None] * sampled
        weight[chosen] += part
        better = part > best[chosen]
        best[chosen[better]] = part[better]
        label[chosen[better]] = source.semantics[i][row, column][better]
    return _Seen(colour, weight, label)


def _fill_gaps(valid: Tensor, q: Tensor, width: int) -> tuple[Tensor, Tensor]:
    """Which pixel each pixel takes its contents from, (P,) flat places, and which pixels have contents, (P,) bool.

    Gaps up to twice ``width`` pixels wide are closed, step by step, from the neighbour that is farthest away.
    """
    rows, columns = valid.shape
    taken = torch.arange(rows * columns, device=q.device).view(rows, columns)
    if not width:
        return taken.flatten(), valid.flatten()
    size = 2 * width + 1
    closed = F.max_pool2d(valid[None].float(), size, 1, width)
    gap = (-F.max_pool2d(-closed, size, 1, width)[0] > 0) & ~valid
    near = torch.where(valid, q, torch.inf)
    for _ in range(width):
        around = F.pad(near[None], (1, 1, 1, 1), value=torch.inf)[0]
        places = F.pad(taken[None], (1, 1, 1, 1))[0]
        shifts = ((1, 0), (1, 2), (0, 1), (2, 1))
        options = torch.stack([around[i : i + rows, j : j + columns] for i, j in shifts])
        farthest, which = options.min(dim=0)
        origin = torch.stack([places[i : i + rows, j : j + columns] for i, j in shifts]).gather(0, which[None])[0]
        reached = gap & (near == torch.inf) & (farthest < torch.inf)
        taken, near = torch.where(reached, origin, taken), torch.where(reached, farthest, near)
    return taken.flatten(), (near < torch.inf).flatten()
