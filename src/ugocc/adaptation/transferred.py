"""Source frames as the target's cameras would have recorded them, as a dataset: rig transfer on the way to training."""

from __future__ import annotations

import shutil
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset

from ugocc.adaptation.earlier import Earlier, earlier_frame
from ugocc.adaptation.rerender import RerenderSettings, rerender
from ugocc.adaptation.rig import RandomRigSettings, VirtualRig, random_rig, turned
from ugocc.adaptation.source_views import SourceViews, source_views
from ugocc.data.batch import Batch, collate
from ugocc.data.cache import digest, load_prepared, save_prepared
from ugocc.data.dataset import FrameDataset
from ugocc.data.depth_maps import check_depth_maps, depth_files, read_depth_maps
from ugocc.data.frame import Frame
from ugocc.data.prepare import Prepared
from ugocc.errors import DataError

KINDS: Final = ("target", "turned", "random")
"""Kinds of rigs: the target's own, the target's turned by any angle, and random ones about it."""

_MAKING: Final = 4
"""Raised when the same settings make other frames than before, so that kept ones are made anew."""


@dataclass(frozen=True)
class RigTransferSettings:
    """Source frames re-rendered for other rigs (beyond the paper)."""

    share: float = 0.75
    """Share of the source samples that are re-rendered; 0 leaves rig transfer out."""
    beside: bool = False
    """Whether a re-rendered sample is learned from beside the recorded one, in the same step, or in its place. Beside
    costs a second pass and forgets nothing of the source."""
    samples: int = 1
    """Re-rendered samples in the place of each recorded one, or beside it: different versions of the same frame."""
    target: int = 1
    """Versions of every source frame as cameras of the target would see it."""
    turned: int = 1
    """Versions as the target's rig would see it turned about the vertical: what only a rear camera of the source saw
    is then seen by a front camera of the target."""
    random: int = 1
    """Versions as random rigs, which differ from the target's by a little and are turned likewise, would see it."""
    bev_flip: float = 0.0
    """Probability of mirroring the volume of a re-rendered sample front to back, and likewise left to right, where it
    is not mirrored more often anyway. What only front cameras have recorded is then learned behind the car as well."""
    depth_maps: Path | None = None
    """Folder of dense depth of the source's pictures (``<token>/<camera>.png``, 16 bits, centimetres): a simulator's,
    or that of a stereo pair. By default the source's lidar is completed."""
    rigs: RandomRigSettings = field(default_factory=RandomRigSettings)
    """Ranges of the random rigs."""
    rerender: RerenderSettings = field(default_factory=RerenderSettings)
    """From lidar to dense depth, and from one rig to another."""

    def __post_init__(self) -> None:
        if not 0 <= self.share <= 1:
            raise DataError("rig_transfer", "share", self.share, "a share from 0 to 1")
        if min(self.target, self.turned, self.random) < 0 or (self.share and not self.versions):
            counts = (self.target, self.turned, self.random)
            raise DataError("rig_transfer", "target, turned, random", counts, "at least one version of each frame")
        if self.share and not 1 <= self.samples <= self.versions:
            raise DataError("rig_transfer", "samples", self.samples, f"1 to {self.versions}, the versions there are")

    @property
    def versions(self) -> int:
        """Number of re-rendered versions of every frame."""
        return self.target + self.turned + self.random


