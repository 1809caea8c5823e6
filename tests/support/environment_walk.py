"""Run as a script: goes through all public entry points in an environment where something is missing, and tells what each did.

``python environment_walk.py WHAT PART…``: `WHAT` is a JSON list of what is missing; what each step did is printed as one JSON line.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import os
import sys
import tempfile
import traceback
import warnings
from pathlib import Path
from typing import Any, Awaitable, Callable, Dict, List

PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
HOMES = (
    "HOME",
    "USER",
    "LOGNAME",
    "USERNAME",
    "LNAME",
    "USERPROFILE",
    "XDG_DATA_HOME",
    "XDG_CACHE_HOME",
    "XDG_CONFIG_HOME",
)

CELLS = (
    "%load_ext claude_force_nb",
    "%claude model=haiku hi",
    "%%claude model=haiku into=answer\nhello {{ 1 + 1 }}",
    "%claude --dry-run hi",
    "%claude --help",
    "%claude look at {{ file('~/notes.txt') }}",
    "%claude_batch ['a', 'b'] model=haiku",
    "%%claude_batch ['a', 'b'] model=haiku into=out.jsonl\nabout {{ item }}",
    "%%claude_batch ['a'] model=haiku into=~/out.jsonl\nabout {{ item }}",
    "%%claude_batch ['a'] model=haiku via=batches\nbatched {{ item }}",
    "%claude_batch rows.csv",
    "%claude_batch ~/rows.csv",
    "%claude_agents",
    "%claude_agents reviewer",
    "%%claude_agent mine\nBe short.",
    "%claude_memory show",
    "%claude_cache stats",
    "%claude_cache verify",
    "%claude_cache path",
    "%claude_cost",
    "%claude_cost by=day",
    "%claude_cost export=costs.csv",
    "%claude_cost export=~/costs.csv",
    "%claude_config",
    "%claude_config daily_budget=1",
    "%claude model=haiku under a daily budget",
    "%claude_config prices=~/prices.json",
    "%claude_config prices=prices.json",
    "%claude_config cache_dir=~/other-cache",
    "%claude model=haiku with another cache",
    "%claude_jobs",
    "%claude_doctor",
    "%%claude_compare models=haiku,sonnet\ncompared",
    "%claude_fix",
    "%claude_dashboard",
    "%claude_answers record answers.jsonl",
    "%claude model=haiku recorded",
    "%claude_answers save",
    "%claude_answers frozen ~/answers.jsonl",
    "%claude_answers off",
    "%claude_cache clear --yes",
    "%unload_ext claude_force_nb",
)


class Walk:
    """Takes steps, and records the outcome of each."""

    def __init__(self) -> None:
        self.told: List[Dict[str, Any]] = []

    def step(self, name: str, work: Callable[[], Any]) -> None:
        """Do one step, which succeeds or fails with one line of this package; any other outcome is ``bare``."""
        from claude_force_nb.errors import ClaudeForceError

        with warnings.catch_warnings(record=True) as given:
            warnings.simplefilter("always")
            try:
                how, text = "works", str(work())
            except ClaudeForceError as error:
                how, text = "one line", f"{type(error).__name__}: {error}"
            except BaseException as error:
                how, text = "bare", "".join(traceback.format_exception(type(error), error, error.__traceback__)[-3:])
        said = [str(each.message) for each in given if "claude_force_nb" in each.filename]
        self.told.append({"step": name, "how": how, "text": text, "warnings": said})

    def python(self) -> None:
        """Use everything that is imported from the package."""
        from claude_force_nb import AgentLibrary, AnswerFile, AsyncAgentOrchestrator, ResponseCache, file
        from claude_force_nb.testing import FakeTransport

        async def use(work: Callable[[Any], Awaitable[Any]], **options: Any) -> Any:
            async with AsyncAgentOrchestrator(max_retries=0, **options) as orchestrator:
                return await work(orchestrator)

        async def ask(orchestrator: Any) -> str:
            result = await orchestrator.run("hi", model="haiku")
            return f"{result.status} {result.text}"

        def rows(source: Any, **options: Any) -> Callable[[Any], Awaitable[Any]]:
            async def ask_all(orchestrator: Any) -> str:
                batch = await orchestrator.run_many(source, model="haiku", **options)
                if batch.errors:
                    raise next(iter(batch.errors.values()))
                return str(batch.counts)

            return ask_all

        async def stream(orchestrator: Any) -> Any:
            return await orchestrator.run_stream(["a"], model="haiku", into="streamed.jsonl")

        def fake() -> Any:
            return asyncio.run(use(ask, transport=FakeTransport(lambda request: "fake")))

        self.step("construct", lambda: AsyncAgentOrchestrator().close_blocking())
        self.step("run", lambda: asyncio.run(use(ask)))
        self.step("run_many", lambda: asyncio.run(use(rows(["a", "b"]))))
        self.step("run_many via batches", lambda: asyncio.run(use(rows(["c"], via="batches"))))
        self.step("run_many of a file", lambda: asyncio.run(use(rows(Path("rows.csv"), template="x"))))
        self.step("run_many of a file at home", lambda: asyncio.run(use(rows(Path("~/rows.csv"), template="x"))))
        self.step("run_stream", lambda: asyncio.run(use(stream)))
        self.step("daily budget", lambda: asyncio.run(use(ask, daily_budget=1, enable_cache=False)))
        self.step("FakeTransport", fake)
        self.step("ResponseCache", lambda: (ResponseCache().stats(), ResponseCache().clear()))
        self.step("ResponseCache of a name", lambda: ResponseCache("~/a-cache").stats())
        self.step("AgentLibrary", lambda: len(AgentLibrary().list()))
        self.step("AgentLibrary of a folder", lambda: AgentLibrary("some-folder").find("reviewer").name)  # type: ignore[arg-type]
        self.step("AnswerFile", lambda: AnswerFile("answers.jsonl").load())
        self.step("AnswerFile at home", lambda: AnswerFile("~/answers.jsonl").load())
        self.step("recording", lambda: asyncio.run(use(ask, answers=AnswerFile("new.jsonl"), answers_mode="record")))
        self.step("file", lambda: file("notes.txt"))
        self.step("file at home", lambda: file("~/notes.txt"))

    def commands(self) -> None:
        """Run each command of ``python -m claude_force_nb`` that ends by itself."""
        from claude_force_nb.__main__ import main

        def one(*words: str) -> str:
            out, err = io.StringIO(), io.StringIO()
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                try:
                    status: Any = main(words)
                except SystemExit as end:
                    status = end.code
            assert status in (0, 1, 2), (status, err.getvalue())
            assert len(err.getvalue().splitlines()) <= 1, err.getvalue()
            return out.getvalue() + err.getvalue()

        for line in (
            "--version",
            "cost",
            "cost --by day",
            "cost --csv costs.csv",
            "cost --csv ~/costs.csv",
            "cost --prune 90d",
            "doctor",
            "audit missing.ipynb",
            "audit ~/missing.ipynb",
            "replay missing.ipynb",
            "keys list",
            "keys new",
            "keys show",
            "keys trust " + "ab" * 32,
            "keys trust nonsense",
        ):
            self.step(line, lambda line=line: one(*line.split()))
        for action in ("stats", "verify", "clear"):
            self.step("cache " + action, lambda action=action: one("cache", action))
        self.step("simulator --help", lambda: one("simulator", "--help"))
        self.step("demo", lambda: one("demo", "--notebook", "missing.ipynb"))

    def ipython(self) -> None:
        """Run every magic in a shell without a kernel."""
        from IPython.core.interactiveshell import InteractiveShell

        shell = InteractiveShell.instance()

        def run(cell: str) -> str:
            out = io.StringIO()
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(io.StringIO()):
                result = shell.run_cell(cell)
            error = result.error_before_exec or result.error_in_exec
            if error is not None:
                raise error
            return out.getvalue()

        for cell in CELLS:
            self.step(cell, lambda cell=cell: run(cell))


def take_away(what: str) -> None:
    """Remove something from this process's environment."""
    if what == "home":
        for name in HOMES:
            os.environ.pop(name, None)
        if hasattr(os, "setresuid") and os.geteuid() == 0:
            os.setresuid(64999, 0, 0)  # a user that is not in the password database
        else:
            import pwd

            def nobody(_: int) -> Any:
                raise KeyError("uid not found")

            pwd.getpwuid = nobody
    elif what == "home that can be written to":
        for name in HOMES:
            os.environ.pop(name, None)
        os.environ["HOME"] = "/sys"  # not even the superuser makes a file there
    elif what == "temporary folder":
        os.environ["TMPDIR"] = "/nowhere/at/all"
    elif what == "right certificates":
        descriptor, os.environ["SSL_CERT_FILE"] = tempfile.mkstemp()
        os.close(descriptor)
    elif what == "writable home":
        for name in HOMES:
            os.environ.pop(name, None)
        descriptor, os.environ["HOME"] = tempfile.mkstemp()
        os.close(descriptor)
    elif what == "working directory":
        folder = tempfile.mkdtemp()
        os.chdir(folder)
        os.rmdir(folder)
    elif what == "certificates":
        os.environ["SSL_CERT_FILE"] = "/etc/ssl/certs/gone.pem"
    else:  # a proxy of this address
        os.environ.update(dict.fromkeys((*PROXIES, *map(str.lower, PROXIES)), what))


def main() -> None:
    """Walk, and print what happened."""
    walk = Walk()
    missing, parts = json.loads(sys.argv[1]), sys.argv[2:]
    if "ipython" in parts:
        # IPython itself does not start without a working directory, which may be removed afterwards.
        from IPython.core.interactiveshell import InteractiveShell

        for what in missing:
            if what != "working directory":
                take_away(what)
        InteractiveShell.instance().history_manager.enabled = False
        missing = [what for what in missing if what == "working directory"]
    for what in missing:
        take_away(what)
    for part in parts:
        getattr(walk, part)()
    print(json.dumps(walk.told), flush=True)
    # Not through the handlers of IPython, which asks for the working directory once more.
    os._exit(0)


if __name__ == "__main__":
    main()
