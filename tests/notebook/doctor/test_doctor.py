"""The doctor's report: what works is ok, what does not says what to do, and no secret is in it."""

from __future__ import annotations

import asyncio
import calendar
import os
import subprocess
import sys
import time
from decimal import Decimal
from email.utils import formatdate
from pathlib import Path
from typing import Any, Callable, Dict

import pytest
from aiohttp import web
from support.http_server import serve
from support.redis_server import PROGRAM, RedisServer

from claude_force_nb.cache import ResponseCache
from claude_force_nb.notebook.doctor.examine import ask_once, examine
from claude_force_nb.notebook.doctor.finding import Finding
from claude_force_nb.notebook.options.settings import Settings
from claude_force_nb.orchestrator import AsyncAgentOrchestrator
from claude_force_nb.simulator import Simulator
from claude_force_nb.storage.user_folders import user_folder

__all__ = ["serve"]  # a fixture

KEY = "sk-ant-api03-a-secret-that-must-not-be-shown-wxyz"


@pytest.fixture
def look(tmp_path: Path) -> Callable[..., Dict[str, Finding]]:
    """``look(base_url=…)`` gives the findings by subject."""

    def look(**settings: str) -> Dict[str, Finding]:
        chosen = Settings(configurable=None, environ=os.environ, folder=tmp_path)
        for name, value in settings.items():
            chosen.set(name, value)
        findings = asyncio.run(examine(chosen, os.environ, shell=None))
        return {finding.subject: finding for finding in findings}

    return look


def test_where_all_is_well_nothing_is_to_be_done(
    look: Callable[..., Dict[str, Finding]], simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every check is ok, nothing is made on disk, and the only call has no key."""
    monkeypatch.setenv("ANTHROPIC_API_KEY", KEY)
    found = look(base_url=simulator.url)
    assert {name: finding for name, finding in found.items() if finding.state != "ok"} == {}
    assert found["Key"].says == "…wxyz (from ANTHROPIC_API_KEY)"
    assert found["Server"].says.startswith("a Messages API answers")
    assert found["Clock"].says == "as the server's"
    assert not ResponseCache().directory.exists()
    assert not user_folder("data", os.environ).exists()
    assert simulator.counters.by_endpoint == {"models": 1}
    assert simulator.counters.by_status == {401: 1}


def test_no_secret_is_in_the_report(
    look: Callable[..., Dict[str, Finding]], simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither key nor cache secret, nor the password of a gateway or a proxy."""
    monkeypatch.setenv("ANTHROPIC_API_KEY", KEY)
    monkeypatch.setenv("CLAUDE_CACHE_SECRET_PREVIOUS", "an-older-secret-0123456789")
    monkeypatch.setenv("HTTPS_PROXY", "http://me:proxy-password@proxy.invalid:3128")
    address = simulator.url.replace("http://", "http://me:gateway-password@")
    for url in (address, "https://me:gateway-password@gateway.invalid"):
        report = repr(look(base_url=url))
        for secret in (KEY, os.environ["CLAUDE_CACHE_SECRET"], "an-older-secret", "proxy-password", "gateway-password"):
            assert secret not in report
    assert "proxy.invalid" in report


def test_a_missing_key_names_what_to_do(look: Callable[..., Dict[str, Finding]], simulator: Simulator) -> None:
    """It is a problem, and the other checks go on."""
    found = look(base_url=simulator.url)
    assert (found["Key"].state, found["Key"].says) == ("problem", "none")
    assert "ANTHROPIC_API_KEY" in found["Key"].remedy
    assert found["Server"].state == "ok"


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (lambda: web.Response(text="<html>Please log in</html>", content_type="text/html"), "a web page answers"),
        (lambda: web.json_response({"hello": 1}), "some other JSON answers"),
        (lambda: web.Response(status=302, headers={"location": "https://elsewhere.invalid/"}), "status 302"),
    ],
)
def test_who_answers_in_place_of_the_api(
    look: Callable[..., Dict[str, Finding]], serve: Callable[..., str], answer: Callable[[], Any], says: str
) -> None:
    """A login page, another API and a redirect, which is not followed, are each named."""

    async def handle(request: web.BaseRequest) -> web.Response:
        assert "authorization" not in request.headers
        assert "x-api-key" not in request.headers
        return answer()  # type: ignore[no-any-return]

    server = look(base_url=serve(handle))["Server"]
    assert server.state == "problem"
    assert says in server.says


