"""Every rule that the simulator keeps for a request, as a table: what is sent, and what the API says to it.

The expectations are written down from the API's documentation, not computed: a model's row in the simulator's catalogue can be wrong.
"""

from __future__ import annotations

import base64
import re
from typing import Any, Dict, List, Optional, Tuple

import pytest

from claude_force_nb.simulator.failures import ApiFailure
from claude_force_nb.simulator.images import decoded_size
from claude_force_nb.simulator.models import ModelTable
from claude_force_nb.simulator.validation import CheckedRequest, Headers, Validator, check_headers

OLD, NEW = "2023-06-01", "2026-10-21"
FABLE_52, FABLE_51, FABLE_5 = "claude-fable-5-2", "claude-fable-5-1", "claude-fable-5"
MYTHOS_52, MYTHOS_51, MYTHOS_5 = "claude-mythos-5-2", "claude-mythos-5-1", "claude-mythos-5"
PREVIEW = "claude-mythos-preview"
OPUS_55, OPUS_5, OPUS_48, OPUS_47 = "claude-opus-5-5", "claude-opus-5", "claude-opus-4-8", "claude-opus-4-7"
OPUS_46, OPUS_45 = "claude-opus-4-6", "claude-opus-4-5"
SONNET_55, SONNET_5, SONNET_46, SONNET_45 = (
    "claude-sonnet-5-5",
    "claude-sonnet-5",
    "claude-sonnet-4-6",
    "claude-sonnet-4-5",
)
HAIKU_55, HAIKU_45 = "claude-haiku-5-5", "claude-haiku-4-5"
FABLES = (FABLE_52, MYTHOS_52, FABLE_51, MYTHOS_51, FABLE_5, MYTHOS_5)
V45 = (OPUS_45, SONNET_45, HAIKU_45)
V46 = (OPUS_46, SONNET_46)
ALL = (*FABLES, PREVIEW, OPUS_55, OPUS_5, OPUS_48, OPUS_47, SONNET_55, SONNET_5, HAIKU_55, *V46, *V45)

OBJECT = {"type": "object"}
TOOL = {"name": "store", "input_schema": OBJECT}
FORCED = {"tools": [TOOL], "tool_choice": {"type": "any"}}
USER = {"role": "user", "content": "hello"}
CLOSED: Dict[str, Any] = {"type": "object", "properties": {}, "additionalProperties": False}


CITED = {
    "type": "char_location",
    "cited_text": "x",
    "document_index": 0,
    "document_title": None,
    "start_char_index": 0,
    "end_char_index": 1,
}


def ask(*messages: Any, **more: Any) -> Dict[str, Any]:
    return {"max_tokens": 20_000, "messages": list(messages) or [USER], **more}


def says(blocks: Any, role: str = "assistant") -> Dict[str, Any]:
    return {"role": role, "content": blocks}


def text(words: str = "fine", **more: Any) -> Dict[str, Any]:
    return {"type": "text", "text": words, **more}


def call(name: str = "toolu_1", tool: str = "store") -> Dict[str, Any]:
    return {"type": "tool_use", "id": name, "name": tool, "input": {}}


def result(name: str = "toolu_1", **more: Any) -> Dict[str, Any]:
    return {"type": "tool_result", "tool_use_id": name, **more}


def document(**more: Any) -> Dict[str, Any]:
    return {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "x"}, **more}


def schema(value: Any, **more: Any) -> Dict[str, Any]:
    return {"output_config": {"format": {"type": "json_schema", "schema": value}, **more}}


def verdict(
    sent: Dict[str, Any],
    model: str = HAIKU_45,
    *,
    version: str = OLD,
    betas: Tuple[str, ...] = (),
    **options: bool,
) -> Optional[str]:
    """Return the message of the refusal, or None if the request is accepted."""
    try:
        check({"model": model, **sent}, version=version, betas=betas, **options)
    except ApiFailure as failure:
        return (
            failure.message if (failure.status, failure.error_type) == (400, "invalid_request_error") else repr(failure)
        )
    return None


def check(sent: Any, *, version: str = OLD, betas: Tuple[str, ...] = (), **options: bool) -> CheckedRequest:
    """Check twice, since the verdict on parameters is remembered."""
    validator = Validator(ModelTable())
    headers = Headers(version, frozenset(betas))
    try:
        first = validator.check(sent, headers, **options)
    except ApiFailure as failure:
        with pytest.raises(ApiFailure, match=f"^{re.escape(failure.message)}$"):
            validator.check(sent, headers, **options)
        raise
    assert validator.check(sent, headers, **options) == first
    return first


