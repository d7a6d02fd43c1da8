"""Renders and writes the embedded fleets: *six* as a nuScenes folder, *five* as a Waymo folder.

Every scene is a job of its own and depends on nothing but the settings and its name, so any number of processes
writes the same bytes. The fleets grow in ``<root>/.building``, where finished scenes survive an interruption, and
appear as ``<root>/six`` and ``<root>/five`` only when they are whole.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import multiprocessing
import os
import shutil
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final, NamedTuple

from ugocc.data.synthetic.rendered import RenderedFrame
from ugocc.data.synthetic.write_nuscenes import write_scene, write_tables
from ugocc.errors import DataError
from ugocc.extras import require
from ugocc.progress import follow
from ugocc.provenance import RENDERED

require("rendering", "synthetic")
from ugocc.data.synthetic.write_waymo import write_segment  # noqa: E402  (needs pyarrow)
from ugocc.data.town.scene import DriveSettings, open_drive  # noqa: E402  (needs numba)

FLEETS: Final = ("six", "five")
"""Names of the embedded fleets and of their folders."""
SPLITS: Final = ("train", "val", "test")
"""Names of the splits."""
MANIFEST: Final = RENDERED
"""Says how the fleets beside it were rendered."""
MINUTE_US: Final = 60_000_000
"""Each scene of a fleet starts a minute after the one before, in microseconds."""

_WRITERS = ("encode.py", "rendered.py", "vocabulary.py", "waymo_columns.py", "write_nuscenes.py", "write_waymo.py")
_FIRST_NUMBER = {"train": 1, "val": 4001, "test": 7001}
_MOST_SCENES = 2999
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")


@dataclass(frozen=True)
class RenderSettings:
    """The embedded fleets."""

    root: Path = Path("data/embedded")
    """Folder for both fleets."""
    train: int = 20
    """Training scenes of each fleet."""
    val: int = 4
    """Validation scenes of each fleet, for choosing."""
    test: int = 4
    """Test scenes of each fleet, for reporting only."""
    seed: int = 0
    """Decides towns, traffic and light of all scenes."""
    drive: DriveSettings = field(default_factory=DriveSettings)
    """How every scene is recorded."""
    processes: int = 0
    """Scenes rendered at the same time; 0 takes one per core."""
    force: bool = False
    """Replace fleets that were rendered with other settings."""


class Scene(NamedTuple):
    """One scene of one fleet."""

    fleet: str
    """six or five."""
    split: str
    """train, val or test."""
    name: str
    """Name in the files; decides the town together with the fleet and the seed."""
    number: int
    """Unique in the fleet."""
    position: int
    """Position among the sorted scenes of the split."""


def render_fleets(settings: RenderSettings) -> None:
    """Render and write both fleets, unless they are there already.

    Raises:
        DataError: the folder holds fleets of other settings or of another renderer (and ``force`` is not set), or
            folders of these names that were not rendered at all; no scenes or no frames are asked for.
    """
    counts = (settings.train, settings.val, settings.test)
    if min(counts) < 0 or sum(counts) == 0 or max(counts) > _MOST_SCENES:
        raise DataError("render settings", "train, val, test", counts, f"at least one scene, at most {_MOST_SCENES}")
    if settings.drive.frames < 1:
        raise DataError("render settings", "drive.frames", settings.drive.frames, "at least one frame")
    root, building, manifest = settings.root, settings.root / ".building", _manifest(settings)
    for file in (root / MANIFEST, building / MANIFEST):
        _keep_or_clear(root, file, manifest, settings.force)
    if (root / MANIFEST).exists():
        return
    if not building.exists():
        _refuse_strangers(root)
    building.mkdir(parents=True, exist_ok=True)
    text = json.dumps(manifest, indent=1)
    (building / MANIFEST).write_text(text, encoding="utf-8")
    scenes = plan(settings)
    _render_all(settings, building, [scene for scene in scenes if not _part(building, scene).exists()])
    if not (root / "six").exists():  # else a run was interrupted between the next lines
        splits = {split: [s.name for s in scenes if (s.fleet, s.split) == ("six", split)] for split in SPLITS}
        parts = (_part(building, scene).read_text(encoding="utf-8") for scene in scenes if scene.fleet == "six")
        write_tables(map(json.loads, parts), splits, building / "six")
    for fleet in FLEETS:
        if not (root / fleet).exists():
            (building / fleet).rename(root / fleet)
    (building / MANIFEST).replace(root / MANIFEST)
    shutil.rmtree(building)


def plan(settings: RenderSettings) -> list[Scene]:
    """All scenes of both fleets.

    Names look like those of the data sets. They never repeat, and a split's first scenes are the same however many
    there are of any split: what was trained on one build can be tested on another.
    """
    scenes = []
    for fleet in FLEETS:
        for split, first in _FIRST_NUMBER.items():
            numbers = range(first, first + getattr(settings, split))
            names = {number: _scene_name(fleet, number) for number in numbers}
            ordered = sorted(names.values())
            scenes += [Scene(fleet, split, name, number, ordered.index(name)) for number, name in names.items()]
    return scenes


def _scene_name(fleet: str, number: int) -> str:
    if fleet == "six":
        return f"scene-{number:04d}"
    digits = int(hashlib.md5(f"{fleet}/{number}".encode(), usedforsecurity=False).hexdigest()[:15], 16)
    start = 20 * (digits % 300)
    return f"{digits:018d}_{start}_000_{start + 20}_000"


def _manifest(settings: RenderSettings) -> dict[str, Any]:
    """What decides every byte (``settings``, ``renderer``), and for information versions and scenes."""
    renderer = hashlib.sha256()
    town, writers = Path(inspect.getfile(open_drive)).parent, (Path(__file__).with_name(name) for name in _WRITERS)
    for file in sorted({*town.glob("*.py"), *writers} - {Path(__file__)}):
        renderer.update(file.name.encode() + file.read_bytes())
    scenes: dict[str, dict[str, list[str]]] = {fleet: {split: [] for split in SPLITS} for fleet in FLEETS}
    for scene in plan(settings):
        scenes[scene.fleet][scene.split].append(scene.name)
    return {
        "settings": {k: v for k, v in asdict(settings).items() if k not in ("root", "processes", "force")},
        "renderer": renderer.hexdigest(),
        "versions": {name: version(name) for name in ("ugocc", "numpy", "numba", "pillow", "pyarrow")},
        "scenes": scenes,
    }


def _keep_or_clear(root: Path, file: Path, wanted: dict[str, Any], force: bool) -> None:
    """Make sure that what a manifest describes, if there is one, is what is wanted."""
    if not file.exists():
        return
    try:
        present = json.loads(file.read_text(encoding="utf-8"))
    except ValueError:
        present = {}
    difference = _first_difference(present, wanted)
    if difference is None:
        return
    if not force:
        name, found, expected = difference
        anew = "--force true, or --fleets.force true of demo, renders the fleets anew"
        raise DataError(file, name, found, f"{expected} ({anew})")
    file.unlink()
    for folder in (root / ".building", *(root / fleet for fleet in FLEETS)):
        shutil.rmtree(folder, ignore_errors=True)


def _first_difference(present: dict[str, Any], wanted: dict[str, Any]) -> tuple[str, Any, Any] | None:
    settings = present.get("settings", {})
    for key, value in wanted["settings"].items():
        if settings.get(key) != value:
            return key, settings.get(key), value
    if present.get("renderer") != wanted["renderer"]:
        return "renderer", "fleets of another version of the renderer", "those of the present one"
    return None


def _refuse_strangers(root: Path) -> None:
    for fleet in FLEETS:
        if (root / fleet).exists():
            raise DataError(root / fleet, "folder", f"no {MANIFEST} beside it", "only fleets that were rendered here")


def _part(building: Path, scene: Scene) -> Path:
    """The file that says that a scene is finished; for six it holds the scene's rows of the tables."""
    return building / "parts" / scene.fleet / f"{scene.name}.json"


