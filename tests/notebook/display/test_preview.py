"""What --dry-run shows: everything that would leave, readable, and no secret."""

from __future__ import annotations

import json
import re
from decimal import Decimal
from html import unescape
from typing import Any, Dict, List

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_force_nb.messages.request import ClaudeRequest
from claude_force_nb.notebook.display.preview import Preview, make_preview, mask, secrets_of


def preview(messages: Any = "Hi", **more: Any) -> Preview:
    secrets = more.pop("secrets", ())
    options = {name: more.pop(name) for name in ("sample", "betas") if name in more}
    if isinstance(messages, str):
        messages = [{"role": "user", "content": messages}]
    body: Dict[str, Any] = {"model": "m", "max_tokens": 100, "messages": messages, **more}
    return make_preview(ClaudeRequest(body=body, **options), most=Decimal("0.5"), cached=False, secrets=secrets)


def test_each_part_is_shown_as_it_would_be_sent() -> None:
    """Lines are lines, fences are fences, and turns are told apart."""
    fenced = 'Label this:\n<data name="text">\na "b" \\ c\n</data>'
    messages = [
        {"role": "user", "content": "One\ntwo"},
        {"role": "assistant", "content": [{"type": "text", "text": "Three"}]},
        {"role": "user", "content": fenced},
    ]
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}}
    seen = preview(
        messages,
        system="Be brief.\nAlways.",
        temperature=0.5,
        thinking={"type": "adaptive"},
        tools=[{"name": "look", "input_schema": {"type": "object"}}],
        output_config={"effort": "low", "format": {"type": "json_schema", "schema": schema}},
        sample=2,
        betas=("b-1",),
    )
    assert [title for title, _ in seen.sections] == [
        "request", "system", "user (message 1 of 3)", "assistant (message 2 of 3)", "user (message 3 of 3)",
        "tool look", "answer must fit",
    ]  # fmt: skip
    parts = dict(seen.sections)
    assert parts["request"].split("\n") == [
        "model: m", "max_tokens: 100", "temperature: 0.5", 'thinking: {"type": "adaptive"}',
        'output_config: {"effort": "low"}', "sample: 2", 'betas: ["b-1"]',
    ]  # fmt: skip
    assert parts["system"] == "Be brief.\nAlways."
    assert parts["user (message 3 of 3)"] == fenced
    assert json.loads(parts["answer must fit"]) == schema
    assert fenced in str(seen)
    assert str(seen).endswith("not cached · nothing was sent")
    assert "at most $0.5000" in str(seen)
    reserved = next(fact for fact in seen.facts if fact.startswith("a budget reserves $0.5000"))
    assert "thinking and answer together may be as long as max_tokens" in reserved
    assert json.loads(seen.json) == seen.body == {**seen.body, "system": "Be brief.\nAlways."}


