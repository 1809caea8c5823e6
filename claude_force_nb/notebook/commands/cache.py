"""%claude_cache: inspect, verify or clear the response cache."""

from __future__ import annotations

from claude_force_nb.errors import OptionError
from claude_force_nb.notebook.display.bundles import Bundle, line_bundle
from claude_force_nb.notebook.display.tables import table_bundle
from claude_force_nb.notebook.kernel.asking import agreed
from claude_force_nb.notebook.session.session import NotebookSession
from claude_force_nb.vocabulary import did_you_mean

from .reference import Reference, wants_help

__all__ = ["ACTIONS", "REFERENCE", "cache"]

ACTIONS = ("stats", "verify", "clear", "path")
REFERENCE = Reference(
    magic="%claude_cache",
    summary="Inspects, verifies or clears the response cache.",
    words=(
        ("stats", "entries, size, hits and misses; this is the default", ""),
        ("verify", "read and check every entry; corrupt ones are removed", ""),
        ("clear", "remove every entry; asks first", ""),
        ("--yes", "clear without asking", ""),
        ("path", "the folder", ""),
    ),
    examples=(
        ("%claude_cache", "the numbers"),
        ("%claude_cache verify", "check every entry"),
        ("%claude_cache clear --yes", "empty it"),
    ),
    page="guide.md",
)


def cache(session: NotebookSession, line: str) -> Bundle:
    """Do one of `ACTIONS`, and return what to show.

    Raises
    ------
    OptionError
        On an unknown word.
    """
    if wants_help(line):
        return REFERENCE.bundle()
    words = line.split()
    sure = "--yes" in words
    action = " ".join(word for word in words if word != "--yes") or "stats"
    if action not in ACTIONS:
        near = did_you_mean(action, ACTIONS)
        raise OptionError(f"%claude_cache takes {', '.join(ACTIONS)}, not {action!r}{near}")
    response_cache = session.orchestrator.cache
    assert response_cache is not None
    if action == "path":
        return line_bundle(str(response_cache.directory))
    if action == "clear":
        if not sure and not _sure(response_cache.stats().entries, str(response_cache.directory)):
            return line_bundle("nothing was removed")
        return line_bundle(f"cleared {response_cache.clear():,} entries")
    report = vars(response_cache.stats() if action == "stats" else response_cache.verify())
    rows = [(name.replace("_", " "), f"{value:,}") for name, value in report.items() if type(value) is int]
    return table_bundle(("cache", "value"), rows, footer=str(response_cache.directory))


def _sure(entries: int, directory: str) -> bool:
    """Ask whether to clear.

    Raises
    ------
    OptionError
        If the front end cannot ask.
    """
    answer = agreed(f"remove {entries:,} answers from {directory}?")
    if answer is None:
        raise OptionError("cannot ask for confirmation here: %claude_cache clear --yes removes every entry")
    return answer
