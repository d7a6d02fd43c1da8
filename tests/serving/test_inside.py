from __future__ import annotations

from pathlib import Path

import pytest
import torch

from ugocc.data.batch import Batch, collate
from ugocc.data.dataset import FrameDataset
from ugocc.data.source import open_fleet
from ugocc.errors import DataError
from ugocc.models.assemble import OccupancyModel, build_model, model_settings, volume_shape
from ugocc.models.deformable import deformable_sum
from ugocc.models.semantic_attention import attend_in_windows
from ugocc.serving.inside import glances, look_inside, query_at, window_attention


@pytest.fixture(scope="module")
def model() -> OccupancyModel:
    torch.manual_seed(0)
    return build_model(model_settings("ugocc", "debug")).eval()


@pytest.fixture(scope="module")
def batch(tiny_fleets: Path, model: OccupancyModel) -> Batch:
    return FrameDataset(open_fleet(tiny_fleets / "five", "val"), model.settings.input)[1]


def test_looking_inside_changes_nothing_and_leaves_no_hook(model: OccupancyModel, batch: Batch):
    inside = look_inside(model, batch)
    with torch.no_grad():
        assert torch.equal(inside.prediction.occupancy, model(batch).occupancy)
    assert not any(module._forward_hooks for module in model.modules())
    x, y, _ = volume_shape(model.settings)
    assert inside.arrived.shape == (x, y)
    assert inside.lifted.shape == inside.refined.shape == (model.bev_channels, x, y)
    assert torch.equal(inside.refined, inside.prediction.bev[0])


def test_no_more_arrives_than_the_cells_of_the_images_hold(model: OccupancyModel, batch: Batch):
    inside = look_inside(model, batch)
    cameras, _, rows, columns = inside.semantics.shape
    assert 0 < float(inside.arrived.sum()) <= cameras * rows * columns * (1 + 1e-5)


def test_what_a_query_is_said_to_look_at_is_what_it_finds(model: OccupancyModel, batch: Batch):
    attention = model.bev_attention
    assert attention is not None
    inside = look_inside(model, batch)
    size = (batch.images.shape[-2], batch.images.shape[-1])
    with torch.no_grad():
        found = attention.to_images(*inside.given)[0]
        maps = attention.to_images.value(inside.given[1].movedim(1, -1)).movedim(-1, 1)
        for place in ((12.0, 0.0), (8.0, 8.0), (15.0, -7.0)):
            query, _ = query_at(attention, model.settings.input.grid, *place)
            seen = glances(attention, inside, query, size)
            assert seen
            each = [
                deformable_sum(
                    maps[g.camera : g.camera + 1],
                    ((g.pixels + 0.5) / torch.tensor([size[1], size[0]]))[None, None],
                    g.weights[None, None],
                )[0, 0]
                for g in seen
            ]
            result = attention.to_images.result(torch.stack(each).mean(dim=0))
            torch.testing.assert_close(result, found[query], rtol=1e-4, atol=1e-5)


def test_a_query_is_that_of_the_cell_around_a_place(model: OccupancyModel):
    attention, grid = model.bev_attention, model.settings.input.grid
    assert attention is not None
    query, middle = query_at(attention, grid, 3.0, -20.0)
    anchor = attention.anchors[query, 0, :2]
    assert anchor.tolist() == pytest.approx(middle)
    assert abs(middle[0] - 3.0) <= 1.6
    assert abs(middle[1] + 20.0) <= 1.6
    last, _ = query_at(attention, grid, 99.0, 99.0)
    assert last == len(attention.anchors) - 1


def test_window_attention_is_the_models():
    logits, values = torch.randn(1, 10, 4, 4), torch.randn(1, 3, 4, 4)
    weights = window_attention(logits[0])
    mixed = (weights @ values[0].flatten(1).T).T.view(1, 3, 4, 4)
    torch.testing.assert_close(mixed, attend_in_windows(logits, values, 4))


def test_networks_without_the_blocks_and_larger_batches_are_refused(batch: Batch, model: OccupancyModel):
    other = build_model(model_settings("flashocc", "debug")).eval()
    with pytest.raises(DataError, match="both attentions"):
        look_inside(other, batch)
    with pytest.raises(DataError, match="one sample"):
        look_inside(model, collate([batch, batch]))
