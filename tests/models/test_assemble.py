from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file

from ugocc.config import build_settings, plain
from ugocc.data.batch import Batch, collate
from ugocc.errors import DataError
from ugocc.labels import FREE
from ugocc.losses.depth import DepthLossSettings, depth_loss
from ugocc.losses.occupancy import OccupancyLossSettings, occupancy_loss
from ugocc.losses.semantics import SemanticLossSettings, semantic_loss
from ugocc.models.assemble import MODELS, SIZES, build_model, model_settings, volume_shape
from ugocc.models.cameras import real_cameras
from ugocc.models.cross_view import CrossViewSettings
from ugocc.models.depth_net import GROUND_NUMBERS, bin_depths
from ugocc.models.semantic_attention import SemanticAttention, SemanticAttentionSettings
from ugocc.models.settings import ModelSettings

CAMERA_FIELDS = (
    "images",
    "camera_mask",
    "intrinsics",
    "image_affine",
    "ego_T_camera",
    "depth",
    "semantics_2d",
    "pixel_mask",
)


def debug(name: str, **depth_net) -> ModelSettings:
    settings = model_settings(name, "debug")
    if settings.depth_net is None:
        return settings
    return replace(settings, depth_net=replace(settings.depth_net, **depth_net))


def built(settings: ModelSettings, seed: int = 0) -> torch.nn.Module:
    torch.manual_seed(seed)
    return build_model(settings)


