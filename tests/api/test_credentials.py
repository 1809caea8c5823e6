"""Where a key comes from."""

from __future__ import annotations

import json
import os
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Dict

import pytest

from claude_force_nb.api.credentials import find_credentials
from claude_force_nb.api.transport import SdkTransport
from claude_force_nb.errors import ApiError, MissingApiKeyError
from claude_force_nb.messages.request import ClaudeRequest
from claude_force_nb.simulator import Simulator

IDENTITY = {
    "ANTHROPIC_FEDERATION_RULE_ID": "rule",
    "ANTHROPIC_ORGANIZATION_ID": "org",
    "ANTHROPIC_IDENTITY_TOKEN": "identity",
}
REQUEST = ClaudeRequest(
    {"model": "claude-haiku-5-5", "max_tokens": 500, "messages": [{"role": "user", "content": "q"}]}
)


def profile(folder: Path, *, name: str = "default", token: str = "token-of-a-profile", **more: Any) -> None:
    """Write a profile as ``ant auth login`` leaves it."""
    for kind in ("configs", "credentials"):
        (folder / kind).mkdir(parents=True, exist_ok=True)
    config = {"version": "1.0", "authentication": {"type": "user_oauth"}, **more}
    (folder / "configs" / f"{name}.json").write_text(json.dumps(config), encoding="utf-8")
    path = folder / "credentials" / f"{name}.json"
    path.write_text(json.dumps({"version": "1.0", "type": "oauth_token", "access_token": token}), encoding="utf-8")
    path.chmod(0o600)


@pytest.mark.parametrize(
    ("given", "environ", "arguments", "source"),
    [
        ("k1", {"ANTHROPIC_API_KEY": "k2"}, {"api_key": "k1"}, "a key"),
        (None, {"ANTHROPIC_API_KEY": " k2\n", "ANTHROPIC_AUTH_TOKEN": "t"}, {"api_key": "k2"}, "a key"),
        (None, {"ANTHROPIC_API_KEY": "", "ANTHROPIC_AUTH_TOKEN": "t"}, {"auth_token": "t"}, "a token"),
        (None, {"ANTHROPIC_AUTH_TOKEN": "t", "ANTHROPIC_PROFILE": "work"}, {"auth_token": "t"}, "a token"),
        (None, {"ANTHROPIC_PROFILE": "work", **IDENTITY}, {}, "ANTHROPIC_PROFILE"),
        (None, IDENTITY, {}, "workload identity"),
    ],
)
def test_the_order(given: Any, environ: Dict[str, str], arguments: Dict[str, str], source: str) -> None:
    """What is given goes before the environment, a key before a token, both before what the SDK makes itself."""
    found = find_credentials(given, environ, official=True)
    assert (found.arguments, found.source, found.made_by_sdk) == (arguments, source, not arguments)
    assert "k" not in repr(found).partition("source=")[2].replace("a key", "").replace("token", "").replace("work", "")


def test_a_profile_on_disk_is_found(tmp_path: Path) -> None:
    """The one that is active, or the default one; a folder without it is none."""
    environ = {"ANTHROPIC_CONFIG_DIR": str(tmp_path)}
    with pytest.raises(MissingApiKeyError):
        find_credentials(None, environ, official=True)
    profile(tmp_path, name="work")
    with pytest.raises(MissingApiKeyError):
        find_credentials(None, environ, official=True)
    (tmp_path / "active_config").write_text("work\n", encoding="utf-8")
    assert find_credentials(None, environ, official=True).source == "the profile work of `ant auth login`"


@pytest.mark.parametrize("missing", sorted(IDENTITY))
def test_nothing_is_found(missing: str, tmp_path: Path) -> None:
    """The line names everything that was looked for, and not whose home it is."""
    environ = {name: value for name, value in IDENTITY.items() if name != missing}
    with pytest.raises(MissingApiKeyError) as raised:
        find_credentials(None, {"HOME": os.environ["HOME"], **environ}, official=True)
    said = str(raised.value)
    for name in ("api_key=", "ANTHROPIC_AUTH_TOKEN", "ANTHROPIC_PROFILE", *IDENTITY, "ant auth login"):
        assert name in said
    assert "~" + os.sep in said
    assert os.environ["HOME"] not in said
    assert "\n" not in said


async def asked(transport: SdkTransport, simulator: Simulator) -> Any:
    from dataclasses import replace

    try:
        return [await transport.send(replace(REQUEST, base_url=simulator.url), timeout_seconds=10) for _ in range(2)]
    finally:
        await transport.close()


def test_the_sdk_sends_the_token_of_a_profile(
    run: Any, simulator: Simulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a bearer token, read anew for each call; an SDK that does not know profiles is one line."""
    profile(tmp_path)
    monkeypatch.setenv("ANTHROPIC_CONFIG_DIR", str(tmp_path))
    transport = SdkTransport(base_url=simulator.url, environ=os.environ)
    transport.check()
    assert transport.credential_id() != SdkTransport(base_url="http://127.0.0.1:1", environ=os.environ).credential_id()
    if find_spec("anthropic.lib.credentials") is None:
        with pytest.raises(MissingApiKeyError, match="cannot use it; install a newer one"):
            run(asked(transport, simulator))
        return
    assert len(run(asked(transport, simulator))) == 2
    assert simulator.counters.by_status == {200: 2}


@pytest.mark.skipif(find_spec("anthropic.lib.credentials") is None, reason="this SDK knows no profiles")
@pytest.mark.parametrize("broken", ["configs", "credentials"])
def test_a_profile_that_is_broken(
    run: Any, simulator: Simulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    """It is one line that names it, without the token; nothing is sent."""
    profile(tmp_path)
    (tmp_path / broken / "default.json").write_text('{"access_token": 5', encoding="utf-8")
    monkeypatch.setenv("ANTHROPIC_CONFIG_DIR", str(tmp_path))
    transport = SdkTransport(base_url=simulator.url, environ=os.environ)
    with pytest.raises((MissingApiKeyError, ApiError)) as raised:
        run(asked(transport, simulator))
    assert "\n" not in str(raised.value)
    assert "default" in str(raised.value)
    assert simulator.counters.calls == 0
