"""Writes the answers of one part to cache, ledger and job store, each exactly once even if a worker is killed in between."""

from __future__ import annotations

from decimal import Decimal
from typing import Callable, Dict, List, Optional, Set, Tuple

from claude_force_nb.cache import ResponseCache
from claude_force_nb.costs.ledger import Ledger
from claude_force_nb.messages.result import ClaudeResult
from claude_force_nb.messages.usage import sum_dollars

from .records import Job, Part
from .result_line import ResultLine, missing_result
from .store import JobStore

__all__ = ["Deliver", "PartAccounting"]

# Called with fingerprint, result, and whether this process accounts for its cost.
Deliver = Callable[[bytes, ClaudeResult, bool], None]

# Answers per transaction; other work runs between two transactions.
_FLUSH_ROWS = 200


class PartAccounting:
    """Accepts the results of one part one by one, and records them in groups before delivering them.

    Parameters
    ----------
    part : Part
    job : Job
        The job that the part belongs to.
    store : JobStore
    ledger : Ledger, optional
    cache : ResponseCache, optional
        Where answers are kept.
    deliver : callable
        Called with each result once it is on disk.

    Attributes
    ----------
    left : dict of bytes to bool
        Requests without a result yet, and whether a killed worker accounted for it.
    """

    def __init__(
        self,
        part: Part,
        job: Job,
        *,
        store: JobStore,
        ledger: Optional[Ledger],
        cache: Optional[ResponseCache],
        deliver: Deliver,
    ) -> None:
        self._part = part
        self._job = job
        self._store = store
        self._ledger = ledger
        self._cache = cache
        self._deliver = deliver
        self._answers: List[Tuple[bytes, ClaudeResult]] = []
        self._succeeded = self._failed = self._unanswered = 0
        self.left: Dict[bytes, bool] = store.requests(part.number)
        self._recorded = self._recorded_before() if part.state == "collecting" else set()
        if part.state == "sent":
            store.mark_collecting(part.number)

    def take(self, line: ResultLine, result: ClaudeResult) -> None:
        """Accept the result of one request in `left`."""
        accounted = self.left.pop(line.fingerprint)
        if not line.is_billed:
            if result.status == "failed":
                self._failed += 1
            else:
                self._unanswered += 1
            self._deliver(line.fingerprint, result, False)
            return
        if not result.answered:  # billed, but unreadable
            self._failed += 1
        else:
            self._succeeded += 1
        if accounted:
            self._deliver(line.fingerprint, result, False)
            return
        self._answers.append((line.fingerprint, result))
        if len(self._answers) >= _FLUSH_ROWS:
            self._flush()

    def finish(self) -> Optional[Decimal]:
        """Record the rest, fail missing requests, and return the cost of the part in US dollars; None if unknown."""
        self._flush()
        if not all(self.left.values()):
            self._store.mark_accounted(self._part.number, [], None)
        for fingerprint in self.left:
            self._failed += 1
            self._deliver(fingerprint, missing_result(fingerprint, agent=self._job.agent, model=self._job.model), False)
        self._store.mark_collected(
            self._part.number, succeeded=self._succeeded, failed=self._failed, unanswered=self._unanswered
        )
        part = self._store.part(self._part.number)
        return None if part is None else part.cost

    def _flush(self) -> None:
        if not self._answers:
            return
        answers, self._answers = self._answers, []
        readable = [(fingerprint, result) for fingerprint, result in answers if result.answered]
        if self._cache is not None:
            self._cache.put_many((fingerprint.hex(), result) for fingerprint, result in readable)
        fresh = [result for _, result in readable if (result.fingerprint, result.request_id) not in self._recorded]
        if self._ledger is not None and fresh:
            self._ledger.append_many(fresh, notebook=self._job.notebook, cell=self._job.cell)
        total = sum_dollars(result.cost for _, result in answers)
        self._store.mark_accounted(self._part.number, [fingerprint for fingerprint, _ in answers], total)
        for fingerprint, result in answers:
            self._deliver(fingerprint, result, result.answered)

    def _recorded_before(self) -> Set[Tuple[str, Optional[str]]]:
        """Return the answers that a killed worker recorded in the ledger, but no longer in the store."""
        if self._ledger is None:
            return set()
        return {
            (entry.fingerprint, entry.request_id)
            for entry in self._ledger.entries(since=self._part.changed - 1.0)
            if not entry.cached and entry.service_tier == "batch"
        }
