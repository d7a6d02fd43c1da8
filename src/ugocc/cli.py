"""The command line: finds the verb that was typed, runs it, and says what went wrong in a line."""

from __future__ import annotations

import difflib
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Final

from ugocc import __version__
from ugocc.allocator import keep_freed_memory
from ugocc.calm import quieten
from ugocc.errors import DataError, told_by_worker
from ugocc.verbs import GROUPS, VERBS, Verb

STATUS: Final = """\
Exit status: 0 done; 1 input that cannot be used, a problem found, or an error; 2 a command that is not understood;
130 interrupted with Ctrl-C."""
"""For the list of verbs."""


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of ``ugocc``; returns the exit status (see :data:`STATUS`)."""
    words = list(sys.argv[1:] if argv is None else argv)
    if words[:1] in (["--version"], ["-V"]):
        print(f"ugocc {__version__}")
        return 0
    verbs: Mapping[str, Verb | Mapping[str, Verb]] = VERBS
    name, depth = "ugocc", 0
    while True:
        word = words[depth] if depth < len(words) else "--help"
        if word in ("-h", "--help"):
            print(_overview(name, verbs))
            return 0
        entry = verbs.get(word)
        if entry is None:
            near = difflib.get_close_matches(word, verbs, n=1)
            advice = f"did you mean {near[0]!r}?" if near else f"one of {', '.join(verbs)}"
            print(f"{name}: unknown verb {word!r}; {advice}", file=sys.stderr)
            return 2
        name, depth = f"{name} {word}", depth + 1
        if isinstance(entry, Verb):
            break
        verbs = entry
    from ugocc.output import progress_to_stderr

    texts = {
        "prog": name,
        "usage": f"{name} [options]",
        "description": f"{entry.summary}\n\nExample:\n  {entry.example}",
    }
    keep_freed_memory()
    quieten()
    progress_to_stderr()
    try:
        entry(words[depth:], texts)
        sys.stdout.flush()
    except DataError as error:
        if os.environ.get("UGOCC_TRACEBACK"):
            raise
        print(f"{name}: {error}", file=sys.stderr)
        return 2 if error.where == "command line" else 1
    except BrokenPipeError:  # whoever read the output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as raised:
        if os.environ.get("UGOCC_TRACEBACK"):
            raise
        told = told_by_worker(raised)
        if isinstance(told, DataError):
            print(f"{name}: {told}", file=sys.stderr)
            return 1
        print(f"{name}: {type(told).__name__}: {_cause(told)} (UGOCC_TRACEBACK=1 shows where)", file=sys.stderr)
        return 1
    except (KeyboardInterrupt, SystemExit) as left:
        # Lightning answers Ctrl-C by leaving with status 1.
        if not isinstance(left, KeyboardInterrupt) and not isinstance(left.__context__, KeyboardInterrupt):
            raise
        after = "; the same command continues where it stopped" if entry.resumes else ""
        print(f"\n{name}: interrupted{after}", file=sys.stderr)
        return 130
    return 0


def _cause(error: Exception) -> str:
    """A line of an error that says what happened: of one in a data loader's process, whose text is a traceback, the
    last."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or ["no message"]
    if "DataLoader worker" in lines[0]:
        return lines[-1]
    return " ".join(lines[:2]) if lines[0].endswith(":") else lines[0]


def _overview(name: str, verbs: Mapping[str, Verb | Mapping[str, Verb]]) -> str:
    lines = [f"usage: {name} VERB [options]", ""]
    if verbs is VERBS:
        lines += ["Camera-only 3D semantic occupancy on cars nobody labelled.", ""]
    groups = GROUPS if verbs is VERBS else {"Verbs": tuple(verbs)}
    for title, names in groups.items():
        lines.append(f"{title}:")
        for verb in names:
            entry = verbs[verb]
            inner = entry.summary if isinstance(entry, Verb) else " | ".join(entry)
            lines.append(f"  {verb:<10} {inner}")
        lines.append("")
    first = next(v for v in verbs.values() if isinstance(v, Verb))
    lines.append(f"'{name} VERB --help' explains a verb. Example: {first.example}")
    return "\n".join(lines if verbs is not VERBS else [*lines, "", STATUS])


if __name__ == "__main__":
    raise SystemExit(main())
