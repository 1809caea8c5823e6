"""The prompt cache: which prefixes of prompts are kept, and for how long. Pure; the clock is an argument.

See "Prompt caching" in the API's documentation: breakpoints in a request mark the prefixes to be kept. A prefix is found only
if all of it is the same, including the model and the settings that affect how the prompt is read.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from .catalogue import Model
from .failures import invalid
from .prices import TokenUsage
from .tokens import MESSAGE_TOKENS, block_tokens, count_text_tokens, json_tokens

__all__ = ["CachePlan", "CacheUse", "PromptCache", "plan_cache"]

_MAX_BREAKPOINTS = 4
_LOOKBACK = 20
_LIFETIMES = {"5m": 300.0, "1h": 3600.0}
_MAX_ENTRIES = 20_000
# Consecutive blocks of one of these types count as one position.
_RUNS = ("tool_use", "tool_result")
_NOT_CACHEABLE = ("thinking", "redacted_thinking")
_SEARCH = "web_search_"

_compact = json.JSONEncoder(separators=(",", ":"), sort_keys=True).encode


class _Position(NamedTuple):
    """A piece of a prompt: content, tokens, lifetime of its breakpoint, the run that it may belong to, and its path."""

    content: str
    tokens: int
    ttl: Optional[str] = None
    run: str = ""
    path: str = ""
    cacheable: bool = True


class CachePlan(NamedTuple):
    """A request's use of the prompt cache: the pieces of its prompt in order, and which of them have a breakpoint."""

    positions: List[_Position]
    breakpoints: List[int]
    tokens: int


@dataclass
class CacheUse:
    """What a request found in the cache, and what it writes once its answer has begun.

    Attributes
    ----------
    usage : TokenUsage
        The prompt's tokens by price, without output.
    entries : list of (key, seconds)
        Prefixes to keep, and their lifetimes.
    start : float
        Time at which the request arrived.
    """

    usage: TokenUsage
    entries: List[Tuple[bytes, float]]
    start: float


def _without_breakpoint(block: Mapping[str, Any]) -> Mapping[str, Any]:
    return {key: value for key, value in block.items() if key != "cache_control"}


def _ttls(block: Mapping[str, Any]) -> List[str]:
    """Return the lifetimes of the breakpoints of a block and of the blocks inside it."""
    inner = block.get("content")
    found = (
        [ttl for part in inner for ttl in _ttls(part)]
        if block.get("type") == "tool_result" and isinstance(inner, list)
        else []
    )
    control = block.get("cache_control")
    return [*found, control.get("ttl") or "5m"] if control else found


def _block(block: Mapping[str, Any], path: str, per_token: int, extra_tokens: int = 0, role: str = "") -> _Position:
    kind = block["type"]
    ttls = _ttls(block)
    content = block["text"] if kind == "text" else _compact(_without_breakpoint(block))
    return _Position(
        f"{role}\n{kind}\n{content}",
        block_tokens(block, per_token) + extra_tokens,
        ttls[-1] if ttls else None,
        kind if kind in _RUNS else "",
        path,
        kind not in _NOT_CACHEABLE and bool(content),
    )


def _tools(body: Mapping[str, Any], per_token: int) -> Tuple[List[_Position], List[Any]]:
    """Return the positions of the tools, and separately the web search tools, which do not invalidate cached tools."""
    positions = []
    searches = []
    for place, tool in enumerate(body.get("tools") or ()):
        plain = _without_breakpoint(tool)
        ttls = _ttls(tool)
        if str(tool.get("type")).startswith(_SEARCH) and not ttls:
            searches.append(plain)
            continue
        path = f"tools.{place}"
        positions.append(
            _Position(_compact(plain), json_tokens(plain, per_token), ttls[-1] if ttls else None, "", path)
        )
    return positions, searches


def _positions(
    body: Mapping[str, Any],
    model: Model,
    settings: Sequence[Any],
    overhead: Tuple[int, int],
    cites: bool,
    pictures: bool,
) -> List[_Position]:
    per_token = model.characters_per_token
    found, searches = _tools(body, per_token)
    search_tokens = sum(json_tokens(tool, per_token) for tool in searches)
    head = _compact([searches, cites, body.get("speed") or "standard"])
    found.append(_Position(head, search_tokens + overhead[0], cacheable=False, run="settings"))
    system = body.get("system")
    if isinstance(system, str):
        found.append(_Position("\ntext\n" + system, count_text_tokens(system, per_token), path="system.0"))
    for place, block in enumerate(system if isinstance(system, list) else ()):
        found.append(_block(block, f"system.{place}", per_token))
    found.append(_Position(_compact([*settings, pictures]), overhead[1], cacheable=False, run="settings"))
    for number, message in enumerate(body["messages"]):
        content, role = message["content"], message["role"]
        if isinstance(content, str):
            tokens = MESSAGE_TOKENS + count_text_tokens(content, per_token)
            found.append(_Position(f"{role}\ntext\n{content}", tokens, path=f"messages.{number}.content.0"))
            continue
        for place, block in enumerate(content):
            path = f"messages.{number}.content.{place}"
            found.append(_block(block, path, per_token, 0 if place else MESSAGE_TOKENS, role))
        if not content:
            found.append(_Position(role, MESSAGE_TOKENS, cacheable=False))
    return found


def _add_automatic(positions: List[_Position], control: Mapping[str, Any]) -> None:
    ttl = control.get("ttl") or "5m"
    for place in range(len(positions) - 1, -1, -1):
        position = positions[place]
        if not position.cacheable:
            continue
        if position.ttl is not None and position.ttl != ttl:
            raise invalid(
                f"Top-level cache_control has ttl='{ttl}' but the target block already has cache_control with "
                f"ttl='{position.ttl}'"
            )
        positions[place] = position._replace(ttl=ttl)
        return


