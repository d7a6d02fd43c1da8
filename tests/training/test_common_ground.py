from __future__ import annotations

from dataclasses import replace

import torch

from ugocc.adaptation.views import views_of
from ugocc.adaptation.visibility import voxels_in_pictures
from ugocc.models.assemble import model_settings
from ugocc.models.example import example_batch
from ugocc.training.adapt import common_ground


def test_the_fleet_classifier_is_shown_what_cameras_of_every_sample_look_at() -> None:
    inputs = model_settings("flashocc", "debug").input
    batch = example_batch(inputs)
    cameras = batch.camera_mask.shape[1]
    ahead, rest = (
        replace(batch, camera_mask=batch.camera_mask & (torch.arange(cameras) < cameras - 1)),
        replace(batch, camera_mask=batch.camera_mask & (torch.arange(cameras) > 0)),
    )
    seen = [voxels_in_pictures(views_of(b), inputs.grid).any(dim=-1)[0] for b in (ahead, rest)]
    assert not torch.equal(*seen)
    features = torch.zeros(2, 4, *inputs.grid.shape[:2])
    found = common_ground([ahead, rest], inputs.grid, features)
    assert torch.equal(found[0, 0] > 0, seen[0] & seen[1])
    assert 0 < found.sum() < min(seen[0].sum(), seen[1].sum())
    twice = features.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    finer = common_ground([ahead, rest], inputs.grid, twice)
    assert torch.equal(finer[:, :, ::2, ::2], found)
