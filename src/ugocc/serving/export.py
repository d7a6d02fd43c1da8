"""The verb ``export``: a model folder as a graph for other runtimes."""

from __future__ import annotations

import io
import json
import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import torch
from safetensors.torch import save_file
from torch import Tensor

from ugocc.config import plain
from ugocc.data.batch import Batch
from ugocc.data.dataset import FrameDataset
from ugocc.data.source import open_fleet
from ugocc.errors import DataError
from ugocc.extras import require
from ugocc.models.assemble import OccupancyModel
from ugocc.models.example import example_batch
from ugocc.models.exportable import ExportableNetwork, output_shapes, rig_tensors
from ugocc.output import check_writable, reporting
from ugocc.pretrained import find_model
from ugocc.results import commit, versions, write_text
from ugocc.training.checkpoint import load_model
from ugocc.training.statistics import spaced

GRAPH: Final = {"onnx": "model.onnx", "torch": "model.pt2"}
ABOUT, RIG = "export.json", "rig.safetensors"
OPSET: Final = 20


@dataclass(frozen=True)
class ExportSettings:
    """Export of a model folder."""

    checkpoint: Path = Path("laptop")
    """Model folder, name of a model that comes with the package, or owner/name on the Hugging Face hub."""
    out: Path = Path("runs/export")
    """Folder that is written: the graph, and export.json, which says what it is."""
    format: Literal["onnx", "torch"] = "onnx"
    """ONNX (standard operators alone), or a torch.export program (.pt2)."""
    calibration: Literal["runtime", "fixed"] = "runtime"
    """Given with the pictures of every frame, or baked in from the first frame of ``root``."""
    precision: Literal["float32", "int8"] = "float32"
    """int8 quantises convolutions, ranges taken from frames of ``root`` (ONNX)."""
    root: Path | None = None
    """Folder of the fleet that the graph is for: its number of cameras, its rig, its pictures. Labels are not read."""
    split: str = "train"
    """Scenes of it."""
    name: str | None = None
    """Name of the fleet; its statistics are used if the model folder has them."""
    cameras: int = 6
    """Cameras of a frame, where there is no ``root``."""
    frames: int = 32
    """Frames that ranges of int8 are taken from, evenly spaced over the split."""
    json: bool = False
    """Print one JSON document instead of a line."""


def export_model(settings: ExportSettings) -> Path:
    """Write the graph and say what it is. Returns the folder.

    Raises:
        DataError: options that need a fleet without one, a network that cannot be exported, or a package that is
            missing.
    """
    with reporting(settings.json) as report:
        about = _export(settings)
        path = settings.out / about["graph"]
        size = path.stat().st_size
        described = {name: value for name, value in about.items() if name != "card"}
        line = f"{path}: {size / 2**20:.1f} MiB, {settings.calibration} calibration, {settings.precision}"
        report({**described, "graph": path, "about": settings.out / ABOUT, "bytes": size}, line)
    return settings.out


def _export(settings: ExportSettings) -> dict[str, Any]:
    _check(settings)
    data, fleet = None, settings.name
    if settings.root is not None:
        source = open_fleet(settings.root, settings.split, settings.name)
        fleet = source.fleet
    model, card = load_model(find_model(settings.checkpoint), fleet)
    model.requires_grad_(False)
    inputs = model.settings.input
    if settings.root is not None:
        data = FrameDataset(source, inputs, labelled=False)
        if not len(data):
            raise DataError(settings.root, "frames", "none", f"frames of the split {settings.split}")
        sample = data[0]
    else:
        sample = example_batch(inputs, settings.cameras)
    fixed = settings.calibration == "fixed"
    rig = rig_tensors(model, sample, None) if fixed else rig_tensors(model, sample)
    check_writable(settings.out)
    (settings.out / ABOUT).unlink(missing_ok=True)  # an unfinished export must not go by the card of the one before
    path = settings.out / GRAPH[settings.format]
    with _quiet():
        program = trace(model, sample, rig, fixed)
        if settings.format == "torch":
            _whole(path, lambda file: torch.export.save(program, file))
        else:
            write_onnx(path, program, model, sample, rig, fixed)
    if settings.precision == "int8":
        assert data is not None
        from ugocc.serving.quantise import quantise

        quantise(path, model, data, spaced(len(data), settings.frames), fixed)
    if fixed:
        calibrations = {name: getattr(sample, name)[0].contiguous() for name in CALIBRATIONS}
        _whole(settings.out / RIG, lambda file: save_file(calibrations, file))
    about = {
        "format": settings.format,
        "graph": path.name,
        "calibration": settings.calibration,
        "precision": settings.precision,
        "cameras": sample.images.shape[1],
        "fleet": fleet,
        "outputs": {
            name: ["batch", *shape[1:]] for name, shape in output_shapes(model, sample.images.shape[1]).items()
        },
        "opset": OPSET if settings.format == "onnx" else None,
        "exported_by": {"commit": commit(), "versions": versions()},
        "card": {**card, "model": plain(model.settings)},
    }
    write_text(settings.out / ABOUT, json.dumps(about, indent=1) + "\n")
    return about


