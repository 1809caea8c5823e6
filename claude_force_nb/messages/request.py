"""The request to the Messages API, and its fingerprint. Pure."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import sha256
from json.encoder import encode_basestring_ascii
from typing import Any, Dict, List, Optional, Sequence, Tuple
from urllib.parse import urlsplit, urlunsplit

from claude_force_nb.errors import OptionError
from claude_force_nb.vocabulary import shown_value, whole_number_fault

from .cache_mark import CacheMark, marked_body
from .nesting import check_level

__all__ = [
    "API_VERSION",
    "DEFAULT_BASE_URL",
    "FINGERPRINT_SCHEMA",
    "ClaudeRequest",
    "SharedFields",
    "normalise_base_url",
]

DEFAULT_BASE_URL = "https://api.anthropic.com"

# Sent with every call instead of the SDK's default, so that a request means the same with every version of the SDK.
API_VERSION = "2023-06-01"

# Increment this if the meaning of a fingerprint's input changes, so that old cache entries become misses, not wrong
# answers.
FINGERPRINT_SCHEMA = 1

_encode = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False).encode


@lru_cache(maxsize=32)  # called several times per call, with the same few addresses
def normalise_base_url(url: Optional[str]) -> str:
    """Return `url` without credentials, query, fragment and trailing slash; None and "" mean the official API.

    Raises
    ------
    OptionError
        If `url` is not an http(s) URL with a host.
    """
    if not url:
        return DEFAULT_BASE_URL
    url = url.strip()
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # such as unbalanced brackets, or a port that is not a number
        usable = False
    if not usable or not url.isprintable():
        raise OptionError("base_url must start with http:// or https:// and name a host")
    host = parts.netloc.rpartition("@")[2].lower()
    usual_port = ":443" if parts.scheme == "https" else ":80"
    if host.endswith(usual_port):
        host = host[: -len(usual_port)]
    return urlunsplit((parts.scheme, host, parts.path.rstrip("/"), "", ""))


def _text(value: str, where: str) -> str:
    """Return a plain copy of a text; refuse lone surrogates, which have no UTF-8 form and would crash the HTTP libraries."""
    if not value.isascii():
        try:
            value.encode("utf-8")
        except UnicodeEncodeError as error:
            raise OptionError(
                f"{where} cannot be sent: character {error.start} is half of a surrogate pair "
                f"({value[error.start]!a}); decode the text again"
            ) from None
    return value if type(value) is str else str.__str__(value)


def _plain(value: Any, where: str, depth: int = 0) -> Any:
    """Copy JSON data, with whole floats as integers, so that ``1`` and ``1.0`` give the same request."""
    kind = type(value)
    # Nearly all requests consist of only these types, and comparing exact types is several times faster. For the same
    # reason, code that runs once per row checks collections.abc.Mapping instead of typing.Mapping.
    if kind is str:
        return _text(value, where)
    if kind is int or value is None or kind is bool:
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise OptionError(f"{where} must be a finite number, not {value!r}")
        return int(value) if value == int(value) else float(value)
    if isinstance(value, str):
        return _text(value, where)
    if isinstance(value, int):
        return int(value)
    check_level(depth)
    if kind is dict or isinstance(value, Mapping):
        copied = {}
        for key, item in value.items():
            if not isinstance(key, str):
                raise OptionError(f"{where}: keys of a request must be text, not {shown_value(key)}")
            key = _text(key, where)
            copied[key] = _plain(item, where + "." + (key if key.isprintable() else ascii(key)), depth + 1)
        return copied
    if kind is list or isinstance(value, (list, tuple)):
        return [_plain(item, where, depth + 1) for item in value]
    raise OptionError(f"{where} cannot be sent: {kind.__name__} is not JSON data")


def _json_data(value: Any, where: str) -> Any:
    try:
        return _plain(value, where)
    except RecursionError:
        raise OptionError("the request is nested too deeply, or contains itself") from None


def _check_messages(messages: Any) -> None:
    if not isinstance(messages, list) or not messages:
        raise OptionError("messages must be a list of at least one message")


@dataclass(frozen=True)
class ClaudeRequest:
    """One request to the Messages API, complete except for the key.

    Parameters
    ----------
    body : mapping
        JSON body to send, with at least ``model``, ``max_tokens`` (tokens, >= 1) and ``messages``. ``stream`` is
        dropped, since it changes how the answer is delivered, not the answer. The body is copied; treat the attribute
        as read-only.
    base_url : str
        Address of the server, normalised by `normalise_base_url`.
    api_version : str
        ``anthropic-version`` header.
    betas : tuple of str
        ``anthropic-beta`` values; their order does not matter.
    sample : int
        Number of the sample, >= 1: each number stands for an independent answer to the same body.
    agent : str, optional
        Name of the agent; for display only, never part of the fingerprint.
    notices : tuple of str
        Changes to the values in the prompt; shown by ``--dry-run``, never part of the fingerprint.
    adjustments : tuple of str
        Options that were changed to values that the model accepts; shown by ``--dry-run`` and in receipts, never part
        of the fingerprint.
    cache_mark : CacheMark, optional
        Where the prompt is marked for the API's prompt cache when it is sent; never part of the fingerprint.

    Raises
    ------
    OptionError
        If the body is not JSON data or lacks a required field, or `sample` is less than 1.
    """

    body: Dict[str, Any]
    base_url: str = DEFAULT_BASE_URL
    api_version: str = API_VERSION
    betas: Tuple[str, ...] = ()
    sample: int = 1
    agent: Optional[str] = field(default=None, compare=False)
    notices: Tuple[str, ...] = field(default=(), compare=False)
    adjustments: Tuple[str, ...] = field(default=(), compare=False)
    cache_mark: Optional[CacheMark] = field(default=None, compare=False)

    def __post_init__(self) -> None:
        for name in ("model", "max_tokens", "messages"):
            if name not in self.body:
                raise OptionError(f"a request needs {name!r}")
        fault = whole_number_fault(self.sample, "sample", 1)
        if fault:
            raise OptionError(fault)
        body = _json_data(self.body, "body")
        body.pop("stream", None)
        model, max_tokens = body["model"], body["max_tokens"]
        if not isinstance(model, str) or not model:
            raise OptionError(f"model must be text, not {model!r}")
        fault = whole_number_fault(max_tokens, "max_tokens", 1)
        if fault:
            raise OptionError(fault)
        _check_messages(body["messages"])
        betas: Any = self.betas
        betas = (betas,) if isinstance(betas, str) else tuple(betas)
        if not all(isinstance(beta, str) and beta.isascii() and beta.isprintable() for beta in betas):
            raise OptionError(f"betas must be names such as files-api-2025-04-14, not {shown_value(betas)}")
        object.__setattr__(self, "body", body)
        object.__setattr__(self, "betas", tuple(sorted(set(betas))))

    @property
    def model(self) -> str:
        """Full model name as sent."""
        model: str = self.body["model"]
        return model

    @property
    def max_tokens(self) -> int:
        """Upper bound of the answer, in tokens."""
        max_tokens: int = self.body["max_tokens"]
        return max_tokens

    @property
    def sent_body(self) -> Dict[str, Any]:
        """The body to send, with the mark for the prompt cache."""
        return self.body if self.cache_mark is None else marked_body(self.body, self.cache_mark)

    def marked(self, mark: Optional[CacheMark]) -> ClaudeRequest:
        """Return the same request with another mark, or without one."""
        if mark is self.cache_mark:
            return self
        copy = object.__new__(ClaudeRequest)
        copy.__dict__.update(self.__dict__, cache_mark=mark)
        return copy

    @property
    def fingerprint(self) -> str:
        """SHA-256 (64 hexadecimal digits) of the canonical JSON of everything that determines the answer.

        Equal requests have equal fingerprints in every process and on every version of Python. The API key, time-outs,
        retries and the agent's name are never part of it.
        """
        cached = self.__dict__.get("_fingerprint")
        if cached is None:
            text = _encode(
                [FINGERPRINT_SCHEMA, self.base_url, self.api_version, self.betas, self.sample, self.body],
            )
            cached = sha256(text.encode("ascii")).hexdigest()
            object.__setattr__(self, "_fingerprint", cached)
        return str(cached)

    def __repr__(self) -> str:
        short = self.fingerprint[:12] + "…"
        return f"ClaudeRequest(model={self.model!r}, sample={self.sample}, fingerprint={short!r})"

    def __hash__(self) -> int:
        return hash(self.fingerprint)


class SharedFields:
    """The common part of requests that differ only in their messages, checked and encoded once.

    Parameters
    ----------
    request : ClaudeRequest
        One of these requests.
    """

    def __init__(self, request: ClaudeRequest) -> None:
        self._one = request
        # The canonical JSON around the messages, computed for the second request: the hash state after the part before
        # them, and the part after them.
        self._around: Optional[Tuple[Any, str]] = None

    @property
    def body(self) -> Dict[str, Any]:
        """The body of the constructor's request, with its own messages."""
        return self._one.body

    def request(self, messages: Sequence[Any], *, notices: Tuple[str, ...] = ()) -> ClaudeRequest:
        """Return the request with other messages. It equals one made from the whole body, but takes a quarter of the time.

        Raises
        ------
        OptionError
            If the messages are not JSON data, or there are none.
        """
        plain = _json_data(messages, "body.messages")
        _check_messages(plain)
        return self._with(plain, _encode(plain), notices)

    def request_of_text(self, text: str, *, notices: Tuple[str, ...] = ()) -> ClaudeRequest:
        """Return the request whose only message is a user message with this text; takes half the time of `request`.

        Raises
        ------
        OptionError
            If the text cannot be sent.
        """
        text = _text(text, "body.messages")
        # Canonical JSON: the keys are sorted.
        encoded = f'[{{"content":{encode_basestring_ascii(text)},"role":"user"}}]'
        return self._with([{"role": "user", "content": text}], encoded, notices)

    def _with(self, messages: List[Any], encoded: str, notices: Tuple[str, ...]) -> ClaudeRequest:
        """Return the request with these messages, which must be plain JSON data, and compute its fingerprint from `encoded`."""
        one = self._one
        if self._around is None:
            self._around = self._encode_around()
        before, after = self._around
        digest = before.copy()
        digest.update((encoded + after).encode("ascii"))
        made = object.__new__(ClaudeRequest)
        fields = made.__dict__
        fields.update(one.__dict__)
        fields["body"] = {**one.body, "messages": messages}
        fields["notices"] = notices
        fields["_fingerprint"] = digest.hexdigest()
        return made

    def _encode_around(self) -> Tuple[Any, str]:
        """Return, of the text hashed by `ClaudeRequest.fingerprint`, the hash up to the messages and the text after them."""
        one = self._one
        first = {name: value for name, value in one.body.items() if name < "messages"}
        last = {name: value for name, value in one.body.items() if name > "messages"}
        before = _encode([FINGERPRINT_SCHEMA, one.base_url, one.api_version, one.betas, one.sample, first])
        before = before[: -len("}]")] + ("," if first else "") + '"messages":'
        after = ("," + _encode(last)[1:] if last else "}") + "]"
        return sha256(before.encode("ascii")), after
