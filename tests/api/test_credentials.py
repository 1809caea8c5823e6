"""What calls are signed with: keys, tokens, profiles of ``ant auth login``, workload identity; as far as the SDK knows them."""

from __future__ import annotations

import json
import os
import re
import time
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional

import pytest
from aiohttp import web
from support.transports import Handler, request, result

from claude_force_nb.api import credentials
from claude_force_nb.api.answer import PartialAnswer
from claude_force_nb.api.credentials import find_credentials
from claude_force_nb.api.transport import ApiTransport
from claude_force_nb.errors import ApiError, AuthenticationError, ConfigurationError, MissingApiKeyError

MESSAGE: Dict[str, Any] = {"type": "message", "model": "m", "content": [{"type": "text", "text": "hi"}]}
KNOWN = credentials._sdk_has_chain()
needs_chain = pytest.mark.skipif(not KNOWN, reason="this SDK has no chain of credentials")
FEDERATION = {
    "ANTHROPIC_FEDERATION_RULE_ID": "fdrl_1",
    "ANTHROPIC_ORGANIZATION_ID": "org-1",
    "ANTHROPIC_SERVICE_ACCOUNT_ID": "svac_1",
    "ANTHROPIC_IDENTITY_TOKEN": "header.payload.signature",
}


class Api:
    """Takes calls that carry the token which it gave out last, at an endpoint of its own."""

    def __init__(self) -> None:
        self.tokens: List[str] = []
        self.signed: List[str] = []
        self.headers: List[Dict[str, str]] = []
        self.exchanges: List[Dict[str, Any]] = []
        self.lives_seconds = 3600
        self.echo = ""

    def give(self) -> str:
        self.tokens.append(f"sk-ant-oat01-token-number-{len(self.tokens)}")
        return self.tokens[-1]

    async def handle(self, incoming: web.Request) -> web.StreamResponse:
        if incoming.path == "/v1/oauth/token":
            self.exchanges.append(dict(await incoming.json()))
            return web.json_response(
                {"access_token": self.give(), "token_type": "Bearer", "expires_in": self.lives_seconds}
            )
        self.headers.append({name.lower(): value for name, value in incoming.headers.items()})
        self.signed.append(incoming.headers.get("authorization", ""))
        if self.signed[-1] != f"Bearer {self.tokens[-1]}":
            error = {"type": "authentication_error", "message": f"invalid token {self.signed[-1]}"}
            return web.json_response({"type": "error", "error": error}, status=401)
        return web.json_response({**MESSAGE, "content": [{"type": "text", "text": f"hi{self.echo} {self.signed[-1]}"}]})


@pytest.fixture
def api() -> Api:
    return Api()


@pytest.fixture
def url(api: Api, serve: Callable[[Handler], str]) -> str:
    return serve(api.handle)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of profiles, in the home of these tests."""
    home = Path(os.environ["HOME"]) / ".config" / "anthropic"
    for name in ("configs", "credentials"):
        (home / name).mkdir(parents=True)
    return home


def write_profile(folder: Path, name: str, token: str, **config: Any) -> None:
    authentication = {"type": "user_oauth"}
    (folder / "configs" / f"{name}.json").write_text(json.dumps({"authentication": authentication, **config}))
    secret = folder / "credentials" / f"{name}.json"
    secret.write_text(json.dumps({"access_token": token, "expires_at": int(time.time()) + 3600}))
    secret.chmod(0o600)


async def ask(url: Optional[str], times: int = 1, *, stream: bool = False) -> List[str]:
    way = ApiTransport(base_url=url, environ=os.environ)
    texts = []
    try:
        for _ in range(times):
            partial = PartialAnswer() if stream else None
            texts.append(result(await way.send(request(), timeout_seconds=20, partial=partial)).text)
    finally:
        await way.close()
    return texts


@needs_chain
@pytest.mark.parametrize("how", ["default", "pointer", "named", "elsewhere"])
def test_a_profile_signs_every_call(
    run: Any, api: Api, url: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """The active one, or the one that is named; its token comes through nowhere."""
    name = "default" if how in ("default", "elsewhere") else "work"
    if how == "pointer":
        (folder / "active_config").write_text("work\n")
    elif how == "named":
        monkeypatch.setenv("ANTHROPIC_PROFILE", "work")
    elif how == "elsewhere":
        elsewhere = tmp_path / "profiles"
        folder.rename(elsewhere)
        monkeypatch.setenv("ANTHROPIC_CONFIG_DIR", str(elsewhere))
        folder = elsewhere
    write_profile(folder, name, api.give(), workspace_id="wrkspc_1")
    assert find_credentials(None, os.environ, url).chain == f"profile {name}"
    texts = run(ask(url, 3))
    assert set(api.signed) == {f"Bearer {api.tokens[0]}"}
    assert len(api.signed) == 3
    assert all("oauth-2025-04-20" in sent["anthropic-beta"] for sent in api.headers)
    assert all(sent["anthropic-workspace-id"] == "wrkspc_1" for sent in api.headers)
    assert all("x-api-key" not in sent for sent in api.headers)
    assert not any(api.tokens[0] in text for text in texts)


@needs_chain
@pytest.mark.parametrize("stream", [False, True])
def test_a_token_that_was_renewed_on_disk_is_used(run: Any, api: Api, url: str, folder: Path, stream: bool) -> None:
    """`ant` renews the file; a refused call is signed anew, once."""
    write_profile(folder, "default", api.give())

    async def main() -> None:
        way = ApiTransport(base_url=url, environ=os.environ)
        for _ in range(3):
            write_profile(folder, "default", api.give())
            partial = PartialAnswer() if stream else None
            answer = await way.send(request(), timeout_seconds=20, partial=partial)
            assert not any(token in result(answer).text for token in api.tokens)
        await way.close()

    run(main())
    assert api.signed[-1] == f"Bearer {api.tokens[-1]}"


@needs_chain
def test_workload_identity_is_exchanged_and_renewed(
    run: Any, api: Api, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One exchange serves all calls for as long as its token lives."""
    for name, value in FEDERATION.items():
        monkeypatch.setenv(name, value)
    assert find_credentials(None, os.environ, url).chain == "workload identity"
    run(ask(url, 3))
    assert len(api.exchanges) == 1
    assert api.exchanges[0]["assertion"] == FEDERATION["ANTHROPIC_IDENTITY_TOKEN"]
    assert len(set(api.signed)) == 1
    api.lives_seconds = 5  # less than the SDK lets a token be used for
    run(ask(url, 2))
    assert len(api.exchanges) == 3


