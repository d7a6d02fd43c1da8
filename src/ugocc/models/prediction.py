"""What every model returns."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ugocc.errors import DataError


@dataclass
class Prediction:
    """Everything a loss, a metric or a picture may want of one forward pass. Logits are float32.

    h x w is the resolution of the image features, D the number of depth bins. Entries of cameras that a sample does
    not have are zero logits and unscaled bins. Networks without depth have None in its place.
    """

    occupancy: Tensor
    """(B, 10, X, Y, Z) class logits."""
    depth_logits: Tensor | None
    """(B, N, D, h, w) logits over the depth bins of each camera."""
    bin_depths: Tensor | None
    """(B, N, D) float32 metres along the optical axis: increasing centres of the bins, canonical scale included."""
    semantics_2d: Tensor | None
    """(B, N, 10, h, w) class logits of the image, None for models without 2D semantics."""
    bev: Tensor
    """(B, C, X', Y') fused features seen from above, before the encoder: what the domain classifier looks at."""

    def probabilities(self) -> Tensor:
        """(B, 10, X, Y, Z) class probabilities, float32."""
        return self.occupancy.float().softmax(dim=1)

    def depth_distribution(self) -> tuple[Tensor, Tensor]:
        """(B, N, D, h, w) logits of the depth bins and (B, N, D) their centres in metres.

        Raises:
            DataError: a network without depth.
        """
        if self.depth_logits is None or self.bin_depths is None:
            raise DataError("model", "depth_net", "none", "a network that predicts depth")
        return self.depth_logits, self.bin_depths

    def expected_depth(self) -> Tensor:
        """(B, N, h, w) metres along the optical axis: the mean of the depth distribution.

        Raises:
            DataError: a network without depth.
        """
        logits, bins = self.depth_distribution()
        return (logits.float().softmax(dim=2) * bins[..., None, None]).sum(dim=2)
