"""Every foreign error becomes one of ours, with a true class, one line, and no secret in it."""

from __future__ import annotations

import asyncio
import importlib
import inspect
import json
import pickle
import socket
import ssl
import warnings
from email.utils import formatdate
from typing import Any, Dict, Iterator, List, Optional, Type

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from claude_force_nb.api.failures import error_from_answer, map_exception, retry_after_seconds
from claude_force_nb.errors import (
    ApiError,
    AuthenticationError,
    BrokenConnectionError,
    CallTimeoutError,
    ContextTooLongError,
    InvalidRequestError,
    MalformedAnswerError,
    NotFoundError,
    OverloadedError,
    PermissionDeniedError,
    RateLimitError,
    RedirectedError,
    ServerError,
    SpendLimitError,
    StreamCutError,
)

NOW = 1_793_534_400.0
URL = "http://127.0.0.1:1"


def exported() -> Iterator[Any]:
    """Every exception class that the SDK and the HTTP libraries below it export, as far as they are installed."""
    for name in ("anthropic", "httpx", "httpx2", "httpcore", "httpcore2", "aiohttp", "httpx_aiohttp"):
        try:
            module = importlib.import_module(name)
        except ImportError:
            continue
        for attribute in dir(module):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                kind = getattr(module, attribute, None)
            if inspect.isclass(kind) and issubclass(kind, Exception) and not issubclass(kind, Warning):
                yield pytest.param(kind, id=f"{name}.{attribute}")


FOREIGN = list(exported())


def bare(kind: Type[Exception]) -> Exception:
    """An instance of a class whose constructor is its own business."""
    try:
        return kind("reason")
    except Exception:
        return kind.__new__(kind)


def mapped(error: BaseException, **options: Any) -> ApiError:
    result = map_exception(error, base_url=URL, now=NOW, **options)
    assert isinstance(result, ApiError), error
    assert "\n" not in str(result)
    assert str(result)
    return result


@pytest.mark.parametrize("kind", FOREIGN)
@pytest.mark.parametrize("streaming", [False, True])
def test_no_exported_exception_is_unmapped(kind: Type[Exception], streaming: bool) -> None:
    """Whatever class of error the libraries export, it becomes an ApiError of one line; time-outs are time-outs."""
    result = mapped(bare(kind), streaming=streaming)
    if "Timeout" in kind.__name__:
        assert type(result) is CallTimeoutError


def test_the_libraries_are_there() -> None:
    """The list above is not empty by mistake."""
    names = {param.id.partition(".")[0] for param in FOREIGN}
    assert {"anthropic", "aiohttp"} <= names
    assert names & {"httpx", "httpx2"}


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (ConnectionRefusedError(111, "Connection refused"), BrokenConnectionError),
        (ConnectionResetError(104, "reset"), BrokenConnectionError),
        (socket.gaierror(-2, "Name or service not known"), BrokenConnectionError),
        (ssl.SSLError(1, "certificate verify failed"), BrokenConnectionError),
        (EOFError(), BrokenConnectionError),
        (asyncio.IncompleteReadError(b"", 5), BrokenConnectionError),
        (asyncio.TimeoutError(), CallTimeoutError),
        (socket.timeout("timed out"), CallTimeoutError),
        (json.JSONDecodeError("Expecting value", "<html>", 0), MalformedAnswerError),
        (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid"), MalformedAnswerError),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else value.__name__,
)
def test_errors_of_python(error: BaseException, kind: Type[ApiError]) -> None:
    """Errors of sockets, TLS, time-outs and decoding have their class."""
    assert type(mapped(error)) is kind


@pytest.mark.parametrize(
    ("error", "never_left"),
    [
        (ConnectionRefusedError(111, "Connection refused"), True),
        (socket.gaierror(-2, "Name or service not known"), True),
        (ConnectionResetError(104, "reset"), False),
        (EOFError(), False),
        (OSError("broken"), False),
    ],
    ids=repr,
)
def test_only_what_was_never_connected_never_left(error: OSError, never_left: bool) -> None:
    """A connection that broke may have carried the request; one that never was has not."""
    assert mapped(error).never_left is never_left
    assert pickle.loads(pickle.dumps(mapped(error))).never_left is never_left


@pytest.mark.parametrize(
    "error",
    [ValueError("x"), KeyError("x"), asyncio.CancelledError(), KeyboardInterrupt(), MemoryError(), TypeError()],
    ids=repr,
)
def test_errors_that_are_not_failed_calls(error: BaseException) -> None:
    """Cancellation and programming errors are not converted."""
    assert map_exception(error, base_url=URL, now=NOW) is None


