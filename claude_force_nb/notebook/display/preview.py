"""The preview that ``--dry-run`` shows: a request as it would be sent, part by part, with secrets masked. Pure."""

from __future__ import annotations

import datetime
import json
import re
from dataclasses import dataclass, field
from decimal import Decimal
from html import escape
from typing import Any, Dict, Iterable, Iterator, List, Mapping, Optional, Sequence, Tuple

from claude_force_nb.costs.bounds import bound_tokens
from claude_force_nb.costs.pricing import PriceTable
from claude_force_nb.costs.report import dollars
from claude_force_nb.messages.models import rules_for
from claude_force_nb.messages.request import ClaudeRequest
from claude_force_nb.messages.tokens import content_tokens
from claude_force_nb.prompts.plain import free_name
from claude_force_nb.text_tables import without_controls
from claude_force_nb.vocabulary import counted

from .bundles import Bundle, bundle, folded_html

__all__ = ["Preview", "make_preview", "mask", "repair_note", "secrets_of"]

_MASK = "•••"
# API keys, including those of other sessions.
_KEY = re.compile(r"sk-ant-[A-Za-z0-9_\-]{6,}")
# A shorter key is not a secret, but a placeholder for a local server that accepts any key.
_SHORTEST_SECRET = 8
_SHORT_DATA = 64
# A longer part of a request is folded after its beginning.
_LONGEST_UNFOLDED, _LINES_UNFOLDED = 6_000, 60
_CHARACTERS_BEFORE_FOLD, _LINES_BEFORE_FOLD = 2_000, 20
# Upper bound of the text that a repair prompt adds.
_REPAIR_TOKENS = 4096


def secrets_of(environ: Mapping[str, str]) -> List[str]:
    """Return the keys and secrets in the environment, including proxy passwords."""
    from claude_force_nb.api.http_environment import secrets_of_proxies

    names = ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "CLAUDE_CACHE_SECRET")
    listed = [environ.get(name, "") for name in names]
    listed += environ.get("CLAUDE_CACHE_SECRET_PREVIOUS", "").split(",")
    return [*(secret.strip() for secret in listed if secret.strip()), *secrets_of_proxies()]


def mask(text: str, secrets: Sequence[str]) -> Tuple[str, int]:
    """Return the text with secrets and anything that looks like an API key masked, and the number of replacements."""
    found = 0
    for secret in sorted(set(secrets), key=len, reverse=True):
        if len(secret) >= _SHORTEST_SECRET and secret in text:
            found += text.count(secret)
            text = text.replace(secret, _MASK)
    text, keys = _KEY.subn(_MASK, text)
    return text, found + keys


def _masked(value: Any, secrets: Sequence[str]) -> Tuple[Any, int]:
    """Mask a request's body and replace binary data by its size; return it with the number of masked secrets."""
    if isinstance(value, str):
        return mask(value, secrets)
    if isinstance(value, list):
        parts = [_masked(item, secrets) for item in value]
        return [part for part, _ in parts], sum(number for _, number in parts)
    if isinstance(value, Mapping):
        if value.get("type") == "base64" and isinstance(value.get("data"), str):
            value = dict(value, data=f"({_size(value['data'])} of data)")
        whole: Dict[str, Any] = {}
        total = 0
        for key, item in value.items():
            key, in_key = mask(key, secrets)
            # Names that differ only in a secret are alike once it is masked; number them, so that neither is lost.
            whole[free_name(key, whole)], in_item = _masked(item, secrets)
            total += in_key + in_item
        return whole, total
    return value, 0


def _size(base64_text: str) -> str:
    size_bytes = len(base64_text) * 3 // 4 - base64_text[-2:].count("=")
    for unit, size in (("MB", 1_000_000), ("KB", 1_000)):
        if size_bytes >= size:
            return f"{size_bytes / size:.1f} {unit}"
    return counted(size_bytes, "byte")


def _documents(value: Any) -> int:
    """Return the number of documents whose tokens only the API can count."""
    if isinstance(value, list):
        return sum(map(_documents, value))
    if not isinstance(value, Mapping):
        return 0
    source = value.get("source")
    if value.get("type") == "document" and isinstance(source, Mapping):
        return int(source.get("type") != "text")
    return _documents(value.get("content"))


