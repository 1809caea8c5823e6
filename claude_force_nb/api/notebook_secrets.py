"""The key from the secrets of a hosted notebook, Colab or Kaggle; each is asked only when running there."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, field
from typing import Callable, Dict, Optional

__all__ = ["HostedKey", "hosted_key", "how_to_add_a_key"]

_NAME = "ANTHROPIC_API_KEY"
COLAB, KAGGLE = "Colab's secrets", "Kaggle's secrets"
_WAYS = {
    COLAB: f"add {_NAME} under Secrets (the key at the left edge) and allow this notebook to read it",
    KAGGLE: f"add {_NAME} under Add-ons, Secrets, and attach it to this notebook",
}
# What was found: asking takes a message to the page, or a call over the network.
_found: Dict[str, str] = {}


@dataclass(frozen=True)
class HostedKey:
    """A key that the host of the notebook keeps.

    Attributes
    ----------
    key : str
    source : str
        Whose secrets it is from.
    """

    key: str = field(repr=False)
    source: str


def _colab() -> str:
    # Waits as long as its own time limit where the page does not answer, about 10 s; a page that is not Colab's own never does.
    from google.colab import userdata

    return str(userdata.get(_NAME) or "")


def _kaggle() -> str:
    from kaggle_secrets import UserSecretsClient

    return str(UserSecretsClient().get_secret(_NAME) or "")


def _host() -> Optional[str]:
    """Return whose notebook this is, without importing anything of theirs."""
    if "google.colab" in sys.modules:
        return COLAB
    return KAGGLE if os.environ.get("KAGGLE_KERNEL_RUN_TYPE") else None


def hosted_key() -> Optional[HostedKey]:
    """Return the key that the host of this notebook keeps under the name ``ANTHROPIC_API_KEY``; None if it does not have one."""
    host = _host()
    if host is None:
        return None
    if host not in _found:
        ask: Callable[[], str] = _colab if host == COLAB else _kaggle
        try:
            key = ask().strip()
        except Exception:  # not there, no leave to read it, no answer: each host has errors of its own
            return None
        if not key:
            return None
        _found[host] = key
    return HostedKey(_found[host], host)


def how_to_add_a_key() -> str:
    """Return how to store a key with the host of this notebook; "" if no way is known."""
    return _WAYS.get(_host() or "", "")