# What is set, the models that take it, and the words in which all others refuse it.
BY_MODEL: List[Tuple[Dict[str, Any], Tuple[str, ...], str]] = [
    (
        {"thinking": {"type": "adaptive"}},
        tuple(model for model in ALL if model not in V45),
        "adaptive thinking is not supported on this model",
    ),
    (
        {"thinking": {"type": "enabled", "budget_tokens": 2000}},
        (PREVIEW, *V46, *V45),
        '"thinking.type.enabled" is not supported for this model. Use "thinking.type.adaptive"',
    ),
    (
        {"thinking": {"type": "between_tools"}},
        (SONNET_55,),
        '"thinking.type.between_tools" is not supported for this model.',
    ),
    (
        {"thinking": {"type": "disabled"}},
        (OPUS_5, OPUS_48, OPUS_47, SONNET_5, HAIKU_55, *V46, *V45),
        '"disabled"|"thinking.type.disabled" is not supported for this model.',
    ),
    (
        {"thinking": {"type": "disabled"}, "output_config": {"effort": "xhigh"}},
        (OPUS_48, OPUS_47, SONNET_5),
        "is not supported|does not support|To turn thinking off on this model",
    ),
    (
        FORCED,
        (FABLE_5, MYTHOS_5, OPUS_5, OPUS_48, OPUS_47, SONNET_5, HAIKU_55, *V46, *V45),
        'tool_choice: type "tool" and "any" are not supported for this model.',
    ),
    (
        {"messages": [USER, says("Once")]},
        V45,
        "This model does not support assistant message prefill. The conversation must end with a user message.",
    ),
    ({"temperature": 0.5}, (*V46, *V45), "`temperature` may only be set to 1"),
    ({"temperature": 1}, ALL, ""),
    ({"top_p": 0.5}, (*V46, *V45), "`top_p` may only be set to 0.99"),
    ({"top_p": 0.99}, ALL, ""),
    ({"top_p": 1}, (*V46, *V45), "`top_p` may only be set to 0.99"),
    ({"top_k": 5}, (*V46, *V45), "`top_k` must be unset"),
    ({"temperature": 1, "top_p": 0.99}, (*V46, OPUS_45), "`temperature` and `top_p` cannot both be specified"),
    (
        {"output_config": {"effort": "low"}},
        tuple(model for model in ALL if model not in (SONNET_45, HAIKU_45)),
        "This model does not support the effort parameter.",
    ),
    (
        {"output_config": {"effort": "max"}},
        tuple(model for model in ALL if model not in V45),
        "does not support",
    ),
    (
        {"output_config": {"effort": "xhigh"}},
        tuple(model for model in ALL if model not in (PREVIEW, *V46, *V45)),
        "does not support",
    ),
    ({"output_config": {"effort": "none"}}, (), "does not support"),
    (
        {"messages": [USER, says("Be brief.", "system")]},
        (*FABLES, OPUS_55, OPUS_5, OPUS_48, SONNET_55, HAIKU_55),
        "role 'system' is not supported on this model",
    ),
    (
        {"inference_geo": "us"},
        tuple(model for model in ALL if model not in V45),
        "`inference_geo` is not supported",
    ),
    (
        {"speed": "fast"},
        (FABLE_52, MYTHOS_52, OPUS_55, OPUS_48, OPUS_46),
        "does not support the `speed` parameter|speed: Extra inputs are not permitted",
    ),
    (
        {"max_tokens": 64_001},
        tuple(model for model in ALL if model not in V45),
        "max_tokens: 64001 > 64000, which is the maximum allowed number of output tokens",
    ),
    ({"max_tokens": 128_000}, tuple(model for model in ALL if model not in V45), "max_tokens: 128000 > 64000"),
    ({"max_tokens": 128_001}, (), "max_tokens: 128001 > "),
    (schema(CLOSED), ALL, ""),
]


@pytest.mark.parametrize(("change", "takers", "message"), BY_MODEL, ids=lambda value: str(value)[:60])
def test_each_model_takes_what_it_is_documented_to_take(
    change: Dict[str, Any], takers: Tuple[str, ...], message: str
) -> None:
    """All 19 models, each with each of these: taken, or refused in the documented words."""
    for model in ALL:
        said = verdict(ask(**{"max_tokens": 20_000, **change}), model)
        if model in takers:
            assert said is None, model
        else:
            assert said is not None, model
            assert any(words in said for words in message.split("|")), (model, said)


def test_thinking_off_has_its_own_words_on_sonnet_5_5() -> None:
    said = verdict(ask(thinking={"type": "disabled"}), SONNET_55)
    assert said is not None
    assert said.startswith('To turn thinking off on this model, send "thinking": {"type": "between_tools"} instead')
    for model in (SONNET_55, HAIKU_55, OPUS_5):
        kind = "between_tools" if model == SONNET_55 else "disabled"
        for effort, taken in (("high", True), ("xhigh", False), ("max", False)):
            said = verdict(ask(thinking={"type": kind}, output_config={"effort": effort}), model)
            assert (said is None) == taken
            assert said is None or f"output_config.effort '{effort}' is not supported when thinking is disabled" in said


@pytest.mark.parametrize("counting", [False, True])
@pytest.mark.parametrize("model", ALL)
def test_the_newer_version_takes_no_sampling_parameters(model: str, counting: bool) -> None:
    """Not even their defaults, on any model; tokens are counted without them in every version."""
    for name, value in (("temperature", 1), ("top_p", 0.99), ("top_k", 5)):
        sent = {name: value, "messages": [USER]}
        if not counting:
            sent["max_tokens"] = 100
        assert verdict(sent, model, version=NEW, counting=counting) == f"{name}: Extra inputs are not permitted"
        if counting:
            assert verdict(sent, model, version=OLD, counting=True) == f"{name}: Extra inputs are not permitted"


