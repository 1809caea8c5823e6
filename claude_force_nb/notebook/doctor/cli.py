"""``claude-force-nb doctor``: reports what works on this machine, and how to fix what does not."""

from __future__ import annotations

import argparse
import asyncio
import os
from typing import List

from claude_force_nb.notebook.options.settings import Settings, folder_of_notebook
from claude_force_nb.orchestrator import AsyncAgentOrchestrator

from .examine import ask_once, examine
from .finding import PROBLEM, Finding, as_lines

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command to `parser`."""
    parser.description = "Check Python, SDK, key, server, cache and ledger. The report contains no secrets and can be pasted into an issue."
    parser.add_argument("--online", action="store_true", help="also make one call, which costs under $0.001")


def run(arguments: argparse.Namespace) -> int:
    """Print the report; return 1 if something does not work, else 0."""
    settings = Settings(configurable=None, environ=os.environ, folder=folder_of_notebook())
    findings = asyncio.run(_findings(settings, online=arguments.online))
    print("\n".join(as_lines(findings)))
    return 1 if any(finding.state == PROBLEM for finding in findings) else 0


async def _findings(settings: Settings, *, online: bool) -> List[Finding]:
    findings = await examine(settings, os.environ, shell=None)
    if online:
        values = {name: settings.value(name) for name in ("base_url", "allow_http", "daily_budget")}
        async with AsyncAgentOrchestrator(enable_cache=False, **values) as orchestrator:
            findings.append(await ask_once(orchestrator))
    return findings
