"""The file of jobs."""

from __future__ import annotations

import random
import sqlite3
import stat
from contextlib import closing, suppress
from decimal import Decimal
from pathlib import Path
from typing import Any, Callable, Iterator

import pytest
from support.batches import JOB, OTHER, OWNER

from claude_force_nb.batches.records import Job
from claude_force_nb.batches.store import JobStore
from claude_force_nb.errors import (
    JobError,
)


def test_the_file_is_private_and_contains_no_text(tmp_path: Path) -> None:
    """Mode 0600, and after a part is over not even its fingerprints."""
    store = JobStore(tmp_path / "data" / "jobs.db")
    prints = [bytes([number]) * 32 for number in range(3)]
    part, elsewhere = store.plan(JOB, prints, OWNER, None)
    assert part is not None
    assert elsewhere == {}
    assert store.plan(JOB, prints, OTHER, None) == (None, dict.fromkeys(prints, part.number))
    assert stat.S_IMODE((tmp_path / "data" / "jobs.db").stat().st_mode) == 0o600
    header = (tmp_path / "data" / "jobs.db").read_bytes()[:100]
    assert (header[60:64], header[68:72]) == (b"\0\0\0\0", b"ClJ1")  # the version is still in the log
    with closing(sqlite3.connect(str(tmp_path / "data" / "jobs.db"))) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (1,)
    assert store.claim(part.number, OTHER)  # nobody called OWNER lives
    store.drop(part.number)
    assert store.requests(part.number) == {}
    again, _ = store.plan(JOB, prints, OWNER, None)
    assert again is not None
    store.forget(JOB.id)
    assert store.jobs() == []
    store.close()


def test_an_unusable_file_is_reported_in_one_line(tmp_path: Path) -> None:
    """Nothing is sent if the state cannot be saved."""
    (tmp_path / "jobs.db").write_text("no database " * 100, encoding="utf-8")
    store = JobStore(tmp_path / "jobs.db")
    with pytest.raises(JobError, match="cannot be saved") as caught:
        store.plan(JOB, [b"x" * 32], OWNER, None)
    assert "\n" not in str(caught.value)
    store.close()


def planned(path: Path) -> JobStore:
    store = JobStore(path)
    part, _ = store.plan(JOB, [bytes([number]) * 32 for number in range(3)], OWNER, None)
    assert part is not None
    store.mark_sent(part.number, "msgbatch_1")
    return store


def every_method(store: JobStore) -> Iterator[Callable[[], Any]]:
    """Call every method of a store, one after the other."""
    yield store.jobs
    yield lambda: store.job(JOB.id)
    yield lambda: store.parts(JOB.id)
    yield lambda: store.part(1)
    yield lambda: store.requests(1)
    yield store.batch_ids
    yield lambda: [store.has_live_owner(part) for part in store.parts(JOB.id)]
    yield lambda: store.plan(JOB, [b"\1" * 32], OTHER, None)
    yield lambda: store.claim(1, OTHER)
    yield lambda: store.mark_sending(1, newest_before=None, listed_at=1.0)
    yield lambda: store.mark_collecting(1)
    yield lambda: store.mark_accounted(1, [b"\1" * 32], Decimal(1))
    yield lambda: store.mark_collected(1, succeeded=1, failed=0, unanswered=0)
    yield lambda: store.cancel(JOB.id)
    yield lambda: store.release(OTHER)
    yield lambda: store.finish(1)
    yield lambda: store.forget(JOB.id)


HOSTILE = [
    *[("parts", column, value) for column in ("number", "job", "state", "owner", "batch_id", "requests", "bound", "newest_before",
      "listed_at", "changed", "cancelled", "succeeded", "failed", "unanswered", "cost")
      for value in ("../../victim", "\x1b[31m", b"\xff\xfe", -5, float("inf"))],
    *[("jobs", column, value) for column in ("id", "created", "notebook", "cell", "agent", "model", "base_url", "caches_answers")
      for value in ("../../victim", b"\xff", -1, "x" * 20_000)],
    *[("requests", "fingerprint", value) for value in ("text", b"short", 5, "../../victim")],
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(("table", "column", "value"), HOSTILE)
def test_whatever_somebody_wrote_into_the_file_is_one_line(tmp_path: Path, table: str, column: str, value: Any) -> None:
    """Never an error of Python's or SQLite's, never a file removed, and what is shown moves no cursor."""
    folder = tmp_path / "data" / "deep"
    store = planned(folder / "jobs.db")
    store.close()
    victims = [tmp_path / "victim.lock", tmp_path / "data" / "victim.lock", folder / "victim.lock"]
    for victim in victims:
        victim.write_text("mine", encoding="utf-8")
    with closing(sqlite3.connect(str(folder / "jobs.db"))) as connection:
        try:
            connection.execute(f"UPDATE {table} SET {column} = ?", (value,))
        except (sqlite3.Error, OverflowError, UnicodeError):
            pytest.skip("SQLite itself refuses it")
        connection.commit()
    shown = []
    for call in every_method(store):
        try:
            shown.append(repr(call()))
        except JobError as error:
            shown.append(str(error))
    store.close()
    assert "\x1b" not in "".join(shown)
    assert "\n" not in "".join(shown)
    assert all(victim.read_text(encoding="utf-8") == "mine" for victim in victims)


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TRIGGER t AFTER UPDATE ON parts BEGIN DELETE FROM jobs; END",
        "CREATE VIEW v AS SELECT 1",
        "ALTER TABLE jobs RENAME TO other; CREATE VIEW jobs AS WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n)"
        " SELECT x AS id, x AS created FROM n",
        "DROP TABLE requests",
    ],
)
def test_tables_that_somebody_changed_are_one_line(tmp_path: Path, statement: str) -> None:
    """A trigger is not run, and a query without end not begun."""
    store = planned(tmp_path / "jobs.db")
    store.close()
    with closing(sqlite3.connect(str(tmp_path / "jobs.db"))) as connection:
        connection.executescript(statement)
    for call in every_method(store):
        with pytest.raises(JobError) as caught:
            call()
        assert "\n" not in str(caught.value)
    store.close()


