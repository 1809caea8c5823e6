"""What is sent, and the fingerprint under which its answer is found again."""

from __future__ import annotations

import json
import math
import os
import pickle
import subprocess
import sys
from collections import OrderedDict
from pathlib import Path
from typing import Any, Dict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.examples import examples

import claude_force_nb
from claude_force_nb.errors import OptionError
from claude_force_nb.messages.request import (
    API_VERSION,
    DEFAULT_BASE_URL,
    ClaudeRequest,
    SharedFields,
    normalise_base_url,
)

BODY: Dict[str, Any] = {
    "model": "claude-sonnet-5-5",
    "max_tokens": 4096,
    "messages": [{"role": "user", "content": "Was heißt „Monade“? 🦆"}],
    "temperature": 0.5,
}
# Written down once: it must come out of every Python, process and release with the same schema number.
PINNED = "91b28d3bd1a141c6ee698c928b626def4f48e4eaa8c49c3378e132e9a5663b82"

numbers = st.one_of(st.integers(-(2**53), 2**53), st.floats(allow_nan=False, allow_infinity=False, width=32))
texts = st.text(st.characters(blacklist_categories=["Cs"]))
data = st.recursive(
    st.one_of(st.none(), st.booleans(), numbers, texts),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(texts, inner, max_size=4)),
    max_leaves=12,
)


def request(**changes: Any) -> ClaudeRequest:
    fields = {
        name: changes.pop(name)
        for name in list(changes)
        if name in ("base_url", "api_version", "betas", "sample", "agent")
    }
    return ClaudeRequest(body={**BODY, **changes}, **fields)


def reordered(value: Any) -> Any:
    """The same data with every mapping turned round, and every number of the other kind where they are equal."""
    if isinstance(value, dict):
        return OrderedDict((key, reordered(value[key])) for key in reversed(list(value)))
    if isinstance(value, list):
        return tuple(reordered(item) for item in value)
    if isinstance(value, int) and not isinstance(value, bool) and float(value) == value:
        return float(value)
    return value


def test_fingerprint_is_pinned() -> None:
    """The fingerprint of a known request is this very constant, on every Python."""
    assert request().fingerprint == PINNED


@given(data)
def test_equal_data_has_equal_fingerprints(extra: Any) -> None:
    """Neither the order of keys, nor tuple or list, nor 1 or 1.0 changes a fingerprint, at any depth."""
    assert request(extra=extra).fingerprint == request(extra=reordered(extra)).fingerprint


@given(data, data)
def test_different_data_has_different_fingerprints(one: Any, other: Any) -> None:
    """Two requests share a fingerprint only where they are the same JSON; True is not 1."""
    first, second = request(extra=one), request(extra=other)
    same = json.dumps(first.body, sort_keys=True) == json.dumps(second.body, sort_keys=True)
    assert (first.fingerprint == second.fingerprint) is same


@pytest.mark.parametrize(
    "change",
    [
        {"model": "claude-haiku-5-5"},
        {"max_tokens": 4097},
        {"messages": [{"role": "user", "content": "Was heißt „Monade“?  🦆"}]},
        {"temperature": 0},
        {"system": ""},
        {"thinking": {"type": "adaptive"}},
        {"stop_sequences": ["x"]},
        {"tools": [{"name": "t", "input_schema": {}}]},
        {"output_config": {"effort": "low"}},
        {"metadata": None},
        {"base_url": "http://127.0.0.1:1"},
        {"api_version": "2026-10-21"},
        {"betas": ("files-api-2025-04-14",)},
        {"sample": 2},
    ],
    ids=lambda change: next(iter(change)),
)
def test_every_part_counts(change: Dict[str, Any]) -> None:
    """A change of any part of what is sent changes the fingerprint."""
    assert request(**change).fingerprint != request().fingerprint


def test_what_does_not_count() -> None:
    """The agent's name, the way the answer travels, and order and repetition of betas do not change the fingerprint."""
    assert request(agent="reviewer").fingerprint == request(agent=None).fingerprint == request(stream=True).fingerprint
    assert request(betas=("b", "a", "b")).fingerprint == request(betas=("a", "b")).fingerprint
    assert request(agent="reviewer") == request()
    assert hash(request(agent="reviewer")) == hash(request())
    assert "stream" not in request(stream=True).body


