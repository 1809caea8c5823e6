"""Checks the key, the server, the connection to it, and the clock."""

from __future__ import annotations

import os
import time
from email.utils import parsedate_to_datetime
from http.client import HTTPException
from typing import Any, List, Mapping, NamedTuple, Optional, Tuple
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, ProxyHandler, Request, build_opener, getproxies

from claude_force_nb.api.http_environment import environment_problem
from claude_force_nb.errors import ClaudeForceError
from claude_force_nb.messages.addresses import is_loopback
from claude_force_nb.messages.nesting import load_json
from claude_force_nb.messages.request import DEFAULT_BASE_URL, normalise_base_url
from claude_force_nb.notebook.options.addresses import SIMULATOR, check_address
from claude_force_nb.notebook.options.key import describe_key
from claude_force_nb.notebook.options.settings import Settings
from claude_force_nb.text_tables import one_line

from .finding import NOTE, OK, PROBLEM, Finding

__all__ = ["look_at_server"]

_WAIT_SECONDS = 5.0
# Only this much of a response is read: enough to recognise the server.
_MOST_BYTES = 20_000
# Tolerated deviation. The API does not check clocks, but receipts and the daily budget use this machine's.
_CLOCK_SECONDS = 60.0
_NEW_ADDRESS = "%claude_config base_url=https://…"


class _Answer(NamedTuple):
    """The response of a server; status 0 if there was none."""

    status: int
    says: str
    clock: Optional[float]


def look_at_server(settings: Settings, environ: Mapping[str, str]) -> List[Finding]:
    """Check the key, the server's address and its response, proxy and certificates, and the clock.

    This sends one GET request without a key, which takes up to 5 s.
    """
    findings, clock = _look(settings, environ)
    return [*findings, _clock(clock, time.time())]


def _look(settings: Settings, environ: Mapping[str, str]) -> Tuple[List[Finding], Optional[float]]:
    """Return the findings, and the server's time if it answered."""
    try:
        address, source = settings.lookup("base_url")
        if address == SIMULATOR:
            says = f"a simulator of this session (from {source}): no key is needed, nothing is spent"
            return [Finding("Address", says)], time.time()
    except ClaudeForceError as error:
        return [_key(environ), Finding("Address", one_line(error), PROBLEM, _NEW_ADDRESS)], None
    findings = [_key(environ)]
    try:
        server = normalise_base_url(address)
        check_address(address, allow_http=settings.value("allow_http"))
    except ClaudeForceError as error:
        return [*findings, Finding("Address", one_line(error), PROBLEM, _NEW_ADDRESS)], None
    findings.append(Finding("Address", f"{server} (from {source})"))
    findings.append(_way(server))
    if findings[-1].state == PROBLEM:
        return findings, None
    answer = _ask(server)
    return [*findings, _answer(server, answer)], answer.clock


def _key(environ: Mapping[str, str]) -> Finding:
    try:
        key = describe_key(environ)
    except ClaudeForceError as error:
        return Finding("Key", one_line(error), PROBLEM, "copy the key again")
    if not key.found:
        return Finding("Key", "none", PROBLEM, "set ANTHROPIC_API_KEY, or %claude_config base_url=simulator")
    return Finding("Key", f"{key.shown} (from {key.source})")


def _way(server: str) -> Finding:
    problem = environment_problem(server)
    if problem is not None:
        return Finding("Proxy and certificates", problem, PROBLEM, "correct or unset it")
    certificates = [f"{name} is set" for name in ("SSL_CERT_FILE", "SSL_CERT_DIR") if os.environ.get(name)]
    if is_loopback(server):
        proxies = ["none used on this machine"]
    else:
        proxies = [
            f"{scheme} proxy {urlsplit(address if '://' in address else 'http://' + address).hostname}"
            for scheme, address in sorted(getproxies().items())
            if scheme in ("http", "https", "all") and address
        ] or ["no proxy"]
    return Finding("Proxy and certificates", ", ".join([*proxies, *(certificates or ["the system's certificates"])]))


class _NoRedirect(HTTPRedirectHandler):
    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


def _ask(server: str) -> _Answer:
    """Ask for the list of models without a key, which a Messages API refuses in a way that identifies it."""
    handlers = [_NoRedirect(), *([ProxyHandler({})] if is_loopback(server) else [])]
    request = Request(server + "/v1/models", headers={"anthropic-version": "2023-06-01", "accept": "application/json"})
    try:
        with build_opener(*handlers).open(request, timeout=_WAIT_SECONDS) as response:
            return _Answer(response.status, _kind(response.read(_MOST_BYTES)), _date(response.headers))
    except HTTPError as error:
        with error:
            return _Answer(error.code, _kind(error.read(_MOST_BYTES)), _date(error.headers))
    except URLError as error:
        return _Answer(0, one_line(error.reason), None)
    except (OSError, ValueError, HTTPException) as error:
        return _Answer(0, one_line(error) or type(error).__name__, None)


def _kind(body: bytes) -> str:
    """Return "Messages API" for a body that only such an API returns, else a description of the body."""
    try:
        found = load_json(body.decode("utf-8", "replace"))
    except (ValueError, RecursionError):
        return "a web page" if body.lstrip()[:1] == b"<" else "something other than JSON"
    if isinstance(found, dict) and (found.get("type") == "error" or isinstance(found.get("data"), list)):
        return "Messages API"
    return "some other JSON"


def _date(headers: Any) -> Optional[float]:
    try:
        return parsedate_to_datetime(headers.get("date") or "").timestamp()
    except (TypeError, ValueError, IndexError, OverflowError):
        return None


def _answer(server: str, answer: _Answer) -> Finding:
    if answer.status == 0:
        remedy = "start the server" if is_loopback(server) else "check network, proxy and firewall"
        return Finding("Server", f"nothing answers ({answer.says})", PROBLEM, remedy)
    if answer.says != "Messages API":
        remedy = "check base_url" + ("" if server != DEFAULT_BASE_URL else ", or the proxy that answers in its place")
        return Finding("Server", f"{answer.says} answers, with status {answer.status}", PROBLEM, remedy)
    simulated = " on this machine: its answers cost no money" if is_loopback(server) else ""
    return Finding("Server", "a Messages API answers" + simulated)


def _clock(theirs: Optional[float], ours: float) -> Finding:
    if theirs is None:
        says = f"{time.strftime('%Y-%m-%d %H:%M', time.gmtime(ours))} UTC, which no server could confirm"
        return Finding(
            "Clock", says, NOTE, "compare it with another clock: daily budgets and the age of answers depend on it"
        )
    ahead = ours - theirs
    if abs(ahead) <= _CLOCK_SECONDS:
        return Finding("Clock", "as the server's", OK)
    says = f"{abs(ahead):,.0f} s {'ahead of' if ahead > 0 else 'behind'} the server's"
    return Finding(
        "Clock", says, NOTE, "correct the clock of this machine: daily budgets and the age of answers depend on it"
    )
