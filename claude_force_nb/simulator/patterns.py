"""Finds a short text that matches a regular expression, for the ``pattern`` of a JSON schema. Pure."""

from __future__ import annotations

import re
import string
import sys
from importlib import import_module
from typing import Any, Optional

__all__ = ["matching"]

# Python's own parser. It moved in 3.11, since when its old name emits a warning.
_parser = import_module("re._parser" if sys.version_info >= (3, 11) else "sre_parse")
_CATEGORIES = {"CATEGORY_DIGIT": "1", "CATEGORY_WORD": "a", "CATEGORY_SPACE": " "}
_TRIED = string.ascii_letters + string.digits + " -_.,"
_LONGEST = 1000
# The parser goes down into each.
_MOST_GROUPS = 100


class _NoIdea(Exception):
    """The expression has a part that is not supported."""


def matching(pattern: str) -> Optional[str]:
    """Return a text in which `pattern` is found; None if it is not a valid expression, or too complex."""
    if pattern.count("(") > _MOST_GROUPS:
        return None
    try:
        text = _sequence(_parser.parse(pattern))
        return text if len(text) <= _LONGEST and re.search(pattern, text) else None
    except (_NoIdea, re.error, RecursionError, OverflowError):
        return None


def _sequence(parts: Any) -> str:
    text = ""
    for kind, value in parts:
        text += _part(str(kind), value)
        if len(text) > _LONGEST:
            raise _NoIdea
    return text


def _part(kind: str, value: Any) -> str:
    if kind == "LITERAL":
        return chr(value)
    if kind == "ANY":
        return "a"
    if kind == "AT":
        return ""
    if kind == "IN":
        return _one_of(value)
    if kind == "NOT_LITERAL":
        return "a" if value != ord("a") else "b"
    if kind in ("MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT"):
        least, most, inner = value
        times = max(int(least), 1 if int(most) else 0)
        if times > _LONGEST:
            raise _NoIdea
        return _sequence(inner) * times
    if kind == "SUBPATTERN":
        return _sequence(value[-1])
    if kind == "BRANCH":
        return _sequence(value[1][0])
    raise _NoIdea


def _one_of(members: Any) -> str:
    kind, value = str(members[0][0]), members[0][1]
    if kind == "NEGATE":
        for character in _TRIED:
            if not any(_has(str(each), what, character) for each, what in members[1:]):
                return character
        raise _NoIdea
    if kind == "LITERAL":
        return chr(value)
    if kind == "RANGE":
        return chr(value[0])
    found = _CATEGORIES.get(str(value))
    if found is None:
        raise _NoIdea
    return found


def _has(kind: str, value: Any, character: str) -> bool:
    if kind == "LITERAL":
        return chr(value) == character
    if kind == "RANGE":
        return bool(value[0] <= ord(character) <= value[1])
    expressions = {"CATEGORY_DIGIT": r"\d", "CATEGORY_WORD": r"\w", "CATEGORY_SPACE": r"\s"}
    return re.match(expressions.get(str(value), "."), character) is not None
