"""The verb ``models``: what can be built, and how large it is."""

from __future__ import annotations

import json
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

from ugocc.models.assemble import MODELS, SIZES, build_model, model_settings


@dataclass(frozen=True)
class ModelsSettings:
    """The list of models."""

    json: bool = False
    """Print JSON instead of a table."""


def list_models(settings: ModelsSettings) -> None:
    """Print every model in every size with its parameters, input and output shapes."""
    rows = []
    for name in MODELS:
        for size in SIZES:
            chosen = model_settings(name, size)
            parameters = sum(p.numel() for p in build_model(chosen).parameters())
            rows.append(
                {
                    "model": name,
                    "size": size,
                    "parameters": str(parameters),
                    "image": f"{chosen.input.height} x {chosen.input.width}",
                    "grid": " x ".join(str(n) for n in chosen.input.grid.shape),
                    "voxel": f"{chosen.input.grid.voxel_size:g} m",
                }
            )
    if settings.json:
        print(json.dumps(rows, indent=1))
        return
    table = Table("model", "size", "parameters", "image", "volume", "voxel")
    for row in rows:
        table.add_row(*row.values())
    Console().print(table)
