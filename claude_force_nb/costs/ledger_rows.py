"""What the ledger gives back: entries, and sums over them. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Optional

__all__ = ["LedgerEntry", "LedgerRow"]


@dataclass(frozen=True)
class LedgerEntry:
    """One answer as the ledger keeps it.

    Attributes are those of `ClaudeResult` and `Usage` of the same name, and ``time`` (Unix seconds), ``notebook`` and
    ``cell``. ``cost`` is None where the price is unknown. The tokens of a cached answer are those it was made with.
    """

    time: float
    notebook: Optional[str]
    cell: Optional[str]
    agent: Optional[str]
    model: str
    input_tokens: int
    output_tokens: int
    cache_write_5m_tokens: int
    cache_write_1h_tokens: int
    cache_read_tokens: int
    web_searches: int
    service_tier: str
    speed: str
    cost: Optional[Decimal]
    saved: Optional[Decimal]
    cached: bool
    fingerprint: str
    request_id: Optional[str]
    status: str
    attempts: int


@dataclass(frozen=True)
class LedgerRow:
    """Sums over some answers.

    Attributes
    ----------
    key : str
        Model, agent, day (``2026-11-01``, UTC) or notebook, "" where there was none; ``total`` for all.
    calls : int
        Answers and failures that came from the API.
    hits : int
        Answers that came from the cache.
    unknown_price : int
        Calls whose cost is not known; they are not in `cost`.
    input_tokens, output_tokens : int
        Tokens of the calls; input with prompt cache writes and reads.
    cost, saved : Decimal
        US dollars.
    unknown_saved : int
        Cached answers whose price is not known; they are not in `saved`.
    """

    key: str
    calls: int = 0
    hits: int = 0
    unknown_price: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost: Decimal = Decimal(0)
    saved: Decimal = Decimal(0)
    unknown_saved: int = 0
