"""An SDK client that the user has created, with their own headers, HTTP client, spans or middleware."""

from __future__ import annotations

from typing import Any, Dict, Optional

from claude_force_nb.errors import OptionError

__all__ = ["check_own_client", "secrets_of"]


def check_own_client(client: Any, *, api_key: Optional[str], base_url: Optional[str]) -> None:
    """Raise OptionError if the client cannot be used for calls.

    It must not retry by itself, since each attempt has to be paced, counted and budgeted here.
    """
    if api_key or base_url:
        raise OptionError("the client has its own key and address; leave out api_key and base_url")
    if not all(hasattr(client, name) for name in ("__aenter__", "messages", "base_url")):
        raise OptionError(f"client must be an AsyncAnthropic, not {type(client).__name__}")
    if getattr(client, "max_retries", 0) != 0:
        raise OptionError("the client would retry by itself, beside max_retries= here; make it with max_retries=0")


def secrets_of(client: Any) -> Dict[str, str]:
    """Return the key and token of a client, which also identify the account whose rate limits apply."""
    names = ("api_key", "auth_token")
    known = {name: getattr(client, name, None) for name in names}
    return {name: secret for name, secret in known.items() if isinstance(secret, str) and secret}
