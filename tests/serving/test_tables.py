from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from ugocc.errors import DataError
from ugocc.extras import EXTRAS
from ugocc.labels import CLASSES
from ugocc.results import Row, write_results
from ugocc.serving.models import ModelsSettings, list_models
from ugocc.serving.tables import (
    TableSettings,
    checkpoint_table,
    class_means,
    listed_rows,
    model_table,
    precision_text,
    ring_table,
    rows_of,
    size_table,
    write_tables,
)


def _row(variant: str, train: str, evaluated: str, seed: int = 0, miou: float = 10.0) -> Row:
    return Row("net", variant, train, evaluated, "test", seed, miou, 50.0, {"building": 1.0}, 1.0)


def test_rows_come_from_files_at_any_depth_in_the_order_of_tables(tmp_path: Path) -> None:
    write_results(tmp_path / "a" / "z.json", [_row("source-only", "six", "five"), _row("source-only", "six", "six")])
    write_results(tmp_path / "a" / "b" / "a.json", [_row("oracle", "five", "five"), _row("full", "six", "five")])
    (tmp_path / "a" / "bench.json").write_text('{"milliseconds": {}}')
    assert [(r.variant, r.eval_fleet) for r in rows_of(tmp_path / "a")] == [
        ("source-only", "five"),
        ("full", "five"),
        ("oracle", "five"),
        ("source-only", "six"),
    ]


def test_tables_leave_out_the_oracle_away_from_the_fleet_whose_labels_it_had(tmp_path: Path) -> None:
    write_results(tmp_path / "a" / "a.json", [_row("oracle", "five", "five"), _row("oracle", "five", "six")])
    write_results(tmp_path / "a" / "b.json", [_row("full", "six", "five")])
    assert [(r.variant, r.eval_fleet) for r in listed_rows(tmp_path / "a")] == [("full", "five"), ("oracle", "five")]


def test_blocks_are_rewritten_and_missing_results_are_named(tmp_path: Path) -> None:
    write_results(tmp_path / "results" / "x" / "1.json", [_row("full", "six", "five", 0, 10.0)])
    write_results(tmp_path / "results" / "x" / "2.json", [_row("full", "six", "five", 1, 14.0)])
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- results:x -->\nold\n<!-- /results:x -->\nafter\n")
    write_tables(TableSettings(tmp_path / "results", (page,)))
    text = page.read_text()
    assert text.startswith("before")
    assert text.endswith("after\n")
    assert "12.0 ± 2.0" in text
    assert "old" not in text
    page.write_text("<!-- results:y -->\n<!-- /results:y -->\n")
    with pytest.raises(DataError, match="no rows"):
        write_tables(TableSettings(tmp_path / "results", (page,)))


def test_classes_are_drawn_for_every_direction(tmp_path: Path) -> None:
    for seed, building in ((0, 10.0), (1, 20.0)):
        rows = [_row("full", "six", "five", seed, 30.0 + seed), _row("full", "six", "six", seed, 40.0)]
        rows = [replace(row, per_class={"building": building, "vehicle": None}) for row in rows]
        write_results(tmp_path / "results" / "x" / "six-five" / f"{seed}.json", rows)
    page = tmp_path / "docs" / "page.md"
    page.parent.mkdir()
    page.write_text("<!-- plots:x -->\n<!-- /plots:x -->\n")
    settings = TableSettings(tmp_path / "results", (page,), tmp_path / "docs" / "images")
    write_tables(settings)
    assert "(images/x-six-five-net.png)" in page.read_text()
    assert (tmp_path / "docs" / "images" / "x-six-five-net.png").is_file()
    means = class_means([row for row in rows_of(tmp_path / "results" / "x") if row.eval_fleet == "five"])
    assert means[0] == 30.5
    assert means[1 + CLASSES.index("building")] == 15.0
    assert means[1 + CLASSES.index("vehicle")] is None
    assert class_means([]) == []


