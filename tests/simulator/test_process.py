"""The simulator in a process of its own, and its command line."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import closing
from typing import Any, List, Tuple

import pytest

from claude_force_nb.simulator import SimulatorProcess

HEADERS = {"x-api-key": "test-key", "anthropic-version": "2023-06-01"}
COMMAND = [sys.executable, "-m", "claude_force_nb.simulator"]


def send(url: str, prompt: str = "hello") -> Tuple[int, Any]:
    with closing(http.client.HTTPConnection("127.0.0.1", int(url.rpartition(":")[2]), timeout=20)) as connection:
        messages = [{"role": "user", "content": prompt}]
        sent = json.dumps({"model": "claude-haiku-4-5", "max_tokens": 1000, "messages": messages})
        connection.request("POST", "/v1/messages", sent, HEADERS)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())


def test_it_is_scripted_and_read_from_here() -> None:
    """Options, faults, counters, log, heal and reset reach the other process; it ends with the context."""
    with SimulatorProcess(answer_bytes=64, accept_any_model=True) as simulator:
        assert simulator.pid != os.getpid()
        simulator.fail(["overloaded", None])
        simulator.fail(500, contains="never mind")
        first, second = send(simulator.url), send(simulator.url)
        assert (first[0], second[0]) == (529, 200)
        assert len(second[1]["content"][0]["text"]) == 64
        counters = simulator.counters
        assert (counters.calls, counters.completed, counters.by_status) == (2, 1, {529: 1, 200: 1})
        assert counters.dollars > 0
        assert [request.path for request in simulator.requests] == ["/v1/messages"] * 2
        assert simulator.requests[0].headers["x-api-key"] == "(masked)"
        simulator.heal()
        assert send(simulator.url, "never mind")[0] == 200
        simulator.reset()
        assert simulator.counters.calls == 0
        with pytest.raises(ValueError, match="unknown fault"):
            simulator.fail("nonsense")
        url = simulator.url
    with pytest.raises(OSError, match=r"refused|10061"):
        send(url)


def test_a_process_that_cannot_start_says_why() -> None:
    """The port is taken: the error has the reason, and no process stays."""
    with SimulatorProcess() as simulator:
        with pytest.raises(RuntimeError, match=r"in use|10048"):
            SimulatorProcess(port=int(simulator.url.rpartition(":")[2])).start()
        with pytest.raises(RuntimeError, match="is already running"):
            simulator.start()


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_command_line_prints_what_to_copy_and_ends_on_a_signal() -> None:
    """Two export lines; a call works; Ctrl-C ends it with status 0 and the counters in one line."""
    options = ["--port", "0", "--latency", "0.01", "--rpm", "1000", "--itpm", "100000", "--otpm", "100000"]
    with subprocess.Popen(COMMAND + options, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        url = process.stdout.readline().rstrip("\n").replace("export ANTHROPIC_BASE_URL=", "")
        assert process.stdout.readline() == "export ANTHROPIC_API_KEY=simulated\n"
        assert url.startswith("http://127.0.0.1:")
        assert send(url)[0] == 200
        process.send_signal(signal.SIGINT)
        rest, errors = process.communicate(timeout=20)
    assert rest.startswith("1 call (1 200), 1 answer, ")
    assert rest.count("\n") == 1
    assert (process.returncode, errors) == (0, "")


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_a_child_outlives_ctrl_c_but_not_its_parent() -> None:
    """A notebook's Stop reaches the whole process group; only the end of standard input ends a child."""
    simulator = SimulatorProcess()
    with simulator:
        os.kill(simulator.pid, signal.SIGINT)
        assert send(simulator.url)[0] == 200
        process = simulator._process
    assert process is not None
    assert process.returncode == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--host", "0.0.0.0"], "loopback"),
        (["--latency", "-1"], "latency_seconds"),
        (["--rpm", "0"], "requests_per_minute"),
    ],
)
def test_wrong_options_are_one_line(options: List[str], message: str) -> None:
    """No traceback: one line on standard error, status 2."""
    done = subprocess.run(COMMAND + options, capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == 2
    assert done.stdout == ""
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_a_killed_parent_takes_its_simulator_along() -> None:
    """kill -9 of the process that started it ends the simulator as well."""
    code = (
        "import sys, time\n"
        "from claude_force_nb.simulator import SimulatorProcess\n"
        "simulator = SimulatorProcess().start()\n"
        "print(simulator.url, flush=True)\n"
        "time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        url = parent.stdout.readline().strip()
        assert send(url)[0] == 200
        parent.kill()
    refused = False
    for _ in range(500):
        try:
            send(url)
        except OSError:
            refused = True
            break
        time.sleep(0.02)
    assert refused


def test_importing_it_costs_no_aiohttp() -> None:
    """The command line is made without the server's own imports, and help needs none."""
    code = (
        "import argparse, sys\n"
        "import claude_force_nb.simulator\n"
        "from claude_force_nb.simulator.cli import add_arguments\n"
        "add_arguments(argparse.ArgumentParser())\n"
        "sys.exit('aiohttp' in sys.modules)\n"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=20, check=False).returncode == 0
