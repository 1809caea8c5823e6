"""The key from the secrets of Colab and Kaggle. Stand-ins answer for their packages, which exist on their machines only."""

from __future__ import annotations

import os
import sys
import time
from types import ModuleType
from typing import Any, Callable, List

import pytest

from claude_force_nb.api import notebook_secrets
from claude_force_nb.api.credentials import find_credentials
from claude_force_nb.errors import MissingApiKeyError
from claude_force_nb.notebook.options.key import describe_key

KEY = "sk-ant-api03-kept-by-the-host-of-the-notebook"
Get = Callable[[str], Any]


class NotebookAccessError(Exception):
    """Like Colab's exception of this name, which is not a subclass of its `errors.Error`."""


@pytest.fixture(autouse=True)
def nothing_found_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notebook_secrets, "_found", {})


def on_colab(monkeypatch: pytest.MonkeyPatch, get: Get) -> None:
    google, colab, userdata = ModuleType("google"), ModuleType("google.colab"), ModuleType("google.colab.userdata")
    userdata.get, colab.userdata, google.colab = get, userdata, colab  # type: ignore[attr-defined]
    for module in (google, colab, userdata):
        monkeypatch.setitem(sys.modules, module.__name__, module)


def on_kaggle(monkeypatch: pytest.MonkeyPatch, get: Get) -> None:
    module = ModuleType("kaggle_secrets")
    module.UserSecretsClient = lambda: type("Client", (), {"get_secret": staticmethod(get)})  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "kaggle_secrets", module)
    monkeypatch.setenv("KAGGLE_KERNEL_RUN_TYPE", "Interactive")


HOSTS = pytest.mark.parametrize(("host", "source"), [(on_colab, "Colab's secrets"), (on_kaggle, "Kaggle's secrets")])


@HOSTS
def test_the_host_keeps_the_key(monkeypatch: pytest.MonkeyPatch, host: Any, source: str) -> None:
    """It is asked once, is shown masked with whose it is, and goes behind a key of the environment."""
    asked: List[str] = []
    host(monkeypatch, lambda name: asked.append(name) or f" {KEY}\n")
    found = find_credentials(None, os.environ, "https://api.anthropic.com")
    assert dict(found.arguments) == {"api_key": KEY}
    assert KEY not in repr(found)
    assert describe_key(os.environ) == ("…" + KEY[-4:], source, True)
    assert asked == ["ANTHROPIC_API_KEY"]
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-ant-of-the-environment")
    assert dict(find_credentials(None, os.environ, "").arguments) == {"api_key": "sk-ant-of-the-environment"}


@HOSTS
@pytest.mark.parametrize("answer", ["", None, NotebookAccessError("no access"), TimeoutError("no answer")])
def test_a_host_that_gives_none(monkeypatch: pytest.MonkeyPatch, host: Any, source: str, answer: Any) -> None:
    """A missing, forbidden or unanswered secret is one line that says where to add a key; the next call asks again."""
    asked: List[str] = []

    def get(name: str) -> Any:
        asked.append(name)
        if isinstance(answer, Exception):
            raise answer
        return answer

    host(monkeypatch, get)
    for _ in range(2):
        with pytest.raises(MissingApiKeyError) as raised:
            find_credentials(None, os.environ, "https://api.anthropic.com")
        assert "\n" not in str(raised.value)
        assert ("Add-ons" if "Kaggle" in source else "the key at the left edge") in str(raised.value)
    assert len(asked) == 2


def test_secret_stores_are_asked_only_on_their_own_host(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the host nothing of theirs is imported, though it could be; nor for an environment that is not this one."""
    before = set(sys.modules)
    began = time.monotonic()
    with pytest.raises(MissingApiKeyError, match="set ANTHROPIC_API_KEY in the environment, or"):
        find_credentials(None, os.environ, "https://api.anthropic.com")
    assert time.monotonic() - began < 5
    assert not {name for name in set(sys.modules) - before if name.startswith(("google", "kaggle"))}
    on_colab(monkeypatch, lambda name: KEY)
    with pytest.raises(MissingApiKeyError):
        find_credentials(None, {}, "https://api.anthropic.com")
