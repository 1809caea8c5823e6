"""The columns of an answer in a table, after those of the source."""

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
    """Return what a table says of an answer: itself, its parts where `more` gives them, status, why it is as it is, US dollars.

    The text of one that is cut off is kept. What a model wrote before it refused is not, as the API's documentation advises.
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
    """Return what gives a result's parts by column, for `BatchResult.to_frame`; None without schema.

    A part that is called as one of the columns that are `taken` is called ``status_2`` and so on.
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
