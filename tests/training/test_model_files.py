from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

from ugocc import pretrained
from ugocc.errors import DataError
from ugocc.models.assemble import OccupancyModel, build_model, model_settings
from ugocc.pretrained import find_model
from ugocc.results import Row
from ugocc.serving.predictor import Predictor
from ugocc.training.checkpoint import card_with_results, load_model, read_card, save_model

ABOUT = {"variant": "full", "train_fleet": "six", "target_fleet": "five", "target_supervision": "none", "steps": 7}


@pytest.fixture
def model() -> OccupancyModel:
    torch.manual_seed(0)
    return build_model(model_settings("flashocc", "debug"))


def front_matter(folder: Path) -> dict[str, object]:
    _, front, _ = (folder / "README.md").read_text(encoding="utf-8").split("---\n", 2)
    return yaml.safe_load(front)


def test_weights_that_are_not_those_of_the_card_are_refused(model: OccupancyModel, tmp_path: Path):
    folder = save_model(tmp_path / "a", model, ABOUT)
    with torch.no_grad():
        next(model.parameters()).add_(1)
    other = save_model(tmp_path / "b", model, ABOUT)
    (folder / "model.safetensors").write_bytes((other / "model.safetensors").read_bytes())
    with pytest.raises(DataError, match=r"SHA-256.*as model.json says"):
        load_model(folder)


def test_whoever_may_read_the_card_may_read_the_weights(model: OccupancyModel, tmp_path: Path):
    folder = save_model(tmp_path, model, ABOUT)
    assert len({file.stat().st_mode for file in folder.iterdir()}) == 1


def test_card_is_in_the_format_of_the_hub(model: OccupancyModel, tmp_path: Path):
    folder = save_model(tmp_path, model, ABOUT)
    front = front_matter(folder)
    assert front["library_name"] == "ugocc"
    assert {"six", "five"} <= set(front["tags"])  # type: ignore[arg-type]
    assert "model-index" not in front
    row = Row("flashocc-debug", "full", "six", "five", "test", 0, 26.25, 62.7, dict.fromkeys(["vehicle"], 1.0), 1.0)
    card_with_results(folder, [row])
    (index,) = front_matter(folder)["model-index"]  # type: ignore[misc]
    assert index["results"][0]["metrics"][0]["value"] == 26.25
    text = (folder / "README.md").read_text(encoding="utf-8")
    assert read_card(folder)["weights_sha256"] in text
    assert "| 26.2" in text or "| 26.3" in text


def test_half_precision_on_disk_is_single_precision_in_memory(model: OccupancyModel, tmp_path: Path):
    folder = save_model(tmp_path, model, ABOUT, {"six": {"x": torch.ones(2)}}, torch.float16)
    assert {t.dtype for t in load_file(folder / "model.safetensors").values() if t.is_floating_point()} == {
        torch.float16
    }
    loaded, _ = load_model(folder)
    for name, value in loaded.state_dict().items():
        torch.testing.assert_close(value, model.state_dict()[name], rtol=1e-3, atol=1e-5)
        assert value.dtype == model.state_dict()[name].dtype


def test_models_are_found_by_folder_name_and_hub_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    assert find_model(tmp_path) == tmp_path
    for name in pretrained.shipped():
        assert (find_model(name) / "model.json").is_file()
        assert Predictor.from_pretrained(name, "cpu").about["weights_sha256"]
    with pytest.raises(DataError, match="no such folder"):
        find_model("runs/nothing/here")
    with pytest.raises(DataError, match="no such folder"):
        find_model("nothing")

    def download(name: str, allow_patterns: list[str]) -> str:
        if name == "someone/model":
            return str(tmp_path)
        raise OSError("offline")

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    assert find_model("someone/model") == tmp_path
    with pytest.raises(DataError, match="not to be had from the hub"):
        find_model("someone/else")


def test_packing_into_the_package_forgets_folders_and_keeps_the_commit(
    model: OccupancyModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    from ugocc.pretrained import __main__ as pack

    about = {**ABOUT, "recipe": {"start": "runs/x", "run": {"folder": "runs"}, "optim": {"lr": 1.0}}}
    folder = save_model(tmp_path / "run", model, about)
    card = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    (folder / "model.json").write_text(json.dumps({**card, "commit": "abc"}), encoding="utf-8")
    monkeypatch.setattr(pack, "HERE", tmp_path / "package")
    monkeypatch.setattr("sys.argv", ["pack", str(folder), "tiny"])
    pack.main()
    packed = read_card(tmp_path / "package" / "tiny")
    assert packed["commit"] == "abc"
    assert packed["recipe"] == {"optim": {"lr": 1.0}}
    assert packed["weights_sha256"] != card["weights_sha256"]
    load_model(tmp_path / "package" / "tiny")


def test_a_model_is_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = build_model(model_settings("flashocc", "debug"))
    save_model(tmp_path, model, {})
    before = {k: v.clone() for k, v in model.state_dict().items()}
    write = Path.write_bytes

    def half(self: Path, content: bytes) -> int:
        write(self, content[: len(content) // 2])
        raise OSError("No space left on device")

    with torch.no_grad():
        next(model.parameters()).add_(1)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", half)
        with pytest.raises(OSError, match="No space"):
            save_model(tmp_path, model, {})
    kept, _ = load_model(tmp_path)
    assert all(torch.equal(v, before[k]) for k, v in kept.state_dict().items())
