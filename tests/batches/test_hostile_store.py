"""A job store that somebody else has written: every value of every column, triggers, views, and bytes changed at random."""

from __future__ import annotations

import random
import shutil
import sqlite3
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import Any, Callable, ContextManager, Iterator, List

import pytest
from support.batches import JOB, OWNER
from support.changed_bytes import SWEEPS, offsets, with_random_edits

from claude_force_nb.batches.store import JobStore
from claude_force_nb.errors import ClaudeForceError

VALUES: List[Any] = [
    "NaN",
    "../../../../etc/passwd",
    "msgbatch_\r\nX-Header: 1",
    b"\xff\xfe",
    "many",
    "",
    "-1",
    "1e999",
    "/etc/passwd",
    "a" * 32,
    "msgbatch_1/../../other?x=1",
    "\x1b[2J",
    "\ud800".encode("utf-8", "surrogatepass"),
    "x" * 1_000_000,
    -1,
    2**62,
    1e300,
    float("inf"),
    None,
]


@pytest.fixture
def filled(tmp_path: Path) -> Iterator[Callable[[], JobStore]]:
    """Return copies of a store that has a batch sent and not collected."""
    original = tmp_path / "original"
    first = JobStore(original / "jobs.db")
    first.plan(JOB, [b"x" * 32, b"y" * 32], OWNER, {b"x" * 32: Decimal(1), b"y" * 32: Decimal(2)})
    first.mark_sending(1, newest_before="msgbatch_0", listed_at=1.0)
    first.mark_sent(1, "msgbatch_1")
    first.close()
    made: List[JobStore] = []

    def copy() -> JobStore:
        folder = tmp_path / f"copy-{len(made)}"
        folder.mkdir()
        for path in original.glob("jobs.db*"):
            shutil.copy(str(path), str(folder / path.name))
        made.append(JobStore(folder / "jobs.db"))
        return made[-1]

    yield copy
    for store in made:
        store.close()


def opened(store: JobStore) -> ContextManager[sqlite3.Connection]:
    """The file of a store, as somebody else would open it to change it."""
    return closing(sqlite3.connect(str(store.path), isolation_level=None))


def use(store: JobStore) -> None:
    """Do everything with a store; each step works or raises one line of the package's own."""
    said: List[str] = []
    numbers = [1]
    jobs: List[str] = [JOB.id]
    for step in (
        lambda: jobs.extend(job.id for job in store.jobs()),
        lambda: numbers.extend(part.number for job in jobs for part in store.parts(job)),
        lambda: [store.has_live_owner(part) for job in jobs for part in store.parts(job)],
        lambda: [store.requests(number) for number in numbers],
        store.batch_ids,
        lambda: [store.claim(number, "e" * 32) for number in numbers],
        lambda: [store.mark_collecting(number) for number in numbers],
        lambda: [store.mark_accounted(number, [b"x" * 32], None) for number in numbers],
        lambda: [store.cancel(job) for job in jobs],
        lambda: [store.finish(number) for number in numbers],
        lambda: [store.forget(job) for job in jobs],
    ):
        try:
            step()
        except ClaudeForceError as error:
            said.append(str(error))
    assert all(text.isprintable() and len(text) < 1000 for text in said), said


@pytest.mark.parametrize(
    "values", [VALUES[:2], pytest.param(VALUES[2:], marks=pytest.mark.slow)], ids=["some", "others"]
)
def test_any_value_in_any_column_is_one_line(filled: Callable[[], JobStore], tmp_path: Path, values: List[Any]) -> None:
    """Texts for numbers, paths as owners, request paths as ids of batches: nothing is raised, and no file is removed."""
    bystander = tmp_path / "bystander.lock"
    bystander.write_text("not ours")
    columns = {
        "jobs": ("id", "created", "notebook", "cell", "agent", "model", "base_url", "caches_answers"),
        "parts": (
            *("job", "state", "owner", "batch_id", "requests", "bound", "newest_before", "listed_at", "changed"),
            *("cancelled", "succeeded", "failed", "unanswered", "cost"),
        ),
        "requests": ("fingerprint", "accounted"),
    }
    for table, names in columns.items():
        for name in names:
            for value in [*values, str(bystander)[: -len(".lock")]]:
                store = filled()
                with opened(store) as connection:
                    try:
                        connection.execute(f"UPDATE {table} SET {name} = ?", (value,))
                    except sqlite3.IntegrityError:  # null where the table allows none
                        continue
                use(store)
                store.close()
    assert bystander.read_text() == "not ours"


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TRIGGER t AFTER UPDATE ON parts BEGIN DELETE FROM jobs; END",
        "ALTER TABLE jobs RENAME TO other; CREATE VIEW jobs AS SELECT * FROM other",
        "ALTER TABLE jobs RENAME TO other; CREATE VIEW jobs AS WITH RECURSIVE n (x) AS"
        " (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT x AS id FROM n",
        "DROP TABLE parts",
        "ALTER TABLE parts ADD COLUMN more TEXT DEFAULT 'more'",
        "PRAGMA user_version = 99",
        "PRAGMA application_id = 1",
    ],
)
def test_another_schema_is_one_line(filled: Callable[[], JobStore], statement: str) -> None:
    store = filled()
    with opened(store) as connection:
        connection.executescript(statement)
    with pytest.raises(ClaudeForceError):
        store.jobs()
    use(store)


def content_of(store: JobStore) -> bytes:
    with opened(store) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    return store.path.read_bytes()


def use_changed(folder: Path, content: bytes) -> None:
    for leftover in folder.iterdir():
        leftover.unlink()
    store = JobStore(folder / "jobs.db")
    store.path.write_bytes(content)
    use(store)
    store.close()
    assert store.path.exists()


@pytest.mark.parametrize("edits", [40, pytest.param(2000, marks=[pytest.mark.slow, pytest.mark.timeout(600)])])
def test_random_edits_of_the_file(
    filled: Callable[[], JobStore], memory_folder: Path, edits: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bytes changed anywhere, also in runs: an error of the package's or a result, never another exception."""
    monkeypatch.setattr("claude_force_nb.batches.store._BUSY_TIMEOUT_SECONDS", 0.02)
    content = content_of(filled())
    chance = random.Random(20261127)
    for _ in range(edits):
        use_changed(memory_folder, with_random_edits(content, chance))


@pytest.mark.parametrize(("every", "unused"), SWEEPS)
def test_every_byte_of_the_file(
    filled: Callable[[], JobStore], memory_folder: Path, every: int, unused: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Changed one at a time: an error of the package's or a result, and the file is never removed."""
    monkeypatch.setattr("claude_force_nb.batches.store._BUSY_TIMEOUT_SECONDS", 0.02)
    content = content_of(filled())
    for offset in offsets(content, every, unused):
        use_changed(memory_folder, content[:offset] + bytes([content[offset] ^ 0xFF]) + content[offset + 1 :])
