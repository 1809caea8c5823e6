"""The origin of an answer, for the metadata of its output in the saved notebook: nothing personal, and stable on reruns."""

from __future__ import annotations

import datetime
import time
from typing import Any, Dict, Mapping

from claude_force_nb import __version__
from claude_force_nb.messages.result import ClaudeResult

__all__ = ["ABOUT_THE_RUN", "METADATA_KEY", "provenance"]

METADATA_KEY = "claude_force_nb"

ABOUT_THE_RUN: Mapping[str, Any] = {METADATA_KEY: {"about": "run"}}
"""Metadata of an output that shows settings, costs and the like."""


def provenance(result: ClaudeResult) -> Dict[str, Any]:
    """Return the metadata of an output that shows an answer.

    ``cost`` is the original cost of the answer in US dollars, as text; None if its price is unknown. ``date`` is the day (UTC)
    on which it was made.
    """
    made = datetime.datetime.fromtimestamp(time.time() - result.age_seconds, datetime.timezone.utc)
    return {
        METADATA_KEY: {
            "agent": result.agent,
            "cost": None if result.price is None else f"{result.price:f}",
            "date": made.strftime("%Y-%m-%d"),
            "fingerprint": result.fingerprint,
            "model": result.model,
            "model_asked": result.model_asked or result.model,
            "package": __version__,
            "repaired": result.repaired,
            "request_id": result.request_id,
        }
    }