@pytest.mark.parametrize("seed", ["0", "1", "4711"])
def test_another_process_agrees(seed: str) -> None:
    """Another process, with other hashes of strings and without a locale, comes to the same fingerprint."""
    code = "import json, sys; from claude_force_nb.messages.request import ClaudeRequest as R; print(R(json.loads(sys.argv[1])).fingerprint)"
    environment = {**os.environ, "PYTHONHASHSEED": seed, "LC_ALL": "C", "PYTHONUTF8": "0"}
    environment["PYTHONPATH"] = str(Path(claude_force_nb.__file__).parent.parent)
    done = subprocess.run(
        [sys.executable, "-c", code, json.dumps(BODY)], env=environment, stdout=subprocess.PIPE, check=True
    )
    assert done.stdout.decode().strip() == PINNED


def test_body_is_a_copy() -> None:
    """What the caller does to the body afterwards changes neither request nor fingerprint."""
    body = json.loads(json.dumps(BODY))
    made = ClaudeRequest(body=body)
    body["messages"][0]["content"] = "another"
    body["system"] = "new"
    assert made.fingerprint == PINNED
    assert "system" not in made.body


def test_survives_pickling() -> None:
    """A request that goes to another process is the same one there."""
    made = pickle.loads(pickle.dumps(request(agent="reviewer")))
    assert (made, made.fingerprint, made.agent) == (request(), PINNED, "reviewer")


class Text(str):
    def __str__(self) -> str:
        return "something else"


def test_subclasses_count_as_what_json_makes_of_them() -> None:
    """Subclasses of str, int and float are sent as their plain value, whatever their own str() says."""
    assert request(model=Text("claude-sonnet-5-5"), max_tokens=4096.0).fingerprint == PINNED
    assert type(request(model=Text("x")).body["model"]) is str


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_no_number_that_json_lacks(number: float) -> None:
    """NaN and infinity are refused, with the name of the field."""
    with pytest.raises(OptionError, match=r"body\.temperature must be a finite number"):
        request(temperature=number)


@pytest.mark.parametrize(
    "value", [b"bytes", object(), {1: "x"}, {1, 2}, 1j, Path("x")], ids=lambda value: type(value).__name__
)
def test_no_data_that_json_lacks(value: Any) -> None:
    """What JSON cannot carry is refused in one line."""
    with pytest.raises(OptionError) as raised:
        request(extra=[value])
    assert "\n" not in str(raised.value)


def test_data_that_contains_itself_is_refused() -> None:
    """A body that contains itself is refused instead of recursed into."""
    loop: Dict[str, Any] = {}
    loop["self"] = loop
    with pytest.raises(OptionError, match="nested too deeply"):
        request(extra=loop)


@pytest.mark.parametrize("text", ["a\ud83d", "\udc80 from os.fsdecode", "\ud83d\ude00 as two halves"])
@pytest.mark.parametrize("place", ["value", "key"])
def test_halves_of_surrogate_pairs_are_refused(text: str, place: str) -> None:
    """Text without a UTF-8 form is refused in one printable line before anything is sent."""
    messages = [{"role": "user", "content": text}] if place == "value" else [{text: "x"}]
    with pytest.raises(OptionError, match="half of a surrogate pair") as raised:
        request(messages=messages)
    assert "\n" not in str(raised.value)
    str(raised.value).encode("utf-8")


@pytest.mark.parametrize("missing", ["model", "max_tokens", "messages"])
def test_what_every_request_needs(missing: str) -> None:
    """A body without model, max_tokens or messages is refused by that name."""
    with pytest.raises(OptionError, match=missing):
        ClaudeRequest(body={name: value for name, value in BODY.items() if name != missing})


@pytest.mark.parametrize(
    "wrong",
    [
        {"model": 5},
        {"model": ""},
        {"max_tokens": 0},
        {"max_tokens": "100"},
        {"max_tokens": 1.5},
        {"max_tokens": True},
        {"messages": []},
        {"messages": "hello"},
        {"sample": 0},
        {"sample": True},
        {"sample": 1.0},
        {"betas": ("a\r\nx-evil: 1",)},
        {"betas": (5,)},
    ],
    ids=str,
)
def test_wrong_values_are_refused(wrong: Dict[str, Any]) -> None:
    """Each field that we build upon has its type checked."""
    with pytest.raises(OptionError, match=next(iter(wrong))):
        request(**wrong)


