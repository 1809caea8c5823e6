"""Shared code of the tests of the ledger: a clock, the user's ledger, a paid answer, a cached one."""

from __future__ import annotations

import os
from decimal import Decimal
from typing import Any, Iterator, Optional

import pytest

from claude_force_nb.costs.ledger import Ledger, default_ledger_path
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


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def ledger(clock: Clock) -> Iterator[Ledger]:
    """Return the user's ledger, where commands look for it."""
    made = Ledger(default_ledger_path(os.environ), clock=clock)
    yield made
    made.close()


def paid(cost: Optional[str], model: str = "claude-opus-5-5", agent: Optional[str] = None) -> ClaudeResult:
    """Return a paid answer with round numbers."""
    return answer(cost, model=model, agent=agent, usage=Usage(1000, 200))


def hit_of(saved: Optional[str], model: str = "claude-opus-5-5") -> ClaudeResult:
    """Return a cached answer without tokens or agent."""
    return hit(saved, model=model, agent=None, usage=Usage())
