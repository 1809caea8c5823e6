"""Limits on how deeply data may be nested. Pure.

Python's recursion limit does not protect against data that is nested thousands of levels deep or contains itself.
Programs, including notebooks, raise the limit, and then the C stack overflows, first in threads, whose stacks are
small. Before Python 3.9, even the default limit can end the process: if an object is finalised during the descent, its
RecursionError is lost, and the next one is fatal. So we check the depth of data from outside before any recursive code
sees it.
"""

from __future__ import annotations

import json
import re
import sys
from typing import Any, Dict, Iterator, Mapping, Match, Union

__all__ = ["MOST_DEPTH", "check_depth", "check_level", "is_nested_deeper", "load_json", "load_toml"]

MOST_DEPTH = 200
"""Most levels of nested lists and objects; the API's own answers and tools have about a dozen."""

# The closing quotation mark is optional, so that an unclosed string matches too and no text is scanned twice.
_BRACKETS = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"?|[\[{]|[\]}]', re.DOTALL)
_TOML_BRACKETS = re.compile(
    r'"{3}.*?(?<!\\)"{3}|\'{3}.*?\'{3}|"(?:[^"\\\n]|\\.)*"|\'[^\'\n]*\'|#[^\n]*|[\[{]|[\]}]', re.DOTALL
)


def check_level(depth: int) -> None:
    """Raise RecursionError if a value at `depth` (0 for the outermost) is nested too deeply."""
    if depth >= MOST_DEPTH:
        raise RecursionError(f"nested more than {MOST_DEPTH} levels deep, or contains itself")


def check_depth(value: Any) -> None:
    """Raise RecursionError if data is nested more than `MOST_DEPTH` levels deep or contains itself."""
    parts = [(value, 0)]
    while parts:
        part, depth = parts.pop()
        if isinstance(part, Mapping):
            items = list(part.values())
        elif isinstance(part, (list, tuple, set, frozenset)):
            items = list(part)
        else:
            continue
        check_level(depth)
        parts += [(item, depth + 1) for item in items]


def is_nested_deeper(text: str, most: int = MOST_DEPTH, start: int = 0) -> bool:
    """Return whether the JSON list or object that begins at `start` has more than `most` levels; runs in linear time."""
    if text.count("[", start) + text.count("{", start) <= most:
        return False
    return _is_deeper(_BRACKETS.finditer(text, start), most, one_value=True)


def _is_deeper(tokens: Iterator[Match[str]], most: int, *, one_value: bool) -> bool:
    """Return whether brackets are nested deeper than `most`; with `one_value`, stop after the first value, like a parser."""
    depth = 0
    for match in tokens:
        sign = match.group()
        if sign in ("[", "{"):
            depth += 1
            if depth > most:
                return True
        elif sign in ("]", "}"):
            depth -= 1
            if one_value and depth <= 0:
                return False
    return False


def load_json(text: Union[str, bytes], **options: Any) -> Any:
    """Do the same as ``json.loads(text, **options)``, with a limit on depth.

    Raises
    ------
    ValueError
        If `text` is not valid JSON, or nested more than `MOST_DEPTH` levels deep.
    """
    if not isinstance(text, str):
        text = text.decode(json.detect_encoding(text), "surrogatepass")
    if is_nested_deeper(text):
        raise ValueError(f"nested more than {MOST_DEPTH} levels deep")
    return json.loads(text, **options)


def load_toml(text: str, **options: Any) -> Dict[str, Any]:
    """Do the same as ``tomllib.loads(text, **options)``, with a limit on depth.

    Raises
    ------
    ValueError
        If `text` is not valid TOML, or nested more than `MOST_DEPTH` levels deep.
    """
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    if _is_deeper(_TOML_BRACKETS.finditer(text), MOST_DEPTH, one_value=False):
        raise ValueError(f"nested more than {MOST_DEPTH} levels deep")
    data: Dict[str, Any] = tomllib.loads(text, **options)
    try:
        check_depth(data)  # dotted keys nest without brackets
    except RecursionError as error:
        raise ValueError(str(error)) from None
    return data