def test_one_beta_as_text() -> None:
    """A single beta given as text is one beta, not its letters."""
    assert request(betas="files-api-2025-04-14").betas == ("files-api-2025-04-14",)


def test_repr_is_short() -> None:
    """The repr shows model and fingerprint, not the prompt."""
    assert repr(request()) == f"ClaudeRequest(model='claude-sonnet-5-5', sample=1, fingerprint='{PINNED[:12]}…')"


@given(fields=st.dictionaries(texts, data, max_size=4), messages=st.lists(data, min_size=1, max_size=3))
def test_shared_fields_make_the_same_request(fields: Dict[str, Any], messages: Any) -> None:
    """A request of which only the messages were encoded is the one made from the whole body, whatever stands around them."""
    body = {**fields, "model": "m", "max_tokens": 1, "messages": ["first"]}
    shared = SharedFields(ClaudeRequest(body, betas=("b", "a"), sample=2, agent="a", adjustments=("x",)))
    whole = ClaudeRequest(
        {**body, "messages": messages}, betas=("a", "b"), sample=2, agent="a", notices=("n",), adjustments=("x",)
    )
    made = shared.request(messages, notices=("n",))
    assert vars(made) == {**vars(whole), "_fingerprint": whole.fingerprint}
    assert json.dumps(made.body, sort_keys=True) == json.dumps(whole.body, sort_keys=True)


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("after", [True, False])
def test_shared_fields_with_and_without_something_on_either_side(before: bool, after: bool) -> None:
    """The text that is hashed is cut where the messages stand, be they its first field, its last or its only one."""
    fields = {**({"max_tokens": 1, "model": "m"}), **({"a": 1} if before else {}), **({"zz": 1} if after else {})}
    one, other = ({**fields, "messages": [text]} for text in ("one", "other"))
    assert SharedFields(ClaudeRequest(one)).request(["other"]).fingerprint == ClaudeRequest(other).fingerprint


@given(text=st.text())
@settings(max_examples=examples(200))
def test_a_request_of_a_text_is_the_request_of_its_message(text: str) -> None:
    """Both have the same bytes behind their fingerprint, control characters and astral ones included; half a pair is refused by both."""
    shared = SharedFields(request(system="Be kind. ü"))
    try:
        whole = shared.request([{"role": "user", "content": text}], notices=("n",))
    except OptionError:
        with pytest.raises(OptionError, match="surrogate"):
            shared.request_of_text(text)
        return
    made = shared.request_of_text(text, notices=("n",))
    assert vars(made) == vars(whole)
    assert made.fingerprint == ClaudeRequest(made.body).fingerprint


@pytest.mark.parametrize("messages", [[], [math.nan], ["\ud83d"], [object()]])
def test_shared_fields_check_messages(messages: Any) -> None:
    """The messages are held to what a whole request is held to, and the error says where."""
    shared = SharedFields(request())
    with pytest.raises(OptionError, match="messages"):
        shared.request(messages)


@pytest.mark.parametrize(
    ("given_url", "normal"),
    [
        (None, DEFAULT_BASE_URL),
        ("", DEFAULT_BASE_URL),
        ("https://api.anthropic.com/", DEFAULT_BASE_URL),
        (" HTTPS://API.anthropic.com:443 ", DEFAULT_BASE_URL),
        ("http://user:secret@host:8080/a/b/?token=secret#x", "http://host:8080/a/b"),
        ("http://localhost:80", "http://localhost"),
        ("http://[::1]:11434/v1/", "http://[::1]:11434/v1"),
    ],
)
def test_base_urls_have_one_form(given_url: Any, normal: str) -> None:
    """Spellings of one server are one, and neither password nor query stays in it."""
    assert normalise_base_url(given_url) == normal
    assert normalise_base_url(normal) == normal


@pytest.mark.parametrize(
    "wrong",
    ["localhost:8080", "ftp://host", "http://", "https:///v1", "http://[::1", "http://host:port", "http://a\nb", "   "],
)
def test_base_urls_that_are_none(wrong: str) -> None:
    """What is not an http(s) address with a host is refused in one line."""
    with pytest.raises(OptionError, match=r"base_url must start with http:// or https://"):
        normalise_base_url(wrong)


def test_version_is_fixed() -> None:
    """Requests ask for the version of the API that takes sampling options from every model."""
    assert request().api_version == API_VERSION == "2023-06-01"