def test_our_own_errors_pass() -> None:
    """An error of our own is returned unchanged."""
    error = OverloadedError("busy")
    assert mapped(error) is error


def test_the_innermost_reason_is_told() -> None:
    """Of a chain of errors the innermost says what happened, also where the chain bites its tail."""
    outer = OSError("outer")
    outer.__cause__ = OSError("inner reason")
    assert "inner reason" in str(mapped(outer))
    outer.__cause__.__context__ = outer
    mapped(outer)


def test_a_stream_that_breaks_was_cut() -> None:
    """The same broken connection is a cut stream once an answer has begun."""
    assert type(mapped(ConnectionResetError(), streaming=True)) is StreamCutError


def api_error(status: int, kind: Optional[str], message: str, **more: Any) -> ApiError:
    error: Dict[str, Any] = {"message": message}
    if kind is not None:
        error["type"] = kind
    error.update(more)
    headers = {"retry-after": "2"} if status == 429 else {}
    return error_from_answer(status, {"type": "error", "error": error}, headers, now=NOW)


@pytest.mark.parametrize(
    ("status", "kind", "message", "expected"),
    [
        (400, "invalid_request_error", "max_tokens: required", InvalidRequestError),
        (401, "authentication_error", "invalid x-api-key", AuthenticationError),
        (402, "billing_error", "Your credit balance is too low", SpendLimitError),
        (403, "permission_error", "not allowed", PermissionDeniedError),
        (404, "not_found_error", "model: claude-x", NotFoundError),
        (408, "timeout_error", "Request timeout", ServerError),
        (409, "conflict_error", "conflict", ServerError),
        (413, "request_too_large", "Request exceeds the maximum size", ContextTooLongError),
        (418, None, "teapot", InvalidRequestError),
        (422, None, "unprocessable", InvalidRequestError),
        (429, "rate_limit_error", "This request would exceed your organization's rate limit of 30,000 input tokens per minute", RateLimitError),
        (429, "rate_limit_error", "Number of concurrent connections has exceeded your rate limit", RateLimitError),
        (429, "rate_limit_error", "This request would exceed your organization's maximum usage increase rate", RateLimitError),
        (500, "api_error", "Internal server error", ServerError),
        (502, None, "bad gateway", ServerError),
        (504, "timeout_error", "timeout", ServerError),
        (529, "overloaded_error", "Overloaded", OverloadedError),
        (200, "overloaded_error", "Overloaded", OverloadedError),
        (200, "api_error", "Internal", ServerError),
        (200, "rate_limit_error", "slow down", RateLimitError),
        (200, "invalid_request_error", "prompt is too long: 210000 tokens > 200000 maximum", ContextTooLongError),
        (200, "something_new", "?", ServerError),
        (400, "invalid_request_error", "prompt is too long: 210000 tokens > 200000 maximum", ContextTooLongError),
        (400, "invalid_request_error", "input length and `max_tokens` exceed context limit: 199000 + 21333 > 200000", ContextTooLongError),
        (400, "invalid_request_error", "Your credit balance is too low to access the Anthropic API.", SpendLimitError),
        (400, "invalid_request_error", "You have reached your specified API usage limits. You will regain access on 2026-12-01", SpendLimitError),
        (429, "rate_limit_error", "Your organization has reached its monthly spend limit.", SpendLimitError),
        (403, "permission_error", "This workspace has reached its spending limit", SpendLimitError),
    ],
)  # fmt: skip
def test_every_answer_has_its_class(status: int, kind: Optional[str], message: str, expected: Type[ApiError]) -> None:
    """Status, type and words of the API's errors lead to one class; the status and the words are kept."""
    error = api_error(status, kind, message)
    assert type(error) is expected
    assert (error.status, error.error_type) == (status, kind)
    assert message in str(error)
    assert "\n" not in str(error)


def test_a_request_of_too_many_bytes_is_not_a_matter_of_the_model() -> None:
    """A page of the proxy before the API, or its own words: no larger context window helps."""
    for body in (
        "<html>413</html>",
        {"error": {"type": "request_too_large", "message": "Request exceeds the maximum size"}},
    ):
        error = error_from_answer(413, body, {}, now=0)
        assert type(error) is ContextTooLongError
        assert "32 MB" in str(error)
        assert "context window" not in str(error)
    too_long = {"error": {"type": "invalid_request_error", "message": "prompt is too long: 2 tokens > 1 maximum"}}
    assert "context window" in str(error_from_answer(400, too_long, {}, now=0))


