"""What loading costs: six recorded pictures and lidar to the network's size, and from the cache."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from ugocc.bench.timing import Timing, measure
from ugocc.data.dataset import FrameDataset
from ugocc.data.frame import CameraView, Frame, LidarSweep, OccupancyLabel
from ugocc.data.images import read_image
from ugocc.data.transforms import AugmentSettings
from ugocc.geometry.rigid import BODY_T_OPTICAL, yaw_matrix
from ugocc.models.assemble import model_settings

RECORDED: Final = (1600, 900)
POINTS: Final = 35_000
QUALITY: Final = 80
"""Of the JPEGs."""
ROUGHNESS: Final = 1.55
"""Amplitudes of the pictures fall with this power of the frequency."""


def measure_loading(runs: int, seconds: float) -> dict[str, Timing]:
    """Milliseconds of one sample with six pictures of 1600 x 900 and a sweep of 35 000 points, in this process."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        frames = _Frames([_frame(folder)])
        works = {}
        for size in ("full", "laptop"):
            inputs = model_settings("flashocc", size).input
            pictures = f"{inputs.width} x {inputs.height}"
            anew = FrameDataset(frames, inputs, AugmentSettings())
            cached = FrameDataset(frames, inputs, AugmentSettings(), cache=folder / "cache")
            still = FrameDataset(frames, inputs, cache=folder / "cache")
            works[f"decode, resize and augment to {pictures}, with lidar depth"] = lambda data=anew: data[0, 1]
            works[f"from the cache at {pictures}, and augment"] = lambda data=cached: data[0, 1]
            works[f"from the cache at {pictures}, as it is"] = lambda data=still: data[0, 1]
        return measure(works, torch.device("cpu"), runs=runs, seconds=seconds)


class _Frames:
    """Frames in memory."""

    def __init__(self, frames: list[Frame]) -> None:
        self.frames, self.fleet = frames, frames[0].fleet

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, index: int) -> Frame:
        return self.frames[index]

    def __iter__(self) -> Iterator[Frame]:
        return iter(self.frames)

    @property
    def tokens(self) -> list[str]:
        return [frame.token for frame in self.frames]


def _frame(folder: Path) -> Frame:
    """Six pictures, points all around, a street as a label."""
    random = np.random.default_rng(0)
    width, height = RECORDED
    cameras = []
    for i in range(6):
        path = folder / f"{i}.jpg"
        Image.fromarray(_picture(random)).save(path, quality=QUALITY)
        yaw = i * np.pi / 3
        cameras.append(
            CameraView(
                name=f"CAM_{i}",
                image=partial(read_image, path, RECORDED),
                source=str(path),
                width=width,
                height=height,
                intrinsics=np.array([[1266.0, 0, width / 2], [0, 1266.0, height / 2], [0, 0, 1]]),
                distortion=np.zeros(5),
                ego_T_camera=yaw_matrix(yaw, (np.cos(yaw), np.sin(yaw), 1.6)) @ BODY_T_OPTICAL,
                world_T_ego=np.eye(4),
                timestamp_us=0,
                shrinks=True,
            )
        )
    points = np.concatenate([random.normal(0, 15, (POINTS, 2)), random.uniform(-1, 4, (POINTS, 2))], axis=1)
    file = folder / "points.npy"
    np.save(file, points.astype(np.float32))
    lidar = LidarSweep(partial(np.load, file), str(file), np.eye(4), np.eye(4), 0)
    volume = folder / "label.npy"
    np.save(volume, np.where(np.arange(16) < 3, 3, 9).astype(np.uint8) * np.ones((200, 200, 1), np.uint8))
    return Frame("bench", "scene", "frame", 0, np.eye(4), tuple(cameras), lidar, partial(_label, volume))


def _picture(random: np.random.Generator) -> NDArray[np.uint8]:
    """(900, 1600, 3) clouds of colour, rough on every scale: how long decoding takes hangs on how many bytes a JPEG
    has, and these have about as many as pictures of nuScenes."""
    width, height = RECORDED
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width))
    frequency[0, 0] = np.inf
    noise = np.fft.rfft2(random.standard_normal((3, height, width)))
    clouds = np.fft.irfft2(noise / frequency**ROUGHNESS, s=(height, width))
    clouds /= clouds.std(axis=(1, 2), keepdims=True)
    colours = clouds[0] + 0.3 * (clouds - clouds.mean(axis=0))
    return (120 + 50 * colours).clip(0, 255).astype(np.uint8).transpose(1, 2, 0)


def _label(path: Path) -> OccupancyLabel:
    semantics = np.load(path)
    return OccupancyLabel(semantics, semantics < 9, semantics < 9)
