"""Shared code of the tests of message batches: a quick schedule, sending rows, and what a simulator received."""

from __future__ import annotations

import asyncio
from typing import Any, Callable, Dict, List, Optional

from claude_force_nb.batches.context import BatchLimits
from claude_force_nb.batches.message_batches import MessageBatches
from claude_force_nb.batches.polling import PollSchedule
from claude_force_nb.batches.records import Job
from claude_force_nb.messages.request import ClaudeRequest
from claude_force_nb.orchestrator import AsyncAgentOrchestrator

JOB = Job("abc123", 1.0, "notebook", None, None, "claude-haiku-5-5", "https://api.anthropic.com", True)
QUICK = PollSchedule(first_seconds=0.02, longest_seconds=0.1, lookup_seconds=0.3)
# Tokens of workers that are gone.
OWNER, OTHER = "0" * 32, "1" * 32

Build = Callable[..., AsyncAgentOrchestrator]


def quick_batches(
    orchestrator: AsyncAgentOrchestrator, schedule: PollSchedule = QUICK, limits: Optional[BatchLimits] = None
) -> AsyncAgentOrchestrator:
    """Let an orchestrator ask about its message batches often."""
    orchestrator.message_batches.schedule = schedule
    orchestrator.message_batches.limits = limits or BatchLimits()
    return orchestrator


def request(prompt: str, **more: Any) -> ClaudeRequest:
    """Return a small request."""
    message = {"role": "user", "content": prompt}
    return ClaudeRequest({"model": "claude-haiku-5-5", "max_tokens": 10, "messages": [message], **more})


def ask(orchestrator: AsyncAgentOrchestrator, prompts: Any, **options: Any) -> Any:
    """Run rows through message batches."""
    options.setdefault("model", "haiku")
    # Haiku thinks where nothing is said, and would use up so small a bound.
    options.setdefault("max_tokens", 50)
    options.setdefault("thinking", "off")
    return orchestrator.run_many(prompts, via="batches", **options)


async def until_sent(jobs: MessageBatches) -> None:
    """Wait until a batch is in progress."""
    while True:
        if any(state.state == "in progress" for state in jobs.all()):
            return
        await asyncio.sleep(0.01)


def sent(simulator: Any) -> List[Dict[str, Any]]:
    """Return the bodies of all create requests."""
    path = "/v1/messages/batches"
    return [request.body for request in simulator.requests if (request.method, request.path) == ("POST", path)]


def foreign(name: str) -> Dict[str, Any]:
    """Return a row of somebody else's batch."""
    message = {"role": "user", "content": "once"}
    return {"custom_id": name, "params": {"model": "claude-haiku-5-5", "max_tokens": 50, "messages": [message]}}
