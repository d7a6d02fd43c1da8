"""Progress with time left: a bar on a terminal, a line every few seconds elsewhere."""

from __future__ import annotations

import sys
import time
from typing import Any

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback, RichProgressBar


def progress_callback(label: str) -> Callback:
    """The progress display that fits where the output goes."""
    return RichProgressBar(leave=True) if sys.stderr.isatty() else ProgressLines(label)


class ProgressLines(Callback):
    """Prints ``label: step 120/900, loss 3.21, 2:10 left`` every ``every`` seconds, for logs and pipes."""

    def __init__(self, label: str, every: float = 15.0) -> None:
        self.label, self.every = label, every
        self._printed = 0.0
        self._first = self._done = 0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Remember when and at which step training began."""
        self._printed = time.monotonic()
        self._first, self._done = trainer.global_step, 0

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Print if the last line is old enough."""
        done = trainer.global_step - self._first
        loss = trainer.callback_metrics.get("loss")
        text = f"loss {float(loss):.3f}, " if loss is not None else ""
        self._line(f"step {trainer.global_step}/{trainer.max_steps}, {text}", done, trainer.max_steps - self._first)

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Remember when the evaluation began."""
        self._printed = time.monotonic()
        self._done = 0

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
        self._line(f"batch {batch_idx + 1}/{total}, ", batch_idx + 1, total)

    def _line(self, text: str, done: int, total: int) -> None:
        now = time.monotonic()
        if now - self._printed < self.every and done < total:
            return
        # At the pace since the last line: what is done once, before a step, says nothing about the steps to come.
        left = (now - self._printed) / max(done - self._done, 1) * (total - done)
        known = f"{int(left // 60)}:{int(left % 60):02d} left" if done > 1 or total == 1 else "time left not known yet"
        self._printed, self._done = now, done
        print(f"{self.label}: {text}{known}", flush=True)
