"""The JSON tables of a nuScenes v1.0 folder, read row by row: the larger ones do not fit comfortably in memory."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ugocc.errors import DataError

Row = dict[str, Any]

_CHUNK = 1 << 22  # characters per read
_BETWEEN_ROWS = re.compile(r"[\s,]*")


def table_rows(path: Path, optional: bool = False) -> Iterator[Row]:
    """Yield the rows of one table (a JSON array of objects) without holding the table.

    Args:
        path: the table's file.
        optional: yield nothing where the file does not exist.

    Raises:
        DataError: the file is missing, is no JSON array of objects, or ends early.
    """
    if optional and not path.exists():
        return
    try:
        file = path.open(encoding="utf-8")
    except OSError as error:
        raise DataError(path, "table", error.strerror or str(error), "a readable JSON table") from error
    with file:
        yield from _rows(file.read, path)


def _rows(read: Any, path: Path) -> Iterator[Row]:
    decode = json.JSONDecoder().raw_decode
    buffer = read(_CHUNK).lstrip("\ufeff \t\r\n")
    if not buffer.startswith("["):
        raise DataError(path, "table", f"text starting {buffer[:20]!r}", "a JSON array of objects")
    position, row_number = 1, 0
    while True:
        between = _BETWEEN_ROWS.match(buffer, position)
        position = between.end() if between else position
        if buffer.startswith("]", position):
            return
        try:
            row, position = decode(buffer, position)
        except json.JSONDecodeError as error:
            # The row may go on in the next chunk; only a file that is used up is wrong.
            more = read(_CHUNK)
            if not more:
                raise DataError(path, f"row {row_number}", str(error), "a whole JSON array") from error
            buffer, position = buffer[position:] + more, 0
            continue
        if not isinstance(row, dict):
            raise DataError(path, f"row {row_number}", type(row).__name__, "an object")
        yield row
        row_number += 1


def by_token(path: Path, optional: bool = False) -> dict[str, Row]:
    """All rows of a small table by their token.

    Raises:
        DataError: see :func:`table_rows`; a row without token.
    """
    with fields_of(path):
        return {row["token"]: row for row in table_rows(path, optional)}


def follow(table: Mapping[str, Any], token: str, where: Path, field: str, target: str) -> Any:
    """The row a foreign key points to.

    Args:
        table: rows of the other table by token.
        token: the key.
        where: table file the key is in.
        field: column the key is in.
        target: name of the other table.

    Raises:
        DataError: the key points nowhere.
    """
    try:
        return table[token]
    except KeyError:
        raise DataError(where, field, f"token {token!r}", f"a token of {target}.json") from None


@contextmanager
def fields_of(path: Path) -> Iterator[None]:
    """Turn what a malformed row causes (a column that is missing or of another kind) into a DataError."""
    try:
        yield
    except DataError:
        raise
    except KeyError as error:
        raise DataError(path, str(error.args[0]), "a row without it", "this column in every row") from error
    except (TypeError, ValueError) as error:
        raise DataError(path, "row", str(error), "the columns of nuScenes v1.0") from error