TOGETHER: List[Tuple[Dict[str, Any], Optional[str]]] = [
    # Thinking with what it does not go with.
    (
        ask(thinking={"type": "enabled", "budget_tokens": 1023}),
        "thinking.enabled.budget_tokens: Input should be greater",
    ),
    (ask(thinking={"type": "enabled"}), "thinking.enabled.budget_tokens: Field required"),
    (ask(thinking={"type": "enabled", "budget_tokens": 20_000}), "`max_tokens` must be greater than"),
    (ask(thinking={"type": "enabled", "budget_tokens": 19_999}), None),
    (
        ask(thinking={"type": "enabled", "budget_tokens": 2000}, **FORCED),
        "Thinking may not be enabled when tool_choice",
    ),
    (ask(thinking={"type": "enabled", "budget_tokens": 2000}, temperature=0.2), "`temperature` may only be set to 1"),
    (ask(thinking={"type": "enabled", "budget_tokens": 2000}, top_k=3), "`top_k` must be unset"),
    (
        ask(thinking={"type": "enabled", "budget_tokens": 2000}, top_p=0.94),
        "`top_p` must be greater than or equal to 0.95",
    ),
    (ask(thinking={"type": "enabled", "budget_tokens": 2000}, top_p=0.95), None),
    (
        ask(thinking={"type": "disabled", "display": "omitted"}),
        "thinking.disabled.display: Extra inputs are not permitted",
    ),
    (ask(thinking={"type": "sometimes"}), "expected tags: 'adaptive', 'between_tools', 'disabled', 'enabled'"),
    (
        ask(thinking={"type": "enabled", "budget_tokens": 2000, "display": "loud"}),
        "thinking.enabled.display: Input should be",
    ),
    (ask(USER, says("Once"), thinking={"type": "enabled", "budget_tokens": 2000}), "Expected `thinking` or"),
    # The end of the conversation.
    (ask(USER, says("Once ")), "final assistant content cannot end with trailing whitespace"),
    (ask(USER, says([text("Once")]), **schema(CLOSED)), "cannot be combined with assistant message prefill"),
    (ask(USER, says("Once"), **schema(CLOSED)), "cannot be combined with assistant message prefill"),
    # Warm-ups.
    (ask(max_tokens=0), None),
    (ask(max_tokens=0, stream=True), "max_tokens: 0 is not supported with stream"),
    (ask(max_tokens=0, **schema(CLOSED)), "max_tokens: 0 is not supported with output_config.format"),
    (ask(max_tokens=0, **FORCED), "max_tokens: 0 is not supported with a tool_choice"),
    (ask(max_tokens=0, thinking={"type": "enabled", "budget_tokens": 2000}), "not supported with max_tokens: 0"),
    # Tools.
    (ask(tools=[TOOL, TOOL]), "tools: Tool names must be unique."),
    (ask(tools=[{"name": "a b", "input_schema": OBJECT}]), "tools.0.custom.name: String should match pattern"),
    (ask(tools=[{"name": "x" * 129, "input_schema": OBJECT}]), "tools.0.custom.name: String should match pattern"),
    (ask(tools=[{"name": "x" * 128, "input_schema": OBJECT}]), None),
    (ask(tools=[{"name": "a"}]), "tools.0.custom.input_schema: Field required"),
    (ask(tools=[{"name": "a", "input_schema": {"type": "string"}}]), "input_schema.type: Input should be 'object'"),
    (ask(tools=[{**TOOL, "color": "red"}]), "tools.0.custom.color: Extra inputs are not permitted"),
    (
        ask(tools=[{"type": "web_search_20250305", "name": "web_search", "color": 1}]),
        "tools.0.web_search_20250305.color: Extra",
    ),
    (ask(tools=[{"type": "web_search_20250305", "name": "web_search", "max_uses": 3}]), None),
    (
        ask(
            tools=[
                {
                    "type": "web_fetch_20250910",
                    "name": "web_fetch",
                    "allowed_domains": ["a.org"],
                    "blocked_domains": ["b.org"],
                }
            ]
        ),
        "only one of `allowed_domains` and `blocked_domains`",
    ),
    (ask(tools=[{"type": "teleport_20300101", "name": "t"}]), "Input tag 'teleport_20300101' found using 'type'"),
    (ask(tools=[{**TOOL, "defer_loading": True}]), "At least one tool must have defer_loading=false."),
    (ask(tool_choice={"type": "any"}), "tool_choice: may only be specified while providing tools"),
    (ask(tool_choice={"type": "none"}), None),
    (ask(tools=[TOOL], tool_choice={"type": "tool", "name": "other"}), "Tool 'other' not found in provided tools"),
    (ask(tools=[TOOL], tool_choice={"type": "tool"}), "tool_choice.tool.name: Field required"),
    (ask(tools=[TOOL], tool_choice={"type": "must"}), "tool_choice: Input tag 'must'"),
    (
        ask(tools=[TOOL], tool_choice={"type": "none", "disable_parallel_tool_use": True}),
        "Extra inputs are not permitted",
    ),
    (
        ask(tools=[{**TOOL, "name": f"t{number}", "strict": True, "input_schema": CLOSED} for number in range(21)]),
        "strict tools (21)",
    ),
    (ask(tools=[{**TOOL, "strict": True}]), "'additionalProperties' must be explicitly set to false"),
    # Calls and their results.
    (ask(USER, says([call()]), says([result()], "user")), None),
    (ask(USER, says([call()]), says([result(), text()], "user")), None),
    (ask(USER, says([call()]), says([result()], "user"), says([text()], "user")), None),
    (
        ask(USER, says([call()]), says([text(), result()], "user")),
        "messages.1: `tool_use` ids were found without `tool_result`",
    ),
    (ask(USER, says([call()]), says("well?", "user")), "immediately after: toolu_1. Each `tool_use` block must have"),
    (ask(USER, says([call()])), "messages.1: `tool_use` ids were found without|does not support"),
    (ask(USER, says([call(), call("toolu_2")]), says([result()], "user")), "immediately after: toolu_2."),
    (
        ask(USER, says([call()]), says([result(), result("toolu_9")], "user")),
        "messages.2.content.1: unexpected `tool_use_id`",
    ),
    (
        ask(says([result()], "user")),
        "messages.0.content.0: unexpected `tool_use_id` found in `tool_result` blocks: toolu_1.",
    ),
    (ask(USER, says([call()]), says([result(), result()], "user")), "each tool_use must have a single result"),
    (ask(USER, says([call(), call()]), says([result()], "user")), "`tool_use` ids must be unique"),
    (ask(says([call()], "user")), "`tool_use` blocks can only be in `assistant` messages"),
    (ask(USER, says([result()]), USER), "`tool_result` blocks can only be in `user` messages"),
    (
        ask(USER, says([call("a b")]), says([result("a b")], "user")),
        "messages.1.content.0.tool_use.id: String should match",
    ),
    (ask(USER, says([call(tool="x" * 201)]), says([result()], "user")), "at most 200 characters"),
    (
        ask(
            USER,
            says([call()]),
            says([result(content=[{"type": "tool_reference", "tool_name": "other"}])], "user"),
            tools=[TOOL],
        ),
        "Tool reference 'other' not found in available tools",
    ),
    # Tools of the server.
    (
        ask(USER, says([{"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_fetch", "input": {}}]), USER),
        "`web_fetch` tool use with id `srvtoolu_1` was found without a corresponding `web_fetch_tool_result` block",
    ),
    (
        ask(USER, says([{"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_fetch", "input": {}}])),
        "but no `web_fetch` tool was provided",
    ),
    (
        ask(
            USER,
            says([{"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_fetch", "input": {}}]),
            tools=[{"type": "web_fetch_20250910", "name": "web_fetch"}],
        ),
        None,
    ),
    # Citations.
    (ask(says([document(citations={"enabled": True}), document()], "user")), "must be enabled on all documents"),
    (ask(says([document(citations={"enabled": True}), text()], "user")), None),
    (ask(says([document(citations={"enabled": True})], "user"), **schema(CLOSED)), "cannot be combined with citations"),
    # Shapes.
    (ask(says([document(title="")], "user")), "document.title: String should have at least 1 character"),
    (ask(says([document(title="x" * 501)], "user")), "document.title: String should have at most 500 characters"),
    (ask(says([text(color=1)], "user")), "messages.0.content.0.text.color: Extra inputs are not permitted"),
    (ask({**USER, "name": "me"}), "messages.0.name: Extra inputs are not permitted"),
    (ask(says([{"type": "video"}], "user")), "messages.0.content.0: Input tag 'video' found using 'type'"),
    (ask(says([{"type": "thinking", "thinking": "x"}])), "thinking.signature: Field required"),
    (ask(metadata={"user_id": "x" * 513}), "metadata.user_id: String should have at most 512 characters"),
    (ask(metadata={"user_id": "x" * 512}), None),
    (ask(metadata={"name": "x"}), "metadata.name: Extra inputs are not permitted"),
    (ask(service_tier="fast"), "service_tier: Input should be 'auto' or 'standard_only'"),
    (ask(output_config={"color": 1}), "output_config.color: Extra inputs are not permitted"),
    (ask(output_format={"type": "json_schema", "schema": CLOSED}), "output_format: Extra inputs are not permitted"),
    (ask(context_management={}), "context_management: Extra inputs are not permitted"),
    (ask(stop_sequences=[" "]), "each stop sequence must contain non-whitespace"),
    (ask(stop_sequences=[3]), "stop_sequences.0: Input should be a valid string"),
    (ask(stream="yes"), "stream: Input should be a valid boolean"),
    (ask(system=[{"type": "image"}]), "system.0: Input tag 'image'"),
    (ask(system=[text("")]), "text content blocks must be non-empty"),
    (ask(inference_geo="moon"), "inference_geo: Input should be 'us' or 'global'"),
    (ask(temperature=1.5), "temperature: range: 0..1"),
    # The prompt cache.
    (ask(cache_control={"type": "forever"}), "cache_control.type: Input should be 'ephemeral'"),
    (ask(cache_control={"type": "ephemeral", "ttl": "2h"}), "cache_control.ttl: Input should be '5m' or '1h'"),
    (
        ask(says([{"type": "thinking", "thinking": "", "signature": "", "cache_control": None}]), USER),
        "cache_control: Extra inputs",
    ),
]


