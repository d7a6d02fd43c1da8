"""Which scenes of a nuScenes folder belong to which split."""

from __future__ import annotations

import json
from pathlib import Path

from ugocc.errors import DataError

# The official validation scenes as ranges of scene numbers, both ends included (nuScenes devkit, utils/splits.py).
_VAL_RANGES = (
    *((3, 3), (12, 18), (35, 36), (38, 39), (92, 110), (221, 221), (268, 278), (329, 332), (344, 346)),
    *((519, 524), (552, 565), (625, 627), (629, 630), (632, 638), (770, 771), (775, 775), (777, 778)),
    *((780, 784), (794, 800), (802, 802), (904, 917), (919, 931), (962, 963), (966, 969), (971, 972), (1059, 1073)),
)
OFFICIAL_VAL = frozenset(f"scene-{n:04d}" for first, last in _VAL_RANGES for n in range(first, last + 1))
"""The 150 official validation scenes of v1.0-trainval."""
MINI_VAL = frozenset({"scene-0103", "scene-0916"})
"""The two official validation scenes of v1.0-mini."""


def scenes_of_split(root: Path, version: str, split: str, scenes: list[str]) -> list[str]:
    """Names of the scenes of a split.

    ``splits.json`` at the root ({"train": [names], ...}) decides where it exists; otherwise the official lists do:
    val of v1.0-trainval or v1.0-mini, train the other scenes there, test all scenes of v1.0-test.

    Args:
        root: folder of the data set.
        version: name of the folder of tables.
        split: train, val or test.
        scenes: names of the scenes that the tables hold.

    Raises:
        DataError: splits.json is malformed or names an unknown scene; the split has no scene.
    """
    file = root / "splits.json"
    splits = _read_splits(file, scenes) if file.exists() else _official_splits(version, scenes)
    chosen = splits.get(split, [])
    if not chosen:
        sizes = ", ".join(f"{name} ({len(members)} scenes)" for name, members in splits.items() if members)
        listed = ", ".join(scenes[:8]) + (", ..." if len(scenes) > 8 else "")
        raise DataError(root / version, "split", f"no scene for {split!r}", f"one of {sizes or 'none'}; has {listed}")
    return sorted(chosen)


def _official_splits(version: str, scenes: list[str]) -> dict[str, list[str]]:
    if version.endswith("test"):
        return {"test": scenes}
    val = MINI_VAL if version.endswith("mini") else OFFICIAL_VAL
    return {"train": [s for s in scenes if s not in val], "val": [s for s in scenes if s in val]}


def _read_splits(file: Path, scenes: list[str]) -> dict[str, list[str]]:
    try:
        splits = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(file, "splits", str(error), "a JSON object of lists of scene names") from error
    if not isinstance(splits, dict) or not all(isinstance(names, list) for names in splits.values()):
        raise DataError(file, "splits", type(splits).__name__, "a JSON object of lists of scene names")
    known = set(scenes)
    for split, names in splits.items():
        missing = [name for name in names if name not in known]
        if missing:
            raise DataError(file, split, f"scene {missing[0]!r}", "a scene of scene.json")
    return splits
