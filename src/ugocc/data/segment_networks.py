"""Pretrained 2D segmentation networks of any origin, behind one function: picture in, class and confidence out.

Formats that only hold numbers are read: safetensors and torch's weights-only files for the architectures of
torchvision, ONNX, and TFLite. Nothing is ever unpickled or downloaded.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torchvision.models import get_model, list_models, segmentation

from ugocc.errors import DataError, first_line
from ugocc.extras import require

MEAN: Final = (0.485, 0.456, 0.406)
DEVIATION: Final = (0.229, 0.224, 0.225)
"""Colours in [0, 1] are normalised by those of ImageNet for networks that take floats."""

_LAST_LAYERS: Final = ("classifier.4.weight", "classifier.low_classifier.weight")
"""Weights of the layer that says the classes: DeepLab and FCN, LR-ASPP."""


class Segmented(NamedTuple):
    """What a network says about a picture."""

    classes: NDArray[np.int64]
    """(h, w) id of the network's class per pixel, at the size of the picture."""
    confidence: NDArray[np.float32] | None
    """(h, w) probability of that class; None from a network that only gives classes."""


class Segmenter(NamedTuple):
    """A network, ready to be called."""

    run: Callable[[NDArray[np.uint8]], Segmented]
    """Segments a picture (h, w, 3) uint8 RGB."""
    classes: int | None
    """How many classes it knows; None if its file does not say."""
    probabilities: bool
    """Whether it says how sure it is."""
    architecture: str = ""
    """Name of the architecture, empty for files that hold their own."""


def load_network(path: Path, architecture: str, device: str) -> Segmenter:
    """Load a network by its suffix.

    Args:
        path: ``.safetensors`` or ``.pth``/``.pt`` (a state dict of a torchvision architecture), ``.onnx``, ``.tflite``.
        architecture: name of the torchvision architecture, for the first two.
        device: torch device for the first two; the others run on the processor.

    Raises:
        DataError: no such file, a format or architecture that is not known, weights that do not fit, or a package
            that is not installed.
    """
    if not path.is_file():
        raise DataError(path, "network", "no such file", "a file with a network")
    if path.suffix in (".safetensors", ".pth", ".pt"):
        return _torchvision(path, architecture, device)
    if path.suffix == ".onnx":
        return _onnx(path)
    if path.suffix == ".tflite":
        return _tflite(path)
    raise DataError(path, "network", f"suffix {path.suffix!r}", ".safetensors, .pth, .pt, .onnx or .tflite")


def decide(scores: Tensor, size: tuple[int, int]) -> Segmented:
    """Class and confidence of scores (C, h, w) at another size (rows, columns).

    Scores are taken for probabilities if they are none below 0 and sum to 1 everywhere, else for logits.
    """
    scores = scores.float()
    scaled = F.interpolate(scores[None], size, mode="bilinear", align_corners=False)[0]
    shares = bool((scores >= 0).all()) and bool(((scores.sum(dim=0) - 1).abs() < 1e-3).all())
    confidence, classes = (scaled if shares else scaled.softmax(dim=0)).max(dim=0)
    return Segmented(classes.cpu().numpy(), confidence.cpu().numpy())


def resized(picture: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """Picture (h, w, 3) at another size, antialiased."""
    if picture.shape[:2] == (height, width):
        return picture
    return np.asarray(Image.fromarray(picture).resize((width, height), Image.Resampling.BILINEAR))


def _torchvision(path: Path, architecture: str, device: str) -> Segmenter:
    known = list_models(module=segmentation)
    if architecture not in known:
        raise DataError("segmentation", "architecture", architecture, f"one of {', '.join(known)}")
    state = _state_dict(path)
    last = next((state[name] for name in _LAST_LAYERS if name in state), None)
    if last is None:
        raise DataError(path, "network", f"weights {_some(state)}", f"one of {', '.join(_LAST_LAYERS)}")
    auxiliary = {"aux_loss": True} if any(name.startswith("aux_classifier.") for name in state) else {}
    model: nn.Module = get_model(
        architecture, weights=None, weights_backbone=None, num_classes=last.shape[0], **auxiliary
    )
    try:
        missing, surplus = model.load_state_dict(state, strict=False)
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip()
        raise DataError(path, "network", reason, f"the weights of {architecture}") from error
    missing = [name for name in missing if not name.endswith("num_batches_tracked")]
    if missing or surplus:
        found = f"missing {_some(missing)}" if missing else f"surplus {_some(surplus)}"
        raise DataError(path, "network", found, f"the weights of {architecture}")
    model = model.eval().to(device)

    def run(picture: NDArray[np.uint8]) -> Segmented:
        with torch.inference_mode():
            scores = model(torch.from_numpy(_normalised(picture)).to(device))["out"][0]
            return decide(scores, picture.shape[:2])

    return Segmenter(run, int(last.shape[0]), probabilities=True, architecture=architecture)


def _state_dict(path: Path) -> dict[str, Tensor]:
    try:
        found = load_file(path) if path.suffix == ".safetensors" else torch.load(path, "cpu", weights_only=True)
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError) as error:
        found = f"unreadable ({first_line(error)})"
        raise DataError(path, "network", found, "a file of weights and nothing else") from error
    for wrapping in ("state_dict", "model_state", "model"):
        if isinstance(found, Mapping) and isinstance(found.get(wrapping), Mapping):
            found = found[wrapping]
    if not isinstance(found, Mapping) or not all(isinstance(value, Tensor) for value in found.values()):
        raise DataError(path, "network", type(found).__name__, "named tensors")
    return dict(found)


