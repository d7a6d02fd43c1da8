"""Result files: what was measured, on what, by which code. Tables are made from these files and nothing else."""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, fields
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import fmean, pstdev
from typing import Any, Final

from ugocc.errors import DataError
from ugocc.labels import CLASSES
from ugocc.provenance import code_digest

VARIANTS: Final = (
    "source-only",
    "strong source-only",
    "rig-transfer source-only",
    "+ self-supervised depth",
    "+ adversarial",
    "+ pseudo-labels",
    "full",
    "without rig transfer",
    "without depth",
    "without semantics",
    "without adversarial",
    "without pseudo-labels",
    "without voting",
    "without rendering",
    "pseudo-labels only",
    "oracle",
)
"""Names of the variants, in the order of tables."""


@dataclass(frozen=True)
class Row:
    """One model, evaluated once."""

    model: str
    """Name of the model, such as flashocc-laptop."""
    variant: str
    """How it was trained: source-only, oracle, full, ..."""
    train_fleet: str
    """Fleet whose labels it was trained on."""
    eval_fleet: str
    """Fleet it was evaluated on."""
    split: str
    """train, val or test."""
    seed: int
    """Seed of the training."""
    miou: float
    """map_ten_class in percent: mean over the classes 0-8 that occur, voxels of the camera mask."""
    iou_occupied: float
    """Occupied against free, percent, same voxels."""
    per_class: dict[str, float | None]
    """IoU of each of the nine classes in percent, null where the class does not occur."""
    seconds: float
    """Wall time of the evaluation."""
    confusion: list[list[int]] = field(default_factory=list)
    """Voxels of every class of the truth (rows, free last) by predicted class (columns), same voxels as the IoU."""
    by_distance: dict[str, float | None] = field(default_factory=dict)
    """mIoU per ring of distance from the car, metres ("0-10" ... "30-40"), same voxels."""
    hidden: dict[str, float | None] = field(default_factory=dict)
    """mIoU and occupied IoU on the labelled voxels that no camera sees: guesses, not to be mixed with the rest."""
    plausibility: dict[str, float | None] = field(default_factory=dict)
    """Shares of what could be a street (``ugocc.adaptation.plausibility``), without labels."""
    ray_iou: dict[str, float] = field(default_factory=dict)
    """RayIoU in percent at 1, 2 and 4 m and their mean."""
    depth: dict[str, float] = field(default_factory=dict)
    """Depth metrics of the network's expected depth against lidar."""
    frames: int = 0
    """Number of frames evaluated."""
    train_seconds: float = 0.0
    """Wall time of the training, if it is known."""
    mask: str = "camera"
    """Which voxels count."""
    backbone: str = ""
    """Image encoder."""
    images: list[int] = field(default_factory=list)
    """Cameras, rows and columns of a sample's images."""
    steps: int = 0
    """Optimisation steps of the training, earlier stages included."""
    weights_sha256: str = ""
    """Digest of the checkpoint."""
    latency_ms: float = 0.0
    """Median time of one sample through the network, images in, logits out."""
    memory_mib: float = 0.0
    """The most memory of tensors during one prediction (``ugocc.models.cost.peak_bytes``)."""
    hardware: str = ""
    """What latency was measured on, and in which precision."""


def write_results(
    path: Path,
    rows: Sequence[Row],
    recipe: dict[str, Any] | None = None,
    data: dict[str, str] | None = None,
    code: str | None = None,
) -> Path:
    """Write ``results.json`` atomically: the rows, and once what made them.

    Args:
        path: file.
        rows: what was measured.
        recipe: settings of the training.
        data: digest of every fleet that was used, by name.
        code: digest of the code that made them; by default of all that decides numbers.
    """
    content = {
        "rows": [asdict(row) for row in rows],
        "commit": commit(),
        "code": code or code_digest(),
        "data": data or {},
        "recipe": recipe or {},
        "versions": versions(),
        "machine": machine(),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, numbers_in_a_line(json.dumps(content, indent=1)) + "\n")
    return path


def numbers_in_a_line(text: str) -> str:
    """JSON text whose lists of whole numbers take one line each, as a row of a matrix should."""
    return re.sub(r"\[\s+(-?\d+(?:,\s+-?\d+)*)\s+\]", lambda found: f"[{' '.join(found[1].split())}]", text)


