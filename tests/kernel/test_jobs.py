"""%%claude_batch via=batches and %claude_jobs in a real kernel: stop, attach, cancel, forget."""

from __future__ import annotations

import re
import time
from decimal import Decimal
from pathlib import Path
from typing import Any, Callable, Iterator

import pytest
from support.live_kernel import LiveKernel, kernel_environment, only_answer

from claude_force_nb.simulator import Simulator

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def server() -> Iterator[Simulator]:
    with Simulator(batch_seconds=2.0) as simulator:
        yield simulator


@pytest.fixture(scope="module")
def kernel(server: Simulator, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveKernel]:
    folder: Path = tmp_path_factory.mktemp("kernel")
    with LiveKernel(kernel_environment(server.url, folder), str(folder)) as running:
        assert running.run("%load_ext claude_force_nb").status == "ok"
        yield running


def wait_until(reached: Callable[[], Any]) -> None:
    until = time.monotonic() + 60
    while not reached():
        assert time.monotonic() < until, "not reached within 60 s"
        time.sleep(0.01)


def polled(server: Simulator) -> bool:
    return any(re.search(r"/batches/msgbatch_\w+$", request.path) for request in server.requests)


def test_a_stopped_cell_leaves_its_batch_running_and_attach_collects_it(kernel: LiveKernel, server: Simulator) -> None:
    """One line names job and batch; %claude_jobs lists it; attached, its answers are in the cache and paid once."""
    server.reset()
    message = kernel.send("%claude_batch ['s%d' % n for n in range(30)] model=haiku via=batches into=labels")
    wait_until(lambda: polled(server))
    kernel.interrupt()
    cell = kernel.wait(message)
    assert len(cell.traceback) == 1
    found = re.fullmatch(
        r"Interrupted: 0 of 30 done; job (\w{6}) \((msgbatch_\w+)\) keeps running at the API: run the cell again or "
        r"%claude_jobs attach \1 to collect it",
        cell.traceback[0],
    )
    assert found, cell.traceback
    job, batch = found.groups()
    listed = only_answer(kernel.run("%claude_jobs"))
    for form in listed.values():
        assert job in form
        assert batch.split("_")[1] in form
    assert "in progress" in listed["text/plain"]
    assert kernel.value("len(labels), 'keeps running at the API' in str(labels.errors[29])") == "30 True"
    attached = kernel.run(f"%claude_jobs attach {job}")
    assert attached.error is None, attached.traceback
    assert f"job {job} · 30 rows · 30 ok" in attached.text
    again = kernel.run("%claude_batch ['s%d' % n for n in range(30)] model=haiku via=batches")
    assert "30 rows · 30 cached" in only_answer(again)["text/plain"]
    assert server.counters.completed == 30
    assert "30 of 30" in only_answer(kernel.run("%claude_jobs list"))["text/plain"]
    for code, line in (
        (f"%claude_jobs attach {job}", f"JobError: job {job} has ended (done); run its cell"),
        (f"%claude_jobs cancel {job}", f"JobError: job {job} has ended already (done)"),
        (f"%claude_jobs forget {job}x", f"UnknownJobError: no batch job '{job}x'; did you mean '"),
        ("%claude_jobs atach x", "OptionError: %claude_jobs takes list, attach, cancel, forget, not 'atach'; did you"),
        ("%claude_jobs attach", "OptionError: %claude_jobs attach takes the id of one job"),
    ):
        wrong = kernel.run(code)
        assert len(wrong.traceback) == 1
        assert wrong.traceback[0].startswith(line), wrong.traceback
    assert "is forgotten" in kernel.run(f"%claude_jobs forget {job}").text
    listed_text = kernel.run("%claude_jobs").text
    assert job not in listed_text
    for other in re.findall(r"^([0-9a-f]{6})  ", listed_text, re.MULTILINE):  # of another test
        kernel.run(f"%claude_jobs forget {other}")
    assert "no batch jobs" in kernel.run("%claude_jobs").text


def test_a_job_in_the_background_is_cancelled_at_the_api(kernel: LiveKernel, server: Simulator) -> None:
    """What was answered by then is paid and collected, in into= as well; the kernel is free meanwhile."""
    server.reset()
    started = kernel.run("job = %claude_batch ['c%d' % n for n in range(40)] model=haiku via=batches --background")
    assert started.error is None, started.traceback
    wait_until(lambda: polled(server))
    assert kernel.value("6 * 7") == "42"
    listed = kernel.run("%claude_jobs").text
    assert "in progress" in listed
    kernel.run("job.cancel()")
    cell = kernel.run("labels = await job\nprint(labels.counts['ok'] + labels.counts['stopped'], job.status)")
    assert "40 cancelled" in cell.text
    assert kernel.value("labels.counts['ok']") == str(server.counters.completed)
    assert kernel.value("labels.counts['stopped'] > 0") == "True"
    assert Decimal(kernel.value("labels.cost")) == server.counters.dollars
