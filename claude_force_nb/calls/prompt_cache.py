"""The API's prompt cache: which part of a prompt is marked, and which call writes it before the others read it.

Writing costs 1.25 or 2 times what reading the prompt without the cache costs, and reading from it a tenth or less ("Pricing"). So a mark
pays from the second request on that has the same beginning, provided that it leaves after the first one has begun to be answered: that is
when the API can find what was written ("Prompt caching", "Concurrent requests").
"""

from __future__ import annotations

import asyncio
import time
from typing import Any, Callable, Dict, Mapping, Optional, Tuple
from weakref import WeakKeyDictionary

from claude_force_nb.messages.cache_mark import CacheMark, has_cache_control
from claude_force_nb.messages.models import ModelRules
from claude_force_nb.messages.tokens import content_tokens, text_tokens

__all__ = ["MarkChooser", "PromptCacheGate", "PromptCacheWrite"]

# Calls that wait for one that writes go on after so long, and pay for the prompt as if there were no cache.
_MOST_WAIT_SECONDS = 60.0
# The API counts the lifetime from when a request began to be processed, which is a little after it left.
_MARGIN_SECONDS = 5.0


class MarkChooser:
    """Chooses the mark of requests that have the same options.

    Parameters
    ----------
    mode : str
        ``auto`` marks what rows share and the turns of a conversation, for five minutes; ``5m`` and ``1h`` mark single calls too, and
        say for how long; ``off`` marks nothing.
    rules : ModelRules
        Of the model; one that is not known gets no mark unless it is asked for.
    """

    def __init__(self, mode: str, rules: ModelRules) -> None:
        self._asked = mode in ("5m", "1h")
        self._ttl = mode if self._asked else "5m"
        self._off = mode == "off" or not (rules.known or self._asked)
        self._least = rules.min_cache_tokens
        # By whether the system prompt speaks of fences: the text that the rows have in common, its mark, and the mark before it.
        self._known: Dict[bool, Tuple[str, Optional[CacheMark], Optional[CacheMark]]] = {}

    def of_row(self, body: Mapping[str, Any], shared_characters: int, *, fenced: bool) -> Optional[CacheMark]:
        """Return the mark of a row's request; rows with the same beginning get the same one.

        Parameters
        ----------
        body : mapping
        shared_characters : int
            How much of the prompt stands before the first value of the row.
        fenced : bool
            Whether the system prompt says what a fence is: such rows have another beginning.
        """
        if self._off:
            return None
        content = body["messages"][-1].get("content")
        text = content if isinstance(content, str) else ""
        if fenced not in self._known:
            self._known[fenced] = self._choose(body, text[:shared_characters])
        shared, mark, before = self._known[fenced]
        if mark is None:
            return before
        if len(shared) == shared_characters and text.startswith(shared):
            return mark if text[shared_characters:].strip() else before
        # What was taken for constant is not, such as the time: from here on only what stands before it is marked.
        self._known[fenced] = "", None, before
        return before

    def of_call(self, body: Mapping[str, Any], *, has_turns: bool) -> Optional[CacheMark]:
        """Return the mark of a single call: the end of a conversation's turn, or what the caller asked to be kept."""
        if self._off or not (has_turns or self._asked) or has_cache_control(body):
            return None
        fixed = _fixed_tokens(body)
        if not has_turns and fixed >= self._least:
            return self._before(body)
        return CacheMark("end", self._ttl) if fixed + content_tokens(body["messages"]) >= self._least else None

    def _choose(self, body: Mapping[str, Any], shared: str) -> Tuple[str, Optional[CacheMark], Optional[CacheMark]]:
        if has_cache_control(body):  # the caller's own marks
            return "", None, None
        fixed = _fixed_tokens(body)
        before = self._before(body) if fixed >= self._least else None
        if not shared.strip() or fixed + text_tokens(shared) < self._least:
            return "", None, before
        return shared, CacheMark("prompt", self._ttl, len(shared)), before

    def _before(self, body: Mapping[str, Any]) -> CacheMark:
        return CacheMark("system" if body.get("system") else "tools", self._ttl)


def _fixed_tokens(body: Mapping[str, Any]) -> int:
    return content_tokens([body.get("tools"), body.get("system")])


class _Prefix:
    """What is known of one beginning: until when the API keeps it, and who is about to write it."""

    def __init__(self) -> None:
        self.kept_until = 0.0
        self.written: Optional[asyncio.Event] = None


class PromptCacheGate:
    """Lets one call of those with the same mark write, and the others leave once they can read; for the calls of one event loop.

    Parameters
    ----------
    clock : callable
        Monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._prefixes: WeakKeyDictionary[CacheMark, _Prefix] = WeakKeyDictionary()

    async def enter(self, mark: CacheMark) -> Optional[PromptCacheWrite]:
        """Wait until the prompt can be read from the cache, and return None; or, for the one that is to write it, a `PromptCacheWrite`."""
        prefix = self._prefixes.setdefault(mark, _Prefix())
        until = self._clock() + _MOST_WAIT_SECONDS
        while self._clock() >= prefix.kept_until:
            if prefix.written is None:
                prefix.written = asyncio.Event()
                return PromptCacheWrite(self, mark)
            try:
                await asyncio.wait_for(prefix.written.wait(), max(0.0, until - self._clock()))
            except asyncio.TimeoutError:
                return None
        return None

    def keep(self, mark: CacheMark, since: float) -> None:
        """Take note that a call which left at a moment (see `clock`) wrote the prompt or read it, which renews its lifetime."""
        prefix = self._prefixes[mark]
        prefix.kept_until = max(prefix.kept_until, since + mark.lifetime_seconds - _MARGIN_SECONDS)

    def now(self) -> float:
        """Return the present moment of the gate's clock."""
        return self._clock()

    def let_go(self, mark: CacheMark) -> None:
        """Wake those that wait for a write: it is there, or one of them has to make it."""
        prefix = self._prefixes[mark]
        written, prefix.written = prefix.written, None
        if written is not None:
            written.set()


class PromptCacheWrite:
    """The duty to write: ended once, by the beginning of the answer or by `end`."""

    def __init__(self, gate: PromptCacheGate, mark: CacheMark) -> None:
        self._gate = gate
        self._mark = mark
        self._open = True
        self._since = gate.now()

    def begin(self) -> None:
        """Say that the answer has begun, so that others can read what was written."""
        if self._open:
            self._gate.keep(self._mark, self._since)
        self.end()

    def end(self) -> None:
        """Let another call write, where the answer has not begun."""
        if self._open:
            self._open = False
            self._gate.let_go(self._mark)
