"""%claude_cache: inspect, verify or clear the response cache."""

from __future__ import annotations

from typing import Any, List, Optional, Tuple

from claude_force_nb.cache import ResponseCache
from claude_force_nb.errors import OptionError
from claude_force_nb.notebook.display.bundles import Bundle, line_bundle
from claude_force_nb.notebook.display.tables import table_bundle
from claude_force_nb.notebook.kernel.asking import agreed
from claude_force_nb.notebook.session.session import NotebookSession
from claude_force_nb.vocabulary import counted, did_you_mean

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
        ("clear local, clear shared", "remove those of this machine, or those that a team shares", ""),
        ("--yes", "clear without asking", ""),
        ("path", "the folder", ""),
    ),
    examples=(
        ("%claude_cache", "the numbers"),
        ("%claude_cache verify", "check every entry"),
        ("%claude_cache clear --yes", "empty it"),
    ),
    page="how-to/reuse-answers.md",
)


def cache(session: NotebookSession, line: str) -> Bundle:
    """Run one of `ACTIONS`, and return what to show.

    Raises
    ------
    OptionError
        If a word is unknown.
    """
    if wants_help(line):
        return REFERENCE.bundle()
    words = line.split()
    sure = "--yes" in words
    action, *tiers = [word for word in words if word != "--yes"] or ["stats"]
    if tiers and (action != "clear" or tiers not in (["local"], ["shared"])):
        action = " ".join((action, *tiers))
    if action not in ACTIONS:
        near = did_you_mean(action, ACTIONS)
        raise OptionError(f"%claude_cache takes {', '.join(ACTIONS)}, not {action!r}{near}")
    response_cache = session.orchestrator.cache
    assert response_cache is not None
    if action == "path":
        return line_bundle(str(response_cache.directory))
    if action == "clear":
        return line_bundle(_clear(response_cache, tiers[0] if tiers else None, sure=sure))
    shared = response_cache.shared
    rows = _numbers(response_cache.stats() if action == "stats" else response_cache.verify())
    footer = str(response_cache.directory)
    if shared is not None:
        report: Any = shared.stats() if action == "stats" else shared.verify()
        rows += [(f"shared: {name}", value) for name, value in _numbers(report)] if report.available else []
        footer += f" · shared: {shared.name}" + ("" if report.available else ", which cannot be reached now")
    return table_bundle(("cache", "value"), rows, footer=footer)


def _numbers(report: Any) -> List[Tuple[str, str]]:
    return [(name.replace("_", " "), f"{value:,}") for name, value in vars(report).items() if type(value) is int]


def _clear(response_cache: ResponseCache, tier: Optional[str], *, sure: bool) -> str:
    """Remove the entries of a tier; return the line to show.

    Raises
    ------
    OptionError
        If there are two tiers and none is named, or if the tier does not exist.
    """
    shared = response_cache.shared
    if tier == "shared" and shared is None:
        raise OptionError("no shared cache is configured; set one with %claude_config cache_url=redis://…")
    if tier is None and shared is not None:
        raise OptionError(
            f"say which: %claude_cache clear local removes the answers in {response_cache.directory}, "
            f"%claude_cache clear shared those of everybody on {shared.name}"
        )
    if tier == "shared" and shared is not None:
        if not sure and not _sure(shared.stats().entries, f"{shared.name}, which others use"):
            return "nothing was removed"
        removed = shared.clear()
        return (
            f"{shared.name} cannot be reached now" if removed is None else f"cleared {counted(removed, 'shared entry')}"
        )
    if not sure and not _sure(response_cache.stats().entries, str(response_cache.directory)):
        return "nothing was removed"
    return f"cleared {counted(response_cache.clear(), 'entry')}"


def _sure(entries: int, directory: str) -> bool:
    """Ask the user whether to clear the cache.

    Raises
    ------
    OptionError
        If the front end cannot ask.
    """
    answer = agreed(f"remove {counted(entries, 'answer')} from {directory}?")
    if answer is None:
        raise OptionError("cannot ask for confirmation here: %claude_cache clear --yes removes every entry")
    return answer