def _count_breakpoints(body: Mapping[str, Any]) -> int:
    system = body.get("system")
    blocks = [*(body.get("tools") or ()), *(system if isinstance(system, list) else ())]
    for message in body["messages"]:
        if isinstance(message["content"], list):
            blocks += message["content"]
    return sum(len(_ttls(block)) for block in blocks)


def plan_cache(
    body: Mapping[str, Any],
    model: Model,
    *,
    settings: Sequence[Any],
    overhead: Tuple[int, int],
    cites: bool,
    pictures: bool,
) -> CachePlan:
    """Return the cache plan of a request with a breakpoint.

    Parameters
    ----------
    body : mapping
    model : Model
    settings : sequence
        Values of parameters that affect how messages are read, as JSON data.
    overhead : tuple of int
        Tokens that the API adds for tools, before the system prompt, and for a schema, before the messages.
    cites, pictures : bool
        Whether documents are to be cited, and whether there are images.

    Raises
    ------
    ApiFailure
        If there are too many breakpoints, or a longer lifetime follows a shorter one.
    """
    positions = _positions(body, model, settings, overhead, cites, pictures)
    explicit = _count_breakpoints(body)
    control = body.get("cache_control")
    if control:
        before = sum(position.ttl is not None for position in positions)
        _add_automatic(positions, control)
        explicit += sum(position.ttl is not None for position in positions) - before
    if explicit > _MAX_BREAKPOINTS:
        raise invalid(f"A maximum of {_MAX_BREAKPOINTS} blocks with cache_control may be provided. Found {explicit}.")
    breakpoints = [place for place, position in enumerate(positions) if position.ttl is not None]
    short = False
    for place in breakpoints:
        position = positions[place]
        if position.ttl == "1h" and short:
            raise invalid(
                f"{position.path}.cache_control.ttl: a ttl='1h' cache_control block must not come after a ttl='5m' "
                "cache_control block. Note that blocks are processed in the following order: `tools`, `system`, `messages`."
            )
        short = short or position.ttl == "5m"
    return CachePlan(positions, breakpoints, sum(position.tokens for position in positions))


def _sums_and_keys(model: Model, positions: Sequence[_Position]) -> Tuple[List[int], List[bytes], List[int]]:
    """Return for each position the tokens up to it, the key of the prefix up to it, and its number for the lookback."""
    running = sha256(model.name.encode())
    sums, keys, numbers = [], [], []
    total = number = 0
    run = ""
    for position in positions:
        # The length before each piece makes the boundaries between pieces unambiguous.
        data = position.content.encode("utf-8", "surrogatepass")
        running.update(b"%d:" % len(data) + data)
        total += position.tokens
        if position.run != "settings" and not (position.run and position.run == run):
            number += 1
        run = position.run
        sums.append(total)
        keys.append(running.digest())
        numbers.append(number)
    return sums, keys, numbers


class PromptCache:
    """The kept prefixes of prompts."""

    def __init__(self) -> None:
        # Key -> lifetime and time of expiry, both in seconds.
        self._entries: Dict[bytes, Tuple[float, float]] = {}

    def reset(self) -> None:
        """Forget everything."""
        self._entries.clear()

    def look_up(self, plan: CachePlan, model: Model, now: float) -> CacheUse:
        """Return what a request that arrives `now` finds and would write; nothing is written or refreshed yet."""
        sums, keys, numbers = _sums_and_keys(model, plan.positions)
        # A prefix that is too short is silently ignored.
        long_enough = [place for place in plan.breakpoints if sums[place] >= model.min_cache_tokens]
        if not long_enough:
            return CacheUse(TokenUsage(plan.tokens), [], now)
        refreshed: Dict[bytes, float] = {}
        read = 0
        for place in long_enough:
            found = self._find(place, sums, keys, numbers, model, now)
            if found is not None:
                read = max(read, sums[found])
                refreshed[keys[found]] = self._entries[keys[found]][0]
        hours = [sums[place] for place in long_enough if plan.positions[place].ttl == "1h"]
        written_1h = max(0, hours[-1] - read) if hours else 0
        end = sums[long_enough[-1]]
        usage = TokenUsage(plan.tokens - end, 0, end - read - written_1h, written_1h, read)
        for place in long_enough:
            refreshed.setdefault(keys[place], _LIFETIMES[plan.positions[place].ttl or "5m"])
        return CacheUse(usage, list(refreshed.items()), now)

    def _find(
        self,
        place: int,
        sums: Sequence[int],
        keys: Sequence[bytes],
        numbers: Sequence[int],
        model: Model,
        now: float,
    ) -> Optional[int]:
        """Return the last position, at most 20 before `place`, up to which the prompt is cached; None if it is not."""
        first = numbers[place] - _LOOKBACK
        while place >= 0 and numbers[place] > first and sums[place] >= model.min_cache_tokens:
            entry = self._entries.get(keys[place])
            if entry is not None and entry[1] > now:
                return place
            place -= 1
        return None

    def keep(self, use: CacheUse) -> None:
        """Write a request's prefixes, which others find from now on. Call this when the answer begins."""
        entries = self._entries
        if len(entries) > _MAX_ENTRIES:
            self._entries = entries = {key: entry for key, entry in entries.items() if entry[1] > use.start}
        for key, seconds in use.entries:
            ends = use.start + seconds
            kept = entries.get(key)
            entries[key] = (seconds, ends if kept is None else max(ends, kept[1]))
