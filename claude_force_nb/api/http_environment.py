"""The connection settings in the process's environment: certificates and proxies, checked before anything is sent."""

from __future__ import annotations

import os
import platform
import re
import ssl
from base64 import b64encode
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, Callable, Dict, List, Mapping, Optional
from urllib.parse import unquote, urlsplit, urlunsplit
from urllib.request import getproxies, proxy_bypass

from claude_force_nb.errors import ConfigurationError
from claude_force_nb.messages.addresses import is_loopback

from .failures import shown_text

__all__ = [
    "ConnectionSettings",
    "Proxy",
    "basic_authorization",
    "connection_settings",
    "custom_headers",
    "environment_problem",
    "make_http_client",
    "secrets_of_headers",
    "secrets_of_proxies",
]

# Match whole words only: the values of these headers are redacted from answers, so X-Author and X-Cache-Key must not
# match.
_SECRET_HEADER = re.compile(
    r"(?:^|[-_])(?:authorization|auth|token|secret|password|cookie|(?:api|access|subscription)[-_]?key)$", re.IGNORECASE
)


@dataclass(frozen=True)
class Proxy:
    """A proxy server.

    Attributes
    ----------
    address : str
        Address without name and password.
    authorization : str
        Name and password in the form of the header (RFC 7617); "" if the address has none.
    """

    address: str
    authorization: str = field(default="", repr=False)


@dataclass(frozen=True)
class ConnectionSettings:
    """How to connect to a server.

    Attributes
    ----------
    tls : ssl.SSLContext
        The trusted certificates.
    proxy : Proxy or None
    """

    tls: ssl.SSLContext
    proxy: Optional[Proxy] = None


def connection_settings(server: str) -> ConnectionSettings:
    """Return the certificates and the proxy that the process's environment specifies for a server.

    ``SSL_CERT_FILE`` and ``SSL_CERT_DIR`` replace the machine's certificates. ``HTTPS_PROXY``, ``HTTP_PROXY``,
    ``ALL_PROXY`` and ``NO_PROXY`` work as in `urllib.request`, including the system's settings. A plain ``http`` server
    on this machine is reached without a proxy.

    Raises
    ------
    ConfigurationError
        See `make_http_client`.
    """
    _check(server)
    if _stays_here(server):
        return ConnectionSettings(_no_certificates())
    try:
        return ConnectionSettings(_certificates(), _proxy_for(server))
    except Exception as error:
        raise _cannot_connect(error) from None


def _certificates() -> ssl.SSLContext:
    file, folder = os.environ.get("SSL_CERT_FILE") or None, os.environ.get("SSL_CERT_DIR") or None
    if file or folder:
        return ssl.create_default_context(cafile=file, capath=folder)
    if platform.system() == "Darwin":
        # Python does not read the macOS keychain; truststore does. The SDK depends on it from Python 3.10 on.
        try:
            made: ssl.SSLContext = import_module("truststore").SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            return made
        except ImportError:
            pass
    context = ssl.create_default_context()
    folder = ssl.get_default_verify_paths().capath
    if not context.cert_store_stats()["x509_ca"] and (folder is None or not os.listdir(folder)):
        try:
            context.load_verify_locations(import_module("certifi").where())
        except ImportError:
            pass
    return context


def _no_certificates() -> ssl.SSLContext:
    """Return a context without certificates, for connections without TLS: loading the machine's takes longer than a call."""
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def _proxy_for(server: str) -> Optional[Proxy]:
    parts = urlsplit(server)
    proxies = getproxies()
    address = proxies.get(parts.scheme) or proxies.get("all")
    if not address or proxy_bypass(parts.netloc):
        return None
    parts = urlsplit(address if "://" in address else f"http://{address}")
    user, _, host = parts.netloc.rpartition("@")
    return Proxy(urlunsplit(parts._replace(netloc=host)), basic_authorization(unquote(user)) if user else "")


def secrets_of_proxies() -> List[str]:
    """Return the passwords of the proxies in the environment: alone, as ``user:password``, and encoded as in a header.

    A proxy may repeat them in an error page, and an HTTP library may show the whole address in an exception.
    """
    found: List[str] = []
    for address in getproxies().values():
        user, _, host = address.partition("://")[2 if "://" in address else 0].rpartition("@")
        # If a password contains an unescaped slash, the rest of it ends up in the path.
        if user and host:
            passwords = (user.partition(":")[2], unquote(user).partition(":")[2])
            header = basic_authorization(unquote(user)).partition(" ")[2]
            found += [each for each in (*passwords, user, unquote(user), header) if each]
    return found


