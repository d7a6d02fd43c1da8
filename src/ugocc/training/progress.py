"""Progress of Lightning's loops: a bar on a terminal, a line every few seconds elsewhere, always on stderr; and the
time that they took."""

from __future__ import annotations

import sys
import time
from typing import Any

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback, RichProgressBar

from ugocc.progress import Lines


def progress_callback(label: str) -> Callback:
    """The progress display that fits where the output goes."""
    return LabelledProgressBar(label) if sys.stderr.isatty() else ProgressLines(label)


class Stopwatch(Callback):
    """Seconds since it was made; where a run goes on from a checkpoint, those before that as well."""

    def __init__(self) -> None:
        self._began, self._earlier = time.monotonic(), 0.0

    @property
    def seconds(self) -> float:
        """Wall time of all sittings so far."""
        return self._earlier + time.monotonic() - self._began

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {"seconds": self.seconds}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a checkpoint."""
        self._earlier = state_dict["seconds"]


class LabelledProgressBar(RichProgressBar):
    """Lightning's bar, which says what is being done in place of the number of an epoch."""

    def __init__(self, label: str) -> None:
        super().__init__(leave=True, console_kwargs={"stderr": True})
        self.label = label

    @property
    def test_description(self) -> str:
        """What stands before the bar of an evaluation."""
        return self.label

    def _get_train_description(self, current_epoch: int) -> str:
        return self.label


class ProgressLines(Callback):
    """Prints ``label: step 120/900, loss 3.21, 2:10 left`` every ``every`` seconds, for logs and pipes."""

    def __init__(self, label: str, every: float = 15.0) -> None:
        self._lines = Lines(label, every)
        self._first = 0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Remember when and at which step training began."""
        self._lines.begin()
        self._first = trainer.global_step

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Print if the last line is old enough; the first process speaks for all."""
        if not trainer.is_global_zero:
            return
        loss = trainer.callback_metrics.get("loss")
        text = f"loss {float(loss):.3f}, " if loss is not None else ""
        done, total = trainer.global_step - self._first, trainer.max_steps - self._first
        self._lines.tell(f"step {trainer.global_step}/{trainer.max_steps}, {text}", done, total)

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Remember when the evaluation began."""
        self._lines.begin()

    def on_test_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Print if the last line is old enough."""
        total = int(trainer.num_test_batches[0])
        self._lines.tell(f"batch {batch_idx + 1}/{total}, ", batch_idx + 1, total)
