from __future__ import annotations

import importlib
import pkgutil
import re
from dataclasses import fields, is_dataclass
from pathlib import Path

import ugocc


def test_every_setting_is_read_somewhere() -> None:
    """A threshold that is written in a recipe and never looked at is worse than none."""
    code = "\n".join(path.read_text(encoding="utf-8") for path in Path(ugocc.__file__).parent.rglob("*.py"))
    read = set(re.findall(r"\.([a-z_0-9]+)\b(?!\s*=[^=])", code))
    modules = [importlib.import_module(m.name) for m in pkgutil.walk_packages(ugocc.__path__, "ugocc.")]
    settings = {
        thing
        for module in modules
        for name, thing in vars(module).items()
        if is_dataclass(thing) and isinstance(thing, type) and name.endswith(("Settings", "Recipe"))
    }
    assert len(settings) > 30
    unread = {f"{kind.__name__}.{f.name}" for kind in settings for f in fields(kind) if f.name not in read}
    assert not unread
