"""What is said of a run should be about the run: remarks of libraries about themselves are left out."""

from __future__ import annotations

import logging
import os
import warnings
from typing import Final

NOISE: Final = (
    r".*LeafSpec.*is deprecated",  # Lightning of its own use of torch
    r"Found \d+ module\(s\) in eval mode",  # the teacher, and what must keep its statistics
    r".*does not have many workers",  # none on a CPU, where they would take the cores that train
    r".*Checkpoint directory .* exists and is not empty",  # a run that goes on
    r".*was configured so validation will run",
    r".*`training_step` returned `None`",
    r"The number of training batches .* is smaller than the logging interval",
    r"Sparse CSR tensor support is in beta",
    r"Sparse invariant checks are implicitly disabled",  # the lift makes such tensors itself, and rightly
    r"Experiment logs directory .* exists and is not empty",  # a run that begins again where it began before
)
"""Beginnings of warnings that ask nothing of a user."""


def quieten() -> None:
    """Leave out warnings that ask nothing of a user and Lightning's notes about itself; show every other one once.

    Nothing is changed where Python was asked for warnings (``-W``, ``PYTHONWARNINGS``).
    """
    for part in ("pytorch", "fabric"):  # not their parents, whose level is set when they are imported
        logging.getLogger(f"lightning.{part}.utilities.rank_zero").setLevel(logging.WARNING)
    os.environ.setdefault("POSSIBLE_USER_WARNINGS", "off")  # Lightning's hints
    if os.environ.get("PYTHONWARNINGS"):
        return
    warnings.simplefilter("once")
    for category in (DeprecationWarning, PendingDeprecationWarning, FutureWarning):
        warnings.simplefilter("ignore", category)
    for beginning in NOISE:
        warnings.filterwarnings("ignore", beginning)
