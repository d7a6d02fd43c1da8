"""Model folders: ``model.safetensors`` beside a readable ``model.json``. Nothing in them is ever unpickled."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from ugocc.config import build_settings, plain
from ugocc.errors import DataError
from ugocc.labels import CLASSES
from ugocc.models.assemble import OccupancyModel, build_model
from ugocc.models.settings import ModelSettings
from ugocc.results import commit, versions, write_text

WEIGHTS, CARD = "model.safetensors", "model.json"


def save_model(folder: Path, model: OccupancyModel, about: dict[str, Any]) -> Path:
    """Write a model folder, each file atomically.

    Args:
        folder: created if missing.
        model: the network; its settings are written with it.
        about: what the reader should know: variant, fleets, recipe, steps, supervision on the target, seconds.
    """
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / f".{WEIGHTS}.{os.getpid()}"
    state: dict[str, Tensor] = {k: v.detach().cpu().contiguous() for k, v in model.state_dict().items()}
    save_file(state, temporary)
    digest = hashlib.sha256(temporary.read_bytes()).hexdigest()
    temporary.replace(folder / WEIGHTS)
    card = {
        "model": plain(model.settings),
        "classes": CLASSES,
        "weights_sha256": digest,
        "commit": commit(),
        "versions": versions(),
        **plain(about),
    }
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


def load_model(folder: Path) -> tuple[OccupancyModel, dict[str, Any]]:
    """The network of a model folder in evaluation mode, and its card. Strict: every tensor must fit.

    Raises:
        DataError: missing or truncated files, settings this version does not know, or tensors that do not fit.
    """
    card = read_card(folder)
    if "model" not in card:
        raise DataError(folder / CARD, "model", "missing", "the settings of the network")
    settings = build_settings(ModelSettings, card["model"], folder / CARD)
    model = build_model(settings)
    try:
        state = load_file(folder / WEIGHTS)
    except (OSError, SafetensorError) as error:
        raise DataError(folder / WEIGHTS, "weights", error, "a complete safetensors file") from error
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
