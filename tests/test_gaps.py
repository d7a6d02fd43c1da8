from __future__ import annotations

from dataclasses import replace

import pytest

from ugocc.errors import DataError
from ugocc.gaps import gap_closed, gap_table, ingredient_table, of_direction
from ugocc.results import Row


def row(variant: str, trained: str, evaluated: str, miou: float, seed: int = 0) -> Row:
    return Row("m", variant, trained, evaluated, "test", seed, miou, 50.0, {}, 1.0)


ROWS = [
    row("source-only", "six", "five", 10.0),
    row("source-only", "six", "six", 40.0),
    row("strong source-only", "six", "five", 20.0),
    row("full", "six", "five", 30.0),
    row("full", "six", "six", 41.5),
    row("oracle", "five", "five", 50.0),
]


def cells(table: str) -> dict[str, dict[str, str]]:
    head, _, *lines = [[c.strip() for c in line.strip("|").split("|")] for line in table.splitlines()]
    return {line[2]: dict(zip(head, line, strict=True)) for line in lines}


def test_a_method_half_way_to_the_bar_closes_half_of_the_gap() -> None:
    assert gap_closed(30, 10, 50) == 50
    assert gap_closed(55, 10, 50) == 112.5
    assert gap_closed(30, 50, 50) is None


def test_the_table_says_how_far_every_variant_comes() -> None:
    lines = cells(gap_table({"six-five": ROWS}))
    assert list(lines) == ["source-only", "strong source-only", "full", "oracle"]
    assert (lines["full"]["of plain gap"], lines["full"]["of strong gap"]) == ("50 %", "33 %")
    assert (lines["full"]["mIoU, source"], lines["full"]["against source-only"]) == ("41.5", "+1.5")
    assert lines["strong source-only"]["of strong gap"] == "0 %"
    assert lines["oracle"]["mIoU, source"] == "-"


def test_each_of_two_directions_between_the_same_fleets_has_its_own_rows() -> None:
    back = [replace(r, train_fleet=r.eval_fleet, eval_fleet=r.train_fleet, miou=r.miou / 10) for r in ROWS[:1]]
    home = [
        row("oracle", "five", "six", 4.0),
        row("source-only", "five", "five", 50.0),
        row("oracle", "six", "six", 40.0),
    ]
    rows = [*ROWS, *back, *home]
    assert of_direction(rows, "six-five") == [*ROWS, home[0]]
    assert of_direction(rows, "five-six") == [*back, *home[1:]]
    table = gap_table({d: of_direction(rows, d) for d in ("six-five", "five-six")})
    assert cells(table.split("| five to six", 1)[0]) == cells(gap_table({"six-five": ROWS + home[:1]}))


def test_only_seeds_that_all_have_are_compared_and_the_table_says_how_many() -> None:
    more = [*ROWS, row("full", "six", "five", 90.0, seed=1), row("full", "six", "six", 42.5, seed=1)]
    full = cells(gap_table({"six-five": more}))["full"]
    assert (full["seeds"], full["mIoU, target"]) == ("2", "60.0 ± 30.0")
    assert (full["of plain gap"], full["of strong gap"]) == ("50 % (1)", "33 % (1)")
    assert (full["mIoU, source"], full["against source-only"]) == ("42.0 ± 0.5", "+1.5 (1)")
    plain_twice = [*more, *(row(r.variant, r.train_fleet, r.eval_fleet, r.miou, 1) for r in (ROWS[0], ROWS[5]))]
    full = cells(gap_table({"six-five": plain_twice}))["full"]
    assert (full["of plain gap"], full["of strong gap"]) == ("125 %", "33 % (1)")


def test_without_a_bar_there_is_no_share_and_a_folder_must_name_a_direction() -> None:
    lines = cells(gap_table({"six-five": [r for r in ROWS if r.variant != "oracle"]}))
    assert lines["full"]["of plain gap"] == "-"
    with pytest.raises(DataError, match="SOURCE-TARGET"):
        gap_table({"six": ROWS})


def test_what_an_ingredient_is_worth_is_told_seed_by_seed() -> None:
    rows = [*ROWS, row("full", "six", "five", 32.0, seed=1), row("without depth", "six", "five", 29.0)]
    rows += [row("without depth", "six", "five", 28.0, seed=1), row("without depth", "six", "six", 42.0)]
    rows += [row("without depth", "six", "six", 43.0, seed=1), row("without semantics", "six", "five", 31.0, seed=5)]
    head, _, *lines = ingredient_table({"six-five": rows}).splitlines()
    assert head.count("against full") == 2
    assert lines == [
        "| six to five | m | without depth | test | 2 | 28.5 ± 0.5 | -2.5 ± 1.5 | 42.5 ± 0.5 | - |",
        "| six to five | m | without semantics | test | 1 | 31.0 | - | - | - |",
    ]
    assert "without depth" not in gap_table({"six-five": rows})
    with pytest.raises(DataError, match="SOURCE-TARGET"):
        ingredient_table({"six": ROWS})
