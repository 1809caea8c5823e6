"""Parses a magic's line: options of the table, and the rest."""

from __future__ import annotations

import difflib
import shlex
from dataclasses import dataclass
from io import StringIO
from typing import Any, Collection, Dict, Iterable, Mapping, Tuple

from claude_force_nb.errors import OptionError
from claude_force_nb.vocabulary import did_you_mean

from .option import Option
from .reading import read_option
from .table import LINE_OPTIONS, OPTIONS
from .words import check_quotation, words_of

__all__ = ["Invocation", "parse_line", "parse_pairs"]


@dataclass(frozen=True)
class Invocation:
    """A parsed line: the options given, and the text that is not an option."""

    options: Mapping[str, Any]
    rest: str = ""


def parse_line(line: str, *, allowed: Iterable[str] = LINE_OPTIONS, free_text: bool = False) -> Invocation:
    """Parse ``key=value``, ``--key value``, ``--key=value`` and bare flags, with quotes as in a shell.

    Parameters
    ----------
    line : str
        The text after the magic's name.
    allowed : iterable of str
        Names of the allowed options.
    free_text : bool
        True for the line form: options come first, and the first word that is not an option begins the prompt, which is kept
        as typed, including quotes.

    Raises
    ------
    OptionError
        If an option is unknown, a value is missing or invalid, or a quote is not closed; without `free_text` also if a word
        is not an option.
    """
    known = {name: OPTIONS[name] for name in allowed}
    options: Dict[str, Any] = {}
    rest = line.strip()
    while rest:
        name, is_option = _option_name(rest, known, strict=not free_text)
        if not is_option:
            break
        option = known[name]
        _check_quotation(name, rest)
        head, rest = _cut(rest)
        if option.flag:
            if "=" in head:
                raise OptionError(f"--{name} takes no value")
            options[name] = True
        else:
            text, rest = _option_value(head, rest, name)
            if name in options:
                raise OptionError(f"{name} is given twice")
            options[name] = read_option(name, text)
    if rest and not free_text:
        word = _cut(rest)[0]
        raise OptionError(
            f"{word!r} is not an option; write key=value, or the prompt below the line{_meant(word, known)}"
        )
    return Invocation(options, rest)


def _meant(word: str, known: Mapping[str, Option]) -> str:
    """Return ``"; did you mean 'model=haiku'?"`` for a value without its option, or a flag without dashes; else ""."""
    from claude_force_nb.costs.pricing import load_prices

    pairs = {f"{name}={choice}" for name, option in known.items() for choice in option.choices}
    if "model" in known:
        pairs |= {f"model={alias}" for alias in load_prices().aliases}
    typed = {pair.partition("=")[2]: pair for pair in sorted(pairs)}
    typed.update((name, "--" + name) for name, option in known.items() if option.flag)
    typed.update((name, name + "=…") for name, option in known.items() if not option.flag)
    near = [word] if word in typed else difflib.get_close_matches(word, typed, n=1, cutoff=0.7)
    return f"; did you mean {typed[near[0]]!r}?" if near else ""


def _option_name(rest: str, known: Mapping[str, Option], *, strict: bool) -> Tuple[str, bool]:
    """Return the name at the start of `rest`, and whether it is an option; raise if it looks like one but is unknown."""
    word = rest.split(None, 1)[0]
    name, equals, _ = word.partition("=")
    dashed = name.startswith("--")
    plain = name[2:] if dashed else name
    # A name of two words may be spelled with "-" or "_".
    plain = (
        plain
        if plain in known
        else plain.replace("_", "-")
        if plain.replace("_", "-") in known
        else plain.replace("-", "_")
    )
    if plain in known and (dashed or equals):
        return plain, True
    if (dashed and len(name) > 2) or (equals and strict):
        near = did_you_mean(plain, known)
        raise OptionError(f"unknown option {name!r}; nothing was sent{near}")
    if equals and plain.isidentifier() and did_you_mean(plain, known):
        # In a prompt "x=1" is ordinary text, but "modle=opus" is a typing error that would cost money.
        raise OptionError(f"unknown option {name!r}; nothing was sent{did_you_mean(plain, known)}")
    return plain, False


def _check_quotation(name: str, rest: str) -> None:
    """Refuse a value that would lose its own quotes, at the head of `rest` with its option."""
    typed = [rest[start:end] for start, end in words_of(rest)[:2]]
    _, equals, value = typed[0].partition("=")
    check_quotation(name, value if equals else typed[-1])


def _cut(rest: str) -> Tuple[str, str]:
    """Split off the first word as a shell would; return it without quotes, and the rest as typed."""
    source = StringIO(rest)
    lexer = shlex.shlex(source, posix=True)
    lexer.whitespace_split = True
    lexer.commenters = ""
    try:
        word = lexer.get_token()
    except ValueError:
        raise OptionError(f"a quote is not closed in: {rest}") from None
    return word or "", rest[source.tell() :].lstrip()


def _option_value(head: str, rest: str, name: str) -> Tuple[str, str]:
    _, equals, text = head.partition("=")
    if equals:
        if not text:
            raise OptionError(f"{name} needs a value")
        return text, rest
    if not rest or rest.startswith("--"):
        raise OptionError(f"--{name} needs a value")
    return _cut(rest)


def parse_pairs(line: str, known: Collection[str], magic: str) -> Dict[str, str]:
    """Parse a magic's line of ``key=value`` pairs, with quotes as in a shell.

    Raises
    ------
    OptionError
        If a quote is not closed, a word has no ``=``, or a name is not in `known`.
    """
    try:
        words = shlex.split(line)
    except ValueError:
        raise OptionError(f"{magic}: a quote is not closed") from None
    pairs = {}
    for word in words:
        name, equals, value = word.partition("=")
        name = name.replace("-", "_")
        if not equals:
            raise OptionError(f"{magic} takes key=value, not {word!r}{did_you_mean(name, known)}")
        if name not in known:
            raise OptionError(f"{magic}: unknown setting {name!r}{did_you_mean(name, known)}")
        pairs[name] = value
    return pairs
