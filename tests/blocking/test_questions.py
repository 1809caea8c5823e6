"""`ask` and `ask_many` where nobody can await: no loop, a running loop, threads, other processes."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import textwrap
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Callable, List

import pytest
from support.live_kernel import kernel_environment

import claude_force_nb
from claude_force_nb import AsyncAgentOrchestrator, ask, ask_many
from claude_force_nb.errors import CallTimeoutError, ClaudeForceError, UnknownModelError
from claude_force_nb.simulator import Simulator

Make = Callable[..., AsyncAgentOrchestrator]


def test_without_a_loop(make: Make) -> None:
    """One answer and many, as the orchestrator gives them."""
    orchestrator = make()
    answer = ask("Name a river.", orchestrator=orchestrator, model="haiku")
    assert answer.status == "ok"
    batch = ask_many(["Name a lake.", "Name a river."], orchestrator=orchestrator, model="haiku")
    assert [result.status for result in batch] == ["ok", "cached"]


def test_in_a_running_loop(make: Make) -> None:
    """The running loop is neither used nor patched; its own calls go on with the same orchestrator."""
    orchestrator = make()

    async def cell() -> List[Any]:
        answers = [ask("Name a bay.", orchestrator=orchestrator, model="haiku")]
        answers.append(await orchestrator.run("Name a cape.", model="haiku"))
        answers.append(ask("Name a cape.", orchestrator=orchestrator, model="haiku"))
        await orchestrator.close()
        return answers

    answers = asyncio.run(cell())
    assert [answer.status for answer in answers] == ["ok", "ok", "cached"]
    assert not hasattr(asyncio, "_nest_patched")


def test_from_many_threads(make: Make) -> None:
    """All share one loop, and equal questions are one call."""
    orchestrator = make()
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: ask("Name a sea.", orchestrator=orchestrator, model="haiku"), range(8)))
    assert sorted({answer.status for answer in answers}) == ["cached", "ok"]
    assert [thread.name for thread in threading.enumerate()].count("claude-force-blocking") == 1


def test_what_is_wrong_is_raised_here(make: Make) -> None:
    """Errors are the same as when awaiting, including time-outs."""
    with pytest.raises(UnknownModelError):
        ask("hi", orchestrator=make(), model="hiku")
    with Simulator(latency_seconds=30) as slow:
        result = ask_many(["hi"], orchestrator=make(base_url=slow.url), model="haiku", timeout_seconds=0.2)
        assert isinstance(result[0].error, CallTimeoutError)


def test_a_callback_cannot_ask(make: Make) -> None:
    """A callback would wait for itself; one line says what to do."""
    orchestrator = make()
    raised: List[BaseException] = []

    def listener(event: Any) -> None:
        if not raised:
            try:
                ask("again", orchestrator=orchestrator)
            except ClaudeForceError as error:
                raised.append(error)

    orchestrator.add_listener(listener)
    assert ask("Name a fjord.", orchestrator=orchestrator, model="haiku").status == "ok"
    assert "inside a callback" in str(raised[0])


SCRIPT = """
import asyncio, os, signal, threading
from claude_force_nb import ask
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in what a shell starts in the background
print(ask("Name a hill.", model="haiku").status)

async def main():
    print(ask("Name a hill.", model="haiku").status)

asyncio.run(main())
if hasattr(os, "fork"):
    child = os.fork()
    if child == 0:
        print(ask("Name a vale.", model="haiku").status, flush=True)
        os._exit(0)
    os.waitpid(child, 0)
threading.Timer(1, lambda: signal.raise_signal(signal.SIGINT)).start()
try:
    ask("Name a dale.", model="haiku", cache="off", agent="explainer", system="hang")
except KeyboardInterrupt:
    print("interrupted")
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="no SIGINT of its own")
def test_a_script(tmp_path: Path) -> None:
    """The default orchestrator: alone, in a loop, in a forked process, interrupted; nothing is left open at the end."""
    with Simulator(latency_seconds=0.1) as simulator:
        simulator.fail([None, None, "hang"])
        process = subprocess.run(
            [sys.executable, "-X", "dev", "-W", "ignore::DeprecationWarning", "-c", textwrap.dedent(SCRIPT)],
            env=kernel_environment(simulator.url, tmp_path),
            capture_output=True,
            encoding="utf-8",
            timeout=100,
        )
    assert process.stdout.split() == ["ok", "cached", "ok", "interrupted"], process.stdout + process.stderr
    assert "Unclosed" not in process.stderr
    assert "never awaited" not in process.stderr


def test_answers_show_themselves(make: Make) -> None:
    """marimo asks for `_mime_`, IPython without the extension for Markdown; nothing in either is live."""
    orchestrator = make()
    for value in (
        ask("<script>alert(1)</script> ![x](http://x/y.png)", orchestrator=orchestrator, model="haiku"),
        ask_many(["<script>alert(1)</script>"], orchestrator=orchestrator, model="haiku"),
    ):
        kind, html = value._mime_()
        assert kind == "text/html"
        assert "imulated answer" in html
        assert "<script>alert" not in html
        markdown = value._repr_markdown_() or ""
        assert "imulated answer" in markdown
        assert "<script>" not in markdown
    assert claude_force_nb.ClaudeResult()._mime_()[0] == "text/html"