def total_loss(prediction, batch: Batch) -> torch.Tensor:
    terms = occupancy_loss(prediction.occupancy, batch, OccupancyLossSettings())
    loss = sum(terms.values())
    if prediction.depth_logits is not None:
        loss = loss + depth_loss(prediction, batch, DepthLossSettings())
    if prediction.semantics_2d is not None:
        height, width = batch.depth.shape[-2:]
        stripes = (torch.arange(width) // 8 % 10).to(torch.uint8).expand(*batch.camera_mask.shape, height, width)
        loss = loss + semantic_loss(prediction.semantics_2d, stripes, SemanticLossSettings())
    return loss


@pytest.mark.parametrize("name", MODELS)
def test_shapes_and_gradients_to_every_parameter(name, make_batch):
    settings = debug(name, camera_noise=0.05, canonical=True)
    model = built(settings).train()
    for module in model.modules():  # residual branches that start at zero hide what lies before them
        if hasattr(module, "zero_init_last"):
            torch.nn.init.ones_(module.bn2.weight)
        if isinstance(module, SemanticAttention):
            torch.nn.init.ones_(module.gamma)
    batch = make_batch(settings.input, cameras=3, samples=2)
    prediction = model(batch)
    x, y, z = settings.input.grid.shape
    assert prediction.occupancy.shape == (2, 10, x, y, z)
    assert prediction.bev.shape == (2, model.bev_channels, *volume_shape(settings)[:2])
    assert prediction.occupancy.dtype == torch.float32
    if settings.depth_net is None:
        assert prediction.depth_logits is prediction.bin_depths is None
    else:
        assert prediction.depth_logits.shape == (2, 3, settings.depth_net.bins.count, 8, 22)
        assert prediction.bin_depths.shape == (2, 3, settings.depth_net.bins.count)
        assert prediction.depth_logits.dtype == torch.float32
    assert (prediction.semantics_2d is None) == (settings.semantic_attention is None)
    if prediction.semantics_2d is not None:
        assert prediction.semantics_2d.shape == (2, 3, 10, 8, 22)
    total_loss(prediction, batch).backward()
    silent = [n for n, p in model.named_parameters() if p.grad is None or not torch.isfinite(p.grad).all()]
    assert not silent
    assert not [n for n, p in model.named_parameters() if not p.grad.any()]


@pytest.mark.parametrize("name", MODELS)
def test_a_few_steps_reduce_the_loss(name, make_batch):
    settings = debug(name)
    model = built(settings).train()
    batch = make_batch(settings.input, cameras=2)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    losses = []
    for _ in range(12):
        loss = total_loss(model(batch), batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.9 * losses[0]


@pytest.mark.parametrize("name", MODELS)
def test_any_number_of_cameras_through_the_same_weights(name, make_batch):
    settings = debug(name)
    model = built(settings)
    for training in (True, False):
        model.train(training)
        for cameras in (1, 5, 6, 8):
            prediction = model(make_batch(settings.input, cameras=cameras))
            assert torch.isfinite(prediction.occupancy).all()
            assert settings.depth_net is None or prediction.depth_logits.shape[1] == cameras


@pytest.mark.parametrize("name", MODELS)
def test_shuffling_cameras_changes_nothing(name, make_batch):
    settings = debug(name, canonical=True)
    model = built(settings).eval()
    batch = make_batch(settings.input, cameras=6)
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    shuffled = replace(batch, **{name: getattr(batch, name)[:, order] for name in CAMERA_FIELDS})
    with torch.no_grad():
        a, b = model(batch), model(shuffled)
    torch.testing.assert_close(a.occupancy, b.occupancy, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(a.bev, b.bev, rtol=1e-5, atol=1e-5)
    if a.depth_logits is not None:
        torch.testing.assert_close(a.depth_logits[:, order], b.depth_logits, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(a.bin_depths[:, order], b.bin_depths)
    if a.semantics_2d is not None:
        torch.testing.assert_close(a.semantics_2d[:, order], b.semantics_2d, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("name", MODELS)
def test_padded_cameras_change_nothing(name, training, make_batch):
    """Neither the volume nor, in training, the statistics of any batch norm."""
    settings = debug(name)
    batch = make_batch(settings.input, cameras=3)
    padded = collate([batch, make_batch(settings.input, cameras=5, seed=1)])
    padded = replace(padded, **{k: getattr(padded, k)[:1] for k in CAMERA_FIELDS}, bev_T_ego=padded.bev_T_ego[:1])
    assert padded.camera_mask.tolist() == [[True] * 3 + [False] * 2]
    padded.images[:, 3:] = 0.7  # whatever lies in the padding
    models = [built(settings).train(training) for _ in range(2)]
    torch.manual_seed(0)
    a = models[0](batch)
    torch.manual_seed(0)  # the same camera noise
    b = models[1](padded)
    assert torch.equal(a.occupancy, b.occupancy)
    if a.depth_logits is not None:
        assert torch.equal(a.depth_logits, b.depth_logits[:, :3])
        assert not b.depth_logits[:, 3:].any()
    for (name_a, value_a), (_, value_b) in zip(
        models[0].state_dict().items(), models[1].state_dict().items(), strict=True
    ):
        assert torch.equal(value_a, value_b), name_a


@pytest.mark.parametrize("name", MODELS)
def test_samples_of_a_batch_do_not_see_each_other(name, make_batch):
    settings = debug(name)
    model = built(settings).eval()
    samples = [make_batch(settings.input, cameras=2, seed=0), make_batch(settings.input, cameras=4, seed=1)]
    with torch.no_grad():
        together = model(collate(samples)).occupancy
        alone = torch.cat([model(sample).occupancy for sample in samples])
    torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", MODELS)
def test_evaluating_twice_is_bit_identical(name, make_batch):
    settings = debug(name, camera_noise=0.05)
    model = built(settings).eval()
    batch = make_batch(settings.input)
    with torch.no_grad():
        first, second = model(batch), model(batch)
        again = built(settings).eval()(batch)
    for prediction in (second, again):
        assert torch.equal(first.occupancy, prediction.occupancy)
        if first.depth_logits is not None:
            assert torch.equal(first.depth_logits, prediction.depth_logits)


def test_camera_noise_changes_training_only(make_batch):
    settings = debug("flashocc", camera_noise=0.05)
    model = built(settings).train()
    batch = make_batch(settings.input)
    assert not torch.equal(model(batch).depth_logits, model(batch).depth_logits)
    quiet = built(debug("flashocc", camera_noise=0.0)).train()
    assert torch.equal(quiet(batch).depth_logits, quiet(batch).depth_logits)


def test_fresh_models_predict_mostly_free(make_batch):
    for name in MODELS:
        settings = debug(name)
        prediction = built(settings).eval()(make_batch(settings.input))
        assert (prediction.occupancy.argmax(1) == FREE).float().mean() > 0.9


def test_canonical_model_lifts_to_scaled_depths(make_batch):
    settings = debug("flashocc", canonical=True)
    batch = make_batch(settings.input, cameras=2)
    prediction = built(settings).eval()(batch)
    scale = batch.pixel_intrinsics()[0, :, 0, 0] / (settings.depth_net.reference_focal * settings.input.width)
    plain = built(debug("flashocc")).eval()(batch).bin_depths
    torch.testing.assert_close(prediction.bin_depths, plain * scale[None, :, None])


@pytest.mark.parametrize("canonical", [False, True])
def test_canonical_model_lifts_features_with_their_solid_angle(canonical, make_batch):
    settings = debug("flashocc", canonical=canonical)
    model = built(settings).eval()
    batch = make_batch(settings.input, cameras=2)
    seen = {}
    model.depth_net.register_forward_hook(lambda _, inputs, outputs: seen.update(context=outputs[0]))
    model.lift.register_forward_pre_hook(lambda _, inputs: seen.update(lifted=inputs[0]))
    model(batch)
    focal = batch.pixel_intrinsics()[0, :, 0, 0] / (settings.depth_net.reference_focal * settings.input.width)
    weights = focal**-2 if canonical else torch.ones(2)
    assert weights[0] != weights[1] or not canonical
    torch.testing.assert_close(seen["lifted"], seen["context"] * weights[:, None, None, None])


def test_low_precision_is_close(make_batch):
    settings = debug("flashocc", canonical=True)
    model = built(settings).eval()
    batch = make_batch(settings.input)
    with torch.no_grad():
        exact = model(batch)
        with torch.autocast("cpu", torch.bfloat16):
            low = model(batch)
    assert torch.equal(exact.bin_depths, low.bin_depths)
    assert low.occupancy.dtype == torch.float32
    torch.testing.assert_close(exact.probabilities(), low.probabilities(), rtol=0.05, atol=0.02)


@pytest.mark.parametrize("name", MODELS)
def test_weights_survive_safetensors(name, tmp_path, make_batch):
    settings = debug(name)
    model = built(settings, seed=1).eval()
    save_file(model.state_dict(), tmp_path / "weights.safetensors")
    other = built(settings, seed=2).eval()
    other.load_state_dict(load_file(tmp_path / "weights.safetensors"), strict=True)
    batch = make_batch(settings.input, cameras=2)
    assert torch.equal(model(batch).occupancy, other(batch).occupancy)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", MODELS)
def test_settings_survive_being_written(name, size):
    settings = model_settings(name, size)
    assert (settings.name, settings.size) == (name, size)
    assert build_settings(ModelSettings, plain(settings), "test") == settings


def test_models_without_attention_keep_their_weights_and_settings():
    """Checkpoints from before there was any name neither its weights nor its settings."""
    for name in ("bevdet-occ", "flashocc"):
        settings = model_settings(name, "debug")
        written = {k: v for k, v in plain(settings).items() if "attention" not in k and k != "bev_queries"}
        assert build_settings(ModelSettings, written, "test") == settings
        assert not [key for key in built(settings).state_dict() if "attention" in key]


@pytest.mark.parametrize("name", MODELS)
def test_full_size_has_the_published_shapes(name, make_batch):
    settings = model_settings(name, "full")
    model = built(settings).eval()
    lift, branch = volume_shape(settings), model.branch
    assert lift == ((200, 200, 1) if name in ("flashocc", "ugocc-2d", "bevformer-occ") else (100, 100, 8))
    assert model.image_encoder.stride == 16
    images = torch.rand(1, 3, settings.input.height, settings.input.width)
    with torch.inference_mode():
        features = model.image_encoder(images)
        assert features.shape == (1, 256, 16, 44)
        if settings.depth_net is None:
            assert model.bev_queries.embedding.shape == (200 * 200, 256)
        else:
            ground = torch.zeros(1, GROUND_NUMBERS, 16, 44) if settings.depth_net.canonical else None
            context, depth = model.depth_net(features, torch.zeros(1, 27), ground)
            assert context.shape == (1, 80, 16, 44)
            assert depth.shape == (1, 128 if settings.depth_net.canonical else 82, 16, 44)
    # Without data, the rest is a matter of shapes.
    volume = torch.zeros(1, model.bev_channels, *lift, device="meta")
    assert branch.to("meta")(volume).shape == (1, 10, 200, 200, 16)


@pytest.mark.parametrize("size", ["laptop", "full"])
@pytest.mark.parametrize("name", ["ugocc", "ugocc-2d"])
def test_depth_of_a_wide_camera_reaches_the_sides_of_the_volume(name, size, make_batch):
    settings = model_settings(name, size)
    cameras = real_cameras(make_batch(settings.input))
    cameras.pixel_intrinsics[:, :2] *= (809 / 1600 * settings.input.width / cameras.focal_lengths())[:, None, None]
    torch.testing.assert_close(cameras.focal_lengths(), torch.full((6,), 809 / 1600 * settings.input.width))
    assert (bin_depths(cameras, settings.depth_net)[:, -1] > -settings.input.grid.lower[0]).all()


def test_depth_reaches_as_far_as_the_page_on_own_fleets_says():
    nets = [model_settings("ugocc", size).depth_net for size in ("laptop", "full")]
    assert [round(net.bins.farthest / net.reference_focal) for net in nets] == [57, 82]


def test_laptop_size_is_small():
    for name in MODELS:
        count = sum(p.numel() for p in build_model(model_settings(name, "laptop")).parameters())
        assert 1.5e6 < count < 2.8e6


def test_unknown_names_and_settings_that_do_not_fit():
    with pytest.raises(DataError, match="bevdet-occ, flashocc"):
        model_settings("flashoc", "debug")
    with pytest.raises(DataError, match="debug, laptop, full"):
        model_settings("flashocc", "huge")
    settings = model_settings("flashocc", "debug")
    with pytest.raises(DataError, match="exactly one"):
        build_model(replace(settings, flat=None))
    with pytest.raises(DataError, match=r"lift\.shape"):
        build_model(replace(settings, lift=replace(settings.lift, shape=(16, 16, 1))))
    queries = model_settings("bevformer-occ", "debug")
    without = {"lift": None, "depth_net": None}
    for parts in ({"lift": None}, {"depth_net": None}, without, {"bev_queries": queries.bev_queries}):
        with pytest.raises(DataError, match="depth_net and lift, or bev_queries"):
            build_model(replace(settings, **parts))
    with pytest.raises(DataError, match=r"semantic_attention.*there is no depth"):
        build_model(replace(queries, semantic_attention=SemanticAttentionSettings(8)))
    attention = replace(queries.bev_queries.attention, query_stride=5)
    with pytest.raises(DataError, match=r"attention\.query_stride"):
        build_model(replace(queries, bev_queries=replace(queries.bev_queries, attention=attention)))
    with pytest.raises(DataError, match="a multiple of 2 heads"):
        replace(queries.bev_queries, channels=15)
    look_back = model_settings("ugocc", "debug")
    with pytest.raises(DataError, match=r"bev_attention\.heads.*divisor of the 8 channels"):
        build_model(replace(look_back, bev_attention=replace(look_back.bev_attention, heads=3)))
    with pytest.raises(DataError, match=r"bev_attention\.query_stride"):
        build_model(replace(look_back, bev_attention=replace(look_back.bev_attention, query_stride=5)))
    with pytest.raises(DataError, match="divisible by 8"):
        build_model(replace(settings, input=replace(settings.input, width=180)))


def test_cross_view_attention_is_a_setting(make_batch):
    plain_settings = debug("ugocc")
    settings = replace(plain_settings, cross_view=CrossViewSettings(layers=1, heads=2, stride=32))
    model, batch = built(settings).train(), make_batch(plain_settings.input, cameras=3)
    total_loss(model(batch), batch).backward()
    assert model.cross_view.result.weight.grad.abs().sum() > 0
    assert built(plain_settings).cross_view is None
    assert build_settings(ModelSettings, plain(settings), "test") == settings
