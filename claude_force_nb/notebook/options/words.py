"""The words of a magic's line as they were typed, with their quotes."""

from __future__ import annotations

import re
from typing import List, Tuple

from claude_force_nb.errors import OptionError

__all__ = ["check_quotation", "words_of"]

_OPENING, _CLOSING = "([{", ")]}"
_QUOTED = re.compile(r"'''.*?'''|\"\"\".*?\"\"\"|'(?:[^'\\\n]|\\.)*'|\"(?:[^\"\\\n]|\\.)*\"", re.DOTALL)
# A word that a shell reads as the text between its quotes.
_IN_QUOTES = re.compile(r"'[^']*'|\"(?:[^\"\\]|\\.)*\"", re.DOTALL)
# The options that take an expression of the notebook.
_EXPRESSIONS = ("schema",)
_LONGEST_SHOWN = 200


def words_of(line: str) -> List[Tuple[int, int]]:
    """Return the start and end of each word; words are separated by blanks outside brackets and quotes."""
    words: List[Tuple[int, int]] = []
    depth = position = 0
    start = -1
    while position < len(line):
        character = line[position]
        if character.isspace() and depth == 0:
            if start >= 0:
                words.append((start, position))
                start = -1
            position += 1
            continue
        if start < 0:
            start = position
        quoted = _QUOTED.match(line, position) if character in "'\"" else None
        if quoted is not None:
            position = quoted.end()
            continue
        depth += (character in _OPENING) - (character in _CLOSING)
        depth = max(depth, 0)
        position += 1
    if start >= 0:
        words.append((start, len(line)))
    return words


def check_quotation(name: str, value: str) -> None:
    """Refuse an expression whose quotes would be taken for those of the line, and lost; another option's value is not looked at.

    Parameters
    ----------
    name : str
        Of the option.
    value : str
        As typed.

    Raises
    ------
    OptionError
        Says how to write it.
    """
    if name not in _EXPRESSIONS or not set(value) & {"'", '"'} or _IN_QUOTES.fullmatch(value):
        return
    if value[0] in "'\"":
        if value.count(value[0]) == 1:  # not closed, which reading it finds
            return
        value = value[1:-1] if value[0] == value[-1] else value
    quote = "'" if "'" not in value else '"'
    if quote in value or "\\" in value or len(value) > _LONGEST_SHOWN:
        remedy = f"give it a name in a cell, and write {name}=NAME"
    else:
        remedy = f"write {name}={quote}{value}{quote}"
    raise OptionError(f"the value of {name} contains quotes, which a magic line removes as a shell would; {remedy}")
