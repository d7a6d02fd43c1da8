from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from ugocc.errors import DataError
from ugocc.gaps import gap_table
from ugocc.results import Row, markdown_table, read_results, replace_block, write_results
from ugocc.serving.tables import ring_table
from ugocc.viz.report import figures

ROW = Row(
    model="flashocc-laptop",
    variant="source-only",
    train_fleet="six",
    eval_fleet="five",
    split="test",
    seed=0,
    miou=20.0,
    iou_occupied=50.0,
    per_class={"vehicle": 30.0, "pedestrian": None},
    seconds=1.5,
    ray_iou={"1m": 10.0, "2m": 20.0, "4m": 30.0, "mean": 20.0},
)


def test_rows_survive_the_file_and_the_file_says_where_they_come_from(tmp_path: Path) -> None:
    path = write_results(tmp_path / "a" / "results.json", [ROW], {"optim": {"steps": 3}})
    assert read_results(path) == [ROW]
    content = json.loads(path.read_text())
    assert content["recipe"] == {"optim": {"steps": 3}}
    assert {"commit", "versions", "machine"} <= content.keys()
    assert [p.name for p in path.parent.iterdir()] == ["results.json"]


def test_broken_result_files_are_named(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    with pytest.raises(DataError, match="no such file"):
        read_results(path)
    path.write_text('{"rows": [')
    with pytest.raises(DataError, match="broken JSON"):
        read_results(path)
    path.write_text('{"rows": [{"model": "x"}]}')
    with pytest.raises(DataError, match=r"rows\[0\]"):
        read_results(path)


def test_the_table_joins_seeds_and_keeps_fleets_apart() -> None:
    rows = [ROW, replace(ROW, seed=1, miou=24.0), replace(ROW, eval_fleet="six", miou=50.0, ray_iou={})]
    lines = markdown_table(rows).splitlines()
    assert len(lines) == 4
    assert "22.0 ± 2.0" in lines[2]
    assert "| 2 |" in lines[2]
    assert "| 50.0 |" in lines[3]
    assert "±" not in lines[3]


def test_the_table_shows_the_error_of_depth_where_it_was_measured() -> None:
    head, _, line = markdown_table([replace(ROW, depth={"abs_rel": 0.1234})]).splitlines()
    cells = dict(zip(head.split(" | "), line.split(" | "), strict=True))
    assert cells["depth AbsRel"] == "0.123"
    assert markdown_table([ROW]).splitlines()[2].split(" | ")[9] == "-"


def test_a_name_does_not_end_its_cell() -> None:
    rows = [replace(ROW, eval_fleet="five|b", train_fleet="five|b")]
    for text in (markdown_table(rows), gap_table({"six-five": rows}), ring_table(rows)):
        assert len(set(map(len, (re.split(r"(?<!\\)\|", line) for line in text.splitlines())))) == 1
    page = figures.table(markdown_table(rows))
    assert page.count("<td>five|b</td>") == 2


def test_blocks_of_a_page_are_replaced_and_nothing_else() -> None:
    page = "a\n<!-- t -->\nold\n<!-- /t -->\nb\n"
    assert replace_block(page, "t", "new\n") == "a\n<!-- t -->\nnew\n<!-- /t -->\nb\n"
    with pytest.raises(DataError, match="no markers"):
        replace_block(page, "u", "new")