@pytest.mark.parametrize(("sent", "message"), TOGETHER, ids=lambda value: str(value)[:70])
def test_what_no_model_takes(sent: Dict[str, Any], message: Optional[str]) -> None:
    """Each request is refused with these words, or accepted, by a model without a rule of its own about it."""
    said = verdict(sent)
    if message is None:
        assert said is None
    else:
        assert said is not None
        assert any(words in said for words in message.split("|")), said


SEARCH = {"type": "web_search_20260318", "name": "web_search"}
FETCH = {"type": "web_fetch_20260318", "name": "web_fetch"}
CODE = {"type": "code_execution_20260521", "name": "code_execution"}
FOUND = {"type": "web_search_result", "url": "https://a.org", "title": "t", "encrypted_content": "e"}
FROM_CODE = {"allowed_callers": ["code_execution_20260120"]}


def served(tool: str = "web_search", name: str = "srvtoolu_1") -> Dict[str, Any]:
    return {"type": "server_tool_use", "id": name, "name": tool, "input": {}}


def outcome(content: Any, kind: str = "web_search_tool_result", name: str = "srvtoolu_1") -> Dict[str, Any]:
    return {"type": kind, "tool_use_id": name, "content": content}


def by_code(**more: Any) -> Dict[str, Any]:
    return {**call(), "caller": {"type": "code_execution_20260120", "tool_id": "srvtoolu_1"}, **more}


CIRCULAR = {
    "type": "object",
    "properties": {"a": {"$ref": "#/$defs/a"}},
    "$defs": {"a": {"items": {"$ref": "#/$defs/a"}}},
}
SERVER_TOOLS: List[Tuple[Dict[str, Any], Optional[str]]] = [
    # The tools themselves, by version.
    (ask(tools=[SEARCH, FETCH, CODE]), None),
    (
        ask(tools=[{**SEARCH, "response_inclusion": "full", "user_location": {"type": "approximate", "city": "Rom"}}]),
        None,
    ),
    (ask(tools=[{**SEARCH, "response_inclusion": "some"}]), "response_inclusion: Input should be 'full' or 'excluded'"),
    (ask(tools=[{**SEARCH, "user_location": {"city": "Rom"}}]), "user_location.type: Field required"),
    (ask(tools=[{**SEARCH, "type": "web_search_20250305", "response_inclusion": "full"}]), "Extra inputs"),
    (ask(tools=[{**FETCH, "type": "web_fetch_20250910", "use_cache": True}]), "use_cache: Extra inputs"),
    (ask(tools=[{**FETCH, "type": "web_fetch_20260309", "use_cache": True}]), None),
    (ask(tools=[{**SEARCH, "name": "search"}]), "name: Input should be 'web_search'"),
    (ask(tools=[{**SEARCH, "max_uses": 0}]), "max_uses: Input should be greater than or equal to 1"),
    (ask(tools=[{**SEARCH, "allowed_domains": ["a"], "blocked_domains": ["b"]}]), "only one of `allowed_domains`"),
    (ask(tools=[{**SEARCH, "allowed_callers": ["anybody"]}]), "allowed_callers.0: Input should be 'direct'"),
    (ask(tools=[{"type": "browser_toolset_20260801", "strict": True}]), "strict: Extra inputs are not permitted"),
    (ask(tools=[{"type": "advisor_20260301", "name": "advisor", "model": OPUS_5}]), "Input tag 'advisor_20260301'"),
    (ask(tools=[{"type": "mcp_toolset", "mcp_server_name": "a"}]), "Input tag 'mcp_toolset'"),
    # Their calls and results.
    (ask(USER, says([served(), outcome([FOUND]), text()]), USER, tools=[SEARCH]), None),
    (
        ask(
            USER, says([served(), outcome({"type": "web_search_tool_result_error", "error_code": "unavailable"})]), USER
        ),
        None,
    ),
    (ask(USER, says([served(), outcome([{**FOUND, "encrypted_content": ""}])]), USER), "at least 1 character"),
    (
        ask(USER, says([served(), outcome([{"type": "web_search_result", "url": "u", "title": "t"}])]), USER),
        "encrypted_content",
    ),
    (ask(USER, says([served(), outcome({"type": "oops"})]), USER), "Input tag 'oops'"),
    (
        ask(USER, says([served("web_fetch"), outcome([FOUND])]), USER),
        "unexpected `tool_use_id` found in `web_search_tool_result`",
    ),
    (ask(USER, says([outcome([FOUND]), text()]), USER), "must have a corresponding `server_tool_use` block before it"),
    (ask(USER, says([outcome([FOUND]), served()]), USER, tools=[SEARCH]), "unexpected `tool_use_id`"),
    (ask(USER, says([served("teleport")]), USER), "server_tool_use.name: Input should be"),
    (ask(USER, says([{**served(), "id": "toolu_1"}]), USER), "server_tool_use.id: String should match"),
    (ask(USER, says([served("bash_code_execution")]), tools=[CODE]), None),
    (
        ask(USER, says([served("tool_search_tool_regex"), outcome({}, "tool_search_tool_result")]), USER),
        None,
    ),
    # A call of each kind in one turn: the client's is answered alone, and the server's result follows.
    (ask(USER, says([served(), call()]), says([result()], "user"), tools=[SEARCH, TOOL]), None),
    (
        ask(
            USER,
            says([served(), call()]),
            says([result()], "user"),
            says([outcome([FOUND])]),
            USER,
            tools=[SEARCH, TOOL],
        ),
        None,
    ),
    (
        ask(USER, says([served(), call()]), says([result(), text()], "user"), tools=[SEARCH, TOOL]),
        "without a corresponding `web_search_tool_result` block",
    ),
    # Tools that running code calls.
    (ask(tools=[CODE, {**TOOL, **FROM_CODE}]), None),
    (ask(tools=[CODE, {**TOOL, **FROM_CODE, "strict": True, "input_schema": CLOSED}]), "strict tools cannot be called"),
    (ask(tools=[CODE, {**TOOL, **FROM_CODE}], tool_choice={"type": "tool", "name": "store"}), "cannot be forced"),
    (
        ask(tools=[CODE, {**TOOL, **FROM_CODE}], tool_choice={"type": "auto", "disable_parallel_tool_use": True}),
        "disable_parallel_tool_use: not supported",
    ),
    (ask(tools=[CODE, {**TOOL, **FROM_CODE, "input_schema": CIRCULAR}]), "Circular $ref detected"),
    (ask(tools=[{**TOOL, "input_schema": CIRCULAR}]), None),
    (ask(USER, says([by_code()]), says([result(content="4")], "user"), tools=[CODE]), None),
    (
        ask(USER, says([by_code()]), says([result(), text()], "user"), tools=[CODE]),
        "only `tool_result` blocks can answer",
    ),
    (
        ask(USER, says([by_code()]), says([result(content=[document()])], "user"), tools=[CODE]),
        "results of tool calls from code execution must be text",
    ),
    # Citations of an answer that is sent back.
    (ask(USER, says([text(citations=[CITED])]), USER), None),
    (ask(USER, says([text(citations=[{**CITED, "cache_control": None}])]), USER), "cache_control: Extra inputs"),
    (ask(USER, says([text(citations=[{"type": "web_search_result_location"}])]), USER), "cited_text: Field required"),
    (ask(USER, says([text(citations=[{"type": "hearsay"}])]), USER), "Input tag 'hearsay'"),
]


