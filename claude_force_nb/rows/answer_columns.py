"""The columns that an answer adds to a table, after the columns of the source."""

from __future__ import annotations

from typing import Any, Callable, Dict, Mapping, Optional, Sequence

from claude_force_nb.messages.result import ClaudeResult
from claude_force_nb.schemas.answer import AnswerSchema, as_row

__all__ = ["FRAME_COLUMNS", "answer_columns", "frame_parts"]

# The columns that `BatchResult.to_frame` adds itself.
FRAME_COLUMNS = ("answer", "status", "stop_reason", "error", "cost")


def answer_columns(
    result: ClaudeResult, more: Optional[Callable[[ClaudeResult], Mapping[str, Any]]] = None
) -> Dict[str, Any]:
    """Return an answer's columns: its text, the parts that `more` returns, status, stop reason, error and cost in US dollars.

    The text of an answer that was cut off is kept. Text that a model wrote before it refused is dropped, as the API's
    documentation advises.
    """
    error = result.error
    columns: Dict[str, Any] = {"answer": None if error is not None or result.status == "refused" else result.text}
    if more is not None:
        columns.update(more(result))
    columns["status"] = result.shown_status
    columns["stop_reason"] = result.stop_reason
    shortcoming = result.shortcoming or None
    columns["error"] = shortcoming if error is None else f"{type(error).__name__}: {' '.join(str(error).split())}"
    columns["cost"] = None if result.shown_cost is None else float(result.shown_cost)
    return columns


def frame_parts(
    schema: Optional[AnswerSchema], *, taken: Sequence[str] = FRAME_COLUMNS
) -> Optional[Callable[[ClaudeResult], Mapping[str, Any]]]:
    """Return a function that maps a result to its parts by column, for `BatchResult.to_frame`; None without a schema.

    A part whose name is one of the `taken` columns gets a number: ``status_2`` and so on.
    """
    if schema is None:
        return None
    names: Dict[str, str] = {}
    for name in schema.columns:
        number, free = 2, name
        while free in taken or (free != name and free in schema.columns):
            free, number = f"{name}_{number}", number + 1
        names[name] = free
    return lambda result: {names[name]: value for name, value in as_row(result.parsed, schema).items()}