def test_nothing_listens(look: Callable[..., Dict[str, Finding]]) -> None:
    """An address where nothing listens is a problem with the reason; this machine's clock is said, which nobody confirms."""
    found = look(base_url="http://127.0.0.1:9")
    assert found["Server"].state == "problem"
    assert "refused" in found["Server"].says
    assert found["Clock"].state == "note"
    says = found["Clock"].says
    assert says.endswith(" UTC, which no server could confirm")
    assert abs(calendar.timegm(time.strptime(says[:16], "%Y-%m-%d %H:%M")) - time.time()) < 120
    assert look(base_url="simulator")["Clock"].state == "ok"


def test_a_wrong_clock(look: Callable[..., Dict[str, Finding]], serve: Callable[..., str]) -> None:
    """An hour between this machine's clock and the server's is said."""

    async def handle(_: web.BaseRequest) -> web.Response:
        error = {"type": "error", "error": {"type": "authentication_error", "message": "no key"}}
        return web.json_response(error, status=401, headers={"date": formatdate(time.time() + 3600, usegmt=True)})

    found = look(base_url=serve(handle))
    assert found["Server"].state == "ok"
    assert found["Clock"].state == "note"
    assert "behind" in found["Clock"].says


def test_certificates_that_are_not_there(
    look: Callable[..., Dict[str, Finding]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file of certificates that is missing is named, and nothing is asked over a connection that cannot be made."""
    monkeypatch.setenv("SSL_CERT_FILE", "missing.pem")
    found = look(base_url="https://127.0.0.1:9")
    assert found["Proxy and certificates"].state == "problem"
    assert "missing.pem" in found["Proxy and certificates"].says
    assert "Server" not in found


def test_an_address_that_would_get_the_key_unencrypted(look: Callable[..., Dict[str, Finding]]) -> None:
    """It is a problem, and no request is sent to it."""
    found = look(base_url="http://gateway.invalid")
    assert found["Address"].state == "problem"
    assert "Server" not in found


def test_weak_and_missing_secrets(look: Callable[..., Dict[str, Finding]], monkeypatch: pytest.MonkeyPatch) -> None:
    """A placeholder is a problem; without a secret a key will be made, and looking makes none."""
    monkeypatch.setenv("CLAUDE_CACHE_SECRET", "changeme")
    assert look()["Cache secret"].state == "problem"
    monkeypatch.delenv("CLAUDE_CACHE_SECRET")
    assert look()["Cache secret"].says.startswith("none yet")
    assert not user_folder("config", os.environ).exists()


@pytest.mark.skipif(os.name != "posix", reason="Windows keeps permissions elsewhere")
def test_what_others_could_write(look: Callable[..., Dict[str, Finding]]) -> None:
    """A cache that others can write is a problem, one that others can look into a note."""
    folder = ResponseCache().directory
    folder.mkdir(mode=0o755)
    found = look()["Permissions"]
    assert (found.state, found.says.split(" ~")[0]) == ("note", "others can look into")
    folder.chmod(0o777)
    found = look()["Permissions"]
    assert (found.state, found.says.split(" ~")[0]) == ("problem", "others can write")


def test_what_was_left_behind(look: Callable[..., Dict[str, Finding]]) -> None:
    """A database that was moved aside is reported."""
    folder = ResponseCache().directory
    folder.mkdir(mode=0o700)
    (folder / "cache.db-wal.unusable-1").write_bytes(b"")
    found = look()["Leftovers"]
    assert found.state == "note"
    assert found.says.endswith("cache.db-wal.unusable-1")


def test_a_file_that_is_not_a_ledger(look: Callable[..., Dict[str, Finding]]) -> None:
    """It is a problem, and is left as it is."""
    folder = user_folder("data", os.environ)
    folder.mkdir(mode=0o700)
    (folder / "ledger.db").write_text("mine")
    found = look()["Ledger"]
    assert found.state == "problem"
    assert (folder / "ledger.db").read_text() == "mine"


def test_what_the_simulator_answered_is_in_a_ledger_of_its_own(
    look: Callable[..., Dict[str, Finding]], make: Callable[..., AsyncAgentOrchestrator], run: Any
) -> None:
    """The report says both: nothing was spent, and how often a server on this machine was asked."""
    assert "Local ledger" not in look()

    async def ask() -> None:
        async with make(enable_cache=True) as orchestrator:
            for prompt in ("a", "b", "a"):
                await orchestrator.run(prompt, model="haiku")

    run(ask())
    found = look()
    assert found["Ledger"].says.startswith("none yet, in ")
    assert found["Local ledger"].state == "ok"
    assert found["Local ledger"].says.startswith(
        "2 calls to servers on this machine and 1 answer from the cache in the last 24 hours, "
    )
    assert found["Local ledger"].says.endswith("ledger-local.db")


def test_one_call(make: Callable[..., AsyncAgentOrchestrator], simulator: Simulator) -> None:
    """It costs less than is promised; a server that refuses gives a problem."""

    async def ask() -> Finding:
        async with make() as orchestrator:
            return await ask_once(orchestrator)

    finding = asyncio.run(ask())
    assert finding.state == "ok"
    assert simulator.counters.calls == 1
    assert 0 < simulator.counters.dollars < Decimal("0.001")
    simulator.fail("authentication")
    assert asyncio.run(ask()).state == "problem"


@pytest.mark.slow
def test_the_command(simulator: Simulator) -> None:
    """One line for each check, and an exit status that a script can use."""
    command = [sys.executable, "-m", "claude_force_nb", "doctor"]
    environment = {**os.environ, "ANTHROPIC_BASE_URL": simulator.url, "ANTHROPIC_API_KEY": KEY}
    done = subprocess.run([*command, "--online"], env=environment, capture_output=True, text=True, timeout=100)
    assert (done.returncode, done.stderr) == (0, "")
    assert {line.split()[0] for line in done.stdout.splitlines()} == {"ok"}
    assert KEY not in done.stdout
    environment.pop("ANTHROPIC_API_KEY")
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=100)
    assert done.returncode == 1
    assert "problem  Key" in done.stdout


@pytest.mark.skipif(PROGRAM is None, reason="redis-server is not installed")
def test_the_shared_cache_has_a_row(look: Callable[..., Dict[str, Finding]], monkeypatch: pytest.MonkeyPatch) -> None:
    """With its version and policy, and never its password; it is absent where nothing is shared."""
    pytest.importorskip("redis", reason="redis-py is not installed")
    assert "Shared cache" not in look()
    server = RedisServer("--requirepass", "a-password-nobody-sees", "--maxmemory-policy", "allkeys-lru")
    server.start()
    try:
        url = server.url.replace("redis://", "redis://:a-password-nobody-sees@")
        found = look(cache_url=url)["Shared cache"]
        assert found.state == "ok"
        assert found.says.startswith(f"redis://127.0.0.1:{server.port}/0, ")
        assert found.says.endswith("maxmemory-policy allkeys-lru")
        assert any(character.isdigit() for character in found.says.split(", ")[1])
        assert "a-password" not in repr(look(cache_url=url))
        assert "uthenticat" in look(cache_url=server.url)["Shared cache"].says
        server.client(password="a-password-nobody-sees").config_set("maxmemory-policy", "noeviction")
        full = look(cache_url=url)["Shared cache"]
        assert (full.state, "allkeys-lru" in full.remedy) == ("note", True)
        monkeypatch.delenv("CLAUDE_CACHE_SECRET")
        server.client(password="a-password-nobody-sees").config_set("maxmemory-policy", "allkeys-lfu")
        assert "not shared with anybody" in look(cache_url=url)["Shared cache"].says
    finally:
        server.stop()
    monkeypatch.setenv("CLAUDE_CACHE_URL", url)  # as the cache itself, it is found in the environment
    gone = look()["Shared cache"]
    assert gone.state == "problem"
    assert "cannot be used" in gone.says
    assert "a-password" not in repr(gone)
