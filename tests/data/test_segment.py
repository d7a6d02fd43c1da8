from __future__ import annotations

import json
import pickle
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from made_frames import camera, frame
from made_onnx import convolution
from real_frames import nuscenes_frames, waymo_frame
from safetensors.torch import save_file
from torchvision.models.segmentation import lraspp_mobilenet_v3_large

from ugocc.cli import main
from ugocc.data.segment import MAPPINGS, read_mapping, segment_picture, write_maps
from ugocc.data.segment_networks import MEAN, Segmented, Segmenter, decide, load_network
from ugocc.data.source import open_fleet
from ugocc.data.teacher_maps import MapsCard, TeacherMap, map_path, read_card, with_teacher_maps
from ugocc.errors import DataError
from ugocc.labels import DRIVABLE, FREE, VEGETATION

CARD = MapsCard("net", "ab12", "", "mine", (DRIVABLE, VEGETATION, FREE), 40, 0.5)
BLOCKS = np.array([[0, 1], [2, 0]]).repeat(15, 0).repeat(20, 1)
"""(30, 40) which colour is brightest."""


def picture(scale: int = 1) -> np.ndarray:
    """Blocks of pure red (0), green (1) and blue (2)."""
    return (255 * np.eye(3, dtype=np.uint8)[BLOCKS]).repeat(scale, 0).repeat(scale, 1)


def brightest(sure: float = 1.0) -> Segmenter:
    """Says which colour is brightest."""

    def run(pixels: np.ndarray) -> Segmented:
        ids = pixels.astype(int).argmax(axis=2)
        return Segmented(ids, np.where(ids == 2, np.float32(sure), np.float32(0.9)))

    return Segmenter(run, 3, True)


def test_classes_are_mapped_and_unsure_pixels_unknown():
    expected = np.array(CARD.classes, dtype=np.uint8)[BLOCKS]
    np.testing.assert_array_equal(segment_picture(picture(), brightest(0.5), CARD, "here"), expected)
    np.testing.assert_array_equal(segment_picture(picture(10), brightest(0.5), CARD, "here"), expected)
    unsure = segment_picture(picture(), brightest(0.49), CARD, "here")
    np.testing.assert_array_equal(unsure, np.where(BLOCKS == 2, 255, expected))


def test_a_class_the_mapping_does_not_know_is_an_error():
    network = Segmenter(lambda pixels: Segmented(np.full(pixels.shape[:2], 3), None), None, False)
    with pytest.raises(DataError, match=r"here.*found 3"):
        segment_picture(picture(), network, CARD, "here")
    silent = Segmenter(lambda pixels: Segmented(np.full(pixels.shape[:2], 255), None), None, False)
    assert (segment_picture(picture(), silent, CARD, "here") == 255).all()


def test_decide_takes_logits_and_probabilities():
    logits = torch.tensor([[[2.0, -1.0]], [[0.0, 3.0]], [[-5.0, 1.0]]])
    for scores in (logits, logits.softmax(dim=0)):
        said = decide(scores, (1, 2))
        assert said.classes.tolist() == [[0, 1]]
        np.testing.assert_allclose(said.confidence, logits.softmax(dim=0).amax(dim=0), atol=1e-6)
    assert decide(logits, (2, 4)).classes.tolist() == [[0, 0, 1, 1]] * 2


def test_maps_of_a_fleet_are_continued(tmp_path):
    reads: list[str] = []

    def read(name: str) -> np.ndarray:
        reads.append(name)
        return np.zeros((300, 400, 3), dtype=np.uint8)

    views = [camera("front"), camera("left", 90)]
    for view in views:
        object.__setattr__(view, "image", partial(read, view.name))
    frames = [frame(tuple(views), token=token) for token in "ab"]
    assert write_maps(frames, brightest(), CARD, tmp_path) == (4, 0)
    map_path(tmp_path, "b", "left").unlink()
    reads.clear()
    assert write_maps(frames, brightest(), CARD, tmp_path) == (1, 3)
    assert reads == ["left"]