def test_pictures_and_documents_are_named_and_measured() -> None:
    """Type and size stand where the data would; their tokens are estimated, or said to be unknown."""
    data = "QUJD" * 1000
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": data}}
    pdf = {
        "type": "document", "title": "Report",
        "source": {"type": "base64", "media_type": "application/pdf", "data": data + "QQ=="},
    }  # fmt: skip
    note = {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "short"}}
    linked = {"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}}
    seen = preview([{"role": "user", "content": [image, pdf, note, linked, {"type": "text", "text": "What is it?"}]}])
    assert dict(seen.sections)["user"].split("\n") == [
        "[image · image/png · 3.0 KB of data]",
        "[document · Report · application/pdf · 3.0 KB of data]",
        "[document · text/plain · short]",
        "[image · https://example.com/a.png]",
        "What is it?",
    ]
    assert data not in str(seen) + seen.json + json.dumps(seen.bundle())
    assert seen.input_tokens >= 3200
    assert " and 1 document in" in str(seen)


def test_what_is_in_the_environment_is_masked() -> None:
    """Keys and cache secrets, present and previous; any key of the API as well; what is short is none."""
    environ = {
        "ANTHROPIC_API_KEY": " a-key-of-a-gateway ",
        "CLAUDE_CACHE_SECRET": "cache-secret-1",
        "CLAUDE_CACHE_SECRET_PREVIOUS": "cache-secret-2, cache-secret-3",
        "ANTHROPIC_AUTH_TOKEN": "x",
    }
    words = ["a-key-of-a-gateway", "cache-secret-1", "cache-secret-3", "sk-ant-api03-somebody_else-s"]
    seen = preview("x " + "\n".join(words), system=words[1], secrets=secrets_of(environ))
    assert dict(seen.sections)["user"] == "x " + "\n".join(["•••"] * 4)
    assert "5 secrets are masked here, but would be sent" in str(seen)
    assert not any(word in str(seen) + seen.json + json.dumps(seen.bundle(), ensure_ascii=False) for word in words)
    assert mask("nothing here", secrets_of(environ)) == ("nothing here", 0)


def test_names_that_are_alike_once_masked_are_all_shown() -> None:
    """Each with its own value, in their order, beside a name that looks like a mask."""
    properties = {"key secret-number-1": 1, "key secret-number-2": 2, "key •••": 3, "key •••_2": 4, "other": 5}
    seen = preview(metadata=properties, secrets=["secret-number-1", "secret-number-2"])
    assert list(seen.body["metadata"].items()) == [
        ("key •••", 1), ("key •••_2", 2), ("key •••_3", 3), ("key •••_2_2", 4), ("other", 5),
    ]  # fmt: skip
    assert "2 secrets are masked here" in str(seen)
    assert json.dumps(seen.body["metadata"], ensure_ascii=False) in str(seen)


@pytest.mark.parametrize("text", ["<script>alert(1)</script>", "````\nfence", "$x$ and {{ y }}"])
def test_nothing_in_a_request_is_live(text: str) -> None:
    """HTML is escaped, and no run of backticks ends the Markdown fence."""
    shown = preview(text, system=text).bundle()
    assert "<script>" not in shown["text/html"]
    opening = shown["text/markdown"].split("text\n")[0]
    assert opening not in shown["text/markdown"][len(opening) : -len(opening)]


SECRETS = st.lists(st.text(st.characters(codec="utf-8", exclude_characters="•"), min_size=8, max_size=20), max_size=3)
JSON_TEXTS = st.recursive(
    st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
)


@given(SECRETS, st.data(), JSON_TEXTS)
def test_no_secret_is_ever_shown(secrets: List[str], data: st.DataObject, metadata: Any) -> None:
    """Wherever it stands: in system, turns, names, keys of objects; as text, JSON or repr."""
    pieces = st.lists(st.sampled_from([*secrets, "a", "\n", "sk-ant-0123456789"]) if secrets else st.text(), max_size=5)
    words = ["".join(data.draw(pieces)) or "x" for _ in range(3)]
    seen = preview(
        words[0],
        system=words[1],
        metadata={words[2]: metadata, "own": secrets},
        stop_sequences=secrets,
        secrets=secrets,
    )
    shown = [
        *(text for section in seen.sections for text in section), *seen.facts, repr(seen), *strings(seen.body),
    ]  # fmt: skip
    for secret in [*secrets, "sk-ant-0123456789"]:
        assert not any(secret in text for text in shown if "fingerprint" not in text)


def strings(value: Any) -> List[str]:
    """Return every text inside JSON data, keys as well."""
    if isinstance(value, dict):
        return [text for key, item in value.items() for text in [key, *strings(item)]]
    if isinstance(value, list):
        return [text for item in value for text in strings(item)]
    return [value] if isinstance(value, str) else []


def test_a_long_part_is_folded_behind_its_beginning() -> None:
    """Nothing is left out: what is shown and what is folded are the whole, as are the other forms."""
    for text in ("\n".join(f"<line {number}>" for number in range(500)), "word " * 5000, "\n" * 100):
        bundle = preview(text).bundle()
        user = bundle["text/html"].split("<b>user</b>")[1]
        found = re.search(r"<pre[^>]*>(.*?)</pre><style>.*?<pre[^>]*>(.*?)</pre></details>", user, re.DOTALL)
        assert found is not None
        assert unescape("".join(found.groups())) == text
        assert len(found.group(1)) < 3000
        assert text in bundle["text/plain"]
        assert text in bundle["text/markdown"]
    assert preview("short").bundle()["text/html"].count("<details") == 1
