from __future__ import annotations

import torch
import torch.nn.functional as F

from ugocc.data.batch import collate
from ugocc.data.prepare import InputSettings
from ugocc.geometry.grid import VoxelGrid
from ugocc.models.bev_attention import BevAttentionSettings
from ugocc.models.bev_queries import BevQueries, BevQueriesSettings
from ugocc.models.cameras import real_cameras
from ugocc.models.pillars import look

GRID = VoxelGrid((-8.0, -8.0, -1.0), (8, 8, 4), 2.0)
INPUT = InputSettings(width=64, height=32, grid=GRID)
ATTENTION = BevAttentionSettings(heads=2, self_points=2, anchor_heights=(0.0, 2.0), anchor_points=2, ffn_ratio=2)


def queries(layers: int = 2, stride: int = 1) -> BevQueries:
    """With every weight random, that nothing hides behind an initial value."""
    torch.manual_seed(0)
    attention = BevAttentionSettings(**{**vars(ATTENTION), "query_stride": stride})
    module = BevQueries(5, (8, 8), GRID, BevQueriesSettings(6, layers, attention))
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    return module


def test_layers_by_the_formula(make_batch):
    cameras = real_cameras(make_batch(INPUT, cameras=3))
    features = torch.randn(3, 5, 4, 8)
    module = queries()
    context = torch.einsum("oi,mihw->mohw", module.project.weight[:, :, 0, 0], features)
    context = context + module.project.bias[:, None, None]
    position = (module.rows + module.columns).reshape(64, 6)
    query, sight = module.embedding[None], look(cameras, module.anchors)
    for layer in module.layers:
        norm = [lambda x, n=n: F.layer_norm(x, (6,), n.weight, n.bias) for n in layer.norms]
        query = norm[0](query + layer.among_queries(query, position))
        query = norm[1](query + layer.to_images(query + position, context, None, cameras.sample, sight))
        query = norm[2](query + layer.within(query))
    expected = query[0].T.reshape(1, 6, 8, 8, 1)
    torch.testing.assert_close(module(features, cameras), expected)


def test_shared_queries_are_spread_over_their_cells(make_batch):
    cameras = real_cameras(make_batch(INPUT, cameras=2))
    module = queries(stride=4)
    assert module.embedding.shape == (4, 6)
    bev = module(torch.randn(2, 5, 4, 8), cameras)
    assert bev.shape == (1, 6, 8, 8, 1)


def test_a_query_that_no_camera_sees_does_not_depend_on_the_images(make_batch):
    """Of one camera that looks ahead, nothing reaches the far corner behind it in a layer that looks around little."""
    batch = make_batch(INPUT, cameras=1)
    module = queries(layers=1)
    for linear in (module.layers[0].among_queries.points.offsets, module.layers[0].to_images.points.offsets):
        torch.nn.init.zeros_(linear.weight)
        torch.nn.init.zeros_(linear.bias)
    cameras = real_cameras(batch)
    seen = look(cameras, module.anchors).visible.any(dim=2).view(8, 8)
    a, b = (module(torch.randn(1, 5, 4, 8), cameras)[0, :, :, :, 0] for _ in range(2))
    assert 0 < seen.sum() < 64
    torch.testing.assert_close(a[:, ~seen], b[:, ~seen])
    assert (a - b).abs().amax(dim=0)[seen].min() > 1e-4


def test_samples_with_different_cameras(make_batch):
    one, two = make_batch(INPUT, cameras=1, seed=0), make_batch(INPUT, cameras=4, seed=1)
    module = queries()
    features = [torch.randn(1, 5, 4, 8), torch.randn(4, 5, 4, 8)]
    together = module(torch.cat(features), real_cameras(collate([one, two])))
    alone = [module(f, real_cameras(b)) for f, b in zip(features, (one, two), strict=True)]
    torch.testing.assert_close(together, torch.cat(alone), rtol=1e-4, atol=1e-5)
