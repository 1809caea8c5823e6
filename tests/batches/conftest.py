"""Fixtures of message batches."""

from __future__ import annotations

from typing import Any, Optional

import pytest
from support.batches import QUICK, Build, quick_batches
from support.http_server import serve

from claude_force_nb.batches.context import BatchLimits
from claude_force_nb.batches.polling import PollSchedule
from claude_force_nb.orchestrator import AsyncAgentOrchestrator

__all__ = ["build", "serve"]


@pytest.fixture
def build(make: Build) -> Build:
    """An orchestrator whose message batches are asked about often."""

    def build(
        schedule: PollSchedule = QUICK, limits: Optional[BatchLimits] = None, **options: Any
    ) -> AsyncAgentOrchestrator:
        return quick_batches(make(**options), schedule, limits)

    return build
