"""The rows of a run that are waiting for message batches, by request."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Callable, Dict, Iterable, List, Optional, Tuple

from claude_force_nb.calls.events import EventEmitter, RequestInfo
from claude_force_nb.errors import ApiError
from claude_force_nb.messages.request import ClaudeRequest
from claude_force_nb.messages.result import ClaudeResult
from claude_force_nb.rows.results import unanswered
from claude_force_nb.rows.run import Rows

__all__ = ["CheckAnswer", "RowAnswers", "ShareAnswer", "WaitingRows"]

# Makes a row's result from the answer to another row with the same request, and records it as a hit.
ShareAnswer = Callable[[RequestInfo, ClaudeResult], ClaudeResult]
# Completes a result for its row: with a schema, adds the parsed object or marks the row as failed.
CheckAnswer = Callable[[ClaudeResult], ClaudeResult]

# HTTP statuses of a create request that mean an error in its requests.
_REFUSED = (400, 404, 413)


@dataclass(frozen=True)
class RowAnswers:
    """Turns answers into results of rows; see `ShareAnswer` and `CheckAnswer`."""

    share: ShareAnswer
    check: CheckAnswer


@dataclass(frozen=True)
class _SentRequest:
    """The attributes of a request that are kept while its message batch is in progress."""

    fingerprint: str
    model: str
    agent: Optional[str]


class WaitingRows:
    """Rows without an answer yet.

    Parameters
    ----------
    rows : Rows
    emitter : EventEmitter
    answers : RowAnswers
    """

    def __init__(self, rows: Rows, emitter: EventEmitter, answers: RowAnswers) -> None:
        self._rows = rows
        self._emitter = emitter
        self._answers = answers
        self._started = time.perf_counter()
        self._by_fingerprint: Dict[bytes, List[int]] = {}
        # Model and agent of each request. Equal pairs share one tuple, since there are many requests and few pairs.
        self._names: Dict[bytes, Tuple[str, Optional[str]]] = {}
        self._pairs: Dict[Tuple[str, Optional[str]], Tuple[str, Optional[str]]] = {}

    def __bool__(self) -> bool:
        return bool(self._by_fingerprint)

    def check(self, result: ClaudeResult) -> ClaudeResult:
        """Return a row's result; see `CheckAnswer`."""
        return self._answers.check(result)

    def join(self, fingerprint: bytes, row: int) -> bool:
        """Let a row wait for a request that another row is waiting for; return False if none is."""
        rows = self._by_fingerprint.get(fingerprint)
        if rows is None:
            return False
        rows.append(row)
        return True

    def add(self, fingerprint: bytes, row: int, request: ClaudeRequest) -> None:
        """Let a row wait for a request."""
        self._by_fingerprint[fingerprint] = [row]
        names = (request.model, request.agent)
        self._names[fingerprint] = self._pairs.setdefault(names, names)
        self._emitter.emit("queued", request)

    def deliver(self, fingerprint: bytes, result: ClaudeResult, paid: bool) -> None:
        """End the rows of a request: the first one gets the answer if it is accounted here, the others share it."""
        waiting = self._by_fingerprint.pop(fingerprint, None)
        if waiting is None:
            return
        model, agent = self._names.pop(fingerprint)
        # The store lists a job under its first agent and model, but each row has its own.
        result = result.changed(agent=agent, model=result.model if result.error is None else model)
        request = _SentRequest(result.fingerprint, result.model, agent)
        if not result.answered:
            for row in waiting:
                self._emitter.emit_unanswered(request, result.error, status=result.status)
                self._rows.end(row, result)
            return
        if paid:
            result = result.changed(duration_seconds=time.perf_counter() - self._started)
            self._emitter.emit("done", request, attempt=1, result=result)
            self._rows.end(waiting.pop(0), self._answers.check(result))
        shared = result.shared()
        for row in waiting:
            self._rows.end(row, self._answers.check(self._answers.share(request, shared)))

    def fail(self, error: BaseException, fingerprints: Optional[Iterable[bytes]] = None) -> None:
        """End the rows of these requests, by default of all, with an error."""
        refused = isinstance(error, ApiError) and error.status in _REFUSED
        self._end(error, "failed" if refused else "not_sent", fingerprints)

    def lose(self, error: BaseException, fingerprints: Iterable[bytes]) -> None:
        """End the rows of requests that may be at the API, with an error; their cost is unknown."""
        self._end(error, "failed", fingerprints, may_be_billed=True)

    def stop(self, error: BaseException, fingerprints: Iterable[bytes]) -> None:
        """End the rows of requests that are still at the API, where they may be answered and billed after the run's end."""
        self._end(error, "stopped", fingerprints, may_be_billed=True)

    def _end(
        self,
        error: BaseException,
        status: str,
        fingerprints: Optional[Iterable[bytes]],
        *,
        may_be_billed: bool = False,
    ) -> None:
        for fingerprint in list(self._by_fingerprint) if fingerprints is None else fingerprints:
            waiting = self._by_fingerprint.pop(fingerprint, None)
            if waiting is None:
                continue
            request = _SentRequest(fingerprint.hex(), *self._names.pop(fingerprint))
            for row in waiting:
                self._emitter.emit_unanswered(request, error, status=status)
                result = unanswered(request, error, status)
                self._rows.end(row, result.changed(cost=None) if may_be_billed else result)
