"""What an answer is billed for. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from decimal import Context, Decimal
from typing import Any, Dict, Iterable, Iterator, List, Optional, Sequence, Tuple

__all__ = ["EXACT", "FREE_REFUSALS", "UNKNOWN_CATEGORY", "Usage", "add_dollars", "sum_dollars"]

FREE_REFUSALS = (None, "cyber", "general_harms")
"""Categories of a refusal that are not billed if no output was produced yet ("Refusals and fallback", October 2026).

None means a refusal without a category. Unknown categories are taken as billed.
"""

UNKNOWN_CATEGORY = object()
"""Stands for the category of a refusal about which the server said nothing."""

# More tokens than any call has: a number above it is a server's nonsense, and no count.
_LARGEST_COUNT = 10**12

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
    return value if type(value) is int and 0 < value <= _LARGEST_COUNT else 0


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
    other_models : tuple of (str, Usage)
        What further models are billed for in the same answer, by their names: an adviser, or a model that began and declined before
        another took over. The counts above are those of the model that answered.

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
    other_models: Tuple[Tuple[str, Usage], ...] = ()

    @property
    def total_input_tokens(self) -> int:
        """All tokens the model read, from the prompt cache or not."""
        return self.input_tokens + self.cache_write_5m_tokens + self.cache_write_1h_tokens + self.cache_read_tokens

    @classmethod
    def from_api(cls, usage: Any, *, answered: bool = True, declined: Sequence[Any] = ()) -> Usage:
        """Read the API's ``usage`` object; what is missing, null or not a positive whole number counts as 0.

        Parameters
        ----------
        usage : object
            As received: a server other than the API may send anything, or nothing.
        answered : bool
            Whether the answer has content; if so, 0 output tokens cannot be right.
        declined : sequence
            Category of each refusal after which another model took over, in order; `UNKNOWN_CATEGORY` where it was not reported.

        Notes
        -----
        The counts at the top are those of the attempt that gave the answer. ``iterations`` has what is billed beside it: a compaction,
        which is added; an adviser, and models that declined, which go to `other_models` ("Refusals and fallback", section "Billing and
        rate limits"; "Advisor tool"). Who pays for an iteration of any other kind is unknown: the tier is then ``mixed``, which has
        no price.
        """
        given = _mapping(usage)
        counted = cls._counted(given)
        found = given.get("iterations")
        iterations = [_mapping(iteration) for iteration in found] if isinstance(found, list) else []
        for iteration in iterations:
            kind = iteration.get("type")
            if kind == "compaction":
                counted += counted._same_terms(iteration)
            elif kind not in (None, "message", "fallback_message", "advisor_message"):
                counted = replace(counted, service_tier="mixed")
        others, sure = _billed_beside(iterations, declined)
        if others:
            parts = [(model, counted._same_terms(part)) for model, part in others]
            counted = replace(counted, other_models=_summed(parts))
        absurd = any(type(value) is int and value > _LARGEST_COUNT for value in given.values())
        if sure and not absurd and counted.total_input_tokens and (counted.output_tokens or not answered):
            return counted
        return replace(counted, known=False)

    def _same_terms(self, iteration: Mapping[str, Any]) -> Usage:
        """Return the counts of an iteration, which says nothing of tier, speed and region itself."""
        return replace(
            self._counted(iteration), service_tier=self.service_tier, speed=self.speed, inference_geo=self.inference_geo
        )

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
        record = {name: value for name, value in self.__dict__.items() if value != _DEFAULTS[name]}
        if self.other_models:
            record["other_models"] = [[model, usage.to_record()] for model, usage in self.other_models]
        return record

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Usage:
        """Inverse of `to_record`; raises TypeError on unknown fields, and ValueError or TypeError on other values of `other_models`."""
        if "other_models" in record:
            others = tuple((str(model), cls.from_record(usage)) for model, usage in record["other_models"])
            record = {**record, "other_models": others}
        return cls(**record)

    def in_batch(self) -> Usage:
        """Return the same at the prices of a message batch."""
        others = tuple((model, usage.in_batch()) for model, usage in self.other_models)
        return replace(self, service_tier="batch", other_models=others)

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
            other_models=_summed((*self.other_models, *other.other_models)),
        )


def _summed(parts: Iterable[Tuple[str, Usage]]) -> Tuple[Tuple[str, Usage], ...]:
    """Return the sum of usages by model."""
    sums: Dict[str, Usage] = {}
    for model, usage in parts:
        sums[model] = sums[model] + usage if model in sums else usage
    return tuple(sums.items())


def _billed_beside(
    iterations: Sequence[Mapping[str, Any]], declined: Sequence[Any]
) -> Tuple[List[Tuple[str, Mapping[str, Any]]], bool]:
    """Return what other models are billed for, one item per iteration, and whether that is everything.

    A declined attempt is one or more ``message`` entries of its model. It is billed if it wrote anything, else by the category of its
    refusal. Without a ``fallback_message`` entry nobody declined, and every ``message`` entry is part of the answer.
    """
    beside = [(str(part.get("model")), part) for part in iterations if part.get("type") == "advisor_message"]
    sure = all(part.get("model") for _, part in beside)
    serving = [part.get("model") for part in iterations if part.get("type") == "fallback_message"]
    if not serving:
        return beside, sure
    attempts: List[Tuple[str, List[Mapping[str, Any]]]] = []
    for part in iterations:
        model = part.get("model")
        if part.get("type") != "message" or model == serving[-1]:
            continue
        if not isinstance(model, str) or not model:
            sure = False
        elif attempts and attempts[-1][0] == model:
            attempts[-1][1].append(part)
        else:
            attempts.append((model, [part]))
    for place, (model, parts) in enumerate(attempts):
        category = declined[place] if place < len(declined) else UNKNOWN_CATEGORY
        wrote = any(_count(part.get("output_tokens")) for part in parts)
        if not wrote and category is UNKNOWN_CATEGORY:
            sure = False
        elif wrote or category not in FREE_REFUSALS:
            beside += [(model, part) for part in parts]
    return beside, sure


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
