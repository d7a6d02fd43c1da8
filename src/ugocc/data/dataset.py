"""Frames of a source as a torch dataset of batches, prepared once and augmented anew at each visit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from torch.utils.data import Dataset

from ugocc.data.batch import Batch
from ugocc.data.cache import Cache, files_behind
from ugocc.data.frame import Frame, FrameSource
from ugocc.data.occupancy import check_grid
from ugocc.data.prepare import InputSettings, Prepared, prepare, without_labels
from ugocc.data.transforms import AugmentSettings, make_sample
from ugocc.errors import DataError


class FrameDataset(Dataset[Batch]):
    """Batches of one sample each, for :func:`ugocc.data.batch.collate`.

    Sample ``index`` at its visit number ``visit`` is a function of (seed, visit, index) alone: the number of workers,
    the order, and stopping and resuming change nothing.

    Args:
        source: where frames come from.
        settings: what the network is fed.
        augment: random changes; None for none.
        cache: folder of prepared frames, made and refreshed as needed; None prepares anew each time.
        seed: of the augmentation.
        fleet_id: 0 source, 1 target.
        labelled: false for a fleet that is not to be learned from with labels: its occupancy, lidar and 2D labels are
            taken away before anything is read, so batches hold 255 and 0 in their place.
    """

    def __init__(
        self,
        source: FrameSource,
        settings: InputSettings,
        augment: AugmentSettings | None = None,
        cache: Path | None = None,
        seed: int = 0,
        fleet_id: int = 0,
        labelled: bool = True,
    ) -> None:
        self.source, self.settings, self.augment = source, settings, augment
        self.cache = None if cache is None else Cache(cache, settings)
        self.seed, self.fleet_id, self.labelled = seed, fleet_id, labelled
        self._epoch = 0
        self._index_of = {token: index for index, token in enumerate(source.tokens)}

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, item: int | tuple[int, int]) -> Batch:
        """Sample ``index`` in the current epoch, or (index, visit)."""
        item = item if isinstance(item, tuple) else (item, self._epoch)
        return self.sample(item[0], like=item)

    def sample(self, index: int, like: tuple[int, int]) -> Batch:
        """Sample ``index``, changed exactly as the sample ``like`` (index, visit) is."""
        return self.augmented(self.prepared(index), like)

    def augmented(self, prepared: Prepared, like: tuple[int, ...], bev_flip: float = 0.0) -> Batch:
        """A prepared frame as a sample, with the random changes of sample (index, visit).

        Args:
            prepared: the frame.
            like: whose random numbers: (index, visit), or (index, visit, number) of several samples of a visit.
            bev_flip: least probability of mirroring the volume, either way.
        """
        rng = np.random.default_rng((self.seed, *like[1:], like[0]))
        changes = self.augment
        if changes is not None:
            x, y = max(changes.bev_flip_x, bev_flip), max(changes.bev_flip_y, bev_flip)
            changes = replace(changes, bev_flip_x=x, bev_flip_y=y)
        return make_sample(prepared, self.settings, changes, rng, self.fleet_id)

    def set_epoch(self, epoch: int) -> None:
        """Visit number of samples asked for by their index alone.

        Data-loading processes that outlive an epoch do not hear of it; a sampler that yields (index, visit) reaches
        them.
        """
        self._epoch = epoch

    def frame(self, index: int) -> Frame:
        """The frame, without its labels if the dataset is unlabelled."""
        frame = self.source[index]
        return frame if self.labelled else without_labels(frame)

    def prepared(self, index: int) -> Prepared:
        """The frame at the network's scale, from the cache if it is there and still true."""
        frame = self.frame(index)
        found = self.cache.load(frame) if self.cache else None
        if found is not None:
            return found
        made = prepare(frame, self.settings)
        if self.cache:
            self.cache.save(frame, made)
        return made

    def neighbour(self, index: int, step: int) -> int | None:
        """Index of the frame ``step`` frames later (negative: earlier) in the same scene; None if it is not here."""
        for _ in range(abs(step)):
            frame = self.source[index]
            token = frame.next if step > 0 else frame.previous
            other = None if token is None else self._index_of.get(token)
            if other is None:
                return None
            index = other
        return index

    def check(self) -> None:
        """Verify the record of every frame, without decoding contents, before anything is trained on it.

        Raises:
            DataError: no frames, a token used twice, no cameras, a labelled dataset without an occupancy label, a
                label grid that does not fit, or a missing file.
        """
        if not len(self):
            raise DataError(self.source.fleet, "frames", "none", "at least one frame")
        if len(self._index_of) < len(self):
            tokens = self.source.tokens
            twice = next(token for i, token in enumerate(tokens) if self._index_of[token] != i)
            raise DataError(self.source.fleet, "token", f"{twice} twice", "one frame per token")
        for index in range(len(self)):
            self._check_frame(self.frame(index))

    def _check_frame(self, frame: Frame) -> None:
        if not frame.cameras:
            raise DataError(frame.token, "cameras", "none", "at least one camera")
        if self.labelled:
            if frame.occupancy is None:
                raise DataError(frame.token, "occupancy", "no label", "an occupancy label in every frame")
            check_grid(frame.occupancy_grid, self.settings.grid, frame.token)
        for file in files_behind(replace(frame, sweeps=())):  # nothing is prepared from those
            if not file.exists():
                raise DataError(file, "file", "nothing there", f"a file of frame {frame.token}")
