"""The origin of a cache's signing key."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.cache_tools import answer, fingerprint

from claude_force_nb.cache import ResponseCache
from claude_force_nb.errors import CacheSecretWarning, ClaudeForceWarning

NO_HOME = "~nobody-of-that-name"


@pytest.fixture(autouse=True)
def no_session(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a process in which nothing was temporary yet."""
    monkeypatch.setattr("claude_force_nb.storage.user_folders._session", None)


def test_a_cache_that_outlives_the_process_gets_no_key_that_does_not(tmp_path: Path) -> None:
    """A temporary key would make its entries worthless to all others, so the cache is left alone, with one warning."""
    with pytest.warns(ClaudeForceWarning, match="temporary folder"):
        cache = ResponseCache(tmp_path / "cache", environ={}, config_directory=f"{NO_HOME}/config")
    with pytest.warns(CacheSecretWarning, match="no folder to save a key in") as caught:
        assert not cache.put(fingerprint(1), answer())
    assert cache.get(fingerprint(1)) is None
    assert len(caught) == 1
    assert not (tmp_path / "cache").exists() or not list((tmp_path / "cache").iterdir())
    cache.close()


def test_a_cache_that_is_gone_with_the_process_gets_a_key_that_is_too() -> None:
    """The only message says that everything is temporary."""
    with pytest.warns(ClaudeForceWarning, match="temporary folder") as caught:
        cache = ResponseCache(f"{NO_HOME}/cache", environ={}, config_directory=f"{NO_HOME}/config")
    assert len(caught) == 1
    assert cache.put(fingerprint(1), answer())
    assert cache.get(fingerprint(1))
    cache.close()