def test_spend_limit_by_its_code() -> None:
    """The machine-readable code of a spend limit counts where the words do not say it."""
    error = api_error(429, "rate_limit_error", "Too many", details={"error_code": "enforced_spend_limit_reached"})
    assert type(error) is SpendLimitError
    assert not error.retryable
    assert error.error_code == "enforced_spend_limit_reached"
    assert "enforced_spend_limit_reached" in str(error)


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, SpendLimitError),
        ({"anthropic-ratelimit-requests-remaining": "7"}, SpendLimitError),
        ({"retry-after": "0"}, RateLimitError),
        ({"retry-after": "30"}, RateLimitError),
        ({"retry-after-ms": "500"}, RateLimitError),
        ({"x-should-retry": "true"}, RateLimitError),
        ({"anthropic-ratelimit-input-tokens-remaining": "0"}, RateLimitError),
    ],
    ids=repr,
)
def test_a_429_that_names_no_time_is_a_spend_limit(headers: Dict[str, str], expected: Type[ApiError]) -> None:
    """Waiting does not help: a rate limit would say when to come back, or which limit is used up."""
    error = error_from_answer(429, {"error": {"type": "rate_limit_error", "message": "no"}}, headers, now=NOW)
    assert type(error) is expected
    assert error.retryable is (expected is RateLimitError)


@pytest.mark.parametrize(
    ("base_url", "hint"),
    [("https://gate.example/v1", True), ("https://gate.example", False), ("https://v1.example/av1", False)],
)
def test_an_address_with_v1_at_its_end_is_named(base_url: str, hint: bool) -> None:
    """The SDK adds /v1 by itself, so a 404 there has one likely cause."""
    error = error_from_answer(404, None, {}, now=NOW, base_url=base_url)
    assert type(error) is NotFoundError
    assert ("remove /v1" in str(error)) is hint


def test_a_redirect_says_where_to_without_what_is_secret() -> None:
    """Neither password nor query of the address is shown, nor a key in its path."""
    location = "https://user:pa55word@else.example/v1/sk-ant-api03-abcdefgh/messages?key=secret#x"
    error = error_from_answer(308, None, {"location": location}, now=NOW, base_url="https://api.anthropic.com")
    assert type(error) is RedirectedError
    assert not error.retryable
    assert "https://else.example/v1/" in str(error)
    assert "https://api.anthropic.com redirected the call" in str(error)
    for secret in ("pa55word", "abcdefgh", "secret", "user"):
        assert secret not in str(error)
    assert "an unnamed address" in str(error_from_answer(302, None, {}, now=NOW))


@pytest.mark.parametrize(
    "body", [None, "", "<html>502</html>", b"x", [], {}, {"error": None}, {"error": []}, {"error": {"message": 5, "type": []}},
             {"error": {"details": "x"}}], ids=repr,
)  # fmt: skip
@pytest.mark.parametrize("status", [400, 404, 429, 502])
def test_bodies_that_say_nothing(status: int, body: Any) -> None:
    """A body that is not the API's leaves the status to speak."""
    error = error_from_answer(status, body, {}, now=NOW)
    assert error.status == status
    assert f"HTTP {status}" in str(error)


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (400, InvalidRequestError), (401, AuthenticationError), (402, SpendLimitError), (403, PermissionDeniedError),
        (404, NotFoundError), (408, ServerError), (409, ServerError), (413, ContextTooLongError), (418, InvalidRequestError),
        (429, RateLimitError), (499, InvalidRequestError), (500, ServerError), (503, ServerError), (528, ServerError),
        (529, OverloadedError), (200, ServerError),
    ],
)  # fmt: skip
def test_a_status_alone_has_its_class(status: int, expected: Type[ApiError]) -> None:
    """Of a gateway that sends no body, or one of its own."""
    assert type(error_from_answer(status, None, {"retry-after": "1"}, now=NOW)) is expected


@pytest.mark.parametrize(
    "body", [{"error": "model not found"}, {"message": "model not found"}, {"detail": "model not found"}], ids=repr
)
def test_bodies_of_other_servers(body: Any) -> None:
    """Gateways and local servers put their message elsewhere; it is shown nevertheless."""
    assert "model not found" in str(error_from_answer(404, body, {}, now=NOW))


