"""Error answers: status, type, message and body. Pure."""

from __future__ import annotations

from typing import Any, Dict, Mapping, Optional

__all__ = ["ERROR_TYPES", "ApiFailure", "error_body", "invalid"]

ERROR_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    408: "timeout_error",
    409: "conflict_error",
    413: "request_too_large",
    429: "rate_limit_error",
    500: "api_error",
    504: "timeout_error",
    529: "overloaded_error",
}


class ApiFailure(Exception):
    """An error that the API returns instead of an answer.

    Parameters
    ----------
    status : int
        HTTP status.
    message : str
        ``error.message``.
    error_type : str, optional
        ``error.type``; by default that of the status.
    retry_after_seconds : float, optional
        Sent as ``retry-after``.
    details : mapping, optional
        ``error.details``.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        error_type: Optional[str] = None,
        retry_after_seconds: Optional[float] = None,
        details: Optional[Mapping[str, Any]] = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.error_type = error_type or ERROR_TYPES.get(status, "api_error" if status >= 500 else ERROR_TYPES[400])
        self.retry_after_seconds = retry_after_seconds
        self.details = details


def invalid(message: str) -> ApiFailure:
    """Return the error with which the API refuses an invalid request (status 400)."""
    return ApiFailure(400, message)


def error_body(failure: ApiFailure, request_id: Optional[str]) -> Dict[str, Any]:
    """Return the API's error object; `request_id` is None inside streams, where the API omits it."""
    error: Dict[str, Any] = {"type": failure.error_type, "message": failure.message}
    if failure.details is not None:
        error["details"] = dict(failure.details)
    body: Dict[str, Any] = {"type": "error", "error": error}
    if request_id is not None:
        body["request_id"] = request_id
    return body
