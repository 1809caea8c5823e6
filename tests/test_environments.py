"""No home, no working directory, no certificates, a proxy: it works without, or says one line that names what is missing."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence

import pytest
from support.environment_walk import CELLS
from support.live_kernel import LiveKernel, kernel_environment

from claude_force_nb import AgentLibrary, AsyncAgentOrchestrator, ClaudeForceError, ResponseCache, file
from claude_force_nb.costs.user_prices import read_prices
from claude_force_nb.errors import ClaudeForceWarning
from claude_force_nb.simulator import Simulator
from claude_force_nb.storage import user_folders

pytestmark = pytest.mark.skipif(os.name != "posix", reason="users, modes and removed folders of POSIX")

WALK = Path(__file__).parent / "support" / "environment_walk.py"
HOME_LOST = ("home",)
HOME_READ_ONLY = ("writable home",)
SYSTEM_READ_ONLY = ("home that can be written to", "temporary folder")
FOLDER_LOST = ("working directory",)
CERTIFICATES_LOST = ("certificates",)
DEAD_PROXY = ("http://user:a-password@127.0.0.1:9",)
BROKEN_PROXY = ("socks9://user:a-password@proxy:port",)
ALL_LOST = ("home", "working directory", "certificates")


def slow(*environments: Sequence[str]) -> List[Any]:
    """Mark environments that are tested with the slow tests only."""
    return [pytest.param(each, marks=pytest.mark.slow) for each in environments]


def walk(simulator: Simulator, folder: Path, missing: Sequence[str], parts: Sequence[str]) -> Dict[str, Dict[str, Any]]:
    """Go through the entry points in a process of its own; return what each step did, none of which failed without a line."""
    kept = {name: text for name, text in os.environ.items() if not name.startswith(("CLAUDE_", "ANTHROPIC_"))}
    environment = {**kept, "ANTHROPIC_BASE_URL": simulator.url, "ANTHROPIC_API_KEY": "sk-ant-test-key"}
    command = [sys.executable, "-X", "faulthandler", str(WALK), json.dumps(missing), *parts]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        cwd=str(folder),
        env=environment,
        check=False,
    )
    assert done.stdout, done.stderr
    told: List[Dict[str, Any]] = json.loads(done.stdout.splitlines()[-1])
    bare = [
        each
        for each in told
        if each["how"] == "bare" or (len(each["text"].splitlines()) > 1 and each["how"] != "works")
    ]
    assert not bare, bare
    assert "a-password" not in done.stdout
    return {each["step"]: each for each in told}


def warnings_of(steps: Dict[str, Dict[str, Any]]) -> List[str]:
    return [line for each in steps.values() for line in each["warnings"]]


@pytest.mark.slow
@pytest.mark.parametrize("missing", [HOME_LOST, FOLDER_LOST, *slow(HOME_READ_ONLY, DEAD_PROXY)], ids=str)
def test_python_and_commands_work_without_it(simulator: Simulator, tmp_path: Path, missing: Sequence[str]) -> None:
    """Calls, batches, cache and ledger work; what a name in the missing folder stands for is one line."""
    steps = walk(simulator, tmp_path, missing, ["python", "commands"])
    for name in (
        "construct",
        "run",
        "run_many",
        "run_many via batches",
        "daily budget",
        "FakeTransport",
        "ResponseCache",
        "cost",
    ):
        assert steps[name]["how"] == "works", steps[name]
    for name in ("run_many of a file", "run_many of a file at home", "file", "file at home"):
        assert steps[name]["how"] == "one line", steps[name]
    assert (steps["run_stream"]["how"] == "works") == (missing != FOLDER_LOST), steps["run_stream"]
    # Where there is no home, nothing is made in a folder that is called "~".
    assert not (tmp_path / "~").exists()


@pytest.mark.slow
@pytest.mark.skipif(not os.path.isdir("/sys"), reason="a folder of Linux that nobody writes to")
def test_a_home_that_is_not_writable(simulator: Simulator, tmp_path: Path) -> None:
    """Answers come without cache and ledger, and a warning names each; what needs them is one line that names the folder."""
    steps = walk(simulator, tmp_path, SYSTEM_READ_ONLY, ["python", "commands"])
    for name in ("run", "run_many", "FakeTransport", "cost", "doctor"):
        assert steps[name]["how"] == "works", steps[name]
    for name in ("daily budget", "run_many via batches"):
        assert steps[name]["how"] == "one line", steps[name]
        assert "/sys/.local" in steps[name]["text"]
    assert any("/sys/.cache" in line and "continuing without it" in line for line in steps["run"]["warnings"])


@pytest.mark.slow
@pytest.mark.parametrize("missing", [ALL_LOST, *slow(CERTIFICATES_LOST)], ids=str)
def test_missing_certificates_are_named_before_anything_is_sent(
    simulator: Simulator, tmp_path: Path, missing: Sequence[str]
) -> None:
    steps = walk(simulator, tmp_path, missing, ["python", "commands"])
    for name in ("run", "run_many", "daily budget"):
        assert steps[name]["how"] == "one line", steps[name]
        assert "SSL_CERT_FILE names /etc/ssl/certs/gone.pem, which does not exist" in steps[name]["text"]
    assert steps["FakeTransport"]["how"] == "works"
    assert simulator.counters.calls == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    "missing", [FOLDER_LOST, *slow(HOME_LOST, HOME_READ_ONLY, CERTIFICATES_LOST, BROKEN_PROXY, ALL_LOST)], ids=str
)
def test_every_magic_works_without_it_or_says_one_line(
    simulator: Simulator, tmp_path: Path, missing: Sequence[str]
) -> None:
    steps = walk(simulator, tmp_path, missing, ["ipython"])
    assert set(steps) == set(CELLS)
    asked = steps["%claude model=haiku hi"]
    assert asked["how"] == ("one line" if "certificates" in missing else "works"), asked
    for cell in (
        "%claude_agents",
        "%claude_cache stats",
        "%claude_cost",
        "%claude_config",
        "%claude_jobs",
        "%claude --help",
    ):
        assert steps[cell]["how"] == "works", steps[cell]


@pytest.mark.slow
@pytest.mark.parametrize("missing", [HOME_LOST, *slow(HOME_READ_ONLY)], ids=str)
def test_without_a_home_costs_are_those_of_the_session(
    simulator: Simulator, tmp_path: Path, missing: Sequence[str]
) -> None:
    """One warning, a cache that answers, the session's sums, and a word that nothing is kept."""
    steps = walk(simulator, tmp_path, missing, ["ipython"])
    first = [line for line in warnings_of(steps) if "temporary folder" in line]
    assert len(first) == 1, warnings_of(steps)
    assert "CLAUDE_FORCE_HOME" in first[0]
    assert not [line for line in warnings_of(steps) if "cache.key" in line]
    shown = steps["%claude_cost"]["text"]
    assert "claude-haiku" in shown
    assert "nothing is kept" in shown
    assert steps["%claude_jobs"]["how"] == "works"


