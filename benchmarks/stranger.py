"""A third fleet, on which nothing was ever chosen: vans with four wide cameras, as an own-fleet folder.

    python benchmarks/stranger.py --out data/embedded/van
    ugocc ablate --directions '[six-van]' --variants '[source-only, full, oracle]' --seeds '[0]' --out runs/stranger \\
        --publish results/stranger
    python benchmarks/stranger.py --out data/embedded/van --runs runs/stranger --picture docs/images/van.png

The method's settings were chosen on two fleets. Whether they hold on another is asked of a rig that differs from both:
four pictures of 4:3, 100 degrees wide, 2.4 m above the road; a lidar of 40 beams; late light in a town of its own.
Frames are written as docs/own-fleet.md says, labels for the bar and the report beside them.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ugocc.data.source import open_fleet
from ugocc.data.synthetic.encode import jpeg_bytes, lidar_points, npz_bytes, write_file
from ugocc.data.synthetic.rendered import RenderedFrame
from ugocc.data.synthetic.vocabulary import file_ids
from ugocc.data.town import rigs, style
from ugocc.data.town.scene import DriveSettings, open_drive
from ugocc.demo import filmed, side_by_side
from ugocc.labels import OCC3D_WAYMO
from ugocc.progress import follow
from ugocc.results import write_text
from ugocc.viz.sheet import write_small

FLEET = "van"
SPLITS = {"train": 20, "val": 4, "test": 4}
"""Drives of each, as many as the embedded fleets have."""
FRAME = 10
"""Frame of the first test drive that the picture shows."""


def _camera(name: str, yaw: float, x: float, y: float) -> rigs.CameraSpec:
    return rigs.CameraSpec(name, 1280, 960, 537.0, (645.0, 470.0), (x, y, 2.4), yaw)


VAN = rigs.Rig(
    cameras=(
        _camera("front", 0, 2.1, 0.05),
        _camera("left", 95, 1.2, 0.95),
        _camera("right", -95, 1.2, -0.95),
        _camera("rear", 180, -2.9, 0.0),
    ),
    lidar_position=(0.3, 0.0, 2.75),
    lidar_yaw=0.0,
    inclinations=tuple(np.linspace(7.0, -25.0, 40).tolist()),
    lidar_columns=1000,
    lidar_range=80.0,
)
LATE = replace(
    style.STYLES["five"],
    spacing=(60.0, 92.0), street=5.8, gaps=0.22, trees=0.7, parked=0.5,
    facades=((0.58, 0.55, 0.52), (0.40, 0.42, 0.45), (0.66, 0.50, 0.40), (0.52, 0.38, 0.30)),
    asphalt=(0.17, 0.17, 0.18), sun_height=(14.0, 30.0), sun=(1.55, 1.25, 0.95), sky=(0.44, 0.50, 0.62),
    haze=(0.86, 0.80, 0.74), zenith=(0.30, 0.42, 0.68), balance=(0.97, 1.0, 1.05), gamma=2.1, noise=0.016,
)  # fmt: skip


def introduce() -> None:
    """Make the fleet known to the renderer of this process."""
    rigs.RIGS[FLEET] = VAN
    style.STYLES[FLEET] = LATE


def render_drive(out: Path, split: str, number: int, settings: DriveSettings) -> list[dict[str, Any]]:
    """Render a drive and write its files; returns its lines of the manifest."""
    introduce()
    drive = open_drive(FLEET, f"{split}-{number:02d}", 0, settings)
    return [_write(out, split, drive.render(index)) for index in range(settings.frames)]


def _write(out: Path, split: str, frame: RenderedFrame) -> dict[str, Any]:
    token = f"{frame.scene}_{frame.index:03d}"
    cameras = []
    for camera in frame.cameras:
        image = f"images/{camera.name}/{token}.jpg"
        write_file(out / image, jpeg_bytes(camera.image))
        cameras.append({"name": camera.name, "image": image})
    points, label = f"lidar/{token}.npy", f"occupancy/{token}.npz"
    (out / points).parent.mkdir(parents=True, exist_ok=True)
    np.save(out / points, lidar_points(frame.lidar).astype(np.float32))
    classes = OCC3D_WAYMO[file_ids("occ3d_waymo")[frame.occupancy]]
    masks = {name: getattr(frame, name).astype(np.uint8) for name in ("camera_mask", "lidar_mask")}
    write_file(out / label, npz_bytes({"semantics": classes, **masks}))
    return {
        "token": token,
        "scene": frame.scene,
        "timestamp_us": frame.timestamp_us,
        "split": split,
        "world_T_ego": frame.world_T_ego.tolist(),
        "cameras": cameras,
        "lidar": {"points": points},
        "occupancy": label,
    }


def about(settings: DriveSettings) -> dict[str, Any]:
    """What all frames share: ``fleet.json``."""
    rig = {}
    for camera in VAN.cameras:
        width, height = camera.size_at(settings.width)
        intrinsics, pose = camera.intrinsics(settings.width).tolist(), camera.ego_T_camera().tolist()
        rig[camera.name] = {"width": width, "height": height, "intrinsics": intrinsics, "ego_T_camera": pose}
    lidar = {"columns": ["x", "y", "z"], "ego_T_lidar": VAN.ego_T_lidar().tolist()}
    return {"name": FLEET, "rig": rig, "lidar": lidar}


def lines(out: Path, settings: DriveSettings, drives: dict[str, int]) -> Iterator[list[dict[str, Any]]]:
    """Lines of the manifest, drive by drive, as they are rendered on all cores."""
    asked = [(split, number) for split, count in drives.items() for number in range(count)]
    with ProcessPoolExecutor(mp_context=multiprocessing.get_context("spawn")) as pool:
        jobs = [pool.submit(render_drive, out, split, number, settings) for split, number in asked]
        for job in follow(jobs, f"render {FLEET}", total=len(jobs)):
            yield job.result()


def draw(fleet: Path, runs: Path, picture: Path) -> None:
    """A test frame of the fleet: cameras; volumes before and after adaptation, and with labels of the fleet; truth."""
    folders = {"before": "plain/six/seed-0", "after": "six-van/seed-0/full"}
    folders[f"with labels of {FLEET}"] = "plain/van/seed-0"
    models = {caption: runs / folder / "model" for caption, folder in folders.items()}
    frame = filmed(open_fleet(fleet, "test", FLEET), scenes=1)[FRAME]
    write_small(picture, next(side_by_side(models, FLEET, [frame])))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(f"data/embedded/{FLEET}"), help="folder of the fleet")
    parser.add_argument("--drives", type=int, nargs=3, default=list(SPLITS.values()), help="of train, val and test")
    parser.add_argument("--frames", type=int, default=20, help="frames of a drive")
    parser.add_argument("--runs", type=Path, default=Path("runs/stranger"), help="what ugocc ablate wrote")
    parser.add_argument("--picture", type=Path, help="draw a test frame, and render nothing")
    options = parser.parse_args()
    if options.picture is not None:
        return draw(options.out, options.runs, options.picture)
    settings = DriveSettings(frames=options.frames)
    drives = dict(zip(SPLITS, options.drives, strict=True))
    manifest = [json.dumps(line) for drive in lines(options.out, settings, drives) for line in drive]
    write_text(options.out / "fleet.json", json.dumps(about(settings), indent=1) + "\n")
    write_text(options.out / "manifest.jsonl", "\n".join(manifest) + "\n")


if __name__ == "__main__":
    main()
