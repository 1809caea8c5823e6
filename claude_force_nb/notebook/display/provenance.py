"""Where a shown answer comes from, for the output's metadata in the saved notebook. Nothing personal, and the same on each rerun."""

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

    ``cost`` is what the answer cost when it was made, in US dollars, as text; None if its price is not known. ``date`` is the day
    on which it was made, UTC.
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
