"""Decode JSON from a server: with limits on depth and digits, and without lone surrogates or our own secrets. Pure."""

from __future__ import annotations

import json
import re
from typing import Any, Iterable

from claude_force_nb.errors import MalformedAnswerError
from claude_force_nb.messages.nesting import is_nested_deeper
from claude_force_nb.vocabulary import counted

__all__ = ["Redactor", "decode_json", "is_web_page", "joined", "repair_surrogates"]

# Deeper than any answer or tool input of the API, and far below Python's recursion limit.
_MOST_DEPTH = 100
_MOST_DIGITS = 400
_SHOWN_SECRET = "…"
# A shorter key is not a secret but a placeholder for a local server.
_SHORTEST_SECRET = 8
_SURROGATE = re.compile("[\ud800-\udfff]")
# Bytes that can hide a secret or a surrogate: escapes (RFC 8259, section 7), and the zero bytes of UTF-16 and UTF-32.
_HIDING = re.compile(rb"\\[u/\\]|\0")
_WEB_PAGE = re.compile(rb"\s*(<!doctype html|<html|<head|<body)", re.IGNORECASE)


class Redactor:
    """Removes secrets from everything that a server sends.

    Parameters
    ----------
    secrets : iterable of str
        Keys, tokens and passwords; those shorter than eight characters are ignored.
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self.secrets = tuple(sorted({each for each in secrets if len(each) >= _SHORTEST_SECRET}, key=len, reverse=True))
        self._written_otherwise = any(json.dumps(secret, ensure_ascii=False)[1:-1] != secret for secret in self.secrets)
        self._bytes = tuple(secret.encode("utf-8", "surrogatepass") for secret in self.secrets)

    def __repr__(self) -> str:
        return f"Redactor({counted(len(self.secrets), 'secret')})"

    def text(self, text: str) -> str:
        """Return `text` without secrets."""
        for secret in self.secrets:
            if secret in text:
                text = text.replace(secret, _SHOWN_SECRET)
        return text

    def clean(self, value: Any) -> Any:
        """Return decoded JSON without secrets and lone surrogates."""
        if isinstance(value, str):
            return self.text(repair_surrogates(value))
        if isinstance(value, list):
            return [self.clean(each) for each in value]
        if isinstance(value, dict):
            return {self.text(repair_surrogates(key)): self.clean(each) for key, each in value.items()}
        return value

    def decode(self, data: bytes) -> Any:
        """Decode a whole body and clean it; raises like `decode_json`."""
        value = decode_json(data)
        # Clean only if necessary, which is rare: if an escape could hide a secret or a surrogate (most answers escape
        # only quotes and line ends), or if the bytes contain a secret or possibly a surrogate (0xED).
        hidden = _HIDING.search(data) is not None or (self._written_otherwise and b"\\" in data)
        if hidden or b"\xed" in data or any(secret in data for secret in self._bytes):
            return self.clean(value)
        return value


def decode_json(data: bytes) -> Any:
    """Decode JSON from a server.

    Raises
    ------
    MalformedAnswerError
        If it is not valid JSON, is nested more than 100 levels deep, or contains an integer of more than 400 digits.
    """
    try:
        text = data.decode(json.detect_encoding(data), "surrogatepass")
        if is_nested_deeper(text, _MOST_DEPTH):
            raise MalformedAnswerError(f"the answer is nested more than {_MOST_DEPTH} levels deep", status=200)
        return json.loads(text, parse_int=_whole_number, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise MalformedAnswerError("the answer is not valid JSON", status=200) from None


def repair_surrogates(text: str) -> str:
    """Return `text` with the halves of surrogate pairs joined, and lone surrogates replaced by U+FFFD."""
    if not _SURROGATE.search(text):
        return text
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def joined(parts: Iterable[str]) -> str:
    """Join the parts of a text, including surrogate pairs split between two parts."""
    return repair_surrogates("".join(parts))


def is_web_page(data: bytes) -> bool:
    """Return whether a body is a web page rather than data."""
    return _WEB_PAGE.match(data[:1000]) is not None


def _whole_number(digits: str) -> int:
    if len(digits) > _MOST_DIGITS:
        raise ValueError("too many digits")
    return int(digits)


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not valid JSON")
