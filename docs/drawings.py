"""The drawings of docs/concepts.md, made of the embedded fleets by the code that they explain.

    python docs/drawings.py --root data/embedded

Every ingredient of the method is shown on one frame: of the fleet *five*, by the model that comes with the package, or,
where a source frame is meant, of *six*. Labels are read for the pictures that show them, and for nothing else.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ugocc.adaptation.pseudo_labels import pseudo_labels
from ugocc.adaptation.rendering import pixel_rays, render
from ugocc.adaptation.rig import rig_of_frame
from ugocc.adaptation.selection import hard_labels
from ugocc.adaptation.source_views import source_views
from ugocc.adaptation.teacher import batch_statistics
from ugocc.adaptation.transferred import RigTransferSettings, TransferredDataset
from ugocc.adaptation.views import cell_pixels, evidence_of, views_of
from ugocc.adaptation.visibility import voxels_in_pictures
from ugocc.adaptation.voted import read_voted, vote_drives
from ugocc.data.batch import Batch
from ugocc.data.dataset import FrameDataset
from ugocc.data.frame import Frame, FrameSource, OccupancyLabel
from ugocc.data.occupancy import label_on_grid
from ugocc.data.source import open_fleet
from ugocc.data.transforms import make_sample
from ugocc.geometry.camera import resize_affine
from ugocc.geometry.grid import VoxelGrid
from ugocc.geometry.rigid import inverse, transform
from ugocc.labels import BUILDING, FREE, PALETTE, UNKNOWN, VEHICLE
from ugocc.models.assemble import OccupancyModel
from ugocc.pretrained import find_model
from ugocc.serving.inside import Inside, glances, look_inside, query_at, window_attention
from ugocc.training.adapt_settings import AdaptRecipe
from ugocc.training.checkpoint import load_model
from ugocc.training.stages import adapt_recipe
from ugocc.viz.bev import draw_bev
from ugocc.viz.canvas import INK, PAPER, Picture
from ugocc.viz.maps import components, from_above, heat
from ugocc.viz.overlay import draw_depth, draw_points, draw_semantics
from ugocc.viz.painter import draw_volume
from ugocc.viz.pictures import comparison_picture, rig_rows
from ugocc.viz.rig import AXES, Brush, Pinhole, draw_axes, draw_fields_of_view, draw_ground, on_plan
from ugocc.viz.sheet import Panel, sheet, stacked, write_small
from ugocc.viz.view import View

QUERY_COLOURS: Final = ((255, 214, 64), (64, 224, 255))
NEAR, FAR = 3.0, 50.0  # metres, ends of the colours of depth


@dataclass(frozen=True)
class Look:
    """One frame of the target, as the network sees it and what it makes of it."""

    model: OccupancyModel
    frame: Frame
    batch: Batch
    inside: Inside

    @property
    def grid(self) -> VoxelGrid:
        return self.model.settings.input.grid

    @property
    def names(self) -> list[str]:
        return [camera.name for camera in self.frame.cameras]

    @property
    def front(self) -> list[int]:
        """The upper row of the rig, left on the left."""
        return rig_rows(self.names)[0]

    @property
    def classes(self) -> NDArray[np.uint8]:
        return self.inside.prediction.occupancy[0].argmax(dim=0).byte().numpy()

    @property
    def in_pictures(self) -> NDArray[np.bool_]:
        return voxels_in_pictures(views_of(self.batch), self.grid)[0].numpy()

    def enlarged(self, cells: NDArray[Any]) -> NDArray[Any]:
        """A map of feature cells (h, w) at the size of the image."""
        rows, columns = self.batch.images.shape[-2:]
        return cells.repeat(rows // cells.shape[0], axis=0).repeat(columns // cells.shape[1], axis=1)


def look_at(model: OccupancyModel, data: FrameDataset, index: int) -> Look:
    batch = data[index]
    return Look(model, data.frame(index), batch, look_inside(model, batch))


def image_of(batch: Batch, camera: int) -> Picture:
    """(H, W, 3) what the network sees."""
    return np.ascontiguousarray((batch.images[0, camera].permute(1, 2, 0) * 255).round().byte().numpy())


def label_of(frame: Frame) -> OccupancyLabel:
    assert frame.occupancy is not None, "a labelled fleet"
    return frame.occupancy()


def depth_map(metres: NDArray[np.floating]) -> Picture:
    return draw_depth(metres, NEAR, FAR)


# --- Where things are ------------------------------------------------------------------------------------------------


def frames_picture(frames: FrameSource, index: int) -> Picture:
    """The world with a drive in it, and the car with its cameras."""
    drive = [frame for frame in frames if frame.scene == frames[index].scene]
    now = drive[-max(1, len(drive) // 6)]
    places = np.stack([frame.world_T_ego[:3, 3] for frame in drive])
    plan, grid = world_from_above(drive)
    brush = Brush(plan)

    def at(points: Any) -> NDArray[np.float64]:
        return on_plan(np.atleast_2d(points), grid, plan)

    brush.line(at(places), INK, 1.6)
    for place in at(places)[::3]:
        brush.dot(place, 3.0, INK)
    (origin,), (ego,) = at(np.zeros(3)), at(now.world_T_ego[:3, 3])
    brush.arrow(origin, ego, INK, 2.0)
    for pose, size in ((np.eye(4), 11.0), (now.world_T_ego, 11.0)):
        for axis in (0, 1):
            start, end = at([pose[:3, 3], pose[:3, 3] + size * pose[:3, axis]])
            brush.arrow(start, end, AXES[axis], 3.4)
            brush.word(end + 12 * (end - start) / np.linalg.norm(end - start), "xy"[axis], AXES[axis], 17)
    brush.word(origin + np.array([4, 16]), "world", INK, 16)
    brush.word(ego + np.array([10, 18]), "ego", INK, 16)
    brush.word((origin + ego) / 2, "world_T_ego", INK, 14)
    label = label_of(now)
    view = View(azimuth=142.0, elevation=33.0, distance=9.0, target=(1.0, 0.35, 0.75), field_of_view=48.0)
    ground = np.where(np.arange(label.semantics.shape[2]) < 3, label.semantics, FREE).astype(np.uint8)
    near = draw_volume(ground, now.occupancy_grid, (plan.shape[1] * 3 // 2, plan.shape[0]), view)
    cameras = [pinhole._replace(name=pinhole.name.removeprefix("CAM_")) for pinhole in pinholes(now)]
    panels = [
        ("a drive in the world, from above", brush.picture()),
        ("the car: ego_T_camera of each camera", draw_axes(near, view, cameras)),
    ]
    note = (
        "a_T_b maps points of frame b to frame a. Red x, green y, blue z: ego x forward, y left, z up; "
        "a camera's x right, y down, z forward."
    )
    return sheet([("", panels)], title=f"world, ego and cameras of {now.fleet}", note=note)


def world_from_above(drive: Sequence[Frame]) -> tuple[Picture, VoxelGrid]:
    """What cameras saw of the labels of a drive, in one volume of the world, from above."""
    places = np.stack([frame.world_T_ego[:2, 3] for frame in drive] + [np.zeros(2)])
    middle, half = (places.max(axis=0) + places.min(axis=0)) / 2, float(np.ptp(places, axis=0).max()) / 2 + 20
    count = int(2 * half / 0.5)
    grid = VoxelGrid((float(middle[0]) - half, float(middle[1]) - half, -1.0), (count, count, 13), 0.5)
    world = np.full(grid.shape, FREE, dtype=np.uint8)
    for frame in drive[::3]:
        label = label_of(frame)
        shown = (label.semantics < FREE) & label.camera_mask
        cells, inside = grid.index(transform(frame.world_T_ego, frame.occupancy_grid.centres()[shown]))
        world[tuple(cells[inside].T)] = label.semantics[shown][inside]
    return draw_bev(world, grid, (520, 520), ego=False), grid


def pinholes(frame: Frame) -> list[Pinhole]:
    return [Pinhole(c.name, c.intrinsics, c.width, c.height, frame.ego_T_camera(c)) for c in frame.cameras]


def rigs_picture(frames: Sequence[Frame]) -> Picture:
    """Two rigs from above."""
    grid = VoxelGrid((-12.0, -13.0, -1.0), (26, 26, 1), 1.0)
    floor = draw_bev(np.full(grid.shape, FREE, np.uint8), grid, (600, 600))
    panels = [(f"{f.fleet}: {len(f.cameras)} cameras", draw_fields_of_view(floor, grid, pinholes(f))) for f in frames]
    note = "From calibration: width of the field of view, height above the ground. Fields are drawn 10 m long."
    return sheet([("", panels)], title="two rigs", note=note)


def check_picture(frames: FrameSource, index: int) -> Picture:
    """The ground and the way of the car over a picture: calibration as it is, and with mistakes."""
    now = frames[index]
    here = inverse(now.world_T_ego)
    drive = [frame for frame in frames if frame.scene == now.scene]
    way = np.stack([transform(here, frame.world_T_ego[:3, 3]) for frame in drive])
    camera = next((c for c in now.cameras if "FRONT" in c.name), now.cameras[0])
    pose, image = now.ego_T_camera(camera), camera.image().repeat(2, axis=0).repeat(2, axis=1)
    intrinsics = resize_affine(2, 2) @ camera.intrinsics
    nod, high = np.eye(4), pose.copy()
    nod[1:3, 1:3] = [[np.cos(0.07), -np.sin(0.07)], [np.sin(0.07), np.cos(0.07)]]
    high[2, 3] += 1.0
    reversed_way = np.stack([transform(now.world_T_ego, inverse(frame.world_T_ego)[:3, 3]) for frame in drive])
    views = [
        ("right", pose, way),
        ("camera pitched by 4 degrees", pose @ nod, way),
        ("camera a metre too high", high, way),
        ("poses the wrong way round: ego_T_world", pose, reversed_way),
    ]
    panels = [(name, draw_ground(image, at, intrinsics, None, places)) for name, at, places in views]
    note = "White: the ground, a line every five metres. Yellow: where the car went, before and after."
    return sheet([("", panels[:2]), ("", panels[2:])], title=f"is the calibration right? {camera.name}", note=note)


def grid_picture(frame: Frame) -> Picture:
    """The label, what cameras see of it, and a slice through what they do not."""
    label, grid = label_of(frame), frame.occupancy_grid
    mask, level = label.camera_mask, int((1.0 - grid.lower[2]) / grid.voxel_size)
    flat = VoxelGrid(grid.lower, (*grid.shape[:2], 1), grid.voxel_size)
    greyed = PALETTE.copy()
    greyed[6] = (150, 157, 170)
    layer = np.where(mask[:, :, level], label.semantics[:, :, level], 6).astype(np.uint8)[..., None]
    volumes = [
        ("the label, all of it", draw_volume(label.semantics, grid, (620, 434))),
        ("the camera mask: voxels that some camera sees", draw_volume(label.semantics, grid, (620, 434), mask=mask)),
    ]
    above = [
        ("the label from above", draw_bev(label.semantics, grid, (434, 434))),
        ("what cameras see of it", draw_bev(label.semantics, grid, (434, 434), mask=mask)),
        ("1 m up: grey is hidden from every camera", draw_bev(layer, flat, (434, 434), greyed)),
    ]
    title = f"the voxel grid: {' x '.join(map(str, grid.shape))} voxels of {grid.voxel_size:g} m"
    return sheet([("", volumes), ("", above)], title=title, classes=True)


# --- What the network does -------------------------------------------------------------------------------------------


def depth_picture(look: Look) -> Picture:
    """Predicted depth beside lidar."""
    depth = look.inside.prediction.expected_depth()[0].numpy()
    rows: list[tuple[str, list[Panel]]] = [("", []), ("lidar", []), ("predicted", [])]
    for i in look.front:
        image, lidar = image_of(look.batch, i), look.batch.depth[0, i].numpy()
        v, u = np.nonzero(lidar)
        # The colours of draw_points begin at 1 m: depths are moved to where they have those of the map below.
        place = np.log(lidar[v, u].clip(NEAR, FAR) / NEAR) / np.log(FAR / NEAR)
        points = draw_points((image * 0.3).astype(np.uint8), np.stack([u, v], axis=1), 60.0**place, radius=1)
        rows[0][1].append((look.names[i], image))
        rows[1][1].append(("", points))
        rows[2][1].append(("", depth_map(look.enlarged(depth[i]))))
    return sheet(
        rows,
        title="depth",
        note="Lidar of this fleet is only shown here: nothing was trained on it.",
        depth=(NEAR, FAR),
    )


def lift_picture(look: Look) -> Picture:
    """Where features go, what they are, and what the volume becomes."""
    arrived, inside = look.inside.arrived.numpy(), look.in_pictures
    x, y = arrived.shape  # a lifted volume may be coarser than the grid of the classes
    seen = inside.reshape(x, inside.shape[0] // x, y, inside.shape[1] // y, -1).any(axis=(1, 3, 4))
    reached, size = arrived > 1e-3, 430
    panels = [
        ("depth that arrives in each cell", from_above(heat(np.log1p(4 * arrived)), size)),
        ("features as lifted", from_above(components(look.inside.lifted.numpy(), reached), size)),
        ("after the attention", from_above(components(look.inside.refined.numpy(), seen), size)),
        ("predicted classes", draw_bev(look.classes, look.grid, (size, size), mask=inside)),
    ]
    note = "From above, the car in the middle, forward up. Features: their first three principal components as colours."
    return sheet([("", panels)], title="from pictures to the ground plan", note=note)


def attention_picture(look: Look) -> Picture:
    """Where queries of the ground plan look in the images."""
    attention = look.model.bev_attention
    assert attention is not None
    above = draw_bev(look.classes, look.grid, (768, 768), mask=look.in_pictures)
    rows, columns = look.batch.images.shape[-2:]
    plan, brushes = Brush(above), {i: Brush(large(image_of(look.batch, i), 0.85)) for i in range(len(look.names))}
    weight_in = dict.fromkeys(brushes, 0.0)
    spots = [query_at(attention, look.grid, *place) for place in interesting(look)]
    for colour, (query, place) in zip(QUERY_COLOURS, spots, strict=True):
        plan.dot(on_plan(np.array([place]), look.grid, above)[0], 10, colour, INK)
        for glance in glances(attention, look.inside, query, (rows, columns)):
            brush, weights = brushes[glance.camera], glance.weights.flatten().numpy()
            weight_in[glance.camera] += float(weights.sum())
            for pixel in glance.pillar.numpy():
                brush.dot(3 * pixel + 1, 4.0, PAPER, INK)
            for pixel, weight in zip(glance.pixels.flatten(0, 1).numpy(), weights, strict=True):
                if weight > 1e-4:
                    brush.dot(3 * pixel + 1, 1.5 + 16 * float(np.sqrt(weight)), colour, INK)
    seeing = sorted(sorted(weight_in, key=lambda i: -weight_in[i])[:2], key=look.front.index)
    cameras = stacked([brushes[i].picture() for i in seeing])
    ahead = plan.picture()[60:480, 174:594]
    names = " and ".join(look.names[i] for i in seeing)
    note = (
        "Discs: what a query looks at, larger where it counts more. White: the pillar on its cell, at its four heights."
    )
    panels = [("two queries on the ground plan", ahead), (f"where they look in {names}", cameras)]
    return sheet([("", panels)], title="attention of the ground plan to the images", note=note)


def large(image: Picture, light: float) -> Picture:
    """Three times as large, darker."""
    return (image.repeat(3, axis=0).repeat(3, axis=1) * light).astype(np.uint8)


def interesting(look: Look) -> list[tuple[float, float]]:
    """Middles of the two cells ahead, of the size of a query's, that hold most of a vehicle and of a building."""
    attention, grid = look.model.bev_attention, look.grid
    assert attention is not None
    solid = (look.classes < FREE) & look.in_pictures
    top = np.where(solid.any(axis=2), np.take_along_axis(look.classes, highest(solid), axis=2)[..., 0], FREE)
    stride = grid.shape[0] // attention.shape[0]
    side = stride * grid.voxel_size
    x, y = ((np.arange(n) + 0.5) * side + low for n, low in zip(attention.shape, grid.lower, strict=False))
    x, y = np.meshgrid(x, y, indexing="ij")
    ahead = (x > 9) & (x < 18) & (np.abs(y) < 0.8 * x)
    places = []
    for wanted in (VEHICLE, BUILDING):
        held = (top == wanted).reshape(len(x), stride, len(y), stride).sum(axis=(1, 3))
        best = np.where(ahead, held - 0.01 * np.hypot(x, y), -1e3).argmax()
        places.append((float(x.flat[best]), float(y.flat[best])))
    return places


