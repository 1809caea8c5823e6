"""How quickly and how reliably calls were answered, as the ledger knows it."""

from __future__ import annotations

import asyncio
import math
import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path
from typing import List

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.examples import examples
from support.ledgers import NOW, answer, clock, hit, ledger

from claude_force_nb.costs.ledger import Ledger
from claude_force_nb.costs.ledger_file import _APPLICATION_ID, _EARLIER
from claude_force_nb.costs.report import cost_report
from claude_force_nb.errors import ApiError, ClaudeForceError
from claude_force_nb.orchestrator import AsyncAgentOrchestrator
from claude_force_nb.simulator import Simulator

__all__ = ["clock", "ledger"]


@given(st.lists(st.floats(0.001, 1000), min_size=1, max_size=60))
@settings(max_examples=examples(30), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_percentiles_are_those_of_the_nearest_rank(tmp_path: Path, seconds: List[float]) -> None:
    """Whatever the durations: the one at the place that the share of all of them names, cached ones and failures left out."""
    made = Ledger(Path(tempfile.mkdtemp(dir=str(tmp_path))) / "ledger.db")
    made.append_many([answer(duration_seconds=each) for each in seconds])
    made.append_many([hit(duration_seconds=5000.0), answer(duration_seconds=5000.0, status="failed")])
    speed = made.speeds("agent")["reviewer"]
    made.close()
    ordered = sorted(seconds)
    assert speed.median_seconds == ordered[math.ceil(0.5 * len(ordered)) - 1]
    assert speed.p95_seconds == ordered[math.ceil(0.95 * len(ordered)) - 1]
    assert (speed.calls, speed.failures) == (len(seconds) + 1, 1)


def test_the_report_by_agent_says_how_agents_do(ledger: Ledger) -> None:
    """Median, 95 of 100, tokens a second and the share that failed; what is not known is left empty."""
    ledger.append_many([answer(duration_seconds=2.0, call_seconds=1.0)] * 3)
    ledger.append(answer("0", status="failed", duration_seconds=9.0, usage=answer().usage.__class__()))
    ledger.append(answer(agent="tester"))
    shown = cost_report(ledger, "agent", "", now=NOW)
    rows = {row[0]: dict(zip(shown.header, row)) for row in map(shown.cells, shown.lines)}
    reviewer = rows["reviewer"]
    assert (reviewer["median time"], reviewer["95 % within"]) == ("2.0 s", "2.0 s")
    assert (reviewer["tokens/s"], reviewer["failed"], reviewer["calls"]) == ("230", "25.0 %", "4")
    assert (rows["tester"]["median time"], rows["tester"]["failed"]) == ("", "0.0 %")
    assert rows["total"]["failed"] == "20.0 %"
    assert "median time" not in cost_report(ledger, "model", "", now=NOW).header
    frame = ledger.to_frame()
    assert frame["duration_seconds"].tolist()[0] == 2.0
    assert frame["call_seconds"].isna().tolist() == [False] * 3 + [True] * 2
    assert frame["status"].tolist() == ["ok"] * 3 + ["failed", "ok"]


def test_a_failure_is_in_the_ledger(ledger: Ledger) -> None:
    """With its attempts and its duration; it cost nothing unless nobody can tell, and what never left is not there."""

    async def ask(simulator: Simulator) -> None:
        async with AsyncAgentOrchestrator(
            api_key="k", base_url=simulator.url, enable_cache=False, ledger=ledger, max_retries=1
        ) as orchestrator:
            simulator.fail("invalid_request", times=1)
            with pytest.raises(ApiError):
                await orchestrator.run("refused", model="haiku")
            simulator.fail("overloaded", times=2)
            with pytest.raises(ApiError):
                await orchestrator.run("overloaded", model="haiku")
            await orchestrator.run("answered", model="haiku")
            with pytest.raises(ClaudeForceError):
                await orchestrator.run("too dear", model="haiku", budget="0.0000001")

    with Simulator() as simulator:
        asyncio.run(ask(simulator))
    found = [(entry.status, entry.attempts, entry.cost, bool(entry.duration_seconds)) for entry in ledger.entries()]
    assert [each[:2] for each in found] == [("failed", 1), ("failed", 2), ("ok", 1)]
    assert all(each[3] for each in found)
    assert found[0][2] == 0
    speed = ledger.speeds()["total"]
    assert (speed.calls, speed.failures) == (3, 2)
    assert speed.tokens_per_second
    assert ledger.total().calls == 3


@pytest.mark.parametrize("version", sorted(_EARLIER))
def test_a_ledger_of_an_earlier_version_is_taken_over(tmp_path: Path, version: int) -> None:
    """Every answer is still there, and new ones join them; the file is one of today afterwards."""
    path = tmp_path / "ledger.db"
    _old_ledger(path, version)
    made = Ledger(path)
    before = made.total()
    assert (before.calls, str(before.cost), before.output_tokens) == (3, "0.75", 30)
    assert made.speeds("agent")["old"].median_seconds is None
    made.append(answer(duration_seconds=1.0))
    made.close()
    again = Ledger(path)
    assert [entry.agent for entry in again.entries()] == ["old", "old", "old", "reviewer"]
    again.close()
    with closing(sqlite3.connect(str(path))) as connection:
        assert connection.execute("SELECT amount FROM reservations").fetchall() == [(7,)]
        assert not connection.execute("SELECT name FROM sqlite_master WHERE name LIKE '%earlier%'").fetchall()
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def test_an_earlier_ledger_that_somebody_changed_is_left_alone(tmp_path: Path) -> None:
    """A trigger in it would run during the move: it is refused as it is, byte for byte in what it holds."""
    path = tmp_path / "ledger.db"
    _old_ledger(path, 2)
    with closing(sqlite3.connect(str(path), isolation_level=None)) as connection:
        connection.execute("CREATE TRIGGER t AFTER DELETE ON entries BEGIN INSERT INTO days VALUES ('x', 1); END")
    with pytest.raises(ClaudeForceError, match="changed by another program"):
        Ledger(path).total()
    with closing(sqlite3.connect(str(path))) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (2,)
        assert connection.execute("SELECT COUNT(*) FROM entries").fetchone() == (3,)


def _old_ledger(path: Path, version: int) -> None:
    with closing(sqlite3.connect(str(path), isolation_level=None)) as connection:
        connection.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
        connection.executescript(_EARLIER[version])
        connection.execute(f"PRAGMA user_version = {version}")
        for _ in range(3):
            connection.execute(
                "INSERT INTO entries (time, agent, model, input_tokens, output_tokens, cache_write_5m_tokens,"
                " cache_write_1h_tokens, cache_read_tokens, web_searches, service_tier, speed, cost, cached, fingerprint,"
                " status, attempts) VALUES (1793534400.0, 'old', 'm', 5, 10, 0, 0, 0, 0, '', '', '0.25', 0, 'f', 'ok', 1)"
            )
        connection.execute("INSERT INTO reservations (day, amount) VALUES ('2026-11-01', 7)")
