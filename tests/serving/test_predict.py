from __future__ import annotations

import base64
import json
import re
import zlib
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ugocc.adaptation.teacher import reestimate_batchnorm
from ugocc.cli import main
from ugocc.data.fleet import fleet_from_frames
from ugocc.data.frame import CameraView, Frame
from ugocc.data.prepare import prepare
from ugocc.data.source import open_fleet
from ugocc.data.transforms import make_sample
from ugocc.errors import DataError
from ugocc.evaluation.files import read_prediction
from ugocc.labels import NUM_CLASSES
from ugocc.models.assemble import build_model, model_settings
from ugocc.serving import predict
from ugocc.serving.predict import PredictSettings, predict_fleet
from ugocc.serving.predictor import Predictor
from ugocc.serving.test import ScoreSettings, TestSettings, _write, chosen_metrics, score_fleet, test_fleet
from ugocc.serving.view import _predictions
from ugocc.training.checkpoint import read_card, save_model
from ugocc.training.statistics import spaced
from ugocc.viz.fleet import ViewSettings
from ugocc.viz.pictures import SEEN


class Frames(list[Frame]):
    """Frames in memory as a source."""

    def __init__(self, frames: list[Frame], fleet: str) -> None:
        super().__init__(frames)
        self.fleet, self.tokens = fleet, [frame.token for frame in frames]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A debug model with random weights: what is tested is the road, not the prediction."""
    torch.manual_seed(0)
    model = build_model(model_settings("flashocc", "debug"))
    return save_model(tmp_path_factory.mktemp("model"), model, {"variant": "random", "train_fleet": "none"})


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A debug model that knows six and not five, and says more than that all is free, as a network does at first."""
    torch.manual_seed(0)
    model = build_model(model_settings("flashocc", "debug"))
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    about = {"variant": "source-only", "train_fleet": "six"}
    return save_model(tmp_path_factory.mktemp("stranger"), model, about)


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


def test_files_of_every_second_frame_score_as_the_evaluation_does(
    checkpoint: Path, tiny_fleets: Path, tmp_path: Path
) -> None:
    tested = test_fleet(
        TestSettings(
            checkpoint,
            tiny_fleets / "five",
            every=2,
            out=tmp_path / "test",
            save_predictions=True,
            workers=0,
            accelerator="cpu",
            report=False,
        )
    )
    scored = score_fleet(
        ScoreSettings(tmp_path / "test" / "volumes", tiny_fleets / "five", every=2, out=tmp_path / "score")
    )
    assert scored.frames == tested.frames == 2
    assert scored.confusion == tested.confusion
    assert scored.ray_iou == tested.ray_iou


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


def test_a_drive_that_loses_cameras_and_whose_name_is_a_path(
    checkpoint: Path, tiny_fleets: Path, tmp_path: Path
) -> None:
    scene = str(tmp_path / "elsewhere" / "monday")
    drive = [replace(frame, scene=scene, occupancy=None) for frame in open_fleet(tiny_fleets / "six", "val")]
    lost = [replace(frame, cameras=frame.cameras[:2]) for frame in drive[1:]]
    fleet_from_frames(fleet := tmp_path / "fleet", [drive[0], *lost], "val")
    out = tmp_path / "out"
    predict_fleet(PredictSettings(checkpoint, fleet, "val", out=out, device="cpu"))
    assert len(list((out / "volumes").glob("*.npz"))) == len(drive)
    (film,) = out.glob("*.gif")
    with Image.open(film) as shown, Image.open(out / "pictures" / f"{drive[0].token}.png") as first:
        assert shown.n_frames == len(drive)
        assert shown.size == first.size
    assert not (tmp_path / "elsewhere").exists()


