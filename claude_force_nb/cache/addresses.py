"""Addresses of Redis servers, which may contain a password."""

from __future__ import annotations

from urllib.parse import urlsplit

from claude_force_nb.errors import OptionError

__all__ = ["shown_address"]

_SCHEMES = ("redis", "rediss", "unix")


def shown_address(url: str) -> str:
    """Return the address without user name, password and query, safe to show.

    Raises
    ------
    OptionError
        If `url` is not the address of a Redis server.
    """
    wanted = "cache_url takes redis://host:port/number, rediss:// or unix://path"
    try:
        parts = urlsplit(url)
        port = parts.port
    except (ValueError, TypeError, AttributeError):
        raise OptionError(wanted) from None
    if parts.scheme not in _SCHEMES or not (parts.hostname or (parts.scheme == "unix" and parts.path)):
        raise OptionError(wanted)
    place = "" if port is None else f":{port}"
    return f"{parts.scheme}://{parts.hostname or ''}{place}{parts.path}"
