"""Read the key from the secrets of a hosted notebook, Colab or Kaggle; each is asked only when running there."""

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
# Keys found so far, since asking takes a message to the page or a network call.
_found: Dict[str, str] = {}


@dataclass(frozen=True)
class HostedKey:
    """A key from the secrets of a hosted notebook.

    Attributes
    ----------
    key : str
    source : str
        Name of the service that stores the key.
    """

    key: str = field(repr=False)
    source: str


def _colab() -> str:
    # If the page does not answer, this waits for Colab's own time limit, about 10 s. A page other than Colab's never
    # answers.
    from google.colab import userdata

    return str(userdata.get(_NAME) or "")


def _kaggle() -> str:
    from kaggle_secrets import UserSecretsClient

    return str(UserSecretsClient().get_secret(_NAME) or "")


def _host() -> Optional[str]:
    """Return the name of the service that hosts this notebook, without importing its libraries."""
    if "google.colab" in sys.modules:
        return COLAB
    return KAGGLE if os.environ.get("KAGGLE_KERNEL_RUN_TYPE") else None


def hosted_key() -> Optional[HostedKey]:
    """Return the key stored as ``ANTHROPIC_API_KEY`` in the secrets of this hosted notebook; None if there is none."""
    host = _host()
    if host is None:
        return None
    if host not in _found:
        ask: Callable[[], str] = _colab if host == COLAB else _kaggle
        try:
            key = ask().strip()
        except Exception:  # missing, access denied or time-out: each service raises its own errors
            return None
        if not key:
            return None
        _found[host] = key
    return HostedKey(_found[host], host)


def how_to_add_a_key() -> str:
    """Return instructions for storing a key in this hosted notebook; "" if it is not a known service."""
    return _WAYS.get(_host() or "", "")
