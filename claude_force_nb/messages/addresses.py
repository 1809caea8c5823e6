"""Classify server addresses. Pure."""

from __future__ import annotations

import ipaddress
from functools import lru_cache
from urllib.parse import urlsplit

__all__ = ["is_loopback", "is_private"]


@lru_cache(maxsize=32)  # called several times per call, with the same few addresses
def is_loopback(server: str) -> bool:
    """Return whether an address is on this machine: ``localhost``, ``127.0.0.0/8`` or ``::1``."""
    try:
        host = (urlsplit(server).hostname or "").rstrip(".")
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def is_private(server: str) -> bool:
    """Return whether data sent to a server is encrypted, or does not leave this machine."""
    return urlsplit(server).scheme == "https" or is_loopback(server)