def test_mappings(tmp_path):
    assert len(MAPPINGS["cityscapes"]) == 19
    road, sidewalk, building, wall, fence, pole, light, sign, plants, terrain, sky, *movers = MAPPINGS["cityscapes"]
    assert (road, sidewalk, building, wall, fence, pole) == (0, 5, 3, 3, 6, 6)
    assert (light, sign, plants, terrain, sky) == (7, 7, 4, 4, 9)
    assert movers == [2, 8, 1, 1, 1, 1, 8, 8]  # person, rider, car, truck, bus, train, motorcycle, bicycle
    file = tmp_path / "mine.json"
    file.write_text(json.dumps(["drivable surface", 4, None, 9, 255]), encoding="utf-8")
    assert read_mapping(str(file)) == ("mine.json", (0, 4, 255, 9, 255))
    for bad in ('["road"]', "[10]", "[true]", "[1.0]", "{}", "[]", "[", "[-1]"):
        file.write_text(bad, encoding="utf-8")
        with pytest.raises(DataError, match=r"mine\.json"):
            read_mapping(str(file))
    with pytest.raises(DataError, match="cityscapes, or a JSON file"):
        read_mapping("city")


@pytest.fixture(scope="module")
def small_network() -> torch.nn.Module:
    torch.manual_seed(0)
    return lraspp_mobilenet_v3_large(weights=None, weights_backbone=None, num_classes=5).eval()


def test_torchvision_weights_give_what_the_network_says(tmp_path, small_network):
    state = small_network.state_dict()
    save_file(state, tmp_path / "a.safetensors")
    torch.save({"model": state}, tmp_path / "b.pth")
    pixels = np.random.default_rng(0).integers(0, 256, (32, 48, 3), dtype=np.uint8)
    given = (torch.from_numpy(pixels).permute(2, 0, 1)[None] / 255 - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(
        (0.229, 0.224, 0.225)
    ).view(3, 1, 1)
    with torch.no_grad():
        confidence, classes = small_network(given)["out"][0].softmax(dim=0).max(dim=0)
    for name in ("a.safetensors", "b.pth"):
        network = load_network(tmp_path / name, "lraspp_mobilenet_v3_large", "cpu")
        assert (network.classes, network.probabilities) == (5, True)
        said = network.run(pixels)
        np.testing.assert_allclose(said.confidence, confidence, atol=1e-4)
        assert (said.classes == classes.numpy()).mean() > 0.99
    with pytest.raises(DataError, match=r"found .*expected the weights of deeplabv3"):
        load_network(tmp_path / "a.safetensors", "deeplabv3_mobilenet_v3_large", "cpu")
    with pytest.raises(DataError, match="one of deeplabv3"):
        load_network(tmp_path / "a.safetensors", "segnet", "cpu")
    fewer = {name: value for name, value in state.items() if "cbr.0" not in name}
    save_file(fewer, tmp_path / "c.safetensors")
    with pytest.raises(DataError, match=r"missing .*cbr\.0"):
        load_network(tmp_path / "c.safetensors", "lraspp_mobilenet_v3_large", "cpu")


class Ran:
    def __reduce__(self):
        return Path.touch, (Path("ran"),)


def test_nothing_is_unpickled(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"classifier.4.weight": Ran()}, tmp_path / "evil.pth")
    (tmp_path / "bare.pth").write_bytes(pickle.dumps(Ran()))
    for name in ("evil.pth", "bare.pth"):
        with pytest.raises(DataError, match="weights and nothing else"):
            load_network(tmp_path / name, "deeplabv3_resnet50", "cpu")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("name", ["none.onnx", "a.h5", "b.safetensors", "c.pth"])
def test_files_that_are_no_networks_are_refused(tmp_path, name):
    if name != "none.onnx":
        (tmp_path / name).write_bytes(b"not a network")
    with pytest.raises(DataError, match=name):
        load_network(tmp_path / name, "deeplabv3_resnet50", "cpu")


