from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ugocc.data import parquet_rows
from ugocc.data.parquet_rows import forget, read_columns, read_row, row_places
from ugocc.errors import DataError

ROWS = 60


@pytest.fixture(autouse=True)
def nothing_kept():
    forget()
    yield
    forget()


def table(seed: int = 0) -> pa.Table:
    rng = np.random.default_rng(seed)
    return pa.table(
        {
            "key.time": np.arange(ROWS),
            "[C].image": pa.array([rng.bytes(int(n)) for n in rng.integers(1000, 9000, ROWS)], pa.binary()),
            "[C].range.values": pa.array([rng.random(50, np.float32) for _ in range(ROWS)], pa.list_(pa.float32())),
        }
    )


def write(path: Path, group: int, seed: int = 0) -> pa.Table:
    stored = table(seed)
    pq.write_table(stored, path, row_group_size=group)
    return stored


@pytest.mark.parametrize("group", [1, 7, ROWS])
@pytest.mark.parametrize("behind", [None, 0, 30_000], ids=["kept", "streamed", "streamed with a memory"])
def test_rows_in_any_order_equal_the_whole_file(tmp_path, monkeypatch, group, behind):
    if behind is not None:
        monkeypatch.setattr(parquet_rows, "_worth_keeping", lambda *_: False)
        monkeypatch.setattr(parquet_rows, "SMALL_BYTES", behind)
    stored = write(tmp_path / "a.parquet", group)
    places = row_places(tmp_path / "a.parquet")
    assert len(places) == ROWS
    orders = [range(ROWS), reversed(range(ROWS)), np.random.default_rng(1).permutation(ROWS), [3, 3, 4, 3, 59, 0]]
    for i in (int(i) for order in orders for i in order):
        row = read_row(tmp_path / "a.parquet", places[i], ("[C].image", "[C].range.values"))
        assert row["[C].image"].as_py() == stored["[C].image"][i].as_py()
        assert row["[C].range.values"].as_py() == stored["[C].range.values"][i].as_py()


def test_a_row_costs_its_row_group_and_its_columns_only(tmp_path):
    stored = write(tmp_path / "a.parquet", 5)
    read_row(tmp_path / "a.parquet", row_places(tmp_path / "a.parquet")[12], ("[C].image",))
    (kept,) = parquet_rows._cache.groups.values()
    assert kept.schema.names == ["[C].image"]
    assert kept["[C].image"].to_pylist() == stored["[C].image"].to_pylist()[10:15]


def test_what_is_kept_is_bounded_and_the_oldest_goes(tmp_path, monkeypatch):
    write(tmp_path / "a.parquet", 5)
    places, limit = row_places(tmp_path / "a.parquet"), 90_000
    monkeypatch.setattr(parquet_rows, "KEEP_BYTES", limit)
    for place in places:
        read_row(tmp_path / "a.parquet", place, ("[C].image",))
        assert sum(t.nbytes for t in parquet_rows._cache.groups.values()) <= limit
    assert max(key[1] for key in parquet_rows._cache.groups) == places[-1][0]
    assert 1 < len(parquet_rows._cache.groups) < ROWS // 5


def test_large_groups_are_streamed_unless_their_dictionary_is_everything(tmp_path, monkeypatch):
    monkeypatch.setattr(parquet_rows, "SMALL_BYTES", 9_000)
    columns = ("[C].image", "[C].range.values")
    for name, dictionary in (("plain", False), ("dictionary", True)):
        pq.write_table(table(), tmp_path / name, use_dictionary=dictionary)
    plain, dictionary = (parquet_rows.open_parquet(tmp_path / name, ()) for name in ("plain", "dictionary"))
    assert not parquet_rows._worth_keeping(plain, 0, columns)
    assert parquet_rows._worth_keeping(dictionary, 0, columns)
    assert parquet_rows._worth_keeping(plain, 0, ("key.time",))


