from __future__ import annotations

import os
import runpy
from pathlib import Path

import pytest

# Two processes on two cores are faster than two that fight for four threads (tests run under xdist).
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of real recordings; tests that need them are skipped, saying so, where it is absent."""
    folder = Path(os.environ.get("UGOCC_REAL_DATA", Path(__file__).resolve().parents[2] / "shared" / "real"))
    if not folder.is_dir():
        pytest.skip(f"no real recordings at {folder} (set UGOCC_REAL_DATA)")
    return folder


@pytest.fixture(scope="session")
def real_nuscenes_root(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The three real nuScenes frames as a v1.0-mini folder: scene-0061 (train, 1 frame), scene-0103 (val, 2 frames)."""
    helper = runpy.run_path(str(Path(__file__).parent / "data" / "real_nuscenes.py"))
    return helper["build_real_nuscenes"](real_data, tmp_path_factory.mktemp("real") / "nuscenes")


@pytest.fixture(scope="session")
def real_waymo_root(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The real Waymo frame as a v2 Parquet folder (split train), with its 3D boxes and panoptic labels."""
    helper = runpy.run_path(str(Path(__file__).parent / "data" / "real_fleets.py"))
    return helper["build_real_waymo"](real_data, tmp_path_factory.mktemp("real") / "waymo")


@pytest.fixture(scope="session")
def real_waymo_fleet_root(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same Waymo frame as an own-fleet folder (split train): pictures, lens distortion, labels, boxes."""
    helper = runpy.run_path(str(Path(__file__).parent / "data" / "real_fleets.py"))
    return helper["build_real_waymo_fleet"](real_data, tmp_path_factory.mktemp("real") / "waymo_fleet")


@pytest.fixture(scope="session")
def real_ddad_root(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three real frames, one second apart, of a rig nobody here has seen, as an own-fleet folder (split train)."""
    helper = runpy.run_path(str(Path(__file__).parent / "data" / "real_fleets.py"))
    return helper["build_real_ddad"](real_data, tmp_path_factory.mktemp("real") / "ddad")


@pytest.fixture(scope="session")
def tiny_fleets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The embedded fleets, one scene of three small frames per split: folders ``six`` and ``five``."""
    from ugocc.data.synthetic.build import RenderSettings, render_fleets
    from ugocc.data.town.scene import DriveSettings

    root = tmp_path_factory.mktemp("embedded")
    drive = DriveSettings(frames=3, width=176)
    render_fleets(RenderSettings(root=root, train=1, val=1, test=1, drive=drive, processes=1))
    return root
