"""Runs all checks, and one call on request."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from typing import Any, Callable, List, Mapping

from claude_force_nb.costs.report import dollars
from claude_force_nb.errors import ClaudeForceError
from claude_force_nb.notebook.display.preview import mask, secrets_of
from claude_force_nb.notebook.options.settings import Settings
from claude_force_nb.orchestrator import AsyncAgentOrchestrator
from claude_force_nb.text_tables import one_line

from .finding import PROBLEM, Finding
from .places import look_at_places
from .server import look_at_server
from .software import look_at_software

__all__ = ["ask_once", "examine"]

ONLINE_DOLLARS = Decimal("0.001")
"""Maximum cost of the call that ``--online`` makes, in US dollars."""


async def examine(settings: Settings, environ: Mapping[str, str], *, shell: Any) -> List[Finding]:
    """Return the findings of every check; a check that fails is reported and does not affect the others.

    Parameters
    ----------
    settings : Settings
    environ : mapping
        Environment variables.
    shell : InteractiveShell or None
    """
    # In a thread, since a server may take seconds to answer, or may run on this very event loop.
    server = await asyncio.get_running_loop().run_in_executor(None, _tried, look_at_server, settings, environ)
    findings = [*_tried(look_at_software, shell), *server, *_tried(look_at_places, settings, environ)]
    secrets = secrets_of(environ)
    return [_masked(finding, secrets) for finding in findings]


def _tried(look: Callable[..., List[Finding]], *given: Any) -> List[Finding]:
    try:
        return look(*given)
    except Exception as error:
        subject = look.__name__.replace("look_at_", "").capitalize()
        return [Finding(subject, f"cannot be checked: {one_line(repr(error))}", PROBLEM)]


def _masked(finding: Finding, secrets: List[str]) -> Finding:
    """Return a finding without secrets, since a library's error may contain anything."""
    return Finding(finding.subject, mask(finding.says, secrets)[0], finding.state, mask(finding.remedy, secrets)[0])


async def ask_once(orchestrator: AsyncAgentOrchestrator) -> Finding:
    """Make one call that costs at most `ONLINE_DOLLARS`, bypassing the cache."""
    try:
        result = await orchestrator.run(
            "Answer with the word yes.", model="haiku", max_tokens=64, cache="off", budget=ONLINE_DOLLARS
        )
    except ClaudeForceError as error:
        return Finding("One call", one_line(error), PROBLEM)
    finally:
        if orchestrator.ledger is not None:
            orchestrator.ledger.flush()
    cost = "price unknown" if result.cost is None else dollars(result.cost)
    return Finding("One call", f"{result.model} answered in {result.duration_seconds:.1f} s for {cost}")
