"""Stages 2 and 3: learning from both fleets, of which only the source has labels.

The adaptation step, in the order in which it happens: the source's labels; the teacher's volume of the clean target
sample; the pseudo-labels: what the sample's drive has voted, or what is sure of that volume; the student's volume of a
harder view of the same sample, against the pseudo-labels, the rendered 2D teacher and the pictures of other times and
cameras; and a classifier that must not be able to tell the fleets apart. Pretraining (stage 2) is the same step without
pseudo-labels, rendering and classifier; after a first stage the source's occupancy losses stay.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from lightning import LightningModule
from torch import Tensor, nn

from ugocc.adaptation.pseudo_labels import pseudo_labels
from ugocc.adaptation.rendering import draw_rays, render_loss, seen_labels
from ugocc.adaptation.reversal import DomainClassifier, domain_loss, reversal_strength
from ugocc.adaptation.selection import pseudo_label_loss
from ugocc.adaptation.strong_view import drop_cameras, misplace_cameras, recolour, refuse_labels, zoom, zoom_maps
from ugocc.adaptation.teacher import batch_statistics, make_teacher, update_teacher
from ugocc.adaptation.views import Evidence, Views, cells_visible, evidence_of, views_of
from ugocc.adaptation.visibility import voxels_in_pictures
from ugocc.adaptation.voted import read_voted
from ugocc.adaptation.voting import voted_loss, with_free_counting
from ugocc.data.batch import Batch
from ugocc.geometry.grid import VoxelGrid
from ugocc.labels import UNKNOWN
from ugocc.losses.references import prediction_photometric_loss, references_of
from ugocc.losses.semantics import semantic_loss
from ugocc.models.assemble import OccupancyModel
from ugocc.models.depth_net import CameraNorm
from ugocc.models.prediction import Prediction
from ugocc.training.adapt_settings import AdaptRecipe
from ugocc.training.fit import check_finite, optimiser, step_seed
from ugocc.training.moments import Moments, Pair
from ugocc.training.source import supervised_losses


class Adaptation(LightningModule):
    """A student and its teacher on pairs of samples of both fleets.

    Pseudo-labels are the teacher's volumes of the moment, or, where ``voted`` names a folder, volumes that the frames
    of each drive have voted on; the cameras' 2D labels are then what they should see of those.

    Batch norm: source and target go through the student apart, so each is normalised by its own statistics; the
    teacher normalises the target samples of a step by themselves. Running statistics are estimated afresh, per fleet,
    when a model is saved. The normalisation of camera vectors keeps the statistics it came with.
    """

    def __init__(self, model: OccupancyModel, recipe: AdaptRecipe) -> None:
        super().__init__()
        self.recipe = recipe
        self.model = model
        self.model.recompute = recipe.run.recompute
        self.teacher = make_teacher(model)
        channels = model.bev_channels
        self.voted: Path | None = None
        """Folder of voted volumes that pseudo-labels are made of; None makes them of the teacher's own."""
        self.free = 1.0
        """What free counts in them."""
        self.classifier = DomainClassifier(channels, recipe.adversary) if recipe.adversary.weight else None

    def train(self, mode: bool = True) -> Adaptation:
        """Training mode for the student, without what must not follow the mixture of fleets."""
        super().train(mode)
        self.teacher.eval()
        for module in self.model.modules():
            if isinstance(module, CameraNorm):
                module.eval()
        return self

    def training_step(self, pair: Pair, batch_idx: int) -> Tensor:
        """Sum of the losses of one pair."""
        recipe, step = self.recipe, self.global_step
        seed = step_seed(recipe.run.seed, step, self.global_rank)
        torch.manual_seed(seed)
        target = refuse_labels(pair.target.now)
        for other in pair.target.others:
            refuse_labels(other.batch)
        progress = step / max(recipe.optim.steps, 1)
        of_source = [self.model(moments.now) for moments in pair.sources]
        each = [self._source_losses(*seen) for seen in zip(of_source, pair.sources, strict=True)]
        terms = {k: torch.stack([t[k] for t in each if k in t]).sum() / len(each) for t in each for k in t}
        if recipe.learns_from_target:
            of_target, of_target_terms = self._target_losses(target, pair.target, progress, seed)
            terms |= of_target_terms
            if self.classifier is not None:
                strength = reversal_strength(progress, recipe.adversary)
                batches = [*(moments.now for moments in pair.sources), target]
                fleets = torch.cat([batch.fleet for batch in batches])
                features = torch.cat([*(p.bev for p in of_source), of_target.bev])
                common = common_ground(batches, self.model.settings.input.grid, features)
                if common.any():
                    told = domain_loss(self.classifier, features * common, fleets, strength)
                    terms["adversary"] = recipe.adversary.weight * told.loss
                    self.log("domain_accuracy", told.accuracy.detach(), batch_size=1)
        total = check_finite(terms, (*pair.sources[0].now.tokens, *target.tokens))
        self.log("loss", total.detach(), batch_size=1)
        self.log_dict({f"loss/{k}": v.detach() for k, v in terms.items()}, batch_size=1)
        return total

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """Let the teacher follow the student, before any callback writes either to disk."""
        step = self.global_step
        super().optimizer_step(*args, **kwargs)
        update_teacher(self.teacher, self.model, step, self.recipe.teacher)

    def configure_optimizers(self) -> Any:
        """AdamW over the student and the classifier, and its schedule."""
        learning = nn.ModuleList([self.model] + ([] if self.classifier is None else [self.classifier]))
        return optimiser(learning, self.recipe.optim)

    def transfer_batch_to_device(self, batch: Pair, device: torch.device, dataloader_idx: int) -> Pair:
        """Both fleets' samples and their neighbours."""
        return Pair(tuple(_moments_to(moments, device) for moments in batch.sources), _moments_to(batch.target, device))

    def _source_losses(self, prediction: Prediction, moments: Moments) -> dict[str, Tensor]:
        recipe = self.recipe
        losses = (recipe.occupancy_loss, recipe.depth_loss, recipe.semantic_loss)
        terms = supervised_losses(prediction, moments.now, *losses, self.model.settings.input.grid)
        return terms | self._photometric(prediction, moments, "source")

    def _target_losses(
        self, target: Batch, moments: Moments, progress: float, seed: int
    ) -> tuple[Prediction, dict[str, Tensor]]:
        """The student's prediction of the harder view, and its losses."""
        recipe, weights = self.recipe, self.recipe.weights
        with torch.no_grad(), batch_statistics(self.teacher):
            taught: Prediction = self.teacher(target)
        depth_logits, bins = taught.depth_distribution()
        evidence = evidence_of(taught.semantics_2d, depth_logits, bins, recipe.evidence)
        voted = None
        if self.voted is not None:
            voted = with_free_counting(read_voted(self.voted, target.tokens).to(target.images.device), self.free)
            if weights.rendering or weights.semantics:
                evidence = self._with_voted_labels(evidence, voted, views_of(target))
        rng = np.random.default_rng(seed)
        view = recipe.strong_view
        factor = float(1 + view.zoom * rng.uniform(-1, 1))
        harder = zoom(drop_cameras(target, view.camera_drop, rng), factor)
        believed = misplace_cameras(harder, view.turn_degrees, view.shift, rng)
        student: Prediction = self.model(recolour(believed, view.colour, view.noise, rng))

        terms: dict[str, Tensor] = {}
        grid = self.model.settings.input.grid
        rise = min(1.0, progress / weights.rise) if weights.rise else 1.0
        if weights.pseudo_labels:
            loss = self._pseudo_label_loss(student, taught, voted, target, harder, evidence)
            terms["pseudo_labels"] = rise * weights.pseudo_labels * loss
        if weights.rendering:
            rays, wanted = draw_rays(views_of(target), evidence, recipe.rendering.rays)
            rendered = render_loss(student.occupancy, rays, wanted, grid, recipe.rendering)
            terms |= {k: rise * weights.rendering * v for k, v in rendered.items()}
        if weights.semantics and student.semantics_2d is not None:
            wanted_labels = self._teacher_pixels(target, evidence, factor)
            of_pixels = semantic_loss(student.semantics_2d, wanted_labels, recipe.semantic_loss)
            terms["target_semantics"] = rise * weights.semantics * of_pixels
        terms |= self._photometric(student, Moments(harder, moments.others), "target")
        return student, terms

    def _pseudo_label_loss(
        self,
        student: Prediction,
        taught: Prediction,
        voted: Tensor | None,
        target: Batch,
        harder: Batch,
        evidence: Evidence,
    ) -> Tensor:
        """Of the voxels in the pictures that the student has, against voted volumes or the teacher's of the moment."""
        recipe, grid = self.recipe, self.model.settings.input.grid
        # What only a dropped camera saw cannot be asked of the student.
        visible = voxels_in_pictures(views_of(harder), grid)
        if voted is not None:
            return voted_loss(student.occupancy, voted, visible.float())
        views, believed = views_of(target), evidence if recipe.agreement else None
        labels = pseudo_labels(taught.occupancy.float(), views, believed, grid, recipe.pseudo_labels)
        return pseudo_label_loss(student.occupancy, labels.labels, labels.weights * visible)

    def _with_voted_labels(self, evidence: Evidence, voted: Tensor, views: Views) -> Evidence:
        """Evidence whose 2D labels are what the cameras should see of the voted volumes, where that is sure."""
        recipe, size = self.recipe, (evidence.labels.shape[-2], evidence.labels.shape[-1])
        grid = self.model.settings.input.grid
        labels = seen_labels(voted, views, size, grid, recipe.rendering, recipe.voting.sure)
        return replace(evidence, labels=torch.where(labels == UNKNOWN, evidence.labels, labels))

    def _teacher_pixels(self, target: Batch, evidence: Evidence, factor: float) -> Tensor:
        """2D pseudo-labels of the student's view: maps of an outside network where the batch has them, else the
        teacher's own."""
        given = target.semantics_2d
        if bool((given != UNKNOWN).any()):
            labels = given
        else:
            rows, columns = evidence.labels.shape[-2:]
            labels = evidence.labels.masked_fill(~cells_visible(views_of(target), (rows, columns)), UNKNOWN)
        return zoom_maps(labels, factor, fill=UNKNOWN)

    def _photometric(self, prediction: Prediction, moments: Moments, fleet: str) -> dict[str, Tensor]:
        recipe = self.recipe
        weight = recipe.weights.photometric_source if fleet == "source" else recipe.weights.photometric_target
        if not weight:
            return {}
        references = references_of(moments.now, moments.others, recipe.references)
        if references is None:
            return {}
        settings = replace(recipe.photometric, weight=recipe.photometric.weight * weight)
        compared = prediction_photometric_loss(prediction.expected_depth(), moments.now, references, settings)
        return {f"photometric_{fleet}": compared.loss}


def common_ground(batches: Sequence[Batch], grid: VoxelGrid, features: Tensor) -> Tensor:
    """(1, 1, X, Y) of bird's-eye features (B, C, X, Y): 1 where cameras of every sample look, 0 elsewhere.

    Rigs leave footprints: a classifier that sees where features end knows the fleet, and learns nothing else.
    """
    columns = torch.cat([voxels_in_pictures(views_of(batch), grid).any(dim=-1) for batch in batches])
    seen_by_all = columns.all(dim=0)[None, None].to(features)
    return F.interpolate(seen_by_all, features.shape[-2:], mode="nearest")


def _moments_to(moments: Moments, device: torch.device) -> Moments:
    others = tuple(o._replace(batch=o.batch.to(device), exists=o.exists.to(device)) for o in moments.others)
    return Moments(moments.now.to(device), others)
