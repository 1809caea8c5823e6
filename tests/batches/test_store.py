"""The file of jobs."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from support.batches import JOB, OTHER, OWNER

from claude_force_nb.batches.store import JobStore
from claude_force_nb.errors import (
    JobError,
)


def test_the_file_is_private_and_holds_no_words(tmp_path: Path) -> None:
    """Mode 0600, and after a part is over not even its fingerprints."""
    store = JobStore(tmp_path / "data" / "jobs.db")
    prints = [bytes([number]) * 32 for number in range(3)]
    part, elsewhere = store.plan(JOB, prints, OWNER, None)
    assert part is not None
    assert elsewhere == {}
    assert store.plan(JOB, prints, OTHER, None) == (None, dict.fromkeys(prints, part.number))
    assert stat.S_IMODE((tmp_path / "data" / "jobs.db").stat().st_mode) == 0o600
    assert store.claim(part.number, OTHER)  # nobody called OWNER lives
    store.drop(part.number)
    assert store.requests(part.number) == {}
    again, _ = store.plan(JOB, prints, OWNER, None)
    assert again is not None
    store.forget(JOB.id)
    assert store.jobs() == []
    store.close()


def test_a_file_that_cannot_be_used_is_said_in_one_line(tmp_path: Path) -> None:
    """Nothing is sent without the state on disk."""
    (tmp_path / "jobs.db").write_text("no database " * 100, encoding="utf-8")
    store = JobStore(tmp_path / "jobs.db")
    with pytest.raises(JobError, match="cannot be kept") as caught:
        store.plan(JOB, [b"x" * 32], OWNER, None)
    assert "\n" not in str(caught.value)
    store.close()
