"""Which options of the table each magic takes, beside ``%claude``, which takes those of a line."""

from __future__ import annotations

from .table import LINE_OPTIONS

__all__ = ["AGENT_OPTIONS", "BATCH_OPTIONS", "COMPARE_OPTIONS", "ROW_OPTIONS"]

# Where there is a source of rows.
ROW_OPTIONS = ("column", "limit", "max_concurrent", "missing", "via")
# Of a batch: those of a cell that can mean something for every row, and its own.
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
