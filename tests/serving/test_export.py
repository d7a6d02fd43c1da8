from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from ugocc.data.dataset import FrameDataset
from ugocc.data.source import open_fleet
from ugocc.errors import DataError
from ugocc.models.assemble import MODELS, OccupancyModel, build_model, model_settings
from ugocc.models.example import example_batch
from ugocc.models.exportable import rig_tensors
from ugocc.serving.export import ExportSettings, export_model
from ugocc.serving.exported import ExportedModel, open_model
from ugocc.serving.predictor import Predictor
from ugocc.serving.test import TestSettings, test_fleet
from ugocc.training.checkpoint import load_model, save_model

pytest.importorskip("onnx")
pytest.importorskip("onnxscript")

SHARED = "flashocc"  # the quickest to trace


def model_folder(folder: Path, name: str) -> Path:
    torch.manual_seed(0)
    model = build_model(model_settings(name, "debug"))
    with torch.no_grad():  # nothing that starts at zero may hide
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return save_model(folder / name, model, {"variant": "random", "train_fleet": "none"})


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return model_folder(tmp_path_factory.mktemp("models"), SHARED)


@pytest.fixture(scope="module")
def exported(checkpoint: Path, tiny_fleets: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("exported")
    return export_model(ExportSettings(checkpoint, out, root=tiny_fleets / "five"))


def same(found: torch.Tensor, expected: torch.Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)
    assert (found.argmax(1) == expected.argmax(1)).float().mean() >= 0.999


@pytest.mark.parametrize("name", MODELS)
def test_every_model_says_the_same_in_onnx_runtime(name: str, tmp_path: Path):
    pytest.importorskip("onnxruntime")
    folder = model_folder(tmp_path, name)
    graph = ExportedModel(export_model(ExportSettings(folder, tmp_path / "graph", cameras=3)))
    assert not [*graph.parameters(), *graph.buffers()], "nothing goes to another device, where runtimes do not run"
    model, _ = load_model(folder)
    for seed in (1, 2):  # the second with a rig that the graph has not seen
        batch = example_batch(model.settings.input, cameras=3, samples=2, seed=seed)
        batch.ego_T_camera[..., 2, 3] += 0.2 * seed
        with torch.no_grad():
            expected, found = model(batch), graph(batch)
        same(found.occupancy, expected.occupancy)
        if expected.depth_logits is not None:
            torch.testing.assert_close(found.expected_depth(), expected.expected_depth(), rtol=1e-3, atol=1e-3)


def test_only_standard_operators(exported: Path):
    import onnx

    graph = onnx.load(exported / "model.onnx")
    assert {node.domain for node in graph.graph.node} <= {"", "ai.onnx"}
    assert not {node.op_type for node in graph.graph.node} & {"ScatterND", "ScatterElements", "Loop", "NonZero"}
    assert graph.graph.input[0].name == "images"
    assert [made.name for made in graph.graph.output] == ["occupancy", "depth"]
    onnx.checker.check_model(graph)


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_predictor_of_an_exported_folder(exported: Path, checkpoint: Path, tiny_fleets: Path, runtime: str):
    pytest.importorskip(runtime)
    frames = open_fleet(tiny_fleets / "five", "val")
    ours = Predictor.from_pretrained(checkpoint, "cpu")
    graph = Predictor.from_pretrained(exported, "cpu", runtime=runtime)  # type: ignore[arg-type]
    for frame in frames:
        expected, found = ours(frame), graph(frame)
        assert (found.classes == expected.classes).mean() >= 0.999
        np.testing.assert_allclose(found.confidence, expected.confidence, atol=1e-3)
        np.testing.assert_allclose(found.depth, expected.depth, rtol=1e-3, atol=1e-2)


def test_bfloat16_where_the_runtime_can(exported: Path, checkpoint: Path):
    pytest.importorskip("openvino")
    model, _ = load_model(checkpoint)
    batch = example_batch(model.settings.input, cameras=5)
    half, card = open_model(exported, runtime="openvino", precision="bfloat16")
    with torch.no_grad():
        found, expected = half(batch).occupancy, model(batch).occupancy
    assert (found.argmax(1) == expected.argmax(1)).float().mean() > 0.95
    assert card["runtime"] == "openvino, bfloat16"
    with pytest.raises(DataError, match="bfloat16"):
        open_model(exported, runtime="onnxruntime", precision="bfloat16")


def test_a_fixed_rig_serves_any_number_of_samples_and_refuses_other_rigs(
    checkpoint: Path, tiny_fleets: Path, tmp_path: Path
):
    pytest.importorskip("onnxruntime")
    root = tiny_fleets / "five"
    folder = export_model(ExportSettings(checkpoint, tmp_path / "fixed", calibration="fixed", root=root))
    model, _ = load_model(checkpoint)
    graph = ExportedModel(folder)
    batch = FrameDataset(open_fleet(root, "train"), model.settings.input, labelled=False)[0]
    twice = type(batch)(**{k: torch.cat([v, v]) if torch.is_tensor(v) else v * 2 for k, v in vars(batch).items()})
    with torch.no_grad():
        same(graph(batch).occupancy, model(batch).occupancy)
        same(graph(twice).occupancy, model(twice).occupancy)
    batch.ego_T_camera[0, 2, 0, 3] += 2.0
    with pytest.raises(DataError, match="place of camera 2"):
        graph(batch)


def test_torch_program(checkpoint: Path, tmp_path: Path):
    folder = export_model(ExportSettings(checkpoint, tmp_path / "torch", format="torch", cameras=4))
    model, _ = load_model(checkpoint)
    batch = example_batch(model.settings.input, cameras=4)
    program = torch.export.load(folder / "model.pt2")
    with torch.no_grad():
        same(program.module()(batch.images, rig_tensors(model, batch))[0], model(batch).occupancy)
    with pytest.raises(DataError, match="torch programs"):
        ExportedModel(folder)


def test_int8_is_nearly_the_same_and_mostly_eight_bits(checkpoint: Path, tiny_fleets: Path, tmp_path: Path):
    pytest.importorskip("onnxruntime")
    import onnx

    root = tiny_fleets / "five"
    settings = ExportSettings(checkpoint, tmp_path / "int8", precision="int8", root=root, frames=2)
    folder = export_model(settings)
    kinds = [node.op_type for node in onnx.load(folder / "model.onnx").graph.node]
    assert "QuantizeLinear" in kinds
    assert sorted(file.name for file in folder.iterdir()) == ["export.json", "model.onnx"]
    model, _ = load_model(checkpoint)
    batch = FrameDataset(open_fleet(root, "train"), model.settings.input, labelled=False)[0]
    with torch.no_grad():
        found, expected = ExportedModel(folder)(batch).occupancy, model(batch).occupancy
    assert (found.argmax(1) == expected.argmax(1)).float().mean() > 0.8
    assert not torch.equal(found, expected)


def test_evaluation_of_an_exported_folder(exported: Path, checkpoint: Path, tiny_fleets: Path, tmp_path: Path):
    pytest.importorskip("onnxruntime")
    root = tiny_fleets / "five"
    rows = [
        test_fleet(TestSettings(folder, root, out=tmp_path / name, workers=0, report=name == "graph"))
        for name, folder in (("ours", checkpoint), ("graph", exported))
    ]
    assert rows[1].miou == pytest.approx(rows[0].miou, abs=0.1)
    assert rows[1].depth["abs_rel"] == pytest.approx(rows[0].depth["abs_rel"], abs=1e-3)
    assert "onnxruntime" in rows[1].hardware
    assert (tmp_path / "graph" / "report.html").is_file()


def test_the_page_of_a_graph_is_run_as_its_numbers_are(
    exported: Path, tiny_fleets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
):
    pytest.importorskip("openvino")
    monkeypatch.setattr("ugocc.serving.exported._onnxruntime", None)
    options = {"runtime": "openvino", "precision": "bfloat16", "eval": "map_ten_class", "statistics": 2}
    test_fleet(TestSettings(exported, tiny_fleets / "five", every=3, out=tmp_path, workers=0, **options))
    assert (tmp_path / "report.html").is_file()
    assert "the model's of none, with which the graph was exported" in capsys.readouterr().err


def test_wrong_options_and_broken_folders_are_named(exported: Path, checkpoint: Path, tmp_path: Path):
    with pytest.raises(DataError, match="fixed rig"):
        export_model(ExportSettings(checkpoint, tmp_path / "a", calibration="fixed"))
    with pytest.raises(DataError, match="int8"):
        export_model(ExportSettings(checkpoint, tmp_path / "a", precision="int8"))
    assert not (tmp_path / "a").exists()
    batch = example_batch(model_settings(SHARED, "debug").input, cameras=4)
    with pytest.raises(DataError, match="5 a frame"):
        ExportedModel(exported)(batch)
    about = json.loads((exported / "export.json").read_text(encoding="utf-8"))
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "export.json").write_text(json.dumps({k: v for k, v in about.items() if k != "cameras"}))
    with pytest.raises(DataError, match="cameras"):
        open_model(broken)
    (broken / "export.json").write_text(json.dumps(about))
    with pytest.raises(DataError, match="no such file"):
        open_model(broken)
    whole = (exported / about["graph"]).read_bytes()
    (broken / about["graph"]).write_bytes(whole[: len(whole) // 2])
    for runtime in ("onnxruntime", "openvino"):
        with pytest.raises(DataError, match="a whole graph"):
            ExportedModel(broken, runtime)


def test_a_graph_is_not_used_with_the_statistics_of_another_fleet(exported: Path, tmp_path: Path):
    pytest.importorskip("onnxruntime")
    about = json.loads((exported / "export.json").read_text(encoding="utf-8"))
    folder = tmp_path / "graph"
    shutil.copytree(exported, folder)
    card = about["card"] | {"train_fleet": "six", "target_fleet": "five", "statistics_sha256": {"six": "digest"}}
    for baked, right, wrong in (("six", ["six", "mine", None], "five"), (None, ["five", "mine", None], "six")):
        (folder / "export.json").write_text(json.dumps(about | {"card": card, "fleet": baked}))
        for fleet in right:
            assert isinstance(open_model(folder, fleet)[0], ExportedModel)
        with pytest.raises(DataError, match=rf"export\.json: fleet: found {baked}, expected {wrong}, whose statistics"):
            open_model(folder, wrong)


def test_network_of_ours_is_opened_as_before(checkpoint: Path):
    model, _ = open_model(checkpoint)
    assert isinstance(model, OccupancyModel)


def test_ranges_of_int8_need_as_many_cameras_in_every_frame(checkpoint: Path):
    pytest.importorskip("onnxruntime")
    from ugocc.serving.quantise import _Frames

    model, _ = load_model(checkpoint)
    frames = [example_batch(model.settings.input, cameras) for cameras in (3, 2)]
    reader = _Frames(model, frames, [0, 1], fixed=True)
    assert reader.get_next()["images"].shape[1] == 3
    with pytest.raises(DataError, match="cameras: found 2, expected 3"):
        reader.get_next()
