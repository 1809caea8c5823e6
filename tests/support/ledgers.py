"""What the tests of the ledger share: a clock, a paid answer, a cached one."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, Optional

from claude_force_nb.messages.result import ClaudeResult
from claude_force_nb.messages.usage import Usage

NOW = 1_793_534_400.0  # 2026-11-01 12:00 UTC


class Clock:
    def __init__(self, now: float = NOW) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def answer(cost: Optional[str] = "0.003324", **fields: Any) -> ClaudeResult:
    given: Any = {"model": "claude-sonnet-5-5", "agent": "reviewer", "usage": Usage(512, 230), "attempts": 1}
    given.update(fields)
    return ClaudeResult(cost=None if cost is None else Decimal(cost), fingerprint="f" * 64, **given)


def hit(saved: Optional[str] = "0.003324", **fields: Any) -> ClaudeResult:
    return answer("0", saved=None if saved is None else Decimal(saved), cached=True, status="cached", **fields)
