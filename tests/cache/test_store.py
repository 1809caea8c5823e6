"""The store under the response cache."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Iterator

import diskcache
import pytest
from support.cache_tools import answer, database_of, make_cache

from claude_force_nb.cache.rows import NewValue
from claude_force_nb.cache.store import Store
from claude_force_nb.cache.uses import UseLog


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = Store(str(tmp_path), timeout_seconds=1.0, max_value_bytes=10_000)
    yield made
    made.close()


def write(store: Store, *keys: str, size: int = 100, limit: int = 10**6, used: float = 1.0) -> int:
    values = [NewValue(key, b"x" * size, used + number) for number, key in enumerate(keys)]
    return store.write(values, now=used, expires=None, max_size_bytes=limit, uses=UseLog()).for_room


def keys_of(tmp_path: Path) -> str:
    with database_of(tmp_path) as connection:
        return "".join(key for (key,) in connection.execute("SELECT key FROM Cache ORDER BY key"))


def test_a_new_database_has_the_settings_that_diskcache_looks_for(store: Store, tmp_path: Path) -> None:
    """Another program that opens it with diskcache finds what it would have made itself."""
    with diskcache.Cache(str(tmp_path / "other")):
        pass
    with database_of(tmp_path / "other") as connection:
        theirs = dict(connection.execute("SELECT key, value FROM Settings"))
    with database_of(tmp_path) as connection:
        ours = dict(connection.execute("SELECT key, value FROM Settings"))
    assert set(ours) == set(theirs)
    assert (ours["count"], ours["size"], ours["cull_limit"]) == (0, 0, 0)


def test_room_is_made_for_exactly_what_is_too_much(store: Store, tmp_path: Path) -> None:
    """A cache that is just full is full; one byte more costs the oldest entry, and no more than that."""
    assert write(store, *"abc", limit=300) == 0
    assert keys_of(tmp_path) == "abc"
    assert write(store, "d", limit=399, used=10.0) == 1
    assert keys_of(tmp_path) == "bcd"
    assert write(store, "e", size=101, limit=300, used=11.0) == 2
    assert keys_of(tmp_path) == "de"
    assert store.totals() == (2, 201)


def test_an_interrupt_during_a_statement_is_not_damage(tmp_path: Path) -> None:
    """Ctrl-C while all entries are removed: it is raised, and the next call finds them all."""

    def interrupt(frame: Any, event: str, _: Any) -> None:
        if event == "call" and frame.f_code.co_name == "_step":
            sys.setprofile(None)
            raise KeyboardInterrupt

    with make_cache(tmp_path) as cache:
        one = answer("x")
        cache.put_many((f"{number:064x}", one) for number in range(6000))
        sys.setprofile(interrupt)
        try:
            with pytest.raises(KeyboardInterrupt):
                cache.clear()
        finally:
            sys.setprofile(None)
        assert cache.stats().entries == 6000
        assert cache.clear() == 6000
