"""Does the photometric loss teach depth on real pictures? Three frames a second apart, six cameras, no lidar.

    python benchmarks/real_depth.py --data DIR

A network that starts from random weights is trained on three real consecutive frames with nothing but the photometric
loss and its smoothness, and is then measured against the lidar of those frames. Lidar is only opened by the
measurement: the pictures come from a dataset that takes labels away before they are read. The network sees the very
pictures it is measured on, so this says that the loss leads to metric depth, and nothing about other streets.

What was chosen, and why:

- All rows of the pictures but the top six are used (264 x 160), for most of what the lidar reaches is above the bottom
  96 rows; the own car is masked with outlines drawn by hand.
- The bins are 48 of equal ratio from 1.5 to 100 m of the reference camera: the side cameras' focal length is so short
  that the default 45 m would end at 32 m. Depth is canonical, so the net is told where the road is.
- The car moves 1.3 m between frames, which is 9 pixels of the side cameras at 20 m. The error at full size has one of
  its many minima every few pixels; averaged over four sizes, halved each time, it leads from anywhere to the right one.
- Every frame is a target in turn, compared with the same camera, its neighbours, and its neighbours at other times.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path
from statistics import fmean
from typing import Any, Final, NamedTuple

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from ugocc.allocator import keep_freed_memory
from ugocc.data.batch import Batch
from ugocc.data.dataset import FrameDataset
from ugocc.data.fleet import FleetSource
from ugocc.data.prepare import InputSettings
from ugocc.evaluation.depth import DepthMetrics
from ugocc.losses.photometric import PhotometricSettings, depth_at_pixels
from ugocc.losses.references import OtherTime, ReferenceSettings, prediction_photometric_loss, references_of
from ugocc.models.assemble import OccupancyModel, build_model, model_settings
from ugocc.models.depth_net import DepthBinSettings, DepthNetSettings
from ugocc.results import commit, machine, replace_block, versions, write_text
from ugocc.viz.canvas import PAPER, Picture, panel, write_picture
from ugocc.viz.overlay import depth_scale, draw_depth, draw_points

BASE: Final = model_settings("flashocc", "laptop")
DEPTH_NET: Final = BASE.depth_net or DepthNetSettings()
FRAMES: Final = ("scene_02_f0", "scene_02_f1", "scene_02_f2")
OWN_CAR: Final[dict[str, tuple[tuple[tuple[float, float], ...], ...]]] = {
    "CAMERA_05": (
        ((0, 1), (0.05, 0.97), (0.2, 0.92), (0.35, 0.88), (0.45, 0.855), (0.6, 0.845), (0.8, 0.88), (1, 0.85), (1, 1)),
    ),
    "CAMERA_06": (
        ((0, 1), (0, 0.855), (0.17, 0.92), (0.3, 0.885), (0.45, 0.865), (0.6, 0.89), (0.75, 0.935), (0.93, 1)),
    ),
    "CAMERA_07": (
        ((0, 0), (0.29, 0), (0.14, 0.11), (0, 0.26)),
        ((0, 1), (0, 0.62), (0.2, 0.665), (0.35, 0.715), (0.5, 0.775), (0.75, 0.875), (0.9, 0.94), (1, 0.985), (1, 1)),
    ),
    "CAMERA_08": (
        ((0.68, 0), (0.84, 0.1), (0.93, 0.19), (1, 0.28), (1, 0)),
        ((0, 1), (0, 0.985), (0.24, 0.875), (0.5, 0.775), (0.75, 0.685), (1, 0.605), (1, 1)),
    ),
    "CAMERA_09": (
        ((0.48, 0), (0.6, 0.03), (0.8, 0.065), (1, 0.065), (1, 0)),
        ((0, 1), (0, 0.88), (0.1, 0.83), (0.25, 0.79), (0.5, 0.78), (0.65, 0.8), (0.75, 0.84), (0.85, 0.92), (0.9, 1)),
    ),
}
"""Outlines of the own car where a camera sees it, drawn by hand, in shares of the picture's width and height."""


