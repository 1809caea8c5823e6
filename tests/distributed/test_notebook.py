"""%%claude_batch of a Dask frame in a real kernel: progress, the end line, the result, Stop, and what is imported."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from support.live_kernel import LiveKernel, kernel_environment, only_answer

from claude_force_nb.simulator import Simulator

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

SETUP = """
import pandas, dask.dataframe
from distributed import Client, LocalCluster
cluster = LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0")
client = Client(cluster)
rows = pandas.DataFrame({'text': [f'review {number % 36}' for number in range(40)], 'stars': range(40)})
ddf = dask.dataframe.from_pandas(rows, npartitions=4)
"""


def test_a_frame_in_a_notebook(server: Simulator, tmp_path: Path) -> None:
    """Shown and kept as any batch; a rerun is free; Stop ends it at once on all workers, and a rerun pays for the rest."""
    pytest.importorskip("distributed", reason="the extra [dask] is not installed")
    with LiveKernel(kernel_environment(server.url, tmp_path), str(tmp_path)) as kernel:
        kernel.run("%load_ext claude_force_nb")
        kernel.run("%claude hello")
        loaded = kernel.value(
            "[name for name in __import__('sys').modules if name.partition('.')[0] in ('dask', 'distributed')]"
        )
        assert loaded == "[]"
        assert kernel.run(SETUP).status == "ok"
        before = server.counters.calls
        cell = kernel.run("%%claude_batch ddf model=haiku into=labels max_concurrent=6\nRate {{ text }}")
        line = only_answer(cell)["text/plain"].splitlines()[-1]
        assert "Dask worker" in line
        assert "· 40 rows · 36 ok · 4 cached · $" in line
        assert any(" of 40 · " in shown for shown in cell.history)
        assert server.counters.calls - before == 36
        assert server.counters.most_in_flight <= 6
        assert kernel.value("type(labels).__name__") == "BatchResult"
        assert kernel.value("list(labels.to_frame()['stars']) == list(range(40))") == "True"
        assert kernel.value("labels.cost > 0") == "True"
        again = kernel.run("%%claude_batch ddf model=haiku\nRate {{ text }}")
        assert "40 rows · 40 cached · $0" in only_answer(again)["text/plain"]
        wrong = kernel.run("%%claude_batch ddf model=haiku\nRate {{ txt }}")
        assert "did you mean 'text'" in wrong.traceback[0]

        before = server.counters.calls
        message = kernel.send("%%claude_batch ddf model=haiku into=part max_concurrent=2\nJudge {{ text }}")
        while server.counters.calls < before + 8:
            time.sleep(0.01)
        kernel.interrupt()
        stopped = kernel.wait(message)
        assert stopped.traceback[0].startswith("Interrupted: ")
        assert "run again to continue" in stopped.traceback[0]
        assert int(kernel.value("len(part)")) == 40
        assert kernel.value("len(part.failed), len(part.stopped) <= 2") == "0 True"
        assert int(kernel.value("part.counts.complete")) >= 4
        finished = kernel.run("%%claude_batch ddf model=haiku into=whole max_concurrent=6\nJudge {{ text }}")
        assert "Dask worker" in only_answer(finished)["text/plain"]
        assert kernel.value("whole.counts.complete") == "40"
        # The 36 distinct ones, and what was in flight at the Stop.
        assert server.counters.calls - before <= 36 + 2
        kernel.run("client.close(); cluster.close()")
