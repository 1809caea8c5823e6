"""Stop, and work that continues in the background, in real kernels."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Iterator

import pytest
from support.live_kernel import Cell, LiveKernel, kernel_environment, only_answer

from claude_force_nb.simulator import Simulator

# Far above what a Stop takes, far below what the simulator would take to answer: which of the two ended the cell is
# never in doubt, however slow the machine.
NEVER_SECONDS = 300.0


@pytest.fixture
def hanging() -> Iterator[Simulator]:
    with Simulator(latency_seconds=NEVER_SECONDS) as simulator:
        yield simulator


@pytest.fixture
def kernel(hanging: Simulator, tmp_path: Path) -> Iterator[LiveKernel]:
    with LiveKernel(kernel_environment(hanging.url, tmp_path), str(tmp_path)) as kernel:
        kernel.run("%load_ext claude_force_nb")
        yield kernel


def send_and_wait(kernel: LiveKernel, simulator: Simulator, code: str, *, calls: int = 1) -> str:
    """Start a cell and wait until the simulator has seen its calls: only then is there something to stop."""
    before = simulator.counters.calls
    message_id = kernel.send(code)
    while simulator.counters.calls < before + calls:
        time.sleep(0.01)
    return message_id


def stopped(kernel: LiveKernel, simulator: Simulator, code: str) -> Cell:
    message_id = send_and_wait(kernel, simulator, code)
    kernel.interrupt()
    return kernel.wait(message_id)


@pytest.mark.slow
def test_half_an_answer_is_marked_where_it_ends(kernel: LiveKernel) -> None:
    """What had come when Stop was pressed, or when the connection broke, stays, and says that it is not all."""
    with Simulator(tokens_per_second=12) as slow:
        kernel.run(f"%claude_config base_url={slow.url} max_retries=1")
        kernel.run("%claude model=haiku max_tokens=5 hello")  # imports the SDK
        sent = kernel.send(
            "%%claude model=haiku thinking=off\nTell me at length about the history of the printing press."
        )
        text = only_text(kernel.act_once_shown(sent, "answer from", kernel.interrupt))
        assert text.endswith("\n[the answer broke off here]")
        slow.fail("cut", after_events=12)
        text = only_text(
            kernel.run("%%claude model=haiku thinking=off\nTell me about the history of the printing press.")
        )
        assert text.endswith("\n[the answer broke off here]")


def only_text(cell: Cell) -> str:
    """Return the plain text of the only display of a cell that failed."""
    assert cell.status == "error"
    (output,) = [output for output in cell.outputs if "data" in output]
    return str(output["data"]["text/plain"])


def test_stop_ends_a_waiting_cell_with_one_line(kernel: LiveKernel, hanging: Simulator) -> None:
    """Stop ends the cell with one line, into= holds what there was, the call is cancelled, and the next cell works."""
    # The Stop came while the cell did something else, and is not forgotten.
    early = kernel.run("import os, signal\nos.kill(os.getpid(), signal.SIGINT)\n%claude hello")
    assert early.traceback == ["Interrupted: stopped before any answer arrived; run again to ask again"]
    assert hanging.counters.calls == 0
    cell = stopped(kernel, hanging, "%%claude into=partial\nhello")
    assert cell.traceback == ["Interrupted: stopped before any answer arrived; run again to ask again"]
    assert kernel.value("partial.status, partial.text, type(partial.error).__name__") == "stopped  RunInterrupted"
    assert kernel.value("6 * 7") == "42"
    with Simulator() as quick:
        kernel.run(f"%claude_config base_url={quick.url}")
        only_answer(kernel.run("%%claude\nhello"))
        # What comes behind a magic in the same cell is still ended at once: signals still wake the loop.
        behind = "import signal\nwoken = signal.set_wakeup_fd(-1)\n_ = signal.set_wakeup_fd(woken)\nprint(woken != -1)"
        assert kernel.run(f"%claude hello\n{behind}").stdout == "True\n"
        assert kernel.run(f"_ = %claude something else\n{behind}").stdout == "True\n"


@pytest.mark.slow
def test_stop_works_again_and_again(kernel: LiveKernel, hanging: Simulator) -> None:
    """Stop twice in a row, and in the blocking form, leaves a kernel whose own Stop still works."""
    for code in ("def ask():\n    %claude first\nask()", "%%claude\nsecond", "%%claude\nthird"):
        cell = stopped(kernel, hanging, code)
        assert cell.status == "error"
        assert len(cell.traceback) == 1 or cell.error is not None
    # No error of it appears later, below another cell.
    later = kernel.run("import gc\n_ = gc.collect()")
    assert (later.stdout, later.stderr) == ("", "")
    # Not one long sleep: Python does not hear a signal that comes just before it falls asleep until it wakes.
    message_id = kernel.send("import time\nprint('up', flush=True)\nwhile True: time.sleep(0.01)")
    kernel.wait_for_output(message_id, "up")
    kernel.interrupt()
    assert kernel.wait(message_id).error["ename"] == "KeyboardInterrupt"  # type: ignore[index]


MANY = """
import asyncio
from claude_force_nb import AsyncAgentOrchestrator
orchestrator = AsyncAgentOrchestrator(max_concurrent=500, timeout_seconds={0}, base_url={1!r})
done = []
async def many():
    await orchestrator.run_many(map(str, range(500)), on_result=lambda row, result: done.append(row))
