from __future__ import annotations

import json
from pathlib import Path

import pytest

from ugocc.data.nuscenes_splits import MINI_VAL, OFFICIAL_VAL, scenes_of_split
from ugocc.errors import DataError

SCENES = [f"scene-{n:04d}" for n in range(1, 1111)]


def test_official_lists_share_the_scenes_out() -> None:
    train, val = (scenes_of_split(Path("nowhere"), "v1.0-trainval", split, SCENES) for split in ("train", "val"))
    assert len(val) == len(OFFICIAL_VAL) == 150
    assert sorted(train + val) == SCENES
    assert {"scene-0003", "scene-0012", "scene-0802", "scene-1073"} <= set(val)
    assert {"scene-0001", "scene-0019", "scene-0801", "scene-1074"} <= set(train)
    mini = ["scene-0061", "scene-0103", "scene-0553", "scene-0916"]
    assert scenes_of_split(Path("nowhere"), "v1.0-mini", "val", mini) == sorted(MINI_VAL)
    # scene-0553 is a validation scene of the whole, but a training scene of the small set.
    assert "scene-0553" in OFFICIAL_VAL
    assert scenes_of_split(Path("nowhere"), "v1.0-mini", "train", mini) == ["scene-0061", "scene-0553"]
    assert scenes_of_split(Path("nowhere"), "v1.0-test", "test", ["scene-0077"]) == ["scene-0077"]


def test_empty_and_unknown_splits_say_what_there_is(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"no scene for 'test', expected one of train \(960 scenes\), val \(150 scenes\)"
    ):
        scenes_of_split(tmp_path, "v1.0-trainval", "test", SCENES)
    (tmp_path / "splits.json").write_text(json.dumps({"train": "scene-0001"}))
    with pytest.raises(DataError, match="lists of scene names"):
        scenes_of_split(tmp_path, "v1.0-trainval", "train", SCENES)
