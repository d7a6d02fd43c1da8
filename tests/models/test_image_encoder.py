from __future__ import annotations

from dataclasses import replace

import pytest
import timm
import torch
from safetensors.torch import save_file

from ugocc.errors import DataError
from ugocc.models.image_encoder import IMAGENET_MEAN, ImageEncoder, ImageEncoderSettings, build_backbone

SMALL = ImageEncoderSettings("resnet10t", (2, 3, 4), 12, pretrained=False, widths=(8, 16, 24, 32), stem_width=8)


def test_result_has_the_stride_of_the_finest_level():
    encoder = ImageEncoder(SMALL).eval()
    assert encoder.stride == 8
    assert encoder(torch.rand(2, 3, 64, 88)).shape == (2, 12, 8, 11)
    assert ImageEncoder(replace(SMALL, levels=(3, 4))).stride == 16


def test_every_level_reaches_the_result():
    encoder = ImageEncoder(SMALL).train()
    encoder(torch.rand(2, 3, 64, 96)).square().sum().backward()
    assert all(p.grad is not None for p in encoder.parameters())
    assert all(lateral.weight.grad.any() for lateral in encoder.laterals)


def test_images_are_normalised_inside():
    encoder = ImageEncoder(SMALL).eval()
    seen = []
    encoder.backbone.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    encoder(torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1).expand(1, 3, 32, 32))
    torch.testing.assert_close(seen[0], torch.zeros(1, 3, 32, 32))


def test_weights_from_a_file(tmp_path):
    given = timm.create_model("resnet10t", pretrained=False, num_classes=0)
    save_file(given.state_dict(), tmp_path / "backbone.safetensors")
    settings = ImageEncoderSettings("resnet10t", (3, 4), weights=str(tmp_path / "backbone.safetensors"))
    loaded, fresh = build_backbone(settings, pretrained=True), build_backbone(settings)
    weight = given.state_dict()["layer3.0.conv1.weight"]
    assert torch.equal(loaded.state_dict()["layer3.0.conv1.weight"], weight)
    assert not torch.equal(fresh.state_dict()["layer3.0.conv1.weight"], weight)


def test_missing_file_of_weights_is_an_error_that_names_it(tmp_path):
    missing = tmp_path / "absent.safetensors"
    with pytest.raises(DataError, match=r"absent\.safetensors"):
        build_backbone(replace(SMALL, weights=str(missing)), pretrained=True)


def test_failed_download_is_an_error_that_says_what_to_do(monkeypatch):
    def offline(*args, **kwargs):
        raise OSError("cannot reach the hub")

    monkeypatch.setattr(timm, "create_model", offline)
    with pytest.raises(DataError, match=r"cannot reach the hub.*pretrained: false"):
        build_backbone(ImageEncoderSettings("resnet50"), pretrained=True)


def test_nothing_is_fetched_unless_asked(monkeypatch):
    asked = []
    monkeypatch.setattr(timm, "create_model", lambda *args, **kwargs: asked.append(kwargs["pretrained"]))
    build_backbone(ImageEncoderSettings("resnet50"))
    build_backbone(ImageEncoderSettings("resnet50", pretrained=False), pretrained=True)
    build_backbone(ImageEncoderSettings("resnet50"), pretrained=True)
    assert asked == [False, False, True]


def test_unknown_backbone_names_near_ones():
    with pytest.raises(DataError, match=r"resnet51.*resnet"):
        build_backbone(ImageEncoderSettings("resnet51"))
