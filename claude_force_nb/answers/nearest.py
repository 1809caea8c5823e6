"""Describe in one line how a request differs from the most similar one in an answer file. Pure."""

from __future__ import annotations

import difflib
import json
import re
from typing import Any, Dict, Iterator, List, Mapping, Optional, Sequence, Set, Tuple

from claude_force_nb.messages.request import ClaudeRequest
from claude_force_nb.vocabulary import counted

from .lines import KnownAnswer

__all__ = ["describe_nearest", "first_difference"]

# Number of words to compare: similar prompts are usually similar from the beginning, and longer comparisons take long.
_MOST_WORDS = 2000
# Number of characters of a difference to show.
_SHOWN = 60
_MOST_DIFFERENCES = 3
_WORDS = re.compile(r"\w+|[^\w\s]")
_PIECES = re.compile(r"\s+|\w+|[^\w\s]")
_FENCES = re.compile(r'<data name="([^"]*)">\n(.*?)\n</data>', re.DOTALL)
# Fields of the body whose differences are described separately.
_NAMED = frozenset(["model", "system", "messages"])


def describe_nearest(asked: ClaudeRequest, entries: Sequence[KnownAnswer]) -> str:
    """Return how a request differs from the most similar of `entries`; "" if none of them records its request."""
    request = _fields(asked)
    words = _words(request["body"])
    nearest: Optional[Tuple[float, KnownAnswer]] = None
    for entry in entries:
        if entry.request is None or not isinstance(entry.request.get("body"), dict):
            continue
        score = _similarity(request, words, entry.request, same_agent=entry.agent == asked.agent)
        if nearest is None or score > nearest[0]:
            nearest = score, entry
    if nearest is None:
        return ""
    entry = nearest[1]
    found = list(_differences(request, entry.request or {}, asked.agent))
    more = f", and {len(found) - _MOST_DIFFERENCES} more" if len(found) > _MOST_DIFFERENCES else ""
    return f"the nearest one in the file differs in {', '.join(found[:_MOST_DIFFERENCES])}{more}" if found else ""


def first_difference(old: str, new: str) -> str:
    """Return where two texts first differ, as ``"new" where the file has "old"``."""
    before, after = (_PIECES.findall(text)[: 2 * _MOST_WORDS] for text in (old, new))
    matcher = difflib.SequenceMatcher(None, before, after, autojunk=False)
    for tag, i, j, k, m in matcher.get_opcodes():
        if tag != "equal":
            return f"{_quoted(''.join(after[k:m]))} where the file has {_quoted(''.join(before[i:j]))}"
    return "its end"


def _fields(asked: ClaudeRequest) -> Dict[str, Any]:
    return {
        "api_version": asked.api_version,
        "base_url": asked.base_url,
        "betas": list(asked.betas),
        "body": asked.body,
        "sample": asked.sample,
    }


def _similarity(asked: Mapping[str, Any], words: Set[str], known: Mapping[str, Any], *, same_agent: bool) -> float:
    theirs = _words(known["body"])
    common = len(words & theirs) / max(1, len(words | theirs))
    body, other = asked["body"], known["body"]
    same: int = sum(body.get(name) == other.get(name) for name in ("model", "system", "max_tokens"))
    same += sum(asked[name] == known.get(name) for name in ("base_url", "sample")) + same_agent
    # The prompt outweighs everything else together.
    return common + 0.05 * same + (1.0 if body.get("messages") == other.get("messages") else 0.0)


def _words(body: Mapping[str, Any]) -> Set[str]:
    return set(_WORDS.findall(_text(body.get("messages")))[:_MOST_WORDS])


def _text(value: Any) -> str:
    """Return the joined text of messages or a system prompt; anything but text appears as JSON."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return "\n".join(_text(item) for item in value)
    if isinstance(value, dict):
        for name in ("content", "text"):
            if name in value:
                return _text(value[name])
    return json.dumps(value, sort_keys=True)[:_SHOWN]


def _differences(asked: Mapping[str, Any], known: Mapping[str, Any], agent: Optional[str]) -> Iterator[str]:
    body, other = asked["body"], known["body"]
    if asked["base_url"] != known.get("base_url"):
        yield f"its server ({asked['base_url']} where the file has {_short(known.get('base_url'))})"
    if body["model"] != other.get("model"):
        yield f"its model ({body['model']} where the file has {_short(other.get('model'))})"
    old, new = _text(other.get("system")), _text(body.get("system"))
    if old != new:
        whose = f"the text of agent {agent}" if agent else "its system prompt"
        yield f"{whose} ({first_difference(old, new)})"
    if asked["sample"] != known.get("sample"):
        yield f"its sample ({asked['sample']} where the file has {_short(known.get('sample'))})"
    for name in sorted(set(body) | set(other)):
        if name not in _NAMED and body.get(name) != other.get(name):
            yield f"{name} ({_short(body.get(name))} where the file has {_short(other.get(name))})"
    for name in ("api_version", "betas"):
        if asked[name] != known.get(name):
            yield f"{name} ({_short(asked[name])} where the file has {_short(known.get(name))})"
    if body["messages"] != other.get("messages"):
        yield _difference_of_messages(body["messages"], other.get("messages"))


def _difference_of_messages(messages: Any, others: Any) -> str:
    if not isinstance(others, list) or len(messages) != len(others):
        count = len(others) if isinstance(others, list) else 0
        return f"its conversation ({counted(len(messages), 'message')} where the file has {count})"
    old, new = _text(others), _text(messages)
    if old == new:
        return "its attachments"
    outside, values = _apart(old), _apart(new)
    if outside[0] == values[0]:
        for (name, before), (_, after) in zip(outside[1], values[1]):
            if before != after:
                return f"the value of {name} ({first_difference(before, after)})"
    return f"its prompt ({first_difference(old, new)})"


def _apart(text: str) -> Tuple[str, List[Tuple[str, str]]]:
    """Return a prompt without the content of its fences, and this content with the names of the fences."""
    return _FENCES.sub(r'<data name="\1">', text), _FENCES.findall(text)


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, sort_keys=True)
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"


def _quoted(text: str) -> str:
    text = " ".join(text.split())
    return f'"{_short(text)}"' if text else "nothing"
