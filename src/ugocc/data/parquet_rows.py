"""Single rows of Parquet files, decoding no more of a file than the file's layout forces.

A Parquet file is compressed in row groups. Small groups are decoded whole and kept in a bounded cache, so that the
neighbours of a row (the other cameras of a frame) come for nothing. A large group is streamed: whoever goes forward in
time decodes every row once, and the last rows are kept for a step back. Files of Waymo may hold a whole segment in one
row group, hence both.
"""

from __future__ import annotations

import difflib
import os
import threading
from collections import OrderedDict, deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ugocc.errors import DataError, first_line

KEY = "key."
"""What the names of columns begin with that say what a row is of."""
KEEP_BYTES = 512 << 20
"""Decoded row groups kept per process, in bytes."""
SMALL_BYTES = 64 << 20
"""A row group that decodes to more is streamed; as much of it is kept behind the stream's place."""
_KEEP_ROWS = 64
_STREAM_ROWS = 5
_MAX_STREAMS = 8
_MAX_FILES = 16
_MAX_SKIP = 64
"""A stream skips at most this many rows; further away lies another stream's place (files sorted by sensor)."""


def open_parquet(path: Path, columns: tuple[str, ...]) -> pq.ParquetFile:
    """Open a file and make sure that it has the columns.

    Raises:
        DataError: the file is missing, is no Parquet file, or lacks a column (the message names the nearest one).
    """
    try:
        file = pq.ParquetFile(path, memory_map=True)
    except FileNotFoundError:
        raise DataError(path, "file", "nothing there", "a Parquet file") from None
    except (pa.ArrowInvalid, OSError) as error:
        raise DataError(path, "file", first_line(error), "a readable Parquet file") from None
    present = file.schema_arrow.names
    for column in columns:
        if column not in present:
            near = difflib.get_close_matches(column, present, n=1, cutoff=0.0)
            raise DataError(path, column, f"no such column (the nearest is {', '.join(near)})", "this column")
    return file


def read_columns(path: Path, columns: tuple[str, ...]) -> dict[str, list[Any]]:
    """All rows of small columns as Python values; see :func:`read_table`."""
    table = read_table(path, columns)
    return {name: table.column(name).to_pylist() for name in columns}


def read_table(path: Path, columns: tuple[str, ...]) -> pa.Table:
    """All rows of small columns.

    Raises:
        DataError: see :func:`open_parquet`, damaged data, or a row without a value in a column that is a key.
    """
    with open_parquet(path, columns) as file:
        try:
            table = file.read(columns=list(columns), use_threads=False).combine_chunks()
        except (pa.ArrowInvalid, OSError) as error:
            raise DataError(path, "content", first_line(error), "an undamaged Parquet file") from None
    for key in (name for name in columns if name.startswith(KEY) and table.column(name).null_count):
        row = table.column(key).is_null().to_pylist().index(True)
        raise DataError(f"{path}, row {row}", key, "nothing", "a value")
    return table


def row_places(path: Path) -> list[tuple[int, int]]:
    """(row group, row within the group) of every row of a file, in order."""
    with open_parquet(path, ()) as file:
        sizes = [file.metadata.row_group(group).num_rows for group in range(file.metadata.num_row_groups)]
    return [(group, row) for group, size in enumerate(sizes) for row in range(size)]


def read_row(path: Path, place: tuple[int, int], columns: tuple[str, ...]) -> dict[str, pa.Scalar]:
    """One row as Arrow scalars (no copy of long lists).

    Args:
        path: Parquet file.
        place: row group and row within it, from :func:`row_places`.
        columns: names to read; nothing else is decoded.

    Raises:
        DataError: see :func:`open_parquet`, a row that is not there, or damaged data.
    """
    try:
        return _cache.row(path, place, columns)
    except (pa.ArrowInvalid, OSError, StopIteration, IndexError) as error:
        found = str(error).strip().splitlines()[0] if str(error) else "the file ends before it"
        raise DataError(f"{path}, row group {place[0]}, row {place[1]}", "row", found, "a readable row") from None


_File = tuple[str, int, int]
_Key = tuple[_File, int, tuple[str, ...]]


