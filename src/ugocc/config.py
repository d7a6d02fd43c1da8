"""Recipes: YAML trees that mirror the tree of settings dataclasses.

A recipe file names only what differs from the defaults. An unknown key or a value of the wrong type is an error that
names the file, the key and the nearest right one. The attribute docstrings of the dataclasses are the help texts.
"""

from __future__ import annotations

import argparse
import dataclasses
import difflib
import re
import typing
from collections.abc import Iterator, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any, TypeVar

import yaml
from jsonargparse import ArgumentError, ArgumentParser, DefaultHelpFormatter, set_parsing_settings

from ugocc.errors import DataError

set_parsing_settings(docstring_parse_attribute_docstrings=True)

T = TypeVar("T")


class _HelpFormatter(DefaultHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Keeps the lines of a description: an example is one that can be copied."""


def settings_parser(kind: type[Any], defaults: dict[str, Any] | None = None, **kwargs: Any) -> ArgumentParser:
    """A command-line parser with one option per field of the dataclass ``kind``, nested by dots, and ``--config``.

    Args:
        kind: settings dataclass. With ``by_place = True`` its fields without a default are given by their place,
            without a name.
        defaults: nested values that replace the dataclass's own defaults.
        kwargs: passed to the parser (prog, description, epilog).
    """
    parser = ArgumentParser(exit_on_error=False, formatter_class=_HelpFormatter, **kwargs)
    parser.add_argument("--config", action="config", help="recipe file (YAML); later options override it")
    parser.add_class_arguments(kind, None, as_positional=getattr(kind, "by_place", False))
    if defaults:
        parser.set_defaults(defaults)
    return parser


def parse_settings(kind: type[T], argv: Sequence[str], defaults: dict[str, Any] | None = None, **kwargs: Any) -> T:
    """Settings from command-line words such as ``--config recipe.yaml --optim.steps 500``.

    A switch may be named alone: ``--json`` is ``--json true``. A list may go without brackets: ``--seeds 0,1``.

    Raises:
        DataError: a recipe key that does not exist, or a value of the wrong type.
    """
    for path in _config_paths(argv):
        check_keys(kind, read_recipe(path), path)
    parser = settings_parser(kind, defaults, **kwargs)
    try:
        parsed = parser.parse_args(_with_lists(kind, _with_switches(kind, argv)))
    except ArgumentError as error:
        raise DataError("command line", "option", str(error), _nearest_option(parser, str(error))) from error
    values = vars(parser.instantiate(parsed))
    return kind(**{f.name: values[f.name] for f in dataclasses.fields(typing.cast(Any, kind))})


def _nearest_option(parser: ArgumentParser, message: str) -> str:
    """What to type in place of an option that is not there."""
    unknown = re.search(r"unrecognized arguments: (--[^\s=]+)", message, re.IGNORECASE)
    options = [option for action in parser._actions for option in action.option_strings]
    near = difflib.get_close_matches(unknown[1], options, n=1) if unknown else []
    return f"{near[0]}, or another option shown by --help" if near else "an option shown by --help"


def build_settings(kind: type[T], values: dict[str, Any], where: object) -> T:
    """Settings dataclass from nested plain values (as stored in a checkpoint), strictly.

    Raises:
        DataError: unknown key or wrong type, naming ``where``.
    """
    check_keys(kind, values, where)
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(kind, None)
    try:
        parsed = vars(parser.instantiate(parser.parse_object(values)))
    except ArgumentError as error:
        raise DataError(where, kind.__name__, str(error), "values of the documented types") from error
    return kind(**parsed)


def plain(settings: Any) -> Any:
    """Settings as nested dicts, lists, numbers and strings (for YAML, JSON and checkpoints)."""
    if dataclasses.is_dataclass(settings) and not isinstance(settings, type):
        return {f.name: plain(getattr(settings, f.name)) for f in dataclasses.fields(settings)}
    if isinstance(settings, dict):
        return {str(k): plain(v) for k, v in settings.items()}
    if isinstance(settings, list | tuple):
        return [plain(v) for v in settings]
    return str(settings) if isinstance(settings, Path) else settings


def read_recipe(path: Path) -> dict[str, Any]:
    """The YAML tree of a recipe file.

    Raises:
        DataError: missing file, not YAML, or not a tree of keys.
    """
    if not path.is_file():
        raise DataError(path, "recipe", "no such file", f"a YAML file, such as {_nearest_file(path)}")
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise DataError(path, "recipe", f"not YAML ({error})", "a YAML tree of keys") from error
    if not isinstance(tree, dict):
        raise DataError(path, "recipe", type(tree).__name__, "a YAML tree of keys")
    return tree


def check_keys(kind: type[Any], tree: dict[str, Any], where: object, prefix: str = "") -> None:
    """Raise :class:`DataError` on the first key of ``tree`` that the dataclass ``kind`` does not have."""
    hints = typing.get_type_hints(kind)
    for key, value in tree.items():
        if key not in hints:
            near = difflib.get_close_matches(str(key), hints, n=1, cutoff=0.4)
            advice = f"did you mean {prefix}{near[0]}?" if near else f"one of {', '.join(hints)}"
            raise DataError(where, f"{prefix}{key}", "an unknown key", advice)
        if isinstance(value, dict):
            for inner in _dataclasses_in(hints[key]):
                check_keys(inner, value, where, f"{prefix}{key}.")


def chosen(argv: Sequence[str], key: str, default: str) -> str:
    """Value of one dotted key in recipe files and words, before the parser is built: it decides other defaults."""
    value: Any = default
    for path in _config_paths(argv):
        tree: Any = read_recipe(path)
        for part in key.split("."):
            tree = tree.get(part) if isinstance(tree, dict) else None
        value = value if tree is None else tree
    for word, following in zip_longest(argv, argv[1:], fillvalue=""):
        if word == f"--{key}":
            value = following
        elif word.startswith(f"--{key}="):
            value = word.split("=", 1)[1]
    return str(value)


def _with_switches(kind: type[Any], argv: Sequence[str]) -> list[str]:
    """The words, with ``true`` after every switch that is named alone."""
    switches = {name for name, hint in _options(kind) if hint is bool}
    words: list[str] = []
    for word, following in zip_longest(argv, argv[1:], fillvalue="--"):
        words.append(word)
        if word in switches and following.startswith("--"):
            words.append("true")
    return words


def _with_lists(kind: type[Any], argv: Sequence[str]) -> list[str]:
    """The words, with brackets around the values of lists that have none."""
    lists = {
        name
        for name, hint in _options(kind)
        if any(typing.get_origin(one) is tuple for one in (hint, *typing.get_args(hint)))
    }
    words: list[str] = []
    for word in argv:
        name, equals, value = word.partition("=")
        if words and words[-1] in lists and not word.startswith("--"):
            word = _in_brackets(word)
        elif equals and name in lists:
            word = f"{name}={_in_brackets(value)}"
        words.append(word)
    return words


def _in_brackets(value: str) -> str:
    return value if value.startswith("[") or value in ("null", "None") else f"[{value}]"


def _options(kind: type[Any], prefix: str = "--") -> Iterator[tuple[str, Any]]:
    """Options and what they are, those of nested settings included."""
    for name, hint in typing.get_type_hints(kind).items():
        if dataclasses.is_dataclass(hint) and isinstance(hint, type):
            yield from _options(hint, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", hint


def _dataclasses_in(hint: Any) -> list[type[Any]]:
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return [hint]
    return [inner for part in typing.get_args(hint) for inner in _dataclasses_in(part)]


def _config_paths(argv: Sequence[str]) -> list[Path]:
    words = list(argv)
    paths = [words[i + 1] for i, word in enumerate(words[:-1]) if word == "--config"]
    return [Path(p) for p in paths + [word.split("=", 1)[1] for word in words if word.startswith("--config=")]]


def _nearest_file(path: Path) -> str:
    folder = path.parent if path.parent.is_dir() else Path("recipes")
    names = [str(p) for p in folder.glob("*.yaml")] if folder.is_dir() else []
    near = difflib.get_close_matches(str(path), names, n=1, cutoff=0.0)
    return near[0] if near else "recipes/six-flashocc-laptop.yaml"
