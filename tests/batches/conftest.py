"""Fixtures of message batches."""

from __future__ import annotations

from typing import Any, Iterator, Optional

import pytest
from support.batches import QUICK, Build, quick_batches
from support.http_server import serve

from claude_force_nb.batches.context import BatchLimits
from claude_force_nb.batches.polling import PollSchedule
from claude_force_nb.orchestrator import AsyncAgentOrchestrator
from claude_force_nb.simulator import Simulator

__all__ = ["build", "serve", "simulator"]


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    """A Messages API whose batches end soon."""
    with Simulator(batch_seconds=0.05) as running:
        yield running


@pytest.fixture
def build(make: Build) -> Build:
    """An orchestrator whose message batches are asked about often."""

    def build(
        schedule: PollSchedule = QUICK, limits: Optional[BatchLimits] = None, **options: Any
    ) -> AsyncAgentOrchestrator:
        return quick_batches(make(**options), schedule, limits)

    return build