@pytest.mark.parametrize("size", [("rows", "columns"), (60, 80)])
def test_an_onnx_network_of_free_or_fixed_size(tmp_path, size):
    pytest.importorskip("onnxruntime")
    (tmp_path / "colour.onnx").write_bytes(convolution(4 * np.eye(3), *size))
    network = load_network(tmp_path / "colour.onnx", "", "cpu")
    assert (network.classes, network.probabilities) == (3, True)
    said = network.run(picture())
    np.testing.assert_array_equal(said.classes, BLOCKS)
    assert said.confidence.shape == BLOCKS.shape
    (tmp_path / "broken.onnx").write_bytes(b"not a network")
    with pytest.raises(DataError, match="an ONNX network"):
        load_network(tmp_path / "broken.onnx", "", "cpu")


def test_the_verb_makes_maps_that_the_fleet_then_reads(tmp_path, tiny_fleets, capsys):
    pytest.importorskip("onnxruntime")
    (tmp_path / "colour.onnx").write_bytes(convolution(4 * np.eye(3)))
    (tmp_path / "classes.json").write_text('["drivable surface", null, "free"]', encoding="utf-8")
    words = ["data", "segment", "--network", str(tmp_path / "colour.onnx"), "--mapping", str(tmp_path / "classes.json")]
    words += ["--root", str(tiny_fleets / "five"), "--split", "val", "--out", str(tmp_path / "maps"), "--width", "88"]
    assert main([*words, "--limit", "-1"]) == 1
    assert "limit: found -1" in capsys.readouterr().err
    assert main([*words, "--limit", "1"]) == 0
    assert "5 maps written, 0 were there" in capsys.readouterr().out
    fleet = open_fleet(tiny_fleets / "five", "val")
    with pytest.raises(DataError, match="a map of every picture"):
        with_teacher_maps(fleet, tmp_path / "maps")
    assert main(words) == 0
    assert "10 maps written, 5 were there" in capsys.readouterr().out
    for view in with_teacher_maps(fleet, tmp_path / "maps")[2].cameras:
        assert set(np.unique(view.semantics())) <= {0, 9, 255}
    card = read_card(tmp_path / "maps")
    assert (card.network, card.classes, card.width) == ("colour.onnx", (0, 255, 9), 88)
    assert main([*words, "--confidence", "0.7"]) == 1
    assert "confidence: found 0.5" in capsys.readouterr().err
    assert main([*words, "--mapping", "cityscapes"]) == 1
    assert "classes: found 3, expected 19" in capsys.readouterr().err


@pytest.fixture(scope="module")
def deeplab(real_data: Path) -> Segmenter:
    pytest.importorskip("ai_edge_litert")
    found = sorted((real_data / "weights").rglob("deeplab*cityscapes*.tflite"))
    if not found:
        pytest.skip(f"no DeepLab below {real_data / 'weights'}")
    return load_network(found[0], "", "cpu")


CITY = MapsCard("deeplab", "", "", "cityscapes", MAPPINGS["cityscapes"], 1024, 0.0)


def test_a_real_road_is_drivable(deeplab, real_data):
    for moment in nuscenes_frames(real_data):
        view = next(v for v in moment.cameras if v.name == "CAM_FRONT")
        found = segment_picture(view.image(), deeplab, CITY, view.source)
        assert found.shape == (576, 1024)
        ahead = found[374:490, 358:666]  # the lower middle, above the bonnet
        assert (ahead == DRIVABLE).mean() > 0.95
        assert (found[:100] == DRIVABLE).mean() < 0.01


def test_a_network_agrees_with_human_labels(deeplab, real_data, tmp_path):
    """Four of five labelled pixels of the real Waymo frame; a transposed or shifted map would not get there."""
    moment = waymo_frame(real_data)
    write_maps([moment], deeplab, CITY, tmp_path)
    right = known = 0
    for view in moment.cameras:
        found, human = (
            TeacherMap(map_path(tmp_path, moment.token, view.name), view.width, view.height)(),
            view.semantics(),
        )
        counts = (human != 255) & (found != 255)
        right, known = right + (human == found)[counts].sum(), known + counts.sum()
    assert right / known > 0.75