def test_random_bytes_in_the_file_are_one_line(tmp_path: Path) -> None:
    """Random edits anywhere in the file end in one line."""
    store = planned(tmp_path / "jobs.db")
    store.close()
    whole = (tmp_path / "jobs.db").read_bytes()
    chance = random.Random(7)
    for number in range(30):
        path = tmp_path / str(number) / "jobs.db"
        path.parent.mkdir()
        data = bytearray(whole)
        for _ in range(chance.choice((1, 4, 200))):
            data[chance.randrange(len(data))] = chance.randrange(256)
        path.write_bytes(bytes(data))
        store = JobStore(path)
        for call in every_method(store):
            with suppress(JobError):
                call()
        store.close()


def test_a_part_goes_its_way_and_only_forward(tmp_path: Path) -> None:
    """Each change of state is kept, and one out of order changes nothing."""
    now = [1000.0]
    store = JobStore(tmp_path / "jobs.db", clock=lambda: now[0])
    prints = [bytes([number]) * 32 for number in range(3)]
    part, _ = store.plan(JOB, prints, OWNER, dict(zip(prints, map(Decimal, (1, 2, 3)))))
    assert part is not None
    assert (part.state, part.owner, part.requests, part.bound, part.cost) == (
        "planned",
        OWNER,
        3,
        Decimal(6),
        Decimal(0),
    )
    number = part.number
    now[0] = 1001.0
    assert store.mark_sending(number, newest_before="msgbatch_0", listed_at=5.0)
    part = store.part(number)
    assert part is not None
    assert (part.state, part.newest_before, part.listed_at, part.changed) == ("sending", "msgbatch_0", 5.0, 1001.0)
    assert not store.mark_sent(number, "msgbatch_1")
    assert not store.mark_sending(number, newest_before=None, listed_at=6.0)
    store.mark_collected(number, succeeded=9, failed=9, unanswered=9)
    assert store.batch_ids() == ["msgbatch_1"]
    store.mark_collecting(number)
    store.mark_accounted(number, prints[:2], Decimal("0.5"))
    assert store.requests(number) == {prints[0]: True, prints[1]: True, prints[2]: False}
    store.mark_accounted(number, [], Decimal("0.25"))
    store.mark_collected(number, succeeded=1, failed=2, unanswered=3)
    part = store.part(number)
    assert part is not None
    assert (part.state, part.succeeded, part.failed, part.unanswered) == ("collected", 1, 2, 3)
    assert part.cost == Decimal("0.75")
    store.mark_accounted(number, prints[2:], None)
    store.mark_accounted(number, [], Decimal(1))
    part = store.part(number)
    assert part is not None
    assert part.cost is None
    store.finish(number)
    part = store.part(number)
    assert part is not None
    assert (part.state, part.owner, part.is_open) == ("closed", None, False)
    assert not store.claim(number, OTHER)
    store.close()


def test_a_cancelled_part_does_not_leave(tmp_path: Path) -> None:
    """A cancelled part is not sent; if it is cancelled during the create request, it is cancelled at the API."""
    store = JobStore(tmp_path / "jobs.db")
    part, _ = store.plan(JOB, [b"\1" * 32], OWNER, None)
    assert part is not None
    assert part.bound is None
    store.cancel(JOB.id)
    assert not store.mark_sending(part.number, newest_before=None, listed_at=1.0)
    assert store.mark_sent(part.number, "msgbatch_1")
    assert not store.mark_sent(99, "msgbatch_2")
    store.close()


def test_what_the_api_has_forgotten_is_forgotten(tmp_path: Path) -> None:
    """After 29 days without a step, and not before."""
    now = [0.0]
    store = JobStore(tmp_path / "jobs.db", clock=lambda: now[0])
    old = Job("0000aa", 0.0, None, None, None, "m", "u", True)
    store.plan(old, [b"\1" * 32], OWNER, None)
    now[0] = 29 * 86400.0 - 1
    young, _ = store.plan(JOB, [b"\2" * 32], OWNER, None)
    assert young is not None
    store.drop(young.number)
    assert [job.id for job in store.jobs()] == [JOB.id, old.id]
    now[0] += 2
    store.drop(young.number)
    assert [job.id for job in store.jobs()] == [JOB.id]
    assert store.plan(JOB, [b"\1" * 32], OTHER, None)[1] == {}
    store.close()
