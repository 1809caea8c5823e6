"""Fixtures for all tests: an isolated environment, a simulator, and a way to run coroutines without leftovers."""

from __future__ import annotations

import asyncio
import gc
import itertools
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any, Callable, Coroutine, Generator, Iterator, List, TypeVar
from weakref import WeakValueDictionary

import pytest
from hypothesis import HealthCheck, settings
from support.examples import FULL

from claude_force_nb.agents import AgentLibrary
from claude_force_nb.api import pacing
from claude_force_nb.orchestrator import AsyncAgentOrchestrator
from claude_force_nb.simulator import Simulator

# "quick" is what runs unless pytest is given --hypothesis-profile. No test is timed: a busy machine is not a mistake.
# In CI the same examples each time, so that what lands does not hang on luck; elsewhere new ones each time.
for _profile, _examples in (("quick", 20), ("full", FULL)):
    settings.register_profile(
        _profile,
        deadline=None,
        derandomize="CI" in os.environ,
        max_examples=_examples,
        suppress_health_check=[HealthCheck.too_slow],
    )
settings.load_profile("quick")

T = TypeVar("T")
TEST_SECRET = "test-secret-of-32-characters-xyz"


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, Any, Any]:
    """Do not collect garbage while modules are imported, and exempt what they created from later collections."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: List[pytest.Item]) -> None:
    """Run the tests with the longest time limits first, so that no worker is left with one at the end."""

    def limit(item: pytest.Item) -> float:
        marker = item.get_closest_marker("timeout")
        return 0.0 if marker is None or not marker.args else float(marker.args[0])

    items.sort(key=limit, reverse=True)


@pytest.fixture(scope="session")
def homes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Folders that are not there yet, one after the other."""
    folder = tmp_path_factory.mktemp("homes")
    return (folder / str(number) for number in itertools.count())


@pytest.fixture(autouse=True)
def isolated_environment(homes: Iterator[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """Give each test home, config, cache and data folders of its own, and no key, address or setting of the user."""
    for name in list(os.environ):
        if name.startswith(("ANTHROPIC_", "CLAUDE_")) and name != "CLAUDE_FORCE_RECORDINGS":
            monkeypatch.delenv(name)
    # Not in tmp_path, since some tests check everything in it, and most tests need no folder.
    home = next(homes)
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("USERPROFILE", str(home))
    for name in ("CONFIG", "CACHE", "DATA", "STATE"):
        monkeypatch.setenv(f"XDG_{name}_HOME", str(home / name.lower()))
    monkeypatch.setenv("CLAUDE_CACHE_DIR", str(home / "claude-cache"))
    monkeypatch.setenv("CLAUDE_CACHE_SECRET", TEST_SECRET)
    monkeypatch.setenv("CLAUDE_FORCE_DATA_DIR", str(home / "claude-data"))


@pytest.fixture(autouse=True)
def forgotten_rate_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget rate limits of other tests: ports are reused, and a process remembers limits by address and key."""
    monkeypatch.setattr(pacing, "_shared", WeakValueDictionary())


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    """A Messages API on a free port of this machine, whose message batches end soon."""
    with Simulator(batch_seconds=0.05) as running:
        yield running


async def _and_nothing_left(work: Coroutine[Any, Any, T]) -> T:
    before = asyncio.all_tasks()
    result = await work
    # Closing a connection takes one or two more iterations of the event loop.
    for _ in range(5):
        await asyncio.sleep(0)
    left = asyncio.all_tasks() - before
    assert not left, f"still pending: {left}"
    return result


@pytest.fixture
def run() -> Iterator[Callable[[Coroutine[Any, Any, T]], T]]:
    """``run(coroutine)`` is asyncio.run, and fails where a task is left pending; what was not closed fails the test."""
    yield lambda work: asyncio.run(_and_nothing_left(work))
    gc.collect()  # what nobody closed warns when it is collected, and warnings are errors
    gc.freeze()  # what is left is modules: the next collection need not look at them again


@pytest.fixture
def make(simulator: Simulator, tmp_path: Path) -> Iterator[Callable[..., AsyncAgentOrchestrator]]:
    """``make(**options)`` gives an orchestrator on the simulator, with its cache and ledger in the test's environment."""
    made: List[AsyncAgentOrchestrator] = []

    def build(**options: Any) -> AsyncAgentOrchestrator:
        options.setdefault("api_key", "sk-ant-test-key")
        if "transport" not in options:
            options.setdefault("base_url", simulator.url)
        options.setdefault("agents", AgentLibrary(tmp_path, home=tmp_path))
        made.append(AsyncAgentOrchestrator(**options))
        return made[-1]

    yield build
    for orchestrator in made:
        orchestrator.close_blocking()


@pytest.fixture
def memory_folder(tmp_path: Path) -> Iterator[Path]:
    """A folder in memory where the machine has one: what is written and forgotten thousands of times need not wait for a disk."""
    if not sys.platform.startswith("linux") or not os.access("/dev/shm", os.W_OK):
        yield tmp_path
        return
    folder = Path(tempfile.mkdtemp(dir="/dev/shm"))
    yield folder
    shutil.rmtree(str(folder))
