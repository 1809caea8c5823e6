"""The tokens and extras that an answer is billed for. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from decimal import Context, Decimal
from typing import Any, Dict, Iterable, Iterator, List, Optional, Sequence, Tuple

__all__ = ["EXACT", "FREE_REFUSALS", "UNKNOWN_CATEGORY", "Usage", "add_dollars", "sum_dollars"]

FREE_REFUSALS = (None, "cyber", "general_harms")
"""Categories of refusals that are not billed if there was no output yet ("Refusals and fallback", October 2026).

None means a refusal without a category. Unknown categories count as billed.
"""

UNKNOWN_CATEGORY = object()
"""Stands for the category of a refusal if the server did not report it."""

# More tokens than any real call: a larger count from a server is bogus and counts as 0.
_LARGEST_COUNT = 10**12

# A context of our own, since the notebook may have changed the precision of the default context.
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
        Input tokens at the full price, without cache writes and reads.
    output_tokens : int
        Output tokens, including thinking.
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
        ``"global"`` (also if the API does not say), or the region in which the model had to run, such as ``"us"``.
    thinking_tokens : int
        Thinking tokens, which are part of `output_tokens`.
    web_fetches : int
        Server-side page fetches, which are free.
    known : bool
        False if the server did not report full usage; the numbers are then incomplete, and the cost is unknown.
    billed : bool
        False if the API does not bill the answer, as with some refusals.
    other : mapping of str to int
        Further counters of the API by path, such as ``server_tool_use.code_execution_requests``.
    other_models : tuple of (str, Usage)
        Usage of other models, by name, that is billed with the same answer: an adviser, or a model that declined before
        another one took over. The counts above are those of the model that answered.

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
        """All input tokens, including cache writes and reads."""
        return self.input_tokens + self.cache_write_5m_tokens + self.cache_write_1h_tokens + self.cache_read_tokens

    @classmethod
    def from_api(cls, usage: Any, *, answered: bool = True, declined: Sequence[Any] = ()) -> Usage:
        """Create a usage from the API's ``usage`` object. A count that is missing or not a positive whole number becomes 0.

        Parameters
        ----------
        usage : object
            The object as received; a server other than the API may send anything.
        answered : bool
            Whether the answer has content; if so, 0 output tokens cannot be right.
        declined : sequence
            Category of each refusal after which another model took over, in order; `UNKNOWN_CATEGORY` if not reported.

        Notes
        -----
        The top-level counts are those of the attempt that returned the answer. ``iterations`` lists what is billed in
        addition: a compaction, which is added to them; an adviser and models that declined, which go to `other_models`
        ("Refusals and fallback", section "Billing and rate limits"; "Advisor tool"). How an iteration of any other kind
        is billed is unknown; the tier is then ``mixed``, which has no price.
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
        """Return the usage of an iteration, with tier, speed and region from here, since an iteration does not have them."""
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
        """Create a usage from a record of `to_record`.

        Raises TypeError if a field is unknown, and ValueError or TypeError if `other_models` has another form.
        """
        if "other_models" in record:
            others = tuple((str(model), cls.from_record(usage)) for model, usage in record["other_models"])
            record = {**record, "other_models": others}
        return cls(**record)

    def in_batch(self) -> Usage:
        """Return the same usage, billed as part of a message batch."""
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
    """Add up usages by model."""
    sums: Dict[str, Usage] = {}
    for model, usage in parts:
        sums[model] = sums[model] + usage if model in sums else usage
    return tuple(sums.items())


def _billed_beside(
    iterations: Sequence[Mapping[str, Any]], declined: Sequence[Any]
) -> Tuple[List[Tuple[str, Mapping[str, Any]]], bool]:
    """Return the iterations of other models that are billed, and whether that is certain.

    A model that declined has one or more consecutive ``message`` entries. It is billed if it wrote anything, and
    otherwise depending on the category of its refusal. Without a ``fallback_message`` entry, no model declined, and
    every ``message`` entry is part of the answer.
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
# Paths, in the API's object, of counters that have a field of their own.
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
    """Yield path and count of counters that have no field of their own, since the API adds new ones from time to time."""
    found = 0
    for name, value in usage.items():
        parts = (
            ((f"{name}.{key}", part) for key, part in value.items()) if isinstance(value, Mapping) else ((name, value),)
        )
        for path, count in parts:
            if path not in _READ and _count(count) and len(path) <= _LONGEST_NAME and found < _MOST_COUNTERS:
                found += 1
                yield path, count
