from __future__ import annotations

import pytest
import torch

from ugocc.errors import DataError
from ugocc.models.assemble import MODELS, build_model, model_settings
from ugocc.models.cameras import real_cameras
from ugocc.models.cross_view import CrossViewSettings
from ugocc.models.depth_net import bin_centres
from ugocc.models.example import example_batch
from ugocc.models.exportable import ExportableNetwork, rig_tensors
from ugocc.models.lift import lift_geometry, splat
from ugocc.models.lift_tables import lift_by_tables, lift_tables


def network(name: str, seed: int = 0) -> torch.nn.Module:
    torch.manual_seed(seed)
    model = build_model(model_settings(name, "debug")).eval()
    with torch.no_grad():  # nothing that starts at zero may hide
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return model


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("shape", [(16, 16, 1), (8, 12, 4)])
def test_tables_lift_what_the_lift_lifts(shape: tuple[int, int, int], seed: int):
    settings = model_settings("flashocc", "debug")
    assert settings.depth_net is not None
    cameras = real_cameras(example_batch(settings.input, cameras=3, seed=seed))
    size, bins = (4, 11), bin_centres(settings.depth_net.bins).expand(3, -1)
    geometry = lift_geometry(cameras, bins, size, settings.input.grid, (1, *shape))
    random = torch.Generator().manual_seed(seed)
    context = torch.randn(2, 3, 5, *size, generator=random)
    depth = torch.rand(2, 3, bins.shape[1], *size, generator=random)
    tables = lift_tables(geometry, depth[0].numel())
    lifted = lift_by_tables(context, depth, tables, shape)
    for sample in range(2):
        torch.testing.assert_close(lifted[sample : sample + 1], splat(context[sample], depth[sample], geometry))


def test_tables_hold_every_point_once_and_nothing_else():
    settings = model_settings("flashocc", "debug")
    assert settings.depth_net is not None
    cameras = real_cameras(example_batch(settings.input, cameras=2))
    bins = bin_centres(settings.depth_net.bins).expand(2, -1)
    geometry = lift_geometry(cameras, bins, (4, 11), settings.input.grid, (1, 32, 32, 1))
    tables = lift_tables(geometry, 2 * bins.shape[1] * 44)
    found = torch.cat([d[d < 2 * bins.shape[1] * 44] for d in tables.depths])
    assert sorted(found.tolist()) == sorted(geometry.by_cell.depths.tolist())
    with pytest.raises(DataError, match="points of a cell"):
        lift_tables(geometry, 1, buckets=1)


@pytest.mark.parametrize("baked", [True, False])
@pytest.mark.parametrize("name", MODELS)
def test_exportable_network_says_what_the_network_says(name: str, baked: bool):
    model = network(name)
    one, two = (example_batch(model.settings.input, cameras=4, seed=seed) for seed in (1, 2))
    rig = rig_tensors(model, one)
    exportable = ExportableNetwork(model, rig if baked else None)
    images = torch.cat([one.images, two.images])
    with torch.no_grad():
        occupancy, *rest = exportable(images) if baked else exportable(images, rig)
        for i, batch in enumerate((one, two)):
            expected = model(batch)
            torch.testing.assert_close(occupancy[i : i + 1], expected.occupancy, rtol=1e-4, atol=1e-4)
            if expected.depth_logits is not None:
                torch.testing.assert_close(rest[0][i : i + 1], expected.depth_logits, rtol=1e-4, atol=1e-4)


def test_another_rig_gives_another_volume():
    model = network("ugocc")
    batch = example_batch(model.settings.input, cameras=4)
    other = example_batch(model.settings.input, cameras=4)
    other.ego_T_camera[..., :2, 3] += 12.0
    exportable = ExportableNetwork(model)
    with torch.no_grad():
        a, b = (exportable(batch.images, rig_tensors(model, rig))[0] for rig in (batch, other))
        torch.testing.assert_close(b, model(other).occupancy, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(a, b, rtol=0, atol=1e-3)


def test_what_cannot_be_exported_says_so():
    settings = model_settings("flashocc", "debug")
    crossed = build_model(
        type(settings)(**{**vars(settings), "cross_view": CrossViewSettings(layers=1, heads=2, stride=32)})
    )
    with pytest.raises(DataError, match="cross_view"):
        ExportableNetwork(crossed)
    model = network("flashocc")
    with pytest.raises(DataError, match="one sample"):
        rig_tensors(model, example_batch(model.settings.input, samples=2))
