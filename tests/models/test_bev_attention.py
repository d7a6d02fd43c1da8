from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from ugocc.data.batch import collate
from ugocc.data.prepare import InputSettings
from ugocc.errors import DataError
from ugocc.geometry.grid import VoxelGrid
from ugocc.models.bev_attention import BevAttention, BevAttentionSettings, ImageAttention, probability_at
from ugocc.models.cameras import Cameras, real_cameras
from ugocc.models.pillars import look, pillar_anchors

GRID = VoxelGrid((-8.0, -8.0, -1.0), (8, 8, 4), 2.0)
INPUT = InputSettings(width=64, height=32, grid=GRID)
SETTINGS = BevAttentionSettings(heads=2, self_points=2, anchor_heights=(0.0, 1.4, 3.0), anchor_points=2)
CHANNELS, BINS, SIZE = 6, 7, (4, 8)


def layer(settings: BevAttentionSettings = SETTINGS, seed: int = 0) -> BevAttention:
    """With every weight random, that nothing hides behind an initial value."""
    torch.manual_seed(seed)
    module = BevAttention(CHANNELS, (8, 8, 2), GRID, settings)
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    return module


def seen_by(cameras: Cameras, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Context, depth probabilities and bins."""
    random = torch.Generator().manual_seed(seed)
    count = len(cameras.sample)
    context = torch.randn(count, CHANNELS, *SIZE, generator=random)
    depth = (2 * torch.randn(count, BINS, *SIZE, generator=random)).softmax(dim=1)
    bins = torch.linspace(1, 13, BINS) * (1 + 0.1 * torch.arange(count)[:, None])
    return context, depth, bins


def volume(samples: int = 1) -> Tensor:
    return torch.randn(samples, CHANNELS, 8, 8, 2, generator=torch.Generator().manual_seed(5))


def bilinear(image: Tensor, place: Tensor, padding: str) -> Tensor:
    """(C, h, w) at one place given in fractions."""
    return F.grid_sample(image[None], 2 * place.view(1, 1, 1, 2) - 1, padding_mode=padding, align_corners=False).view(
        -1
    )


def slow_image_attention(
    module: ImageAttention,
    query: Tensor,
    context: Tensor,
    depth: tuple[Tensor, Tensor] | None,
    cameras: Cameras,
    anchors: Tensor,
) -> Tensor:
    """Query by query, camera by camera, anchor by anchor, head by head, point by point."""
    heads, points = SETTINGS.heads, SETTINGS.anchor_points
    share = CHANNELS // heads
    sight = look(cameras, anchors)
    out = torch.zeros_like(query)
    for b in range(query.shape[0]):
        for q in range(query.shape[1]):
            found, seers = torch.zeros(CHANNELS), 0
            offsets = (query[b, q] @ module.points.offsets.weight.T + module.points.offsets.bias).view(heads, -1, 2)
            logits = (query[b, q] @ module.points.weights.weight.T + module.points.weights.bias).view(heads, -1)
            for m in (cameras.sample == b).nonzero().flatten().tolist():
                if not sight.visible[m, q].any():
                    continue
                seers += 1
                value = torch.einsum("oc,chw->ohw", module.value.weight, context[m]) + module.value.bias[:, None, None]
                for a in range(anchors.shape[1]):
                    distance, place = sight.distances[m, q, a], sight.places[m, q, a]
                    if not sight.visible[m, q, a]:
                        continue
                    likely = torch.tensor(1.0)
                    if depth is not None:
                        probabilities, bins = depth
                        edges = (bins[m, 1:] + bins[m, :-1]) / 2
                        if not 2 * bins[m, 0] - edges[0] <= distance < 2 * bins[m, -1] - edges[-1]:
                            continue
                        likely = bilinear(probabilities[m], place, "border")[int((edges <= distance).sum())]
                    for h in range(heads):
                        channels = slice(h * share, (h + 1) * share)
                        for p in range(points):
                            i = a * points + p
                            there = place + offsets[h, i] / torch.tensor([SIZE[1], SIZE[0]])
                            weight = logits[h].softmax(0)[i] * likely
                            found[channels] += weight * bilinear(value[channels], there, "zeros")
            out[b, q] = module.result(found / max(seers, 1))
    return out


@pytest.mark.parametrize("aware", [True, False])
def test_attention_to_images_equals_loops(aware, make_batch):
    batch = collate([make_batch(INPUT, cameras=2, seed=0), make_batch(INPUT, cameras=4, seed=1)])
    cameras = real_cameras(batch)
    module = layer().to_images
    context, depth, bins = seen_by(cameras)
    anchors = pillar_anchors(GRID, (4, 4), SETTINGS.anchor_heights)
    query = torch.randn(2, 16, CHANNELS)
    known = (depth, bins) if aware else None
    with torch.no_grad():
        fast = module(query, context, known, cameras.sample, look(cameras, anchors))
        slow = slow_image_attention(module, query, context, known, cameras, anchors)
    assert (slow - module.result.bias).abs().amax(dim=2).gt(1e-3).float().mean() > 0.3  # most are seen
    torch.testing.assert_close(fast, slow, rtol=1e-4, atol=1e-5)


def test_whole_layer_by_the_formula(make_batch):
    cameras = real_cameras(make_batch(INPUT, cameras=3))
    module = layer()
    context, depth, bins = seen_by(cameras)
    query = volume().mean(4).flatten(2).transpose(1, 2) + module.embedding
    position = (module.rows + module.columns).reshape(64, CHANNELS)
    attended = module.among_queries(query, position)
    first = F.layer_norm(query + attended, (CHANNELS,), module.norms[0].weight, module.norms[0].bias)
    images = module.to_images(first + position, context, (depth, bins), cameras.sample, look(cameras, module.anchors))
    second = F.layer_norm(first + images, (CHANNELS,), module.norms[1].weight, module.norms[1].bias)
    hidden = F.relu(F.linear(second, module.within[0].weight, module.within[0].bias))
    third = second + F.linear(hidden, module.within[2].weight, module.within[2].bias)
    refined = F.layer_norm(third, (CHANNELS,), module.norms[2].weight, module.norms[2].bias)
    expected = volume() + refined.transpose(1, 2).reshape(1, CHANNELS, 8, 8, 1)
    torch.testing.assert_close(module(volume(), context, depth, bins, cameras), expected)


def test_attention_among_queries_equals_loops():
    module = layer().among_queries
    query, position = torch.randn(1, 64, CHANNELS), torch.randn(64, CHANNELS)
    maps = (query @ module.value.weight.T + module.value.bias)[0].T.reshape(CHANNELS, 8, 8)
    offsets, weights = module.points(query + position)
    expected = torch.zeros(64, CHANNELS)
    for i in range(8):
        for j in range(8):
            for h in range(2):
                share = slice(3 * h, 3 * h + 3)
                for p in range(2):
                    column, row = torch.tensor([j, i]) + offsets[0, i * 8 + j, h, p]
                    place = torch.stack([(column + 0.5) / 8, (row + 0.5) / 8])
                    weight = weights[0, i * 8 + j, h, p]
                    expected[i * 8 + j, share] += weight * bilinear(maps[share], place, "zeros")
    torch.testing.assert_close(module(query, position)[0], module.result(expected), rtol=1e-4, atol=1e-5)


def chosen(cameras: Cameras, order: Tensor) -> Cameras:
    names = ("sample", "images", "intrinsics", "image_affine", "pixel_intrinsics", "ego_T_camera", "volume_T_camera")
    return replace(cameras, **{name: getattr(cameras, name)[order] for name in names})


def test_order_of_cameras_does_not_matter(make_batch):
    cameras = real_cameras(make_batch(INPUT, cameras=6))
    module, (context, depth, bins) = layer(), seen_by(cameras)
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    shuffled = module(volume(), context[order], depth[order], bins[order], chosen(cameras, order))
    torch.testing.assert_close(module(volume(), context, depth, bins, cameras), shuffled, rtol=1e-5, atol=1e-5)


def test_any_number_of_cameras_and_a_twin_changes_nothing(make_batch):
    """The same camera twice is one camera: cameras that see an anchor are averaged, not summed."""
    module = layer()
    for count in (1, 5, 6):
        cameras = real_cameras(make_batch(INPUT, cameras=count))
        context, depth, bins = seen_by(cameras)
        once = module(volume(), context, depth, bins, cameras)
        assert once.shape == (1, CHANNELS, 8, 8, 2)
        twice = torch.arange(count).repeat(2)
        doubled = module(volume(), context[twice], depth[twice], bins[twice], chosen(cameras, twice))
        torch.testing.assert_close(once, doubled, rtol=1e-5, atol=1e-5)


def test_unseen_anchors_and_distances_outside_all_bins_contribute_nothing(make_batch):
    cameras = real_cameras(make_batch(INPUT, cameras=1))
    module, (context, depth, bins) = layer().to_images, seen_by(cameras)
    anchors = pillar_anchors(GRID, (8, 8), SETTINGS.anchor_heights)
    query, sight = torch.randn(1, 64, CHANNELS), look(cameras, anchors)
    nothing = module.result.bias.expand(64, -1)
    unseen = ~sight.visible[0].any(dim=1)
    found = module(query, context, (depth, bins), cameras.sample, sight)[0]
    assert 0 < unseen.sum() < 64
    assert torch.equal(found[unseen], nothing[unseen])
    assert not torch.allclose(found, nothing)
    assert torch.equal(module(query, context, (depth, bins + 100), cameras.sample, sight)[0], nothing)
    blind = replace(sight, visible=torch.zeros_like(sight.visible))
    assert torch.equal(module(query, context, (depth, bins), cameras.sample, blind)[0], nothing)


def test_depth_chooses_the_anchor(make_batch):
    """All probability on a bin: only queries with an anchor at that distance find anything."""
    cameras = real_cameras(make_batch(INPUT, cameras=1))
    module, (context, _, bins) = layer().to_images, seen_by(cameras)
    anchors = pillar_anchors(GRID, (8, 8), SETTINGS.anchor_heights)
    sight = look(cameras, anchors)
    depth = torch.zeros(1, BINS, *SIZE)
    depth[:, 3] = 1.0  # 6 to 8 metres
    found = module(torch.randn(1, 64, CHANNELS), context, (depth, bins), cameras.sample, sight)[0]
    at = (sight.visible & (sight.distances >= 6) & (sight.distances < 8))[0].any(dim=1)
    assert 0 < at.sum() < sight.visible[0].any(dim=1).sum()
    assert torch.equal((found != module.result.bias).any(dim=1), at)


def test_mirrored_volume_and_queries_find_mirrored_features(make_batch):
    batch = make_batch(INPUT, cameras=5)
    turned = replace(batch, bev_T_ego=torch.diag(torch.tensor([1.0, -1.0, 1.0, 1.0]))[None])
    module = layer().to_images
    anchors = pillar_anchors(GRID, (8, 8), SETTINGS.anchor_heights)
    query = torch.randn(1, 64, CHANNELS)
    found = []
    for each, ask in ((batch, query), (turned, query.unflatten(1, (8, 8)).flip(2).flatten(1, 2))):
        cameras = real_cameras(each)
        context, depth, bins = seen_by(cameras)
        seen = module(ask, context, (depth, bins), cameras.sample, look(cameras, anchors))
        found.append(seen.unflatten(1, (8, 8)))
    torch.testing.assert_close(found[0], found[1].flip(2), rtol=1e-3, atol=1e-3)
    assert not torch.allclose(found[0], found[1], atol=1e-2)


def test_coarse_queries_are_interpolated(make_batch):
    cameras = real_cameras(make_batch(INPUT, cameras=3))
    module = layer(replace(SETTINGS, query_stride=2))
    assert module.embedding.shape == (16, CHANNELS)
    added = module(volume(), *seen_by(cameras), cameras) - volume()
    torch.testing.assert_close(added[..., 0], added[..., 1], rtol=1e-4, atol=1e-5)
    # With cell centres aligned, a fine cell mixes the two coarse ones around it three to one; at corners they are held.
    corner, beside = added[0, :, 0, 0, 0], added[0, :, 0, 1:3, 0]
    next_coarse = (beside[:, 0] - 0.75 * corner) / 0.25
    torch.testing.assert_close(beside[:, 1], 0.25 * corner + 0.75 * next_coarse, rtol=1e-3, atol=1e-4)
    assert not torch.allclose(corner, next_coarse, atol=0.02)


def test_probability_at_cell_centres_and_between():
    depth = torch.rand(1, 3, 2, 4)
    places = torch.tensor([[1.5 / 4, 0.25], [1.0, 0.25], [2 / 4, 0.5]]).view(1, 3, 1, 2)
    found = probability_at(depth, places, torch.tensor([2, 0, 1]).view(1, 3, 1)).flatten()
    expected = torch.stack([depth[0, 2, 0, 1], depth[0, 0, 0, 3], depth[0, 1, :, 1:3].mean()])
    torch.testing.assert_close(found, expected)


def test_gradient_reaches_everything_and_two_runs_are_equal(make_batch):
    cameras = real_cameras(make_batch(INPUT, cameras=3))
    grads = []
    for _ in range(2):
        torch.manual_seed(0)
        module = BevAttention(CHANNELS, (8, 8, 2), GRID, SETTINGS)
        context, depth, bins = seen_by(cameras)
        lifted = volume().requires_grad_()
        context.requires_grad_()
        depth.requires_grad_()
        (module(lifted, context, depth, bins, cameras) * torch.linspace(-1, 1, 8)[:, None]).square().sum().backward()
        everything = [*module.parameters(), lifted, context, depth]
        assert all(x.grad is not None and x.grad.any() for x in everything)
        grads.append([x.grad for x in everything])
    assert all(torch.equal(a, b) for a, b in zip(*grads, strict=True))


def test_low_precision_is_close(make_batch):
    cameras = real_cameras(make_batch(INPUT, cameras=6))
    torch.manual_seed(0)
    module = BevAttention(CHANNELS, (8, 8, 2), GRID, SETTINGS)
    exact = module(volume(), *seen_by(cameras), cameras)
    with torch.autocast("cpu", torch.bfloat16):
        low = module(volume(), *seen_by(cameras), cameras)
    assert low.dtype == torch.float32
    torch.testing.assert_close(exact, low, rtol=0.02, atol=0.02)


def test_settings_that_do_not_fit():
    with pytest.raises(DataError, match="heads"):
        layer(replace(SETTINGS, heads=4))
    with pytest.raises(DataError, match="query_stride"):
        layer(replace(SETTINGS, query_stride=3))
    with pytest.raises(DataError, match="anchor_heights"):
        replace(SETTINGS, anchor_heights=())
    with pytest.raises(DataError, match="self_points"):
        replace(SETTINGS, self_points=0)
