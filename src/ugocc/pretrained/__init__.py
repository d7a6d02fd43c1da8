"""Models that come with the package, and where a model is to be had by its name.

A folder here is written by ``python -m ugocc.pretrained MODEL_FOLDER NAME``; ``ugocc test`` on it says what half
precision costs.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Final

from ugocc.errors import DataError, MissingPackage
from ugocc.last import LAST, last_model

HERE: Final = Path(__file__).resolve().parent
_HUB_ID: Final = re.compile(r"[\w.-]+/[\w.-]+")


def shipped() -> list[str]:
    """Names of the models that come with the package."""
    return sorted(path.parent.name for path in HERE.glob("*/model.json"))


def find_model(name: str | os.PathLike[str]) -> Path:
    """Folder of a model.

    Args:
        name: a folder, the name of a model that comes with the package, ``last`` for that of the last run that
            finished, or ``owner/name`` on the Hugging Face hub, which is downloaded once.

    Raises:
        DataError: none of these, or a hub that cannot be reached.
    """
    folder, word = Path(name), os.fspath(name).replace(os.sep, "/")
    if folder.is_dir():
        return folder
    if word == LAST:
        return last_model()
    if word in shipped():
        return HERE / word
    if _HUB_ID.fullmatch(word) and not folder.parent.is_dir():
        return _from_hub(word)
    raise DataError(
        word,
        "checkpoint",
        "no such folder",
        f"a model folder, owner/name on the hub, or one of last, {', '.join(shipped())}",
    )


def _from_hub(name: str) -> Path:
    try:
        from huggingface_hub import snapshot_download
    except ImportError as error:
        raise MissingPackage(name, "huggingface_hub", "pip install huggingface_hub") from error
    try:
        return Path(snapshot_download(name, allow_patterns=["*.json", "*.safetensors", "README.md"]))
    except Exception as error:
        # The client and the network raise errors of many kinds for one cause: it cannot be had.
        reason = f"not to be had from the hub ({type(error).__name__})"
        raise DataError(
            name, "checkpoint", reason, "a folder that is there, or a repository that can be reached"
        ) from error
