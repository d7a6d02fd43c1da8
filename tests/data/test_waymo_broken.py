from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from made_waymo import replace_column

from ugocc.data.frame import Frame
from ugocc.data.synthetic.write_waymo import write_segment
from ugocc.data.waymo import WaymoSource, read_occupancy
from ugocc.errors import DataError

SEGMENT = "100_0_000_20_000"


@pytest.fixture(scope="module")
def made(five_scene, tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("made")
    write_segment(five_scene(SEGMENT, 2), root, "train", 0)
    return root


@pytest.fixture
def copy(made, tmp_path) -> Path:
    """A copy to break."""
    return shutil.copytree(made, tmp_path / "copy")


CAMERA = "[CameraCalibrationComponent]"
BROKEN = {
    "focal length": ("camera_calibration", f"{CAMERA}.intrinsic.f_u", lambda v: [0.0, *v[1:]], "focal length"),
    "no centre": ("camera_calibration", f"{CAMERA}.intrinsic.c_u", lambda v: [None, *v[1:]], "intrinsic"),
    "no lens": ("camera_calibration", f"{CAMERA}.intrinsic.k2", lambda v: [float("nan"), *v[1:]], "k1, k2, p1, p2, k3"),
    "scaled extrinsic": (
        "camera_calibration",
        f"{CAMERA}.extrinsic.transform",
        lambda v: [[x * 1.1 for x in v[0]], *v[1:]],
        "extrinsic.transform",
    ),
    "no width": ("camera_calibration", f"{CAMERA}.width", lambda v: [0, *v[1:]], "width"),
    "another width": ("camera_calibration", f"{CAMERA}.width", lambda v: [v[0] + 1, *v[1:]], "pixels as in the calib"),
    "unknown camera": ("camera_calibration", "key.camera_name", lambda v: [9, *v[1:]], "camera_name"),
    "camera without calibration": ("camera_calibration", "key.camera_name", lambda v: [2, *v[1:]], "calibrated camera"),
    "no pose": (
        "camera_image",
        "[CameraImageComponent].pose.transform",
        lambda v: [None, *v[1:]],
        "pose.transform: found 0 numbers",
    ),
    "no image": ("camera_image", "[CameraImageComponent].image", lambda v: [None, *v[1:]], "nothing"),
    "half an image": ("camera_image", "[CameraImageComponent].image", lambda v: [v[0][:-40], *v[1:]], "whole picture"),
    "another time": ("camera_image", "key.frame_timestamp_micros", lambda v: [t + 1 for t in v], "no row of"),
    "twice": ("vehicle_pose", "key.frame_timestamp_micros", lambda v: [v[1], *v[1:]], "occurs twice"),
    "mirrored": (
        "vehicle_pose",
        "[VehiclePoseComponent].world_from_vehicle.transform",
        lambda v: [[-x for x in v[0][:12]] + [0, 0, 0, 1], *v[1:]],
        "det R",
    ),
    "divisor": (
        "camera_segmentation",
        "[CameraSegmentationLabelComponent].panoptic_label_divisor",
        lambda v: [0, *v[1:]],
        "panoptic_label_divisor",
    ),
    "no time": ("vehicle_pose", "key.frame_timestamp_micros", lambda v: [None, *v[1:]], "row 0.*found nothing"),
    "no camera": ("camera_segmentation", "key.camera_name", lambda v: [None, *v[1:]], "row 0.*found nothing"),
    "laser": ("lidar_calibration", "key.laser_name", lambda v: [4], "calibration of laser 1"),
    "beams": (
        "lidar_calibration",
        "[LiDARCalibrationComponent].beam_inclination.values",
        lambda v: [v[0][:-1]],
        "7 inclinations, expected 8 ascending",
    ),
    "range image": (
        "lidar",
        "[LiDARComponent].range_image_return1.shape",
        lambda v: [[8, 35, 4], *v[1:]],
        r"shape \(8, 35, 4\)",
    ),
    "box": ("lidar_box", "[LiDARBoxComponent].box.size.x", lambda v: [float("inf"), *v[1:]], "seven finite numbers"),
}


@pytest.mark.parametrize(("component", "column", "change", "message"), BROKEN.values(), ids=BROKEN)
def test_broken_values_name_file_and_column(copy, component, column, change, message):
    path = copy / "training" / component / f"{SEGMENT}.parquet"
    replace_column(path, column, change)
    with pytest.raises(DataError, match=message) as error:
        read_everything(WaymoSource(copy)[0])
    where = "camera_image" if component == "camera_calibration" and "camera_image" in error.value.where else component
    assert where in error.value.where or component == "lidar_calibration"


def read_everything(frame: Frame) -> None:
    for camera in frame.cameras:
        camera.image()
        camera.semantics()
    frame.lidar.points()
    frame.occupancy()


LABELS = {
    "missing key": (lambda a: a.pop("final_voxel_state"), "final_voxel_state"),
    "shape": (lambda a: a.update(voxel_label=a["voxel_label"][:100]), r"shape \(100, 200, 16\)"),
    "unknown id": (lambda a: a.update(voxel_label=np.full((200, 200, 16), 17)), r"ids \[17\]"),
    "fractions": (lambda a: a.update(voxel_label=np.full((200, 200, 16), 1.5)), "whole numbers"),
    "mask": (lambda a: a.update(origin_voxel_state=np.full((200, 200, 16), 2)), "only 0 and 1"),
    "objects": (lambda a: a.update(voxel_label=np.full((200, 200, 16), None)), "plain arrays"),
}


@pytest.mark.parametrize(("change", "message"), LABELS.values(), ids=LABELS)
def test_broken_labels_name_file_and_key(tmp_path, change, message):
    arrays = {k: np.zeros((200, 200, 16), np.uint8) for k in ("voxel_label", "origin_voxel_state", "final_voxel_state")}
    change(arrays)
    np.savez(tmp_path / "000_04.npz", **arrays)
    with pytest.raises(DataError, match=f"000_04.npz.*{message}"):
        read_occupancy(tmp_path / "000_04.npz")


def test_a_damaged_label_is_a_data_error(made, tmp_path):
    data = (made / "occ3d" / "training" / "000" / "000_04.npz").read_bytes()
    for broken in (b"", data[: len(data) // 2], data[:500] + bytes(200) + data[700:]):
        (tmp_path / "a.npz").write_bytes(broken)
        with pytest.raises(DataError, match=r"a\.npz"):
            read_occupancy(tmp_path / "a.npz")
