from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from ugocc.data.dataset import FrameDataset
from ugocc.data.frame import Frame, FrameSource
from ugocc.data.source import open_fleet
from ugocc.losses.references import ReferenceSettings, references_of
from ugocc.models.assemble import model_settings
from ugocc.training.moments import MomentDataset


class Changing:
    """A fleet whose second frame has lost its third camera, and lists the others in another order."""

    def __init__(self, whole: FrameSource) -> None:
        self.whole, self.fleet, self.tokens = whole, whole.fleet, whole.tokens

    def __len__(self) -> int:
        return len(self.whole)

    def __getitem__(self, index: int) -> Frame:
        frame = self.whole[index]
        cameras = frame.cameras
        return replace(frame, cameras=(*cameras[3:], *cameras[:2])) if index == 1 else frame

    def __iter__(self):
        return (self[i] for i in range(len(self)))


@pytest.fixture(scope="module")
def fleets(tiny_fleets: Path) -> tuple[FrameDataset, FrameDataset]:
    inputs = model_settings("flashocc", "debug").input
    whole = open_fleet(tiny_fleets / "five", "train", "five")
    return FrameDataset(whole, inputs, labelled=False), FrameDataset(Changing(whole), inputs, labelled=False)


def test_a_lost_camera_is_compared_with_nothing_and_the_others_with_themselves(fleets) -> None:
    whole, changing = (MomentDataset(fleet, (1,))[0, 0] for fleet in fleets)
    (before,), (after,) = whole.others, changing.others
    assert torch.equal(after.batch.camera_mask[0], torch.tensor([True, True, False, True, True]))
    assert not after.batch.pixel_mask[0, 2].any()
    for name in ("images", "intrinsics", "image_affine", "ego_T_camera", "pixel_mask"):
        kept = after.batch.camera_mask[0]
        assert torch.equal(getattr(after.batch, name)[0, kept], getattr(before.batch, name)[0, kept]), name
    references = references_of(changing.now, changing.others, ReferenceSettings(spatial=False))
    assert references is not None
    assert references.mask.flatten(1).any(dim=1).tolist() == [True, True, False, True, True]


def test_a_camera_that_comes_back_has_no_counterpart_where_it_was_lost(fleets) -> None:
    whole, changing = (MomentDataset(fleet, (-1, 1))[1, 0] for fleet in fleets)
    assert changing.now.images.shape[1] == 4
    order = [3, 4, 0, 1]
    for ours, theirs in zip(changing.others, whole.others, strict=True):
        assert ours.batch.camera_mask.all()
        assert torch.equal(ours.batch.images, theirs.batch.images[:, order])
