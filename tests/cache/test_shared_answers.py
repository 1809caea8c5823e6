"""The tier that a team shares, on a real Redis server: answers are paid once, and used only with a valid signature."""

from __future__ import annotations

import asyncio
import secrets
import shutil
import subprocess
import threading
import time
import warnings
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Optional, Sequence, Tuple

import pytest

pytest.importorskip("redis", reason="redis-py is not installed")

from support.batches import QUICK, quick_batches
from support.redis_server import PROGRAM, RedisServer

from claude_force_nb import AsyncAgentOrchestrator, ResponseCache
from claude_force_nb.cache import addresses, shared_tier
from claude_force_nb.errors import CacheWarning, ClaudeForceError, OptionError
from claude_force_nb.simulator import Simulator

pytestmark = pytest.mark.skipif(PROGRAM is None, reason="redis-server is not installed (apt-get install redis-server)")

SECRET = "the-secret-of-a-team-0123456789abcdef"
Machine = Callable[..., ResponseCache]


@pytest.fixture(scope="module")
def started() -> Iterator[RedisServer]:
    server = RedisServer()
    server.start()
    yield server
    server.stop()


@pytest.fixture
def server(started: RedisServer) -> RedisServer:
    """A server without entries."""
    started.client().flushall()
    return started


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    """Makes the cache of one more machine, with a folder of its own."""
    made: List[ResponseCache] = []

    def make(url: str, *, secret: str = SECRET, folder: Optional[Path] = None, **options: Any) -> ResponseCache:
        folder = folder or tmp_path / f"machine-{len(made)}"
        made.append(ResponseCache(folder, secret=secret, environ={}, config_directory=tmp_path, url=url, **options))
        return made[-1]

    yield make
    for cache in made:
        cache.close()


def orchestrator(simulator: Simulator, cache: ResponseCache, **options: Any) -> AsyncAgentOrchestrator:
    return AsyncAgentOrchestrator(
        base_url=simulator.url, api_key="a-key", cache=cache, ledger=None, default_model="haiku", **options
    )


async def ask(simulator: Simulator, at: ResponseCache, prompts: Sequence[str], **options: Any) -> Dict[str, int]:
    async with orchestrator(simulator, at) as made:
        counts = (await made.run_many(prompts, **options)).counts
    assert at.shared is not None
    assert at.shared._tier.flush(5)  # what waits is written when the next machine looks
    return {status: number for status, number in counts.items() if number}


def said(work: Callable[[], Any]) -> Tuple[Any, List[str]]:
    """Return the result of `work`, and the package's warnings during it."""
    with warnings.catch_warnings(record=True) as given:
        warnings.simplefilter("always")
        result = work()
    return result, [str(each.message) for each in given if issubclass(each.category, CacheWarning)]