class TransferredDataset(Dataset[Batch]):
    """A labelled fleet, of whose samples a share is re-rendered for the rigs of another fleet.

    Whether sample ``index`` is re-rendered at its visit number ``visit``, and for which rig, is a function of
    (seed, visit, index) alone.

    Args:
        source: the labelled fleet; its cache, if any, keeps the re-rendered frames too.
        rigs: cameras of frames of the target fleet, calibration only.
        settings: which versions, and how often.
    """

    def __init__(self, source: FrameDataset, rigs: Sequence[VirtualRig], settings: RigTransferSettings) -> None:
        if settings.share and not rigs:
            raise DataError("rig_transfer", "rigs", "none", "at least one rig of the target")
        self.source, self.rigs, self.settings = source, tuple(rigs), settings
        self._folder = None if source.cache is None else source.cache.folder / "transferred"
        self._before: dict[int, list[int]] = {}
        self._keys: dict[int, str] = {}
        self._kept: OrderedDict[int, SourceViews] = OrderedDict()
        if settings.share and settings.depth_maps is not None:
            check_depth_maps(settings.depth_maps, source.source)
        elif settings.share and not any(self._has_depth(index) for index in range(len(source))):
            wanted = "lidar of the labelled fleet to re-render it (or rig_transfer.depth_maps, or rig_transfer.share 0)"
            raise DataError(source.source.fleet, "lidar", "none in any frame", wanted)

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, item: tuple[int, int]) -> Batch:
        """Sample (index, visit), or the samples that show it as other rigs would see it."""
        numbers = self.chosen_versions(item)
        if not numbers:
            return self.source[item]
        made = self.versions(item[0], numbers)
        flip = self.settings.bev_flip
        return collate([self.source.augmented(one, (*item, place), flip) for place, one in enumerate(made)])

    def chosen_versions(self, item: tuple[int, int]) -> list[int]:
        """Which versions of a frame a sample (index, visit) shows; none for the frame as recorded, as one without lidar
        always is."""
        index, visit = item
        lot = np.random.default_rng((self.source.seed, visit, index, 1))
        again = lot.random() < self.settings.share and self._has_depth(index)
        return lot.permutation(self.settings.versions)[: self.settings.samples].tolist() if again else []

    def versions(self, index: int, numbers: Sequence[int]) -> list[Prepared]:
        """Versions of a frame by number, from the cache if they are there; its depth is completed once."""
        settings, inputs = self.settings.rerender, self.source.settings
        depths = (inputs.min_lidar_depth, inputs.max_lidar_depth)
        before = self.look_back(index)
        earlier: list[Earlier] | None = None
        made = []
        for number in numbers:
            rig = self.rig(index, number)
            file, key = self._file(index, rig, before)
            found = load_prepared(file, key) if file else None
            if found is None:
                prepared, views = self.source.prepared(index), self._views(index)
                if earlier is None:
                    earlier = [self._earlier(i, prepared.world_T_ego) for i in before]
                found = rerender(prepared, rig, inputs.grid, settings, views, earlier, depths)
                if file:
                    save_prepared(file, found, key)
            made.append(found)
        return made

    def look_back(self, index: int) -> list[int]:
        """Indices of the last frames of the scene at which the vehicle had that far to drive still (``look_back``)."""
        found = self._before.get(index)
        if found is None:
            found = self._before[index] = self._driven_before(index)
        return found

    def _has_depth(self, index: int) -> bool:
        return self.settings.depth_maps is not None or self.source.frame(index).lidar is not None

    def _driven_before(self, index: int) -> list[int]:
        wanted = sorted(self.settings.rerender.look_back)
        found: list[int] = []
        driven, here = 0.0, self.source.frame(index).world_T_ego[:3, 3]
        previous = self.source.neighbour(index, -1)
        while previous is not None and len(found) < len(wanted):
            there = self.source.frame(previous).world_T_ego[:3, 3]
            driven, here = driven + float(np.linalg.norm(here - there)), there
            if driven >= wanted[len(found)]:
                found.append(previous)
            previous = self.source.neighbour(previous, -1)
        return found

    def _views(self, index: int) -> SourceViews:
        """Pictures with dense depth of a frame, kept for the frames that look back at it."""
        found = self._kept.pop(index, None)
        if found is None:
            dense = self._dense(self.source.frame(index))
            found = source_views(self.source.prepared(index), self.settings.rerender.completion, dense)
        self._kept[index] = found
        while len(self._kept) > 1 + 8 * bool(self.settings.rerender.look_back):
            self._kept.popitem(last=False)
        return found

    def _earlier(self, index: int, world_T_now: NDArray[np.float64]) -> Earlier:
        grid = self.source.settings.grid
        return earlier_frame(self.source.prepared(index), self._views(index), grid, world_T_now)

    def rig(self, index: int, number: int) -> VirtualRig:
        """The rig of version ``number`` of a frame: the same for every seed, so that trainings share what is made."""
        rng = np.random.default_rng((index, number, 2))
        rig = self.rigs[int(rng.integers(len(self.rigs)))]
        if number < self.settings.target:
            return rig
        if number < self.settings.target + self.settings.turned:
            return turned(rig, rng.uniform(-np.pi, np.pi))
        return random_rig(turned(rig, rng.uniform(-np.pi, np.pi)), rng, self.settings.rigs)

    def fill(self, visits: Iterable[tuple[int, int]], workers: int, part: tuple[int, int] = (0, 1)) -> DataLoader[int]:
        """A loader that, run through, has what these visits of samples show in the cache; one number per frame.

        Args:
            visits: samples (index, visit).
            workers: processes that re-render.
            part: which of how many parts of the frames, for processes that share the work.

        Raises:
            DataError: there is less room on the disk than that takes.
        """
        numbers: dict[int, set[int]] = {}
        for item in visits:
            chosen = self.chosen_versions(item)
            if chosen:
                numbers.setdefault(item[0], set()).update(chosen)
        wanted = [(index, sorted(versions)) for index, versions in sorted(numbers.items())]
        if wanted and self._folder is not None:
            self.versions(*wanted[0])
            check_room(self._folder, sum(map(self._missing, wanted)))  # of all parts: they fill the same disk
        which, parts = part
        wanted = wanted[len(wanted) * which // parts : len(wanted) * (which + 1) // parts]
        return DataLoader(_Fill(self, wanted), batch_size=None, num_workers=workers)

    def _dense(self, frame: Frame) -> list[NDArray[np.float32]] | None:
        folder = self.settings.depth_maps
        return None if folder is None else read_depth_maps(folder, frame, self.source.settings)

    def _missing(self, wanted: tuple[int, Sequence[int]]) -> int:
        """How many of these versions of a frame the cache does not have."""
        index, numbers = wanted
        before = self.look_back(index)
        files = (self._file(index, self.rig(index, number), before)[0] for number in numbers)
        return sum(file is not None and not file.is_file() for file in files)

    def _file(self, index: int, rig: VirtualRig, before: Sequence[int]) -> tuple[Path | None, str]:
        cache = self.source.cache
        if cache is None or self._folder is None:
            return None, ""
        for i in (index, *before):
            if i not in self._keys:
                self._keys[i] = cache.key(self.source.frame(i))
        made_from: tuple[object, ...] = (_MAKING, self._keys[index], rig, self.settings.rerender)
        made_from += tuple(self._keys[i] for i in before)
        if self.settings.depth_maps is not None:
            for i in (index, *before):
                made_from += depth_files(self.settings.depth_maps, self.source.frame(i))
        key = digest(made_from)
        return self._folder / f"{key[:32]}.safetensors", key


def check_room(folder: Path, missing: int) -> None:
    """See whether a folder of re-rendered frames can hold so many more, going by the size of those that are there.

    Raises:
        DataError: the disk has less room.
    """
    sizes = [file.stat().st_size for file in folder.glob("*.safetensors")]
    free = shutil.disk_usage(folder).free
    needed = missing * sum(sizes) / max(len(sizes), 1)
    if needed > free:
        wanted = f"{needed / 2**30:.1f} GiB for {missing} re-rendered frames (or another run.cache; null keeps none)"
        raise DataError(folder, "run.cache", f"{free / 2**30:.1f} GiB free", wanted)


class _Fill(Dataset[int]):
    """Making versions of frames, frame by frame."""

    def __init__(self, data: TransferredDataset, wanted: Sequence[tuple[int, Sequence[int]]]) -> None:
        self.data, self.wanted = data, wanted

    def __len__(self) -> int:
        return len(self.wanted)

    def __getitem__(self, place: int) -> int:
        index, numbers = self.wanted[place]
        self.data.versions(index, numbers)
        return index
