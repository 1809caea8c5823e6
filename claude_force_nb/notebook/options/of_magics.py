"""The options that each magic takes, other than ``%claude``, which takes all options marked `line` in the table."""

from __future__ import annotations

from .table import LINE_OPTIONS

__all__ = ["AGENT_OPTIONS", "BATCH_OPTIONS", "COMPARE_OPTIONS", "ROW_OPTIONS"]

# Options for a source of rows.
ROW_OPTIONS = ("column", "limit", "max_concurrent", "missing", "via")
# Options of a batch: its own, and those of a single call that make sense for every row.
BATCH_OPTIONS = (
    "column",
    "agent_column",
    "model_column",
    "limit",
    "max_concurrent",
    "missing",
    "via",
    "count",
    *(name for name in LINE_OPTIONS if name not in ("as", "memory", "raw", "stream", "refresh", "dry-run", "help")),
    "trust_file",
    "background",
    "refresh",
    "dry-run",
    "help",
)
COMPARE_OPTIONS = (
    "models",
    "agents",
    "samples",
    *(
        name
        for name in LINE_OPTIONS
        if name not in ("agent", "as", "dry-run", "help", "live", "memory", "model", "sample", "stream")
    ),
    *ROW_OPTIONS,
    "help",
)
AGENT_OPTIONS = ("model", "temperature", "max_tokens", "description")
