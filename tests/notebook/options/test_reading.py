"""Reading the values of settings."""

from __future__ import annotations

import pytest

from claude_force_nb.errors import OptionError
from claude_force_nb.notebook.options.reading import read_setting
from claude_force_nb.notebook.options.table import SETTINGS


def test_settings_read_what_toml_and_traitlets_give() -> None:
    """Numbers and booleans are read like their texts; an unknown setting names its nearest."""
    assert read_setting("stream", False, where="x") is False
    assert read_setting("max_tokens", 12, where="x") == 12
    with pytest.raises(OptionError, match="x: unknown setting 'modl'; did you mean 'model'"):
        read_setting("modl", 1, where="x")


NUMBERS = [name for name, option in SETTINGS.items() if type(option.default) in (int, float)]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *((name, value) for name in (*NUMBERS, "temperature") for value in ("-1", "nan", "-inf")),
        ("max_tokens", 0),
        ("temperature", 1.5),
        ("timeout", 0),
        ("timeout", "inf"),
        ("max_concurrent", 0),
        ("cache_ttl_hours", 0),
        ("cache_max_size_mb", "inf"),
        ("ledger_keep_days", 100_001),
        ("answers_max_age_days", 0.5),
    ],
)
def test_a_number_that_no_call_would_take_is_refused_where_it_is_set(name: str, value: object) -> None:
    """Otherwise every later cell would fail without saying which setting is wrong, and where it comes from."""
    with pytest.raises(OptionError, match=f"^pyproject.toml: {name} takes .*, not '{value}'$"):
        read_setting(name, value, where="pyproject.toml")


def test_the_numbers_at_the_edge_are_taken() -> None:
    """A setting takes every number that a call takes."""
    assert [read_setting(name, option.default, where="x") for name, option in SETTINGS.items() if name in NUMBERS]
    for name, value in {"max_tokens": 1, "max_concurrent": 1, "max_retries": 0, "memory_tokens": 1}.items():
        assert read_setting(name, value, where="x") == value
    for name, number in {
        "temperature": 0.0,
        "timeout": 0.001,
        "cache_ttl_hours": 0.01,
        "ledger_keep_days": 1.0,
    }.items():
        assert read_setting(name, number, where="x") == number
    assert read_setting("timeout", "86400", where="x") == 86_400