@dataclass
class _Stream:
    """A reader part of the way through one row group, and the last rows it read."""

    key: _Key
    batches: Iterator[pa.RecordBatch]
    behind: deque[tuple[int, pa.RecordBatch]] = field(default_factory=deque)  # (first row, rows)
    place: int = 0
    size: int = 0

    def reaches(self, row: int) -> bool:
        return self.behind[0][0] <= row < self.place + _MAX_SKIP

    def row(self, row: int) -> dict[str, pa.Scalar]:
        while row >= self.place:
            batch = next(self.batches)
            self.behind.append((self.place, batch))
            self.place, self.size = self.place + batch.num_rows, self.size + batch.nbytes
            while self.size > SMALL_BYTES and len(self.behind) > 1:
                self.size -= self.behind.popleft()[1].nbytes
        start, batch = next((start, batch) for start, batch in reversed(self.behind) if start <= row)
        return _pick(batch, row - start)


@dataclass
class _Cache:
    """What one process keeps: a few open files and streams, and whole row groups up to a number of bytes."""

    files: OrderedDict[_File, pq.ParquetFile] = field(default_factory=OrderedDict)
    groups: OrderedDict[_Key, pa.Table] = field(default_factory=OrderedDict)
    streams: list[_Stream] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def row(self, path: Path, place: tuple[int, int], columns: tuple[str, ...]) -> dict[str, pa.Scalar]:
        group, row = place
        try:
            status = path.stat()
        except FileNotFoundError:
            raise DataError(path, "file", "nothing there", "a Parquet file") from None
        # Size and time are part of the key: a file that was written anew is read anew.
        key = ((str(path), status.st_mtime_ns, status.st_size), group, columns)
        with self.lock:
            if key in self.groups:
                self.groups.move_to_end(key)
                return _pick(self.groups[key], row)
            stream = next((s for s in self.streams if s.key == key and s.reaches(row)), None)
            if stream is None:
                file = self._open(key[0], columns)
                if _worth_keeping(file, group, columns):
                    return _pick(self._keep(key, file), row)
                stream = _Stream(key, _batches(file, key, _STREAM_ROWS))
            else:
                self.streams.remove(stream)
            found = stream.row(row)
            self.streams = [stream, *self.streams][:_MAX_STREAMS]
            return found

    def _open(self, key: _File, columns: tuple[str, ...]) -> pq.ParquetFile:
        file = self.files.pop(key, None)
        if file is None or not set(columns) <= set(file.schema_arrow.names):
            file = open_parquet(Path(key[0]), columns)
        self.files[key] = file
        while len(self.files) > _MAX_FILES:
            self.files.popitem(last=False)
        return file

    def _keep(self, key: _Key, file: pq.ParquetFile) -> pa.Table:
        table = pa.Table.from_batches(_batches(file, key, _KEEP_ROWS))
        self.groups[key] = table
        while len(self.groups) > 1 and sum(t.nbytes for t in self.groups.values()) > KEEP_BYTES:
            self.groups.popitem(last=False)
        return table


def _batches(file: pq.ParquetFile, key: _Key, rows: int) -> Iterator[pa.RecordBatch]:
    # Batches, also where all of them are wanted: decoding in pieces peaks at less memory than decoding whole.
    return iter(file.iter_batches(rows, row_groups=[key[1]], columns=list(key[2]), use_threads=False))


_WIDTHS = {"BOOLEAN": 1, "INT32": 4, "FLOAT": 4, "INT64": 8, "DOUBLE": 8}


def _worth_keeping(file: pq.ParquetFile, group: int, columns: tuple[str, ...]) -> bool:
    chunks = (file.metadata.row_group(group).column(i) for i in range(file.metadata.num_columns))
    wanted = [c for c in chunks if any(_is_leaf(c.path_in_schema, name) for name in columns)]
    # What the file calls uncompressed is still dictionary-encoded: a range image is several times as large in memory.
    size = sum(max(c.total_uncompressed_size, c.num_values * _WIDTHS.get(c.physical_type, 0)) for c in wanted)
    # Writers may put all pictures of a group into its dictionary, which a stream has to decode and hold as a whole.
    dictionary = sum(c.data_page_offset - c.dictionary_page_offset for c in wanted if c.dictionary_page_offset)
    return size <= SMALL_BYTES or 2 * dictionary > size


# Leaves of a list column are called "<column>.list.element" (or .item); the names themselves contain dots.
def _is_leaf(leaf: str, column: str) -> bool:
    return leaf == column or leaf.startswith(column + ".list.")


def _pick(rows: pa.Table | pa.RecordBatch, row: int) -> dict[str, pa.Scalar]:
    return {name: rows.column(name)[row] for name in rows.schema.names}


_cache = _Cache()


def forget() -> None:
    """Drop everything kept in this process (open files and decoded rows)."""
    global _cache
    _cache = _Cache()


# A forked data-loading process must not share half-read streams, nor a lock that was held during the fork.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=forget)
