"""Checks for the shape of JSON data, which refuse invalid values with the API's own messages. Pure.

A check is a function of a value and its path that raises ApiFailure; larger checks are composed of smaller ones.
"""

from __future__ import annotations

import re
from typing import Any, Callable, Mapping, Optional, Sequence

from .failures import invalid

__all__ = [
    "Check",
    "anything",
    "boolean",
    "check_fields",
    "integer",
    "list_of",
    "literal",
    "mapping",
    "nullable",
    "number",
    "record",
    "tagged",
    "text",
    "text_or",
]

Check = Callable[[Any, str], None]


def anything(value: Any, path: str) -> None:
    """Accept any value."""


def boolean(value: Any, path: str) -> None:
    """Accept true and false."""
    if not isinstance(value, bool):
        raise invalid(f"{path}: Input should be a valid boolean")


def mapping(value: Any, path: str) -> None:
    """Accept any object."""
    if not isinstance(value, dict):
        raise invalid(f"{path}: Input should be a valid dictionary")


def nullable(check: Check) -> Check:
    """Return a check that also accepts null."""

    def checked(value: Any, path: str) -> None:
        if value is not None:
            check(value, path)

    return checked


def text(least: int = 0, most: Optional[int] = None, pattern: Optional[str] = None) -> Check:
    """Return a check for a string of `least` to `most` characters that matches `pattern`."""
    compiled = None if pattern is None else re.compile(pattern)

    def checked(value: Any, path: str) -> None:
        if not isinstance(value, str):
            raise invalid(f"{path}: Input should be a valid string")
        if len(value) < least:
            raise invalid(f"{path}: String should have at least {least} character{'s' if least > 1 else ''}")
        if most is not None and len(value) > most:
            raise invalid(f"{path}: String should have at most {most} characters")
        # fullmatch, since "$" would also match before a line break at the end.
        if compiled is not None and not compiled.fullmatch(value):
            raise invalid(f"{path}: String should match pattern '{pattern}'")

    return checked


def integer(low: Optional[int] = None) -> Check:
    """Return a check for a whole number of at least `low`."""

    def checked(value: Any, path: str) -> None:
        if isinstance(value, bool) or not isinstance(value, int):
            raise invalid(f"{path}: Input should be a valid integer")
        if low is not None and value < low:
            raise invalid(f"{path}: Input should be greater than or equal to {low}")

    return checked


def number(low: float, high: float) -> Check:
    """Return a check for a number from `low` to `high`."""

    def checked(value: Any, path: str) -> None:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise invalid(f"{path}: Input should be a valid number")
        if not low <= value <= high:
            raise invalid(f"{path}: range: {low:g}..{high:g}")

    return checked


def _choices(values: Sequence[str]) -> str:
    quoted = [f"'{value}'" for value in values]
    return quoted[0] if len(quoted) == 1 else f"{', '.join(quoted[:-1])} or {quoted[-1]}"


def literal(*values: str) -> Check:
    """Return a check for one of `values`."""

    def checked(value: Any, path: str) -> None:
        if not isinstance(value, str) or value not in values:
            raise invalid(f"{path}: Input should be {_choices(values)}")

    return checked


def list_of(check: Check, least: int = 0, most: Optional[int] = None) -> Check:
    """Return a check for a list of `least` to `most` items that `check` accepts."""

    def checked(value: Any, path: str) -> None:
        if not isinstance(value, list):
            raise invalid(f"{path}: Input should be a valid list")
        if len(value) < least:
            raise invalid(f"{path}: List should have at least {least} item after validation, not {len(value)}")
        if most is not None and len(value) > most:
            raise invalid(f"{path}: List should have at most {most} items after validation, not {len(value)}")
        for number_, item in enumerate(value):
            check(item, f"{path}.{number_}")

    return checked


def text_or(check: Check, least: int = 0) -> Check:
    """Return a check for a string, or for a value that `check` accepts."""
    string = text(least)

    def checked(value: Any, path: str) -> None:
        if isinstance(value, list):
            check(value, path)
        elif isinstance(value, str):
            string(value, path)
        else:
            raise invalid(f"{path}: Input should be a valid string or list")

    return checked


def check_fields(value: Mapping[str, Any], path: str, fields: Mapping[str, Check], required: Sequence[str]) -> None:
    """Raise ApiFailure unless `value` has the `required` fields, and none other than `fields`."""
    prefix = path + "." if path else ""
    for name in required:
        if name not in value:
            raise invalid(f"{prefix}{name}: Field required")
    for name, item in value.items():
        check = fields.get(name)
        if check is None:
            raise invalid(f"{prefix}{name}: Extra inputs are not permitted")
        check(item, prefix + name)


def record(fields: Mapping[str, Check], required: Sequence[str] = ()) -> Check:
    """Return a check for an object with these `fields` and no others."""

    def checked(value: Any, path: str) -> None:
        if not isinstance(value, dict):
            raise invalid(f"{path}: Input should be a valid dictionary")
        check_fields(value, path, fields, required)

    return checked


def tagged(kinds: Mapping[str, Check], default: Optional[str] = None) -> Check:
    """Return a check for an object whose ``type`` selects one of `kinds`; the type becomes part of the path."""
    expected = ", ".join(f"'{kind}'" for kind in kinds)

    def checked(value: Any, path: str) -> None:
        if not isinstance(value, dict):
            raise invalid(f"{path}: Input should be a valid dictionary")
        kind = value.get("type") or default
        if kind is None:
            raise invalid(f"{path}: Unable to extract tag using discriminator 'type'")
        check = kinds.get(kind) if isinstance(kind, str) else None
        if check is None:
            raise invalid(
                f"{path}: Input tag '{kind}' found using 'type' does not match any of the expected tags: {expected}"
            )
        check(value, f"{path}.{kind}")

    return checked
