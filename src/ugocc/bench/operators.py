"""Losses, selection of pseudo-labels, rendering and metrics, on volumes and pictures of a size."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ugocc.adaptation.pseudo_labels import PseudoLabelSettings, pseudo_labels
from ugocc.adaptation.rendering import RenderSettings, draw_rays, render_loss
from ugocc.adaptation.selection import pseudo_label_loss
from ugocc.adaptation.views import Evidence, views_of
from ugocc.adaptation.visibility import voxels_in_pictures
from ugocc.bench.steps import example_pair
from ugocc.bench.timing import Timing, Work, measure
from ugocc.evaluation.depth import DepthMetrics
from ugocc.evaluation.occupancy import MapTenClass
from ugocc.evaluation.origins import MOST
from ugocc.evaluation.ray_iou import RayIoU
from ugocc.evaluation.volumes import PlausibleShares
from ugocc.labels import FREE, NUM_CLASSES
from ugocc.losses.occupancy import OccupancyLossSettings, occupancy_loss
from ugocc.losses.photometric import PhotometricSettings
from ugocc.losses.references import ReferenceSettings, prediction_photometric_loss, references_of
from ugocc.models.assemble import build_model, model_settings


def measure_operators(size: str, device: torch.device, runs: int, seconds: float) -> dict[str, Timing]:
    """Milliseconds of every operator on one sample, six cameras, of a size of network."""
    inputs = model_settings("flashocc", size).input
    pair = example_pair(inputs, device)
    source, target = pair.sources[0].now, pair.target.now
    grid, cells = inputs.grid, (inputs.height // 8, inputs.width // 8)
    torch.manual_seed(0)
    logits = 3 * torch.randn(1, NUM_CLASSES, *grid.shape, device=device)
    depth = 1 + 30 * torch.rand(1, 6, *cells, device=device)
    labels = torch.randint(0, FREE, depth.shape, device=device).to(torch.uint8)
    views, evidence = views_of(target), Evidence(labels, depth)
    rays, wanted = draw_rays(views, evidence, RenderSettings().rays)
    chosen = pseudo_labels(logits, views, evidence, grid, PseudoLabelSettings())
    references = references_of(target, pair.target.others, ReferenceSettings())
    assert references is not None
    every = OccupancyLossSettings(focal=1.0, cross_entropy=1.0, semantic_scale=1.0, geometric_scale=1.0, lovasz=1.0)

    def occupancy(volume: Tensor) -> Tensor:
        return torch.stack(list(occupancy_loss(volume, source, every).values())).sum()

    def lovasz(volume: Tensor) -> Tensor:
        only = OccupancyLossSettings(focal=0.0, cross_entropy=0.0, semantic_scale=0.0, geometric_scale=0.0, lovasz=1.0)
        return torch.stack(list(occupancy_loss(volume, source, only).values())).sum()

    def rendering(volume: Tensor) -> Tensor:
        return torch.stack(list(render_loss(volume, rays, wanted, grid, RenderSettings()).values())).sum()

    def student(volume: Tensor) -> Tensor:
        return pseudo_label_loss(volume, chosen.labels, chosen.weights)

    def photometric(distances: Tensor) -> Tensor:
        return prediction_photometric_loss(distances, target, references, PhotometricSettings()).loss

    works: dict[str, Work] = {
        "occupancy losses, all, forward and backward": _with_backward(occupancy, logits),
        "Lovasz loss alone, forward and backward": _with_backward(lovasz, logits),
        "photometric loss, forward and backward": _with_backward(photometric, depth),
        "rendering loss, forward and backward": _with_backward(rendering, logits),
        "pseudo-label loss, forward and backward": _with_backward(student, logits),
        "selection of pseudo-labels": lambda: pseudo_labels(logits, views, evidence, grid, PseudoLabelSettings()),
        "voxels in pictures": lambda: voxels_in_pictures(views, grid),
    }
    return measure(works, device, runs=runs, seconds=seconds)


def measure_scoring(size: str, device: torch.device, runs: int, seconds: float) -> dict[str, Timing]:
    """Milliseconds of evaluating one frame: the prediction, and every metric."""
    settings = model_settings("ugocc", size)
    torch.manual_seed(0)
    model = build_model(settings).to(device).eval()
    pair = example_pair(settings.input, device)
    batch = pair.sources[0].now
    street, origins = _street(batch.occupancy), [[(2.0 * i - 7.0, 0.0, 1.8) for i in range(MOST)]]
    with torch.inference_mode():
        distances = model(batch).expected_depth()
    depth = DepthMetrics()
    grid = settings.input.grid
    voxels, rays, plausible = MapTenClass(grid), RayIoU(grid), PlausibleShares(grid)

    @torch.inference_mode()
    def predict() -> object:
        return model(batch).occupancy.argmax(dim=1)

    works: dict[str, Work] = {
        "prediction": predict,
        "map_ten_class, rings and hidden voxels": lambda: voxels.update(street, street, batch.camera_visible),
        f"RayIoU, {MOST} origins": lambda: rays.update(street, street, origins),
        "plausibility": lambda: plausible.update(street, batch.camera_visible),
        "depth metrics": lambda: depth.update(distances, batch.depth),
    }
    return measure(works, device, runs=runs, seconds=seconds)


def _street(like: Tensor) -> Tensor:
    """A ground, blocks along both sides, and nothing between: what rays see of it is what they see of streets."""
    street = torch.full_like(like, FREE)
    street[..., 1] = 3
    street[:, :, : like.shape[2] // 3] = 6
    street[:, ::4, -like.shape[2] // 3 :] = 5
    return street


def _with_backward(loss: Callable[[Tensor], Tensor], values: Tensor) -> Work:
    leaf = values.clone().requires_grad_()

    def work() -> None:
        leaf.grad = None
        loss(leaf).backward()

    return work
