"""Depth of a real street, from nothing but three real frames a second apart; lidar only measures."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from ugocc.geometry.camera import project, resize_affine
from ugocc.geometry.rigid import inverse, transform
from ugocc.losses.photometric import (
    TEMPORAL,
    PhotometricSettings,
    References,
    depth_at_pixels,
    photometric_loss,
)

SIZE = (76, 120)
"""Rows and columns of the pictures."""
FINE = (152, 240)
"""Rows and columns of the lidar maps that measure: in larger pixels the nearest return hides too many others."""
CAMERAS = {"CAMERA_05": 0.85, "CAMERA_06": 0.88, "CAMERA_07": 0.62}
"""Cameras that look sideways, where driving gives parallax, and from which share of the rows on they show the car."""


class Recording:
    """Three frames of the rig; the middle one is the target."""

    def __init__(self, folder: Path) -> None:
        self.folders = [folder / f"scene_02_f{i}" for i in range(3)]
        self.frames = [json.loads((f / "frame.json").read_text()) for f in self.folders]

    def camera(self, frame: int, name: str) -> dict:
        return next(c for c in self.frames[frame]["cameras"] if c["name"] == name)

    def image(self, frame: int, name: str) -> Tensor:
        picture = Image.open(self.folders[frame] / f"{name}.jpg")
        picture.draft("RGB", (2 * SIZE[1], 2 * SIZE[0]))
        pixels = np.asarray(picture.convert("RGB").resize(SIZE[::-1], Image.Resampling.BILINEAR), dtype=np.float32)
        return torch.from_numpy(pixels / 255).movedim(-1, 0)

    def intrinsics(self, frame: int, name: str, size: tuple[int, int] = SIZE) -> np.ndarray:
        camera = self.camera(frame, name)
        return resize_affine(size[1] / camera["width"], size[0] / camera["height"]) @ np.array(camera["K"])

    def world_T_camera(self, frame: int, name: str) -> np.ndarray:
        camera = self.camera(frame, name)
        return np.array(camera["T_world_ego"]) @ np.array(camera["T_ego_cam"])

    def lidar_depth(self, name: str, size: tuple[int, int]) -> Tensor:
        """(H, W) metres, 0 without a return; nearest return of a pixel, 2 to 50 m."""
        points = np.load(self.folders[1] / "LIDAR.npz")["points"][:, :3]
        world = transform(np.array(self.frames[1]["lidar"]["T_world_lidar"]), points)
        camera = transform(inverse(self.world_T_camera(1, name)), world)
        camera = camera[(camera[:, 2] > 2) & (camera[:, 2] < 50)]
        camera = camera[np.argsort(-camera[:, 2])]
        pixels, depth = project(camera, self.intrinsics(1, name, size))
        u, v = np.round(pixels).astype(int).T
        inside = (u >= 0) & (u < size[1]) & (v >= 0) & (v < size[0] * CAMERAS[name])
        out = np.zeros(size, dtype=np.float32)
        out[v[inside], u[inside]] = depth[inside]
        return torch.from_numpy(out)

    def road_and_constant(self, name: str, far: float = 20.0) -> Tensor:
        """(H, W) the depth of a flat road, at most ``far``: what calibration alone says."""
        v, u = np.mgrid[: SIZE[0], : SIZE[1]].astype(np.float64)
        rays = np.stack([u, v, np.ones_like(u)], -1) @ np.linalg.inv(self.intrinsics(1, name)).T
        ego_T_camera = np.array(self.camera(1, name)["T_ego_cam"])
        down = (rays @ ego_T_camera[:3, :3].T)[..., 2]
        road = np.where(down < -1e-3, -ego_T_camera[2, 3] / np.minimum(down, -1e-3), np.inf)
        return torch.from_numpy(np.minimum(road, far)).float()


@pytest.fixture(scope="module")
def recording(real_data: Path) -> Recording:
    return Recording(real_data / "ddad")


def inputs(recording: Recording):
    """target, references, intrinsics, mask of the middle frame's cameras."""
    names, times = list(CAMERAS), (0, 2)
    mask = torch.arange(SIZE[0])[:, None] < torch.tensor([SIZE[0] * CAMERAS[n] for n in names])[:, None, None]
    mask = mask.expand(-1, *SIZE).clone()
    moves = [[inverse(recording.world_T_camera(t, n)) @ recording.world_T_camera(1, n) for t in times] for n in names]
    references = References(
        torch.stack([torch.stack([recording.image(t, n) for t in times]) for n in names]),
        torch.from_numpy(np.stack([[recording.intrinsics(t, n) for t in times] for n in names])).float(),
        torch.from_numpy(np.stack(moves)).float(),
        mask[:, None].expand(-1, 2, -1, -1),
        torch.full((len(names), 2), TEMPORAL),
    )
    target = torch.stack([recording.image(1, n) for n in names])
    k = torch.from_numpy(np.stack([recording.intrinsics(1, n) for n in names])).float()
    return target, references, k, mask