def test_near_and_far_are_means_over_seeds_and_what_never_occurs_is_a_dash(tmp_path: Path) -> None:
    more = {"hidden": {"miou": 8.0, "iou_occupied": 20.0}, "plausibility": {"near_ground": 0.9}}
    rows = [
        replace(_row("full", "six", "five", seed), by_distance={"0-10": 40.0 + seed, "30-40": None}, **more)
        for seed in (0, 1)
    ]
    home = replace(_row("full", "five", "five"), by_distance={"0-10": 60.0, "30-40": 50.0}, **more)
    table = ring_table([*rows, home, _row("oracle", "five", "five")])
    assert table.splitlines()[0].endswith("| 0-10 m | 30-40 m | hidden: mIoU | hidden: occupied IoU | near ground |")
    assert table.splitlines()[2:] == [
        "| net | full | six | five | test | 2 | 40.5 | - | 8.0 | 20.0 | 0.900 |",
        "| net | full | five | five | test | 1 | 60.0 | 50.0 | 8.0 | 20.0 | 0.900 |",
    ]


def test_checkpoints_are_listed_one_by_one_with_what_they_cost() -> None:
    known = {"backbone": "resnet18", "images": [5, 96, 264], "steps": 2400, "weights_sha256": "ab" * 32}
    known |= {"latency_ms": 81.4, "memory_mib": 70.2, "hardware": "x86_64, 2 cores, float32", "train_seconds": 1260.0}
    rows = [replace(_row("full", "six", "five", seed), **known) for seed in (0, 1)]
    lines = checkpoint_table([*rows, _row("oracle", "five", "five")]).splitlines()
    assert len({line.count("|") for line in lines}) == 1
    assert lines[2:] == [
        f"| net full, six | {seed} | resnet18 | 5 x 96 x 264 | five test | camera | 10.0 | - | 81 ms | "
        "x86_64, 2 cores, float32 | 70 MiB | 2400 steps, 21 min | `abababababab` |"
        for seed in (0, 1)
    ]


def test_networks_are_listed_from_what_was_measured(tmp_path: Path) -> None:
    out = tmp_path / "results" / "models" / "models.json"
    list_models(ModelsSettings(sizes=("debug",), cameras=2, json=True, out=out))
    page = tmp_path / "page.md"
    page.write_text("<!-- models:models -->\n<!-- /models:models -->\n")
    write_tables(TableSettings(tmp_path / "results", (page,)))
    lines = [line for line in page.read_text().splitlines() if line.startswith("| flashocc")]
    assert len(lines) == 1
    assert "| 2 x 64 x 176 | 32 x 32 x 4 | 1.6 m | 0.08 M |" in lines[0]
    assert " G | " in lines[0]
    assert lines[0].endswith(" MiB |")
    with pytest.raises(DataError, match="none"):
        model_table(tmp_path)


def test_sizes_are_listed_for_the_core_and_every_extra(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("<!-- sizes:install-size -->\n<!-- /sizes:install-size -->\n")
    write_tables(TableSettings(Path(__file__).parents[2] / "results", (page,)))
    lines = page.read_text().splitlines()[3:-1]
    assert [line.split(" | ")[0] for line in lines] == [
        "| the core",
        *(f"| `{name}`" for name in (*EXTRAS, "all")),
    ]
    measured = json.loads((Path(__file__).parents[2] / "results" / "install-size" / "benchmark.json").read_text())
    assert measured["core"]["mb"] < measured["limit_mb"] == 150
    with pytest.raises(DataError, match="no such file"):
        size_table(tmp_path / "benchmark.json")


def test_runs_in_the_rarer_precision_are_named(tmp_path: Path) -> None:
    rows = [_row("full", "six", "five")]
    for name, precision in (("a/1", "bf16-mixed"), ("a/2", "bf16-mixed"), ("b/3", "32-true")):
        write_results(tmp_path / f"{name}.json", rows, {"run": {"precision": precision}})
    assert precision_text(tmp_path) == "Runs were trained in bf16-mixed, but in 32-true: b/3.\n"
    assert precision_text(tmp_path / "a") == "Runs were trained in bf16-mixed.\n"
    write_results(tmp_path / "c" / "4.json", rows)
    with pytest.raises(DataError, match=r"recipe\.run\.precision"):
        precision_text(tmp_path / "c")