def test_a_broken_proxy_is_named_without_its_password(run: Any, make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy variable that cannot be one is a line with its name; a server on this machine needs no proxy."""
    for address, reason in [
        ("socks9://user:a-password@proxy:1", "is socks9://"),
        ("http://user:a-password@proxy:port", "is not a valid address"),
        ("http://[bad", "is not a valid address"),
        ("http://", "has no host"),
    ]:
        monkeypatch.setenv("https_proxy", address)
        orchestrator = make(base_url="https://gateway.example", max_retries=0)
        with pytest.raises(ClaudeForceError, match=r"HTTPS_PROXY .*nothing was sent") as caught:
            run(orchestrator.run("hi", model="haiku"))
        assert reason in str(caught.value)
        assert "a-password" not in str(caught.value)
    assert run(make().run("hi", model="haiku")).status == "ok"


def test_one_variable_names_the_folder_of_all(simulator: Simulator, tmp_path: Path) -> None:
    """CLAUDE_FORCE_HOME holds cache, ledger and key, and goes behind the variables of each."""
    environment = {"CLAUDE_FORCE_HOME": str(tmp_path / "mine")}
    for kind in ("cache", "data", "config"):
        assert user_folders.user_folder(kind, environment) == tmp_path / "mine" / kind
    environment["CLAUDE_CACHE_DIR"] = str(tmp_path / "elsewhere")
    assert user_folders.user_folder("cache", environment) == tmp_path / "elsewhere"

    async def ask(environ: Dict[str, str]) -> Optional[str]:
        async with AsyncAgentOrchestrator(
            base_url=simulator.url, api_key="sk-ant-key", environ=environ
        ) as orchestrator:
            return (await orchestrator.run("hi", model="haiku")).status

    with pytest.warns(UserWarning, match="made a random key"):
        assert asyncio.run(ask({"CLAUDE_FORCE_HOME": str(tmp_path / "all")})) == "ok"
    assert asyncio.run(ask({"CLAUDE_FORCE_HOME": str(tmp_path / "all")})) == "cached"
    assert sorted(path.name for path in (tmp_path / "all").iterdir()) == ["cache", "config", "data"]


@pytest.mark.slow
def test_a_kernel_without_home_and_working_directory_answers(simulator: Simulator, tmp_path: Path) -> None:
    """In a real kernel whose folder is removed while it runs, every magic works or is one line."""
    environment = kernel_environment(simulator.url, tmp_path)
    for name in ("HOME", "CLAUDE_CACHE_DIR", "CLAUDE_CACHE_SECRET", "CLAUDE_FORCE_DATA_DIR"):
        environment.pop(name)
    environment["HOME"] = "/dev/null/home"
    for name in [name for name in environment if name.startswith("XDG_")]:
        environment.pop(name)
    with LiveKernel(environment, str(tmp_path)) as kernel:
        kernel.run("import os, tempfile\nfolder = tempfile.mkdtemp(); os.chdir(folder); os.rmdir(folder)")
        for code in CELLS:
            cell = kernel.run(code)
            if cell.error is not None:
                assert len(cell.traceback) == 1, (code, cell.traceback)
                assert "Error" in cell.traceback[0]
        assert simulator.counters.calls >= 3


@pytest.mark.parametrize("name", ["a\0b", "x" * 300, "no-folder/in/between", "a\udc80", "~nosuchuser/a"])
def test_a_name_that_no_file_can_have_is_one_line(
    simulator: Simulator, run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """As a source, a target, a file in a prompt, a list of prices or a folder of agents or of the cache."""
    monkeypatch.chdir(tmp_path)

    async def ask(source: Any, **options: Any) -> Any:
        async with AsyncAgentOrchestrator(
            base_url=simulator.url, api_key="sk-ant-key", enable_cache=False
        ) as orchestrator:
            return await orchestrator.run_stream(source, model="haiku", **options)

    for work in (
        lambda: run(ask(Path(name + ".csv"), template="{{ row }}")),
        lambda: file(name),
        lambda: read_prices(name + ".json"),
    ):
        with pytest.raises(ClaudeForceError) as caught:
            work()
        assert len(str(caught.value).splitlines()) == 1
    assert simulator.counters.calls == 0
    if not name.startswith("a\udc80"):  # which a file may be called
        with pytest.raises(ClaudeForceError, match="cannot be written"):
            run(ask(["a"], into=name + ".jsonl"))
    assert [agent.name for agent in AgentLibrary(name, home=tmp_path).list()]  # type: ignore[arg-type]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ClaudeForceWarning)
        assert ResponseCache(name).stats().entries == 0
