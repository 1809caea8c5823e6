"""A streamed answer, put together from its events."""

from __future__ import annotations

from typing import Any, Dict, List

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_force_nb.api.answer import Answer, PartialAnswer
from claude_force_nb.api.decoding import Redactor
from claude_force_nb.api.stream import MessageAssembler
from claude_force_nb.errors import ApiError, MalformedAnswerError, OverloadedError, StreamCutError

START = {"type": "message_start", "message": {"model": "m", "usage": {"input_tokens": 3, "output_tokens": 1}}}
STOP = {"type": "message_stop"}
KEY = "sk-ant-api03-very-secret-key-0123456789"


def text(part: str, index: int = 0) -> Dict[str, Any]:
    return {"type": "content_block_delta", "index": index, "delta": {"type": "text_delta", "text": part}}


def begin(index: int = 0, **fields: Any) -> Dict[str, Any]:
    return {"type": "content_block_start", "index": index, "content_block": {"type": "text", "text": "", **fields}}


def assembled(*events: Any, partial: Any = None) -> Dict[str, Any]:
    partial = partial or PartialAnswer()
    partial.hide(Redactor([KEY]).text)
    assembler = MessageAssembler(partial, {}, Redactor([KEY]))
    for event in events:
        assembler.add(event)
    return assembler.message()


def test_deltas_without_a_start_are_read() -> None:
    """Text is read even if the event that starts it was lost."""
    body = assembled(text("a"), text("b"), STOP)
    assert body["content"] == [{"type": "text", "text": "ab"}]
    thinking = {"type": "content_block_delta", "index": 0, "delta": {"type": "thinking_delta", "thinking": "hm"}}
    body = assembled(START, thinking, text("a", 1), STOP)
    assert [block["type"] for block in body["content"]] == ["thinking", "text"]


@pytest.mark.parametrize("end", [{}, {"usage": None}, {"usage": {"input_tokens": 3}}, None], ids=repr)
def test_output_that_was_not_counted_has_no_price(end: Any) -> None:
    """What a start says of the output is only what was written by then."""
    events = [] if end is None else [{"type": "message_delta", "delta": {"stop_reason": "end_turn"}, **end}]
    answer = Answer(assembled(START, begin(), text("a long answer"), *events, STOP)).to_result(
        fingerprint="", agent=None
    )
    assert (answer.text, answer.usage.known, answer.usage.input_tokens) == ("a long answer", False, 3)


def test_blocks_keep_their_order_and_their_deltas() -> None:
    """By index, also where deltas of two blocks come in turn."""
    body = assembled(START, begin(0), begin(1, text="z"), text("a", 0), text("b", 1), text("c", 0), STOP)
    assert [block["text"] for block in body["content"]] == ["ac", "zb"]


def test_blocks_that_are_not_numbered_follow_each_other() -> None:
    """A delta continues the last block, or begins the first; a start begins the next one."""
    unnumbered = [dict(event) for event in (text("a"), text("b"), begin(), text("c"), begin(), text("d"))]
    for event in unnumbered:
        del event["index"]
    body = assembled(START, *unnumbered, text("!", 0), STOP)
    assert [block["text"] for block in body["content"]] == ["ab!", "c", "d"]
    strange = {**text("a"), "index": -1}
    assert [block["text"] for block in assembled(START, strange, text("b", 0), STOP)["content"]] == ["ab"]


def test_what_follows_the_end_is_passed_over() -> None:
    """Neither text nor an error changes a message that is complete."""
    error = {"type": "error", "error": {"type": "overloaded_error", "message": "x"}}
    body = assembled(START, begin(), text("a"), STOP, text("b"), error, START)
    assert body["content"][0]["text"] == "a"
    with pytest.raises(OverloadedError):
        assembled(START, error, STOP)


def test_a_pair_that_came_in_two_is_one_sign() -> None:
    """In the answer and in what is shown meanwhile."""
    partial = PartialAnswer()
    body = assembled(START, begin(), text("a\ud83d"), text("\ude00"), STOP, partial=partial)
    assert body["content"][0]["text"] == partial.text == "a😀"


def test_a_key_that_came_in_two_is_not_shown() -> None:
    """Neither in the answer nor in what is shown meanwhile."""
    partial = PartialAnswer()
    body = assembled(START, begin(), text(KEY[:9]), text(KEY[9:]), STOP, partial=partial)
    assert KEY not in str(body)
    assert KEY not in partial.text
    assert partial.text == "…"


def test_an_end_is_not_an_answer() -> None:
    """A stream with nothing but an end is refused, and an answer without an end was cut off."""
    with pytest.raises(MalformedAnswerError, match="base_url"):
        assembled(STOP)
    with pytest.raises(StreamCutError):
        assembled(START, begin(), text("a"))
    with pytest.raises(MalformedAnswerError, match="blocks"):
        assembled(START, *[{"type": "content_block_start", "content_block": {}}] * 10_001)


def test_tool_input_that_was_cut_off_is_kept_as_text() -> None:
    """Under the name that the API's documentation gives it; the same for numbers that nobody can use."""
    for part in ('{"city": "Par', '{"n": ' + "9" * 5000 + "}"):
        delta = {"type": "content_block_delta", "index": 0, "delta": {"type": "input_json_delta", "partial_json": part}}
        body = assembled(START, begin(type="tool_use"), delta, STOP)
        assert body["content"][0]["input"] == {"INVALID_JSON": part}


def test_usage_replaces_and_nothing_is_lost() -> None:
    """Null says nothing; counters that only message_start had stay."""
    delta = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 9, "x": None}}
    body = assembled(START, begin(), text("a"), delta, STOP)
    assert body["usage"] == {"input_tokens": 3, "output_tokens": 9}
    assert body["stop_reason"] == "end_turn"


odd = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 10**12) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
kinds = st.sampled_from(
    [
        "message_start",
        "content_block_start",
        "content_block_delta",
        "message_delta",
        "message_stop",
        "error",
        "ping",
        "new",
    ]
)
parts = st.fixed_dictionaries(
    {"type": kinds},
    optional={
        "message": odd | st.fixed_dictionaries({"usage": odd, "content": odd}),
        "content_block": odd | st.fixed_dictionaries({"type": odd, "text": odd, "citations": odd}),
        "delta": odd
        | st.fixed_dictionaries(
            {"type": st.sampled_from(["text_delta", "thinking_delta", "input_json_delta", "citations_delta"])},
            optional={"text": odd, "thinking": odd, "partial_json": odd, "citation": odd},
        ),
        "index": odd,
        "usage": odd,
        "error": odd,
    },
)


@given(st.lists(parts | odd, max_size=12))
def test_whatever_comes_is_an_answer_or_one_error(events: List[Any]) -> None:
    """No event, however odd, ends in an error of Python's, and what came can be read as a result."""
    try:
        body = assembled(*events, STOP)
    except ApiError:
        return
    Answer(body).to_result(fingerprint="f", agent=None).text.encode()