def test_evidence_is_kept() -> None:
    """Request id and retry-after travel with the error; x-should-retry: false ends the trying."""
    headers = {"request-id": "req_1", "retry-after": "7", "x-should-retry": "false"}
    error = error_from_answer(429, {"error": {"type": "rate_limit_error", "message": "m"}}, headers, now=NOW)
    assert (error.request_id, error.retry_after_seconds, error.retryable) == ("req_1", 7.0, False)
    assert error_from_answer(500, {"request_id": "req_2"}, {}, now=NOW).request_id == "req_2"


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("7", 7.0), ("0", 0.0), (" 1.5 ", 1.5), ("-3", 0.0), ("", None), ("soon", None), ("nan", None), ("inf", None),
        ("1e999", None), (formatdate(NOW + 60, usegmt=True), 60.0), (formatdate(NOW - 60, usegmt=True), 0.0),
        (formatdate(NOW + 60), 60.0), (formatdate(NOW + 60)[:-6], 60.0), ("Sun, 99 Foo 2026 99:99:99 GMT", None),
        ("1e300", 31_536_000.0), ("Fri, 31 Dec 9999 23:59:59 GMT", 31_536_000.0),
    ],
)  # fmt: skip
def test_retry_after(value: str, seconds: Optional[float]) -> None:
    """retry-after comes as seconds or as a date in GMT, and is a year at most; what is unreadable is as if it were not there."""
    assert retry_after_seconds({"retry-after": value}, now=NOW) == seconds


def test_retry_after_in_another_time_zone(monkeypatch: pytest.MonkeyPatch) -> None:
    """A date without a zone is GMT, wherever this machine is."""
    import time

    monkeypatch.setenv("TZ", "Pacific/Kiritimati")
    if hasattr(time, "tzset"):
        time.tzset()
    try:
        assert retry_after_seconds({"retry-after": formatdate(NOW + 60)[:-6]}, now=NOW) == 60.0
    finally:
        monkeypatch.undo()
        if hasattr(time, "tzset"):
            time.tzset()


letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
tails = st.text(letters, min_size=8, max_size=60)
keys = st.one_of(tails.map("sk-ant-api03-{}".format), tails.map("sk-{}".format), tails.map("Bearer {}".format))
around: List[str] = [
    "invalid key {}",
    "x-api-key: {}.",
    "{}",
    "got '{}', expected another\nline",
    "{},{}",
    '{{"key":"{}"}}',
]


@given(keys, st.sampled_from(around), st.sampled_from([400, 401, 429, 500]))
def test_no_key_in_a_message(key: str, template: str, status: int) -> None:
    """Whatever has the shape of a key is gone from an error that quotes it."""
    message = template.format(key, key)
    error = error_from_answer(status, {"error": {"message": message}}, {}, now=NOW)
    assert key[-8:] not in str(error)
    assert key[-8:] not in str(mapped(OSError(message)))


@given(st.text(letters + "!§ü", min_size=8, max_size=40), st.sampled_from(around))
def test_no_given_secret_in_a_message(secret: str, template: str) -> None:
    """The very key in use is gone whatever shape it has."""
    # A made-up secret may be a word of our own text, ANTHROPI for one.
    assume(secret not in str(error_from_answer(401, {"error": {"message": ""}}, {}, now=NOW)))
    assume(secret not in str(mapped(OSError(""))))
    message = template.format(secret, secret)
    error = error_from_answer(401, {"error": {"message": message}}, {}, now=NOW, secrets=[secret])
    assert secret not in str(error)
    assert secret not in str(mapped(OSError(message), secrets=[secret]))


def test_no_password_of_an_address_in_a_message() -> None:
    """An address with a name and a password is shown without them."""
    shown = str(mapped(OSError("cannot connect to https://user:pa55word@gateway:8080/v1")))
    assert "pa55word" not in shown
    assert "gateway:8080" in shown


def test_messages_are_short_and_visible() -> None:
    """A page of HTML, or characters that cannot be seen, do not flood the cell."""
    error = error_from_answer(400, {"error": {"message": "\u202e\x1b[31m" + "long " * 1000}}, {}, now=NOW)
    assert len(str(error)) < 400
    assert "\x1b" not in str(error)
    assert "\u202e" not in str(error)
    for length in (299, 300):
        assert "x" * length in str(error_from_answer(400, {"error": {"message": "x" * length}}, {}, now=NOW))
    long = str(error_from_answer(400, {"error": {"message": "x" * 301}}, {}, now=NOW))
    assert "x" * 299 + "…" in long
    assert "x" * 300 not in long
