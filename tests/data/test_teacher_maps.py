from __future__ import annotations

import pickle
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from made_frames import GRID, camera, frame, same

from ugocc.data.cache import files_behind
from ugocc.data.dataset import FrameDataset
from ugocc.data.prepare import InputSettings, without_labels
from ugocc.data.teacher_maps import (
    MapsCard,
    TeacherMap,
    map_path,
    open_maps,
    read_card,
    with_teacher_maps,
    write_map,
)
from ugocc.errors import DataError

CARD = MapsCard("net.onnx", "ab12", "", "cityscapes", (0, 5, 255), 40, 0.5)


class Frames(list):
    fleet = "made"

    @property
    def tokens(self):
        return [f.token for f in self]


@pytest.fixture
def fleet() -> Frames:
    """Two frames of two cameras of different sizes, with human labels (class 2 everywhere)."""
    views = (camera("front"), camera("left", 90, (200, 100)))
    human = [partial(same, np.full((v.height, v.width), 2, dtype=np.uint8)) for v in views]
    views = tuple(replace(v, semantics=labels) for v, labels in zip(views, human, strict=True))
    return Frames([frame(views, token="a"), frame(views, token="b")])


def fill(folder: Path, fleet: Frames) -> None:
    open_maps(folder, CARD)
    for i, moment in enumerate(fleet):
        for j, view in enumerate(moment.cameras):
            rows = round(view.height * CARD.width / view.width)
            write_map(map_path(folder, moment.token, view.name), np.full((rows, CARD.width), 3 + 2 * i + j, np.uint8))


def test_a_map_is_read_at_the_size_of_the_picture_by_the_nearest_pixel(tmp_path):
    stored = np.array([[0, 1, 2], [3, 9, 255]], dtype=np.uint8)
    write_map(tmp_path / "m.png", stored)
    for factor in (1, 2, 5):
        read = TeacherMap(tmp_path / "m.png", 3 * factor, 2 * factor)()
        np.testing.assert_array_equal(read, stored.repeat(factor, 0).repeat(factor, 1))
    np.testing.assert_array_equal(TeacherMap(tmp_path / "m.png", 1, 1)(), [[9]])
    assert not list(tmp_path.glob(".*"))


def test_bad_maps_are_refused(tmp_path):
    path = tmp_path / "m.png"
    with pytest.raises(DataError, match=r"m\.png"):
        TeacherMap(path, 4, 4)()
    write_map(path, np.full((4, 4), 10, dtype=np.uint8))
    with pytest.raises(DataError, match="value 10"):
        TeacherMap(path, 4, 4)()
    write_map(path, np.zeros((4, 8), dtype=np.uint8))
    with pytest.raises(DataError, match="proportions of a picture of 40x40"):
        TeacherMap(path, 40, 40)()
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DataError, match="map"):
        TeacherMap(path, 8, 4)()


def test_a_fleet_reads_the_maps_instead_of_human_labels(tmp_path, fleet):
    fill(tmp_path / "maps", fleet)
    taught = pickle.loads(pickle.dumps(with_teacher_maps(fleet, tmp_path / "maps")))
    assert taught.tokens == ["a", "b"]
    assert len(taught) == 2
    assert taught.fleet == "made"
    for i, moment in enumerate(taught):
        for j, view in enumerate(moment.cameras):
            labels = view.semantics()
            assert labels.shape == (view.height, view.width)
            assert (labels == 3 + 2 * i + j).all()
    assert (fleet[0].cameras[0].semantics() == 2).all()


def test_unlabelled_fleets_lose_human_labels_and_keep_maps(tmp_path, fleet):
    fill(tmp_path / "maps", fleet)
    settings = InputSettings(width=40, height=20, grid=GRID)
    assert all(view.semantics is None for view in without_labels(fleet[0]).cameras)
    human = FrameDataset(fleet, settings, labelled=False)[1]
    assert (human.semantics_2d == 255).all()
    taught = FrameDataset(with_teacher_maps(fleet, tmp_path / "maps"), settings, labelled=False)
    batch = taught[1]
    assert (batch.semantics_2d[0, 0] == 5).all()
    assert (batch.semantics_2d[0, 1] == 6).all()
    assert (batch.occupancy == 255).all()
    moment = taught.frame(1)
    assert map_path(tmp_path / "maps", "b", "left") in set(files_behind(moment)), "a changed map renews the cache"


def test_a_missing_map_is_found_before_training(tmp_path, fleet):
    with pytest.raises(DataError, match=r"maps\.json"):
        with_teacher_maps(fleet, tmp_path)
    fill(tmp_path, fleet)
    map_path(tmp_path, "b", "left").unlink()
    with pytest.raises(DataError, match=r"left\.png.*made"):
        with_teacher_maps(fleet, tmp_path)


def test_a_folder_holds_maps_of_one_making(tmp_path):
    open_maps(tmp_path / "maps", CARD)
    open_maps(tmp_path / "maps", CARD)
    assert read_card(tmp_path / "maps") == CARD
    for change in ({"sha256": "cd"}, {"classes": (0, 5, 9)}, {"width": 41}, {"confidence": 0.4}):
        with pytest.raises(DataError, match=next(iter(change))):
            open_maps(tmp_path / "maps", replace(CARD, **change))
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / ".maps.json.71").touch()  # what a process left that was stopped while it wrote the card
    open_maps(tmp_path / "other", CARD)
    (tmp_path / "other" / "maps.json").unlink()
    (tmp_path / "other" / "holiday.png").touch()
    with pytest.raises(DataError, match="an empty or new folder"):
        open_maps(tmp_path / "other", CARD)


@pytest.mark.parametrize("text", ["{", "[]", '{"network": "a"}', '{"classes": 3}'])
def test_a_broken_card_is_refused(tmp_path, text):
    (tmp_path / "maps.json").write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=r"maps\.json"):
        read_card(tmp_path)


def test_names_cannot_leave_the_folder(tmp_path):
    for token, name in (("../x", "front"), ("x", "a/b"), ("..", "front"), ("", "front")):
        with pytest.raises(DataError, match="file name"):
            map_path(tmp_path, token, name)
