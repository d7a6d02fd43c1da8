from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ugocc.data.images import decode_image, decode_png, read_image, read_png
from ugocc.errors import DataError


def smooth_picture(height: int = 40, width: int = 56) -> np.ndarray:
    v, u = np.mgrid[:height, :width].astype(float)
    return np.stack([u * 4, v * 5, 128 + 60 * np.sin(u / 9)], axis=-1).astype(np.uint8)


def encoded(array: np.ndarray, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP"])
def test_every_common_format_gives_rgb_in_the_right_order(kind: str) -> None:
    picture = smooth_picture()
    options = {} if kind in ("PNG", "BMP") else {"quality": 95}
    pixels = decode_image(encoded(picture, kind, **options), "memory", size=(56, 40))
    assert pixels.shape == (40, 56, 3)
    assert pixels.dtype == np.uint8
    assert np.abs(pixels.astype(int) - picture).mean() < (3 if options else 1e-9)


def test_grey_jpeg_becomes_three_equal_channels() -> None:
    pixels = decode_image(encoded(smooth_picture()[..., 0], "JPEG"), "memory")
    assert pixels.shape == (40, 56, 3)
    assert (pixels[..., 0] == pixels[..., 2]).all()


@pytest.mark.parametrize("keep", [0.0, 0.02, 0.5, 0.99])
def test_truncated_file_is_an_error_that_names_it(tmp_path: Path, keep: float) -> None:
    data = encoded(smooth_picture(), "JPEG", quality=95)
    path = tmp_path / "half.jpg"
    path.write_bytes(data[: int(len(data) * keep)])
    with pytest.raises(DataError, match=r"half\.jpg"):
        read_image(path)


def test_early_end_inside_the_picture_is_an_error() -> None:
    data = bytearray(encoded(smooth_picture(), "JPEG", quality=95))
    data[-200:-198] = b"\xff\xd9"
    with pytest.raises(DataError, match="corrupt"):
        decode_image(bytes(data), "memory")


def test_thumbnail_in_the_header_and_padding_are_no_error() -> None:
    exif = b"Exif\0\0II*\0\x08\0\0\0" + encoded(smooth_picture(8, 8), "JPEG")
    data = encoded(smooth_picture(), "JPEG", exif=exif)
    plain = decode_image(encoded(smooth_picture(), "JPEG"), "memory")
    assert np.array_equal(decode_image(data + bytes(16), "memory"), plain)
    bare = encoded(smooth_picture(), "JPEG")
    for trailer in (b"\n", b"\xff\xff", b"the maker's own notes"):
        assert np.array_equal(decode_image(bare + trailer, "memory"), plain)
    assert np.array_equal(decode_image(bare[:2] + b"\xff\xff" + bare[2:], "memory"), plain)  # fill bytes


def test_other_size_than_the_calibration_is_an_error() -> None:
    with pytest.raises(DataError, match="56x40 pixels, expected 40x56"):
        decode_image(encoded(smooth_picture(), "JPEG"), "memory", size=(40, 56))


@pytest.mark.parametrize(
    ("least", "shape"),
    [((56, 40), (40, 56)), ((29, 20), (40, 56)), ((28, 20), (20, 28)), ((10, 10), (10, 14)), ((1, 1), (5, 7))],
)
def test_a_jpeg_comes_no_smaller_than_is_enough_and_is_the_mean_of_its_pixels(
    least: tuple[int, int], shape: tuple[int, int]
) -> None:
    picture = smooth_picture()
    pixels = decode_image(encoded(picture, "JPEG", quality=95, subsampling=0), "memory", (56, 40), least)
    assert pixels.shape == (*shape, 3)
    factor = 40 // shape[0]
    means = picture.reshape(shape[0], factor, shape[1], factor, 3).mean(axis=(1, 3))
    assert np.abs(pixels - means).mean() < 3


def test_a_jpeg_of_odd_size_is_only_divided_into_whole_pixels() -> None:
    assert decode_image(encoded(smooth_picture(36, 52), "JPEG"), "memory", None, (5, 5)).shape == (9, 13, 3)
    assert decode_image(encoded(smooth_picture(35, 52), "JPEG"), "memory", None, (5, 5)).shape == (35, 52, 3)


def test_other_formats_come_as_they_are() -> None:
    picture = smooth_picture()
    assert np.array_equal(decode_image(encoded(picture, "PNG"), "memory", None, (5, 5)), picture)


def test_shrinking_does_not_hide_errors() -> None:
    data = encoded(smooth_picture(), "JPEG")
    with pytest.raises(DataError, match="56x40 pixels, expected 40x56"):
        decode_image(data, "memory", (40, 56), (5, 5))
    with pytest.raises(DataError, match="truncated"):
        decode_image(data[: len(data) // 2], "memory", None, (5, 5))


def test_missing_file_and_text_are_errors(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere\.jpg: image: found No such file"):
        read_image(tmp_path / "nowhere.jpg")
    with pytest.raises(DataError, match="a whole picture"):
        decode_image(b"no picture at all", "memory")


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_png_keeps_every_number(tmp_path: Path, dtype: type) -> None:
    values = np.arange(30 * 20, dtype=np.int64).reshape(20, 30) * 97 % np.iinfo(dtype).max
    path = tmp_path / "map.png"
    path.write_bytes(encoded(values.astype(dtype), "PNG"))
    read = read_png(path, size=(30, 20))
    assert read.dtype == dtype
    assert np.array_equal(read, values)


def test_palette_png_gives_its_indices() -> None:
    picture = Image.fromarray(np.arange(12, dtype=np.uint8).reshape(3, 4), mode="P")
    picture.putpalette([200, 100, 50] * 256)
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    assert np.array_equal(decode_png(buffer.getvalue(), "memory"), np.arange(12).reshape(3, 4))


def test_bad_maps_are_errors() -> None:
    data = encoded(np.arange(4096, dtype=np.uint16).reshape(64, 64), "PNG")
    with pytest.raises(DataError, match="mode RGB"):
        decode_png(encoded(smooth_picture(), "PNG"), "memory")
    with pytest.raises(DataError, match="a whole PNG"):
        decode_png(data[: len(data) // 2], "memory")
    with pytest.raises(DataError, match="64x64 pixels"):
        decode_png(data, "memory", size=(32, 64))


def test_real_pictures_of_both_datasets(real_data: Path) -> None:
    front = read_image(real_data / "nuscenes" / "scene0061_s00" / "CAM_FRONT.jpg", size=(1600, 900))
    with Image.open(real_data / "nuscenes" / "scene0061_s00" / "CAM_FRONT.jpg") as picture:
        assert np.abs(front.astype(int) - np.asarray(picture)).max() <= 2
    waymo = real_data / "waymo" / "segment_1024360143612057520_frame"
    assert read_image(waymo / "SIDE_LEFT.jpg").shape == (886, 1920, 3)
    assert read_png(waymo / "FRONT_panoptic_x1000.png", size=(1920, 1280)).dtype == np.uint16


def test_a_picture_of_more_than_8_bits_is_an_error_and_not_white() -> None:
    data = encoded(np.full((40, 56), 33_000, dtype=np.uint16), "PNG")
    with pytest.raises(DataError, match=r"of mode I.*, expected 8 bits per channel"):
        decode_image(data, "memory")


def test_a_smaller_picture_of_the_wrong_size_is_said_once() -> None:
    with pytest.raises(DataError, match=r"^memory: image: found 56x40 pixels, expected 40x56 pixels as in"):
        decode_image(encoded(smooth_picture(), "JPEG"), "memory", size=(40, 56), least=(10, 10))


def test_a_mask_of_one_bit_is_a_map() -> None:
    mask = np.arange(12).reshape(3, 4) % 3 == 0
    read = decode_png(encoded(mask, "PNG"), "memory")
    assert read.dtype == np.uint8
    assert np.array_equal(read, mask)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_a_picture_that_viewers_turn_is_an_error(kind: str) -> None:
    for turn in range(10):
        exif = Image.Exif()
        exif[0x0112] = turn
        data = encoded(smooth_picture(), kind, exif=exif)
        if turn in range(2, 9):
            with pytest.raises(DataError, match=rf"front\.x: image: found EXIF orientation {turn}, expected pixels"):
                decode_image(data, "front.x")
        else:
            assert decode_image(data, "front.x").shape == (40, 56, 3)


def test_damaged_exif_does_not_damage_the_picture() -> None:
    exif = Image.Exif()
    exif[0x0112] = 1
    exif[0x010F] = "maker" * 20
    data = encoded(smooth_picture(), "JPEG", exif=exif)
    first = data.index(b"Exif")
    there = decode_image(data, "memory")
    random = np.random.default_rng(0)
    for _ in range(200):
        damaged = bytearray(data)
        for place in random.integers(first + 6, first + 100, 3):
            damaged[place] = random.integers(256)
        try:
            assert np.array_equal(decode_image(bytes(damaged), "memory"), there)
        except DataError as error:
            assert "EXIF orientation" in str(error)  # noqa: PT017


@pytest.mark.parametrize("channels", [3, 4])
def test_colour_of_16_bits_is_an_error_and_not_black(channels: int) -> None:
    data = png_of_16_bits(np.full((4, 6, channels), 4095, np.uint16))
    with pytest.raises(DataError, match=r"mode RGBA?;16B, expected 8 bits per channel"):
        decode_image(data, "memory")


def png_of_16_bits(pixels: np.ndarray) -> bytes:
    """Colour in 16 bits, which Pillow does not write."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    height, width, channels = pixels.shape
    header = struct.pack(">IIBBBBB", width, height, 16, 2 if channels == 3 else 6, 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def test_a_picture_too_large_to_be_one_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(DataError, match="front"):
        decode_image(encoded(smooth_picture(), "PNG"), "front")
    with pytest.raises(DataError, match="front"):
        decode_png(encoded(smooth_picture()[..., 0], "PNG"), "front")
