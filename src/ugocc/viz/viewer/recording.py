"""Where a recording goes: into a file, to a viewer that is opened, or to one that runs."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np
import rerun as rr

from ugocc.errors import DataError
from ugocc.viz.viewer import paths

PATIENCE: Final = 10.0
"""Seconds that a viewer has to answer."""
PORT: Final = 9876
"""The viewer's own default."""
NO_DISPLAY: Final = "a display to open the viewer on; without one, --rerun FILE.rrd to open elsewhere"


@contextmanager
def open_recording(target: str, name: str) -> Iterator[rr.RecordingStream]:
    """A recording to log into.

    Args:
        target: a file .rrd, which is either the old one or the whole new one; ``live``, which opens the viewer; or the
            address of a viewer that runs.
        name: of the recording, in the viewer's list.

    Raises:
        DataError: no viewer can be opened, or none answers.
    """
    recording = rr.RecordingStream("ugocc")
    recording.set_log_time_enabled(False)
    recording.set_log_tick_enabled(False)
    if target == "live" or "://" in target:
        if target == "live":
            _open_viewer(recording)
        else:
            _connect(recording, target)
        recording.send_recording_name(name)
        _wait_for(recording, target)
        yield recording
        _wait_for(recording, target)
        recording.disconnect()
        return
    path = Path(target)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.rrd")
    try:
        recording.save(temporary)
        recording.send_recording_name(name)
        yield recording
        recording.flush()
        recording.disconnect()
        temporary.replace(path)
    finally:
        recording.disconnect()
        temporary.unlink(missing_ok=True)


def log_moment(
    recording: rr.RecordingStream,
    entities: Mapping[str, tuple[Any, ...]],
    number: int,
    timestamp_us: int,
    known: set[str],
) -> None:
    """Log what is there at one moment, and clear what was there before and is no more.

    Args:
        recording: where to.
        entities: contents of every path.
        number: of the frame, from 0.
        timestamp_us: microseconds of the recording's clock.
        known: paths that were logged before; those of this moment are added.
    """
    recording.set_time(paths.FRAME, sequence=number)
    recording.set_time(paths.TIME, timestamp=np.datetime64(timestamp_us, "us"))
    for path in sorted(known - entities.keys()):
        recording.log(path, rr.Clear(recursive=False))
    for path, contents in entities.items():
        recording.log(path, *contents)
    known.update(entities)


def _open_viewer(recording: rr.RecordingStream) -> None:
    # The program lies beside the interpreter, which need not be in PATH.
    beside = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    try:
        rr.spawn(
            port=PORT, hide_welcome_screen=True, executable_path=shutil.which("rerun", path=beside), recording=recording
        )
    except RuntimeError as error:
        line = str(error).strip().splitlines()[0]
        raise DataError("live", "rerun", line, NO_DISPLAY) from error


def _connect(recording: rr.RecordingStream, address: str) -> None:
    try:
        recording.connect_grpc(address)
    except RuntimeError as error:
        raise DataError(address, "rerun", error, f"an address such as rerun+http://127.0.0.1:{PORT}/proxy") from error


def _wait_for(recording: rr.RecordingStream, target: str) -> None:
    try:
        recording.flush(timeout_sec=PATIENCE)
    except (RuntimeError, ValueError) as error:
        line = str(error).strip().splitlines()[0]
        expected = NO_DISPLAY if target == "live" else "a viewer that runs there"
        raise DataError(target, "rerun", f"no answer ({line})", expected) from error