@pytest.mark.parametrize(("sent", "message"), SERVER_TOOLS, ids=lambda value: str(value)[:70])
def test_tools_that_run_at_the_api(sent: Dict[str, Any], message: Optional[str]) -> None:
    said = verdict(sent)
    assert said is None if message is None else message in str(said), said


MCP = ("mcp-client-2025-11-20",)
SERVER = {"type": "url", "url": "https://mcp.example.com/sse", "name": "a"}
TOOLSET = {"type": "mcp_toolset", "mcp_server_name": "a"}


@pytest.mark.parametrize(
    ("servers", "toolsets", "message"),
    [
        ([SERVER], [TOOLSET], None),
        ([SERVER, {**SERVER, "name": "b"}], [TOOLSET, {**TOOLSET, "mcp_server_name": "b"}], None),
        ([], [], None),
        ([SERVER], [], "must be referenced by exactly one mcp_toolset, not 0"),
        ([SERVER], [TOOLSET, TOOLSET], "must be referenced by exactly one mcp_toolset, not 2"),
        ([], [TOOLSET], "MCP server 'a' not found in mcp_servers"),
        ([SERVER, SERVER], [TOOLSET], "server names must be unique"),
        ([{**SERVER, "url": "http://mcp.example.com"}], [TOOLSET], "url: String should match pattern"),
        ([{**SERVER, "type": "stdio"}], [TOOLSET], "mcp_servers.0.type: Input should be 'url'"),
        ([{**SERVER, "key": "k"}], [TOOLSET], "mcp_servers.0.key: Extra inputs"),
        ([SERVER], [{**TOOLSET, "name": "a"}], "name: Extra inputs"),
    ],
)
def test_servers_of_the_mcp_connector(servers: Any, toolsets: Any, message: Optional[str]) -> None:
    sent = ask(mcp_servers=servers, tools=toolsets)
    said = verdict(sent, OPUS_5, betas=MCP)
    assert said is None if message is None else message in str(said), said
    assert verdict(sent, OPUS_5) is not None


FALLBACK = "server-side-fallback-2026-07-01"


@pytest.mark.parametrize(
    ("fallbacks", "message"),
    [
        ([{"model": OPUS_48}], None),
        ([{"model": OPUS_48, "max_tokens": 100, "speed": "standard", "output_config": {"effort": "low"}}], None),
        ([{"model": OPUS_48, "temperature": 1}], "fallbacks.0.temperature: Extra inputs are not permitted"),
        ([{"max_tokens": 5}], "fallbacks.0.model: Field required"),
        ([], "at least 1 item"),
        ([{"model": name} for name in (OPUS_48, OPUS_47, OPUS_46, OPUS_45)], "at most 3 items"),
        ([{"model": OPUS_5}], "must be distinct"),
        ([{"model": OPUS_45}, {"model": "claude-opus-4-5-20251101"}], "must be distinct"),
        ([{"model": "claude-opus-9"}], "'claude-opus-9' is not an allowed fallback model"),
        # As if the request were made to the other model; thinking that it does not take is left out.
        ([{"model": OPUS_45, "output_config": {"effort": "max"}}], "fallbacks.0: This model does not support effort"),
        ([{"model": HAIKU_45, "max_tokens": 64_001}], "fallbacks.0: max_tokens: 64001 > 64000"),
        ([{"model": OPUS_45}], None),
        ([{"model": OPUS_45, "thinking": {"type": "adaptive"}}], "adaptive thinking is not supported"),
        ("none", "should be a valid list"),
        (3, "should be a valid list"),
    ],
)
def test_models_that_answer_instead(fallbacks: Any, message: Optional[str]) -> None:
    sent = ask(fallbacks=fallbacks, thinking={"type": "adaptive"})
    said = verdict(sent, OPUS_5, betas=(FALLBACK,))
    assert said is None if message is None else message in str(said), said
    assert "fallbacks" in str(verdict(sent, OPUS_5, betas=(FALLBACK,), batch=True))
    assert verdict(sent, OPUS_5, betas=(FALLBACK, "server-side-fallback-2026-08-01")) is not None


