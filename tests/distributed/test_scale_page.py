"""The page on clusters does what it says."""

from __future__ import annotations

import ast
import asyncio
import re
from pathlib import Path
from typing import Any, Dict, List

import pytest

from claude_force_nb.simulator import Simulator

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(180),
    # Older versions of distributed leave sockets of their loops to the garbage collector.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
PAGE = Path(__file__).resolve().parents[2] / "docs" / "how-to" / "dask.md"


def run(code: str, names: Dict[str, Any]) -> None:
    """Run code that may await at its top level, as a notebook does."""
    compiled = compile(code, str(PAGE), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    awaited = eval(compiled, names)
    if awaited is not None:
        asyncio.run(awaited)


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
