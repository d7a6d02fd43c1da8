"""Exported graphs in ONNX Runtime and OpenVINO, used as networks are: a batch in, a prediction out."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ugocc.config import build_settings
from ugocc.data.batch import Batch
from ugocc.errors import DataError, first_line
from ugocc.extras import require
from ugocc.models.assemble import OccupancyModel, build_model
from ugocc.models.cameras import real_cameras
from ugocc.models.depth_net import bin_depths
from ugocc.models.exportable import rig_tensors
from ugocc.models.prediction import Prediction
from ugocc.models.settings import ModelSettings
from ugocc.pretrained import find_model
from ugocc.serving.export import ABOUT, CALIBRATIONS, RIG
from ugocc.training.checkpoint import load_model, load_tensors

Runtime = Literal["onnxruntime", "openvino"]
GraphPrecision = Literal["float32", "bfloat16"]
Run = Callable[[Mapping[str, NDArray[Any]]], list[NDArray[Any]]]

SAME_INTRINSICS, SAME_TURN, SAME_PLACE = 0.005, 0.02, 1.0
"""How far a frame's cameras may be from a rig that is baked in: share of the focal length, radians, metres. A camera
has moved by up to a metre between its picture and the key moment of its frame."""


class ExportedModel(nn.Module):
    """A folder that ``ugocc export`` wrote, in place of the network it came from.

    Args:
        folder: with export.json and an ONNX graph.
        runtime: what runs it.
        precision: bfloat16 where the runtime can (OpenVINO), whatever the graph's own.
        threads: of the runtime; by default one per core.

    Raises:
        DataError: a folder that is incomplete, a format that is not run here, or a runtime that is not installed.
    """

    def __init__(
        self,
        folder: Path,
        runtime: Runtime = "onnxruntime",
        precision: GraphPrecision = "float32",
        threads: int | None = None,
    ) -> None:
        super().__init__()
        self.exported = read_about(folder)
        if self.exported["format"] != "onnx":
            raise DataError(folder / ABOUT, "format", self.exported["format"], "onnx: torch programs are run by torch")
        self.about: dict[str, Any] = self.exported["card"]
        self.settings = build_settings(ModelSettings, self.about["model"], folder / ABOUT)
        # Its weights are never used: it knows what is to be told of a rig. In a tuple it is no part of this module, and
        # stays on the CPU wherever that goes.
        self._knows_rigs = (build_model(self.settings).eval(),)
        self.rig = load_tensors(folder / RIG) if self.exported["calibration"] == "fixed" else None
        graph = folder / self.exported["graph"]
        if not graph.is_file():
            raise DataError(graph, "graph", "no such file", "the graph that ugocc export wrote")
        threads = threads or os.cpu_count() or 1
        self.run = (
            _onnxruntime(graph, precision, threads)
            if runtime == "onnxruntime"
            else _openvino(graph, precision, threads)
        )

    @torch.no_grad()
    def forward(self, batch: Batch) -> Prediction:
        """Predict every sample of a batch; rigs may differ between them unless one is baked in.

        Raises:
            DataError: another number of cameras than was exported, or another rig than was baked in.
        """
        device = batch.images.device
        batch = batch.to("cpu")
        cameras = self.exported["cameras"]
        if batch.images.shape[1] != cameras or not bool(batch.camera_mask.all()):
            raise DataError(
                ", ".join(batch.tokens), "cameras", int(batch.camera_mask.sum()), f"{cameras} a frame, as exported"
            )
        if self.rig is not None:
            _check_rig(batch, self.rig)
            outputs = self.run({"images": batch.images.numpy()})
        else:
            each = [self._one(batch.pick(sample)) for sample in range(batch.size)]
            outputs = [np.concatenate(values) for values in zip(*each, strict=True)]
        occupancy = torch.from_numpy(outputs[0])
        depth, bins = None, None
        settings = self.settings.depth_net
        if settings is not None:
            depth, bins = torch.from_numpy(outputs[1]), bin_depths(real_cameras(batch), settings)
            depth, bins = depth.to(device), bins.unflatten(0, (batch.size, cameras)).to(device)
        return Prediction(occupancy.to(device), depth, bins, None, occupancy.new_zeros(batch.size, 0, 0, 0))

    def _one(self, sample: Batch) -> list[NDArray[Any]]:
        rig = rig_tensors(*self._knows_rigs, sample)
        return self.run({"images": sample.images.numpy(), **{name: value.numpy() for name, value in rig.items()}})


def open_model(
    folder: Path, fleet: str | None = None, runtime: Runtime = "onnxruntime", precision: GraphPrecision = "float32"
) -> tuple[OccupancyModel | ExportedModel, dict[str, Any]]:
    """The network of a model folder, or of a folder that ``ugocc export`` wrote, and its card.

    Args:
        folder: either, or the name of a model (:func:`ugocc.pretrained.find_model`).
        fleet: name of the fleet whose images it is for; see :func:`ugocc.training.checkpoint.load_model`.
        runtime: what runs an exported graph.
        precision: of an exported graph.

    Raises:
        DataError: a graph with the batch-norm statistics of one fleet for another that the network has its own of.
    """
    folder = find_model(folder)
    if not (folder / ABOUT).is_file():
        return load_model(folder, fleet)
    model = ExportedModel(folder, runtime, precision)
    _check_statistics(folder, model, fleet)
    how = f"{runtime}, {model.exported['precision'] if precision == 'float32' else precision}"
    return model.eval(), {**model.about, "runtime": how}


def _check_statistics(folder: Path, model: ExportedModel, fleet: str | None) -> None:
    card, baked = model.about, model.exported.get("fleet")
    further = card.get("statistics_sha256", {})
    known = {card.get("train_fleet"), card.get("target_fleet"), *further}
    # Fleets that are not among the further ones have the statistics that the weights came with.
    if fleet in known and (fleet if fleet in further else None) != (baked if baked in further else None):
        wanted = f"{fleet}, whose statistics the network has: export it with --root or --name"
        raise DataError(folder / ABOUT, "fleet", baked, wanted)


def read_about(folder: Path) -> dict[str, Any]:
    """export.json of a folder.

    Raises:
        DataError: missing or broken.
    """
    path = folder / ABOUT
    try:
        about: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError) as error:
        raise DataError(path, "export", error, "the export.json that ugocc export wrote") from error
    missing = [key for key in ("format", "graph", "calibration", "precision", "cameras", "card") if key not in about]
    if missing:
        raise DataError(path, missing[0], "missing", "the export.json that ugocc export wrote")
    return about


def _check_rig(batch: Batch, rig: Mapping[str, Tensor]) -> None:
    given = {name: getattr(batch, name) for name in CALIBRATIONS}
    focal = rig["intrinsics"][:, 0, 0]
    differences = {
        "intrinsics": ((given["intrinsics"] - rig["intrinsics"]).abs().amax((2, 3)) / focal, SAME_INTRINSICS),
        "image_affine": ((given["image_affine"] - rig["image_affine"]).abs().amax((2, 3)), 1.0),
        "turn": ((given["ego_T_camera"] - rig["ego_T_camera"])[..., :3, :3].abs().amax((2, 3)), SAME_TURN),
        "place": ((given["ego_T_camera"] - rig["ego_T_camera"])[..., :3, 3].norm(dim=-1), SAME_PLACE),
    }
    for name, (found, most) in differences.items():
        if float(found.max()) > most:
            camera = int(found.amax(0).argmax())
            tokens = ", ".join(batch.tokens)
            raise DataError(
                tokens,
                f"{name} of camera {camera}",
                f"{float(found.max()):.3g} off",
                f"the rig that was exported, within {most}",
            )


@contextmanager
def _whole(graph: Path) -> Iterator[None]:
    """What a runtime raises of a graph that it cannot read (each has errors of its own) as a DataError."""
    try:
        yield
    except Exception as error:
        raise DataError(graph, "graph", first_line(error), "a whole graph that `ugocc export` wrote") from error


def _onnxruntime(graph: Path, precision: GraphPrecision, threads: int) -> Run:
    require(graph, "export", "onnxruntime")
    import onnxruntime

    if precision != "float32":
        raise DataError("onnxruntime", "precision", precision, "the graph's own on a CPU; openvino runs bfloat16")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    with _whole(graph):
        session = onnxruntime.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])
    names = {given.name for given in session.get_inputs()}

    def run(feed: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
        made: list[NDArray[Any]] = session.run(None, {name: value for name, value in feed.items() if name in names})
        return made

    return run


def _openvino(graph: Path, precision: GraphPrecision, threads: int) -> Run:
    require(graph, "export", "openvino")
    import openvino

    hint = {"float32": "f32", "bfloat16": "bf16"}[precision]
    # By itself OpenVINO computes in bfloat16 wherever the processor can.
    options = {"INFERENCE_PRECISION_HINT": hint, "INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY"}
    with _whole(graph):
        compiled = openvino.Core().compile_model(str(graph), "CPU", options)
    names = {name for given in compiled.inputs for name in given.names}

    def run(feed: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
        made = compiled({name: value for name, value in feed.items() if name in names})
        return [np.array(made[output]) for output in compiled.outputs]

    return run
