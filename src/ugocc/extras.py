"""Packages that only some verbs need: which extra of the installation brings them, and the one way to ask for them."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import Any, Final, NamedTuple

from ugocc.errors import MissingPackage


class Extra(NamedTuple):
    """An optional part of the installation."""

    modules: tuple[str, ...]
    """What it brings, by the names that are imported."""
    purpose: str
    """What needs it."""


EXTRAS: Final = {
    "data": Extra(("pyarrow",), "reading nuScenes and Waymo folders, and manifests in Parquet"),
    "adapt": Extra(("scipy",), "adapting to a fleet and scoring plausibility"),
    "tensorboard": Extra(("tensorboard",), "writing curves for TensorBoard instead of CSV"),
    "synthetic": Extra(("numba", "pyarrow"), "rendering the embedded fleets and quick RayIoU"),
    "film": Extra(("imageio", "av"), "writing MP4 films"),
    "segment": Extra(("onnxruntime", "ai_edge_litert"), "running 2D teachers in ONNX or TFLite"),
    "rerun": Extra(("rerun",), "the viewer that opens with `ugocc view --rerun`"),
    "export": Extra(("onnx", "onnxscript", "onnxruntime", "openvino"), "writing and running ONNX graphs"),
}
"""The extras of pyproject.toml, by name. ``all`` is every one of them."""


def installed(module: str) -> bool:
    """Whether a module is there; it is not imported."""
    try:
        return find_spec(module) is not None
    except (ImportError, ValueError):
        return False


def require(who: object, extra: str, *modules: str) -> None:
    """Make sure, before any work is done, that packages are there.

    Args:
        who: what needs them: a verb, or the file that cannot be used without.
        extra: name of the extra that brings them.
        modules: those needed; by default all of the extra.

    Raises:
        MissingPackage: one of them cannot be imported; says how to get it.
    """
    missing = [module for module in modules or EXTRAS[extra].modules if not _imports(module)]
    if missing:
        names = ", ".join(module.partition(".")[0].replace("_", "-") for module in missing)
        raise MissingPackage(who, names, f"pip install 'ugocc[{extra}]'")


def _imports(module: str) -> bool:
    try:
        import_module(module)
    except ImportError:
        return False
    return True


def later(module: str, extra: str) -> Any:
    """A module of an extra that is imported when something of it is first used, and not missed until then."""
    return _Later(module, extra)


class _Later:
    def __init__(self, module: str, extra: str) -> None:
        self._module, self._extra = module, extra

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        require("this", self._extra, self._module)
        return getattr(import_module(self._module), name)
