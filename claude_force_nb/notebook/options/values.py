"""Parsers of option values from text. They raise ValueError for an invalid value, or OptionError to say why."""

from __future__ import annotations

from keyword import iskeyword
from typing import Any, Callable, Union

from claude_force_nb.errors import OptionError
from claude_force_nb.vocabulary import is_name, is_positive

__all__ = [
    "number_within",
    "read_cache_url",
    "read_dollars",
    "read_memory",
    "read_name",
    "read_positive",
    "read_prices_option",
    "read_server",
    "read_switch",
    "read_text",
    "read_thinking",
    "read_whole_number",
    "whole_number_from",
]


def read_text(value: str) -> str:
    """Return the text unchanged."""
    return value


def read_cache_url(value: str) -> str:
    """Return the address of a Redis server; errors do not quote it, since it may contain a password."""
    from claude_force_nb.cache.addresses import shown_address  # not needed while the extension loads

    shown_address(value)
    return value


def read_whole_number(value: str) -> int:
    """Return a whole number; ``1_000`` is accepted."""
    return int(value.replace("_", ""))


def whole_number_from(least: int) -> Callable[[str], int]:
    """Return a parser of whole numbers of at least `least`."""

    def read(value: str) -> int:
        number = read_whole_number(value)
        if number < least:
            raise ValueError
        return number

    return read


def number_within(least: float, most: float) -> Callable[[str], float]:
    """Return a parser of numbers from `least` to `most`."""

    def read(value: str) -> float:
        number = float(value)
        if not least <= number <= most:  # nan as well
            raise ValueError
        return number

    return read


def read_positive(value: str) -> float:
    """Return a finite number greater than 0."""
    number = float(value)
    if not is_positive(number):
        raise ValueError
    return number


def read_dollars(value: str) -> str:
    """Return US dollars as text, or ``none``."""
    from claude_force_nb.costs.reservation import parse_budget

    try:
        limit = parse_budget(value)
    except OptionError:
        raise ValueError from None
    return "none" if limit is None else format(limit, "f")  # so that 1e3 is shown as 1000


def read_switch(value: str) -> bool:
    """Return True for on, False for off."""
    lowered = value.lower()
    if lowered in ("on", "true", "yes", "1"):
        return True
    if lowered in ("off", "false", "no", "0"):
        return False
    raise ValueError


def read_memory(value: str) -> Union[bool, str]:
    """Return whether a conversation is kept, or its name."""
    try:
        return read_switch(value)
    except ValueError:
        if not is_name(value):
            raise
        return value


def read_prices_option(value: Any) -> Any:
    """Return the prices from a file or a mapping."""
    from claude_force_nb.costs.user_prices import UserPrices, read_prices

    return value if isinstance(value, UserPrices) else read_prices(value)


def read_thinking(value: str) -> str:
    """Return the value of ``thinking=``, checked."""
    from claude_force_nb.messages.thinking import thinking_body

    thinking_body(value)
    return value


def read_server(value: str) -> str:
    """Return the address of a server, checked, or ``simulator``."""
    from claude_force_nb.messages.request import normalise_base_url

    if value != "simulator":
        normalise_base_url(value)
    return value


def read_name(value: str) -> str:
    """Return a valid name of a variable."""
    if not value.isidentifier() or iskeyword(value):
        raise ValueError
    return value
