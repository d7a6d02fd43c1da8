from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ugocc.data.source import open_fleet
from ugocc.evaluation.files import read_prediction
from ugocc.labels import NUM_CLASSES
from ugocc.models.assemble import build_model, model_settings
from ugocc.serving.predict import PredictSettings, predict_fleet
from ugocc.serving.predictor import Predictor
from ugocc.serving.test import ScoreSettings, TestSettings, chosen_metrics, score_fleet, test_fleet
from ugocc.training.checkpoint import save_model


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A debug model with random weights: what is tested is the road, not the prediction."""
    torch.manual_seed(0)
    model = build_model(model_settings("flashocc", "debug"))
    return save_model(tmp_path_factory.mktemp("model"), model, {"variant": "random", "train_fleet": "none"})


def test_prediction_files_score_as_the_evaluation_does(checkpoint: Path, tiny_fleets: Path, tmp_path: Path) -> None:
    settings = TestSettings(
        checkpoint=checkpoint,
        root=tiny_fleets / "five",
        split="val",
        out=tmp_path / "test",
        save_predictions=True,
        workers=0,
        accelerator="cpu",
    )
    tested = test_fleet(settings)
    scored = score_fleet(
        ScoreSettings(tmp_path / "test" / "volumes", tiny_fleets / "five", "val", out=tmp_path / "score")
    )
    assert scored.miou == tested.miou
    assert scored.iou_occupied == tested.iou_occupied
    assert scored.per_class == tested.per_class
    assert scored.ray_iou == tested.ray_iou
    assert scored.by_distance == tested.by_distance
    assert scored.hidden == tested.hidden
    assert scored.plausibility == tested.plausibility
    assert (tmp_path / "test" / "results.json").is_file()
    assert (tmp_path / "score" / "table.md").is_file()


@pytest.mark.parametrize("fleet", ["six", "five"])
def test_predict_writes_volumes_pictures_and_a_film(
    checkpoint: Path, tiny_fleets: Path, tmp_path: Path, fleet: str
) -> None:
    predict_fleet(PredictSettings(checkpoint, tiny_fleets / fleet, "val", out=tmp_path, device="cpu"))
    frames = open_fleet(tiny_fleets / fleet, "val")
    for token in frames.tokens:
        volume, grid = read_prediction(tmp_path / "volumes" / f"{token}.npz")
        assert grid == model_settings("flashocc", "debug").input.grid
        assert volume.max() < NUM_CLASSES
        with Image.open(tmp_path / "pictures" / f"{token}.png") as picture:
            assert min(picture.size) > 300
    assert len(list(tmp_path.glob("*.gif"))) == 1


def test_real_frames_of_three_fleets_go_through_the_predictor(
    checkpoint: Path, real_nuscenes_root: Path, real_waymo_root: Path, real_ddad_root: Path
) -> None:
    from ugocc.serving.predict import picture_of

    predictor = Predictor.from_pretrained(checkpoint, "cpu")
    for root, cameras in ((real_nuscenes_root, 6), (real_waymo_root, 5), (real_ddad_root, 6)):
        frame = open_fleet(root, "train")[0]
        predicted = predictor(frame)
        assert predicted.classes.shape == predicted.grid.shape
        assert predicted.depth.shape[0] == cameras
        assert (predicted.depth > 0).all()
        assert np.isfinite(predicted.confidence).all()
        picture = picture_of(frame, predicted)
        assert picture.dtype == np.uint8
        assert picture.std() > 20


def test_the_predictor_reads_no_labels_and_says_the_same_twice(checkpoint: Path, tiny_fleets: Path) -> None:
    from dataclasses import replace

    def unreadable() -> None:
        raise AssertionError("a label was read")

    predictor = Predictor.from_pretrained(checkpoint, "cpu")
    frame = open_fleet(tiny_fleets / "six", "val")[0]
    blind = replace(frame, occupancy=unreadable)
    first, second = predictor(frame), predictor(blind)
    assert (first.classes == second.classes).all()
    assert (first.confidence == second.confidence).all()


def test_metrics_are_chosen_by_name() -> None:
    assert chosen_metrics("map_ten_class") == ("map_ten_class",)
    assert chosen_metrics(["depth", "map_ten_class"]) == ("map_ten_class", "depth")
    assert chosen_metrics("all") == ("map_ten_class", "ray_iou", "plausibility", "depth")
