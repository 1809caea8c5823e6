"""A first try without a key and without a second terminal, with a session's own simulator."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path
from typing import Iterator, List, Tuple

import psutil
import pytest
from support.live_kernel import KEY, LiveKernel, kernel_environment, one_line, only_answer

from claude_force_nb.costs.ledger import Ledger


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


@pytest.fixture
def kernel(folder: Path) -> Iterator[LiveKernel]:
    """A kernel without a key, whose address of the API is one where nothing listens."""
    environment = kernel_environment("http://127.0.0.1:9", folder)
    del environment["ANTHROPIC_API_KEY"], environment["ANTHROPIC_BASE_URL"]
    with LiveKernel(environment, str(folder)) as kernel:
        assert kernel.run("%load_ext claude_force_nb").status == "ok"
        yield kernel


def _simulators(kernel: LiveKernel) -> List[psutil.Process]:
    pid = int(kernel.value("__import__('os').getpid()"))
    return [each for each in psutil.Process(pid).children() if "claude_force_nb.simulator" in each.cmdline()]


def _accounted(folder: Path, name: str) -> Tuple[int, int]:
    ledger = Ledger(folder / "data" / name)
    try:
        total = ledger.total()
        return total.calls, total.hits
    finally:
        ledger.close()


@pytest.mark.slow
def test_without_a_key_one_setting_gives_answers(kernel: LiveKernel, folder: Path) -> None:
    """The error names the three ways; after the third the same cell is answered, marked, and accounted apart."""
    line = one_line(kernel.run("%claude model=haiku hello"))
    for way in ("in the environment", "%env ANTHROPIC_API_KEY=…", "%claude_config base_url=simulator"):
        assert way in line
    shown = only_answer(kernel.run("%claude_config base_url=simulator daily_budget=1"))["text/plain"]
    assert re.search(r"^base_url +simulator +%claude_config", shown, re.MULTILINE)
    assert re.search(r"^API key +not needed", shown, re.MULTILINE)
    assert _simulators(kernel) == []
    for _ in range(2):  # the second time from the cache
        receipt = only_answer(kernel.run("%claude model=haiku hello"))["text/plain"].splitlines()[-1]
        assert receipt.endswith(" · simulated")
    assert (
        kernel.run("%claude_batch ['a', 'b'] model=haiku")
        .text.strip()
        .splitlines()[-1]
        .startswith("simulated · 2 rows")
    )
    assert "sent to http://localhost/simulator, " in kernel.run("%claude_batch ['c'] model=haiku --dry-run").text
    cost = only_answer(kernel.run("%claude_cost"))["text/plain"]
    assert "answered by servers on this machine, counted apart from real spending" in cost
    assert _accounted(folder, "ledger.db") == (0, 0)
    assert _accounted(folder, "ledger-local.db") == (3, 1)


@pytest.mark.slow
def test_what_is_simulated_says_so_wherever_it_is_shown(kernel: LiveKernel) -> None:
    """A batch that a later cell shows and both comparisons are marked as well, and so are parts of the batch."""
    kernel.run("%claude_config base_url=simulator model=haiku")
    kernel.run("%claude_batch ['a', 'b'] into=batch")
    for code in ("batch", "batch[:1]", "import pickle; pickle.loads(pickle.dumps(batch))"):
        assert only_answer(kernel.run(code))["text/plain"].splitlines()[-1].startswith("simulated · "), code
    for code in ("%%claude_compare models=haiku,sonnet\nhello", "%claude_compare ['a', 'b'] models=haiku,sonnet"):
        for _ in range(2):  # the second time from the cache
            assert "simulated" in only_answer(kernel.run(code))["text/plain"].splitlines(), code


@pytest.mark.slow
def test_a_first_answer_says_that_a_key_was_made(folder: Path) -> None:
    """Once on a machine, below the answer that is kept and not in red; a cell that fails before it says nothing of it."""
    environment = kernel_environment("http://127.0.0.1:9", folder)
    for name in ("CLAUDE_CACHE_SECRET", "ANTHROPIC_API_KEY", "ANTHROPIC_BASE_URL"):
        del environment[name]
    for told in (1, 0):
        with LiveKernel(environment, str(folder)) as kernel:
            kernel.run("%load_ext claude_force_nb")
            assert "made a random key" not in one_line(kernel.run(f"%claude model=haiku say simulator {told}"))
            kernel.run("%claude_config base_url=simulator")
            cells = [
                kernel.run(f"%claude model=haiku say simulator {told}"),
                kernel.run("%claude model=haiku hello again"),
            ]
            assert not any(cell.stderr for cell in cells)
            assert [cell.text.count("made a random key") for cell in cells] == [told, 0]
            assert "simulator" in cells[0].text  # a word of the answer, and not taken for the key


def _has_ended(process: psutil.Process) -> bool:
    """Return whether a process that was killed has ended, so that its parent knows; it is a zombie before its threads have ended."""
    try:
        return not process.is_running() or (process.status() == psutil.STATUS_ZOMBIE and process.num_threads() <= 1)
    except psutil.NoSuchProcess:
        return True


@pytest.mark.slow
def test_it_lives_as_long_as_the_session(kernel: LiveKernel) -> None:
    """Stop ends the cell and not the simulator; one that dies is started again; unloading ends it."""
    kernel.run("%claude_config base_url=simulator")
    assert kernel.run("%claude model=haiku hello").status == "ok"
    (process,) = _simulators(kernel)
    process.suspend()
    sent = kernel.send("%claude model=haiku something else")
    assert kernel.act_once_shown(sent, "waiting for the answer", kernel.interrupt).status == "error"
    process.resume()
    assert process.is_running()
    process.kill()
    while not _has_ended(process):
        time.sleep(0.01)
    assert kernel.run("%claude model=haiku hello again").status == "ok"
    (process,) = _simulators(kernel)
    kernel.run("%unload_ext claude_force_nb")
    process.wait(20)
    assert not process.is_running()


@pytest.mark.slow
def test_it_ends_with_a_kernel_that_is_killed(folder: Path) -> None:
    """Nothing is left running, and a real key was not sent to it."""
    with LiveKernel(kernel_environment("http://127.0.0.1:9", folder), str(folder)) as kernel:
        kernel.run("%load_ext claude_force_nb")
        kernel.run("%claude_config base_url=simulator")
        assert kernel.run("%claude model=haiku hello").status == "ok"
        (process,) = _simulators(kernel)
        requests = kernel.value(
            "__import__('urllib.request').request.urlopen("
            "get_ipython().magics_manager.registry['ClaudeMagics'].session.simulator.url + '/_simulator/requests').read()"
        )
        assert KEY[-4:] not in requests
        os.kill(int(kernel.value("__import__('os').getpid()")), 9)
        process.wait(20)
        assert not process.is_running()


@pytest.mark.slow
def test_what_is_simulated_uses_up_no_real_budget(kernel: LiveKernel, folder: Path) -> None:
    """A daily budget used up by simulated answers leaves the real one untouched."""
    kernel.run("%claude_config base_url=simulator")
    assert kernel.run("%claude model=opus max_tokens=400 hello").status == "ok"
    kernel.run("%claude_config daily_budget=0.0001")
    assert "daily budget" in one_line(kernel.run("%claude model=opus max_tokens=400 hello once more"))
    assert not (folder / "data" / "ledger.db").exists()
    kernel.run("%claude_config base_url=default daily_budget=1")
    assert "$1.00 of the $1.00 daily budget left" in only_answer(kernel.run("%claude_cost"))["text/plain"]
