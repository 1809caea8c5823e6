"""Checks the servers to which a key may be sent."""

from __future__ import annotations

from typing import Optional
from urllib.parse import urlsplit

from claude_force_nb.errors import OptionError
from claude_force_nb.messages.addresses import is_loopback, is_private
from claude_force_nb.messages.request import DEFAULT_BASE_URL, normalise_base_url

__all__ = ["SIMULATOR", "check_address", "other_host"]


SIMULATOR = "simulator"
"""Value of ``base_url`` for a simulator that the session starts."""


def check_address(base_url: Optional[str], *, allow_http: bool) -> None:
    """Refuse a server to which the key would travel unencrypted.

    Parameters
    ----------
    base_url : str or None
        None is the official API.
    allow_http : bool
        True if the user has allowed http to other machines.

    Raises
    ------
    OptionError
        If the URL is http to another machine and that is not allowed, or is not an http(s) URL at all.
    """
    url = normalise_base_url(base_url)
    if is_private(url) or allow_http:
        return
    raise OptionError(
        f"{url} would receive the key unencrypted: give an https:// address, or allow this with "
        "%claude_config allow_http=on; nothing was sent"
    )


def other_host(base_url: Optional[str]) -> str:
    """Return the host of a server that is neither the official API nor this machine, or ""."""
    url = normalise_base_url(base_url)
    return "" if url == DEFAULT_BASE_URL or is_loopback(url) else urlsplit(url).netloc