def test_updates_of_thinking_are_a_beta() -> None:
    sent = ask(thinking={"type": "adaptive", "display": "updates"})
    assert "display: Input should be 'summarized' or 'omitted'" in str(verdict(sent, OPUS_5))
    assert verdict(sent, OPUS_5, betas=("thinking-display-updates-2026-08-18",)) is None


REFUSED_SCHEMAS = [
    ({"type": "object"}, "'additionalProperties' must be explicitly set to false"),
    ({**CLOSED, "additionalProperties": True}, "'additionalProperties' must be explicitly set to false"),
    ({"type": "integer", "minimum": 1}, "property 'minimum' is not supported"),
    ({"type": "integer", "multipleOf": 2}, "property 'multipleOf' is not supported"),
    ({"type": "string", "maxLength": 5}, "property 'maxLength' is not supported"),
    ({"type": "array", "items": {"type": "string"}, "minItems": 2}, "'minItems' values other than 0 or 1"),
    ({"type": "array", "items": {"type": "string"}, "maxItems": 2}, "property 'maxItems' is not supported"),
    ({"enum": [{"a": 1}]}, "enum values must be"),
    ({"$ref": "https://example.com/schema"}, "is not supported"),
    ({"$defs": {"a": {**CLOSED, "properties": {"a": {"$ref": "#/$defs/a"}}}}, "$ref": "#/$defs/a"}, "recursive"),
    ({"type": "string", "pattern": "^(?=a)b"}, "is not supported"),
    ({"type": "string", "pattern": r"(a)\1"}, "is not supported"),
    ({"type": "string", "pattern": r"\bword\b"}, "is not supported"),
    ({"type": "string", "format": "phone"}, "format 'phone' is not supported"),
    ({"$defs": {"a": {"type": "string"}}, "allOf": [{"$ref": "#/$defs/a"}]}, "'allOf' with '$ref'"),
    (
        {**CLOSED, "properties": {f"p{number}": {"type": "string"} for number in range(25)}},
        "too many optional parameters (25)",
    ),
    (
        {
            **CLOSED,
            "required": [f"p{number}" for number in range(17)],
            "properties": {f"p{number}": {"type": ["string", "null"]} for number in range(17)},
        },
        "too many parameters with union types (17",
    ),
    ({"type": "object", "additionalProperties": False, "properties": 3}, "not a valid JSON schema"),
]


@pytest.mark.parametrize(("value", "message"), REFUSED_SCHEMAS, ids=lambda value: str(value)[:50])
def test_schemas_that_an_answer_cannot_be_held_to(value: Any, message: str) -> None:
    """In an output format and in a strict tool, wherever the tokens are counted as well."""
    for counting in (False, True):
        sent = ask(**schema(value))
        if counting:
            del sent["max_tokens"]
        said = verdict(sent, counting=counting)
        assert said is not None
        assert message in said


def test_taken_schemas() -> None:
    """What is documented as supported is taken: definitions, simple patterns, an escaped backslash before a b."""
    parts = {
        "a": {"type": "string", "pattern": r"^[a-z]+\\b$"},
        "b": {"$ref": "#/$defs/part"},
        "c": {"type": "array", "items": {"type": "string", "format": "date"}, "minItems": 1},
        "d": {"anyOf": [{"type": "null"}, {"enum": [1, "x", None]}]},
    }
    value = {"$defs": {"part": CLOSED}, **CLOSED, "properties": parts, "required": ["a"]}
    assert verdict(ask(**schema(value))) is None
    assert (
        verdict(ask(**schema({**CLOSED, "properties": {f"p{number}": {"type": "string"} for number in range(24)}})))
        is None
    )


