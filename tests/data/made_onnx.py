"""A tiny ONNX network written byte by byte: one 1x1 convolution, so that tests need no exporter."""

from __future__ import annotations

import numpy as np


def convolution(weight: np.ndarray, rows: int | str = "rows", columns: int | str = "columns") -> bytes:
    """ONNX file of ``scores = conv1x1(picture, weight)``; weight (classes, 3)."""
    node = _text(1, "picture") + _text(1, "weight") + _text(2, "scores") + _text(4, "Conv")
    kernel = weight.astype(np.float32)[..., None, None]
    tensor = b"".join(_number(1, n) for n in kernel.shape) + _number(2, 1) + _text(8, "weight")
    tensor += _block(9, kernel.tobytes())
    graph = _block(1, node) + _text(2, "one") + _block(5, tensor)
    graph += _block(11, _value("picture", (1, 3, rows, columns)))
    graph += _block(12, _value("scores", (1, len(weight), rows, columns)))
    return _number(1, 8) + _block(7, graph) + _block(8, _text(1, "") + _number(2, 13))


def _value(name: str, shape: tuple[int | str, ...]) -> bytes:
    sizes = b"".join(_block(1, _number(1, n) if isinstance(n, int) else _text(2, n)) for n in shape)
    return _text(1, name) + _block(2, _block(1, _number(1, 1) + _block(2, sizes)))


def _varint(value: int) -> bytes:
    out = b""
    while value > 127:
        out, value = out + bytes([value & 127 | 128]), value >> 7
    return out + bytes([value])


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _block(field: int, content: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(content)) + content


def _text(field: int, content: str) -> bytes:
    return _block(field, content.encode())
