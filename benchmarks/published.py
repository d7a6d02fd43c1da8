"""Are the full-size networks as large as their papers say? Parameters and multiply-adds beside published ones.

    python benchmarks/published.py

FlashOcc and BEVDet-Occ are built in full size with the widths of the published configurations. What our networks have
in place of a published part is taken off and the published part added, each counted from its shape, so that a line
says where every difference comes from. The published figures are those of the table in the README of
github.com/Yzichen/FlashOCC (configurations ``flashocc-r50`` and ``bevdet-occ-r50``, one frame, six cameras of
256 x 704). Writes a result file and the table of docs/models.md.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import torch
from torch.utils.flop_counter import FlopCounterMode

from ugocc.labels import NUM_CLASSES
from ugocc.models.assemble import build_model, model_settings
from ugocc.models.example import example_batch
from ugocc.models.lift import LiftSettings
from ugocc.models.settings import ModelSettings, VolumeBranchSettings
from ugocc.models.voxel_encoder import VoxelEncoderSettings
from ugocc.results import commit, machine, replace_block, versions, write_text

CLASSES: Final = 18
"""Of Occ3D-nuScenes, which the published heads predict."""
CELLS: Final = 6 * 16 * 44
"""Feature cells of six cameras."""
BINS: Final = 88
"""Depth bins of the published configurations: 1 to 45 m in steps of 0.5 m."""
PUBLISHED: Final = {"flashocc": (44.74, 248.57), "bevdet-occ": (29.02, 241.76)}
"""Millions of parameters and thousand millions of multiply-adds."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("results/published/benchmark.json"), help="result file")
    parser.add_argument("--page", type=Path, default=Path("docs/models.md"), help="page whose table is rewritten")
    options = parser.parse_args()
    report = {"flashocc": flashocc(), "bevdet-occ": bevdet_occ()}
    content = {"networks": report, "commit": commit(), "versions": versions(), "machine": machine()}
    options.out.parent.mkdir(parents=True, exist_ok=True)
    write_text(options.out, json.dumps(content, indent=1) + "\n")
    block = table(report)
    print(block)
    write_text(options.page, replace_block(options.page.read_text(encoding="utf-8"), "report:published", block))


def flashocc() -> dict[str, list[float]]:
    """Lines of FlashOcc: name to millions of parameters and thousand millions of multiply-adds."""
    settings = model_settings("flashocc", "full")
    assert settings.depth_net is not None
    assert settings.flat is not None
    assert settings.flat.encoder is not None
    widths = (128, 256, 512)
    encoder = replace(settings.flat.encoder, widths=widths)
    narrow = replace(
        settings,
        depth_net=replace(settings.depth_net, context_channels=64),
        flat=replace(settings.flat, encoder=encoder),
    )
    x, y, z = settings.input.grid.shape
    before, shortcuts, adds = 64, 0, 0
    for level, width in enumerate(widths, start=1):
        extra = 8 * before * width  # a 3x3 convolution in place of a 1x1 one
        shortcuts, adds, before = shortcuts + extra, adds + extra * (x >> level) * (y >> level), width
    classes = settings.flat.head.hidden * z * (CLASSES - NUM_CLASSES)
    return {
        "ours": counts(settings),
        "ours with the published widths": counts(narrow),
        "our depth net off": counts(narrow, "depth_net", sign=-1),
        "one 1x1 convolution for depth and context": [256 * (BINS + 64), 256 * (BINS + 64) * CELLS],
        "3x3 shortcuts in the encoder": [shortcuts, adds],
        "18 classes": [classes, classes * x * y],
    }


def bevdet_occ() -> dict[str, list[float]]:
    """The same of BEVDet-Occ, whose three-dimensional part is counted from its configuration alone."""
    settings = model_settings("bevdet-occ", "full")
    assert settings.depth_net is not None
    narrow = replace(
        settings,
        depth_net=replace(settings.depth_net, context_channels=32),
        lift=LiftSettings((200, 200, 16)),
        volume=VolumeBranchSettings(VoxelEncoderSettings(widths=(8,), strides=(2,), blocks=1, channels=8)),
    )
    voxels = 200 * 200 * 16
    parameters = adds = 0
    before = 32
    for width, stride, blocks in ((32, 1, 1), (64, 2, 2), (128, 2, 4)):
        voxels //= stride**3
        # Two convolutions and a shortcut of the first block, two convolutions of each other one.
        weights = 27 * (2 * before * width + width * width + (blocks - 1) * 2 * width * width)
        parameters, adds, before = parameters + weights, adds + weights * voxels, width
    pyramid, final = (32 + 64 + 128) * 32, 27 * 32 * 32
    head = 32 * 64 + 64 * CLASSES
    full = 200 * 200 * 16
    return {
        "ours": counts(settings),
        "image encoder of ours": counts(narrow, "image_encoder"),
        "one 1x1 convolution for depth and context": [256 * (BINS + 32), 256 * (BINS + 32) * CELLS],
        "3D encoder of 32, 64 and 128 channels": [parameters, adds],
        "pyramid, convolution and head of 32 channels": [pyramid + final + head, (pyramid + final + head) * full],
    }


def counts(settings: ModelSettings, part: str = "", sign: int = 1) -> list[float]:
    """Parameters and multiply-adds of a network or of one part of it."""
    model = build_model(settings).eval().requires_grad_(False)
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        model(example_batch(settings.input))
    within = counter.get_flop_counts()[f"OccupancyModel.{part}" if part else "Global"]
    chosen = getattr(model, part) if part else model
    return [sign * sum(p.numel() for p in chosen.parameters()), sign * sum(within.values()) // 2]


def table(report: Mapping[str, Mapping[str, list[Any]]]) -> str:
    """A Markdown table: what is added up, the sum, what is published."""
    lines = ["| network | | parameters, M | multiply-adds, G |", "|---|---|--:|--:|"]
    for name, parts in report.items():
        for what, (parameters, adds) in parts.items():
            lines.append(f"| {name} | {what} | {parameters / 1e6:.2f} | {adds / 1e9:.1f} |")
        summed = [sum(numbers) for numbers in zip(*list(parts.values())[1:], strict=True)]
        lines.append(f"| {name} | **as published, summed up** | {summed[0] / 1e6:.2f} | {summed[1] / 1e9:.1f} |")
        lines.append(f"| {name} | **published** | {PUBLISHED[name][0]:.2f} | {PUBLISHED[name][1]:.1f} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