"""


@pytest.mark.slow
def test_stop_ends_five_hundred_calls_that_a_cell_awaits(kernel: LiveKernel) -> None:
    """With the extension loaded Stop ends a plain await too: all calls are cancelled, none is left, and the next cell works."""
    with Simulator() as api:
        kernel.run(MANY.format(NEVER_SECONDS, api.url))
        kernel.run("await orchestrator.run('the first answer lets the others out')")
        api.fail("hang")
        message_id = send_and_wait(kernel, api, "await many()", calls=500)
        kernel.interrupt()
        cell = kernel.wait(message_id)
        assert cell.error is not None
        assert cell.error["ename"] in ("CancelledError", "KeyboardInterrupt")
        while api.counters.in_flight:
            time.sleep(0.01)
        left = "[task for task in asyncio.all_tasks() if 'claude_force_nb' in str(task.get_coro().cr_code.co_filename)]"
        assert kernel.value(left) == "[]"
        assert kernel.run("await orchestrator.close()").status == "ok"


@pytest.mark.slow
def test_stop_ends_the_wait_before_a_retry(kernel: LiveKernel) -> None:
    """Stop ends a cell that waits for the API's retry-after."""
    with Simulator() as limited:
        limited.fail("rate_limit", retry_after_seconds=NEVER_SECONDS / 2)
        kernel.run(f"%claude_config base_url={limited.url} timeout={NEVER_SECONDS}")
        kernel.run(
            "import builtins, logging\n"
            "class Tell(logging.Handler):\n    def emit(self, record): builtins.print('waiting', flush=True)\n"
            "logging.getLogger('claude_force_nb').addHandler(Tell())\n"
            "logging.getLogger('claude_force_nb').setLevel(logging.INFO)"
        )
        message_id = kernel.send("%%claude\nhello")
        kernel.wait_for_output(message_id, "waiting")
        kernel.interrupt()
        assert kernel.wait(message_id).traceback == [
            "Interrupted: stopped before any answer arrived; run again to ask again"
        ]
        limited.heal()
    assert kernel.value("6 * 7") == "42"


@pytest.mark.slow
def test_stop_ends_plain_code_as_ever(kernel: LiveKernel) -> None:
    """Watching for signals changes nothing for code that does not await, and leaves no handler behind."""
    message_id = kernel.send("print('up', flush=True)\nwhile True: pass")
    kernel.wait_for_output(message_id, "up")
    kernel.interrupt()
    cell = kernel.wait(message_id)
    assert cell.error is not None
    assert cell.error["ename"] == "KeyboardInterrupt"
    kernel.run("import signal")
    assert kernel.value("signal.getsignal(signal.SIGINT).__name__") in (
        "default_int_handler",
        "handle_sigint",
        "SIG_IGN",
    )


@pytest.mark.slow
def test_work_continues_behind_other_cells(kernel: LiveKernel) -> None:
    """A task of the kernel's loop that asks Claude goes on while other cells run."""
    with Simulator(latency_seconds=0.5) as slow:
        kernel.run(f"%claude_config base_url={slow.url}")
        kernel.run(
            "import asyncio\nfrom claude_force_nb import AsyncAgentOrchestrator\n"
            f"behind = AsyncAgentOrchestrator(base_url={slow.url!r})\n"
            "task = asyncio.get_running_loop().create_task(behind.run('go on')) if True else await asyncio.sleep(0)"
        )
        assert kernel.value("1 + 1") == "2"
        kernel.run("result = await task\nawait behind.close()")
        assert kernel.value("result.status") == "ok"
