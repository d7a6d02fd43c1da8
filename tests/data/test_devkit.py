"""The official nuScenes devkit is asked about the same folders; it needs numpy 1, so it lives in a folder of its own.

That folder is made once (about 20 s) and kept in the user's cache; without a package index the tests are skipped.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ugocc.data.nuscenes import NuScenesSource
from ugocc.data.nuscenes_splits import MINI_VAL, OFFICIAL_VAL
from ugocc.data.synthetic.vocabulary import NAMES, Material
from ugocc.data.synthetic.write_nuscenes import VERSION, write_scene, write_tables
from ugocc.geometry.camera import project
from ugocc.geometry.rigid import inverse, transform
from ugocc.labels import NUSCENES_CATEGORY

# numpy and Shapely are limited by the devkit itself; newer OpenCV releases want numpy 2.
PACKAGES = ("nuscenes-devkit==1.2.0", "opencv-python-headless<4.12")
# A Python that is newer than numpy 1 would compile for minutes.
BUILT = "numpy,scipy,matplotlib,scikit-learn,shapely,pycocotools,opencv-python-headless"


@pytest.fixture(scope="session")
def devkit() -> Path:
    """Folder with the devkit and what it imports."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ugocc"
    place = cache / f"nuscenes-devkit-1.2.0-py3.{sys.version_info.minor}"
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "devkit.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # test processes may arrive together
        if not place.is_dir():
            unfinished = place.with_suffix(".unfinished")
            shutil.rmtree(unfinished, ignore_errors=True)
            pip = [sys.executable, "-m", "pip", "install", "-q", "--target", str(unfinished)]
            pip += [f"--only-binary={BUILT}", *PACKAGES]
            done = subprocess.run(pip, capture_output=True, text=True, timeout=300, check=False)
            if done.returncode:
                pytest.skip(f"the devkit cannot be installed: {done.stderr.strip().splitlines()[-1]}")
            unfinished.rename(place)
    return place


def ask(devkit: Path, root: Path, version: str, tmp_path: Path) -> dict[str, Any]:
    """What the devkit says about a folder (devkit_probe.py)."""
    probe = Path(__file__).with_name("devkit_probe.py")
    answer = tmp_path / "answer.json"
    # -S keeps this environment's packages (and its numpy) out.
    command = [sys.executable, "-S", str(probe), str(root), version, str(answer)]
    environment = {**os.environ, "PYTHONPATH": str(devkit), "MPLBACKEND": "agg"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert "Done loading" in done.stdout
    return json.loads(answer.read_text())


def compare(source: NuScenesSource, answer: dict[str, Any]) -> None:
    """Lidar to image, boxes, calibration: both roads must meet."""
    for frame in source:
        theirs = answer["frames"][frame.token]["cameras"]
        assert set(theirs) == {view.name for view in frame.cameras}
        points = frame.lidar.points()[:, :3]
        for view in frame.cameras:
            camera = theirs[view.name]
            assert camera["path"] == view.source
            assert np.array_equal(camera["intrinsics"], view.intrinsics)
            ours = transform(inverse(frame.ego_T_camera(view)) @ frame.ego_T_lidar(frame.lidar), points)
            assert np.abs(ours[::7] - np.array(camera["points"])).max() < 1e-6
            compare_pixels(ours, view, camera)
            camera_T_ego = inverse(frame.ego_T_camera(view))
            for box in frame.boxes:
                if box.track in camera["boxes"]:
                    centre = transform(camera_T_ego, np.array(box.centre))
                    assert np.abs(centre - camera["boxes"][box.track]).max() < 1e-6


def compare_pixels(points: np.ndarray, view: Any, camera: dict[str, Any]) -> None:
    """The devkit's own mapping keeps float32 points at world coordinates: half a millimetre, at 1 m half a pixel."""
    pixels, depth = project(points, view.intrinsics)
    inside = (depth > 1) & (pixels > 1).all(axis=1) & (pixels < np.array([view.width - 1, view.height - 1])).all(axis=1)
    theirs = np.array(camera["mapped_pixels"]).reshape(-1, 2)
    assert abs(int(inside.sum()) - len(theirs)) <= max(5, 0.01 * len(theirs))
    if inside.sum() == len(theirs):
        assert np.abs(pixels[inside] - theirs).max(initial=0) < 0.5
        assert np.abs(depth[inside] - camera["mapped_depths"]).max(initial=0) < 2e-3


def test_devkit_reads_the_real_frames_as_we_do(devkit: Path, real_nuscenes_root: Path, tmp_path: Path) -> None:
    answer = ask(devkit, real_nuscenes_root, "v1.0-mini", tmp_path)
    for split in ("train", "val"):
        source = NuScenesSource(real_nuscenes_root, split)
        compare(source, answer)
        seen = {t for view in answer["frames"][source[0].token]["cameras"].values() for t in view["boxes"]}
        assert len(seen) > 0.3 * len(source[0].boxes) > 0
    assert set(answer["val"]) == OFFICIAL_VAL
    assert set(answer["mini_val"]) == MINI_VAL
    assert set(answer["categories"]) == set(NUSCENES_CATEGORY)


def test_devkit_opens_an_embedded_fleet(devkit: Path, six_scene, tmp_path: Path) -> None:
    root = tmp_path / "six"
    scenes = [six_scene("scene-0001"), six_scene("scene-0002")]
    write_tables([write_scene(frames, root) for frames in scenes], {"train": ["scene-0001", "scene-0002"]}, root)
    answer = ask(devkit, root, VERSION, tmp_path)
    source = NuScenesSource(root, "train")
    compare(source, answer)
    for frame, truth in zip(source, scenes[0] + scenes[1], strict=True):
        materials = truth.lidar.materials[truth.lidar.ranges > 0]
        names = [NAMES[Material(m)].nuscenes_category for m in materials]
        assert answer["frames"][frame.token]["lidarseg"] == names
    assert answer["map"] == [[16, 16], 255]
