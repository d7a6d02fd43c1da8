"""What the full-size recipes take, from the file that ``benchmarks/recipes.py`` wrote."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ugocc.errors import DataError


def recipe_table(folder: Path) -> str:
    """Markdown: what every recipe would take on one and on eight GPUs, an estimate, and what that assumes.

    Raises:
        DataError: nothing was measured.
    """
    content = read_recipes(folder)
    assumed = content["assumed"]
    lines = [
        f"*An estimate: none of these was run to its end.* Multiply-adds as counted in steps on a CPU, at "
        f"{assumed['utilisation']:.0%} of the {assumed['peak'] / 1e12:.0f} TFLOP/s that an {assumed['gpu']} has in "
        f"bfloat16; eight of them {8 * assumed['scaling']:.1f} times as fast as one.",
        "",
        "| recipe | files | batch | steps on 1 GPU | on 8 GPUs | multiply-adds | hours on 1 GPU | "
        "on 8 GPUs | memory per GPU | disk for the cache | processor time before the first step |",
        "|---|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for row in content["recipes"]:
        about = row["estimate"]
        cells = [
            row["recipe"],
            " ".join(f"`{file}`" for file in row["files"]),
            " + ".join(str(stage["batch_size"]) for stage in row["stages"]),
            " + ".join(f"{steps:,}" for steps in about["steps"]["1"]),
            " + ".join(f"{steps:,}" for steps in about["steps"]["8"]),
            f"{about['multiply_adds'] / 1e18:.2f} E",
            f"{about['hours']['1']:.1f}",
            f"{about['hours']['8']:.1f}",
            f"{about['bytes_per_gpu'] / 2**30:.0f} GiB",
            f"{about['cache_bytes'] / 2**30:.0f} GiB" if about["cache_bytes"] else "none",
            f"{about['rerender_core_hours']:.0f} core hours" if about["rerender_core_hours"] else "none",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def step_table(folder: Path) -> str:
    """Markdown: the steps that were run, stage by stage, and what one of them cost on a CPU.

    Raises:
        DataError: nothing was measured.
    """
    lines = [
        "| recipe | stage | backbone | parameters | steps run | multiply-adds a step | processor time a step | "
        "resident memory | losses | all finite |",
        "|---|---|---|--:|--:|--:|--:|--:|---|---|",
    ]
    for row in read_recipes(folder)["recipes"]:
        for stage in row["stages"]:
            cells = [
                row["recipe"],
                stage["stage"],
                row["backbone"],
                f"{row['parameters'] / 1e6:.2f} M",
                str(len(stage["losses"])),
                f"{stage['multiply_adds'][-1] / 1e9:.0f} G",
                f"{stage['cpu_seconds'][-1]:.0f} s",
                f"{row['resident_bytes'] / 2**30:.1f} GiB",
                ", ".join(sorted(set().union(*stage["losses"]))),
                "yes" if row["finite"] else "no",
            ]
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def read_recipes(folder: Path) -> dict[str, Any]:
    """The content of the one result file in a folder.

    Raises:
        DataError: it is not there.
    """
    file = folder / "benchmark.json"
    if not file.is_file():
        raise DataError(file, "recipes", "no such file", "the file that benchmarks/recipes.py writes")
    content: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return content
