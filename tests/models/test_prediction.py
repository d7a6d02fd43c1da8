from __future__ import annotations

import pytest
import torch

from ugocc.errors import DataError
from ugocc.models.prediction import Prediction


def test_expected_depth_and_probabilities_by_hand():
    depth_logits = torch.tensor([0.0, 0.0, -1e9]).view(1, 1, 3, 1, 1)
    prediction = Prediction(
        occupancy=torch.zeros(1, 10, 2, 2, 1),
        depth_logits=depth_logits,
        bin_depths=torch.tensor([[[2.0, 4.0, 100.0]]]),
        semantics_2d=None,
        bev=torch.zeros(1, 4, 2, 2),
    )
    assert prediction.expected_depth().shape == (1, 1, 1, 1)
    assert prediction.expected_depth().item() == 3.0
    torch.testing.assert_close(prediction.probabilities(), torch.full((1, 10, 2, 2, 1), 0.1))
    logits, bins = prediction.depth_distribution()
    assert logits is prediction.depth_logits
    assert bins is prediction.bin_depths


def test_a_network_without_depth_says_so():
    prediction = Prediction(torch.zeros(1, 10, 2, 2, 1), None, None, None, torch.zeros(1, 4, 2, 2))
    with pytest.raises(DataError, match="predicts depth"):
        prediction.expected_depth()
