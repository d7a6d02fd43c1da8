"""Depth against lidar: the usual errors, in metres and after median scaling.

The measures are those of Eigen et al. (NIPS 2014), the protocol that of self-supervised depth (Godard et al., ICCV
2019): predictions are brought to the resolution of the truth and clamped to the range that counts, errors are averaged
over the pixels of an image and then over images.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor
from torchmetrics import Metric

Array = NDArray[np.float64]

MEASURES: Final = ("abs_rel", "sq_rel", "rmse", "rmse_log", "delta1", "delta2", "delta3")
"""Relative error, squared relative error (m), root mean squared error (m) and of the logarithm, and the share of
pixels whose ratio to the truth is below 1.25, 1.25^2, 1.25^3."""


class DepthMetrics(Metric):
    """Mean depth errors over images.

    Args:
        nearest: smallest true depth that counts, metres.
        farthest: largest true depth that counts, metres.
    """

    full_state_update = False
    sums: Tensor
    images: Tensor

    def __init__(self, nearest: float = 0.5, farthest: float = 50.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.nearest, self.farthest = nearest, farthest
        self.add_state("sums", torch.zeros(2, len(MEASURES), dtype=torch.float64), "sum")
        self.add_state("images", torch.zeros((), dtype=torch.int64), "sum")

    def update(self, predicted: Tensor, truth: Tensor, mask: Tensor | None = None) -> None:
        """Compare some images.

        Args:
            predicted: (..., h, w) metres along the optical axis. Where h, w differ from the truth's, it is
                interpolated between cell centres.
            truth: (..., H, W) metres, 0 where there is no return.
            mask: (..., H, W) bool, pixels that count; None for all.
        """
        height, width = truth.shape[-2:]
        true = truth.reshape(-1, height, width)
        guess = predicted.detach().float().reshape(-1, *predicted.shape[-2:])
        if guess.shape[-2:] != true.shape[-2:]:
            guess = F.interpolate(guess[:, None], (height, width), mode="bilinear", align_corners=False)[:, 0]
        counts = (true >= self.nearest) & (true <= self.farthest)
        if mask is not None:
            counts &= mask.reshape(counts.shape)
        pixels = counts.flatten(1).sum(dim=1).cpu().numpy()
        pixels = pixels[pixels > 0]
        if not len(pixels):
            return
        place = counts.flatten().nonzero()[:, 0]
        g, t = (values.flatten()[place].cpu().numpy() for values in (guess, true))
        ends = pixels.cumsum()[:-1]
        of_true, of_guess = (np.array([_median(part) for part in np.split(v, ends)], np.float64) for v in (t, g))
        factors = (of_true / of_guess.clip(min=1e-6)).repeat(pixels)
        g, t = g.astype(np.float64), t.astype(np.float64)
        self.sums += torch.from_numpy(self._errors(np.stack([g, g * factors]), t, pixels)).to(self.sums)
        self.images += len(pixels)

    def compute(self) -> dict[str, float]:
        """Mean of every measure; those after median scaling are named ``scaled_...``. NaN before any image."""
        means = self.sums / self.images
        return {
            prefix + name: float(value)
            for prefix, row in zip(("", "scaled_"), means, strict=True)
            for name, value in zip(MEASURES, row, strict=True)
        }

    def _errors(self, guess: Array, true: Array, pixels: NDArray[np.int64]) -> Array:
        """(2, 7) sums over images of two kinds of guesses (2, M) at truths (M,), so many pixels of each image."""
        guess = guess.clip(self.nearest, self.farthest)
        difference = guess - true
        ratio = np.maximum(guess / true, true / guess)
        errors = np.stack(
            [
                np.abs(difference) / true,
                difference**2 / true,
                difference**2,
                (np.log(guess) - np.log(true)) ** 2,
                *(ratio < 1.25**power for power in (1, 2, 3)),
            ]
        )
        means = np.add.reduceat(errors, pixels.cumsum() - pixels, axis=2) / pixels  # (7, 2, images)
        means[2:4] **= 0.5
        return means.sum(axis=2).T


def _median(values: NDArray[np.float32]) -> np.float32:
    """The middle value, the lower of two."""
    middle = (len(values) - 1) // 2
    return np.partition(values, middle)[middle]
