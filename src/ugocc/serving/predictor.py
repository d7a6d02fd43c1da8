"""The Predictor: set a frame, get a volume. Separate from the network, so that the network knows no files."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ugocc.adaptation.teacher import reestimate_batchnorm
from ugocc.adaptation.views import views_of
from ugocc.adaptation.visibility import voxels_in_pictures
from ugocc.data.batch import Batch
from ugocc.data.frame import Frame
from ugocc.data.prepare import prepare
from ugocc.data.transforms import make_sample
from ugocc.devices import device_of
from ugocc.geometry.grid import VoxelGrid
from ugocc.models.assemble import OccupancyModel
from ugocc.serving.exported import ExportedModel, GraphPrecision, Runtime, open_model


@dataclass(frozen=True)
class PredictedVolume:
    """What the network says about one frame."""

    token: str
    """Token of the frame."""
    classes: NDArray[np.uint8]
    """(X, Y, Z) most probable class."""
    confidence: NDArray[np.float32]
    """(X, Y, Z) its probability."""
    depth: NDArray[np.float32] | None
    """(N, h, w) expected depth of the feature cells in metres along the optical axis; None from a network without."""
    grid: VoxelGrid
    """Where the voxels are, key ego frame."""


class Predictor:
    """Runs a network on frames in memory or on disk.

    Args:
        model: the network.
        about: its card.
        device: torch device; by default ``ugocc.devices.default_device``.
    """

    def __init__(self, model: OccupancyModel | ExportedModel, about: dict[str, Any], device: str | None = None) -> None:
        self.device = device_of(device, "predictor")
        self.model = model.to(self.device).eval()
        self.about = about

    @classmethod
    def from_pretrained(
        cls,
        folder: str | Path,
        device: str | None = None,
        fleet: str | None = None,
        runtime: Runtime = "onnxruntime",
        precision: GraphPrecision = "float32",
    ) -> Predictor:
        """The Predictor of a model folder (model.json and model.safetensors), or of one that ``ugocc export`` wrote.

        Args:
            folder: model folder.
            device: torch device; by default ``ugocc.devices.default_device``.
            fleet: name of the fleet that will be predicted; if the folder has statistics of it, they are used.
            runtime: what runs an exported graph.
            precision: of an exported graph.

        Raises:
            DataError: a folder that is incomplete or does not fit this version.
        """
        model, about = open_model(Path(folder), fleet, runtime, precision)
        return cls(model, about, device)

    def knows(self, fleet: str) -> bool:
        """Whether the network has batch-norm statistics of a fleet of this name: it was trained or adapted on it."""
        known = {
            self.about.get("train_fleet"),
            self.about.get("target_fleet"),
            *self.about.get("statistics_sha256", ()),
        }
        return fleet in known

    def normalise_by(self, frames: Iterable[Frame]) -> None:
        """Replace the network's batch-norm statistics by those of some frames of the fleet that will be predicted.

        Other lenses and another light shift what a network sees everywhere; statistics need no labels. An exported
        graph keeps what it was exported with.

        Raises:
            DataError: no frames.
        """
        if isinstance(self.model, OccupancyModel):
            reestimate_batchnorm(self.model, (self.sample(frame).to(self.device) for frame in frames))

    def __call__(self, frame: Frame) -> PredictedVolume:
        """Predict one frame. Labels of the frame, if any, are not read."""
        return self.predict(self.sample(frame))

    def sample(self, frame: Frame) -> Batch:
        """The frame as the network sees it, on the CPU, without its labels: a batch of one."""
        settings = self.model.settings.input
        return make_sample(prepare(frame, settings, labelled=False), settings)

    @torch.inference_mode()
    def predict(self, sample: Batch) -> PredictedVolume:
        """Predict what :meth:`sample` made of a frame."""
        prediction = self.model(sample.to(self.device))
        has_depth = prediction.depth_logits is not None
        confidence, classes = prediction.occupancy.float().softmax(dim=1).max(dim=1)
        return PredictedVolume(
            token=sample.tokens[0],
            classes=classes[0].to(torch.uint8).cpu().numpy(),
            confidence=confidence[0].cpu().numpy(),
            depth=prediction.expected_depth()[0].cpu().numpy() if has_depth else None,
            grid=self.model.settings.input.grid,
        )

    def in_pictures(self, sample: Batch) -> NDArray[np.bool_]:
        """(X, Y, Z) voxels in the field of view of a camera of a :meth:`sample`: what is known of it without labels."""
        seen: NDArray[np.bool_] = voxels_in_pictures(views_of(sample), self.model.settings.input.grid)[0].numpy()
        return seen
