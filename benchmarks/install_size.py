"""How much does an installation weigh, with and without its extras?

    python benchmarks/install_size.py

Run it where all extras are installed (``pip install '.[all]'``). Sizes are those of the files that pip recorded for
each package, compiled bytecode included, in millions of bytes. What torch and torchvision bring by themselves is not
counted; an extra's size is what it adds to the core. The table of docs/install.md is made of the result file.
"""

from __future__ import annotations

import argparse
import json
import marshal
import sys
import tomllib
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from ugocc.errors import DataError
from ugocc.results import commit, machine, versions, write_text

ROOT = Path(__file__).resolve().parent.parent
NOT_FOR_USERS = ("test", "docs", "dev")
LIMIT_MB = 150
"""What the core may add to torch and torchvision."""


def closure(requirements: Iterable[str], own: dict[str, list[str]]) -> set[str]:
    """Names of all packages that requirements bring, on this machine; ``own`` are the extras of this project."""
    found: set[str] = set()
    seen: set[tuple[str, str]] = set()
    waiting = [(Requirement(text), "") for text in requirements]
    while waiting:
        wanted, extra = waiting.pop()
        if wanted.marker is not None and not wanted.marker.evaluate({"extra": extra}):
            continue
        name = canonicalize_name(wanted.name)
        if name == "ugocc":
            waiting += [(Requirement(text), "") for part in wanted.extras for text in own[part]]
            continue
        found.add(name)
        for part in ("", *wanted.extras):
            if (name, part) not in seen:
                seen.add((name, part))
                waiting += [(Requirement(text), part) for text in installed(name).requires or []]
    return found


def installed(name: str):
    try:
        return distribution(name)
    except PackageNotFoundError as error:
        raise DataError("install size", name, "not installed", "an environment with 'ugocc[all]'") from error


def size_mb(name: str) -> float:
    """Millions of bytes of a package's files."""
    files = installed(name).files or []
    return sum(path.stat().st_size for file in files if (path := Path(file.locate())).is_file()) / 1e6


def own_size_mb() -> float:
    """Millions of bytes of this package, with the bytecode that pip would compile: an editable install records none."""
    total = 0
    for path in (ROOT / "src" / "ugocc").rglob("*"):
        if path.is_file() and "__pycache__" not in path.parts:
            total += path.stat().st_size
            if path.suffix == ".py":
                total += 16 + len(marshal.dumps(compile(path.read_bytes(), str(path), "exec")))
    return total / 1e6


def weighed(names: Iterable[str]) -> dict[str, object]:
    """Packages, the heaviest first, and their sum."""
    sizes = sorted(((size_mb(name), name) for name in names), reverse=True)
    packages = {name: {"version": installed(name).version, "mb": round(size, 2)} for size, name in sizes}
    return {"mb": round(sum(size for size, _ in sizes), 1), "packages": packages}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("results/install-size/benchmark.json"), help="result file")
    options = parser.parse_args()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = {name: list(texts) for name, texts in project["optional-dependencies"].items()}
    given = closure(("torch", "torchvision"), extras)
    core = closure(project["dependencies"], extras) - given
    content = {
        "limit_mb": LIMIT_MB,
        "torch and torchvision": weighed(given),
        "core": weighed(core),
        "extras": {
            name: weighed(closure(texts, extras) - given - core)
            for name, texts in extras.items()
            if name not in NOT_FOR_USERS
        },
    }
    own = own_size_mb()
    content["core"]["packages"]["ugocc"] = {"version": versions()["ugocc"], "mb": round(own, 2)}
    content["core"]["mb"] = round(content["core"]["mb"] + own, 1)
    content |= {"platform": sys.platform, "commit": commit(), "versions": versions(), "machine": machine()}
    options.out.parent.mkdir(parents=True, exist_ok=True)
    write_text(options.out, json.dumps(content, indent=1) + "\n")
    print(f"core: {content['core']['mb']} MB beyond torch and torchvision, at most {LIMIT_MB} are allowed")
    for name, part in content["extras"].items():
        print(f"{name}: {part['mb']} MB more")


if __name__ == "__main__":
    main()
