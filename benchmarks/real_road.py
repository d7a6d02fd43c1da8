"""Is the road where the road is? Models that have only ever seen rendered towns, on real pictures.

    python benchmarks/real_road.py --data DIR

Real frames of two rigs are predicted as ``ugocc predict`` does it, with batch-norm statistics of the rig's own frames.
Ground that is known from elsewhere is then looked up in the predicted volume: lidar returns within 0.3 m of the ground
plane where there is lidar (nuScenes), and pixels that people labelled road or sidewalk, carried to the ground plane,
where there is none (Waymo). Beside the share of them that lies in columns predicted as drivable surface or sidewalk
stands chance: the share of all columns in the pictures that are predicted so. Real recordings are not part of the
repository; the pictures show predictions and ground points only.
"""

from __future__ import annotations

import argparse
import json
import runpy
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from ugocc.adaptation.views import views_of
from ugocc.adaptation.visibility import voxels_in_pictures
from ugocc.data.frame import Frame
from ugocc.data.prepare import prepare
from ugocc.data.source import open_fleet
from ugocc.data.transforms import make_sample
from ugocc.geometry.camera import pixel_rays, undistort
from ugocc.geometry.rigid import transform
from ugocc.labels import DRIVABLE, SIDEWALK
from ugocc.results import commit, machine, replace_block, versions, write_text
from ugocc.serving.predictor import PredictedVolume, Predictor
from ugocc.viz.bev import draw_bev
from ugocc.viz.canvas import PAPER, Picture, panel, write_picture
from ugocc.viz.overlay import legend
from ugocc.viz.painter import draw_volume
from ugocc.viz.rig import on_plan

GROUND: Final = (DRIVABLE, SIDEWALK)
NEAR_GROUND: Final = 0.3  # metres
RINGS: Final = ((0, 10), (10, 20))
HELPERS: Final = Path(__file__).resolve().parents[1] / "tests" / "data"


def frames_of(data: Path, folder: Path) -> Iterator[tuple[str, Frame]]:
    """The real frames, written as folders that the readers read."""
    nuscenes = runpy.run_path(str(HELPERS / "real_nuscenes.py"))["build_real_nuscenes"](data, folder / "nuscenes")
    waymo = runpy.run_path(str(HELPERS / "real_fleets.py"))["build_real_waymo"](data, folder / "waymo")
    for split in ("train", "val"):
        for frame in open_fleet(nuscenes, split):
            yield "nuScenes", frame
    for frame in open_fleet(waymo, "train"):
        yield "Waymo", frame


def ground_points(frame: Frame) -> tuple[str, NDArray[np.float64]]:
    """What is known of the ground, and (n, 2) x and y in metres, key ego frame."""
    if frame.lidar is not None:
        points = transform(frame.ego_T_lidar(frame.lidar), frame.lidar.points()[:, :3])
        return "lidar", points[np.abs(points[:, 2]) < NEAR_GROUND, :2]
    found = [np.zeros((0, 2))]
    for camera in frame.cameras:
        if camera.semantics is None:
            continue
        labels = camera.semantics()[::4, ::4]
        rays = pixel_rays(camera.width, camera.height, camera.intrinsics)[::4, ::4][np.isin(labels, GROUND)]
        rays = undistort(rays[:, :2], camera.distortion)
        directions = np.concatenate([rays, np.ones((len(rays), 1))], axis=1) @ frame.ego_T_camera(camera)[:3, :3].T
        origin = frame.ego_T_camera(camera)[:3, 3]
        down = directions[:, 2] < -1e-3
        found.append((origin - directions[down] * (origin[2] / directions[down, 2:]))[:, :2])
    return "labelled pixels", np.concatenate(found)


def measure(predictor: Predictor, frame: Frame) -> tuple[dict[str, Any], PredictedVolume, NDArray[np.float64]]:
    """Shares of ground points inside predicted ground, and by chance."""
    settings = predictor.model.settings.input
    predicted = predictor(frame)
    grid = predicted.grid
    columns = np.isin(predicted.classes, GROUND).any(axis=2)
    sample = make_sample(prepare(frame, settings, labelled=False), settings)
    layer = int((0.0 - grid.lower[2]) / grid.voxel_size)
    seen = voxels_in_pictures(views_of(sample), grid)[0, :, :, layer].numpy()
    kind, points = ground_points(frame)
    cells = np.floor((points - grid.lower[:2]) / grid.voxel_size).astype(int)
    inside = ((cells >= 0) & (cells < grid.shape[:2])).all(axis=1)
    points, cells = points[inside], cells[inside]
    kept = seen[cells[:, 0], cells[:, 1]]
    points, hit = points[kept], columns[cells[kept, 0], cells[kept, 1]]
    far = np.linalg.norm(points, axis=1)
    centres = [grid.lower[i] + (np.arange(grid.shape[i]) + 0.5) * grid.voxel_size for i in (0, 1)]
    distance = np.hypot(*np.meshgrid(*centres, indexing="ij"))
    row: dict[str, Any] = {"frame": frame.token, "ground": kind, "points": len(points), "share": _share(hit)}
    row["chance"] = _share(columns[seen])
    for low, high in RINGS:
        ring = (far >= low) & (far < high)
        row[f"share {low}-{high} m"] = _share(hit[ring])
        row[f"chance {low}-{high} m"] = _share(columns[seen & (distance >= low) & (distance < high)])
    return row, predicted, points


