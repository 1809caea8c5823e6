"""What the environment says about connections is checked before anything is sent."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any, Dict, Optional

import pytest

from claude_force_nb.api.http_environment import is_loopback, make_http_client
from claude_force_nb.errors import ConfigurationError

SERVER = "https://api.anthropic.com"

HINT = "in a password, write / as %2F, ? as %3F and # as %23"


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


def client(**options: Any) -> Dict[str, Any]:
    return options


@pytest.mark.parametrize(
    ("server", "expected"),
    [
        ("http://localhost:8000", True),
        ("http://localhost.:8000", True),
        ("https://127.0.0.1", True),
        ("http://127.3.2.1:1", True),
        ("http://[::1]:1", True),
        ("http://128.0.0.1", False),
        ("http://localhost.example.org", False),
        ("http://10.0.0.1", False),
        ("", False),
    ],
)
def test_what_is_on_this_machine(server: str, expected: bool) -> None:
    assert is_loopback(server) is expected


@pytest.mark.parametrize("server", ["http://127.0.0.1:8080", "http://localhost.:1/v1", "http://[::1]:80"])
def test_a_plain_server_on_this_machine_needs_no_certificates(server: str) -> None:
    """None are read, which takes long, and none are trusted either."""
    context = make_http_client(client, server)["verify"]
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)
    assert context.cert_store_stats()["x509"] == 0
    for other in (SERVER, "https://127.0.0.1", "http://10.0.0.1"):
        assert make_http_client(client, other) == {}


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("http://proxy.example:3128", None),
        ("https://user:pa55word@proxy.example", None),
        ("proxy.example:3128", None),
        ("", None),
        ("http://proxy.example:port", "is not a valid address"),
        ("http://", "has no host"),
        ("http://user:pa55/word@proxy.example:3128", "is not a valid address"),
        ("http://user:55/word@proxy.example:3128", f"is not a valid address; {HINT}"),
        ("http://user:55?word@proxy.example:3128", f"is not a valid address; {HINT}"),
        ("http://user:55#word@proxy.example:3128", f"is not a valid address; {HINT}"),
        ("http:/user:pa55word@proxy.example:3128", f"is not a valid address; {HINT}"),
        ("http://user:pa%2F55%40word@proxy.example:3128", None),
        (
            "socks5://user:pa55word@proxy.example:1080",
            "is socks5://, and only http:// and https:// proxies can be used",
        ),
    ],
)
@pytest.mark.parametrize("variable", ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"])
def test_a_proxy_that_cannot_be_one_is_named(
    monkeypatch: pytest.MonkeyPatch, variable: str, address: str, said: Optional[str]
) -> None:
    """In one line, and without what may be its password; what goes to this machine needs no proxy."""
    monkeypatch.setenv(variable, address)
    options = make_http_client(client, "http://127.0.0.1:1", timeout=5)
    assert (options["timeout"], options["trust_env"]) == (5, False)
    if said is None:
        assert make_http_client(client, SERVER, timeout=5) == {"timeout": 5}
        return
    for server in (SERVER, "https://127.0.0.1:1"):
        with pytest.raises(ConfigurationError) as raised:
            make_http_client(client, server)
        assert str(raised.value) == f"the proxy in {variable} {said}; correct or unset it; nothing was sent"


@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "SSL_CERT_DIR"])
def test_certificates_that_are_not_there_are_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, variable: str
) -> None:
    """Missing certificates are reported, files as files and folders as folders."""
    (tmp_path / "file").touch()
    right, wrong = (tmp_path / "file", tmp_path) if variable == "SSL_CERT_FILE" else (tmp_path, tmp_path / "file")
    monkeypatch.setenv(variable, str(right))
    assert make_http_client(client, SERVER) == {}
    for path in (wrong, tmp_path / "nowhere"):
        monkeypatch.setenv(variable, str(path))
        with pytest.raises(ConfigurationError, match=f"{variable} names .*, which does not exist"):
            make_http_client(client, SERVER)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ValueError("no such\n thing"), "no such thing"),
        (FileNotFoundError(2, "No such file or directory"), "No such file or directory"),
        (ssl.SSLError(1, "[SSL] PEM lib"), "[SSL] PEM lib"),
        (KeyError(), "KeyError"),
    ],
)
def test_a_client_that_cannot_be_made_says_why(error: Exception, reason: str) -> None:
    def make(**options: Any) -> Any:
        raise error

    with pytest.raises(ConfigurationError) as raised:
        make_http_client(make, SERVER)
    assert str(raised.value).startswith(f"no connection can be made ({reason}); check SSL_CERT_FILE")
