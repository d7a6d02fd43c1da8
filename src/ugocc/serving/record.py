"""``predict.json``: what made the volumes of a folder, so that those of two networks or fleets do not mix there."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Final

from ugocc.errors import DataError
from ugocc.output import json_text
from ugocc.results import write_text

RECORD: Final = "predict.json"
ALIKE: Final = {"weights_sha256": "model", "runtime": "runtime", "fleet": "fleet", "statistics": "statistics"}
"""What must agree for volumes to belong together, and what an error calls it."""


def keep_apart(folder: Path, made_by: Mapping[str, str | int], tokens: Collection[str]) -> None:
    """Write what makes the volumes of a folder, unless some would stay there that were made otherwise.

    Volumes that were made otherwise and will all be written again are deleted: if that stops half-way, none is left.

    Args:
        folder: it exists.
        made_by: checkpoint, split and every, beside the keys of ``ALIKE``.
        tokens: of the volumes that will be written.

    Raises:
        DataError: one of those was another before, or the record is broken.
    """
    path = folder / RECORD
    if path.is_file():
        try:
            before = dict(json.loads(path.read_text(encoding="utf-8")))
        except (ValueError, TypeError) as error:
            raise DataError(path, "record", f"broken JSON ({error})", "what ugocc predict wrote") from error
        other = next((key for key in ALIKE if before.get(key) != made_by[key]), None)
        if other is not None:
            there = list((folder / "volumes").glob("*.npz"))
            if not {file.stem for file in there} <= set(tokens):
                found, expected = (_told(other, made) for made in (before, made_by))
                raise DataError(path, ALIKE[other], found, f"{expected}: give another --out, or delete {folder}")
            for file in there:
                file.unlink()
    write_text(path, json_text(dict(made_by)) + "\n")


def _told(key: str, made_by: Mapping[str, str | int]) -> str:
    if key == "weights_sha256":
        return f"{made_by.get('checkpoint', 'unknown')} ({str(made_by.get(key, ''))[:12]})"
    return str(made_by.get(key, "unknown"))