def _share(values: NDArray[np.bool_]) -> float | None:
    return round(float(values.mean()), 4) if len(values) else None


def picture(predicted: PredictedVolume, points: NDArray[np.float64], caption: str) -> Picture:
    """The predicted volume, and from above with the ground points; the classes' colours below."""
    size, grid = (480, 480), predicted.grid
    above = Image.fromarray(draw_bev(predicted.classes, grid, size))
    draw = ImageDraw.Draw(above)
    for u, v in on_plan(points[:: max(len(points) // 3000, 1)], grid, np.array(above)):
        draw.rectangle([u - 0.5, v - 0.5, u + 0.5, v + 0.5], fill=(20, 20, 30))
    key = legend(768 + 16 + 480)
    page = Image.new("RGB", (16 * 3 + 768 + 480, 16 * 3 + 480 + key.shape[0]), PAPER)
    page.paste(Image.fromarray(key), (16, 16 * 2 + 480))
    panel(page, draw_volume(predicted.classes, grid, (768, 480)), 16, 16, caption)
    panel(page, np.array(above), 16 * 2 + 768, 16, "black: known ground")
    return np.array(page)


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown: shares in percent, and in brackets by chance."""
    rings = [f"{low}-{high} m" for low, high in RINGS]
    lines = ["| rig | model | frame | ground known from | points | all | " + " | ".join(rings) + " |"]
    lines.append("|---|---|---|---|--:|--:|" + "--:|" * len(rings))
    for row in sorted(rows, key=lambda row: (row["rig"], row["frame"])):
        cells = [
            _percent(row["share"], row["chance"]),
            *(_percent(row[f"share {r}"], row[f"chance {r}"]) for r in rings),
        ]
        lines.append(
            "| "
            + " | ".join(
                [row["rig"], row["model"]["variant"], row["frame"][:12], row["ground"], str(row["points"]), *cells]
            )
            + " |"
        )
    return "\n".join(lines) + "\n"


def _percent(share: float | None, chance: float | None) -> str:
    return "-" if share is None or chance is None else f"{100 * share:.1f} ({100 * chance:.1f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the real recordings")
    parser.add_argument("--models", type=Path, nargs="+", default=[Path("laptop")], help="model folders or names")
    parser.add_argument("--out", type=Path, default=Path("results/real-road/results.json"), help="result file")
    parser.add_argument("--page", type=Path, default=Path("docs/results.md"), help="page with a report:real-road block")
    parser.add_argument("--pictures", type=Path, default=Path("docs/images"), help="folder for real-road-RIG.png")
    options = parser.parse_args()
    predictors = [Predictor.from_pretrained(model) for model in options.models]
    rows, drawn = [], set()
    with tempfile.TemporaryDirectory() as folder:
        found = list(frames_of(options.data.resolve(), Path(folder)))
        for rig, frame in found:
            for predictor in predictors:
                predictor.normalise_by(other for name, other in found if name == rig)
                row, predicted, points = measure(predictor, frame)
                if not row["points"]:
                    continue
                about = {
                    key: predictor.about.get(key)
                    for key in ("variant", "train_fleet", "target_fleet", "weights_sha256")
                }
                rows.append({"rig": rig, "model": about, **row})
                if rig not in drawn:
                    drawn.add(rig)
                    path = options.pictures / f"real-road-{rig.lower()}.png"
                    write_picture(path, picture(predicted, points, f"{rig}, real frame"))
    block = table(rows)
    print(block)
    content = {"rows": rows, "commit": commit(), "versions": versions(), "machine": machine()}
    options.out.parent.mkdir(parents=True, exist_ok=True)
    write_text(options.out, json.dumps(content, indent=1) + "\n")
    text = options.page.read_text(encoding="utf-8")
    write_text(options.page, replace_block(text, "report:real-road", block))


if __name__ == "__main__":
    main()