@needs_chain
def test_a_token_that_is_refused_is_shown_nowhere(run: Any, api: Api, url: str, folder: Path) -> None:
    """Also where the first call is refused and the server repeats what it got."""
    write_profile(folder, "default", "sk-ant-oat01-old-and-secret")
    api.give()
    with pytest.raises(AuthenticationError) as raised:
        run(ask(url))
    assert "old-and-secret" not in str(raised.value)
    assert isinstance(raised.value, ApiError)


@needs_chain
def test_a_profile_of_another_server_does_not_go_to_this_one(run: Any, api: Api, url: str, folder: Path) -> None:
    write_profile(folder, "default", api.give(), base_url="https://staging.example.com")
    with pytest.raises(
        ConfigurationError, match=r"profile default is for https://staging\.example\.com, but calls go to"
    ):
        run(ask(url))
    assert api.signed == []


@needs_chain
@pytest.mark.parametrize("broken", ["no such profile", "not json", "odd name"])
def test_a_profile_that_cannot_be_used_is_one_line(
    run: Any, api: Api, url: str, folder: Path, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    monkeypatch.setenv("ANTHROPIC_PROFILE", "../../etc/passwd" if broken == "odd name" else "work")
    if broken == "not json":
        (folder / "configs" / "work.json").write_text("{")
    with pytest.raises(ConfigurationError) as raised:
        run(ask(url))
    assert "\n" not in str(raised.value)
    assert "profile" in str(raised.value)
    assert api.signed == []


def test_keys_go_before_profiles(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_profile(folder, "default", "sk-ant-oat01-token")
    monkeypatch.setenv("ANTHROPIC_AUTH_TOKEN", "token")
    assert find_credentials(None, os.environ, "x").arguments == {"auth_token": "token"}
    monkeypatch.setenv("ANTHROPIC_API_KEY", "key")
    assert find_credentials(None, os.environ, "x").arguments == {"api_key": "key"}
    assert find_credentials("given", os.environ, "x").arguments == {"api_key": "given"}
    assert "given" not in repr(find_credentials("given", os.environ, "x"))


def test_what_was_looked_for_is_named() -> None:
    """Where there is nothing, and where another environment than this process's was given."""
    for environ in (os.environ, {}, {"ANTHROPIC_PROFILE": "work"}):
        with pytest.raises(MissingApiKeyError) as raised:
            find_credentials(None, environ, "https://api.anthropic.com")
        for name in ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "ant auth login", "workload identity"):
            assert name in str(raised.value)


@pytest.mark.skipif(KNOWN, reason="this SDK has a chain of credentials")
def test_an_older_sdk_is_named(folder: Path) -> None:
    write_profile(folder, "default", "sk-ant-oat01-token")
    with pytest.raises(
        MissingApiKeyError, match="installed anthropic package cannot use the profile default: upgrade it"
    ):
        find_credentials(None, os.environ, "x")


@needs_chain
@pytest.mark.parametrize("broken", ["gone", "not json", "no token", "exchange refused"])
def test_a_token_that_cannot_be_had_is_one_line(
    run: Any, api: Api, serve: Callable[[Handler], str], folder: Path, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    """Whatever is wrong with it; nothing reaches the API."""

    async def refuse(_: web.Request) -> web.StreamResponse:
        return web.json_response({"error": "invalid_grant"}, status=400)

    url = serve(refuse if broken == "exchange refused" else api.handle)
    if broken == "exchange refused":
        for name, value in FEDERATION.items():
            monkeypatch.setenv(name, value)
    else:
        write_profile(folder, "default", api.give())
        secret = folder / "credentials" / "default.json"
        if broken == "no token":
            secret.write_text(json.dumps({"expires_at": 1}))
        elif broken == "not json":
            secret.write_text("{")
        else:
            secret.unlink()
    with pytest.raises(AuthenticationError) as raised:
        run(ask(url))
    assert re.match("the (profile default|workload identity) did not give a token: .*; log in again", str(raised.value))
    assert "\n" not in str(raised.value)
    assert "sk-ant" not in str(raised.value)
    assert api.signed == []
