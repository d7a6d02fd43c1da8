"""The table of docs/recipes.md, made of the recipes themselves.

python docs/recipes.py
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from ugocc.results import replace_block, write_text

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "recipes.md"


def table() -> str:
    """A line for every recipe, those that run as they are first."""
    head = ["recipe", "what it is", "verb", "model", "labels of", "adapts to", "steps"]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * (len(head) - 1) + "--:|"]
    files = sorted((ROOT / "recipes").glob("*.yaml"), key=lambda path: ("-full" in path.stem, path.stem))
    return "\n".join([*lines, *(row(path) for path in files)]) + "\n"


def row(path: Path) -> str:
    text = path.read_text(encoding="utf-8")
    recipe = yaml.safe_load(text)
    cells = [
        f"[{path.stem}](../recipes/{path.name})",
        text.splitlines()[0].removeprefix("# ").split(". Never run")[0].rstrip("."),
        "adapt" if "target" in recipe else "fit",
        f"{recipe['model']['name']}, {recipe['model']['size']}" if "model" in recipe else "",
        Path(recipe["source"]["root"]).name if "root" in recipe.get("source", {}) else "",
        Path(recipe["target"]["root"]).name if "target" in recipe else "",
        " + ".join(f"{count:,}" for count in steps(recipe)),
    ]
    return "| " + " | ".join(cells) + " |"


def steps(recipe: dict[str, Any]) -> list[int]:
    earlier = recipe.get("earlier", {})
    return [
        *(earlier[name] for name in ("source_steps", "pretrain_steps") if name in earlier),
        *([recipe["optim"]["steps"]] if "steps" in recipe.get("optim", {}) else []),
    ]


def main() -> None:
    write_text(PAGE, replace_block(PAGE.read_text(encoding="utf-8"), "recipes", table()))
    print(PAGE.relative_to(ROOT))


if __name__ == "__main__":
    main()
