"""int8 graphs: convolutions on eight-bit numbers, ranges taken from a fleet's own frames."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.calibrate import CalibrationDataReader
from onnxruntime.quantization.shape_inference import quant_pre_process

from ugocc.data.dataset import FrameDataset
from ugocc.errors import DataError
from ugocc.models.assemble import OccupancyModel
from ugocc.models.exportable import rig_tensors
from ugocc.progress import follow

QUANTISED = ["Conv"]
"""Operators on eight-bit numbers: nearly all of the arithmetic. The products of the attentions and of the lift
are small, and their factors (probabilities, depths) are not what eight bits are for."""


def quantise(path: Path, model: OccupancyModel, data: FrameDataset, frames: Sequence[int], fixed: bool) -> None:
    """Replace an ONNX file by its int8 version.

    Weights are symmetric per channel, activations asymmetric per tensor, as explicit QuantizeLinear and
    DequantizeLinear nodes: what ONNX Runtime, OpenVINO and TensorRT read.

    Args:
        path: the float32 graph.
        model: the network, which knows what is to be told of a rig.
        data: frames without labels.
        frames: which of them.
        fixed: whether the rig is baked in.
    """
    prepared, quantised = path.with_suffix(".prepared"), path.with_suffix(".int8")
    logging.getLogger().setLevel(max(logging.getLogger().level, logging.WARNING))
    try:
        quant_pre_process(str(path), str(prepared), skip_symbolic_shape=True)
        quantize_static(
            str(prepared),
            str(quantised),
            _Frames(model, data, frames, fixed),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=QUANTISED,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.MinMax,
            extra_options={"CalibMovingAverage": True},
        )
        quantised.replace(path)
    finally:
        for file in (prepared, quantised):
            file.unlink(missing_ok=True)


class _Frames(CalibrationDataReader):
    """One frame after another, as the graph wants it."""

    def __init__(self, model: OccupancyModel, data: FrameDataset, frames: Sequence[int], fixed: bool) -> None:
        self._feeds = self._all(model, data, frames, fixed)

    @staticmethod
    def _all(
        model: OccupancyModel, data: FrameDataset, frames: Sequence[int], fixed: bool
    ) -> Iterator[dict[str, NDArray[Any]]]:
        cameras = 0
        for index in follow(frames, "ranges of int8"):
            sample = data[index]
            count = sample.images.shape[1]
            cameras = cameras or count
            if count != cameras:
                raise DataError(sample.tokens[0], "cameras", count, f"{cameras}, as the frames before have")
            rig = {} if fixed else rig_tensors(model, sample)
            yield {"images": sample.images.numpy(), **{name: value.numpy() for name, value in rig.items()}}

    def get_next(self) -> dict[str, NDArray[Any]] | None:
        """The next frame, None after the last."""
        return next(self._feeds, None)
