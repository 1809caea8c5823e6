"""Everything that is kept for a user is hostile or broken at once: each entry point works, or says one line, and removes nothing of others."""

from __future__ import annotations

import json
import os
import random
import sqlite3
import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any, Callable, Dict, List

import pytest
from support.batches import JOB
from support.cache_tools import answer, fingerprint
from support.environment_walk import __file__ as WALK
from support.ledgers import answer as billed

from claude_force_nb.batches.store import JobStore
from claude_force_nb.cache import ResponseCache
from claude_force_nb.costs.ledger import Ledger
from claude_force_nb.simulator import Simulator
from claude_force_nb.storage.private import make_private_file, make_private_folder

pytestmark = [
    pytest.mark.skipif(os.name != "posix", reason="links, pipes and devices of POSIX"),
    pytest.mark.slow,
    pytest.mark.timeout(300),
]

PRIVATE = "the private words of the user"
FILES = ("data/ledger.db", "data/jobs.db", "cache/cache.db", "config/cache.key", "config/trusted-projects.json")


def fill(home: Path) -> None:
    """Create what an earlier session leaves."""
    make_private_folder(home / "config")
    make_private_file(str(home / "config" / "cache.key"))
    (home / "config" / "cache.key").write_text("ab" * 32 + "\n")
    with ResponseCache(home / "cache", environ={}, config_directory=home / "config") as cache:
        for number in range(5):
            cache.put(fingerprint(number), answer(f"answer {number}"))
    ledger = Ledger(home / "data" / "ledger.db")
    ledger.append_many([billed("0.01") for _ in range(20)], notebook="n.ipynb")
    ledger.close()
    store = JobStore(home / "data" / "jobs.db")
    store.plan(JOB, [b"x" * 32], "a" * 32, {b"x" * 32: Decimal(1)})
    store.mark_sending(1, newest_before="msgbatch_0", listed_at=1.0)
    store.mark_sent(1, "msgbatch_1")
    store.close()
    (home / "config" / "trusted-projects.json").write_text("{}")


def replace(home: Path, put: Callable[[Path], object]) -> None:
    for name in FILES:
        path = home / name
        for leftover in (path, path.with_name(path.name + "-wal"), path.with_name(path.name + "-shm")):
            if leftover.exists():
                leftover.unlink()
        put(path)


