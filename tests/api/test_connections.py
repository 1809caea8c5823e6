"""Connections: kept, closed, encrypted, and through a proxy."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import re
import socket
import ssl
import struct
import subprocess
import traceback
import warnings
from base64 import b64encode
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List

import pytest
from aiohttp import web
from support.stream_server import StreamServer
from support.transports import KEY, Handler, request, result, see_every_call, transport

from claude_force_nb.api import connections
from claude_force_nb.api.connections import MOST_REFUSAL_BYTES
from claude_force_nb.api.http_environment import connection_settings
from claude_force_nb.errors import ApiError, BrokenConnectionError, CallTimeoutError, ConfigurationError, ServerError
from claude_force_nb.orchestrator import AsyncAgentOrchestrator

MESSAGE = {"type": "message", "role": "assistant", "content": [{"type": "text", "text": "hello"}], "model": "m"}
BASIC = "Basic " + b64encode(b"me:pass word").decode()


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


def ask(run: Any, url: str, *prompts: str, **options: Any) -> List[str]:
    async def main() -> List[str]:
        before = asyncio.all_tasks()
        way = transport(url, **options)
        try:
            return [result(await way.send(request(each), timeout_seconds=20)).text for each in prompts]
        finally:
            await way.close()
            # aiohttp may still be asking a thread whether a large body has ended.
            others = asyncio.all_tasks() - before
            if others:
                await asyncio.wait(others, timeout=10)

    answers: List[str] = run(main())
    return answers


def test_a_connection_is_kept_for_the_next_call(run: Any, serve: Callable[[Handler], str]) -> None:
    """A connection is kept after a response that was read to its end; after any other it is closed."""
    peers: List[Any] = []

    async def handler(incoming: web.Request) -> web.StreamResponse:
        assert incoming.transport is not None
        peers.append(incoming.transport.get_extra_info("peername"))
        if len(peers) == 3:
            return web.Response(status=500, body=b"x" * (MOST_REFUSAL_BYTES + 5_000_000))
        return web.json_response(MESSAGE)

    async def main() -> None:
        way = transport(serve(handler))
        for number in range(5):
            if number == 2:
                with pytest.raises(ServerError):
                    await way.send(request(), timeout_seconds=20)
            else:
                assert result(await way.send(request(), timeout_seconds=20)).text == "hello"
        await way.close()

    run(main())
    assert peers[0] == peers[1] == peers[2]
    assert peers[2] != peers[3] == peers[4]


def test_a_connection_that_was_idle_is_not_used_again(
    run: Any, serve: Callable[[Handler], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Servers close idle connections after 5 s, so ours are closed before that."""
    assert connections._IDLE_SECONDS < 5
    monkeypatch.setattr(connections, "_IDLE_SECONDS", 0.2)
    peers: List[Any] = []

    async def handler(incoming: web.Request) -> web.StreamResponse:
        assert incoming.transport is not None
        peers.append(incoming.transport.get_extra_info("peername"))
        return web.json_response(MESSAGE)

    async def main() -> None:
        way = transport(serve(handler))
        for _ in range(2):
            await way.send(request(), timeout_seconds=20)
            await asyncio.sleep(0.5)
        await way.close()

    run(main())
    assert peers[0] != peers[1]


@pytest.mark.parametrize("ending", ["closed before it asks", "closed as it asks", "reset as it asks"])
def test_a_server_that_ends_an_idle_connection(run: Any, tmp_path: Path, ending: str) -> None:
    """The next call is answered: at once if the close was noticed in time, otherwise by a retry."""
    asked: List[int] = []
    connected: List[asyncio.StreamWriter] = []
    noticed: List[asyncio.Event] = []
    body = json.dumps({**MESSAGE, "usage": {"input_tokens": 1, "output_tokens": 1}}).encode()
    head = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n".encode()

    async def serve_one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connected.append(writer)
        first = len(connected) == 1
        while lines := await reader.readuntil(b"\r\n\r\n"):
            await reader.readexactly(int(re.findall(rb"(?i)content-length: (\d+)", lines)[0]))
            if first and asked:
                asked.append(0)
                if ending.startswith("reset"):
                    writer.transport.get_extra_info("socket").setsockopt(
                        socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
                    )
                break
            asked.append(1)
            writer.write(head + body)
            if first and ending == "closed before it asks":
                writer.write_eof()
                await reader.read()  # until the client closes its side, too
                noticed[0].set()
                break

    async def main() -> List[Any]:
        noticed.append(asyncio.Event())
        environ = {"CLAUDE_FORCE_DATA_DIR": str(tmp_path)}
        options: Dict[str, Any] = {"api_key": KEY, "enable_cache": False, "ledger": None, "environ": environ}
        answers = []
        async with StreamServer(serve_one) as server, AsyncAgentOrchestrator(
            base_url=server.url, **options
        ) as orchestrator:
            for prompt in ("a", "b"):
                answers.append(await orchestrator.run(prompt))
                if ending == "closed before it asks":
                    await asyncio.wait_for(noticed[0].wait(), 20)
        return answers

    first, second = run(main())
    assert (first.text, second.text) == ("hello", "hello")
    if ending == "closed before it asks":
        assert (second.attempts, asked) == (1, [1, 1])
    else:
        assert (second.attempts, asked) == (2, [1, 0, 1])
    assert len(connected) == 2


