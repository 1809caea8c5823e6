"""The pages on clusters do what they say."""

from __future__ import annotations

import ast
import asyncio
import re
from dataclasses import replace
from pathlib import Path
from typing import Any, Dict, List

import pytest

from claude_force_nb.costs.pricing import load_prices
from claude_force_nb.messages.usage import Usage
from claude_force_nb.simulator import Simulator

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGE = DOCS / "how-to" / "dask.md"
FIGURES = DOCS / "explanation" / "clusters.md"


def run(code: str, names: Dict[str, Any]) -> None:
    """Run code that may await at its top level, as a notebook does."""
    compiled = compile(code, str(PAGE), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    awaited = eval(compiled, names)
    if awaited is not None:
        asyncio.run(awaited)


def test_the_table_says_what_its_formula_gives() -> None:
    """Rows a second, hours and dollars, from calls in flight, the limits of each tier, and the shipped prices."""
    rows, tokens_in, tokens_out, seconds = 1_000_000, 500, 100, 3
    # Requests, input tokens and output tokens a minute of Haiku 4.5, as the API documents them.
    tiers = {
        "Start": (1_000, 2_000_000, 400_000),
        "Build": (5_000, 5_000_000, 1_000_000),
        "Scale": (10_000, 10_000_000, 2_000_000),
    }
    usage = Usage(input_tokens=tokens_in, output_tokens=tokens_out)
    price = load_prices().cost("claude-haiku-4-5", usage)
    assert price is not None
    lines = re.findall(
        r"^\| (?:one kernel|4 workers|100 workers, on paper) \| (.*) \|$", FIGURES.read_text("utf-8"), re.M
    )
    assert len(lines) == 3
    for line in lines:
        calls, slots, tier, api, hours, dollars = line.split(" | ")
        by_slots = int(calls.replace(",", "")) / seconds
        requests, per_input, per_output = tiers[tier]
        by_api = min(requests, per_input / tokens_in, per_output / tokens_out) / 60
        assert slots == f"{by_slots:,.0f} rows/s"
        assert api == f"{by_api:,.0f} rows/s"
        assert hours == f"{rows / min(by_slots, by_api) / 3600:.1f} h"
        assert dollars == f"${rows * price:,.0f}"
    half = load_prices().cost("claude-haiku-4-5", replace(usage, service_tier="batch"))
    assert half is not None
    assert f"up to 24 h | ${rows * half:,.0f} |" in FIGURES.read_text("utf-8")


@pytest.mark.slow
@pytest.mark.timeout(180)
# Older versions of distributed leave sockets of their loops to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_the_code_of_the_page(
    tmp_path: Path, server: Simulator, monkeypatch: pytest.MonkeyPatch, start_cluster: Any
) -> None:
    """A frame from Parquet files is labelled on the workers of this machine; a function labels the groups of a pandas frame."""
    import pandas

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ANTHROPIC_BASE_URL", server.url)
    monkeypatch.setenv("ANTHROPIC_API_KEY", "simulated")
    reviews = pandas.DataFrame({"shop": ["a", "b", "a"], "text": ["good", "bad", "fair"]})
    (tmp_path / "reviews").mkdir()
    reviews.to_parquet(tmp_path / "reviews" / "part.parquet")
    on_a_cluster, in_pandas = re.findall(
        r"^```python cluster\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.M | re.S
    )
    with start_cluster(1) as (_, client):
        # A cluster with a home of its own, which ends with the test.
        assert "client = Client() " in on_a_cluster
        run(on_a_cluster.replace("client = Client() ", "client = given "), {"given": client})
    written: List[Any] = sorted((tmp_path / "labels").glob("*.parquet"))
    assert list(pandas.read_parquet(written[0])["status"]) == ["ok"] * 3
    names: Dict[str, Any] = {"reviews": reviews}
    calls = server.counters.calls
    run(in_pandas, names)
    assert len(names["labels"]) == 3
    assert set(names["labels"]["status"]) == {"ok"}
    assert server.counters.calls == calls + 3