def basic_authorization(user_and_password: str) -> str:
    """Return ``name:password`` in the form of the Authorization header (RFC 7617)."""
    return f"Basic {b64encode(user_and_password.encode('utf-8')).decode('ascii')}"


def custom_headers(environ: Mapping[str, str]) -> Dict[str, str]:
    """Return the headers in ``ANTHROPIC_CUSTOM_HEADERS``, one ``name: value`` per line, parsed like the SDK does.

    Raises
    ------
    ConfigurationError
        If a line cannot be a header.
    """
    made: Dict[str, str] = {}
    for number, line in enumerate(environ.get("ANTHROPIC_CUSTOM_HEADERS", "").splitlines(), 1):
        name, colon, value = (part.strip() for part in line.partition(":"))
        if not colon:
            continue
        if (
            not name
            or not name.isascii()
            or not name.replace("-", "").replace("_", "").isalnum()
            or not value.isprintable()
        ):
            raise ConfigurationError(
                f"line {number} of ANTHROPIC_CUSTOM_HEADERS is not a header; write name: value; nothing was sent"
            )
        made[name] = value
    return made


def secrets_of_headers(headers: Mapping[str, str]) -> List[str]:
    """Return the values of headers whose names suggest credentials, also without the scheme (such as ``Bearer``)."""
    values = [value for name, value in headers.items() if _SECRET_HEADER.search(name)]
    return [*values, *(value.partition(" ")[2].strip() for value in values if " " in value)]


def make_http_client(make: Callable[..., Any], server: str, **options: Any) -> Any:
    """Return ``make(**options)``, an HTTP client of the SDK that takes certificates and proxies from the process's environment.

    Calls to a plain ``http`` server on this machine bypass the proxy, which could not reach it.

    Raises
    ------
    ConfigurationError
        If the environment specifies certificates that do not exist, or a proxy that is not valid. The message does not
        show the proxy's address, since it may contain a password.
    """
    _check(server)
    if _stays_here(server):
        options["trust_env"] = False
        options["verify"] = _no_certificates()
    try:
        return make(**options)
    except Exception as error:
        raise _cannot_connect(error) from None


def _check(server: str) -> None:
    problem = environment_problem(server)
    if problem is not None:
        raise ConfigurationError(f"{problem}; correct or unset it; nothing was sent")


def _cannot_connect(error: Exception) -> ConfigurationError:
    said = str(getattr(error, "strerror", None) or error)
    reason = shown_text(said, secrets=secrets_of_proxies()) or type(error).__name__
    return ConfigurationError(
        f"no connection can be made ({reason}); check SSL_CERT_FILE, SSL_CERT_DIR and the proxy variables; nothing was sent"
    )


def environment_problem(server: str) -> Optional[str]:
    """Return what is wrong with the certificates or the proxy that the environment specifies for a server, or None.

    The text does not contain a proxy's address, which may contain a password.
    """
    for variable, exists in (("SSL_CERT_FILE", os.path.isfile), ("SSL_CERT_DIR", os.path.isdir)):
        path = os.environ.get(variable)
        if path and not exists(path):
            return f"{variable} names {path}, which does not exist"
    return None if _stays_here(server) else _problem_of_proxies()


def _stays_here(server: str) -> bool:
    return is_loopback(server) and urlsplit(server).scheme == "http"


def _problem_of_proxies() -> Optional[str]:
    for scheme, address in getproxies().items():
        if scheme not in ("http", "https", "all") or not address:
            continue
        name = f"the proxy in {scheme.upper()}_PROXY"
        try:
            parts = urlsplit(address if "://" in address else "http://" + address)
            parts.port  # noqa: B018  raises ValueError if it is not a number
        except ValueError:
            return f"{name} is not a valid address"
        if not parts.hostname:
            return f"{name} has no host"
        if "@" in parts.path + parts.query + parts.fragment or ("://" not in address and ":/" in address):
            return f"{name} is not a valid address; in a password, write / as %2F, ? as %3F and # as %23"
        if parts.scheme not in ("http", "https"):
            return f"{name} is {parts.scheme}://, and only http:// and https:// proxies can be used"
    return None