def test_more_calls_at_a_time_than_http_libraries_allow_by_default(run: Any, serve: Callable[[Handler], str]) -> None:
    """The HTTP library does not limit concurrency: 150 calls are in flight together."""
    waiting: List[int] = []

    async def handler(_: web.Request) -> web.StreamResponse:
        waiting.append(1)
        while len(waiting) < 150:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        return web.json_response(MESSAGE)

    async def main() -> None:
        way = transport(serve(handler))
        answers = await asyncio.gather(*(way.send(request(str(n)), timeout_seconds=30) for n in range(150)))
        assert len(answers) == 150
        await way.close()

    run(main())


@pytest.mark.parametrize("way", ["connections", "sdk"])
def test_a_large_body_warns_of_nothing(
    run: Any, serve: Callable[[Handler], str], monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    """Such as one with an image: it is sent as smaller ones are, byte by byte, each time, and the process's filters stay as they are."""
    received: List[bytes] = []
    headers: List[Dict[str, str]] = []

    async def handler(incoming: web.Request) -> web.StreamResponse:
        received.append(await incoming.content.read())
        headers.append({name.lower(): value for name, value in incoming.headers.items()})
        return web.json_response(MESSAGE)

    texts = ["small", "x" * 3_000_000, "ä" * 1_000_000, "x" * 3_000_000]
    if way == "sdk":
        see_every_call(monkeypatch)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        ask(run, serve(handler), "the first call may add the one filter that it needs")
        received.clear()
        headers.clear()
        before = list(warnings.filters)
        ask(run, serve(handler), *texts)
        gc.collect()
        assert list(warnings.filters) == before
    for text, body, each in zip(texts, received, headers):
        assert json.loads(body) == request(text).body
        assert each["content-length"] == str(len(body))
        assert "transfer-encoding" not in each
        assert each["content-type"] == "application/json"
        assert {name for name in each if name != "content-length"} == {
            name for name in headers[0] if name != "content-length"
        }
    assert received[1] == received[3]
    assert len(received) == 4
    assert not [str(each.message) for each in caught if issubclass(each.category, ResourceWarning)]


class TestProxy:
    """A proxy is used as the environment says, and gets what is meant for it."""

    @pytest.mark.parametrize("name", ["HTTP_PROXY", "http_proxy", "ALL_PROXY"])
    def test_plain_http(
        self, run: Any, serve: Callable[[Handler], str], monkeypatch: pytest.MonkeyPatch, name: str
    ) -> None:
        """It gets the whole address and its own password; the server's key goes along, as with every proxy."""
        seen: List[web.Request] = []

        async def handler(incoming: web.Request) -> web.StreamResponse:
            seen.append(incoming)
            return web.json_response(MESSAGE)

        monkeypatch.setenv(name, serve(handler).replace("http://", "http://me:pass%20word@"))
        assert ask(run, "http://gateway.invalid/v9", "a", "b", allow_http=True) == ["hello"] * 2
        for each in seen:
            assert str(each.url) == "http://gateway.invalid/v9/v1/messages"
            assert (each.headers["proxy-authorization"], each.headers["x-api-key"]) == (BASIC, KEY)
        monkeypatch.setenv("NO_PROXY", "elsewhere.example,.invalid")
        with pytest.raises(BrokenConnectionError):
            ask(run, "http://gateway.invalid", "c", allow_http=True)
        assert len(seen) == 2

    @pytest.mark.parametrize("status", [200, 407, 502])
    @pytest.mark.parametrize("way", ["connections", "sdk"])
    def test_a_password_that_is_echoed_reaches_nothing(
        self, run: Any, serve: Callable[[Handler], str], monkeypatch: pytest.MonkeyPatch, way: str, status: int
    ) -> None:
        """Neither an answer, its headers, an error nor a log has the password, the header or the address that the proxy repeats."""
        told = ["s3cret/pass+word", "s3cret%2Fpass+word", "me:s3cret/pass+word"]
        told.append(b64encode(told[-1].encode()).decode())

        async def handler(incoming: web.Request) -> web.StreamResponse:
            assert incoming.headers["proxy-authorization"] == f"Basic {told[-1]}"
            words = " | ".join([*told, *incoming.headers.getall("proxy-authorization")])
            headers = {"request-id": told[-1], "retry-after": "1"}
            body = {**MESSAGE, "content": [{"type": "text", "text": words}], "error": {"message": words}}
            return web.json_response(body, status=status, headers=headers)

        if way == "sdk":
            see_every_call(monkeypatch)
        monkeypatch.setenv("HTTP_PROXY", serve(handler).replace("http://", f"http://me:{told[1]}@"))
        records: List[str] = []
        monkeypatch.setattr(logging.Logger, "handle", lambda _, record: records.append(record.getMessage()))
        monkeypatch.setattr(logging.getLogger("claude_force_nb"), "level", logging.DEBUG)

        async def main() -> str:
            sender = transport("http://gateway.invalid", allow_http=True)
            try:
                answer = await sender.send(request(), timeout_seconds=20)
                return repr(answer) + repr(sender) + result(answer).text
            except ApiError as error:
                return "".join(traceback.format_exception(type(error), error, error.__traceback__)) + repr(vars(error))
            finally:
                await sender.close()

        shown = run(main()) + "".join(records)
        assert "…" in shown
        assert not [each for each in told if each in shown]

    def test_this_machine_needs_none(
        self, run: Any, serve: Callable[[Handler], str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Calls to loopback addresses do not go through the proxy."""

        async def handler(_: web.Request) -> web.StreamResponse:
            return web.json_response(MESSAGE)

        monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
        assert ask(run, serve(handler), "a") == ["hello"]


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a certificate for ``gateway.invalid`` and 127.0.0.1, made by openssl and signed by itself."""
    folder = tmp_path_factory.mktemp("authority")
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=gateway.invalid"]
    names = ["-addext", "subjectAltName=DNS:gateway.invalid,IP:127.0.0.1", "-keyout", "key.pem", "-out", "cert.pem"]
    try:
        subprocess.run([*command, *names], cwd=folder, check=True, capture_output=True)
    except FileNotFoundError:
        pytest.skip("openssl is not installed")
    return folder


class Encrypted:
    """A server behind TLS, and a proxy that leads to it whatever it is asked for."""

    def __init__(self, folder: Path) -> None:
        self.keys: List[str] = []
        self.asked: List[str] = []
        self.headers: List[Dict[str, str]] = []
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._tls.load_cert_chain(str(folder / "cert.pem"), str(folder / "key.pem"))

    async def start(self) -> None:
        loop = asyncio.get_running_loop()
        self._web = web.Server(self._handle)  # type: ignore[arg-type]
        self._server = await loop.create_server(self._web, "127.0.0.1", 0, ssl=self._tls)
        self.port = self._server.sockets[0].getsockname()[1]
        self._proxy = await StreamServer(self._connect).__aenter__()
        self.proxy_port = self._proxy.port

    async def stop(self) -> None:
        self._server.close()
        await self._web.shutdown(0.1)
        await self._proxy.__aexit__()

    async def _handle(self, incoming: web.Request) -> web.StreamResponse:
        self.keys.append(incoming.headers["x-api-key"])
        self.headers.append(dict(incoming.headers))
        return web.json_response(MESSAGE)

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.asked.append((await reader.readuntil(b"\r\n\r\n")).decode())
        server_reader, server_writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")

        async def pass_on(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
            while piece := await source.read(65_536):
                target.write(piece)
            target.close()

        await asyncio.gather(pass_on(reader, server_writer), pass_on(server_reader, writer), return_exceptions=True)


def with_encrypted(run: Any, folder: Path, work: Callable[[Encrypted], Any]) -> Encrypted:
    async def main() -> Encrypted:
        server = Encrypted(folder)
        await server.start()
        try:
            await work(server)
        finally:
            await server.stop()
        return server

    made: Encrypted = run(main())
    return made


# Python 3.8's asyncio leaves the transport of a handshake that failed to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_certificates_of_the_environment_are_trusted(
    run: Any, authority: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without them nothing is sent, and it is known that it was not."""

    async def work(server: Encrypted) -> None:
        url = f"https://127.0.0.1:{server.port}"
        way = transport(url)
        with pytest.raises(BrokenConnectionError, match="cannot reach") as caught:
            await way.send(request(), timeout_seconds=20)
        assert caught.value.never_left
        await way.close()
        assert server.keys == []
        monkeypatch.setenv("SSL_CERT_FILE", str(authority / "cert.pem"))
        way = transport(url)
        assert result(await way.send(request(), timeout_seconds=20)).text == "hello"
        await way.close()

    assert with_encrypted(run, authority, work).keys == [KEY]


def test_a_proxy_of_encrypted_calls_sees_the_name_alone(
    run: Any, authority: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is asked for a connection, with its own password, which goes no further; the key stays inside of the encryption."""

    async def work(server: Encrypted) -> None:
        monkeypatch.setenv("SSL_CERT_FILE", str(authority / "cert.pem"))
        monkeypatch.setenv("HTTPS_PROXY", f"http://me:pass%20word@127.0.0.1:{server.proxy_port}")
        way = transport("https://gateway.invalid")
        for prompt in ("a", "b"):
            assert result(await way.send(request(prompt), timeout_seconds=20)).text == "hello"
        await way.close()

    server = with_encrypted(run, authority, work)
    assert len(server.asked) == 1
    assert server.asked[0].startswith("CONNECT gateway.invalid:443 HTTP/1.1\r\n")
    assert BASIC in server.asked[0]
    assert KEY not in server.asked[0]
    assert server.keys == [KEY] * 2
    assert not any("proxy" in name.lower() for headers in server.headers for name in headers)


@pytest.fixture
def unused_port() -> Iterator[int]:
    """A port that is taken, and where nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


@pytest.mark.parametrize("host", ["127.0.0.1", "proxy.invalid"])
@pytest.mark.parametrize("sdk", [False, True])
def test_a_proxy_that_cannot_be_reached_is_named(
    run: Any, monkeypatch: pytest.MonkeyPatch, unused_port: int, host: str, sdk: bool
) -> None:
    """By its host and port, and the variables that name it: nothing is wrong with the server's address."""
    monkeypatch.setenv("HTTPS_PROXY", f"http://me:long%20password@{host}:{unused_port}")
    if sdk:
        see_every_call(monkeypatch)
    with pytest.raises(BrokenConnectionError) as caught:
        ask(run, "https://api.anthropic.com", "hello")
    assert f"cannot reach https://api.anthropic.com through the proxy {host}:{unused_port} (see" in str(caught.value)
    assert "password" not in str(caught.value)
    assert caught.value.never_left


@pytest.mark.parametrize("address", ["http://127.0.0.1:{}", "http://LOCALHOST:{}", "http://bücher.invalid:{}"])
def test_a_server_that_cannot_be_reached_is_not_called_a_proxy(run: Any, unused_port: int, address: str) -> None:
    with pytest.raises(BrokenConnectionError, match=r"^cannot reach http://[^ ]+: ") as caught:
        ask(run, address.format(unused_port), "hello", allow_http=True)
    assert "proxy" not in str(caught.value)


def test_a_proxy_that_never_answers_is_not_waited_for(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The proxy accepts the connection, but does not answer CONNECT."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{silent.getsockname()[1]}")

        async def main() -> None:
            way = transport("https://gateway.invalid")
            try:
                with pytest.raises(CallTimeoutError, match="in time"):
                    await asyncio.wait_for(way.send(request(), timeout_seconds=0.3), 30)
            finally:
                await way.close()

        run(main())


def test_the_machines_own_certificates_are_read() -> None:
    """The machine's own certificates are used if the environment names none."""
    assert connection_settings("https://api.anthropic.com").tls.verify_mode is ssl.CERT_REQUIRED
    assert connection_settings("https://api.anthropic.com").proxy is None


def test_certificates_that_cannot_be_read_are_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A certificate file that is invalid is reported in one line."""
    (tmp_path / "cert.pem").write_text("nothing")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "cert.pem"))
    with pytest.raises(ConfigurationError, match=r"no connection can be made .* check SSL_CERT_FILE"):
        connection_settings("https://api.anthropic.com")
