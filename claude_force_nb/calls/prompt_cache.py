"""The API's prompt cache: choose the part of a prompt to mark, and let one call write it before the others read it.

Compared with plain input tokens, writing to the prompt cache costs 1.25 or 2 times as much, and reading from it a tenth
or less ("Pricing"). So a mark pays off from the second request with the same prefix, provided that it is sent after the
answer to the first one has begun: only then can the API find the entry ("Prompt caching", "Concurrent requests").
"""

from __future__ import annotations

import asyncio
import json
import math
from dataclasses import replace
from time import monotonic
from typing import Any, Callable, Dict, Mapping, NamedTuple, Optional, Sequence, Set, Tuple

from claude_force_nb.errors import ClaudeForceWarning
from claude_force_nb.messages.cache_mark import CacheMark, beginning_of, has_cache_control, prefix_settings, shared_part
from claude_force_nb.messages.models import ModelRules
from claude_force_nb.messages.request import ClaudeRequest
from claude_force_nb.messages.tokens import content_tokens
from claude_force_nb.prompts.template import RenderedPrompt
from claude_force_nb.warn import warn

__all__ = ["MarkChooser", "PromptCacheGate", "PromptCacheWrite", "SettingsWatch"]

# After this time, calls that wait for another one to write go ahead, and pay for the prompt as if there were no cache.
_MOST_WAIT_SECONDS = 60.0
# Subtracted from the lifetime for safety: the API's clock starts when it processes a request, ours when the request is
# sent.
_MARGIN_SECONDS = 5.0
# Idle time after which an entry with a lifetime of five minutes has certainly expired, and up to which one with an hour
# still exists.
_LAPSED_SECONDS = 330.0
_WITHIN_AN_HOUR_SECONDS = 3600.0 - _MARGIN_SECONDS

# The blocks that rows have in common, and the text after them.
_Beginning = Tuple[Sequence[Any], str]
_NOTHING: _Beginning = (), ""


class _RowMarks(NamedTuple):
    """The common beginning of rows, its mark, and the mark for only the part before the message (tools and system prompt)."""

    beginning: _Beginning
    mark: Optional[CacheMark]
    before: Optional[CacheMark]


class MarkChooser:
    """Chooses the prompt cache marks of requests that have the same options.

    Parameters
    ----------
    mode : str
        ``auto`` marks the part that rows share and the turns of a conversation, for five minutes. ``5m`` and ``1h``
        mark single calls too, for that lifetime. ``off`` marks nothing.
    rules : ModelRules
        Rules of the model. An unknown model gets marks only with ``5m`` or ``1h``.
    """

    def __init__(self, mode: str, rules: ModelRules) -> None:
        self._asked = mode in ("5m", "1h")
        self._ttl = mode if self._asked else "5m"
        self._adapts = mode == "auto"
        self._off = mode == "off" or not (rules.known or self._asked)
        self._least = rules.min_cache_tokens
        # The key says whether the system prompt explains fences, and whether the message consists of blocks.
        self._known: Dict[Tuple[bool, bool], _RowMarks] = {}

    def of_row(self, body: Mapping[str, Any], rendered: RenderedPrompt, *, fenced: bool) -> Optional[CacheMark]:
        """Return the mark of a row's request; rows with the same beginning get the same mark.

        Parameters
        ----------
        body : mapping
        rendered : RenderedPrompt
            The rendered prompt, which knows how much text precedes the first value that varies.
        fenced : bool
            Whether the system prompt explains fences, which makes the beginning a different one.
        """
        if self._off:
            return None
        content = body["messages"][-1].get("content")
        key = fenced, isinstance(content, list)
        known = self._known.get(key)
        if known is not None and known.mark is None:
            return known.before
        beginning = beginning_of(content, rendered.shared_blocks, rendered.shared_characters)
        if known is None:
            known = self._known[key] = self._choose(body, beginning)
        if known.mark is None:
            return known.before
        if beginning == known.beginning:
            only_shared = isinstance(content, str) and not content[rendered.shared_characters :].strip()
            return known.before if only_shared else known.mark
        # A value that was assumed constant, such as the time, has changed. From now on, mark only tools and system
        # prompt.
        self._known[key] = _RowMarks(_NOTHING, None, known.before)
        return known.before

    def of_call(self, body: Mapping[str, Any], *, has_turns: bool) -> Optional[CacheMark]:
        """Return the mark of a single call: the end of its conversation so far, or what the caller has asked to mark."""
        if self._off or not (has_turns or self._asked) or has_cache_control(body):
            return None
        fixed = _fixed_tokens(body)
        if not has_turns and fixed >= self._least:
            return self._before(body)
        return CacheMark("end", self._ttl) if fixed + content_tokens(body["messages"]) >= self._least else None

    def _choose(self, body: Mapping[str, Any], shared: _Beginning) -> _RowMarks:
        if has_cache_control(body):  # the caller's own marks
            return _RowMarks(_NOTHING, None, None)
        fixed = _fixed_tokens(body)
        before = replace(self._before(body), adapts=self._adapts) if fixed >= self._least else None
        blocks, text = shared
        if not (blocks or text.strip()) or fixed + content_tokens([*blocks, text]) < self._least:
            return _RowMarks(_NOTHING, None, before)
        return _RowMarks(shared, CacheMark("prompt", self._ttl, len(text), len(blocks), self._adapts), before)

    def _before(self, body: Mapping[str, Any]) -> CacheMark:
        return CacheMark("system" if body.get("system") else "tools", self._ttl)