SYSTEM_MESSAGES: List[Tuple[List[Any], Optional[str]]] = [
    ([USER, says("Be brief.", "system")], None),
    ([USER, says("Be brief.", "system"), says("ok"), USER], None),
    ([says("Be brief.", "system"), USER], "cannot be the first message"),
    ([USER, says("ok"), says("Be brief.", "system")], "must follow a user message"),
    ([USER, says("Be brief.", "system"), USER], "must be last, or be followed by an assistant message"),
    ([USER, says("a", "system"), says("b", "system")], "must be last|must follow"),
    ([USER, says([call()]), says("a", "system"), says([result()], "user")], "between a tool_use and its tool_result"),
    ([USER, says([document()], "system")], "only text blocks are allowed"),
    (
        [
            USER,
            says(
                [
                    {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {}},
                    {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": []},
                ]
            ),
            says("Be brief.", "system"),
        ],
        None,
    ),
]


@pytest.mark.parametrize(("messages", "message"), SYSTEM_MESSAGES, ids=lambda value: str(value)[:70])
def test_where_a_system_message_may_stand(messages: List[Any], message: Optional[str]) -> None:
    said = verdict(ask(*messages), OPUS_48)
    if message is None:
        assert said is None
    else:
        assert said is not None
        assert any(words in said for words in message.split("|")), said


def test_the_effort_of_a_message_cannot_change_while_thinking_is_off() -> None:
    change = {**says("Go on.", "system"), "output_config": {"effort": "low"}}
    betas = ("mid-conversation-output-config-2026-07-01",)
    assert verdict(ask(USER, change), OPUS_5, betas=betas) is None
    assert verdict(ask(USER, change), OPUS_5) == "messages.1.output_config: Extra inputs are not permitted"
    said = verdict(ask(USER, change, thinking={"type": "disabled"}), OPUS_5)
    assert said is not None
    assert said.startswith("messages.1: output_config.effort 'low' differs from the 'high' in effect before it")
    same = {**change, "output_config": {"effort": "high"}}
    assert verdict(ask(USER, same, thinking={"type": "disabled"}), OPUS_5, betas=betas) is None
    assert verdict(ask({**USER, "output_config": {"effort": "low"}}), OPUS_5) == (
        "messages.0.output_config: Extra inputs are not permitted"
    )


def test_documents_and_citations_by_version() -> None:
    """Documents in an answer, and citations in what a user says, were taken before version 2026-10-21."""
    cited = text(citations=[CITED])
    found = {"type": "search_result", "source": "s", "title": "t", "content": [cited]}
    for sent in (
        ask(USER, says([document()]), USER),
        ask(says([cited], "user")),
        ask(says([found], "user")),
        in_a_result([found]),
    ):
        assert verdict(sent, version=OLD) is None
        assert verdict(sent, version=NEW) is not None
    assert verdict(ask(says([text(citations=[])], "user")), version=NEW) is None
    assert verdict(ask(USER, says([cited]), USER), version=NEW) is None


def test_betas_open_fields() -> None:
    """A field of a beta is unknown without its header."""
    binding = {"type": "adaptive", "block_binding": {"prefix_mismatch_behavior": "drop_block"}}
    said = verdict(ask(thinking=binding), OPUS_55)
    assert said is not None
    assert said.endswith("block_binding: Extra inputs are not permitted")
    assert verdict(ask(thinking=binding), OPUS_55, betas=("thinking-binding-controls-2026-08-01",)) is None
    assert verdict(ask(speed="fast"), OPUS_5, betas=("fast-mode-2026-02-01",)) is None
    old = ask(output_format={"type": "json_schema", "schema": CLOSED})
    assert verdict(old, betas=("structured-outputs-2025-11-13",)) is None
    server, older = "server-side-fallback-2026-07-01", "server-side-fallback-2026-06-01"
    fallback = ask(fallbacks=[{"model": OPUS_48}])
    assert verdict(fallback, OPUS_5) == "fallbacks: Extra inputs are not permitted"
    assert verdict(fallback, OPUS_5, betas=(server,)) is None
    assert verdict(fallback, OPUS_5, betas=(older,)) is None
    assert verdict(fallback, OPUS_5, betas=("server-side-fallback-2026-01-01",)) is not None
    assert verdict(fallback, HAIKU_55, betas=(server,)) is not None
    assert verdict(ask(fallbacks="default"), HAIKU_55, betas=(server,)) is None
    assert verdict(ask(fallbacks="default"), OPUS_5, betas=(older,)) is not None
    four = [{"model": name} for name in (OPUS_48, OPUS_47, OPUS_46, OPUS_45)]
    assert verdict(ask(fallbacks=four), OPUS_5, betas=(server,)) is not None
    assert verdict(ask(fallbacks=four[:1] * 2), OPUS_5, betas=(server,)) is not None
    computer = ask(
        tools=[{"type": "computer_20251124", "name": "computer", "display_width_px": 1, "display_height_px": 1}]
    )
    assert verdict(computer, OPUS_48) is None
    said = verdict(computer, OPUS_55)
    assert said is not None
    assert said.startswith("'claude-opus-5-5' does not support tool types: computer_20251124.")


@pytest.mark.parametrize(
    "change",
    [
        {"stream": True},
        {"max_tokens": 0},
        {"speed": "fast"},
        {"speed": "standard"},
        {"diagnostics": {"previous_message_id": None}},
    ],
)
def test_what_a_row_of_a_batch_cannot_have(change: Dict[str, Any]) -> None:
    assert verdict(ask(**change), OPUS_55, batch=True) is not None
    assert verdict(ask(**change), OPUS_55) is None


def test_long_outputs_are_for_batches_only() -> None:
    beta = ("output-300k-2026-03-24",)
    sent = ask(max_tokens=300_000)
    assert verdict(sent, OPUS_55, betas=beta, batch=True) is None
    assert verdict(sent, OPUS_55, betas=beta) is not None
    assert verdict(sent, OPUS_55, batch=True) is not None
    assert verdict(sent, FABLE_5, betas=beta, batch=True) is not None


@pytest.mark.parametrize(
    "name", ["max_tokens", "stream", "metadata", "stop_sequences", "service_tier", "inference_geo", "container"]
)
def test_counting_takes_only_its_own_fields(name: str) -> None:
    sent = {"messages": [USER], name: 3}
    assert verdict(sent, counting=True) == f"{name}: Extra inputs are not permitted"


def test_counting_keeps_the_rules_of_a_call() -> None:
    """Forced tools, thinking and schemas are refused as in a call; everything it takes is taken."""
    for change, model in (
        (FORCED, OPUS_55),
        ({"thinking": {"type": "disabled"}}, OPUS_55),
        ({"output_config": {"effort": "max"}}, OPUS_45),
        ({"messages": [USER, says("Once")]}, OPUS_5),
    ):
        assert verdict({"messages": [USER], **change}, model, counting=True) is not None
    everything = {
        "messages": [USER],
        "system": "Be brief.",
        "tools": [TOOL],
        "tool_choice": {"type": "auto"},
        "thinking": {"type": "enabled", "budget_tokens": 2000},
        "cache_control": {"type": "ephemeral"},
        "output_config": {"format": {"type": "json_schema", "schema": CLOSED}},
    }
    assert verdict(everything, HAIKU_45, counting=True) is None


@pytest.mark.parametrize(
    "name",
    [
        *("claude-opus-4-1", "claude-opus-4-20250514", "claude-3-haiku-20240307", "claude-3-5-haiku-latest"),
        *("claude-haiku-5-6", "claude-haiku-5.5", "haiku", "claude-opus-5-5-20260922", "claude-opus-5-2", "", "gpt-5"),
    ],
)
def test_retired_and_misspelt_models_are_not_found(name: str) -> None:
    for counting in (False, True):
        sent = {"model": name, "messages": [USER]}
        if not counting:
            sent["max_tokens"] = 10
        with pytest.raises(ApiFailure) as caught:
            check(sent, counting=counting)
        expected = (400, "invalid_request_error") if not name else (404, "not_found_error")
        assert (caught.value.status, caught.value.error_type) == expected
        assert not name or caught.value.message == f"model: {name}"


KEY = {"x-api-key": "k", "anthropic-version": NEW}


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        (KEY, None),
        ({"authorization": "Bearer k", "anthropic-version": OLD}, None),
        ({**KEY, "authorization": "Bearer invalid"}, None),
        ({**KEY, "authorization": "Bearer k", "x-api-key": "invalid"}, 401),
        ({"authorization": "Basic k", "anthropic-version": OLD}, 401),
        ({"anthropic-version": OLD}, 401),
        ({"x-api-key": "k"}, 400),
        ({**KEY, "anthropic-version": "2024-01-01"}, 400),
    ],
)
def test_keys_and_versions(headers: Dict[str, str], status: Optional[int]) -> None:
    if status is None:
        assert check_headers(headers).api_version == headers["anthropic-version"]
        return
    with pytest.raises(ApiFailure) as caught:
        check_headers(headers)
    assert caught.value.status == status