def _render_all(settings: RenderSettings, building: Path, scenes: list[Scene]) -> None:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    processes = min(settings.processes or cores, max(len(scenes), 1))
    if processes == 1:
        for scene in follow(scenes, "render"):
            _render_scene(settings, building, scene)
        return
    # Forked processes inherit OpenMP's locks and die; spawned ones start afresh.
    context = multiprocessing.get_context("spawn")
    with _one_thread_each(), ProcessPoolExecutor(processes, mp_context=context) as pool:
        jobs = [pool.submit(_render_scene, settings, building, scene) for scene in scenes]
        try:
            for job in follow(as_completed(jobs), "render", total=len(jobs)):
                job.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _render_scene(settings: RenderSettings, building: Path, scene: Scene) -> None:
    drive = open_drive(scene.fleet, scene.name, settings.seed, settings.drive)
    frames = (_later(drive.render(i), scene.number * MINUTE_US) for i in range(settings.drive.frames))
    rows: dict[str, Any] = {}
    if scene.fleet == "six":
        rows = write_scene(frames, building / "six")
    else:
        write_segment(frames, building / "five", scene.split, scene.position)
    part = _part(building, scene)
    part.parent.mkdir(parents=True, exist_ok=True)
    unfinished = part.with_suffix(".unfinished")
    unfinished.write_text(json.dumps(rows), encoding="utf-8")
    unfinished.replace(part)


def _later(frame: RenderedFrame, microseconds: int) -> RenderedFrame:
    """The frame at a later time of day: scenes that start together look like one to the devkit."""
    return replace(
        frame,
        timestamp_us=frame.timestamp_us + microseconds,
        cameras=tuple(replace(c, timestamp_us=c.timestamp_us + microseconds) for c in frame.cameras),
        lidar=replace(frame.lidar, timestamp_us=frame.lidar.timestamp_us + microseconds),
    )


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """Processes started inside use one thread: two that fight for the cores are slower than one."""
    before = {name: os.environ.get(name) for name in _THREADS}
    os.environ.update(dict.fromkeys(_THREADS, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
