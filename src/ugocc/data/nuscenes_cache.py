"""Keeps the index of a nuScenes folder between runs."""

from __future__ import annotations

import contextlib
import hashlib
import os
from pathlib import Path
from uuid import uuid4

import pyarrow as pa
import pyarrow.parquet as pq

from ugocc.data.nuscenes_index import LABEL_TABLES, TABLES, build_index

_FORMAT = "1"  # raised with every change of the columns, so that an index of an older release is made again


def load_index(root: Path, version: str) -> pa.Table:
    """The index of a folder: from the cache while the tables are unchanged (name, size, time), else made and kept.

    The cache is ``<root>/.ugocc`` where that can be written, otherwise ``$XDG_CACHE_HOME/ugocc`` or
    ``~/.cache/ugocc``. Several processes may do this at once: files appear whole, and the last one stays.

    Args:
        root: folder of the data set.
        version: name of its folder of tables, such as v1.0-trainval.

    Returns:
        See :func:`ugocc.data.nuscenes_index.build_index`.

    Raises:
        DataError: a table is missing, malformed or inconsistent.
    """
    digest = _digest(root / version)
    places = _places(root, version)
    for file in places:
        # An index that is absent, or that a full disk cut short, is made again below.
        with contextlib.suppress(OSError, pa.ArrowInvalid):
            metadata = pq.read_schema(file).metadata or {}
            if metadata.get(b"digest") == digest.encode():
                return pq.read_table(file)
    index = build_index(root / version).replace_schema_metadata({"digest": digest})
    for file in places:
        with contextlib.suppress(OSError):
            _write(index, file)
            break
    return index


def _digest(tables: Path) -> str:
    """Changes whenever a table does, without reading it."""
    state = [_FORMAT]
    for name in (*TABLES, *LABEL_TABLES):
        file = tables / f"{name}.json"
        stat = file.stat() if file.exists() else None
        state.append(f"{name} {stat.st_size} {stat.st_mtime_ns}" if stat else f"{name} absent")
    return hashlib.sha256("\n".join(state).encode()).hexdigest()


def _places(root: Path, version: str) -> tuple[Path, Path]:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ugocc"
    of_this_root = hashlib.sha256(str(root.resolve()).encode()).hexdigest()[:12]
    return root / ".ugocc" / f"{version}.parquet", cache / f"{version}-{of_this_root}.parquet"


def _write(index: pa.Table, file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    unfinished = file.with_name(f".{file.name}.{uuid4().hex}")
    try:
        pq.write_table(index, unfinished, compression="zstd")
        unfinished.replace(file)
    finally:
        unfinished.unlink(missing_ok=True)