def test_only_what_a_camera_looks_at_is_in_the_pictures(checkpoint: Path, tiny_fleets: Path) -> None:
    predictor = Predictor.from_pretrained(checkpoint, "cpu")
    frame = open_fleet(tiny_fleets / "six", "val")[0]
    ahead = replace(frame, cameras=tuple(c for c in frame.cameras if c.name == "CAM_FRONT"))
    everywhere, front = (predictor.in_pictures(predictor.sample(f)) for f in (frame, ahead))
    assert front.any()
    assert not front[: front.shape[0] // 2].any()  # behind the car
    assert everywhere[: front.shape[0] // 2].any()
    assert not (front & ~everywhere).any()


def test_a_picture_says_that_it_shows_what_cameras_see(
    checkpoint: Path, tiny_fleets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    notes = []
    monkeypatch.setattr(predict, "prediction_picture", lambda *arguments: notes.append(arguments[5]))
    predictor, frame = Predictor.from_pretrained(checkpoint, "cpu"), open_fleet(tiny_fleets / "six", "val")[0]
    predict.picture_of(frame, predictor(frame), predictor, predictor.sample(frame))
    assert notes == [SEEN]


def test_a_picture_is_read_once_to_predict_and_once_to_draw(
    checkpoint: Path, tiny_fleets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []

    def counted(view: CameraView, *least: tuple[int, int]) -> np.ndarray:
        read.append(view.name)
        return view.image(*least)

    def opened(*where: object) -> Frames:
        frame = source(*where)[0]
        cameras = tuple(replace(view, image=partial(counted, view)) for view in frame.cameras)
        return Frames([replace(frame, cameras=cameras, occupancy=None)], "five")

    source = open_fleet
    monkeypatch.setattr("ugocc.serving.predict.open_fleet", opened)
    predict_fleet(
        PredictSettings(checkpoint, tiny_fleets / "five", "val", out=tmp_path, film="none", statistics=0, device="cpu")
    )
    assert sorted(read) == sorted(2 * [view.name for view in source(tiny_fleets / "five", "val")[0].cameras])


def test_real_frames_of_three_fleets_go_through_the_predictor(
    checkpoint: Path, real_nuscenes_root: Path, real_waymo_root: Path, real_ddad_root: Path
) -> None:
    from ugocc.serving.predict import picture_of

    predictor = Predictor.from_pretrained(checkpoint, "cpu")
    for root, cameras in ((real_nuscenes_root, 6), (real_waymo_root, 5), (real_ddad_root, 6)):
        frame = open_fleet(root, "train")[0]
        sample = predictor.sample(frame)
        predicted = predictor.predict(sample)
        assert predicted.classes.shape == predicted.grid.shape
        assert predicted.depth.shape[0] == cameras
        assert (predicted.depth > 0).all()
        assert np.isfinite(predicted.confidence).all()
        picture = picture_of(frame, predicted, predictor, sample)
        assert picture.dtype == np.uint8
        assert picture.std() > 20


def test_the_predictor_reads_no_labels_and_says_the_same_twice(checkpoint: Path, tiny_fleets: Path) -> None:
    def unreadable() -> None:
        raise AssertionError("a label was read")

    predictor = Predictor.from_pretrained(checkpoint, "cpu")
    frame = open_fleet(tiny_fleets / "six", "val")[0]
    blind = replace(frame, occupancy=unreadable)
    first, second = predictor(frame), predictor(blind)
    assert (first.classes == second.classes).all()
    assert (first.confidence == second.confidence).all()


def test_statistics_of_a_fleet_that_the_network_does_not_know_are_taken_of_its_frames(
    stranger: Path, tiny_fleets: Path, tmp_path: Path
) -> None:
    frames = open_fleet(tiny_fleets / "five", "val")
    volumes = {}
    for name, count in (("five", 2), ("six", 2), ("five", 0)):
        out = tmp_path / f"{name}-{count}"
        predict_fleet(
            PredictSettings(
                stranger, tiny_fleets / "five", "val", name, out, 1, False, "none", statistics=count, device="cpu"
            )
        )
        volumes[name, count] = read_prediction(out / "volumes" / f"{frames.tokens[0]}.npz")[0]
    as_it_came = Predictor.from_pretrained(stranger, "cpu")
    assert as_it_came.knows("six")
    assert not as_it_came.knows("five")
    by_hand = build_model(model_settings("flashocc", "debug"))
    by_hand.load_state_dict(as_it_came.model.state_dict())
    settings = by_hand.settings.input
    samples = [make_sample(prepare(frames[i], settings, labelled=False), settings) for i in spaced(len(frames), 2)]
    reestimate_batchnorm(by_hand, samples)
    assert np.array_equal(volumes["five", 2], Predictor(by_hand, {}, "cpu")(frames[0]).classes)
    assert len(np.unique(volumes["five", 2])) > 3
    for known in (("six", 2), ("five", 0)):
        assert np.array_equal(volumes[known], as_it_came(frames[0]).classes)
        assert not np.array_equal(volumes[known], volumes["five", 2])
    with pytest.raises(DataError, match="expected"):
        as_it_came.normalise_by([])


def test_predict_test_its_page_and_view_use_the_same_statistics(
    stranger: Path, tiny_fleets: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    five = tiny_fleets / "five"
    predict_fleet(
        PredictSettings(stranger, five, "val", out=tmp_path, pictures=False, film="none", statistics=2, device="cpu")
    )
    new = "five is new to flashocc-debug (source-only): batch-norm statistics are "
    assert f"{new}of 2 frames of five\n" in capsys.readouterr().err
    scored = score_fleet(ScoreSettings(tmp_path / "volumes", five, out=tmp_path / "score"))
    plain = TestSettings(stranger, five, out=tmp_path, eval="map_ten_class", workers=0, accelerator="cpu", report=False)
    as_it_is = test_fleet(plain)
    said = capsys.readouterr().err
    assert f"{new}the model's of six; --statistics 32 takes those of five, as ugocc predict does\n" in said
    tested = test_fleet(replace(plain, statistics=2, report=True))
    assert tested.confusion == scored.confusion != as_it_is.confusion
    assert as_it_is.variant == "source-only"
    assert tested.variant == "source-only, statistics of 2 frames of five"

    frame = open_fleet(five, "val")[0]
    predicted = read_prediction(tmp_path / "volumes" / f"{frame.token}.npz")[0]
    page = re.search(r'id="scenes">(.*?)</script>', (tmp_path / "report.html").read_text(encoding="utf-8"))
    assert page is not None
    packed = json.loads(page[1])["scenes"][0]["moments"][0]["volumes"]["after"]
    assert np.array_equal(np.frombuffer(zlib.decompress(base64.b64decode(packed)), np.uint8), predicted.ravel())

    pytest.importorskip("rerun")
    capsys.readouterr()
    settings = ViewSettings(five, "val", rerun="live", checkpoint=stranger, device="cpu", statistics=2)
    said_of = _predictions(settings, open_fleet(five, "val"), [])(frame)
    assert said_of is not None
    assert np.array_equal(said_of.classes, predicted)
    assert "of 2 frames of five" in capsys.readouterr().err
    test_fleet(replace(plain, root=tiny_fleets / "six", statistics=2))
    assert "batch-norm" not in capsys.readouterr().err


def test_frames_without_a_label_are_left_out_of_the_score(
    checkpoint: Path, tiny_fleets: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = open_fleet(tiny_fleets / "five", "val")
    manifest = fleet_from_frames(tmp_path / "some", whole, "val", "five")
    lines = [json.loads(line) for line in manifest.read_text().splitlines()]
    del lines[1]["occupancy"]
    manifest.write_text("\n".join(json.dumps(line) for line in lines))
    predict_fleet(PredictSettings(checkpoint, manifest.parent, "val", None, tmp_path, 0, False, "none", device="cpu"))
    scored = score_fleet(ScoreSettings(tmp_path / "volumes", manifest.parent, "val", out=tmp_path))
    tested = test_fleet(
        TestSettings(
            checkpoint, manifest.parent, "val", out=tmp_path, workers=0, accelerator="cpu", statistics=32, report=False
        )
    )
    assert scored.frames == tested.frames == len(whole) - 1
    assert scored.confusion == tested.confusion
    assert capsys.readouterr().err.count(f"{len(whole) - 1} of {len(whole)} frames of five have a label") == 2


def test_volumes_of_two_models_fleets_or_statistics_do_not_mix(
    checkpoint: Path, stranger: Path, tiny_fleets: Path, tmp_path: Path
) -> None:
    plain = PredictSettings(
        stranger, tiny_fleets / "five", "val", None, tmp_path, 1, False, "none", statistics=2, device="cpu"
    )
    for settings in (plain, replace(plain, statistics=0), plain, replace(plain, limit=2)):  # all again, or the same
        predict_fleet(settings)
    record = json.loads((tmp_path / "predict.json").read_text(encoding="utf-8"))
    assert record["weights_sha256"] == read_card(stranger)["weights_sha256"]
    assert (record["fleet"], record["split"], record["every"]) == ("five", "val", 1)
    assert record["statistics"] == "of 2 frames of five (val, every 1)"
    (volume,) = (tmp_path / "volumes").glob(f"{open_fleet(plain.root, 'val').tokens[0]}.npz")
    written = volume.stat().st_mtime_ns
    for other, name in (
        (replace(plain, checkpoint=checkpoint), "model"),
        (replace(plain, name="ten"), "fleet"),
        (replace(plain, statistics=0), "statistics"),
        (replace(plain, every=2, limit=2), "statistics"),
    ):
        with pytest.raises(DataError, match=rf"predict\.json: {name}: found .*: give another --out, or delete"):
            predict_fleet(other)
    assert volume.stat().st_mtime_ns == written
    (tmp_path / "predict.json").write_text("{", encoding="utf-8")
    with pytest.raises(DataError, match="broken JSON"):
        predict_fleet(plain)


def test_an_interrupted_verb_leaves_the_picture_and_the_table_that_were_there(
    checkpoint: Path, tiny_fleets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(image: Image.Image, path: Path) -> None:
        Path(path).write_bytes(b"half")
        raise KeyboardInterrupt

    def refused(text: Path, target: Path) -> None:
        raise KeyboardInterrupt

    token = open_fleet(tiny_fleets / "five", "val").tokens[0]
    for kept in (picture := tmp_path / "pictures" / f"{token}.png", table := tmp_path / "table.md"):
        kept.parent.mkdir(exist_ok=True)
        kept.write_bytes(b"whole")
    monkeypatch.setattr(Image.Image, "save", interrupted)
    with pytest.raises(KeyboardInterrupt):
        predict_fleet(PredictSettings(checkpoint, tiny_fleets / "five", "val", out=tmp_path, film="none", device="cpu"))
    monkeypatch.setattr("ugocc.serving.test.write_results", lambda path, rows: path)
    monkeypatch.setattr(Path, "replace", refused)
    with pytest.raises(KeyboardInterrupt):
        _write(tmp_path, [])
    assert picture.read_bytes() == table.read_bytes() == b"whole"


def test_metrics_are_chosen_by_name() -> None:
    assert chosen_metrics("map_ten_class") == ("map_ten_class",)
    assert chosen_metrics(["depth", "map_ten_class"]) == ("map_ten_class", "depth")
    assert chosen_metrics("all") == ("map_ten_class", "ray_iou", "plausibility", "depth")
    assert chosen_metrics("ray_iou, depth") == ("ray_iou", "depth")
    for wrong in ("ray_iuo", ["map_ten_class", "foo"]):
        with pytest.raises(DataError, match=r"eval: found (ray_iuo|foo), expected all, or"):
            chosen_metrics(wrong)


def test_a_labelled_fleet_without_lidar_has_no_depth_to_measure(
    checkpoint: Path, tiny_fleets: Path, tmp_path: Path
) -> None:
    frames = [replace(frame, lidar=None, sweeps=()) for frame in open_fleet(tiny_fleets / "five", "val")]
    fleet_from_frames(tmp_path / "cars", frames, "val")
    settings = TestSettings(checkpoint, tmp_path / "cars", out=tmp_path / "test", workers=0, accelerator="cpu")
    assert test_fleet(replace(settings, report=False)).depth == {}
    assert "NaN" not in (tmp_path / "test" / "results.json").read_text()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["predict", "--limit", "-1"], "predict: limit: found -1, expected a number of frames, or 0 for all"),
        (["predict", "--statistics", "-1"], "predict: statistics: found -1"),
        (["view", "--limit", "-1"], "view: limit: found -1"),
        (["test", "--workers", "-1"], "test: workers: found -1"),
        (["models", "--cameras", "0"], "models: cameras: found 0"),
        (["table", "--pages", "nope.md"], "nope.md: pages: found no such file"),
    ],
)
def test_numbers_and_pages_that_cannot_be_are_named(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) in (1, 2)
    assert message in capsys.readouterr().err