def test_message_batches_send_only_what_no_machine_has(
    server: RedisServer, machine: Machine, simulator: Simulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Answers of others are not asked for again; those that come back in a batch are there for others."""
    prompts = [f"prompt {number}" for number in range(300)]

    async def in_batches(rows: Sequence[str], **options: Any) -> Dict[str, int]:
        cache = machine(server.url)
        async with quick_batches(orchestrator(simulator, cache), QUICK, None) as made:
            counts = (await made.run_many(rows, via="batches", **options)).counts
        assert cache.shared is not None
        assert cache.shared._tier.flush(5)
        return {status: number for status, number in counts.items() if number}

    assert asyncio.run(ask(simulator, machine(server.url), prompts[:280])) == {"ok": 280}
    for name, expected in (("first", {"ok": 20, "cached": 280}), ("second", {"cached": 300})):
        monkeypatch.setenv("CLAUDE_FORCE_DATA_DIR", str(tmp_path / name))
        assert asyncio.run(in_batches(prompts)) == expected
    assert asyncio.run(in_batches(prompts[:3], cache="refresh")) == {"ok": 3}
    assert simulator.counters.completed == 280 + 20 + 3


def test_a_second_machine_pays_nothing(server: RedisServer, machine: Machine, simulator: Simulator) -> None:
    """What one has asked the other finds, keeps a copy of, and finds there when the server is asked no more."""
    prompts = [f"prompt {number}" for number in range(30)]
    assert asyncio.run(ask(simulator, machine(server.url), prompts)) == {"ok": 30}
    second = machine(server.url)
    assert asyncio.run(ask(simulator, second, prompts)) == {"cached": 30}
    assert simulator.counters.calls == 30
    assert second.stats().entries == 30
    server.client().flushall()
    assert asyncio.run(ask(simulator, second, prompts, cache="only")) == {"cached": 30}


def test_an_answer_of_others_needs_no_key_and_nothing_but_the_cache(
    server: RedisServer, machine: Machine, simulator: Simulator
) -> None:
    """With ``cache=only``, and without a key, the shared tier is asked all the same."""
    asyncio.run(ask(simulator, machine(server.url), ["a"]))
    assert asyncio.run(ask(simulator, machine(server.url), ["a", "b"], cache="only")) == {"cached": 1, "not_sent": 1}

    async def without_key() -> str:
        cache = machine(server.url)
        async with AsyncAgentOrchestrator(
            base_url=simulator.url, cache=cache, ledger=None, environ={}, default_model="haiku"
        ) as made:
            return (await made.run("a")).status

    assert asyncio.run(without_key()) == "cached"
    assert simulator.counters.calls == 1


def test_refresh_asks_and_replaces(server: RedisServer, machine: Machine, simulator: Simulator) -> None:
    """Who wants a new answer gets one, and the others get it from then on; ``cache=off`` neither reads nor writes."""
    first, second = machine(server.url), machine(server.url)
    asyncio.run(ask(simulator, first, ["a"]))
    assert asyncio.run(ask(simulator, second, ["a"], cache="refresh")) == {"ok": 1}
    assert asyncio.run(ask(simulator, second, ["b"], cache="off")) == {"ok": 1}
    assert asyncio.run(ask(simulator, machine(server.url), ["a", "b"])) == {"cached": 1, "ok": 1}


def test_machines_that_ask_at_once_pay_once(server: RedisServer, machine: Machine) -> None:
    """Each prompt is asked by one of them while the others wait; no lease is left behind."""
    prompts = [f"prompt {number}" for number in range(12)]

    async def together(simulator: Simulator) -> List[Dict[str, int]]:
        caches = [machine(server.url) for _ in range(3)]
        return list(await asyncio.gather(*(ask(simulator, cache, prompts) for cache in caches)))

    with Simulator(latency_seconds=0.3) as slow:
        counts = asyncio.run(together(slow))
        assert slow.counters.calls == 12
    assert sum(each.get("ok", 0) for each in counts) == 12
    assert sum(each.get("cached", 0) for each in counts) == 24
    assert server.client().keys("*:lease") == []


def test_a_failure_lets_the_next_one_ask(server: RedisServer, machine: Machine, simulator: Simulator) -> None:
    """A lease is given up when the call fails or is cancelled."""

    async def cancelled() -> None:
        async with orchestrator(simulator, machine(server.url)) as made:
            task = asyncio.ensure_future(made.run("a"))
            for _ in range(1000):
                if server.client().keys("*:lease"):
                    break
                await asyncio.sleep(0.01)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    with Simulator(latency_seconds=2) as slow:
        simulator, quick = slow, simulator
        asyncio.run(cancelled())
        simulator = quick
    started = time.monotonic()
    assert asyncio.run(ask(simulator, machine(server.url), ["a"])) == {"ok": 1}
    assert time.monotonic() - started < shared_tier.LEASE_SECONDS / 2


@pytest.mark.parametrize("milliseconds", [300, None, 3_600_000])
def test_a_dead_holder_delays_nobody_beyond_its_lease(
    milliseconds: Optional[int], server: RedisServer, machine: Machine, simulator: Simulator
) -> None:
    """A lease ends by itself; one without end, or with a longer one than we give, is nobody's."""
    cache = machine(server.url)

    async def fingerprint() -> str:
        async with orchestrator(simulator, machine(server.url)) as made:
            return (await made.run("a", cache="off")).fingerprint

    key = shared_tier._lease(asyncio.run(fingerprint()))
    server.client().set(key, "somebody", px=milliseconds)
    started = time.monotonic()
    assert asyncio.run(ask(simulator, cache, ["a"])) == {"ok": 1}
    assert time.monotonic() - started < 4


@pytest.mark.slow
def test_a_long_call_keeps_its_lease(server: RedisServer, machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """A holder that lives renews the lease, so that a call longer than it is paid once."""
    monkeypatch.setattr(shared_tier, "LEASE_SECONDS", 1.2)

    async def together(simulator: Simulator) -> List[Dict[str, int]]:
        return list(await asyncio.gather(*(ask(simulator, machine(server.url), ["a"]) for _ in range(2))))

    with Simulator(latency_seconds=4) as slow:
        counts = asyncio.run(together(slow))
        assert slow.counters.calls == 1
    assert sorted(map(tuple, counts)) == [("cached",), ("ok",)]


def tampered(value: bytes, number: int) -> Any:
    """Return one of many ways to change what is on the server."""
    place = number % len(value)
    ways: List[Any] = [
        value[:place] + bytes([value[place] ^ (1 << number % 8)]) + value[place + 1 :],
        value[:place],
        value + b"\0" * (number + 1),
        value[:place] + value[place + 1 :],
        secrets.token_bytes(number + 1),
        b"\x80\x04\x95cos\nsystem\n(S'true'\ntR.",
    ]
    return ways[number // 8 % len(ways)]


def test_nothing_that_was_changed_gets_through(server: RedisServer, machine: Machine, simulator: Simulator) -> None:
    """60 ways to tamper with an entry, and other types in its place: each is a miss, is paid anew, and one warning says so."""
    asyncio.run(ask(simulator, machine(server.url), ["a"]))
    client = server.client()
    ((key, value),) = [(key, client.get(key)) for key in client.scan_iter()]
    fingerprint = shared_tier._fingerprint(key)
    reader = machine(server.url)
    assert reader.shared is not None
    for number in range(60):
        changed = tampered(value, number)
        assert changed != value
        client.set(key, changed)
        found, warned = said(lambda: reader.shared.get(fingerprint))  # type: ignore[union-attr]
        assert found is None, number
        assert all("failed its check" in line or "another secret" in line for line in warned)
    refused = reader.shared.stats()
    assert refused.hits == 0
    assert refused.integrity_failures + refused.foreign_key >= 55  # the others were empty
    assert reader.stats().entries == 0
    for change in (
        lambda: client.set(key, tampered(value, 3)),
        lambda: client.rpush(key, "item"),
        lambda: client.sadd(key, "x"),
    ):
        client.delete(key)
        change()
        cache = machine(server.url)
        counts, _ = said(lambda cache=cache: asyncio.run(ask(simulator, cache, ["a"])))
        assert counts == {"ok": 1}
        assert asyncio.run(ask(simulator, machine(server.url), ["a"])) == {"cached": 1}
    other = key.replace(b"{" + key[-65:-1], b"{" + b"ab" * 32)
    client.delete(key)
    client.set(other, value)  # an entry for another request
    cache = machine(server.url)
    assert cache.shared is not None
    with pytest.warns(CacheWarning, match="failed its check"):
        assert cache.shared.get("ab" * 32) is None


def test_another_secret_shares_nothing(server: RedisServer, machine: Machine, simulator: Simulator) -> None:
    """Its entries are misses, and one warning says what all need to have."""
    asyncio.run(ask(simulator, machine(server.url), ["a", "b"]))
    stranger = machine(server.url, secret="another-secret-0123456789abcdef")
    counts, warned = said(lambda: asyncio.run(ask(simulator, stranger, ["a", "b"])))
    assert counts == {"ok": 2}
    assert len([line for line in warned if "the same CLAUDE_CACHE_SECRET" in line]) == 1


def test_the_server_removes_what_is_over(server: RedisServer, machine: Machine, simulator: Simulator) -> None:
    """An entry has the server's own expiry, and a reader's shorter life ends it earlier."""
    asyncio.run(ask(simulator, machine(server.url, ttl_hours=2), ["a"]))
    (key,) = server.client().keys("*")
    assert 7_100 < server.client().ttl(key) <= 7_200
    later = machine(server.url, ttl_hours=1, clock=lambda: time.time() + 3_700)
    assert asyncio.run(ask(simulator, later, ["a"])) == {"ok": 1}
    asyncio.run(ask(simulator, machine(server.url, ttl_hours=None), ["b"]))
    assert -1 in [server.client().ttl(key) for key in server.client().scan_iter()]


@pytest.mark.slow
def test_a_server_that_goes_and_comes_back(machine: Machine, simulator: Simulator) -> None:
    """Killed in the middle: one warning, every row answered; started again, it is used again."""
    server = RedisServer()
    server.start()
    cache = machine(server.url)
    try:
        assert asyncio.run(ask(simulator, cache, ["a"])) == {"ok": 1}
        server.stop()
        counts, warned = said(lambda: asyncio.run(ask(simulator, cache, [f"b{number}" for number in range(20)])))
        assert counts == {"ok": 20}
        assert [line for line in warned if "cannot be used now" in line] == warned
        assert len(warned) == 1
        server.start()
        ends = time.monotonic() + 15
        while not server.client().keys("*[^e]") and time.monotonic() < ends:
            asyncio.run(ask(simulator, cache, [secrets.token_hex(8)]))
            time.sleep(0.2)
        assert asyncio.run(ask(simulator, machine(server.url), ["b1"])) == {"ok": 1}
        assert asyncio.run(ask(simulator, machine(server.url), ["b1"])) == {"cached": 1}
    finally:
        server.stop()


class Gaps:
    """The longest time between two ticks."""

    def __init__(self) -> None:
        self.longest_seconds = 0.0
        self._last = time.monotonic()

    def tick(self) -> None:
        now = time.monotonic()
        self.longest_seconds, self._last = max(self.longest_seconds, now - self._last), now


def test_a_server_that_does_not_answer(machine: Machine, simulator: Simulator) -> None:
    """It costs seconds once, not for each row, and does not block the event loop."""
    server = RedisServer()
    server.start()
    try:
        server.freeze()
        cache = machine(server.url)

        async def measured() -> Tuple[Dict[str, int], float, float]:
            in_loop, in_thread, done = Gaps(), Gaps(), threading.Event()

            async def tick() -> None:
                while not done.is_set():
                    await asyncio.sleep(0.01)
                    in_loop.tick()

            def tick_in_thread() -> None:
                while not done.wait(0.01):
                    in_thread.tick()

            ticking = asyncio.ensure_future(tick())
            thread = threading.Thread(target=tick_in_thread)
            thread.start()
            try:
                async with orchestrator(simulator, cache) as made:
                    counts = (await made.run_many([f"c{number}" for number in range(30)])).counts
            finally:
                done.set()
                thread.join()
            await ticking
            return dict(counts), in_loop.longest_seconds, in_thread.longest_seconds

        started = time.monotonic()
        (counts, longest, stall), warned = said(lambda: asyncio.run(measured()))
        assert counts["ok"] == 30
        assert time.monotonic() - started < 12
        # The server's second is waited for in a thread. What the machine stood still for shows in other threads as well.
        assert longest < 0.9 + stall
        assert len(warned) == 1
        server.thaw()
    finally:
        server.stop()


@pytest.mark.parametrize(
    ("options", "said_of_it"),
    [
        (("--requirepass", "a-pass-word"), "cannot be used now"),
        (("--maxmemory", "1mb", "--maxmemory-policy", "noeviction"), "never evicts"),
        (("--rename-command", "EVAL", ""), "cannot be used now"),
        (("--min-replicas-to-write", "1", "--maxmemory-policy", "allkeys-lru"), ""),
    ],
)
def test_servers_that_want_something(
    options: Sequence[str], said_of_it: str, machine: Machine, simulator: Simulator
) -> None:
    """A missing password, full memory and missing commands cause one warning each, and answers continue."""
    server = RedisServer(*options)
    server.start()
    try:
        cache = machine(server.url)
        (counts, _), warned = said(lambda: (asyncio.run(ask(simulator, cache, ["a", "b", "c"])), cache.close()))
        assert counts == {"ok": 3}
        assert any(said_of_it in line for line in warned)
        assert len(warned) <= 2
        assert all("\n" not in line for line in warned)
    finally:
        server.stop()


def test_a_password_is_used_and_never_shown(machine: Machine, simulator: Simulator) -> None:
    server = RedisServer("--requirepass", "a-pass-word", "--maxmemory-policy", "allkeys-lru")
    server.start()
    try:
        url = f"redis://:a-pass-word@127.0.0.1:{server.port}/0"
        first = machine(url)
        counts, warned = said(lambda: asyncio.run(ask(simulator, first, ["a"])))
        assert (counts, warned) == ({"ok": 1}, [])
        assert asyncio.run(ask(simulator, machine(url), ["a"])) == {"cached": 1}
        wrong = machine(url.replace("a-pass-word", "wrong-pass-word"))
        _, warned = said(lambda: asyncio.run(ask(simulator, wrong, ["a"])))
        shown = repr((first, first.shared, vars(first.shared.stats()), warned, wrong.shared))  # type: ignore[union-attr]
        assert "pass-word" not in shown
        assert len(warned) == 1
    finally:
        server.stop()


@pytest.mark.parametrize(
    "url", ["http://host", "redis://", "host:6379", "redis://host:port", "redis://:p-word@[bad", "rediss:///1", ""]
)
def test_addresses(url: str, tmp_path: Path) -> None:
    """What is not an address of a Redis server is one line, which does not repeat it."""
    with pytest.raises(OptionError, match="cache_url takes redis://") as raised:
        addresses.shown_address(url)
    assert "p-word" not in str(raised.value)
    if url:
        with pytest.raises(ClaudeForceError):
            ResponseCache(tmp_path, secret=SECRET, url=url)
    assert addresses.shown_address("rediss://user:secret@host:6380/3?password=x") == "rediss://host:6380/3"


def test_both_tiers_are_counted_checked_and_cleared(
    server: RedisServer, machine: Machine, simulator: Simulator
) -> None:
    """Damaged entries are removed from the server, those of others stay until all are cleared; other programs' keys stay."""
    cache = machine(server.url)
    asyncio.run(ask(simulator, cache, [f"d{number}" for number in range(450)]))
    asyncio.run(ask(simulator, machine(server.url, secret="another-secret-0123456789abcdef"), ["e"]))
    client = server.client()
    client.set("somebody else's", "value")
    assert cache.shared is not None
    assert (cache.shared.stats().entries, cache.stats().entries) == (451, 450)
    keys = [key for key in client.scan_iter() if key.startswith(b"claude")]
    own = [key for key in keys if cache.get(shared_tier._fingerprint(key)) is not None]
    client.set(own[0], "damaged")
    client.delete(own[1])
    client.rpush(own[1], "list")
    report = cache.shared.verify()
    assert (report.intact, report.corrupt, report.foreign_key, report.available) == (448, 2, 1, True)
    assert cache.shared.verify().corrupt == 0
    assert cache.shared.clear() == 449
    assert client.keys("*") == [b"somebody else's"]
    assert cache.stats().entries == 450


def test_without_a_secret_nothing_is_shared(server: RedisServer, tmp_path: Path, simulator: Simulator) -> None:
    """A random key is of one machine: a warning says what to set."""

    def use() -> None:
        with ResponseCache(tmp_path / "cache", environ={}, config_directory=tmp_path, url=server.url) as cache:
            asyncio.run(ask(simulator, cache, ["a"]))

    with warnings.catch_warnings(record=True) as given:
        warnings.simplefilter("always")
        use()
    assert [str(each.message) for each in given if "not shared with anybody" in str(each.message)]


def test_the_environment_names_the_server(server: RedisServer, tmp_path: Path) -> None:
    with ResponseCache(tmp_path, environ={"CLAUDE_CACHE_URL": server.url, "CLAUDE_CACHE_SECRET": SECRET}) as cache:
        assert cache.shared is not None
        assert cache.shared.name == server.url


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl, which makes the certificate, is not installed")
def test_a_server_behind_tls_needs_a_certificate_that_is_trusted(
    machine: Machine, simulator: Simulator, tmp_path: Path
) -> None:
    """With the authority in the address answers are shared; without it nothing is, and one line says why."""
    certificate = tmp_path / "server.pem"
    made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=127.0.0.1"]
    made += ["-addext", "subjectAltName=IP:127.0.0.1", "-out", str(certificate)]
    subprocess.run([*made, "-keyout", str(tmp_path / "server.key")], check=True, stderr=subprocess.DEVNULL)
    server = RedisServer(certificate=certificate)
    server.start()
    try:
        trusted = f"{server.url}?ssl_ca_certs={certificate}"
        assert asyncio.run(ask(simulator, machine(trusted), ["a", "b"])) == {"ok": 2}
        assert asyncio.run(ask(simulator, machine(trusted), ["a", "b"])) == {"cached": 2}
        counts, warned = said(lambda: asyncio.run(ask(simulator, machine(server.url), ["a"])))
    finally:
        server.stop()
    assert counts == {"ok": 1}
    assert len(warned) == 1
    assert "certificate" in warned[0]
    assert simulator.counters.calls == 3
