from __future__ import annotations

import hashlib
import io

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from ugocc.data.images import decode_image, decode_png
from ugocc.data.synthetic.encode import depth_png_bytes, jpeg_bytes, npz_bytes, png_bytes, token


@settings(max_examples=20, deadline=None)
@given(arrays(st.sampled_from([np.uint8, np.uint16]), array_shapes(min_dims=2, max_dims=2, max_side=30)))
def test_maps_survive(values: np.ndarray) -> None:
    assert np.array_equal(decode_png(png_bytes(values), "memory"), values)


@settings(max_examples=20, deadline=None)
@given(arrays(np.uint8, array_shapes(min_dims=1, max_dims=3, max_side=9)))
def test_label_arrays_survive_with_their_names(values: np.ndarray) -> None:
    content = npz_bytes({"semantics": values, "mask": values > 3})
    with np.load(io.BytesIO(content), allow_pickle=False) as stored:
        assert stored.files == ["semantics", "mask"]
        assert np.array_equal(stored["semantics"], values)
        assert stored["mask"].dtype == np.bool_


def test_depth_is_in_centimetres_and_zero_means_none() -> None:
    depth = np.array([[0, 0.004, 0.006, 12.345, 655.35, 655.36, 1e6]])
    assert decode_png(depth_png_bytes(depth), "memory").tolist() == [[0, 0, 1, 1234, 65535, 0, 0]]


def test_pictures_keep_the_colour_of_single_pixels() -> None:
    image = np.full((16, 16, 3), 90, np.uint8)
    image[8, 8] = 250, 40, 40
    decoded = decode_image(jpeg_bytes(image), "memory").astype(int)
    assert decoded[8, 8, 0] - decoded[8, 8, 2] > 120  # colour at half resolution would leave 6
    assert np.abs(decoded[:4] - 90).max() < 8


def test_tokens_differ_and_stay() -> None:
    assert token("scene-0001", 3) == hashlib.md5(b"scene-0001/3").hexdigest()
    assert token("a", 1) != token("a", 11)
    assert len(token()) == 32
