"""Parses the line of ``%claude_batch``: options, and between or beside them a Python expression for the source."""

from __future__ import annotations

import os
import re
import shlex
from pathlib import Path
from typing import Any, Collection, Dict, List, Mapping, Tuple

from claude_force_nb.errors import OptionError, SourceError
from claude_force_nb.vocabulary import did_you_mean, names_of_the_user

from .line import Invocation
from .of_magics import BATCH_OPTIONS
from .reading import read_option
from .table import OPTIONS
from .words import check_quotation, words_of

__all__ = ["evaluate_source", "is_path", "parse_batch_line"]

_NAMED = re.compile(r"(--)?([A-Za-z][\w-]*)(=(?!=))?(.*)", re.DOTALL)
_TABLES = (".jsonl", ".parquet")


def is_path(text: str) -> bool:
    """Return whether ``into=`` takes the text as a file rather than a variable."""
    return Path(text).suffix.lower() in _TABLES


def parse_batch_line(line: str, *, allowed: Collection[str] = BATCH_OPTIONS) -> Invocation:
    """Split the line into its options and the expression, which is kept as typed.

    An option is ``key=value``, ``--key value``, ``--key=value`` or ``--flag`` outside brackets and quotes. Everything else is
    the expression, which may contain blanks.

    Parameters
    ----------
    line : str
        The text after the magic's name.
    allowed : collection of str
        Names of the allowed options.

    Raises
    ------
    OptionError
        If an option is unknown or given twice, or its value is missing or invalid.
    """
    words = words_of(line)
    options: Dict[str, Any] = {}
    expression: List[Tuple[int, int]] = []
    position = 0
    while position < len(words):
        start, end = words[position]
        match = _NAMED.fullmatch(line[start:end])
        position += 1
        name = None if match is None else _known(match.group(2), allowed)
        if match is None or not (match.group(1) or match.group(3)):
            expression.append((start, end))
            continue
        if name is None:
            shown = (match.group(1) or "") + match.group(2)
            if match.group(2) == "raw":
                raise OptionError(
                    "--raw cannot be used in a batch, which fills in {{ }} for each row; to send {{ }} literally, "
                    "write {{ '{{…}}' }}; nothing was sent"
                )
            raise OptionError(f"unknown option {shown!r}; nothing was sent{_near(match.group(2), allowed)}")
        value = match.group(4) if match.group(3) else None
        if OPTIONS[name].flag:
            if value is not None:
                raise OptionError(f"--{name} takes no value")
            options[name] = True
            continue
        if value is None and position < len(words):
            value = line[slice(*words[position])]
            position += 1
        if not value or value.startswith("--"):
            raise OptionError(f"{name} needs a value")
        if name in options:
            raise OptionError(f"{name} is given twice")
        check_quotation(name, value)
        options[name] = _read(name, value)
    return Invocation(options, " ".join(line[start:end] for start, end in expression))


def _read(name: str, value: str) -> Any:
    try:
        text = "".join(shlex.split(value))
    except ValueError:
        raise OptionError(f"a quote is not closed in: {value}") from None
    return text if name == "into" and is_path(text) else read_option(name, text)


def _known(word: str, allowed: Collection[str]) -> Any:
    for name in (word, word.replace("_", "-"), word.replace("-", "_")):
        if name in allowed:
            return name
    return None


def _near(word: str, allowed: Collection[str]) -> str:
    return did_you_mean(word.replace("-", "_"), allowed)


def _is_name_of_a_file(expression: str) -> bool:
    from claude_force_nb.rows.readers import FILE_KINDS, file_kind  # not needed while the extension loads

    return not set(expression) & set("([{\"'") and file_kind(Path(expression)) in FILE_KINDS


def evaluate_source(expression: str, names: Mapping[str, Any]) -> Any:
    """Return the value of the expression; an unquoted path of an existing file is returned unchanged.

    Raises
    ------
    SourceError
        If the text is not an expression, or its evaluation fails.
    """
    if not expression:
        raise SourceError("say what the rows are: a list, a table or a path, as in %claude_batch reviews")
    if "(" not in expression and Path(expression).suffix and os.path.isfile(os.path.expanduser(expression)):
        return Path(expression)
    try:
        return eval(compile(expression, "<source>", "eval"), dict(names))
    except Exception as error:
        # However it fails: reviews.csv is an attribute if there is a variable reviews, and data/reviews.csv is a quotient.
        if _is_name_of_a_file(expression):
            raise SourceError(f"there is no file {expression}") from None
        raise _failed(expression, names, error) from error


def _failed(expression: str, names: Mapping[str, Any], error: Exception) -> SourceError:
    """Return the error of an expression that cannot be evaluated."""
    if isinstance(error, SyntaxError):
        return SourceError(f"{expression} is not an expression: {error.msg}")
    if isinstance(error, NameError):
        missing = re.search(r"'(\w+)'", str(error))
        near = did_you_mean(missing.group(1), names_of_the_user(names)) if missing else ""
        return SourceError(f"{missing.group(1) if missing else expression} is not defined{near}")
    reason = " ".join(str(error).split())
    return SourceError(f"{expression} failed: {type(error).__name__}: {reason}")