@dataclass(frozen=True)
class Settings:
    """Of the network and its training."""

    images: InputSettings = InputSettings(264, 160, BASE.input.grid)  # noqa: RUF009 (all of these are frozen)
    bins: DepthBinSettings = DepthBinSettings(1.5, 100.0, 48, "log")  # noqa: RUF009
    photometric: PhotometricSettings = PhotometricSettings(scales=4, smoothness=1e-2)  # noqa: RUF009
    references: ReferenceSettings = ReferenceSettings(spatio_temporal=True)  # noqa: RUF009
    steps: int = 150
    """One frame, six cameras, each."""
    rate: float = 1e-3
    """Peak learning rate of Adam, reached after a tenth of the steps and lowered to 0 along a cosine."""


def own_fleet(data: Path, root: Path) -> FleetSource:
    """The recording as a folder of the own-fleet layout (docs/own-fleet.md), own-car masks included."""
    lines = []
    for name in FRAMES:
        frame = json.loads((data / name / "frame.json").read_text(encoding="utf-8"))
        (root / name).symlink_to((data / name).resolve())
        np.load(data / name / "LIDAR.npz")["points"].astype("<f4").tofile(root / f"{name}.bin")
        line = {
            "token": name,
            "scene": frame["scene"],
            "timestamp_us": microseconds(frame["timestamp"]),
            "world_T_ego": frame["T_world_ego"],
            "lidar": {"points": f"{name}.bin", "ego_T_lidar": frame["lidar"]["T_ego_lidar"]},
            "cameras": [camera_entry(root, name, camera) for camera in frame["cameras"]],
        }
        lines.append(json.dumps(line))
    (root / "manifest.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return FleetSource(root, fleet="real")


def camera_entry(root: Path, frame: str, camera: dict[str, Any]) -> dict[str, Any]:
    entry = {
        "name": camera["name"],
        "image": f"{frame}/{camera['image']}",
        "width": camera["width"],
        "height": camera["height"],
        "intrinsics": camera["K"],
        "ego_T_camera": camera["T_ego_cam"],
        "world_T_ego": camera["T_world_ego"],
        "timestamp_us": microseconds(camera["timestamp"]),
    }
    if camera["name"] in OWN_CAR:
        size = np.array([camera["width"], camera["height"]])
        mask = Image.new("L", (camera["width"], camera["height"]))
        for outline in OWN_CAR[camera["name"]]:
            ImageDraw.Draw(mask).polygon([tuple(np.array(point) * size) for point in outline], fill=255)
        mask.save(root / f"{camera['name']}.png")
        entry["own_car"] = f"{camera['name']}.png"
    return entry


def microseconds(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp() * 1e6)


class Recording(NamedTuple):
    """The three frames, pictures apart from lidar."""

    batches: list[Batch]
    """Each frame with its six cameras; no lidar in it."""
    truth: list[Tensor]
    """(N, H, W) metres, lidar of each frame, 0 where there is no return or the own car."""


def read(data: Path, images: InputSettings) -> Recording:
    with tempfile.TemporaryDirectory() as folder:
        source = own_fleet(data, Path(folder))
        blind, seeing = FrameDataset(source, images, labelled=False), FrameDataset(source, images)
        places = range(len(source))
        return Recording([blind[i] for i in places], [seeing[i].depth[0] for i in places])


def network(settings: Settings, seed: int) -> OccupancyModel:
    torch.manual_seed(seed)
    depth_net = replace(DEPTH_NET, bins=settings.bins, canonical=True, camera_noise=0.0)
    return build_model(replace(BASE, input=settings.images, depth_net=depth_net))


def train(model: OccupancyModel, batches: Sequence[Batch], settings: Settings) -> list[float]:
    """Photometric loss of every step."""
    here, places = torch.ones(1, dtype=torch.bool), range(len(batches))
    around = [[OtherTime(batches[j], here) for j in (i - 1, i + 1) if j in places] for i in places]
    references = [references_of(batches[i], around[i], settings.references) for i in places]
    optimizer = torch.optim.Adam(model.parameters(), settings.rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, settings.rate, settings.steps, pct_start=0.1)
    losses = []
    model.train()
    for step in range(settings.steps):
        i = step % len(batches)
        depth = model(batches[i]).expected_depth()
        loss = prediction_photometric_loss(depth, batches[i], references[i], settings.photometric).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
    return losses


@torch.no_grad()
def predict(model: OccupancyModel, batches: Iterable[Batch]) -> list[Tensor]:
    """(N, h, w) metres of each frame."""
    model.eval()
    return [model(batch).expected_depth()[0] for batch in batches]


def measure(depths: Iterable[Tensor], truth: Iterable[Tensor]) -> dict[str, float]:
    metric = DepthMetrics()
    for depth, lidar in zip(depths, truth, strict=True):
        metric.update(depth, lidar)
    return metric.compute()


def road(batch: Batch, farthest: float) -> Tensor:
    """(N, H, W) metres to the plane z = 0 of the ego frame, at most ``farthest``, which is also the sky's."""
    rows, columns = batch.images.shape[-2:]
    v, u = torch.meshgrid(torch.arange(rows).double(), torch.arange(columns).double(), indexing="ij")
    pixels = torch.stack([u, v, torch.ones_like(u)]).flatten(1)
    pose = batch.ego_T_camera[0].double()
    falling = -(pose[:, 2:3, :3] @ torch.linalg.inv(batch.pixel_intrinsics()[0].double()) @ pixels)
    depth = pose[:, 2, 3, None, None] / falling.view(-1, rows, columns).clamp(min=1e-6)
    return depth.clamp(max=farthest).float()


def baselines(recording: Recording) -> dict[str, dict[str, float]]:
    """What needs no network. The "best" ones are told by the lidar how far to guess."""
    batches, truth = recording.batches, recording.truth
    guesses = range(5, 51)
    constant = {d: measure([torch.full_like(t, d) for t in truth], truth) for d in guesses}
    capped = {d: measure([road(b, d) for b in batches], truth) for d in guesses}

    def best(tried: dict[int, dict[str, float]]) -> int:
        return min(tried, key=lambda d: tried[d]["abs_rel"])

    return {
        f"the best constant, {best(constant)} m": constant[best(constant)],
        "a flat road, 50 m above the horizon": capped[50],
        f"a flat road, nothing beyond the best {best(capped)} m": capped[best(capped)],
    }


def picture(batch: Batch, lidar: Tensor, before: Tensor, after: Tensor) -> Picture:
    """Three cameras, one a column: what it saw, depth before and after training, lidar."""
    rows, columns = batch.images.shape[-2:]
    tall, wide, gap = 2 * rows, 2 * columns, 10
    key = depth_scale(3 * wide + 2 * gap)
    page = Image.new("RGB", (3 * wide + 4 * gap, 4 * tall + 6 * gap + key.shape[0]), PAPER)
    page.paste(Image.fromarray(key), (gap, 4 * tall + 5 * gap))
    for column, camera in enumerate((1, 0, 3)):
        photo = np.ascontiguousarray((batch.images[0, camera] * 255).byte().permute(1, 2, 0).numpy())
        photo = np.asarray(Image.fromarray(photo).resize((wide, tall), Image.Resampling.BICUBIC))
        v, u = lidar[camera].nonzero().T
        pixels = torch.stack([2 * u + 0.5, 2 * v + 0.5], dim=1).double().numpy()
        returns = draw_points((photo * 0.4).astype(np.uint8), pixels, lidar[camera][v, u].numpy(), radius=2)
        depths = [at_pixels(depth[camera], (tall, wide)) for depth in (before, after)]
        shown = [photo, *(draw_depth(depth) for depth in depths), returns]
        captions = (
            "camera",
            "depth before training",
            "depth after training, pictures only",
            "lidar, never shown to it",
        )
        for row, (image, caption) in enumerate(zip(shown, captions, strict=True)):
            panel(page, image, gap + column * (wide + gap), gap + row * (tall + gap), caption)
    return np.asarray(page)


def at_pixels(depth: Tensor, size: tuple[int, int]) -> np.ndarray:
    return depth_at_pixels(depth[None], size)[0].numpy()


def table(rows: dict[str, list[dict[str, float]]]) -> str:
    """Markdown: a line per row, the mean over its runs and their range."""
    columns = {"abs_rel": "AbsRel", "rmse": "RMSE, m", "delta1": "δ < 1.25"}
    columns |= {f"scaled_{name}": f"{title}, scaled" for name, title in columns.items() if name != "rmse"}
    lines = ["| | " + " | ".join(["seeds", *columns.values()]) + " |", "|---|" + "--:|" * (1 + len(columns))]
    for name, runs in rows.items():
        cells = [str(len(runs)) if name in NETWORKS else "-"]
        for column in columns:
            values = [run[column] for run in runs]
            spread = f" ({min(values):.3f} to {max(values):.3f})" if len(values) > 1 else ""
            cells.append(f"{fmean(values):.3f}{spread}")
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


NETWORKS: Final = ("untrained", "trained", "trained, pictures at full size only")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder that holds ddad/scene_02_f0")
    parser.add_argument("--out", type=Path, default=Path("results/real-depth/results.json"), help="result file")
    parser.add_argument("--picture", type=Path, default=Path("docs/images/real-depth.png"), help="picture to write")
    parser.add_argument("--page", type=Path, default=Path("docs/self-supervised-depth.md"), help="page with the table")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="a network is trained for each")
    parser.add_argument("--steps", type=int, default=Settings().steps, help="optimisation steps")
    options = parser.parse_args()
    keep_freed_memory()
    settings = Settings(steps=options.steps)
    full_size = replace(settings, photometric=replace(settings.photometric, scales=1))
    recording = read(options.data / "ddad", settings.images)
    rows: dict[str, list[dict[str, float]]] = {name: [] for name in NETWORKS}
    runs = []
    for seed in options.seeds:
        # One seed is enough to see what the smaller pictures are for.
        for name, chosen in list(zip(NETWORKS[1:], (settings, full_size), strict=True))[: 2 if seed == 0 else 1]:
            model, began = network(chosen, seed), time.process_time()
            before = predict(model, recording.batches)
            losses = train(model, recording.batches, chosen)
            after = predict(model, recording.batches)
            run = {"name": name, "seed": seed, "loss_first": fmean(losses[:9]), "loss_last": fmean(losses[-9:])}
            run |= {"processor_seconds": round(time.process_time() - began)}
            run |= {"untrained": measure(before, recording.truth), "trained": measure(after, recording.truth)}
            runs.append(run)
            rows[name].append(run["trained"])
            print(f"{name}, seed {seed}: AbsRel {run['untrained']['abs_rel']:.3f} to {run['trained']['abs_rel']:.3f}")
            if name == "trained":
                rows["untrained"].append(run["untrained"])
            if len(runs) == 1:
                write_picture(options.picture, picture(recording.batches[1], recording.truth[1], before[1], after[1]))
    simple = baselines(recording)
    block = table({name: found for name, found in rows.items() if found} | {k: [v] for k, v in simple.items()})
    print(block)
    content = {
        "runs": runs,
        "baselines": simple,
        "settings": asdict(settings),
        "frames": FRAMES,
        "threads": torch.get_num_threads(),
        "commit": commit(),
        "versions": versions(),
        "machine": machine(),
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    write_text(options.out, json.dumps(content, indent=1) + "\n")
    write_text(options.page, replace_block(options.page.read_text(encoding="utf-8"), "results:real-depth", block))


if __name__ == "__main__":
    main()