def _onnx(path: Path) -> Segmenter:
    require(path, "segment", "onnxruntime")
    import onnxruntime

    try:
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    except Exception as error:  # its exceptions share no other base
        raise DataError(path, "network", f"unreadable ({first_line(error)})", "an ONNX network") from error
    entry, out = session.get_inputs()[0], session.get_outputs()[0]
    if len(session.get_inputs()) != 1 or len(entry.shape) != 4 or entry.shape[1] != 3 or entry.type != "tensor(float)":
        raise DataError(path, "input", f"{entry.type} {entry.shape}", "one float picture (1, 3, rows, columns)")
    rows, columns = (size if isinstance(size, int) else None for size in entry.shape[2:])

    def run(picture: NDArray[np.uint8]) -> Segmented:
        height, width = picture.shape[:2]
        given = _normalised(resized(picture, rows or height, columns or width))
        said = session.run([out.name], {entry.name: given})[0][0]
        return _said(path, said, (height, width))

    scores = "float" in out.type
    count = out.shape[1] if scores and isinstance(out.shape[1], int) else None
    return Segmenter(run, count, probabilities=scores)


def _tflite(path: Path) -> Segmenter:
    require(path, "segment", "ai_edge_litert.interpreter")
    from ai_edge_litert import interpreter

    try:
        network = interpreter.Interpreter(str(path))
        network.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        raise DataError(path, "network", f"unreadable ({first_line(error)})", "a TFLite network") from error
    entry, out = network.get_input_details()[0], network.get_output_details()[0]
    shape, quantised = tuple(entry["shape"].tolist()), entry["dtype"] is np.uint8
    if len(shape) != 4 or shape[3] != 3 or entry["dtype"] not in (np.uint8, np.float32):
        raise DataError(path, "input", f"{entry['dtype'].__name__} {shape}", "uint8 or float (1, rows, columns, 3)")
    scale, zero = out["quantization"]

    def run(picture: NDArray[np.uint8]) -> Segmented:
        small = resized(picture, shape[1], shape[2])
        given = small[None] if quantised else np.ascontiguousarray(_normalised(small).transpose(0, 2, 3, 1))
        network.set_tensor(entry["index"], given)
        network.invoke()
        said = network.get_tensor(out["index"])[0]
        if said.ndim == 3 and said.shape[2] > 1:
            said = said.astype(np.float32).transpose(2, 0, 1)
            said = (said - zero) * scale if scale else said
        return _said(path, said, picture.shape[:2])

    form = tuple(out["shape"].tolist())
    scores = len(form) == 4 and form[3] > 1
    return Segmenter(run, form[3] if scores else None, probabilities=scores)


def _said(path: Path, said: NDArray[Any], size: tuple[int, int]) -> Segmented:
    """An output without its first axis: scores (C, h, w), or ids (h, w), (1, h, w) or (h, w, 1)."""
    if said.ndim == 3 and said.shape[0] > 1 and np.issubdtype(said.dtype, np.floating):
        return decide(torch.from_numpy(np.ascontiguousarray(said)), size)
    ids = said.squeeze()
    if ids.ndim != 2 or not np.issubdtype(ids.dtype, np.integer):
        raise DataError(path, "output", f"{said.dtype} {said.shape}", "scores (classes, h, w) or whole ids (h, w)")
    rows = (2 * np.arange(size[0]) + 1) * ids.shape[0] // (2 * size[0])
    columns = (2 * np.arange(size[1]) + 1) * ids.shape[1] // (2 * size[1])
    return Segmented(ids.astype(np.int64)[rows[:, None], columns], None)


def _normalised(picture: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(1, 3, h, w) float32."""
    colours = ((picture / 255.0 - np.array(MEAN)) / np.array(DEVIATION)).astype(np.float32)
    return np.ascontiguousarray(colours.transpose(2, 0, 1)[None])


def _some(names: Any) -> str:
    found = sorted(names)
    return ", ".join(found[:3]) + (f" and {len(found) - 3} more" if len(found) > 3 else "")