def change_rows(home: Path) -> None:
    """Text for numbers, controls of terminals, paths and other addresses, in every column that takes them."""
    hostile = [
        "NaN",
        "-1",
        "\x1b[2J\x1b]0;owned\x07",
        "../../../etc/passwd",
        "=HYPERLINK(1)",
        -5,
        1e300,
        b"\xff\xfe",
        "9" * 5000,
    ]
    for name in ("data/ledger.db", "data/jobs.db", "cache/cache.db"):
        connection = sqlite3.connect(str(home / name), isolation_level=None)
        tables = [row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        for table in tables:
            for number, column in enumerate(row[1] for row in connection.execute(f"PRAGMA table_info({table})")):
                try:
                    connection.execute(f"UPDATE {table} SET {column} = ?", (hostile[number % len(hostile)],))
                except sqlite3.Error:
                    pass
        connection.close()


def add_triggers(home: Path) -> None:
    """Add triggers, views and tables that are not ours."""
    for name in ("data/ledger.db", "data/jobs.db", "cache/cache.db"):
        connection = sqlite3.connect(str(home / name), isolation_level=None)
        for (table,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
            if not table.startswith("sqlite"):
                connection.execute(f"CREATE TRIGGER t_{table} AFTER INSERT ON {table} BEGIN DELETE FROM {table}; END")
        connection.execute("CREATE VIEW more AS SELECT 1")
        connection.close()


def scramble(home: Path) -> None:
    """Change a thousand bytes of each file, except for the marks that identify it as ours."""
    chance = random.Random(20261127)
    for name in FILES:
        content = bytearray((home / name).read_bytes())
        for _ in range(1000):
            if len(content) > 200:
                content[chance.randrange(100, len(content))] = chance.randrange(256)
        (home / name).write_bytes(bytes(content) if len(content) > 200 else b"\xff\x00" * 50)


def foreign(path: Path) -> None:
    connection = sqlite3.connect(str(path))
    connection.execute("CREATE TABLE theirs (x)")
    connection.execute("INSERT INTO theirs VALUES ('their words')")
    connection.commit()
    connection.close()


HOSTILE: Dict[str, Callable[[Path], object]] = {
    "rows": change_rows,
    "triggers": add_triggers,
    "bytes": scramble,
    "folders": lambda home: replace(home, lambda path: (path / "inside").mkdir(parents=True)),
    "pipes": lambda home: replace(home, lambda path: os.mkfifo(str(path))),
    "links": lambda home: replace(home, lambda path: path.symlink_to(home.parent / "private.txt")),
    "devices": lambda home: replace(home, lambda path: path.symlink_to("/dev/zero")),
    "text": lambda home: replace(home, lambda path: path.write_text(PRIVATE)),
    "databases of another program": lambda home: replace(home, foreign),
    "nothing in them": lambda home: replace(home, lambda path: path.touch()),
}
# What is not ours stays as it is.
KEPT = ("folders", "pipes", "links", "devices", "text", "databases of another program")

PROJECT = """
[tool.claude_force_nb]
model = "haiku"
prices = "prices.json"
cache_dir = "/dev/null/x"
base_url = "http://user:word@192.0.2.1"
allow_unknown_price = true
ledger_keep_days = 0
"""


@pytest.mark.parametrize("kind", sorted(HOSTILE))
def test_every_entry_point_in_a_hostile_home(simulator: Simulator, tmp_path: Path, kind: str) -> None:
    """Ledger, jobs, cache, key, trust and project file at once: no step fails with more than a line, and nobody's bytes are lost."""
    home, folder = tmp_path / "home", tmp_path / "repository"
    folder.mkdir()
    (folder / ".git").mkdir()
    (folder / "pyproject.toml").write_text(PROJECT, encoding="utf-8")
    agents = folder / ".claude" / "agents"
    agents.mkdir(parents=True)
    (agents / "bomb.md").write_text("---\na: &a [x, x]\nb: [*a, *a]\n---\nhi", encoding="utf-8")
    (agents / "link.md").symlink_to(tmp_path / "private.txt")
    (tmp_path / "private.txt").write_text(PRIVATE, encoding="utf-8")
    fill(home)
    HOSTILE[kind](home)
    before = {name: content_of(home / name) for name in FILES}
    kept = {name: text for name, text in os.environ.items() if not name.startswith(("CLAUDE_", "ANTHROPIC_"))}
    environment = {
        **kept,
        "ANTHROPIC_BASE_URL": simulator.url,
        "ANTHROPIC_API_KEY": "sk-ant-test-key",
        "CLAUDE_FORCE_HOME": str(home),
    }
    command = [sys.executable, "-X", "faulthandler", WALK, "[]", "python", "commands", "ipython"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=str(folder), env=environment, timeout=280)
    assert done.stdout, done.stderr
    told: List[Dict[str, Any]] = json.loads(done.stdout.splitlines()[-1])
    bare = [each for each in told if each["how"] == "bare" or (each["how"] == "one line" and "\n" in each["text"])]
    assert not bare, bare
    assert "\x1b" not in "".join(each["text"] + "".join(each["warnings"]) for each in told)
    assert PRIVATE not in done.stdout + str([each.body for each in simulator.requests])
    steps = {each["step"]: each for each in told}
    assert steps["run"]["how"] == "works", steps["run"]
    assert steps["%claude model=haiku hi"]["how"] == "works", steps["%claude model=haiku hi"]
    if kind in KEPT:
        assert {name: content_of(home / name) for name in FILES} == before
    assert (tmp_path / "private.txt").read_text(encoding="utf-8") == PRIVATE


def content_of(path: Path) -> Any:
    if path.is_symlink():
        return os.readlink(str(path))
    if path.is_dir():
        return sorted(each.name for each in path.iterdir())
    return path.read_bytes() if path.is_file() else "a pipe"