def picture(data: str, kind: str = "png", **more: Any) -> Dict[str, Any]:
    return {"type": "image", "source": {"type": "base64", "media_type": f"image/{kind}", "data": data}, **more}


def png(width: int, height: int = 10) -> str:
    raw = b"\x89PNG\r\n\x1a\n" + b"\0" * 8 + width.to_bytes(4, "big") + height.to_bytes(4, "big")
    return base64.b64encode(raw).decode()


# The beginnings of images of 2001 by 3 pixels, as Pillow writes them.
OTHER_FORMATS = [
    ("gif", base64.b64encode(b"GIF89a" + (2001).to_bytes(2, "little") + b"\3\0").decode()),
    ("jpeg", "/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDAP" + "/" * 86 + "wAALCAADB9EBAREA/8QAHwAA"),
    ("webp", "UklGRm4AAABXRUJQVlA4IGIAAADwCQCdASrRBwMAP83m8XO/uDOsoEgD"),
    ("webp", "UklGRiYAAABXRUJQVlA4TBkAAAAv0IcAAAcQCgEEQEET/Y8BJIT/86WI/qfvAA=="),
    ("webp", "UklGRooAAABXRUJQVlA4WAoAAAAIAAAA0AcAAgAAVlA4IGIAAADwCQCdASrRBwMA"),
]


def in_a_result(blocks: Any, **more: Any) -> Dict[str, Any]:
    return ask(USER, says([call()]), says([result(content=blocks, **more)], "user"))


def in_a_document(blocks: Any) -> Dict[str, Any]:
    return ask(says([{"type": "document", "source": {"type": "content", "content": blocks}}], "user"))


def in_a_message(blocks: Any) -> Dict[str, Any]:
    return ask(says(blocks, "user"))


PLACES = [in_a_message, in_a_result, in_a_document]


@pytest.mark.parametrize("place", PLACES)
def test_many_images_have_to_be_small(place: Any) -> None:
    """8000 pixels a side, 2000 where there are more than twenty, and no more than the window allows; wherever they stand."""
    assert verdict(place([picture(png(8000))]), OPUS_5) is None
    assert "8000 pixels" in str(verdict(place([picture(png(8001))]), OPUS_5))
    assert verdict(place([picture(png(2001))] * 20), OPUS_5) is None
    assert "many-image requests" in str(verdict(place([picture(png(2001))] * 21), OPUS_5))
    assert verdict(place([picture(png(10))] * 101), OPUS_5) is None
    assert "101 images > 100" in str(verdict(place([picture(png(10))] * 101), HAIKU_45))
    assert "601 images > 600" in str(verdict(place([picture(png(10))] * 601), OPUS_5))
    assert "Could not process image" in str(verdict(place([picture("AAAA")]), OPUS_5))


@pytest.mark.parametrize(("kind", "data"), OTHER_FORMATS)
def test_the_size_of_every_format_is_read(kind: str, data: str) -> None:
    assert decoded_size(base64.b64decode(data)) == (2001, 3)
    assert verdict(in_a_message([picture(data, kind)] * 20), OPUS_5) is None
    assert "many-image requests" in str(verdict(in_a_message([picture(data, kind)] * 21), OPUS_5))


def test_what_is_cut_off_has_no_size() -> None:
    for kind, data in OTHER_FORMATS:
        raw = base64.b64decode(data)
        for end in range(len(raw)):
            assert decoded_size(raw[:end]) in (None, (2001, 3)), (kind, end)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("counting", [False, True])
def test_an_image_that_must_not_be_made_smaller(place: Any, counting: bool) -> None:
    """Up to 2576 pixels a side and 4784 tokens from version 4.7 on, 1568 and 1568 before; the words name a size that fits."""

    def said(model: str, width: int, height: int, **more: Any) -> Optional[str]:
        sent = place([picture(png(width, height), **more)])
        if counting:
            del sent["max_tokens"]
        return verdict(sent, model, counting=counting)

    kept = {"transformations": {"oversized_image": "error"}}
    assert said(OPUS_47, 2576, 28, **kept) is None
    assert "2577x28 exceed" in str(said(OPUS_47, 2577, 28, **kept))
    assert said(OPUS_47, 92 * 28, 52 * 28, **kept) is None
    assert "exceed" in str(said(OPUS_47, 92 * 28, 52 * 28 + 1, **kept))
    # The example of the documentation, "How Claude resizes and pads images".
    assert "1075x1520 exceed the maximum image size of this model. The largest dimensions that fit are 924x1307" in str(
        said(HAIKU_45, 1075, 1520, **kept)
    )
    assert said(OPUS_47, 1075, 1520, **kept) is None
    for more in ({}, {"transformations": {}}, {"transformations": {"oversized_image": "downsize"}}):
        assert said(HAIKU_45, 5000, 5000, **more) is None
    assert "Input should be" in str(said(HAIKU_45, 5, 5, transformations={"oversized_image": "crop"}))
    assert "Extra inputs" in str(said(HAIKU_45, 5, 5, transformations={"x": 1}))


def test_screenshots_of_toolsets_are_never_made_smaller() -> None:
    assert verdict(in_a_result([picture(png(5000, 5000))]), OPUS_55) is None
    assert "exceed" in str(verdict(in_a_result([picture(png(5000, 5000))], toolset_name="computer"), OPUS_55))


def test_the_catalogue_lists_the_models_of_these_tests() -> None:
    """A model that is added to the one has to be added to the other."""
    table = ModelTable()
    assert {table.get(name) for name in ALL} == set(table.listed())