@dataclass(frozen=True)
class Preview:
    """A request that was inspected instead of sent. ``str(preview)`` is the text shown.

    Attributes
    ----------
    body : dict
        The request body, secrets masked and binary data replaced by its size.
    sections : tuple of (str, str)
        Title and text of each part, in the order in which they are sent.
    facts : tuple of str
        Destination, tokens, maximum price, cache.
    input_tokens : int
        Estimated number.
    max_tokens : int
        Maximum length of the answer in tokens.
    most : Decimal or None
        Maximum cost in US dollars; None if unknown.
    cached : bool
        True if the cache has the answer.
    fingerprint : str
        Fingerprint of the request as it would be sent.
    """

    body: Dict[str, Any] = field(repr=False)
    sections: Tuple[Tuple[str, str], ...] = field(repr=False)
    facts: Tuple[str, ...]
    input_tokens: int
    max_tokens: int
    most: Optional[Decimal]
    cached: bool
    fingerprint: str

    @property
    def json(self) -> str:
        """The body as JSON, indented."""
        return json.dumps(self.body, indent=2, ensure_ascii=False)

    def __str__(self) -> str:
        parts = [f"── {title} ──\n{text}" for title, text in self.sections]
        return without_controls("\n\n".join([*parts, "\n".join(self.facts)]))

    def bundle(self) -> Bundle:
        """Return the display bundle; the JSON is folded below the parts in HTML."""
        plain = str(self)
        style = "white-space:pre-wrap;word-break:normal;overflow-wrap:anywhere;margin:0.2em 0 0.8em"
        inner = "".join(f"<div><b>{escape(title)}</b></div>{_folded(text, style)}" for title, text in self.sections)
        facts = escape("\n".join(self.facts))
        inner += f'<pre style="{style}">{facts}</pre>'
        inner += f"<details><summary>JSON</summary><pre>{escape(self.json)}</pre></details>"
        longest = max((len(run) for run in re.findall("`+", plain)), default=0)
        fence = "`" * max(4, longest + 1)
        return bundle(plain, f"{fence}text\n{plain}\n{fence}", inner)

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> Bundle:
        return self.bundle()


def _folded(text: str, style: str) -> str:
    """Return a part as HTML; a long one is folded after its first lines."""
    shown, rest = text, ""
    if len(text) > _LONGEST_UNFOLDED or text.count("\n") >= _LINES_UNFOLDED:
        shown = "\n".join(text[:_CHARACTERS_BEFORE_FOLD].split("\n")[:_LINES_BEFORE_FOLD])
        rest = text[len(shown) :]
    more = folded_html(f"The rest: {counted(len(rest), 'character')}", f'<pre style="{style}">{escape(rest)}</pre>')
    return f'<pre style="{style}">{escape(shown)}</pre>' + (more if rest else "")


def _reserved(request: ClaudeRequest, most: Optional[Decimal]) -> List[str]:
    """Return a line with the amount that a budget reserves for the call, and why; nothing if it is unknown."""
    if most is None:
        return []
    thinking = request.body.get("thinking")
    off = isinstance(thinking, Mapping) and thinking.get("type") in ("disabled", "between_tools")
    thinks = not off and (thinking is not None or rules_for(request.model).thinks)
    what = "thinking and answer together may be" if thinks else "the answer may be"
    return [
        f"a budget reserves {dollars(most)} until it is answered: {what} as long as max_tokens; lower it to reserve less"
    ]