def read_results(path: Path) -> list[Row]:
    """Rows of a result file.

    Raises:
        DataError: missing file, broken JSON, or a row without a required field.
    """
    if not path.is_file():
        raise DataError(path, "results", "no such file", "a results.json")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise DataError(path, "results", f"broken JSON ({error})", "a results.json") from error
    known = {f.name for f in fields(Row)}
    rows = []
    for i, raw in enumerate(content.get("rows", [])):
        try:
            rows.append(Row(**{k: v for k, v in raw.items() if k in known}))
        except TypeError as error:
            raise DataError(path, f"rows[{i}]", str(error), f"the fields {', '.join(sorted(known))}") from error
    return rows


def markdown_table(rows: Iterable[Row]) -> str:
    """A Markdown table with one line per (model, variant, fleets, split): mean over seeds, +- spread if several."""
    groups: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault((row.model, row.variant, row.train_fleet, row.eval_fleet, row.split), []).append(row)
    names = CLASSES[:9]
    head = [
        "model",
        "variant",
        "trained on",
        "evaluated on",
        "split",
        "seeds",
        "mIoU",
        "occupied IoU",
        "RayIoU",
        "depth AbsRel",
        *names,
    ]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * 5 + "--:|" * (len(head) - 5)]
    for key, group in groups.items():
        rays = [r.ray_iou["mean"] for r in group if "mean" in r.ray_iou]
        cells = [
            *map(cell, key),
            str(len(group)),
            _mean([r.miou for r in group]),
            _mean([r.iou_occupied for r in group]),
        ]
        cells += [_mean(rays), _mean([r.depth["abs_rel"] for r in group if "abs_rel" in r.depth], digits=3)]
        for name in names:
            cells.append(_mean([v for r in group if (v := r.per_class.get(name)) is not None]))
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def cell(text: str) -> str:
    """Text as it stands in a Markdown table: what would end the cell does not."""
    return text.replace("|", "\\|")


def replace_block(text: str, name: str, block: str, where: object = "Markdown text") -> str:
    """Put ``block`` between ``<!-- name -->`` and ``<!-- /name -->`` of a Markdown text; ``where`` is for messages.

    Raises:
        DataError: the markers are missing.
    """
    start, end = f"<!-- {name} -->", f"<!-- /{name} -->"
    if start not in text or end not in text:
        raise DataError(where, name, "no markers", f"{start} and {end}")
    head, rest = text.split(start, 1)
    return f"{head}{start}\n{block}{end}{rest.split(end, 1)[1]}"


def write_text(path: Path, text: str) -> None:
    """Write a text file so that it is either the old one or the whole new one."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)


def commit() -> str:
    """Commit of the source tree this package runs from, with ``-dirty``, or the version when it is not a checkout."""
    from ugocc import __version__

    folder = Path(__file__).resolve().parent
    try:
        where = ["git", "-C", str(folder)]
        tracked = subprocess.run([*where, "ls-files", "--error-unmatch", __file__], capture_output=True, timeout=20)
        if tracked.returncode:
            return __version__
        head = subprocess.run([*where, "rev-parse", "HEAD"], capture_output=True, text=True, timeout=20).stdout.strip()
        changes = subprocess.run([*where, "status", "--porcelain", "."], capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return __version__
    return head + ("-dirty" if changes.stdout.strip() else "")


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that decide the numbers."""
    found = {"python": platform.python_version()}
    for package in ("ugocc", "torch", "torchvision", "timm", "lightning", "numpy", "numba"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def machine() -> dict[str, Any]:
    """Processor, cores, memory and accelerators."""
    import torch

    memory = 0
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    accelerators = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return {
        "system": platform.system(),
        "processor": platform.machine(),
        "cores": os.cpu_count(),
        "memory_gib": round(memory / 2**30, 1),
        "accelerators": accelerators,
    }


def hardware(device: Any) -> str:
    """A device in words: the name of an accelerator, or the cores that PyTorch uses of a processor."""
    import torch

    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{platform.machine()}, {torch.get_num_threads()} cores" if device.type == "cpu" else str(device.type)


def _mean(values: Sequence[float], digits: int = 1) -> str:
    if not values:
        return "-"
    text = f"{fmean(values):.{digits}f}"
    return f"{text} ± {pstdev(values):.{digits}f}" if len(values) > 1 else text
