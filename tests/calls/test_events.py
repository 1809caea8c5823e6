"""Events that listeners receive."""

from __future__ import annotations

import logging
from typing import Any, List

import pytest

from claude_force_nb.calls.events import Event, EventEmitter
from claude_force_nb.messages.request import ClaudeRequest

REQUEST = ClaudeRequest({"model": "claude-haiku-4-5", "max_tokens": 10, "messages": [{"role": "user", "content": "p"}]})


def test_an_event_has_what_it_was_made_of() -> None:
    """Each listener is told the same, the first one first; whoever unsubscribed is told nothing more."""
    told: List[Any] = []
    emitter = EventEmitter(lambda: 7.5, lambda event: told.append(("first", event)))
    emitter.emit("queued", REQUEST)
    assert [(name, event.kind) for name, event in told] == [("first", "queued")]
    told.clear()
    remove = emitter.add(lambda event: told.append(("second", event)))
    error = ValueError("no")
    emitter.emit("retry", REQUEST, attempt=2, delay=1.5, error=error)
    event = Event("retry", REQUEST.fingerprint, REQUEST.model, 7.5, 2, 1.5, error, None)
    assert told == [("first", event), ("second", event)]
    remove()
    remove()
    emitter.emit("done", REQUEST)
    assert [name for name, _ in told] == ["first", "second", "first"]
    emitter.listener = None
    assert emitter.listeners == ()
    emitter.emit("done", REQUEST)
    assert len(told) == 3


def test_a_failing_listener_stops_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """The other listeners still receive the event, and the log has the error."""
    told: List[Event] = []

    def fail(event: Event) -> None:
        raise ValueError("of the listener")

    emitter = EventEmitter(lambda: 0.0, fail)
    emitter.add(told.append)
    with caplog.at_level(logging.ERROR):
        emitter.emit("queued", REQUEST)
    assert [event.kind for event in told] == ["queued"]
    assert "of the listener" in caplog.text