def highest(solid: NDArray[np.bool_]) -> NDArray[np.intp]:
    """(X, Y, 1) place of the highest solid voxel of every column."""
    return solid.shape[2] - 1 - solid[:, :, ::-1].argmax(axis=2, keepdims=True)


def semantics_picture(look: Look) -> Picture:
    """Classes that the network sees in the pictures, and what cells attend to for it."""
    settings = look.model.settings.semantic_attention
    assert settings is not None
    rows: list[tuple[str, list[Panel]]] = [("", []), ("classes", []), ("attention in windows", [])]
    for i in look.front:
        image, scores = image_of(look.batch, i), look.inside.semantics[i]
        classes = scores.argmax(dim=0).byte().numpy()
        rows[0][1].append((look.names[i], image))
        rows[1][1].append(("", draw_semantics(look.enlarged(classes), image, 0.7)))
        rows[2][1].append(("", windows_of(image, scores, classes, settings.window)))
    edge = settings.window
    note = (
        f"A line leads from the boxed cell to each cell of its window of {edge} x {edge} whose features it takes; "
        "thicker where it takes more."
    )
    return sheet(rows, title="2D semantics and semantic attention", note=note, classes=True)


def windows_of(image: Picture, scores: Tensor, classes: NDArray[np.uint8], edge: int) -> Picture:
    """Classes of a picture, with the attention of one cell in every window that holds several classes."""
    height, width = classes.shape
    stride = image.shape[1] // width
    side = 3 * stride
    cells = classes.repeat(stride, axis=0).repeat(stride, axis=1)
    brush = Brush(large(draw_semantics(cells, image, 0.7), 0.8))
    for top in range(0, height - edge + 1, edge):
        for left in range(0, width - edge + 1, edge):
            window = (slice(top, top + edge), slice(left, left + edge))
            brush.line(box_at(left * side, top * side, edge * side), (210, 214, 222), 1.0)
            if len(np.unique(classes[window])) < 2:
                continue
            weights = window_attention(scores[(slice(None), *window)]).numpy()
            others = weights * (1 - np.eye(len(weights)))
            token = int(others.sum(axis=1).argmax())
            middle = [((left + t % edge + 0.5) * side, (top + t // edge + 0.5) * side) for t in range(edge * edge)]
            for other in np.flatnonzero(others[token] > 0.05):
                brush.line(np.array([middle[token], middle[other]]), PAPER, 1 + 4 * float(others[token, other]))
                brush.dot(np.array(middle[other]), 3 + 4 * float(others[token, other]), PAPER, INK)
            u, v = middle[token]
            brush.line(box_at(u - side / 2 + 2, v - side / 2 + 2, side - 4), PAPER, 2.5)
    return brush.picture()


def box_at(left: float, top: float, side: float) -> NDArray[np.float64]:
    corners = [[left, top], [left + side, top], [left + side, top + side], [left, top + side], [left, top]]
    return np.array(corners) - 0.5


# --- What adaptation adds --------------------------------------------------------------------------------------------


def rerender_picture(source: FrameDataset, index: int, target: Look) -> Picture:
    """A source frame as recorded, its depth, and as the target's cameras would have seen it."""
    inputs = source.settings
    recorded = source[index]
    rig = rig_of_frame(target.frame, inputs.height, inputs.width)
    kinds = RigTransferSettings(share=1.0, target=1, turned=0, random=0)
    prepared = TransferredDataset(source, [rig], kinds).versions(index, [0])[0]
    again = make_sample(prepared, inputs)
    dense = source_views(source.prepared(index)).depth.numpy()[:, -inputs.height :]
    names = [camera.name for camera in source.frame(index).cameras]
    order = [i for row in rig_rows(names) for i in row]
    # Left to right, as one turns the head.
    new = sorted(range(len(rig)), key=lambda i: -float(np.arctan2(*rig.ego_T_camera[i, [1, 0], 2])))
    rows = [
        (f"{source.source.fleet}, as recorded", [(names[i], image_of(recorded, i)) for i in order[:3]]),
        ("", [(names[i], image_of(recorded, i)) for i in order[3:]]),
        ("its lidar, completed to dense depth", [(names[i], depth_map(dense[i])) for i in order[:3]]),
        (
            f"as the cameras of {target.frame.fleet} would have seen it",
            [(target.names[i], shown_of(again, i)) for i in new],
        ),
        (
            f"a frame that {target.frame.fleet} did record, elsewhere",
            [(target.names[i], image_of(target.batch, i)) for i in new],
        ),
    ]
    return sheet(
        [row for row in rows if row[1]],
        title="a source frame, re-rendered",
        note="Hatched: nothing is known.",
        depth=(NEAR, FAR),
    )


def shown_of(batch: Batch, camera: int) -> Picture:
    """A re-rendered picture, hatched where it is not valid."""
    image, valid = image_of(batch, camera), batch.pixel_mask[0, camera].numpy()
    v, u = np.indices(valid.shape)
    hatch = np.where((u + v) % 8 < 3, 205, 232).astype(np.uint8)
    return np.where(valid[..., None], image, hatch[..., None])


def labels_picture(model: OccupancyModel, data: FrameDataset, index: int, recipe: AdaptRecipe) -> Picture:
    """What the student could be taught of a frame: its teacher's volume, a selection of it, the vote; and the truth."""
    grid, frame = model.settings.input.grid, data.frame(index)
    blind = FrameDataset(_Drive(data.source, frame.scene), data.settings, labelled=False)
    batch = blind[blind.source.tokens.index(frame.token)]
    inside = voxels_in_pictures(views_of(batch), grid)[0].numpy()
    with torch.no_grad(), batch_statistics(model):
        taught = model(batch)
    evidence = evidence_of(taught.semantics_2d, *taught.depth_distribution(), recipe.evidence)
    selected = pseudo_labels(taught.occupancy, views_of(batch), evidence, grid, recipe.pseudo_labels)
    with tempfile.TemporaryDirectory() as folder:
        for _ in vote_drives(model, blind, Path(folder), recipe.voting):
            pass
        voted = read_voted(Path(folder), [frame.token])[0].argmax(dim=0).byte().numpy()
    truth = label_on_grid(label_of(frame), frame.occupancy_grid, grid)
    volumes = [
        ("one frame, all in pictures", np.where(inside, taught.occupancy[0].argmax(dim=0).byte().numpy(), FREE)),
        (
            "one frame, selected",
            np.where(selected.weights[0].numpy() > 0, hard_labels(selected.labels)[0].numpy(), UNKNOWN),
        ),
        ("the drive, voted", np.where(inside, voted, FREE)),
        ("truth, never learned from", np.where(truth.camera_mask, truth.semantics, FREE)),
    ]
    volumes = [(name, volume.astype(np.uint8)) for name, volume in volumes]
    return comparison_picture(volumes, grid, title="pseudo-labels", column=300)


class _Drive:
    """One scene of a source."""

    def __init__(self, source: FrameSource, scene: str) -> None:
        self.fleet = source.fleet
        self._frames = [frame for frame in source if frame.scene == scene]

    def __len__(self) -> int:
        return len(self._frames)

    def __iter__(self) -> Iterator[Frame]:
        return iter(self._frames)

    def __getitem__(self, index: int) -> Frame:
        return self._frames[index]

    @property
    def tokens(self) -> list[str]:
        return [frame.token for frame in self._frames]


@torch.no_grad()
def rendering_picture(look: Look, recipe: AdaptRecipe) -> Picture:
    """What the cameras would see of the predicted volume, beside what the network says of the pictures."""
    views, grid = views_of(look.batch), look.grid
    size = (look.batch.images.shape[-2], look.batch.images.shape[-1])
    pixels = cell_pixels(size, size, views.intrinsics).expand(*views.mask.shape, -1, -1)
    rays = pixel_rays(views, pixels)
    seen = render(look.inside.prediction.probabilities(), rays, grid, recipe.rendering)
    shape = (len(look.names), *size)
    hit = seen.hit.view(shape).numpy()
    share, label = seen.semantics[0].max(dim=-1)
    classes = np.where(share.view(shape).numpy() > 0.3, label.view(shape).byte().numpy(), UNKNOWN)
    depth = np.where(hit > 0.5, (seen.depth[0] / seen.hit[0].clamp(min=1e-6)).view(shape).numpy(), 0.0)
    evidence = evidence_of(
        look.inside.prediction.semantics_2d, *look.inside.prediction.depth_distribution(), recipe.evidence
    )
    names = ("", "classes, rendered from the volume", "classes of the picture, where sure")
    names += ("depth, rendered from the volume", "depth of the picture, where sure")
    rows: list[tuple[str, list[Panel]]] = [(name, []) for name in names]
    for i in look.front:
        sure, far = (look.enlarged(v[0, i].numpy()) for v in (evidence.labels, evidence.depth))
        shown = draw_semantics(classes[i].astype(np.uint8)), draw_semantics(sure), depth_map(depth[i]), depth_map(far)
        rows[0][1].append((look.names[i], image_of(look.batch, i)))
        for (_, panels), picture in zip(rows[1:], shown, strict=True):
            panels.append(("", picture))
    note = "Dark: the ray leaves the volume without hitting anything, or the network is not sure."
    return sheet(rows, title="the volume, rendered into the cameras", note=note, classes=True, depth=(NEAR, FAR))


# --- All of them -----------------------------------------------------------------------------------------------------


def draw_all(root: Path, out: Path, checkpoint: Path, frame: int, source_frame: int) -> list[Path]:
    """Write ``concept-NAME.png`` into a folder.

    Args:
        root: folder of the embedded fleets.
        out: folder for the pictures.
        checkpoint: model folder.
        frame: of the split val of five.
        source_frame: of the split val of six.
    """
    six, five = (open_fleet(root / name, "val") for name in ("six", "five"))
    model, _ = load_model(checkpoint, five.fleet)
    inputs = model.settings.input
    data, source = FrameDataset(five, inputs), FrameDataset(six, inputs)
    recipe = adapt_recipe(model.settings.name, model.settings.size)
    look = look_at(model, data, frame)
    made: dict[str, Callable[[], Picture]] = {
        "frames": lambda: frames_picture(six, source_frame),
        "rigs": lambda: rigs_picture([six[source_frame], five[frame]]),
        "check": lambda: check_picture(six, max(0, source_frame - 4)),
        "grid": lambda: grid_picture(five[frame]),
        "depth": lambda: depth_picture(look),
        "lift": lambda: lift_picture(look),
        "attention": lambda: attention_picture(look),
        "semantics": lambda: semantics_picture(look),
        "rerender": lambda: rerender_picture(source, source_frame, look),
        "labels": lambda: labels_picture(model, data, frame, recipe),
        "rendering": lambda: rendering_picture(look, recipe),
    }
    return [write_small(out / f"concept-{name}.png", draw()) for name, draw in made.items()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, default=Path("data/embedded"), help="folder of the embedded fleets")
    parser.add_argument("--out", type=Path, default=Path("docs/images"), help="folder for concept-NAME.png")
    parser.add_argument("--checkpoint", default="laptop", help="model folder or name; needs both attentions")
    parser.add_argument("--frame", type=int, default=52, help="frame of the split val of five")
    parser.add_argument("--source-frame", type=int, default=28, help="frame of the split val of six")
    options = parser.parse_args()
    for path in draw_all(
        options.root, options.out, find_model(options.checkpoint), options.frame, options.source_frame
    ):
        print(path)


if __name__ == "__main__":
    main()
