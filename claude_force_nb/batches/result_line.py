"""Parses the lines of a message batch's results. Pure."""

from __future__ import annotations

import datetime
import re
from dataclasses import dataclass
from typing import Any, Mapping, Optional

from claude_force_nb.api.answer import Answer
from claude_force_nb.api.failures import error_from_answer
from claude_force_nb.costs.pricing import PriceTable
from claude_force_nb.errors import ApiError, MalformedAnswerError, NotAnsweredError
from claude_force_nb.messages.nesting import load_json
from claude_force_nb.messages.result import ClaudeResult

__all__ = ["ResultLine", "missing_result", "read_line"]

_FINGERPRINT = re.compile(r"[0-9a-f]{64}\Z")

# HTTP status that a direct call would have had (API reference, "Errors").
_STATUS = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "api_error": 500,
    "timeout_error": 504,
    "overloaded_error": 529,
}
# Status and reason for requests that never reached the model (API reference, "Retrieving batch results").
_NOT_BILLED = {
    "canceled": ("stopped", "the batch was cancelled before this row was processed; run again to send it"),
    "expired": ("not_sent", "the batch expired before this row was processed; run again to send it"),
}


@dataclass(frozen=True)
class ResultLine:
    """The outcome of one request (Message Batches API, "Retrieving batch results").

    Attributes
    ----------
    fingerprint : bytes
        32 bytes.
    kind : str
        ``succeeded``, ``errored``, ``canceled`` or ``expired``.
    value : mapping
        The ``result`` object.
    """

    fingerprint: bytes
    kind: str
    value: Mapping[str, Any]

    @property
    def is_billed(self) -> bool:
        """True if the line has an answer. Requests that failed, expired or were cancelled cost nothing."""
        return self.kind == "succeeded"

    @property
    def message_id(self) -> Optional[str]:
        """The API's id of the answer, which distinguishes it from other answers to the same request."""
        message = self.value.get("message")
        found = message.get("id") if isinstance(message, dict) else None
        return found if isinstance(found, str) else None

    def to_result(
        self, *, agent: Optional[str], model: str, prices: PriceTable, on: datetime.date, now: float
    ) -> ClaudeResult:
        """Return the answer at batch prices, or the reason why it is missing.

        Only answers are billed. A cancelled request is ``stopped``, an expired one ``not_sent``, and one that the API refused
        ``failed``.
        """
        fingerprint = self.fingerprint.hex()
        if self.is_billed:
            try:
                result = Answer(self.value.get("message")).to_result(  # type: ignore[arg-type]
                    fingerprint=fingerprint, agent=agent
                )
            except MalformedAnswerError:
                error: ApiError = MalformedAnswerError("the batch's result for this row is not a message")
                return ClaudeResult(
                    model=model, agent=agent, fingerprint=fingerprint, status="failed", error=error, cost=None
                )
            usage = result.usage.in_batch()
            cost = prices.cost(result.model, usage, on=on)
            saving = prices.prompt_cache_saving(result.model, usage, on=on)
            return result.changed(
                usage=usage, cost=cost, prompt_cache_saved=saving, request_id=self.message_id, attempts=1
            )
        if self.kind in _NOT_BILLED:
            status, reason = _NOT_BILLED[self.kind]
            error = NotAnsweredError(reason)
            return ClaudeResult(model=model, agent=agent, fingerprint=fingerprint, status=status, error=error)
        body = self.value.get("error")
        # The error object may be wrapped like an error answer, or not.
        inner = body.get("error") if isinstance(body, dict) and "error" in body else body
        error_type = inner.get("type") if isinstance(inner, dict) else None
        body = {"error": inner, "request_id": body.get("request_id") if isinstance(body, dict) else None}
        error = error_from_answer(_STATUS.get(str(error_type), 500), body, {}, now=now)
        return ClaudeResult(model=model, agent=agent, fingerprint=fingerprint, status="failed", error=error)


def missing_result(fingerprint: bytes, *, agent: Optional[str], model: str) -> ClaudeResult:
    """Return the result of a request without a line in the results: nobody knows whether it was answered and billed."""
    error = NotAnsweredError("the batch's results have no line for this row, which may be billed; run again to send it")
    return ClaudeResult(
        model=model, agent=agent, fingerprint=fingerprint.hex(), status="failed", error=error, cost=None
    )


def read_line(line: bytes) -> Optional[ResultLine]:
    """Parse a line of results; return None if it is not valid JSON, or not for one of our requests."""
    try:
        item = load_json(line)
    except ValueError:
        return None
    custom_id = item.get("custom_id") if isinstance(item, dict) else None
    result = item.get("result") if isinstance(item, dict) else None
    if not isinstance(custom_id, str) or not isinstance(result, dict) or not _FINGERPRINT.match(custom_id):
        return None
    return ResultLine(bytes.fromhex(custom_id), str(result.get("type")), result)
