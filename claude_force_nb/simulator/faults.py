"""Scripted faults: which calls fail, and how. Pure, except for the scripts' own counts."""

from __future__ import annotations

import random
from dataclasses import asdict, dataclass
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence, Tuple, Union

from .failures import ApiFailure
from .tokens import prompt_text

__all__ = ["ENDPOINTS", "FAULT_KINDS", "Fault", "FaultScript", "FaultRule", "Kinds", "ROW_KINDS"]

FAULT_KINDS: Mapping[str, str] = {
    "rate_limit": "429 with retry-after",
    "spend_limit": "429 that waiting does not resolve: the organization's spend limit",
    "billing": "402: the credit is used up",
    "overloaded": "529",
    "server_error": "500",
    "invalid_request": "400",
    "authentication": "401",
    "permission": "403",
    "drop": "the connection closes before any header; nothing is billed",
    "lost": "the answer is made and billed, but the connection closes before any header",
    "cut": "the answer ends in the middle",
    "stream_error": "an overloaded_error event inside a 200 stream; 529 where no stream was asked for",
    "slow": "the first byte comes delay_seconds late, or when the fault is forgotten",
    "hang": "no answer until the client leaves",
    "silent": "a stream goes silent until the client leaves; hangs where no stream was asked for",
    "retry_after_on_success": "200 with a retry-after header",
    "html": "200 with a page of HTML",
    "truncated_json": "200 with half a JSON body; a stream gets one broken event",
    "refusal": "200 with stop reason refusal and no content; category says which, and so whether it is billed",
    "refusal_midway": "200 with the beginning of an answer and stop reason refusal; billed",
    "new_fields": "200 in which every object has a field that no client knows",
    "new_events": "200 whose stream has events of an unknown type between the others",
    "new_block": "200 with a content block of an unknown type, and in a stream an unknown delta",
    "new_stop_reason": "200 with an unknown stop reason",
    "wrong_json": "200 with JSON that does not fit the schema asked for",
    "held": "the answer is made and billed, but nothing is sent until the client leaves",
    "expired": "a row of a message batch expires",
    "missing": "a row of a message batch is answered and billed, but has no line in the results",
    "duplicate": "a row of a message batch has its line in the results twice",
    "unknown": "a row of a message batch is followed in the results by a line that nobody asked for",
}
# "batches" stands for the four endpoints after it, "any" for all.
ENDPOINTS = (
    "messages",
    "count_tokens",
    "models",
    "batches",
    "batch_create",
    "batch_list",
    "batch_poll",
    "batch_cancel",
    "batch_results",
    "batch_item",
    "any",
)
_BATCHES = frozenset(["batch_create", "batch_list", "batch_poll", "batch_cancel"])
REFUSAL_CATEGORIES = ("cyber", "bio", "frontier_llm", "reasoning_extraction", "general_harms")
# Faults of a row in a message batch.
ROW_KINDS = frozenset(["expired", "missing", "duplicate", "unknown"])

# One kind or status for all calls, or one for each of the next calls; None lets a call through.
Kinds = Union[str, int, Sequence[Union[str, int, None]]]

_STATUS = {
    "rate_limit": 429,
    "spend_limit": 429,
    "billing": 402,
    "overloaded": 529,
    "server_error": 500,
    "invalid_request": 400,
    "authentication": 401,
    "permission": 403,
}
_MESSAGES = {
    "rate_limit": "This request would exceed your account's rate limit. Please try again later. (simulated)",
    "spend_limit": "Your organization has reached its monthly spend limit. (simulated)",
    "billing": "Your credit balance is too low to access the API. (simulated)",
    "overloaded": "Overloaded",
    "server_error": "Internal server error",
    "invalid_request": "messages: simulated refusal of this request",
    "authentication": "invalid x-api-key",
    "permission": "Your API key does not have permission to use the specified resource. (simulated)",
}


@dataclass(frozen=True)
class Fault:
    """How one call fails.

    Attributes
    ----------
    kind : str
        One of `FAULT_KINDS`, or ``status`` for any other HTTP status.
    status : int
        HTTP status of an error answer; 0 for faults that are not error answers.
    retry_after_seconds : float or None
        Sent as ``retry-after``.
    delay_seconds : float
        Delay for ``slow``.
    after_events : int
        Number of events that are sent before ``cut``, ``stream_error`` and ``silent``.
    message : str or None
        Message of the error.
    category : str or None
        Category of a refusal.
    """

    kind: str
    status: int = 0
    retry_after_seconds: Optional[float] = None
    delay_seconds: float = 1.0
    after_events: int = 4
    message: Optional[str] = None
    category: Optional[str] = None

    def failure(self) -> ApiFailure:
        """Return the error answer; for kinds without one, that of an overloaded API."""
        status = self.status or 529
        kind = self.kind if self.status else "overloaded"
        return ApiFailure(
            status,
            self.message or _MESSAGES.get(kind, f"Simulated error {status}"),
            retry_after_seconds=self.retry_after_seconds,
            details={"error_code": "enforced_spend_limit_reached"} if kind == "spend_limit" else None,
        )


