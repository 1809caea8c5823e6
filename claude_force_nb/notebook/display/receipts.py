"""The receipt: one line below an answer."""

from __future__ import annotations

import datetime
import time
from typing import Optional

from claude_force_nb.costs.report import dollars
from claude_force_nb.messages.result import ClaudeResult
from claude_force_nb.text_tables import one_line

__all__ = ["receipt", "why_missing"]


def _day(result: ClaudeResult, now: float) -> str:
    """Return the date (UTC) on which a cached answer was asked for, which unlike its age is the same in every rerun."""
    asked = datetime.datetime.fromtimestamp(now - result.age_seconds, datetime.timezone.utc)
    return asked.date().isoformat()


def _tokens(result: ClaudeResult) -> str:
    return f"{result.usage.total_input_tokens}→{result.usage.output_tokens} tok"


def why_missing(result: ClaudeResult) -> str:
    """Return a one-line reason for a missing or unusable answer: the status, then the error; the error alone if it starts with the status."""
    status, reason = result.status.replace("_", " "), one_line(result.error)
    return reason if reason.startswith(status) else f"{status}: {reason}"


def receipt(result: ClaudeResult, *, now: Optional[float] = None) -> str:
    """Return the line below an answer: agent and model, tokens, cost, time; for a cached one, its date and the savings.

    The receipt of a recorded answer shows the time and cost of the original call, however long ago it was.

    Parameters
    ----------
    result : ClaudeResult
    now : float, optional
        Unix seconds; the current time by default.
    """
    parts = [result.agent or "", result.model]
    day = _day(result, time.time() if now is None else now)
    if result.recorded:
        parts += [f"recorded {day}", _tokens(result)]
        parts += ["price unknown" if result.price is None else dollars(result.price), f"{result.call_seconds:.1f} s"]
    elif result.cached:
        parts += ["cached", f"asked {day}"]
        parts.append("saved " + dollars(result.saved) if result.saved is not None else "price unknown")
    else:
        parts += [_tokens(result), dollars(result.cost)]
        if result.prompt_cache_saved:
            verb = "saved" if result.prompt_cache_saved > 0 else "written for"
            parts.append(f"prompt cache {verb} {dollars(abs(result.prompt_cache_saved))}")
        parts.append(f"{result.duration_seconds:.1f} s")
    if result.status == "failed":
        parts.append("does not fit the schema")
    elif result.repaired:
        parts.append("repaired")
    if result.attempts > 1 + result.repaired and not result.recorded:
        parts.append(f"{result.attempts} attempts")
    if result.incomplete:
        parts += [result.shortcoming, "" if result.cached or result.recorded else "not cached"]
    elif result.stop_reason == "pause_turn":
        parts += ["paused by the API before its end", "" if result.recorded else "not cached"]
    elif result.shown_status == "ok" and not result.text.strip():
        parts += ["no text in the answer", "" if result.recorded else "not cached"]
    parts.append(result.notice)
    # A server may name its model anything; a line break in a name would end the receipt, or begin a heading.
    return " · ".join(one_line(part) for part in parts if part)