def make_preview(
    request: ClaudeRequest,
    *,
    most: Optional[Decimal],
    cached: Optional[bool],
    secrets: Iterable[str] = (),
    notes: Sequence[str] = (),
) -> Preview:
    """Return the preview of a request.

    Parameters
    ----------
    request : ClaudeRequest
    most : Decimal or None
        Maximum cost in US dollars; None if unknown.
    cached : bool or None
        Whether the cache has the answer; None if no cache is used.
    secrets : iterable of str
        Keys and cache secrets, which are masked.
    notes : sequence of str
        Further lines, shown below.
    """
    listed = [secret for secret in secrets if secret]
    body, hidden = _masked(request.body, listed)
    read = [request.body.get(name) for name in ("system", "messages", "tools", "output_config")]
    tokens, documents = content_tokens(read, documents=False), _documents(request.body.get("messages"))
    beside = f" and {counted(documents, 'document')}" if documents else ""
    facts = [
        f"to {request.base_url} · fingerprint {request.fingerprint}",
        f"about {counted(tokens, 'token')}{beside} in, at most {request.max_tokens:,} out · at most {dollars(most)}",
        *_reserved(request, most),
        *notes,
    ]
    if hidden:
        what = "1 secret is" if hidden == 1 else f"{hidden} secrets are"
        facts.append(f"{what} masked here, but would be sent")
    where = "cache off" if cached is None else "cached: free" if cached else "not cached"
    facts.append(f"{where} · nothing was sent")
    return Preview(
        body=body,
        sections=tuple((mask(title, listed)[0], mask(text, listed)[0]) for title, text in _sections(body, request)),
        facts=tuple(mask(fact, listed)[0] for fact in facts),
        input_tokens=tokens,
        max_tokens=request.max_tokens,
        most=most,
        cached=bool(cached),
        fingerprint=request.fingerprint,
    )


def repair_note(request: ClaudeRequest, prices: PriceTable, *, on: datetime.date) -> str:
    """Return a line with the maximum cost of repairing the answer on a given day (UTC)."""
    tokens = bound_tokens(request, prices.context_window(request.model))
    most = None
    if tokens is not None:
        # A repair sends the prompt again, with the answer and the reason why it is invalid.
        tokens += request.max_tokens + _REPAIR_TOKENS
        most = prices.bound(request.model, input_tokens=tokens, max_tokens=request.max_tokens, on=on)
    return f"at most {dollars(most)} more if the answer has to be repaired"


def _sections(body: Mapping[str, Any], request: ClaudeRequest) -> Iterator[Tuple[str, str]]:
    body = dict(body)
    messages: List[Any] = body.pop("messages")
    system = body.pop("system", None)
    tools = body.pop("tools", None)
    config = body.pop("output_config", None)
    output_format = None
    if isinstance(config, Mapping):
        rest = {key: item for key, item in config.items() if key != "format"}
        output_format = config.get("format")
        if rest:
            body["output_config"] = rest
    if request.sample > 1:
        body["sample"] = request.sample
    if request.betas:
        body["betas"] = list(request.betas)
    yield "request", "\n".join(f"{key}: {_short(item)}" for key, item in body.items())
    if system is not None:
        yield "system", "\n".join(_blocks(system))
    for number, message in enumerate(messages, 1):
        turn = f" (message {number} of {len(messages)})" if len(messages) > 1 else ""
        if isinstance(message, Mapping):
            yield f"{message.get('role')}{turn}", "\n".join(_blocks(message.get("content")))
    for tool in tools if isinstance(tools, list) else ():
        name = tool.get("name") if isinstance(tool, Mapping) else ""
        yield f"tool {name}", _pretty(tool)
    if isinstance(output_format, Mapping):
        yield "answer must fit", _pretty(output_format.get("schema", output_format))


def _short(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _pretty(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False)


def _blocks(content: Any) -> Iterator[str]:
    """Yield the text of a message's or system prompt's content, and a line for each block that is not text."""
    if isinstance(content, str):
        yield content
        return
    for block in content if isinstance(content, list) else ():
        if not isinstance(block, Mapping):
            yield _short(block)
        elif block.get("type") == "text" and isinstance(block.get("text"), str):
            yield str(block["text"])
            if "cache_control" in block:
                yield f"[prompt cache: {_short(block['cache_control'])}]"
        else:
            yield f"[{_binary(block) or _pretty(block)}]"


def _binary(block: Mapping[str, Any]) -> Optional[str]:
    source = block.get("source")
    if block.get("type") not in ("image", "document") or not isinstance(source, Mapping):
        return None
    data = source.get("data")
    if source.get("type") == "text" and isinstance(data, str):
        what = data if len(data) <= _SHORT_DATA else f"{counted(len(data), 'character')} of text"
    else:
        what = str(data or source.get("url") or source.get("file_id") or "").strip("()")
    named = [str(block["type"]), str(block.get("title") or ""), str(source.get("media_type") or ""), what]
    return " · ".join(part for part in named if part)
