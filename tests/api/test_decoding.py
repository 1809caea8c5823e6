"""JSON from a server: bounded, whole, and without our key."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_force_nb.api.decoding import Redactor, decode_json, is_web_page, joined
from claude_force_nb.errors import MalformedAnswerError

KEY = "sk-ant-api03-very-secret-key-0123456789"
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**18), 10**18)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=30,
)


@given(values, st.booleans())
def test_what_is_json_is_decoded(value: Any, ascii_only: bool) -> None:
    """Whatever the value, and however it was written."""
    data = json.dumps(value, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
    assert decode_json(data) == Redactor([KEY]).decode(data) == value


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b'{"half": ',
        b"<html></html>",
        b"\xff\xfe",
        b"NaN",
        b'{"a": Infinity}',
        b"[" * 100_000,
        b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
        b"[" * 101 + b"]" * 101,
        b'{"n": ' + b"9" * 5_000 + b"}",
        b"-" + b"9" * 401,
    ],
    ids=lambda data: repr(data[:20]),
)
def test_unusable_json_is_one_error(data: bytes) -> None:
    """Nothing else is raised, whatever is in it."""
    with pytest.raises(MalformedAnswerError) as caught:
        Redactor().decode(data)
    assert "\n" not in str(caught.value)
    assert caught.value.retryable


def test_the_bounds_are_wide_enough() -> None:
    """Brackets in texts are no nesting; a hundred levels and four hundred digits are read."""
    assert decode_json(json.dumps(["[{" * 10_000 + '\\"[']).encode()) == ["[{" * 10_000 + '\\"[']
    assert decode_json(b"[" * 100 + b"]" * 100)
    assert decode_json(b"[[],[]," * 99 + b"[]" + b"]" * 99)
    assert decode_json(b"9" * 400) == int("9" * 400)


@given(st.text(), st.text(), st.booleans())
def test_no_secret_comes_through(before: str, after: str, escaped: bool) -> None:
    """Plainly or in escapes, as value and as name."""
    text = "".join(f"\\u{ord(sign):04x}" for sign in KEY) if escaped else KEY
    data = json.dumps({"k": [before + "@" + after]}).replace("@", text, 1).encode()
    named = json.dumps({"@" + after: 1}).replace("@", text, 1).encode()
    for each in (data, named):
        shown = json.dumps(Redactor([KEY]).decode(each), ensure_ascii=False)
        assert KEY not in shown
        assert "…" in shown


@given(
    st.text(st.characters(max_codepoint=0x24F), min_size=8),
    st.text(),
    st.booleans(),
    st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32"]),
    st.booleans(),
)
def test_no_secret_comes_through_in_any_encoding(
    secret: str, around: str, ascii_only: bool, encoding: str, slashes: bool
) -> None:
    """A password may have quotes, line ends and letters beyond ASCII; a slash may be escaped or not."""
    text = json.dumps([around + secret + around], ensure_ascii=ascii_only)
    text = text.replace("/", "\\/") if slashes else text
    shown = Redactor([secret]).decode(text.encode(encoding))
    assert secret not in shown[0]


def test_what_is_too_short_is_not_a_secret() -> None:
    """A key such as "x", which one gives a local server, is not taken out of every word."""
    assert Redactor(["x", "1234567"]).decode(b'"axe 1234567"') == "axe 1234567"
    assert Redactor(["12345678", "12345678910"]).text("a 12345678910 b") == "a … b"


def test_surrogates_are_joined_or_replaced() -> None:
    """What Python cannot write to a file is not in an answer."""
    assert joined(["a\ud83d", "\ude00b"]) == "a😀b"
    assert joined(["\ude00", "x\ud83d"]) == "\ufffdx\ufffd"
    assert Redactor().decode(b'{"\\ud83d": "\\ude00"}') == {"\ufffd": "\ufffd"}
    assert Redactor().decode(b'"\xed\xa0\xbd"') == "\ufffd"


@pytest.mark.parametrize(
    ("data", "page"),
    [(b"<!DOCTYPE html><p>", True), (b"\n <HTML>", True), (b'{"text": "<html>"}', False), (b"<xml/>", False)],
)
def test_web_pages_are_told_from_data(data: bytes, page: bool) -> None:
    """Web pages are recognised by their beginning."""
    assert is_web_page(data) is page
