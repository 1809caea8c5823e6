"""What lies on disk carries the version of its format: an older package leaves a newer file alone, and says so in one line."""

from __future__ import annotations

import json
import os
import sqlite3
import warnings
from contextlib import closing
from pathlib import Path
from typing import Any, Callable, Coroutine, List

import pytest

from claude_force_nb.answers import AnswerFile
from claude_force_nb.batches.store import JobStore
from claude_force_nb.cache.database import DATABASE_NAME, USER_VERSION
from claude_force_nb.costs.ledger import default_ledger_path
from claude_force_nb.errors import AnswerFileError, ClaudeForceWarning, JobError
from claude_force_nb.orchestrator import AsyncAgentOrchestrator

Make = Callable[..., AsyncAgentOrchestrator]
Run = Callable[[Coroutine[Any, Any, Any]], Any]


def make_newer(path: Path) -> bytes:
    """Turn a database of this package into one of a later version, with a table that this one does not know."""
    with closing(sqlite3.connect(str(path), isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = delete")
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        connection.execute(f"PRAGMA user_version = {version + 1}")
        connection.execute("CREATE TABLE later (x)")
    return contents(path)


def contents(path: Path) -> bytes:
    """Return what a database holds, wherever SQLite has it: the file or its log."""
    with closing(sqlite3.connect(str(path))) as connection:
        rows = "\n".join(connection.iterdump())
        return (rows + str(connection.execute("PRAGMA user_version").fetchone())).encode("utf-8", "surrogateescape")


def ask_and_catch(make: Make, run: Run, **options: Any) -> List[str]:
    """Ask something, and return the warnings."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ClaudeForceWarning)
        orchestrator = make(**options)
        result = run(orchestrator.run("What is new?", model="haiku"))
        orchestrator.close_blocking()
    assert result.text
    assert not result.cached
    return [str(one.message) for one in caught if issubclass(one.category, ClaudeForceWarning)]


def test_a_newer_cache_is_left_alone(make: Make, run: Run, tmp_path: Path) -> None:
    """Answers go on without the cache; it is neither removed nor changed."""
    folder = tmp_path / "cache"
    assert ask_and_catch(make, run, cache_dir=folder) == []
    before = make_newer(folder / DATABASE_NAME)
    (told,) = ask_and_catch(make, run, cache_dir=folder)
    assert "was made by a newer version of claude_force_nb; upgrade the package" in told
    assert "\n" not in told
    assert contents(folder / DATABASE_NAME) == before
    assert [path.name for path in folder.iterdir() if "unusable" in path.name] == []


def test_a_changed_mark_on_our_own_tables_is_not_a_newer_version(make: Make, run: Run, tmp_path: Path) -> None:
    """A byte that changed on the disk does not turn the cache off."""
    folder = tmp_path / "cache"
    ask_and_catch(make, run, cache_dir=folder)
    with closing(sqlite3.connect(str(folder / DATABASE_NAME))) as connection:
        connection.execute(f"PRAGMA user_version = {USER_VERSION + 1}")
    orchestrator = make(cache_dir=folder)
    assert run(orchestrator.run("What is new?", model="haiku")).cached


def test_a_newer_ledger_is_left_alone(make: Make, run: Run) -> None:
    """Answers go on; the sums are those of the process, and a warning says why."""
    assert ask_and_catch(make, run, enable_cache=False) == []
    path = default_ledger_path(os.environ, local=True)
    before = make_newer(path)
    told = ask_and_catch(make, run, enable_cache=False)
    assert len(told) == 1
    assert "made by a newer version of claude_force_nb; upgrade the package" in told[0]
    assert "\n" not in told[0]
    assert contents(path) == before


def test_newer_jobs_are_left_alone(tmp_path: Path) -> None:
    """Reading and writing fail in one line each: a message batch that is paid for must not be forgotten."""
    path = tmp_path / "jobs.db"
    store = JobStore(path)
    store.jobs()
    with store._file.transaction():  # makes it
        pass
    store.close()
    before = make_newer(path)
    with pytest.raises(JobError, match="made by a newer version of claude_force_nb; upgrade the package") as caught:
        JobStore(path).jobs()
    assert "\n" not in str(caught.value)
    assert contents(path) == before


def test_a_newer_answer_file_is_left_alone(make: Make, run: Run, tmp_path: Path) -> None:
    """It is refused as a whole: what its lines mean is not known, and nothing is written."""
    path = tmp_path / "review.answers.jsonl"
    assert ask_and_catch(make, run, answers=AnswerFile(path), answers_mode="record", enable_cache=False) == []
    first, rest = path.read_text(encoding="utf-8").split("\n", 1)
    header = json.loads(first)
    newer = (
        json.dumps({**header, "version": header["version"] + 1}, separators=(",", ":"), sort_keys=True) + "\n" + rest
    )
    path.write_text(newer, encoding="utf-8")
    with pytest.raises(
        AnswerFileError, match="made by a newer version of claude_force_nb; upgrade the package"
    ) as caught:
        run(
            make(answers=AnswerFile(path), answers_mode="record", enable_cache=False).run("What is new?", model="haiku")
        )
    assert "\n" not in str(caught.value)
    assert path.read_text(encoding="utf-8") == newer
