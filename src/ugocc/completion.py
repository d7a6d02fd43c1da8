"""The verb ``completion``: scripts that let a shell complete verbs, options, values and file names.

A script holds all words itself: a press of the tab key starts no Python.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from shlex import quote
from typing import ClassVar, Final, Literal

from ugocc.last import LAST
from ugocc.options import Option, options_of
from ugocc.pretrained import shipped

COMMON: Final = (
    Option("help", (), False, "Show what the verb does and its options"),
    Option("config", (), True, "Recipe file (YAML)"),
    Option("print_config", (), False, "Show the whole recipe and do nothing"),
)
"""Options of every verb."""


@dataclass(frozen=True)
class CompletionSettings:
    """A completion script."""

    by_place: ClassVar[bool] = True

    shell: Literal["bash", "zsh", "fish"]
    """Shell that the script is for."""


@dataclass(frozen=True)
class Words:
    """What may follow a verb."""

    summary: str
    """Of the verb."""
    options: tuple[Option, ...] = ()
    """Its options."""
    verbs: tuple[str, ...] = ()
    """Verbs inside, where it is a group of them."""

    @property
    def values(self) -> tuple[str, ...]:
        """What may follow without dashes."""
        return self.verbs + tuple(value for option in self.options if option.is_positional for value in option.values)

    @property
    def named(self) -> tuple[Option, ...]:
        """Options with dashes."""
        return tuple(option for option in self.options if not option.is_positional)


def words_of(settings: str, summary: str) -> Words:
    """What may follow a verb whose options are the fields of ``settings``, ``module:name``."""
    models = {"checkpoint": (*shipped(), LAST), "before": (*shipped(), LAST), "start": (LAST,)}
    options = [
        Option(o.name, models.get(o.name, o.values) if o.is_path else o.values, o.is_path, o.help, o.is_positional)
        for o in options_of(settings)
    ]
    return Words(summary, (*COMMON, *options))


def completion_script(settings: CompletionSettings, words: Mapping[str, Words]) -> str:
    """The script.

    Args:
        settings: which one.
        words: by verb, ``data check`` for a nested one; an empty name for what follows ``ugocc`` itself.
    """
    return {"bash": _bash, "zsh": _zsh, "fish": _fish}[settings.shell](words)


def _choices(words: Mapping[str, Words]) -> Iterator[tuple[str, str]]:
    """Values, and the pattern of all options that take them, as ``case`` of bash and zsh wants it."""
    takers: dict[tuple[str, ...], list[str]] = {}
    for verb, about in words.items():
        for option in about.named:
            if option.values:
                takers.setdefault(option.values, []).append(f"'{verb} --{option.name}'")
    for values, options in takers.items():
        yield " ".join(values), "|".join(options)


def _groups(words: Mapping[str, Words]) -> str:
    return "|".join(verb for verb, about in words.items() if verb and about.verbs)


def _bash(words: Mapping[str, Words]) -> str:
    verbs = []
    for verb, about in words.items():
        options = " ".join(f"--{option.name}" for option in about.named)
        paths = " ".join(f"--{option.name}" for option in about.named if option.is_path)
        verbs.append(f"        '{verb}') words='{' '.join(about.values)}' options='{options}' paths='{paths}' ;;")
    choices = [f"        {pattern}) words='{values}' ;;" for values, pattern in _choices(words)]
    return _BASH % {"groups": _groups(words), "verbs": "\n".join(verbs), "choices": "\n".join(choices)}


def _zsh(words: Mapping[str, Words]) -> str:
    verbs = []
    for verb, about in words.items():
        inner = [quote(f"{v}:{_summary(words, verb, v)}") for v in about.values]
        options = [quote(f"--{option.name}:{option.help}") for option in about.named]
        paths = " ".join(f"--{option.name}" for option in about.named if option.is_path)
        verbs.append(f"        ('{verb}') choices=({' '.join(inner)}) paths=' {paths} '")
        verbs.append(f"            options=({' '.join(options)}) ;;")
    choices = [f"        ({pattern}) choices=({values}) ;;" for values, pattern in _choices(words)]
    return _ZSH % {"groups": _groups(words), "verbs": "\n".join(verbs), "choices": "\n".join(choices)}


def _fish(words: Mapping[str, Words]) -> str:
    lines = []
    for verb, about in words.items():
        after, within = (f"complete -c ugocc -n '{test} {verb}'" for test in ("__ugocc_after", "__ugocc_within"))
        lines += [f"{after} -a {value} -d {_fish_quote(_summary(words, verb, value))}" for value in about.values]
        for option in about.named:
            takes = "" if option.name in ("help", "print_config") else " -r -F" if option.is_path else " -x"
            values = f" -a {_fish_quote(' '.join(option.values))}" if option.values else ""
            lines.append(f"{within} -l {option.name}{takes}{values} -d {_fish_quote(option.help)}")
    return _FISH % {"lines": "\n".join(lines)}


def _summary(words: Mapping[str, Words], verb: str, inner: str) -> str:
    about = words.get(f"{verb} {inner}".strip())
    return about.summary if about else ""


def _fish_quote(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


_BASH: Final = """\
# bash completion of ugocc, written by: ugocc completion bash
_ugocc() {
    local current=${COMP_WORDS[COMP_CWORD]} option=${COMP_WORDS[COMP_CWORD-1]}
    local verb='' words='' options='' paths='' IFS=$' \\t\\n'
    # bash takes --option=value for three words
    if [[ $current == = ]]; then
        current=''
    elif [[ $option == = ]]; then
        option=${COMP_WORDS[COMP_CWORD-2]}
    fi
    ((COMP_CWORD > 1)) && verb=${COMP_WORDS[1]}
    case $verb in
        %(groups)s) ((COMP_CWORD > 2)) && verb="$verb ${COMP_WORDS[2]}" ;;
    esac
    case $verb in
