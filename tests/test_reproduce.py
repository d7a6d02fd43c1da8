from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

import ugocc
from ugocc.data.synthetic.build import MANIFEST
from ugocc.errors import DataError
from ugocc.provenance import ENTRIES, code_digest, data_digest, imported
from ugocc.reproduce import Job, ReproduceSettings, clock, estimate, jobs, reproduce
from ugocc.serving.tables import rows_of


def _settings(fleets: Path, out: Path) -> ReproduceSettings:
    return ReproduceSettings(
        size="debug",
        fleets=fleets,
        directions=("six-five",),
        seeds=(5,),
        models=("bevformer-occ", "flashocc"),
        adapted=(),
        split="val",
        out=out / "runs",
        publish=out / "published",
        cache=out / "cache",
        steps=(1, 1, 1),
    )


@pytest.fixture(scope="module")
def reproduced(tiny_fleets: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("family")
    reproduce(_settings(tiny_fleets, out))
    return out


def test_every_row_of_the_table_is_there(reproduced: Path) -> None:
    rows = rows_of(reproduced / "published")
    wanted = {("bevformer-occ-debug", v) for v in ("source-only", "strong source-only", "oracle")}
    wanted |= {("flashocc-debug", v) for v in ("source-only", "strong source-only", "oracle", "full")}
    assert {(r.model, r.variant) for r in rows} == wanted
    assert {(r.eval_fleet, r.seed, r.split) for r in rows} == {("five", 5, "val"), ("six", 5, "val")}
    table = (reproduced / "runs" / "table.md").read_text()
    assert table.count("bevformer-occ-debug") == 3 + 6  # shares of the gap, and all numbers


def test_the_report_shows_what_was_adapted(reproduced: Path) -> None:
    page = (reproduced / "runs" / "report.html").read_text(encoding="utf-8")
    assert "What is taken for what on five: flashocc-debug, six to five" in page
    assert 'id="scenes"' in page


def test_what_is_there_is_not_made_again(
    reproduced: Path, tiny_fleets: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = sorted(reproduced.rglob("model.safetensors"))
    before = [w.stat().st_mtime_ns for w in weights]
    reproduce(_settings(tiny_fleets, reproduced))
    assert "7 results, 0 missing: about 0 h 00 min" in capsys.readouterr().out
    assert [w.stat().st_mtime_ns for w in weights] == before


def test_results_of_other_code_or_data_are_not_mixed_in(reproduced: Path, tiny_fleets: Path, tmp_path: Path) -> None:
    file = next((reproduced / "published").rglob("flashocc-full-seed-5.json"))
    content = json.loads(file.read_text())
    assert content["code"] == code_digest("adapted")
    plain = json.loads(next((reproduced / "published").rglob("flashocc-oracle-seed-5.json")).read_text())
    assert plain["code"] == code_digest("supervised")
    assert content["data"]["six"] == data_digest(tiny_fleets / "six")
    settings = replace(_settings(tiny_fleets, tmp_path), publish=tmp_path / "published")
    other = tmp_path / "published" / file.name
    other.parent.mkdir()
    for change, field in (({"code": "0" * 64}, "code"), ({"data": {"five": "0" * 64}}, "data.five")):
        other.write_text(json.dumps(content | change))
        with pytest.raises(DataError, match=f"{field}.*000000000000"):
            reproduce(settings)
    assert not (tmp_path / "runs").exists()


def test_results_of_other_settings_are_not_taken_for_its_own(reproduced: Path, tiny_fleets: Path) -> None:
    settings = _settings(tiny_fleets, reproduced)
    for change, field in (
        ({"steps": (1, 1, 2)}, "steps: found 3, expected 4"),
        ({"split": "test"}, "split: found val"),
        ({"size": "laptop"}, "model: found .*-debug, expected .*-laptop"),
        ({"adapted_once": ("flashoc",)}, "adapted_once: found flashoc, expected names of models"),
    ):
        with pytest.raises(DataError, match=field):
            reproduce(replace(settings, **change))


def test_what_readers_keep_beside_a_fleet_is_not_its_data(tmp_path: Path) -> None:
    (tmp_path / "tables").mkdir()
    (tmp_path / "tables" / "log.json").write_text("[]")
    before = data_digest(tmp_path)
    (tmp_path / ".ugocc").mkdir()
    (tmp_path / ".ugocc" / "index.parquet").write_text("kept")
    assert data_digest(tmp_path) == before
    (tmp_path / "tables" / "log.json").write_text("[1]")
    assert data_digest(tmp_path) != before


def test_a_rendered_fleet_is_told_by_what_it_was_rendered_with(tiny_fleets: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_fleets, tmp_path / "fleets")
    fleet, manifest = tmp_path / "fleets" / "six", tmp_path / "fleets" / MANIFEST
    before = data_digest(fleet)
    assert before == data_digest(tiny_fleets / "six")
    table = next((fleet / "v1.0-trainval").glob("ego_pose.json"))
    table.write_text(table.read_text("utf-8") + " ", "utf-8")  # a digit more, on another processor
    assert data_digest(fleet) == before
    manifest.write_text(manifest.read_text("utf-8").replace('"renderer": "', '"renderer": "0'), "utf-8")
    assert data_digest(fleet) != before
    manifest.unlink()
    assert data_digest(fleet) not in (before, data_digest(tiny_fleets / "six"))


def test_a_plan_trains_nothing(tiny_fleets: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert reproduce(replace(_settings(tiny_fleets, tmp_path), plan=True)) == []
    assert "7 results, 7 missing" in capsys.readouterr().out
    assert not (tmp_path / "runs").exists()


def test_time_counts_what_two_directions_share_once(tiny_fleets: Path, tmp_path: Path) -> None:
    settings = replace(_settings(tiny_fleets, tmp_path), steps=(100, 0, 0))
    one = estimate(settings, [Job("flashocc", "six-five", "source-only", 0)])
    both = [Job("flashocc", d, v, 0) for d in ("six-five", "five-six") for v in ("source-only", "oracle")]
    assert one > 0
    assert estimate(settings, both) == pytest.approx(2 * one)
    assert clock(3900) == "1 h 05 min"


def test_the_first_seed_makes_a_whole_table() -> None:
    settings = ReproduceSettings()
    found = jobs(settings)
    first = [job for job in found if job.seed == 0]
    assert found[: len(first)] == first
    assert len(set(found)) == len(found) == 2 * (3 * (5 * 3 + 1) + 1)


def _package(folder: Path) -> Path:
    """A package: training on labels, adaptation, what both import and what decides nothing."""
    files = {
        "training/source.py": "from ugocc.models import lift",
        "training/chain.py": "import ugocc.training.source\nfrom ugocc.adaptation.voting import vote",
        "evaluation/evaluate.py": "from ugocc.viz.bev import draw\nfrom ugocc.data.town.shapes import Box",
        "adaptation/voting.py": "def vote():\n    from ugocc.adaptation.late import ray",
    }
    files |= dict.fromkeys(("models/lift.py", "viz/bev.py", "data/town/shapes.py", "adaptation/late.py"), "a = 1\n")
    for name, text in files.items():
        _write(folder / "ugocc" / name, text)
    return folder / "ugocc"


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(exist_ok=True, parents=True)
    path.write_text(text)


def _digest_of(package: Path, text: str, file: str = "models/lift.py") -> str:
    _write(package / file, text)
    code_digest.cache_clear()
    return code_digest("adapted", package)


def test_a_digest_changes_with_what_decides_numbers(tmp_path: Path) -> None:
    package = _package(tmp_path)
    before = _digest_of(package, "a = 1\n")
    assert _digest_of(package, "b = 1", "viz/bev.py") == before
    assert _digest_of(package, "b = 1", "data/town/shapes.py") == before
    assert _digest_of(package, "b = 1", "models/that_nothing_imports.py") == before
    assert _digest_of(package, "a = 2\n") != before
    assert _digest_of(package, "a = 1\n") == before
    assert _digest_of(package, "b = 1", "adaptation/late.py") != before


def test_training_on_labels_does_not_depend_on_how_networks_are_adapted(tmp_path: Path) -> None:
    package = _package(tmp_path)
    _digest_of(package, "a = 1\n")
    before = code_digest("supervised", package)
    assert before != code_digest("adapted", package)
    _digest_of(package, "b = 1", "adaptation/late.py")
    assert code_digest("supervised", package) == before
    _digest_of(package, "a = 2\n")
    assert code_digest("supervised", package) != before


def test_digests_are_of_the_files_that_train_and_score() -> None:
    package = Path(ugocc.__file__).parent
    names = {kind: {f.relative_to(package).as_posix() for f in imported(package, ENTRIES[kind])} for kind in ENTRIES}
    both = {"models/lift.py", "data/waymo.py", "losses/occupancy.py", "evaluation/ray_kernel.py", "training/fit.py"}
    assert both <= names["supervised"] < names["adapted"]
    assert {"adaptation/voting.py", "training/adapt.py", "losses/photometric.py"} <= names["adapted"] - both
    assert not {"adaptation/voting.py", "training/adapt.py"} & names["supervised"]


def test_a_digest_does_not_change_with_what_is_said_about_code(tmp_path: Path) -> None:
    said = '''"""What it is."""

# Why.
A = "# no comment"  # a comment
"""What A is."""


class Settings:
    """Of something."""

    share: float = 0.5
    """Of all,
    that is."""

    def half(self) -> str:
        """Half."""
        return """not a docstring"""
'''
    unsaid = '''A = "# no comment"
class Settings:
    share: float = 0.5
    def half(self) -> str:
        return """not a docstring"""
'''
    package = _package(tmp_path)
    before = _digest_of(package, said)
    assert _digest_of(package, unsaid) == before
    assert _digest_of(package, said.replace("not a doc", "none")) != before
    assert _digest_of(package, said.replace("# no", "# yes")) != before
    assert _digest_of(package, said.replace("0.5", "0.25")) != before


def test_published_results_are_not_made_again_where_their_models_are_gone(
    reproduced: Path, tiny_fleets: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = replace(_settings(tiny_fleets, tmp_path), publish=reproduced / "published")
    rows = reproduce(settings)
    assert "7 results, 0 missing" in capsys.readouterr().out
    assert len(rows) == 7 * 2
    assert not list(tmp_path.rglob("*.safetensors"))
    assert (tmp_path / "runs" / "table.md").read_text() == (reproduced / "runs" / "table.md").read_text()
