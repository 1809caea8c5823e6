"""%claude_config."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Dict

import pytest

from claude_force_nb.errors import OptionError
from claude_force_nb.notebook.commands.config import config
from claude_force_nb.notebook.options.settings import Settings
from claude_force_nb.notebook.options.trust import TrustStore

KEY = "sk-ant-api03-abcdefghijklmnop-wxyz"


def said(settings: Settings, line: str = "", names: Any = (), **environ: str) -> Dict[str, str]:
    return config(settings, line, names=dict(names), environ=environ)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(configurable=None, environ={}, folder=tmp_path, trust=TrustStore(tmp_path / "config"))


def test_amounts_in_the_settings_are_read_at_a_glance(tmp_path: Path) -> None:
    """``1e3`` is shown as the thousand dollars that it is."""
    settings = Settings(configurable=None, environ={"CLAUDE_FORCE_BUDGET": "1e3"}, folder=tmp_path)
    assert re.search(r"^budget +1000 +CLAUDE_FORCE_BUDGET", said(settings)["text/plain"], re.MULTILINE)


def test_what_is_set_is_shown_with_its_source(settings: Settings) -> None:
    """Without --all only settings that were set are shown, and always the server and the masked key."""
    short = said(settings, "model=haiku", ANTHROPIC_API_KEY=KEY)["text/plain"]
    assert re.search(r"^model +haiku +%claude_config", short, re.MULTILINE)
    assert re.search(r"^base_url +https://api.anthropic.com +default", short, re.MULTILINE)
    assert re.search(r"^API key +…wxyz +ANTHROPIC_API_KEY", short, re.MULTILINE)
    assert "max_retries" not in short
    assert "max_retries" in said(settings, "--all")["text/plain"]


@pytest.mark.parametrize("key", [KEY, "short-key", "x"])
def test_no_key_is_shown(settings: Settings, key: str) -> None:
    """No form shows an API key, a token, or credentials in an address."""
    settings.set("base_url", "https://user:pass-word@gateway.example")
    for variable in ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN"):
        shown = said(settings, **{variable: key})
        for form in shown.values():
            assert "pass-word" not in form
            assert key == "x" or key not in form
            assert variable.replace("_", "\\_") in form or variable in form


def test_the_password_of_the_shared_cache_is_not_shown(settings: Settings) -> None:
    """It is shown neither when it is set nor when it is refused."""
    for form in said(settings, "cache_url=rediss://team:pass-word@cache.example:6380/2").values():
        assert "pass-word" not in form
        assert "cache.example:6380/2" in form
    with pytest.raises(OptionError, match="cache_url takes redis://") as raised:
        said(settings, "cache_url=http://:pass-word@cache.example")
    assert "pass-word" not in str(raised.value)
    with pytest.raises(OptionError, match="holds a key or a password"):
        said(settings, "cache_url=redis://:pass-word@cache.example --save=user")


def test_a_project_is_trusted_here(settings: Settings, tmp_path: Path) -> None:
    """trust=on says from then on that the file decides; a wrong word changes nothing."""
    (tmp_path / "pyproject.toml").write_text("[tool.claude_force_nb]\ncache_ttl_hours = 5\n", encoding="utf-8")
    (tmp_path / "pyproject.toml").chmod(0o644)
    assert re.search(r"^trust +on ", said(settings, "trust=on")["text/plain"], re.MULTILINE)
    assert settings.value("cache_ttl_hours") == 5.0
    for line in ("trust=perhaps", "trust=off modle=haiku", "trust=off max_tokens=many"):
        with pytest.raises(OptionError):
            said(settings, line)
    assert settings.value("cache_ttl_hours") == 5.0


def test_a_wrong_word_gets_the_nearest_right_one(settings: Settings) -> None:
    """A misspelt name or value is refused with a suggestion, and nothing is set."""
    for line, near in (("modle=haiku", "'model'"), ("model=haiku cache=onn", "'on'"), ("model", "'model'")):
        with pytest.raises(OptionError, match="did you mean " + near if line != "model" else "key=value"):
            said(settings, line)
    assert settings.lookup("model")[1] == "default"


def test_help_has_examples(settings: Settings) -> None:
    """--help lists every setting and what to type."""
    shown = said(settings, "--help")["text/plain"]
    assert "allow_http=" in shown
    assert "%claude_config model=haiku budget=2" in shown
