from __future__ import annotations

from collections.abc import Callable

import pytest

from ugocc.data.batch import Batch
from ugocc.models.example import example_batch

MakeBatch = Callable[..., Batch]


@pytest.fixture
def make_batch() -> MakeBatch:
    """A function that makes batches of noise images on a ring of cameras, with random labels and sparse depth."""
    return example_batch
