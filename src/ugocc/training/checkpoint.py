"""Model folders: ``model.safetensors`` beside a readable ``model.json``. Nothing in them is ever unpickled."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from ugocc.config import build_settings, plain
from ugocc.errors import DataError
from ugocc.labels import CLASSES
from ugocc.models.assemble import OccupancyModel, build_model
from ugocc.models.settings import ModelSettings
from ugocc.provenance import code_digest
from ugocc.results import Row, commit, versions, write_text
from ugocc.training.model_card import model_card

WEIGHTS, CARD, README = "model.safetensors", "model.json", "README.md"


def save_model(
    folder: Path,
    model: OccupancyModel,
    about: dict[str, Any],
    statistics: Mapping[str, dict[str, Tensor]] | None = None,
    dtype: torch.dtype = torch.float32,
) -> Path:
    """Write a model folder, each file atomically.

    Args:
        folder: created if missing.
        model: the network; its settings are written with it.
        about: what the reader should know: variant, fleets, recipe, steps, supervision on the target, seconds.
        statistics: batch-norm statistics of further fleets, by name: what the network is to use on their images in
            place of its own.
        dtype: of the weights on disk; they are float32 again when they are loaded.
    """
    folder.mkdir(parents=True, exist_ok=True)
    digest = _save_tensors(folder / WEIGHTS, _stored(model.state_dict(), dtype))
    further = {
        fleet: _save_tensors(folder / statistics_file(fleet), _stored(tensors, dtype))
        for fleet, tensors in (statistics or {}).items()
    }
    card = {
        **plain(about),
        "model": plain(model.settings),
        "classes": CLASSES,
        "weights_sha256": digest,
        "statistics_sha256": further,
        "commit": about.get("commit", commit()),
        "code": about.get("code", code_digest()),
        "versions": about.get("versions", versions()),
    }
    write_text(folder / README, model_card(card))
    write_text(folder / CARD, json.dumps(card, indent=1) + "\n")
    return folder


def read_card(folder: Path) -> dict[str, Any]:
    """The JSON of a model folder.

    Raises:
        DataError: not a model folder, or broken JSON.
    """
    path = folder / CARD
    if not path.is_file():
        raise DataError(folder, "checkpoint", "no model.json", "a model folder with model.json and model.safetensors")
    try:
        card: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise DataError(path, "checkpoint", f"broken JSON ({error})", "the model.json that training wrote") from error
    return card


def statistics_file(fleet: str) -> str:
    """Name of the file with a fleet's batch-norm statistics in a model folder."""
    return f"statistics.{re.sub(r'[^A-Za-z0-9_-]', '_', fleet)}.safetensors"


def save_weights(path: Path, model: nn.Module) -> str:
    """Write the tensors of a network, whole or not at all; returns their SHA-256."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return _save_tensors(path, model.state_dict())


def load_model(folder: Path, fleet: str | None = None) -> tuple[OccupancyModel, dict[str, Any]]:
    """The network of a model folder in evaluation mode, and its card. Strict: every tensor must fit.

    Args:
        folder: written by :func:`save_model`.
        fleet: name of the fleet whose images it is for; if the folder has statistics of that fleet, they are used.

    Raises:
        DataError: missing or truncated files, settings this version does not know, or tensors that do not fit.
    """
    card = read_card(folder)
    if "model" not in card:
        raise DataError(folder / CARD, "model", "missing", "the settings of the network")
    settings = build_settings(ModelSettings, card["model"], folder / CARD)
    model = build_model(settings)
    state = _verified(folder / WEIGHTS, card.get("weights_sha256"))
    further = card.get("statistics_sha256", {})
    if fleet is not None and fleet in further:
        state |= _verified(folder / statistics_file(fleet), further[fleet])
    missing = sorted(model.state_dict().keys() - state.keys())
    surplus = sorted(state.keys() - model.state_dict().keys())
    if missing or surplus:
        raise DataError(
            folder / WEIGHTS, "tensors", f"missing {missing[:5]}, surplus {surplus[:5]}", "those of the model"
        )
    for name, value in model.state_dict().items():
        if state[name].shape != value.shape:
            raise DataError(folder / WEIGHTS, name, f"shape {tuple(state[name].shape)}", f"shape {tuple(value.shape)}")
    model.load_state_dict(state)
    return model.eval(), card


def load_tensors(path: Path) -> dict[str, Tensor]:
    """Tensors of a safetensors file by name.

    Raises:
        DataError: missing or truncated.
    """
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise DataError(path, "weights", error, "a complete safetensors file") from error


def _verified(path: Path, digest: str | None) -> dict[str, Tensor]:
    """Tensors of a file, in float32 if they are of a smaller floating type.

    Raises:
        DataError: missing or truncated, or not the file that the card speaks of.
    """
    tensors = load_tensors(path)
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if digest is not None and found != digest:
        raise DataError(path, "SHA-256", f"{found[:12]}...", f"{digest[:12]}..., as model.json says")
    return {name: value.float() if value.is_floating_point() else value for name, value in tensors.items()}


def _stored(tensors: Mapping[str, Tensor], dtype: torch.dtype) -> dict[str, Tensor]:
    return {name: value.to(dtype) if value.is_floating_point() else value for name, value in tensors.items()}


def _save_tensors(path: Path, tensors: Mapping[str, Tensor]) -> str:
    content = save({k: v.detach().cpu().contiguous() for k, v in tensors.items()})
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_bytes(content)  # the library's own file would be the user's alone
    temporary.replace(path)
    return hashlib.sha256(content).hexdigest()


def card_with_results(folder: Path, rows: Sequence[Row]) -> None:
    """Rewrite the model card of a folder with what the model scored."""
    write_text(folder / README, model_card(read_card(folder), rows))
