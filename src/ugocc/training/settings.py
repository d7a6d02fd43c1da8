"""Settings that every stage of training shares: fleets, optimiser, run."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from ugocc.devices import Precision, accelerator_of, precision_of


@dataclass(frozen=True)
class FleetSettings:
    """Where a fleet lies and which part of it is used."""

    root: Path = Path("data/embedded/six")
    """Folder of the fleet: nuScenes tables, Waymo v2 Parquet, or an own-fleet manifest."""
    name: str | None = None
    """Name in results; by default the folder's."""
    split: str = "train"
    """Scenes to use."""
    every: int = 1
    """Take every n-th frame."""


@dataclass(frozen=True)
class OptimSettings:
    """AdamW with linear warm-up and cosine or step decay."""

    steps: int = 100_000
    """Optimisation steps of the whole run."""
    batch_size: int = 1
    """Samples per process and step."""
    lr: float = 1e-4
    """Highest learning rate."""
    trunk: float = 1.0
    """Share of the learning rate for what comes before the lift: image encoder and depth net."""
    weight_decay: float = 1e-2
    """Decoupled weight decay of matrices and kernels; biases and normalisation have none."""
    warmup_steps: int = 200
    """Steps of linear warm-up."""
    decay: Literal["cosine", "step"] = "step"
    """Cosine to ``final``, or times 0.1 at 80 % of the steps."""
    final: float = 0.0
    """Share of the highest learning rate at which a cosine ends: above 0 for a stage that another one continues."""
    clip_norm: float = 5.0
    """Largest gradient norm."""


@dataclass(frozen=True)
class RunSettings:
    """How and where a run executes."""

    folder: Path = Path("runs/source")
    """Everything the run writes; the same folder resumes it."""
    seed: int = 0
    """Decides initial weights, order of samples, augmentation and noise."""
    precision: Precision | Literal["auto"] = "auto"
    """Lightning's precision flag; auto takes bf16-mixed where the device has arithmetic for it, else 32-true."""
    accelerator: str = "auto"
    """cpu, cuda or mps; auto takes cuda where there is one, else cpu."""
    devices: int = 1
    """Processes, one per device."""
    recompute: bool = False
    """Compute the activations of image encoder and branch again in the backward pass instead of keeping them: less
    memory, a third more time, the same numbers."""
    workers: int | None = None
    """Data-loading processes per training process; by default two beside an accelerator, and none on a CPU, where
    they would take the cores that train."""
    cache: Path | None = Path("data/cache")
    """Folder of prepared frames; null reads and resizes anew each time."""
    checkpoint_every: int = 200
    """Steps between checkpoints to resume from."""
    log_every: int = 20
    """Steps between points of the TensorBoard curves."""
    report: bool = True
    """Let ``ugocc adapt`` write <run>/report.html, the page about what adaptation changed."""

    def settled(self) -> RunSettings:
        """The same settings with the precision that is meant on this machine, as checkpoints and results record it."""
        return replace(self, precision=precision_of(self.precision, accelerator_of(self.accelerator)))