%(verbs)s
    esac
    [[ " $options " == *" $option "* ]] && words=''
    case "$verb $option" in
%(choices)s
    esac
    COMPREPLY=()
    if [[ $current == -* ]]; then
        COMPREPLY=($(compgen -W "$options" -- "$current"))
        return
    fi
    [[ -n $words ]] && COMPREPLY=($(compgen -W "$words" -- "$current"))
    if [[ " $paths " == *" $option "* ]]; then
        compopt -o filenames 2>/dev/null
        IFS=$'\\n'
        COMPREPLY+=($(compgen -f -- "$current"))
    elif [[ -z $words && " $options " != *" $option "* ]]; then
        COMPREPLY=($(compgen -W "$options" -- "$current"))
    fi
}
complete -F _ugocc ugocc
"""

_ZSH: Final = """\
#compdef ugocc
# zsh completion of ugocc, written by: ugocc completion zsh
_ugocc() {
    local verb='' option=${words[CURRENT-1]} paths=''
    local -a choices options
    if [[ $PREFIX == --*=* ]]; then
        option=${PREFIX%%%%=*}
        compset -P '*='
    fi
    (( CURRENT > 2 )) && verb=${words[2]}
    case $verb in
        (%(groups)s) (( CURRENT > 3 )) && verb="$verb ${words[3]}" ;;
    esac
    case $verb in
%(verbs)s
    esac
    (( ${options[(I)$option:*]} )) && choices=()
    case "$verb $option" in
%(choices)s
    esac
    if [[ $PREFIX == -* ]]; then
        _describe -o option options
        return
    fi
    (( $#choices )) && _describe value choices
    if [[ $paths == *" $option "* ]]; then
        _files
    elif (( ! $#choices && ! ${options[(I)$option:*]} )); then
        _describe -o option options
    fi
}
if [[ ${funcstack[1]} == _ugocc ]]; then
    _ugocc "$@"
else
    compdef _ugocc ugocc
fi
"""

_FISH: Final = """\
# fish completion of ugocc, written by: ugocc completion fish
function __ugocc_after
    set -l words (commandline -opc)
    set -e words[1]
    test "$words" = "$argv"
end
function __ugocc_within
    set -l words (commandline -opc)
    set -e words[1]
    string match -q -- "$argv *" "$words "
end
complete -c ugocc -f
%(lines)s
"""
