"""The rows of a run that wait for message batches, by request."""

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

# Gives the result of a row that another row's answer answers: records it as a hit.
ShareAnswer = Callable[[RequestInfo, ClaudeResult], ClaudeResult]
# Completes a result for its row: with a schema, adds the parsed object or marks the row as failed.
CheckAnswer = Callable[[ClaudeResult], ClaudeResult]

# Statuses of a create that name a mistake in the requests.
_REFUSED = (400, 404, 413)


@dataclass(frozen=True)
class RowAnswers:
    """Turns results into those of rows; see `ShareAnswer` and `CheckAnswer`."""

    share: ShareAnswer
    check: CheckAnswer


@dataclass(frozen=True)
class _SentRequest:
    """What is kept of a request while its message batch is under way."""

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
        # Model and agent of each; few pairs for many requests.
        self._names: Dict[bytes, Tuple[str, Optional[str]]] = {}
        self._pairs: Dict[Tuple[str, Optional[str]], Tuple[str, Optional[str]]] = {}

    def __bool__(self) -> bool:
        return bool(self._by_fingerprint)

    def check(self, result: ClaudeResult) -> ClaudeResult:
        """Return a row's result; see `CheckAnswer`."""
        return self._answers.check(result)

    def join(self, fingerprint: bytes, row: int) -> bool:
        """Make a row wait for a request that another row waits for; False if none does."""
        rows = self._by_fingerprint.get(fingerprint)
        if rows is None:
            return False
        rows.append(row)
        return True

    def add(self, fingerprint: bytes, row: int, request: ClaudeRequest) -> None:
        """Make a row wait for a request."""
        self._by_fingerprint[fingerprint] = [row]
        names = (request.model, request.agent)
        self._names[fingerprint] = self._pairs.setdefault(names, names)
        self._emitter.emit("queued", request)

    def deliver(self, fingerprint: bytes, result: ClaudeResult, paid: bool) -> None:
        """End the rows of a request: the first gets the answer, if it is paid for here, the others share it."""
        waiting = self._by_fingerprint.pop(fingerprint, None)
        if waiting is None:
            return
        model, agent = self._names.pop(fingerprint)
        # A job of several agents is listed under its first.
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
        """End the rows of these requests, of all by default, with an error."""
        refused = isinstance(error, ApiError) and error.status in _REFUSED
        self._end(error, "failed" if refused else "not_sent", fingerprints)

    def lose(self, error: BaseException, fingerprints: Iterable[bytes]) -> None:
        """End the rows of requests that are at the API, or may be, with the error that keeps their answers from being had: nobody knows what they cost."""
        self._end(error, "failed", fingerprints, may_be_billed=True)

    def stop(self, error: BaseException, fingerprints: Iterable[bytes]) -> None:
        """End the rows of requests that are at the API, and may be answered and billed there, since their run has ended."""
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