def test_numbers_count_by_what_they_take_in_memory_not_by_their_codes(tmp_path, monkeypatch):
    few = pa.table({"v": pa.array([[float(i % 3)] * 5000 for i in range(40)], pa.list_(pa.float32()))})
    pq.write_table(few, tmp_path / "a")
    file = parquet_rows.open_parquet(tmp_path / "a", ())
    assert file.metadata.row_group(0).total_byte_size < 100_000 < 800_000 == few["v"].combine_chunks().values.nbytes
    monkeypatch.setattr(parquet_rows, "SMALL_BYTES", 700_000)
    assert not parquet_rows._worth_keeping(file, 0, ("v",))


def test_going_forward_in_a_large_group_decodes_every_row_once(tmp_path, monkeypatch):
    monkeypatch.setattr(parquet_rows, "_worth_keeping", lambda *_: False)
    write(tmp_path / "a.parquet", ROWS)
    decoded = []
    real = parquet_rows._batches

    def counting(*args):
        for batch in real(*args):
            decoded.append(batch.num_rows)
            yield batch

    monkeypatch.setattr(parquet_rows, "_batches", counting)
    for i in range(0, ROWS, 2):
        read_row(tmp_path / "a.parquet", (0, i), ("[C].image",))
        read_row(tmp_path / "a.parquet", (0, i + 1), ("[C].image",))
        read_row(tmp_path / "a.parquet", (0, max(i - 9, 0)), ("[C].image",))  # the frame before
    assert sum(decoded) == ROWS
    assert not parquet_rows._cache.groups


def test_a_file_sorted_by_sensor_gets_a_stream_per_sensor(tmp_path, monkeypatch):
    monkeypatch.setattr(parquet_rows, "_worth_keeping", lambda *_: False)
    monkeypatch.setattr(parquet_rows, "SMALL_BYTES", 60_000)
    monkeypatch.setattr(parquet_rows, "_MAX_SKIP", 5)
    write(tmp_path / "a.parquet", ROWS)
    opened = []
    real = parquet_rows._batches
    monkeypatch.setattr(parquet_rows, "_batches", lambda *args: opened.append(1) or real(*args))
    for time in range(20):
        for sensor in range(3):
            read_row(tmp_path / "a.parquet", (0, 20 * sensor + time), ("[C].image",))
    assert len(opened) == 3
    assert all(1 <= stream.size <= 60_000 for stream in parquet_rows._cache.streams)


def test_a_file_written_anew_is_read_anew(tmp_path):
    path = tmp_path / "a.parquet"
    write(path, 5)
    read_row(path, (0, 1), ("[C].image",))
    second = write(path, 5, seed=1)
    os.utime(path, ns=(1, 1))
    assert read_row(path, (0, 1), ("[C].image",))["[C].image"].as_py() == second["[C].image"][1].as_py()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork")
def test_a_forked_process_starts_with_nothing(tmp_path):
    write(tmp_path / "a.parquet", 5)
    read_row(tmp_path / "a.parquet", (0, 1), ("[C].image",))
    assert parquet_rows._cache.groups
    child = os.fork()
    if child == 0:
        os._exit(len(parquet_rows._cache.groups))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_errors_say_which_file_and_what(tmp_path):
    path = tmp_path / "a.parquet"
    with pytest.raises(DataError, match=r"a\.parquet.*nothing there"):
        read_row(path, (0, 0), ("[C].image",))
    with pytest.raises(DataError, match="nothing there"):
        row_places(path)
    write(path, 5)
    with pytest.raises(DataError, match=r"\[C\]\.imaeg.*nearest is \[C\]\.image"):
        read_columns(path, ("[C].imaeg",))
    with pytest.raises(DataError, match="row group 99"):
        read_row(path, (99, 0), ("[C].image",))
    with pytest.raises(DataError, match="row 7"):
        read_row(path, (0, 7), ("[C].image",))
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DataError, match="readable Parquet file"):
        row_places(path)


def test_damaged_pages_are_an_error_not_garbage(tmp_path):
    path = tmp_path / "a.parquet"
    pq.write_table(table(), path, row_group_size=5, compression="zstd")
    data = bytearray(path.read_bytes())
    start = pq.ParquetFile(path).metadata.row_group(2).column(1).dictionary_page_offset
    data[start : start + 200] = bytes(200)
    path.write_bytes(data)
    with pytest.raises(DataError, match="row group 2"):
        read_row(path, (2, 1), ("[C].image",))
