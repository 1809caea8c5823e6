"""A simulator, and clusters of real worker processes."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import Any, Callable, ContextManager, Iterator, Tuple

import pytest

from claude_force_nb.simulator import Simulator

Cluster = Tuple[Any, Any]
SECRET = "0123456789abcdef" * 4


@pytest.fixture(scope="module")
def server() -> Iterator[Simulator]:
    with Simulator(latency_seconds=0.05) as simulator:
        yield simulator


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The client of two worker processes, for all tests of a module that end none of them."""
    pytest.importorskip("distributed", reason="the extra [dask] is not installed")
    from distributed import Client, LocalCluster

    folder = tmp_path_factory.mktemp("cluster")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CLAUDE_FORCE_HOME", str(folder / "home"))
        patch.setenv("CLAUDE_CACHE_SECRET", SECRET)
        patch.delenv("ANTHROPIC_API_KEY", raising=False)
        cluster = LocalCluster(
            n_workers=2, threads_per_worker=2, dashboard_address=":0", local_directory=str(folder / "dask")
        )
    with cluster, Client(cluster) as client:
        yield client


@pytest.fixture
def start_cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], ContextManager[Cluster]]:
    """Start so many worker processes, which have a home of their own; gives cluster and client."""
    pytest.importorskip("distributed", reason="the extra [dask] is not installed")
    import dask
    from distributed import Client, LocalCluster

    # 15 s after a worker was lost, Dask gives up its place unless it is there at that moment, even if it came back and is lost again.
    monkeypatch.setitem(dask.config.config["distributed"]["deploy"], "lost-worker-timeout", "10 minutes")
    monkeypatch.setenv("CLAUDE_FORCE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("CLAUDE_CACHE_SECRET", SECRET)
    monkeypatch.delenv("ANTHROPIC_API_KEY", raising=False)

    @contextmanager
    def start(workers: int) -> Iterator[Cluster]:
        cluster = LocalCluster(
            n_workers=workers, threads_per_worker=2, dashboard_address=":0", local_directory=str(tmp_path / "dask")
        )
        with cluster, Client(cluster) as client:
            yield cluster, client

    return start
