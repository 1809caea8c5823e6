"""The simulator in a process of its own, so that it does not share an interpreter with the client under test."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from dataclasses import fields
from typing import Any, List, Optional, Tuple
from urllib.request import ProxyHandler, Request, build_opener

from .counters import Counters
from .exchange import LoggedRequest
from .faults import FaultRule, Kinds
from .options import SimulatorOptions

__all__ = ["SimulatorProcess"]

_STOP_SECONDS = 10.0
_CALL_SECONDS = 30.0


class SimulatorProcess:
    """Runs ``python -m claude_force_nb.simulator`` and scripts it through its control endpoints.

    Use it as ``with SimulatorProcess() as simulator:`` (or ``async with``). It has the same options, `url`, `counters`,
    `requests`, `fail`, `heal` and `reset` as `Simulator`. The process ends with this one, even if this one is killed.

    Parameters
    ----------
    **options
        The fields of `SimulatorOptions`.
    """

    def __init__(self, **options: Any) -> None:
        self.options = SimulatorOptions(**options)
        self._process: Optional[subprocess.Popen[str]] = None
        self._url: Optional[str] = None
        # Ignore proxies in the environment, which cannot reach this machine's loopback interface.
        self._open = build_opener(ProxyHandler({})).open

    def __repr__(self) -> str:
        return f"SimulatorProcess({self._url or 'not started'})"

    def _command(self) -> List[str]:
        command = [sys.executable, "-m", "claude_force_nb.simulator", "--until-stdin-closes"]
        for field in fields(SimulatorOptions):
            value = getattr(self.options, field.name)
            if value != field.default:
                command.append("--" + field.name.replace("_", "-"))
                if value is not True:
                    command += map(str, value) if isinstance(value, tuple) else [str(value)]
        return command

    def start(self) -> SimulatorProcess:
        """Start the process, and return when it listens. Raises RuntimeError with its last output if it does not start."""
        if self._process is not None:
            raise RuntimeError("the simulator is already running")
        # A file, since a pipe that is not read would block the process once it is full.
        with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as errors:
            process = subprocess.Popen(
                self._command(),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                # In a notebook, Stop interrupts the kernel's whole process group.
                start_new_session=True,
            )
            assert process.stdout is not None
            line = process.stdout.readline()
            if "ANTHROPIC_BASE_URL=" not in line:
                process.communicate()
                errors.seek(0)
                raise RuntimeError("the simulator did not start: " + (errors.read().strip() or line.strip()))
        self._process = process
        self._url = line.partition("=")[2].strip()
        return self

    def stop(self) -> None:
        """End the process. Does nothing if it is not running."""
        process, self._process = self._process, None
        if process is None:
            return
        try:
            process.communicate("", timeout=_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()

    def __enter__(self) -> SimulatorProcess:
        return self.start()

    def __exit__(self, *exc_info: object) -> None:
        self.stop()

    async def __aenter__(self) -> SimulatorProcess:
        return self.start()

    async def __aexit__(self, *exc_info: object) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """Base URL, as in ``ANTHROPIC_BASE_URL``; raises RuntimeError before the first start."""
        if self._url is None:
            raise RuntimeError("the simulator was never started")
        return self._url

    @property
    def running(self) -> bool:
        """True if the process is running."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """Process id; raises RuntimeError if the process is not running."""
        if self._process is None:
            raise RuntimeError("the simulator is not running")
        return self._process.pid

    def _call(self, method: str, what: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode("ascii")
        request = Request(f"{self.url}/_simulator/{what}", data=data, method=method)
        with self._open(request, timeout=_CALL_SECONDS) as answer:
            return json.load(answer)

    @property
    def counters(self) -> Counters:
        """Counts of what it has received, answered and billed so far."""
        return Counters.from_json(self._call("GET", "counters"))

    @property
    def requests(self) -> Tuple[LoggedRequest, ...]:
        """The most recent requests, oldest first, with the key masked."""
        return tuple(LoggedRequest(**request) for request in self._call("GET", "requests"))

    def fail(self, kinds: Kinds, **options: Any) -> None:
        """Script a fault; see `Simulator.fail`. ``when`` is not supported."""
        self._call("POST", "faults", FaultRule.build(kinds, **options).to_json())

    def heal(self) -> None:
        """Forget all scripted faults; calls that one of them makes late are answered now."""
        self._call("DELETE", "faults")

    def reset(self) -> None:
        """Forget faults, counters, log, batches and the use of the rate limits."""
        self._call("POST", "reset")
