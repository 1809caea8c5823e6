"""The one line under an answer."""

from __future__ import annotations

from claude_force_nb.costs.report import dollars
from claude_force_nb.messages.result import ClaudeResult

__all__ = ["receipt"]


def _age(seconds: float) -> str:
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds // size:.0f} {unit} ago"
    return f"{seconds:.0f} s ago" if seconds >= 1 else "just now"


def receipt(result: ClaudeResult) -> str:
    """Return the one line under an answer: who, tokens, cost, time; or age and saving where the cache answered."""
    parts = [result.agent or "", result.model]
    if result.cached:
        parts.append("cached " + _age(result.age_seconds))
        parts.append("saved " + dollars(result.saved) if result.saved is not None else "price unknown")
    else:
        usage = result.usage
        parts.append(f"{usage.total_input_tokens}→{usage.output_tokens} tok")
        parts.append(dollars(result.cost))
        parts.append(f"{result.duration_seconds:.1f} s")
    if result.status == "failed":
        parts.append("does not fit the schema")
    elif result.repaired:
        parts.append("repaired")
    if result.attempts > 1 + result.repaired:
        parts.append(f"{result.attempts} attempts")
    if result.incomplete:
        parts += [result.shortcoming, "" if result.cached else "not cached"]
    parts.append(result.notice)
    # A server may call its model anything; what breaks the line would end the receipt, or begin a heading.
    return " · ".join(" ".join(part.split()) for part in parts if part)
