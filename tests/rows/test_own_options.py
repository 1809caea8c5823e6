"""Rows with their own agent or model, and arguments that `run_many` refuses in one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Callable, Dict, List, Tuple

import pytest

from claude_force_nb.agents.library import Agent
from claude_force_nb.errors import OptionError, SourceError, UnknownAgentError, UnknownModelError
from claude_force_nb.orchestrator import AsyncAgentOrchestrator
from claude_force_nb.simulator import Simulator

Make = Callable[..., AsyncAgentOrchestrator]

ROWS: List[Dict[str, Any]] = [
    {"text": "one", "who": "reviewer", "with": "haiku"},
    {"text": "two", "who": None, "with": "opus"},
    {"text": "three", "who": "explainer", "with": float("nan")},
]


@pytest.mark.parametrize("template", [None, "Say {{ text }}"])
def test_rows_choose_agent_and_model(run: Any, make: Make, simulator: Simulator, template: Any) -> None:
    """Columns name them; where a row has none, it takes those of all. The one column that is left is the prompt."""
    columns = {"agent_column": "who", "model_column": "with"}
    batch = run(make().run_many(ROWS, template=template, agent="tester", model="sonnet", **columns))
    assert batch.counts["ok"] == 3
    assert [row.agent for row in batch] == ["reviewer", "tester", "explainer"]
    assert [name for row in batch for name in ("haiku", "opus", "sonnet") if name in row.model] == [
        "haiku",
        "opus",
        "sonnet",
    ]
    pandas = pytest.importorskip("pandas")
    again = run(make().run_many(pandas.DataFrame(ROWS), template=template, agent="tester", model="sonnet", **columns))
    assert again.counts["cached"] == 3
    frame = again.to_frame()
    assert list(frame.columns)[:3] == ["text", "who", "with"]


def test_an_unknown_name_is_its_rows_error_before_anything_is_sent(run: Any, make: Make, simulator: Simulator) -> None:
    """Of rows at hand the wrong ones end first, with the nearest name; the others are answered."""
    rows = [{"text": "a"}, {"text": "b", "who": "revewer"}, {"text": "c", "with": "sonet"}, {"text": "d"}]
    rows = [{"who": None, "with": None, **row} for row in rows]
    calls: List[Tuple[int, int]] = []
    batch = run(
        make(max_concurrent=1).run_many(
            rows,
            agent_column="who",
            model_column="with",
            on_result=lambda row, result: calls.append((row, simulator.counters.calls)),
        )
    )
    assert calls[:2] == [(1, 0), (2, 0)]
    assert [row.status for row in batch] == ["ok", "failed", "failed", "ok"]
    assert [type(error) for error in batch.errors.values()] == [UnknownAgentError, UnknownModelError]
    assert "row 1: " in str(batch[1].error)
    assert "reviewer" in str(batch[1].error)
    assert simulator.counters.calls == 2


@pytest.mark.parametrize("make_source", [list, iter], ids=["list", "iterator"])
def test_pairs_of_agent_and_prompt(run: Any, make: Make, simulator: Simulator, make_source: Any) -> None:
    """`run_many([(agent, prompt), …])`: a name, an agent at hand, or None."""
    pairs = [("reviewer", "one"), (Agent("own", "Be brief."), "two"), (None, "three"), ("no-such", "four")]
    batch = run(make().run_many(make_source(pairs)))
    assert [row.agent for row in batch[:3]] == ["reviewer", "own", None]
    assert [row.status for row in batch] == ["ok", "ok", "ok", "failed"]
    assert isinstance(batch[3].error, UnknownAgentError)
    assert simulator.counters.calls == 3


def test_a_file_names_agents_and_models(run: Any, make: Make, tmp_path: Path) -> None:
    """So do the rows of a CSV, whose answers go to a file; an empty cell is none."""
    source = tmp_path / "rows.csv"
    source.write_text("text,who\none,reviewer\ntwo,\nthree,nobody-knows\n", encoding="utf-8")
    into = tmp_path / "out.jsonl"
    summary = run(make().run_stream(source, template="{{ text }}", agent_column="who", into=into))
    assert (summary.counts["ok"], summary.counts["failed"]) == (2, 1)
    assert "nobody-knows" in into.read_text(encoding="utf-8").splitlines()[2]


def test_an_unknown_column_is_one_line(run: Any, make: Make, simulator: Simulator) -> None:
    """It is reported once for all rows, with the nearest name."""
    with pytest.raises(SourceError, match=r"no column 'whom'.*did you mean 'who'"):
        run(make().run_many(ROWS, template="{{ text }}", agent_column="whom"))
    with pytest.raises(SourceError, match="no columns"):
        run(make().run_many(["a", "b"], model_column="with"))
    assert simulator.counters.calls == 0


@pytest.mark.parametrize("into", ["x.csv", "x.CSV", "x", "out.json"])
def test_into_is_a_file_that_can_be_written(run: Any, make: Make, tmp_path: Path, into: str) -> None:
    """Anything but .jsonl and .parquet is refused in one line, and no file appears."""
    with pytest.raises(OptionError, match=r"must end in \.jsonl or \.parquet; nothing was sent"):
        run(make().run_stream(["a"], into=tmp_path / into))
    assert list(tmp_path.iterdir()) == []


def test_a_name_of_a_file_is_not_a_list(run: Any, make: Make) -> None:
    """Text says what it wants: a path for a file's rows, or `run` for one prompt."""
    for name in ("rows.csv", "data/rows.JSONL", "prompts.txt"):
        with pytest.raises(OptionError, match=r"give pathlib\.Path\('" + name):
            run(make().run_many(name))
    with pytest.raises(OptionError, match="for a single one use run"):
        run(make().run_many("Explain monads."))
