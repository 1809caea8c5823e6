"""The answers of a part, written down in groups, each counted once."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any, Iterator, List, Tuple

import pytest
from support.batch_server import answered
from support.batches import JOB, OWNER

from claude_force_nb.batches.accounting import PartAccounting
from claude_force_nb.batches.result_line import ResultLine, read_line
from claude_force_nb.batches.store import JobStore
from claude_force_nb.costs.ledger import Ledger
from claude_force_nb.messages.result import ClaudeResult


@pytest.fixture
def store(tmp_path: Path) -> Iterator[JobStore]:
    store = JobStore(tmp_path / "jobs.db")
    yield store
    store.close()


def fingerprint(number: int) -> bytes:
    return number.to_bytes(32, "big")


def line_and_result(number: int, **fields: Any) -> Tuple[ResultLine, ClaudeResult]:
    line = read_line(json.dumps(answered(fingerprint(number).hex())).encode())
    assert line is not None
    given = {"cost": Decimal("0.5"), "request_id": f"msg_{number}", **fields}
    return line, ClaudeResult(model="m", fingerprint=line.fingerprint.hex(), **given)


def sent_part(store: JobStore, rows: int) -> Any:
    part, _ = store.plan(JOB, [fingerprint(number) for number in range(rows)], OWNER, None)
    assert part is not None
    store.mark_sent(part.number, "msgbatch_x")
    return store.part(part.number)


def test_answers_are_written_down_by_two_hundred(store: JobStore, tmp_path: Path) -> None:
    """Results are delivered only once they are on disk, and at most one group waits for that."""
    ledger = Ledger(tmp_path / "ledger.db")
    delivered: List[bool] = []
    part = sent_part(store, 201)
    accounting = PartAccounting(
        part, JOB, store=store, ledger=ledger, cache=None, deliver=lambda _, result, paid: delivered.append(paid)
    )
    for number in range(199):
        accounting.take(*line_and_result(number))
    assert (delivered, ledger.total().calls) == ([], 0)
    accounting.take(*line_and_result(199))
    assert (delivered, ledger.total().calls) == ([True] * 200, 200)
    accounting.take(*line_and_result(200))
    assert len(delivered) == 200
    assert accounting.finish() == Decimal("100.5")
    assert (delivered, ledger.total().calls) == ([True] * 201, 201)
    ledger.close()


def test_what_a_killed_worker_had_written_is_not_written_again(store: JobStore, tmp_path: Path) -> None:
    """Neither what the store knows of, nor what only the ledger does; an answer from the cache to the same is another one."""
    ledger = Ledger(tmp_path / "ledger.db")
    part = sent_part(store, 3)
    store.mark_collecting(part.number)
    store.mark_accounted(part.number, [fingerprint(0)], Decimal("0.5"))
    recorded = [line_and_result(number)[1] for number in range(3)]
    batch = recorded[0].usage.__class__(1, 1, service_tier="batch")
    ledger.append_many([result.changed(usage=batch) for result in recorded[:2]])
    # Same fingerprint and id, but not of a batch: what a direct call, or the cache, gave.
    ledger.append(recorded[2])
    ledger.append(recorded[2].changed(cached=True, status="cached", usage=batch))
    delivered: List[Tuple[int, bool]] = []

    def deliver(each: bytes, result: ClaudeResult, paid: bool) -> None:
        delivered.append((int.from_bytes(each, "big"), paid))

    accounting = PartAccounting(
        store.part(part.number),  # type: ignore[arg-type]
        JOB,
        store=store,
        ledger=ledger,
        cache=None,
        deliver=deliver,
    )
    before = ledger.total().calls
    for number in range(3):
        accounting.take(*line_and_result(number))
    assert accounting.finish() == Decimal("1.5")
    assert ledger.total().calls == before + 1
    assert sorted(delivered) == [(0, False), (1, True), (2, True)]
    ledger.close()
