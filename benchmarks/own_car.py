"""What a bonnet in the pictures costs, and what masking it saves.

    python benchmarks/own_car.py

The embedded fleets show nothing of their own cars. Here a bonnet is painted over the lowest fifth of every picture, and
the packaged model predicts val scenes four times: from the pictures as they are; with the bonnet and no mask; with the
mask, as ``own_car`` gives it; and with black where the bonnet was. Beside mIoU stands how many voxels of vehicles it
sees within 5 m of the car that are none, the ghosts of the bonnet.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from ugocc.data.frame import CameraView, Frame
from ugocc.data.occupancy import label_on_grid
from ugocc.data.source import open_fleet
from ugocc.evaluation.occupancy import MapTenClass
from ugocc.labels import VEHICLE
from ugocc.progress import follow
from ugocc.results import commit, machine, replace_block, versions, write_text
from ugocc.serving.predictor import Predictor
from ugocc.training.statistics import spaced

NEAR: Final = 5.0
"""Metres around the car in which a vehicle that is none is a ghost."""
FORMS: Final = ("no bonnet", "bonnet", "bonnet, `own_car`", "black in its place")


def bonnet(view: CameraView) -> NDArray[np.bool_]:
    """(height, width) the lowest fifth of the picture, less towards its sides."""
    row, column = np.mgrid[: view.height, : view.width]
    sideways = column / view.width * 2 - 1
    return np.asarray(row > view.height * (0.8 + 0.1 * sideways**2))


def forms(view: CameraView) -> Iterator[CameraView]:
    """The camera in every form."""
    picture, own = view.image(), bonnet(view)
    down = (np.arange(view.height) / view.height - 0.8).clip(0)[:, None, None]
    blue = (np.array([45, 50, 81]) + np.array([150, 165, 270]) * down).clip(0, 255)  # brighter towards the screen wash
    painted = np.where(own[..., None], blue, picture).astype(np.uint8)
    black = np.where(own[..., None], 0, picture).astype(np.uint8)
    for pixels, mask in ((picture, None), (painted, None), (painted, own), (black, None)):
        hides = None if mask is None else partial(np.copy, mask)
        yield replace(view, image=partial(np.copy, pixels), own_car=hides, shrinks=False)


def measure(predictor: Predictor, frames: list[Frame], fleet: str) -> list[dict[str, object]]:
    """Scores of every form."""
    scores, ghosts = [MapTenClass() for _ in FORMS], [0] * len(FORMS)
    near = (np.abs(predictor.model.settings.input.grid.centres()[..., :2]) < NEAR).all(axis=-1)
    for frame in follow(frames, f"bonnets on {fleet}"):
        assert frame.occupancy is not None
        cameras = zip(*(forms(view) for view in frame.cameras), strict=True)
        for form, changed in enumerate(cameras):
            predicted = predictor(replace(frame, cameras=changed))
            label = label_on_grid(frame.occupancy(), frame.occupancy_grid, predicted.grid, where=frame.token)
            volumes = (predicted.classes, label.semantics, label.camera_mask)
            scores[form].update(*(torch.from_numpy(np.ascontiguousarray(v))[None] for v in volumes))
            ghosts[form] += int((near & (predicted.classes == VEHICLE) & (label.semantics != VEHICLE)).sum())
    return [
        {"fleet": fleet, "pictures": form, "miou": round(score.compute().miou, 2), "ghosts": ghost}
        for form, score, ghost in zip(FORMS, scores, ghosts, strict=True)
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=Path("laptop"), help="model folder or name")
    parser.add_argument("--fleets", type=Path, default=Path("data/embedded"), help="folder of the embedded fleets")
    parser.add_argument("--frames", type=int, default=20, help="frames of each fleet")
    parser.add_argument("--out", type=Path, default=Path("results/own-car/results.json"), help="result file")
    parser.add_argument("--page", type=Path, default=Path("docs/own-fleet.md"), help="page with a report:own-car block")
    options = parser.parse_args()
    rows = []
    for fleet in ("six", "five"):
        frames = open_fleet(options.fleets / fleet, "val")
        predictor = Predictor.from_pretrained(options.model, "cpu", fleet)
        rows += measure(predictor, [frames[i] for i in spaced(len(frames), options.frames)], fleet)
    about = {"model": str(options.model), "weights_sha256": predictor.about["weights_sha256"], "frames": options.frames}
    content = {**about, "rows": rows, "commit": commit(), "versions": versions(), "machine": machine()}
    options.out.parent.mkdir(parents=True, exist_ok=True)
    write_text(options.out, json.dumps(content, indent=1) + "\n")
    lines = ["| fleet | pictures | mIoU | voxels of vehicles that are none, within 5 m |", "|---|---|--:|--:|"]
    lines += [f"| {row['fleet']} | {row['pictures']} | {row['miou']:.1f} | {row['ghosts']} |" for row in rows]
    block = "\n".join(lines) + "\n"
    write_text(options.page, replace_block(options.page.read_text(encoding="utf-8"), "report:own-car", block))
    print(block)


if __name__ == "__main__":
    main()