def _fixed_tokens(body: Mapping[str, Any]) -> int:
    return content_tokens([body.get("tools"), body.get("system")])


class SettingsWatch:
    """Warns once if rows of a run differ in settings, which makes the API write their common prefix anew for each setting."""

    def __init__(self) -> None:
        self._seen: Set[CacheMark] = set()
        self._settings: Dict[str, Dict[str, Any]] = {}
        self._told = False

    def look(self, request: ClaudeRequest) -> None:
        """Check the request of a row."""
        mark = request.cache_mark
        if mark is None or self._told or mark in self._seen:
            return
        self._seen.add(mark)
        settings = prefix_settings(request.body)
        _, system, *beginning = shared_part(request.body, mark)
        words = json.dumps([settings["model"], system, beginning], sort_keys=True)
        known = self._settings.setdefault(words, settings)
        differ = [name for name, value in settings.items() if value != known[name]]
        if differ:
            self._told = True
            warn(
                f"rows differ in {' and '.join(differ)}: the part they share is written to the API's prompt cache again for each",
                ClaudeForceWarning,
            )


class _Prefix:
    """The state of one marked prefix: until when the API keeps it, and whether a call is about to write it."""

    def __init__(self, mark: CacheMark) -> None:
        self.mark = mark
        # `mark`, or the same mark with the longer lifetime.
        self.current = mark
        self.kept_until = -math.inf
        self.last_used: Optional[float] = None
        self.was_read = False
        self.written: Optional[asyncio.Event] = None


class PromptCacheGate:
    """Lets one of several calls with the same mark write, and holds the others until they can read; for one event loop.

    Parameters
    ----------
    clock : callable, optional
        Monotonic seconds; the system's by default.
    """

    def __init__(self, clock: Optional[Callable[[], float]] = None) -> None:
        self._clock = clock or monotonic
        self._prefixes: Dict[CacheMark, _Prefix] = {}

    def choose(self, mark: CacheMark) -> Optional[CacheMark]:
        """Return the mark to send: `mark` itself, one with a longer lifetime, or None if no later request would read the entry.

        Notes
        -----
        A write costs 1.25 times the input for five minutes, and twice the input for an hour ("Pricing"). So five
        minutes are cheaper unless more time passes between two requests. If that has happened once, we expect it again:
        calls take long and few run at a time, rows arrive slowly, or rate limits apply. An entry that nobody has read,
        and that nobody would have read within an hour either, is not written again.
        """
        prefix = self._prefix(mark)
        now = self._clock()
        if not prefix.mark.adapts or prefix.last_used is None or now < prefix.kept_until:
            return prefix.current
        idle_seconds = now - prefix.last_used
        if _LAPSED_SECONDS <= idle_seconds < _WITHIN_AN_HOUR_SECONDS:
            if prefix.current is prefix.mark:
                prefix.current = replace(prefix.mark, ttl="1h")
                self._prefixes[prefix.current] = prefix
            return prefix.current
        prefix.current = prefix.mark
        if idle_seconds < _LAPSED_SECONDS or prefix.was_read:
            return prefix.current
        prefix.last_used = now
        return None

    def _prefix(self, mark: CacheMark) -> _Prefix:
        prefix = self._prefixes.get(mark)
        if prefix is None:
            prefix = self._prefixes[mark] = _Prefix(mark)
        return prefix

    async def enter(self, mark: CacheMark) -> Optional[PromptCacheWrite]:
        """Wait until the prompt can be read from the cache, for at most 60 s, and return None.

        Return a `PromptCacheWrite` instead if this call has to write the entry.
        """
        prefix = self._prefix(mark)
        until = self._clock() + _MOST_WAIT_SECONDS
        while self._clock() >= prefix.kept_until:
            if prefix.written is None:
                prefix.written, prefix.was_read = asyncio.Event(), False
                return PromptCacheWrite(self, mark)
            try:
                await asyncio.wait_for(prefix.written.wait(), max(0.0, until - self._clock()))
            except asyncio.TimeoutError:
                return None
        return None

    def keep(self, mark: CacheMark, since: float, *, read: bool = False) -> None:
        """Record that a call sent at `since` (by `clock`) has written or read the prompt; either renews its lifetime."""
        prefix = self._prefixes[mark]
        prefix.kept_until = max(prefix.kept_until, since + mark.lifetime_seconds - _MARGIN_SECONDS)
        prefix.last_used = max(since, prefix.last_used or since)
        prefix.was_read = prefix.was_read or read

    def now(self) -> float:
        """Return the current time of the gate's clock."""
        return self._clock()

    def release(self, mark: CacheMark) -> None:
        """Wake the calls that wait for a write: the entry exists now, or one of them has to write it."""
        prefix = self._prefixes[mark]
        written, prefix.written = prefix.written, None
        if written is not None:
            written.set()


class PromptCacheWrite:
    """The duty of one call to write the prompt to the cache; it ends when its answer begins, or with `end`."""

    def __init__(self, gate: PromptCacheGate, mark: CacheMark) -> None:
        self._gate = gate
        self._mark = mark
        self._open = True
        self._since = gate.now()

    def begin(self) -> None:
        """Record that the answer has begun, so that other calls can read the entry."""
        if self._open:
            self._gate.keep(self._mark, self._since)
        self.end()

    def end(self) -> None:
        """Let another call write, unless the answer has begun."""
        if self._open:
            self._open = False
            self._gate.release(self._mark)