CALIBRATIONS: Final = ("intrinsics", "image_affine", "ego_T_camera")
"""Fields of a batch that say what a rig is."""


def _check(settings: ExportSettings) -> None:
    """Raise DataError before the network is even read."""
    for wanted, why in ((settings.calibration == "fixed", "a fixed rig"), (settings.precision == "int8", "int8")):
        if wanted and settings.root is None:
            raise DataError("export", "root", "none", f"the folder of a fleet, for {why}")
    for field in ("frames", "cameras"):
        if getattr(settings, field) < 1:
            raise DataError("export", field, getattr(settings, field), "a number from 1")
    if settings.precision == "int8" and settings.format != "onnx":
        raise DataError("export", "precision", "int8", "float32 in a torch.export program")
    if settings.format == "onnx":
        require("export", "export", "onnx", "onnxscript")
    if settings.precision == "int8":
        require("int8", "export", "onnx", "onnxruntime")


@torch.no_grad()
def trace(model: OccupancyModel, sample: Batch, rig: dict[str, Tensor], fixed: bool) -> torch.export.ExportedProgram:
    """A network as a program with any number of samples, and, where the rig is an input, any rig of as many cameras."""
    network = ExportableNetwork(model, rig if fixed else None).eval()
    args = graph_inputs(sample.images.repeat(2, 1, 1, 1, 1), rig, fixed)
    dynamic = torch.export.Dim.DYNAMIC
    shapes: tuple[Any, ...] = ({0: dynamic},)
    if not fixed:
        shapes = (*shapes, {name: dict.fromkeys(_varying(name), dynamic) for name in rig})
    return torch.export.export(network, args, dynamic_shapes=shapes)


def graph_inputs(images: Tensor, rig: dict[str, Tensor], fixed: bool) -> tuple[Any, ...]:
    """Arguments of an :class:`ExportableNetwork`."""
    return (images,) if fixed else (images, rig)


def _varying(name: str) -> tuple[int, ...]:
    """Dimensions of a tensor of a rig that differ between rigs."""
    if name.startswith(("pixels_", "depths_")):
        return (0,)
    return (1,) if name in ("owner", "places", "likely", "bin", "pairs") else ()


def write_onnx(
    path: Path,
    program: torch.export.ExportedProgram,
    model: OccupancyModel,
    sample: Batch,
    rig: dict[str, Tensor],
    fixed: bool,
) -> None:
    """An ONNX file with named inputs and outputs, whole or not at all, weights inside."""
    made = torch.onnx.export(
        program,
        graph_inputs(sample.images, rig, fixed),
        dynamo=True,
        opset_version=OPSET,
        input_names=["images", *([] if fixed else rig)],
        output_names=list(output_shapes(model, sample.images.shape[1])),
        verbose=False,
    )
    assert made is not None
    _whole(path, lambda file: made.save(str(file), external_data=False))


def _whole(path: Path, write: Any) -> None:
    unfinished = path.with_name(f".{os.getpid()}.{path.name}")
    write(unfinished)
    unfinished.replace(path)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporter's own progress and what it says of its own internals."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