def errors(depth: Tensor, lidar: Tensor) -> tuple[float, float]:
    """Mean (AbsRel) and median of |d - lidar| / lidar where there is a return."""
    known = lidar > 0
    depth = depth_at_pixels(depth, (lidar.shape[-2], lidar.shape[-1]))
    relative = ((depth - lidar).abs()[known] / lidar[known]).double()
    return relative.mean().item(), relative.median().item()


def test_pictures_alone_give_metric_depth(recording):
    """The least photometric error over constant depths, then gradient descent on a coarse map of inverse depth."""
    target, references, k, mask = inputs(recording)
    lidar = torch.stack([recording.lidar_depth(n, FINE) for n in CAMERAS])
    start = torch.stack([recording.road_and_constant(n) for n in CAMERAS])
    before = errors(start, lidar)

    candidates = torch.exp(torch.linspace(np.log(1 / 60), np.log(1 / 3), 24))
    settings = PhotometricSettings(smoothness=0.0, auto_mask=False)
    found = []
    with torch.no_grad():
        for inverse_depth in candidates:
            swept = photometric_loss(target, references, torch.full_like(start, 1 / inverse_depth), k, mask, settings)
            error = torch.where(swept.counted, swept.error, 0.5)
            found.append(F.avg_pool2d(error[:, None], 7, 1, 3, count_include_pad=False))
    best = candidates[torch.cat(found, dim=1).argmin(dim=1)]

    log_inverse = F.interpolate(best[:, None], size=(19, 30), mode="area").squeeze(1).log().requires_grad_()
    optimizer = torch.optim.Adam([log_inverse], lr=0.03)
    settings = PhotometricSettings(smoothness=0.05)
    for _ in range(30):
        depth = depth_at_pixels((-log_inverse).exp(), SIZE)
        loss = photometric_loss(target, references, depth, k, mask, settings).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    after = errors(depth_at_pixels((-log_inverse.detach()).exp(), SIZE), lidar)

    assert lidar.gt(0).sum() > 4000
    assert before[0] > 0.25
    assert after[0] < 0.7 * before[0]
    assert after[1] < 0.5 * before[1]


def test_wrong_poses_explain_less(recording):
    """The error at lidar depth is least with the recorded poses: their scale and direction are right."""
    target, references, k, mask = inputs(recording)
    lidar = torch.stack([recording.lidar_depth(n, SIZE) for n in CAMERAS])
    measured = mask & (lidar > 0)
    depth = torch.where(lidar > 0, lidar, 20.0)

    def error(scale: float) -> float:
        poses = references.ref_T_target.clone()
        poses[..., :3, 3] *= scale
        moved = References(references.images, references.intrinsics, poses, references.mask, references.kind)
        found = photometric_loss(target, moved, depth, k, measured, PhotometricSettings(auto_mask=False))
        return found.error[found.counted].mean().item()

    recorded = error(1.0)
    assert recorded < 0.9 * min(error(0.7), error(1.3), error(-1.0))