@dataclass(frozen=True)
class FaultRule:
    """A rule about which calls fail; see `Simulator.fail`. All fields except `when` are JSON data."""

    kinds: Tuple[Union[str, int, None], ...]
    sequence: bool = False
    probability: float = 1.0
    seed: int = 0
    times: Optional[int] = None
    contains: Optional[str] = None
    model: Optional[str] = None
    endpoint: str = "messages"
    retry_after_seconds: Optional[float] = None
    delay_seconds: float = 1.0
    after_events: int = 4
    message: Optional[str] = None
    category: Optional[str] = None
    when: Optional[Callable[[Mapping[str, Any]], bool]] = None

    def __post_init__(self) -> None:
        for kind in self.kinds:
            known = kind is None or (400 <= kind <= 599 if isinstance(kind, int) else kind in FAULT_KINDS)
            if not known:
                raise ValueError(
                    f"unknown fault {kind!r}: use a status from 400 to 599 or one of {', '.join(FAULT_KINDS)}"
                )
        if not self.kinds:
            raise ValueError("name at least one fault")
        of_rows = ROW_KINDS.intersection(map(str, self.kinds))
        if of_rows and self.endpoint != "batch_item":
            raise ValueError(f"{min(of_rows)!r} is of a row of a batch: give endpoint='batch_item'")
        if self.category is not None and self.category not in REFUSAL_CATEGORIES:
            raise ValueError(f"category must be one of {', '.join(REFUSAL_CATEGORIES)}, not {self.category!r}")
        if not 0 <= self.probability <= 1:
            raise ValueError(f"probability must be from 0 to 1, not {self.probability!r}")
        if self.endpoint not in ENDPOINTS:
            raise ValueError(f"endpoint must be one of {', '.join(ENDPOINTS)}, not {self.endpoint!r}")

    @classmethod
    def build(cls, kinds: Kinds, **options: Any) -> FaultRule:
        """Return a rule; `options` are its other fields. Raises ValueError or TypeError if they are invalid."""
        single = isinstance(kinds, (str, int))
        return cls(kinds=(kinds,) if single else tuple(kinds), sequence=not single, **options)  # type: ignore[arg-type]

    def to_json(self) -> Dict[str, Any]:
        """Return JSON data; raises ValueError if `when` is set, since code cannot be sent."""
        if self.when is not None:
            raise ValueError("when= needs a simulator in this process; use contains= or model=")
        data = asdict(self)
        del data["when"]
        return data

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> FaultRule:
        """Return a rule from `to_json` data, or from hand-written data such as ``{"kinds": "overloaded", …}``."""
        values = dict(data)
        kinds = values.pop("kinds", ())
        if values.pop("sequence", True) is False and not isinstance(kinds, (str, int)):
            (kinds,) = kinds
        return cls.build(kinds, **values)

    def fault(self, kind: Union[str, int]) -> Fault:
        """Return a fault of this kind with the rule's values."""
        name, status = ("status", kind) if isinstance(kind, int) else (kind, _STATUS.get(kind, 0))
        retry_after = self.retry_after_seconds
        if retry_after is None and name in ("rate_limit", "retry_after_on_success"):
            retry_after = 1.0
        return Fault(name, status, retry_after, self.delay_seconds, self.after_events, self.message, self.category)


class _Script:
    """A rule and its state."""

    def __init__(self, rule: FaultRule) -> None:
        self.rule = rule
        self._random = random.Random(rule.seed)
        self._position = 0
        self._left = len(rule.kinds) if rule.sequence and rule.times is None else rule.times

    def next(self, endpoint: str, body: Mapping[str, Any]) -> Tuple[bool, Optional[Fault]]:
        """Return whether the rule applies to this call, and the fault or None."""
        rule = self.rule
        if self._left == 0 or not _covers(rule.endpoint, endpoint):
            return False, None
        if rule.model is not None and rule.model not in str(body.get("model", "")):
            return False, None
        if rule.contains is not None and rule.contains not in prompt_text(body):
            return False, None
        if rule.when is not None and not rule.when(body):
            return False, None
        if rule.probability < 1 and self._random.random() >= rule.probability:
            return False, None
        if self._left is not None:
            self._left -= 1
        kind = rule.kinds[self._position % len(rule.kinds)]
        self._position += 1
        return True, None if kind is None else rule.fault(kind)


def _covers(rule: str, endpoint: str) -> bool:
    return rule in (endpoint, "any") or (rule == "batches" and endpoint in _BATCHES)


class FaultScript:
    """All rules; the first that applies to a call decides."""

    def __init__(self) -> None:
        self._scripts: List[_Script] = []

    def add(self, rule: FaultRule) -> None:
        """Append a rule; may be called from any thread."""
        self._scripts = [*self._scripts, _Script(rule)]

    def clear(self) -> None:
        """Forget all rules."""
        self._scripts = []

    def next(self, endpoint: str, body: Mapping[str, Any]) -> Optional[Fault]:
        """Return the fault of a call to `endpoint`, or None if it is to succeed."""
        for script in self._scripts:
            taken, fault = script.next(endpoint, body)
            if taken:
                return fault
        return None
