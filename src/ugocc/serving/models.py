"""The verb ``models``: what can be built, how large it is and what it costs."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from rich.table import Table

from ugocc.errors import check_least
from ugocc.models.assemble import MODELS, build_model, model_settings
from ugocc.models.cost import cost_of
from ugocc.output import reporting
from ugocc.progress import follow
from ugocc.results import commit, machine, versions, write_text

Size = Literal["debug", "laptop", "full"]


@dataclass(frozen=True)
class ModelsSettings:
    """The list of models."""

    sizes: tuple[Size, ...] = ("laptop", "full")
    """Which sizes."""
    measure: bool = True
    """Run every model once to count multiply-adds and memory; without it only parameters are counted."""
    cameras: int = 6
    """Cameras of the sample that is measured."""
    json: bool = False
    """Print JSON instead of a table."""
    out: Path | None = None
    """File that the numbers are written to, with commit, versions and machine."""

    def __post_init__(self) -> None:
        check_least("models", 1, "a number of cameras", cameras=self.cameras)


def list_models(settings: ModelsSettings) -> None:
    """Print every model in every size with its parameters, multiply-adds, memory, and shapes of input and output."""
    jobs = [(name, size) for name in MODELS for size in settings.sizes]
    with reporting(settings.json) as report:
        rows = [model_row(*job, settings) for job in (follow(jobs, "measure") if settings.measure else jobs)]
        if settings.out is not None:
            settings.out.parent.mkdir(parents=True, exist_ok=True)
            content = {"models": rows, "commit": commit(), "versions": versions(), "machine": machine()}
            write_text(settings.out, json.dumps(content, indent=1) + "\n")
        table = Table(*MODEL_COLUMNS)
        for row in rows:
            table.add_row(*model_cells(row))
        report(rows, table)


def model_row(name: str, size: str, settings: ModelsSettings) -> dict[str, Any]:
    """What is known of a model."""
    chosen = model_settings(name, size)
    if settings.measure:
        cost = asdict(cost_of(chosen, settings.cameras))
    else:
        cost = {"parameters": sum(p.numel() for p in build_model(chosen).parameters() if p.requires_grad)}
    backbone = chosen.image_encoder.backbone
    images = (settings.cameras, chosen.input.height, chosen.input.width)
    grid = chosen.input.grid
    return {"model": name, "size": size, "backbone": backbone, "images": images, "grid": grid.shape} | {
        "voxel_size": grid.voxel_size,
        **cost,
    }


MODEL_COLUMNS = ("model", "size", "backbone", "images", "volume", "voxel", "parameters", "multiply-adds", "memory")


def model_cells(row: dict[str, Any]) -> list[str]:
    """A row as people read it: millions, thousand millions, MiB."""
    adds, memory = row.get("multiply_adds"), row.get("bytes")
    return [
        row["model"],
        row["size"],
        row["backbone"],
        " x ".join(str(n) for n in row["images"]),
        " x ".join(str(n) for n in row["grid"]),
        f"{row['voxel_size']:g} m",
        f"{row['parameters'] / 1e6:.2f} M",
        "-" if adds is None else f"{adds / 1e9:.1f} G",
        "-" if memory is None else f"{memory / 2**20:.0f} MiB",
    ]
