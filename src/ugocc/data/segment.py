"""The verb ``data segment``: ten-class maps of a fleet's pictures by any pretrained 2D segmentation network.

A teacher for 2D semantics on fleets that nobody labelled: no human label of the fleet is looked at.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ugocc.data.frame import Frame
from ugocc.data.images import read_bytes
from ugocc.data.segment_networks import Segmenter, load_network, resized
from ugocc.data.source import open_fleet
from ugocc.data.teacher_maps import MapsCard, map_path, open_maps, write_map
from ugocc.devices import device_of
from ugocc.errors import DataError, check_least
from ugocc.labels import CITYSCAPES_TRAIN, CLASSES, NUM_CLASSES, UNKNOWN
from ugocc.output import check_writable
from ugocc.progress import follow

MAPPINGS = {"cityscapes": tuple(CITYSCAPES_TRAIN[:19].tolist())}
"""Ten-class ids of the classes of well-known label sets."""


@dataclass(frozen=True)
class SegmentSettings:
    """Maps of a fleet by a 2D network."""

    network: Path
    """File of the network: .safetensors or .pth (weights of a torchvision architecture), .onnx or .tflite."""
    architecture: str = "deeplabv3_resnet50"
    """Torchvision architecture of .safetensors and .pth files."""
    mapping: str = "cityscapes"
    """cityscapes (19 train ids), or a JSON file: a list with the ten-class id or name of each class of the network,
    null for unknown."""
    confidence: float = 0.5
    """Pixels below this probability are unknown; without effect for a network that gives no probabilities."""
    width: int = 1024
    """Columns to which pictures are scaled before the network sees them, and of the maps."""
    root: Path = Path("data/embedded/five")
    """Folder of the fleet."""
    split: str = "train"
    """Scenes to segment."""
    name: str | None = None
    """Name of the fleet."""
    every: int = 1
    """Take every so many frames of each scene."""
    limit: int = 0
    """Only the first frames; 0 takes all."""
    out: Path = Path("data/maps")
    """Folder of the maps; splits of one fleet may share it."""
    device: str = "auto"
    """cpu, cuda, mps, or auto: cuda where there is one."""

    def __post_init__(self) -> None:
        if not 0 <= self.confidence <= 1:
            raise DataError("segment", "confidence", self.confidence, "a probability from 0 to 1")
        if self.width < 1:
            raise DataError("segment", "width", self.width, "a number of columns from 1")
        check_least("segment", 0, "a number of frames, or 0 for all", limit=self.limit)


def segment_fleet(settings: SegmentSettings) -> None:
    """Write the maps that are not there yet, and say how many.

    Raises:
        DataError: a network, mapping or fleet that cannot be used, or a folder of maps made in another way.
    """
    device = device_of(None if settings.device == "auto" else settings.device, "segment")
    network = load_network(settings.network, settings.architecture, str(device))
    mapping, classes = read_mapping(settings.mapping)
    if network.classes not in (None, len(classes)):
        expected = f"{len(classes)}, as mapping {mapping} has"
        raise DataError(settings.network, "classes", network.classes, expected)
    card = MapsCard(
        network=settings.network.name,
        sha256=hashlib.sha256(read_bytes(settings.network, "network")).hexdigest(),
        architecture=network.architecture,
        mapping=mapping,
        classes=classes,
        width=settings.width,
        confidence=settings.confidence if network.probabilities else 0.0,
    )
    frames = open_fleet(settings.root, settings.split, settings.name, settings.every)
    check_writable(settings.out)
    count = min(settings.limit or len(frames), len(frames))
    chosen = follow(islice(iter(frames), count), f"segment {frames.fleet}", total=count)
    written, kept = write_maps(chosen, network, card, settings.out)
    print(f"{frames.fleet} ({settings.split}): {written} maps written, {kept} were there, in {settings.out}")


def write_maps(frames: Iterable[Frame], network: Segmenter, card: MapsCard, folder: Path) -> tuple[int, int]:
    """Segment every picture that has no map yet.

    Args:
        frames: of any fleet.
        network: what segments.
        card: how maps are made: its classes, width and confidence are used, the rest is recorded.
        folder: new, or begun with the same card.

    Returns:
        Maps written, and maps that were there.

    Raises:
        DataError: a folder of other maps, a picture that cannot be read, or a class the card does not know.
    """
    open_maps(folder, card)
    written = kept = 0
    for frame in frames:
        for camera in frame.cameras:
            path = map_path(folder, frame.token, camera.name)
            if path.is_file():
                kept += 1
                continue
            write_map(path, segment_picture(camera.image(), network, card, camera.source))
            written += 1
    return written, kept


def segment_picture(picture: NDArray[np.uint8], network: Segmenter, card: MapsCard, where: object) -> NDArray[np.uint8]:
    """Map (rows, card.width) of a picture (height, width, 3), with its proportions.

    Raises:
        DataError: the network said a class the card does not know.
    """
    height, width = picture.shape[:2]
    said = network.run(resized(picture, max(1, round(height * card.width / width)), card.width))
    ids = np.unique(said.classes)
    outside = ids[((ids < 0) | (ids >= len(card.classes))) & (ids != UNKNOWN)]
    if len(outside):
        expected = f"0 to {len(card.classes) - 1} as in mapping {card.mapping}, or {UNKNOWN}"
        raise DataError(where, "class of the network", outside[0], expected)
    table = np.full(256, UNKNOWN, dtype=np.uint8)
    table[: len(card.classes)] = card.classes
    classes = table[said.classes]
    if said.confidence is not None:
        classes[said.confidence < card.confidence] = UNKNOWN
    return classes


def read_mapping(name: str) -> tuple[str, tuple[int, ...]]:
    """Name of a class mapping, and the ten-class id (255 unknown) of each class of the network.

    Args:
        name: one of :data:`MAPPINGS`, or a JSON file.

    Raises:
        DataError: neither, or a file that is not a list of classes.
    """
    if name in MAPPINGS:
        return name, MAPPINGS[name]
    path = Path(name)
    if not path.is_file():
        raise DataError("segment", "mapping", name, f"{', '.join(MAPPINGS)}, or a JSON file")
    text, expected = read_bytes(path, "mapping"), "a list with one class per class of the network"
    try:
        entries = json.loads(text)
    except ValueError as error:
        raise DataError(path, "mapping", f"not JSON ({error})", expected) from error
    if not isinstance(entries, list) or not 0 < len(entries) <= UNKNOWN:
        raise DataError(path, "mapping", type(entries).__name__, expected)
    return path.name, tuple(_class_id(path, place, entry) for place, entry in enumerate(entries))


def _class_id(path: Path, place: int, entry: object) -> int:
    if entry is None:
        return UNKNOWN
    if isinstance(entry, str) and entry in CLASSES:
        return CLASSES.index(entry)
    if isinstance(entry, int) and not isinstance(entry, bool) and (0 <= entry < NUM_CLASSES or entry == UNKNOWN):
        return entry
    expected = f"null, 0 to {NUM_CLASSES - 1}, or one of {', '.join(CLASSES)}"
    raise DataError(path, f"[{place}]", repr(entry), expected)
