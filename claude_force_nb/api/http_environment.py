"""What the process's environment says about connections: certificates and proxies, checked before anything is sent."""

from __future__ import annotations

import os
import ssl
from typing import Any, Callable, Optional
from urllib.parse import urlsplit
from urllib.request import getproxies

from claude_force_nb.errors import ConfigurationError
from claude_force_nb.messages.addresses import is_loopback

__all__ = ["environment_problem", "make_http_client"]


def make_http_client(make: Callable[..., Any], server: str, **options: Any) -> Any:
    """Return ``make(**options)``, an HTTP client that takes certificates and proxies from the process's environment.

    Calls to a plain ``http`` server on this machine bypass the proxy, which could not reach it.

    Raises
    ------
    ConfigurationError
        If the environment names certificates that do not exist or a proxy that is not valid. A proxy's address is not shown, since
        it may contain a password.
    """
    problem = environment_problem(server)
    if problem is not None:
        raise ConfigurationError(f"{problem}; correct or unset it; nothing was sent")
    if _stays_here(server):
        options["trust_env"] = False
        # No certificate is looked at there, and reading those of the machine takes longer than a call; this context trusts none.
        options["verify"] = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        return make(**options)
    except Exception as error:
        reason = " ".join(str(getattr(error, "strerror", None) or error).split()) or type(error).__name__
        raise ConfigurationError(
            f"no connection can be made ({reason}); check SSL_CERT_FILE, SSL_CERT_DIR and the proxy variables; nothing was sent"
        ) from None


def environment_problem(server: str) -> Optional[str]:
    """Return what is wrong with the certificates or the proxy that the environment names for a server, or None.

    It does not contain a proxy's address, which may contain a password.
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
            parts.port  # noqa: B018  raises where it is not a number
        except ValueError:
            return f"{name} is not a valid address"
        if not parts.hostname:
            return f"{name} has no host"
        if parts.scheme not in ("http", "https"):
            return f"{name} is {parts.scheme}://, and only http:// and https:// proxies can be used"
    return None
