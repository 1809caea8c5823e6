"""%claude_doctor: shows what works here, and how to fix what does not."""

from __future__ import annotations

import os

from claude_force_nb.errors import OptionError
from claude_force_nb.notebook.display.bundles import Bundle
from claude_force_nb.notebook.display.tables import table_bundle
from claude_force_nb.notebook.doctor.examine import ask_once, examine
from claude_force_nb.notebook.doctor.finding import OK
from claude_force_nb.notebook.session.session import NotebookSession
from claude_force_nb.vocabulary import did_you_mean

from .reference import Reference, wants_help

__all__ = ["REFERENCE", "doctor"]

_ONLINE = "--online"
REFERENCE = Reference(
    magic="%claude_doctor",
    summary="Checks Python, SDK, key, server, cache and ledger; the report contains no secrets and can be pasted into an issue.",
    words=((_ONLINE, "also make one call, which costs under $0.001", ""),),
    examples=(
        ("%claude_doctor", "what works, and how to fix what does not"),
        ("%claude_doctor --online", "the same, and one call"),
        ("!claude-force-nb doctor", "the same outside the notebook"),
    ),
    page="reference/troubleshooting.md",
)


async def doctor(session: NotebookSession, line: str) -> Bundle:
    """Return the report as a table.

    Raises
    ------
    OptionError
        For any word other than ``--online``.
    """
    if wants_help(line):
        return REFERENCE.bundle()
    words = line.split()
    wrong = [word for word in words if word != _ONLINE]
    if wrong:
        raise OptionError(f"%claude_doctor takes {_ONLINE}, not {wrong[0]!r}{did_you_mean(wrong[0], (_ONLINE,))}")
    findings = await examine(session.settings, os.environ, shell=session.front_end.shell)
    if words:
        findings.append(await ask_once(session.orchestrator))
    rows = [(finding.state, finding.subject, finding.says, finding.remedy) for finding in findings]
    open_ones = sum(finding.state != OK for finding in findings)
    footer = "all is well" if not open_ones else f"{open_ones} of {len(findings)} to look at"
    return table_bundle(("state", "what", "found", "what to do"), rows, footer=footer)
