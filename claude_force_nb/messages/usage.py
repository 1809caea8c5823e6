"""What an answer is billed for. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from decimal import Context, Decimal
from typing import Any, Dict, Iterable, Iterator, Optional, Tuple

__all__ = ["EXACT", "Usage", "add_dollars", "sum_dollars"]

# Our own context, because the notebook may have changed the precision of the default one.
EXACT = Context(prec=100)


def add_dollars(one: Decimal, other: Decimal) -> Decimal:
    """Return the exact sum of two amounts, whatever precision the notebook has set."""
    return EXACT.add(one, other)


def sum_dollars(amounts: Iterable[Optional[Decimal]]) -> Optional[Decimal]:
    """Return the exact sum of amounts; None if one of them is unknown."""
    total = Decimal(0)
    for amount in amounts:
        if amount is None:
            return None
        total = EXACT.add(total, amount)
    return total


def _count(value: Any) -> int:
    return value if type(value) is int and value > 0 else 0


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


@dataclass(frozen=True)
class Usage:
    """Tokens and extras that one answer is billed for.

    Attributes
    ----------
    input_tokens : int
        Tokens read at the full price; cache writes and reads are not in it.
    output_tokens : int
        Tokens written, thinking included.
    cache_write_5m_tokens, cache_write_1h_tokens : int
        Tokens written to the API's prompt cache, by lifetime.
    cache_read_tokens : int
        Tokens read from the API's prompt cache.
    web_searches : int
        Server-side web searches.
    service_tier : str
        ``"standard"``, ``"priority"`` or ``"batch"``; ``"mixed"`` if it covers several.
    speed : str
        ``"standard"`` or ``"fast"``.
    inference_geo : str
        ``"global"`` (also if the API does not say), or the region that the model had to run in, such as ``"us"``.
    thinking_tokens : int
        How many of `output_tokens` are thinking.
    web_fetches : int
        Server-side fetches of pages, which are free.
    known : bool
        False if the server did not report full usage; the numbers are then incomplete, and the cost is unknown.
    billed : bool
        False if the API does not bill the answer, as with some refusals.
    other : mapping of str to int
        Further counters of the API, by their path, such as ``server_tool_use.code_execution_requests``.

    Notes
    -----
    Field meanings: Messages API reference, ``usage`` object.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    cache_write_5m_tokens: int = 0
    cache_write_1h_tokens: int = 0
    cache_read_tokens: int = 0
    web_searches: int = 0
    service_tier: str = "standard"
    speed: str = "standard"
    inference_geo: str = "global"
    thinking_tokens: int = 0
    web_fetches: int = 0
    known: bool = field(default=True, compare=False)
    billed: bool = True
    other: Mapping[str, int] = field(default_factory=dict, hash=False)

    @property
    def total_input_tokens(self) -> int:
        """All tokens the model read, from the prompt cache or not."""
        return self.input_tokens + self.cache_write_5m_tokens + self.cache_write_1h_tokens + self.cache_read_tokens

    @classmethod
    def from_api(cls, usage: Any, *, answered: bool = True) -> Usage:
        """Read the API's ``usage`` object; what is missing, null or not a positive whole number counts as 0.

        Parameters
        ----------
        usage : object
            As received: a server other than the API may send anything, or nothing.
        answered : bool
            Whether the answer has content; if so, 0 output tokens cannot be right.

        Notes
        -----
        The tokens of a compaction are reported in ``iterations`` only, and are added. What another model read and wrote, as an
        adviser or as a fallback, has a different price: the tier is then ``mixed``, which has no price.
        """
        given = _mapping(usage)
        counted = cls._counted(given)
        iterations = given.get("iterations")
        for iteration in map(_mapping, iterations if isinstance(iterations, list) else ()):
            kind = iteration.get("type")
            if kind == "compaction":
                part = cls._counted(iteration)
                tiers = (counted.service_tier, counted.speed, counted.inference_geo)
                counted += replace(part, service_tier=tiers[0], speed=tiers[1], inference_geo=tiers[2])
            elif kind not in (None, "message"):
                counted = replace(counted, service_tier="mixed")
        if counted.total_input_tokens and (counted.output_tokens or not answered):
            return counted
        return replace(counted, known=False)

    @classmethod
    def _counted(cls, usage: Mapping[str, Any]) -> Usage:
        written = _count(usage.get("cache_creation_input_tokens"))
        detail = _mapping(usage.get("cache_creation"))
        one_hour = min(_count(detail.get("ephemeral_1h_input_tokens")), written)
        geo = usage.get("inference_geo")
        return cls(
            input_tokens=_count(usage.get("input_tokens")),
            output_tokens=_count(usage.get("output_tokens")),
            cache_write_5m_tokens=written - one_hour,
            cache_write_1h_tokens=one_hour,
            cache_read_tokens=_count(usage.get("cache_read_input_tokens")),
            web_searches=_count(_mapping(usage.get("server_tool_use")).get("web_search_requests")),
            service_tier=str(usage.get("service_tier") or "standard"),
            speed=str(usage.get("speed") or "standard"),
            inference_geo="global" if geo in (None, "", "not_available") else str(geo),
            thinking_tokens=_count(_mapping(usage.get("output_tokens_details")).get("thinking_tokens")),
            web_fetches=_count(_mapping(usage.get("server_tool_use")).get("web_fetch_requests")),
            other=dict(_other_counters(usage)),
        )

    def to_record(self) -> Dict[str, Any]:
        """Return the fields that differ from their defaults, as JSON data."""
        return {name: value for name, value in self.__dict__.items() if value != _DEFAULTS[name]}

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Usage:
        """Inverse of `to_record`; raises TypeError on unknown fields."""
        return cls(**record)

    def __add__(self, other: Usage) -> Usage:
        if not isinstance(other, Usage):
            return NotImplemented
        counters = dict(self.other)
        for name, count in other.other.items():
            counters[name] = counters.get(name, 0) + count
        return Usage(
            input_tokens=self.input_tokens + other.input_tokens,
            output_tokens=self.output_tokens + other.output_tokens,
            cache_write_5m_tokens=self.cache_write_5m_tokens + other.cache_write_5m_tokens,
            cache_write_1h_tokens=self.cache_write_1h_tokens + other.cache_write_1h_tokens,
            cache_read_tokens=self.cache_read_tokens + other.cache_read_tokens,
            web_searches=self.web_searches + other.web_searches,
            service_tier=self.service_tier if self.service_tier == other.service_tier else "mixed",
            speed=self.speed if self.speed == other.speed else "mixed",
            inference_geo=self.inference_geo if self.inference_geo == other.inference_geo else "mixed",
            thinking_tokens=self.thinking_tokens + other.thinking_tokens,
            web_fetches=self.web_fetches + other.web_fetches,
            known=self.known and other.known,
            billed=self.billed or other.billed,
            other=counters,
        )


_DEFAULTS = Usage().__dict__
# Counters with a field of their own, by their path in the API's object.
_READ = frozenset(
    [
        "input_tokens",
        "output_tokens",
        "iterations",
        "cache_creation",
        "output_tokens_details",
        "server_tool_use",
        "cache_creation_input_tokens",
        "cache_creation.ephemeral_1h_input_tokens",
        "cache_creation.ephemeral_5m_input_tokens",
        "cache_read_input_tokens",
        "output_tokens_details.thinking_tokens",
        "server_tool_use.web_search_requests",
        "server_tool_use.web_fetch_requests",
    ]
)
_MOST_COUNTERS = 50
_LONGEST_NAME = 100


def _other_counters(usage: Mapping[str, Any]) -> Iterator[Tuple[str, int]]:
    """Yield the counters without a field of their own, by path: the API adds new ones from time to time."""
    found = 0
    for name, value in usage.items():
        parts = (
            ((f"{name}.{key}", part) for key, part in value.items()) if isinstance(value, Mapping) else ((name, value),)
        )
        for path, count in parts:
            if path not in _READ and _count(count) and len(path) <= _LONGEST_NAME and found < _MOST_COUNTERS:
                found += 1
                yield path, count
