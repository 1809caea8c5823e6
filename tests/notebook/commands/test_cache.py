"""%claude_cache and ``claude-force-nb cache`` with the tier that a team shares beside that of this machine."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, Iterator

import pytest

pytest.importorskip("redis", reason="redis-py is not installed")

from support.answers import answer
from support.redis_server import PROGRAM, RedisServer

from claude_force_nb import ResponseCache
from claude_force_nb.__main__ import main
from claude_force_nb.errors import CacheWarning, OptionError
from claude_force_nb.notebook.commands.cache import cache

pytestmark = pytest.mark.skipif(PROGRAM is None, reason="redis-server is not installed (apt-get install redis-server)")

SECRET = "the-secret-of-a-team-0123456789abcdef"


@pytest.fixture
def server() -> Iterator[RedisServer]:
    started = RedisServer()
    started.start()
    yield started
    started.stop()


@pytest.fixture
def both(server: RedisServer, tmp_path: Path) -> Iterator[ResponseCache]:
    """A cache with three answers in each tier."""
    with ResponseCache(tmp_path / "cache", secret=SECRET, environ={}, url=server.url) as made:
        made.put_many([(f"{number:064x}", answer(f"text {number}")) for number in range(3)])
        assert made.shared is not None
        assert made.shared._tier.flush(5)
        yield made


def said(response_cache: ResponseCache, line: str) -> str:
    session: Any = SimpleNamespace(orchestrator=SimpleNamespace(cache=response_cache))
    return " ".join(cache(session, line)["text/plain"].split())


def test_the_magic_shows_and_clears_each_tier(both: ResponseCache, server: RedisServer) -> None:
    """stats and verify have the numbers of both; clear says that it has to be told which, and leaves the other."""
    shown = said(both, "stats")
    assert "entries 3" in shown
    assert "shared: entries 3" in shown
    assert server.url in shown
    server.client().set(next(server.client().scan_iter()), "damaged")
    shown = said(both, "verify")
    assert "shared: intact 2" in shown
    assert "shared: corrupt 1" in shown
    assert "intact 3" in shown
    with pytest.raises(OptionError, match=r"clear local removes .* clear shared those of everybody"):
        said(both, "clear --yes")
    assert said(both, "clear shared --yes") == "cleared 2 shared entries"
    assert both.stats().entries == 3
    assert said(both, "clear local --yes") == "cleared 3 entries"
    for wrong in ("stats shared", "clear both", "clear local shared"):
        with pytest.raises(OptionError, match="%claude_cache takes"):
            said(both, wrong)


def test_the_magic_without_a_server(both: ResponseCache, server: RedisServer, tmp_path: Path) -> None:
    """A server that is away is named, and the numbers of this machine are there."""
    server.stop()
    with pytest.warns(CacheWarning, match="cannot be used now"):
        shown = said(both, "stats")
    assert "entries 3" in shown
    assert "cannot be reached now" in shown
    assert "cannot be reached now" in said(both, "clear shared --yes")
    with ResponseCache(tmp_path / "other", secret=SECRET, environ={}) as alone:
        assert said(alone, "clear --yes") == "cleared 0 entries"
        with pytest.raises(OptionError, match="no shared cache is configured"):
            said(alone, "clear shared --yes")


def test_the_command(
    both: ResponseCache, server: RedisServer, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLAUDE_CACHE_SECRET", SECRET)
    monkeypatch.setenv("CLAUDE_CACHE_DIR", str(both.directory))
    monkeypatch.delenv("CLAUDE_CACHE_URL", raising=False)
    assert main(["cache", "stats", "--tier", "shared"]) == 2
    monkeypatch.setenv("CLAUDE_CACHE_URL", server.url)
    assert main(["cache", "stats", "--tier", "shared"]) == 0
    assert "entries    3" in capsys.readouterr().out
    assert main(["cache", "verify", "--tier", "shared"]) == 0
    assert main(["cache", "path", "--tier", "shared"]) == 0
    assert main(["cache", "clear", "--tier", "shared", "--yes"]) == 0
    assert "removed 3 entries" in capsys.readouterr().out
    assert both.stats().entries == 3
