"""Scores of a model on a fleet nobody labelled, to choose a checkpoint by. Labels are never read.

No score is proof of quality: a model that always predicts the same street agrees with itself perfectly, and one that
is wrong with confidence has no entropy. They are meant to be read together, for checkpoints of one kind of model.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from ugocc.adaptation.consistency import agreement, entropy, render_consistency, temporal_consistency
from ugocc.adaptation.plausibility import PlausibilitySettings, plausibility
from ugocc.adaptation.rendering import RenderSettings
from ugocc.adaptation.strong_view import recolour, refuse_labels
from ugocc.adaptation.views import EvidenceSettings, views_of
from ugocc.adaptation.visibility import voxels_in_pictures
from ugocc.data.batch import Batch, exact_product
from ugocc.data.dataset import FrameDataset
from ugocc.errors import DataError
from ugocc.extras import later
from ugocc.geometry.camera import flip_affine
from ugocc.labels import FREE
from ugocc.models.prediction import Prediction

stats = later("scipy.stats", "adapt")


@dataclass(frozen=True)
class LabelFreeSettings:
    """How a model is questioned."""

    colour: float = 0.1
    """Strength of the colour jitter of the mirrored pictures that are predicted for comparison."""
    seed: int = 0
    """Of the jitter."""
    sure: EvidenceSettings = field(default_factory=EvidenceSettings)
    """Which cells of the pictures a rendered volume is compared with."""
    rendering: RenderSettings = field(default_factory=RenderSettings)
    """Steps of rendered rays."""
    plausibility: PlausibilitySettings = field(default_factory=PlausibilitySettings)
    """What is physically plausible."""


@dataclass(frozen=True)
class LabelFreeScores:
    """What can be said about a model without labels; from 0 to 1 and higher is better unless said.

    A model that says nothing (no occupied voxel, no sure depth, no vehicle) gets the worst value, so that silence is
    never rewarded. NaN is only what the data or the kind of model cannot give, alike for all models compared.
    """

    agreement: float
    """Mean IoU of the occupied classes between the predictions of true pictures and of mirrored, recoloured ones."""
    depth_error: float
    """Median |ln(rendered / expected depth)|, mean over frames; from 0, lower is better, infinite for no sure depth."""
    render_semantics: float
    """Share of sure 2D classes that the rendered volume shows; NaN for models without 2D semantics."""
    entropy_occupied: float
    """Mean entropy of voxels predicted occupied, share of ln 10; lower is better, 1 if there are none."""
    entropy: float
    """The same over all voxels in pictures; lower is better."""
    temporal: float
    """Share of voxels of static classes still there in the next frame; NaN if no frame has a next one."""
    grounded: float
    """Columns of vehicles level with the nearest road or sidewalk."""
    near_ground: float
    """Columns near the car that hold ground."""
    vehicle_size: float
    """Connected vehicles that have the size of one."""
    classes: int
    """Occupied classes the model predicts at all, 0 to 9. Agreement that rises while classes vanish is collapse."""
    frames: int
    """Number of frames looked at."""

    @property
    def render_depth(self) -> float:
        """exp(-depth_error): 1 if volume and depth agree, 0.5 if they are a factor of two apart."""
        return math.exp(-self.depth_error)

    @property
    def certainty(self) -> float:
        """1 - entropy_occupied."""
        return 1 - self.entropy_occupied

    @property
    def plausibility(self) -> float:
        """Mean of grounded, near_ground and vehicle_size."""
        return (self.grounded + self.near_ground + self.vehicle_size) / 3

    @property
    def combined(self) -> float:
        """Mean of agreement, render_depth, render_semantics, certainty, temporal and plausibility.

        Without weights: there is nothing to tune them on. NaN parts are left out, so only numbers of the same kind of
        model on the same frames can be compared.
        """
        parts = (
            self.agreement,
            self.render_depth,
            self.render_semantics,
            self.certainty,
            self.temporal,
            self.plausibility,
        )
        known = [part for part in parts if not math.isnan(part)]
        return sum(known) / len(known)

    def numbers(self) -> dict[str, float | None]:
        """Everything by name, for JSON: None for what is not a finite number."""
        derived = {name: getattr(self, name) for name in ("render_depth", "certainty", "plausibility", "combined")}
        return {k: v if math.isfinite(v) else None for k, v in (asdict(self) | derived).items()}


class _Seen(NamedTuple):
    """What is kept of a frame."""

    labels: Tensor
    """(X, Y, Z) uint8 predicted classes."""
    within: Tensor
    """(X, Y, Z) bool, voxels in pictures."""
    world_T_ego: np.ndarray
    """(4, 4) float64 pose."""


def mirrored(batch: Batch) -> Batch:
    """The batch with every picture flipped left to right, and its affine, masks and maps with it: the same world."""
    width = batch.images.shape[-1]
    flip = torch.from_numpy(flip_affine(width)).to(batch.image_affine)
    return replace(
        batch,
        images=batch.images.flip(-1),
        image_affine=exact_product(flip, batch.image_affine),
        pixel_mask=batch.pixel_mask.flip(-1),
        depth=batch.depth.flip(-1),
        semantics_2d=batch.semantics_2d.flip(-1),
    )


@torch.no_grad()
def label_free_scores(
    model: nn.Module, dataset: FrameDataset, frames: Sequence[int], settings: LabelFreeSettings | None = None
) -> LabelFreeScores:
    """Score a model on frames of an unlabelled fleet.

    The same model, frames and settings give the same numbers. The model is used in evaluation mode on the device its
    parameters are on, and left in the mode it was in.

    Args:
        model: Batch to Prediction.
        dataset: the fleet, ``labelled=False`` and not augmented.
        frames: which ones, by index; the next frame of each is predicted too, for the temporal score.
        settings: how to question it.

    Raises:
        DataError: no frames, an augmented dataset, or a batch with occupancy labels or lidar depth.
    """
    settings = settings or LabelFreeSettings()
    if not frames:
        raise DataError(dataset.source.fleet, "frames", "none", "at least one frame to score a model on")
    if dataset.augment is not None:
        raise DataError(dataset.source.fleet, "augment", "random changes", "a dataset without augmentation")
    training = model.training
    model.eval()
    try:
        return _question(model, dataset, list(frames), settings)
    finally:
        model.train(training)


def _question(
    model: nn.Module, dataset: FrameDataset, frames: list[int], settings: LabelFreeSettings
) -> LabelFreeScores:
    grid = dataset.settings.grid
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    seen: dict[int, _Seen] = {}

    def look(sample: Batch, index: int) -> tuple[Batch, Prediction]:
        batch = refuse_labels(sample).to(device)
        prediction: Prediction = model(batch)
        within = voxels_in_pictures(views_of(batch), grid)[0].cpu()
        seen[index] = _Seen(_classes(prediction), within, batch.world_T_ego[0].cpu().numpy())
        return batch, prediction

    others, rendered, entropies = [], [], []
    for index in frames:
        sample = dataset[index]
        batch, prediction = look(sample, index)
        rng = np.random.default_rng((settings.seed, index))
        changed = mirrored(recolour(sample, settings.colour, 0.0, rng))
        others.append(_classes(model(changed.to(device))))
        rendered.append(render_consistency(prediction, batch, grid, settings.sure, settings.rendering))
        entropies.append(entropy(prediction.probabilities(), seen[index].within[None].to(device)))
    pairs = [(index, later) for index in frames if (later := dataset.neighbour(index, 1)) is not None]
    for _, later in pairs:
        if later not in seen:
            look(dataset[later], later)
    kept = [_kept(seen[index], seen[later], dataset) for index, later in pairs]
    labels = torch.stack([seen[index].labels for index in frames])
    within = torch.stack([seen[index].within for index in frames])
    physical = plausibility(labels.numpy(), within.numpy(), grid, settings.plausibility)
    found = torch.bincount(labels[within].long(), minlength=FREE)[:FREE]
    knows_2d = prediction.semantics_2d is not None
    return LabelFreeScores(
        agreement=_known([agreement(labels, torch.stack(others), within)], 0.0),
        depth_error=_known([r.depth_error for r in rendered], math.inf),
        render_semantics=_known([r.semantics for r in rendered], 0.0) if knows_2d else math.nan,
        entropy_occupied=_known([occupied for occupied, _ in entropies], 1.0),
        entropy=_known([everywhere for _, everywhere in entropies], 1.0),
        temporal=_known(kept, 0.0) if pairs else math.nan,
        grounded=_known([physical.grounded], 0.0),
        near_ground=_known([physical.near_ground], 0.0),
        vehicle_size=_known([physical.vehicle_size], 0.0),
        classes=int((found > 0).sum()),
        frames=len(frames),
    )


def _kept(now: _Seen, later: _Seen, dataset: FrameDataset) -> float:
    later_T_now = np.linalg.inv(later.world_T_ego) @ now.world_T_ego
    return temporal_consistency(now.labels, later.labels, now.within, later.within, later_T_now, dataset.settings.grid)


def _classes(prediction: Prediction) -> Tensor:
    """(X, Y, Z) uint8 of the only sample, on the processor."""
    return prediction.occupancy[0].argmax(dim=0).to(torch.uint8).cpu()


def _known(values: list[float], silent: float) -> float:
    """Mean of the values that are known; ``silent`` if none is."""
    known = [value for value in values if not math.isnan(value)]
    return sum(known) / len(known) if known else silent


def rank_report(scores: Sequence[float], truth: Sequence[float]) -> dict[str, float]:
    """How well scores would have chosen among candidates, against numbers that only a report may look at.

    Args:
        scores: one per candidate, higher is believed to be better.
        truth: the same candidates' true quality, higher is better.

    Returns:
        ``spearman`` and ``kendall`` (tau-b, which knows ties) rank correlation, NaN for fewer than two candidates or
        if one side is all the same; ``chosen``, the first candidate with the best score; ``best``, the first with the
        best quality; ``regret``, how much quality the choice costs.

    Raises:
        ValueError: no candidates, different lengths, or a number that is NaN.
    """
    if not len(scores) or len(scores) != len(truth):
        raise ValueError(f"{len(scores)} scores and {len(truth)} true values, expected as many of both, at least one")
    if np.isnan(scores).any() or np.isnan(truth).any():
        raise ValueError("a score or true value is NaN")
    comparable = len(set(scores)) > 1 and len(set(truth)) > 1
    chosen, best = int(np.argmax(scores)), int(np.argmax(truth))
    return {
        "spearman": float(stats.spearmanr(scores, truth).statistic) if comparable else math.nan,
        "kendall": float(stats.kendalltau(scores, truth).statistic) if comparable else math.nan,
        "chosen": chosen,
        "best": best,
        "regret": float(truth[best] - truth[chosen]),
    }
