"""Options of a verb, read from the source of its settings dataclass: nothing is imported, so that it takes no time."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

PACKAGE: Final = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Option:
    """One option, without its dashes."""

    name: str
    """Dotted, as on the command line."""
    values: tuple[str, ...]
    """What it may be, if that is a short list."""
    is_path: bool
    """Whether it is the name of a file or folder."""
    help: str
    """First sentence of its documentation."""
    is_positional: bool = False
    """Whether it is given without its name."""


@dataclass(frozen=True)
class _Module:
    name: str
    classes: dict[str, ast.ClassDef]
    assigned: dict[str, ast.expr]
    imported: dict[str, tuple[str, str]]


@dataclass(frozen=True)
class _Hint:
    """What an annotation allows."""

    values: tuple[str, ...] = ()
    is_path: bool = False
    nested: tuple[_Module, ast.ClassDef] | None = None


def options_of(settings: str) -> list[Option]:
    """Options of a settings dataclass, ``module:name``, and of those nested in it, in the order of the help."""
    module, name = settings.split(":")
    read = _read(module)
    return list(_fields(read, read.classes[name], ""))


def _fields(module: _Module, node: ast.ClassDef, prefix: str) -> Iterator[Option]:
    for base in node.bases:
        found = _hint(module, base)
        if found.nested is not None:
            yield from _fields(*found.nested, prefix)
    by_place = False
    for statement, following in zip(node.body, [*node.body[1:], None]):
        if not isinstance(statement, ast.AnnAssign) or not isinstance(statement.target, ast.Name):
            continue
        if statement.target.id == "by_place":
            by_place = True
            continue
        name, hint = prefix + statement.target.id, _hint(module, statement.annotation)
        text = ""
        if isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant):
            text = _first_sentence(str(following.value.value))
        positional = by_place and statement.value is None and not prefix
        yield Option(name, hint.values, hint.is_path or hint.nested is not None, text, positional)
        if hint.nested is not None:
            yield from _fields(*hint.nested, f"{name}.")


def _hint(module: _Module, node: ast.expr) -> _Hint:
    if isinstance(node, ast.Name):
        if node.id in ("Path", "bool"):
            return _Hint(("true", "false")) if node.id == "bool" else _Hint(is_path=True)
        return _named(module, node.id)
    if isinstance(node, ast.BinOp):  # a union: a part that may be None is no tree of options of its own
        left, right = _hint(module, node.left), _hint(module, node.right)
        return _Hint(left.values + right.values, left.is_path or right.is_path)
    if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name):
        if node.value.id == "Literal":
            inner = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
            return _Hint(tuple(str(part.value) for part in inner if isinstance(part, ast.Constant)))
        if node.value.id == "list":
            return _Hint(_hint(module, node.slice).values)
    return _Hint()


def _named(module: _Module, name: str) -> _Hint:
    if name in module.classes:
        return _Hint(nested=(module, module.classes[name]))
    if name in module.assigned:
        return _hint(module, module.assigned[name])
    if name in module.imported:
        where, original = module.imported[name]
        return _named(_read(where), original)
    return _Hint()


@cache
def _read(name: str) -> _Module:
    path = PACKAGE.joinpath(*name.split(".")[1:])
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    module = _Module(name, {}, {}, {})
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ClassDef):
            module.classes[node.name] = node
        elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            module.assigned[node.targets[0].id] = node.value
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("ugocc"):
            module.imported.update({a.asname or a.name: (node.module or "", a.name) for a in node.names})
    return module


def _first_sentence(text: str, longest: int = 90) -> str:
    sentence = re.split(r"(?<=[\w)])[.;] ", " ".join(text.split()).replace("``", ""))[0].rstrip(".")
    return sentence if len(sentence) <= longest else f"{sentence[: longest - 1].rsplit(' ', 1)[0]} …"
